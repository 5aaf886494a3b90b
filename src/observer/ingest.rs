//! The funnel: the raw events of one answer (of sync, poll or back-fill) go into one commit; then
//! the changes are announced.

use super::{Error, Observer};
use crate::changes::Change;
use crate::clock::steady::{Doubt, FoundBy};
use crate::rtc::event::{RoomEvent, may_be_kept_whole};
use crate::rtc::id::server_of;
use crate::rtc::neighbours::{EventStamp, corrected_times};
use crate::rtc::reading::{ClockDoubt, OurClock};
use crate::rtc::sieve::{Sifted, sift_event};
use crate::rtc::time::millis_of_json;
use crate::rtc::words::Source;
use crate::store::ingest::batch::{Arrival, Batch, RoomBatch};
use crate::store::ingest::receive_times::{
    self, ClockError, ClockWitness, OwnClockSpan, Withdrawal,
};
use crate::store::ingest::write::write_batch_by_clock;
use crate::store::sign_in::audit_log::{self, AuditEntry, AuditKind};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Maximum number of doubts whose first event numbers are remembered.
const DOUBTS_MAX: usize = 100;

/// Adds raw events to a batch, whose `source` must be set, through the sieve. Events of types that
/// we do not use are counted by type and discarded; those that are no events are kept with the
/// reason. `in_timeline`: they come in the order of the timeline, not as state. `now` is our clock,
/// ms: the receive time of a live event, which happened no later. A back-filled event gets it only
/// if its timestamp is in the future, because no event happened after it was seen.
pub(super) fn add_events(room: &mut RoomBatch, events: &[Value], in_timeline: bool, now: i64) {
    let times_of_neighbours = if room.source == Source::Backfill && in_timeline {
        refuted_by_neighbours(events)
    } else {
        Vec::new()
    };

    for (at, raw) in events.iter().enumerate() {
        let raw = match sift_event(raw) {
            Sifted::Kept(event) => event,
            Sifted::Foreign(kind) => {
                room.count_unasked(kind);
                continue;
            }
        };

        match RoomEvent::from_json(&raw, Some(now)) {
            Ok(mut event) => {
                if room.source == Source::Backfill && event.origin_server_ts <= now {
                    // A refuted timestamp is bounded by what the neighbours suggest.
                    event.received_ts = times_of_neighbours.get(at).copied().flatten();
                }

                let json = event_json(&raw, &event);
                room.arrivals.push(Arrival {
                    event: event.into(),
                    json,
                    in_timeline,
                });
            }
            Err(reason) => {
                let text = raw.to_string();
                let cut = if may_be_kept_whole(&text) {
                    text
                } else {
                    format!("\"too large: {} bytes\"", text.len())
                };

                room.malformed.push((reason, cut));
            }
        }
    }
}

/// For each event of a page of history, which must be newest first: the time that its neighbours
/// suggest, ms, if they refute its timestamp; else `None`. Empty if an event has no timestamp,
/// since then the page tells too little.
fn refuted_by_neighbours(events: &[Value]) -> Vec<Option<i64>> {
    let stamp = |event| {
        let event: &Value = event;
        let sender = event.get("sender").and_then(Value::as_str);
        let at_ms = event.get("origin_server_ts").and_then(millis_of_json)?;
        Some(EventStamp {
            server: sender.map_or("", server_of),
            at_ms,
        })
    };
    // An event without a stamp is no valid event. With it the neighbours are not known.
    let stamps: Option<Vec<EventStamp<'_>>> = events.iter().map(stamp).collect();
    stamps.map_or_else(Vec::new, |stamps| corrected_times(&stamps))
}

/// The event as JSON text, to be stored. If it is too large, only the fields that identify it, with
/// a content that says so.
fn event_json(raw: &Value, event: &RoomEvent) -> String {
    let text = raw.to_string();
    if may_be_kept_whole(&text) {
        return text;
    }

    let mut small = serde_json::json!({
        "event_id": event.event_id, "type": event.kind, "sender": event.sender,
        "origin_server_ts": event.origin_server_ts, "content": "too_large",
    });
    if let Some(key) = &event.state_key {
        small["state_key"] = key.as_str().into();
    }

    small.to_string()
}

/// May this batch tell of a predecessor or successor of its room that we did not know?
fn may_have_neighbour(room: &RoomBatch) -> bool {
    let arrivals = room.arrivals.iter();
    arrivals
        .map(|arrival| arrival.event.kind.as_str())
        .any(|kind| matches!(kind, "m.room.tombstone" | "m.room.create"))
}

/// What showed that our clock was wrong, in the words of the store.
fn witness_of_clock(found_by: FoundBy) -> ClockWitness {
    match found_by {
        FoundBy::Counting => ClockWitness::Counting,
        FoundBy::Homeserver => ClockWitness::Homeserver,
    }
}

impl Observer {
    /// Commits a batch, and then announces what it changed, never before. It also wakes the loops
    /// that have work by it. Returns how many events were new.
    pub(super) async fn ingest(&self, batch: &Batch) -> Result<usize, Error> {
        let clock = self.note_clock().await?;
        let without = self.without_direct_rooms(batch).await?;
        let batch = without.as_ref().unwrap_or(batch);
        let changed = write_batch_by_clock(&self.store, &self.settings.rules, batch, clock).await?;
        self.announce(changed.slots, changed.rooms);
        for room_id in changed.opted_out {
            self.record_opt_out(room_id).await?;
        }

        if changed.has_open_bans {
            self.ban_open.notify_one();
        }

        if !changed.set_aside.is_empty() {
            let mut flooded = self.flooded.lock().await;
            flooded.record_floods(&changed.set_aside, self.clock.now_ms());
        }

        if changed.heard_anew {
            // Changes that happened unobserved, without an event for them, are found in the state.
            self.poll_due.notify_one();
        }

        if batch.invitations.iter().any(|one| one.accepted) {
            self.accepted.notify_one();
        }

        if batch.rooms.iter().any(may_have_neighbour) || !batch.invitations.is_empty() {
            self.replaced.notify_one();
        }

        if batch.rooms.iter().any(|room| room.unread.is_some()) {
            self.history.notify_one();
        }

        Ok(changed.new_events)
    }

    /// Writes into the log of sign-ins that a room asked not to be recorded.
    async fn record_opt_out(&self, room_id: String) -> Result<(), Error> {
        tracing::info!(%room_id, "a room asked not to be recorded; what was recorded is deleted");
        let entry = AuditEntry {
            at_ms: self.clock.now_ms(),
            kind: AuditKind::OptedOut,
            identity: None,
            detail: Some(room_id),
            address: None,
        };

        Ok(audit_log::record_entry(&self.store.sign_ins(), &entry).await?)
    }

    /// What our clock knows of its own errors now. Errors that were found, ended or withdrawn since
    /// the last call are stored first.
    async fn note_clock(&self) -> Result<OurClock, Error> {
        let doubt = self.clock.doubt();
        let known = OurClock {
            doubt: doubt.map(|doubt| ClockDoubt {
                off_ms: doubt.off_ms,
                latest_ms: doubt.latest_ms,
            }),
            is_confirmed: self.clock.is_confirmed(),
        };

        if let Some(doubt) = doubt {
            self.note_doubt(doubt).await?;
        }

        let (mut offs, changes) = self.clock.offs();
        let noted = self.clock_changes.load(Ordering::Relaxed);
        if noted == changes {
            return Ok(known);
        }

        offs.retain(|off| off.change > noted);
        offs.sort_by_key(|off| off.change);
        let mut standing = Vec::with_capacity(offs.len());
        for off in offs {
            let span = OwnClockSpan {
                from_ms: off.from_ms,
                to_ms: off.to_ms.unwrap_or(i64::MAX),
                after_stream: self.first_stream.load(Ordering::Relaxed),
            };
            if let Some(back_by_ms) = off.withdrawn_by_ms {
                let withdrawal = Withdrawal {
                    from_ms: off.from_ms,
                    found_by: witness_of_clock(off.found_by),
                    to_ms: span.to_ms,
                    back_by_ms,
                    after_stream: self.doubted_after.lock().await.get(&off.from_ms).copied(),
                };
                receive_times::withdraw_doubt(&self.store, withdrawal).await?;
                continue;
            }

            if off.was_believed {
                receive_times::record_late_doubt(&self.store, span, off.off_ms).await?;
            }

            standing.push(ClockError {
                from_ms: off.from_ms,
                to_ms: off.to_ms,
                off_ms: off.off_ms,
                found_by: witness_of_clock(off.found_by),
            });
        }

        receive_times::record_clock_errors(&self.store, &standing).await?;
        self.clock_changes.store(changes, Ordering::Relaxed);
        if let Some(doubt) = doubt {
            tracing::warn!(
                off_ms = doubt.off_ms,
                "the clock of this machine is wrong; it is not believed"
            );
        }

        self.changes.announce(Change::Observer);

        Ok(known)
    }

    /// Remembers the last event that was stored before our clock was doubted, so that a doubt that
    /// is withdrawn later can be undone.
    async fn note_doubt(&self, doubt: Doubt) -> Result<(), Error> {
        let mut doubted_after = self.doubted_after.lock().await;
        if doubted_after.contains_key(&doubt.since_ms) {
            return Ok(());
        }

        let last_stream = receive_times::last_stream(&self.store).await?;
        doubted_after.insert(doubt.since_ms, last_stream);
        if doubted_after.len() > DOUBTS_MAX {
            doubted_after.pop_first();
        }

        Ok(())
    }

    /// Announces what a commit changed: slots (room and slot id), and rooms.
    pub(super) fn announce(&self, slots: BTreeSet<(String, String)>, rooms: BTreeSet<String>) {
        for (room_id, slot_id) in slots {
            self.changes.announce(Change::Slot { room_id, slot_id });
        }

        for room_id in rooms {
            self.changes.announce(Change::Room { room_id });
        }
    }

    /// A batch of this vantage and moment with one room.
    pub(super) fn batch_of_room(&self, room: RoomBatch) -> Batch {
        Batch {
            rooms: vec![room],
            ..self.empty_batch()
        }
    }

    /// An empty batch of this vantage and moment.
    pub(super) fn empty_batch(&self) -> Batch {
        Batch {
            vantage_id: self.vantage_id.clone(),
            seen_ms: self.clock.now_ms(),
            position: None,
            rooms: Vec::new(),
            invitations: Vec::new(),
        }
    }
}
