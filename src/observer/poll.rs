//! Polls: the full state of each room, a snapshot of its member events, and the repair of what sync
//! missed.

use super::backoff::Backoff;
use super::error_state::Work;
use super::ingest::add_events;
use super::{Error, Observer};
use crate::changes::Change;
use crate::rtc::event::EventKind;
use crate::rtc::words::JobKind;
use crate::rtc::words::{Mode, Source, Watch};
use crate::store::ingest::batch::{RoomBatch, StateSnapshot};
use crate::store::ingest::{rooms, vantages};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum attempts for one room in one poll while the homeserver is busy.
const TRIES: u32 = 3;
/// If the call memberships read so far are larger than this together, in bytes, they are written
/// before the whole state is read, because nobody else can write during a write.
const PIECE: usize = 2 * 1024 * 1024;

impl Observer {
    /// Polls all rooms whenever a poll is due, for ever. If polls become due during a poll, one
    /// more follows.
    pub(super) async fn polls(&self) {
        let mut backoff = Backoff::new();
        loop {
            self.poll_due.notified().await;
            match self.poll_all().await {
                Ok(failed) => {
                    backoff = Backoff::new();
                    self.succeeded(Work::Polls).await;
                    if failed > 0 {
                        tracing::warn!(
                            rooms = failed,
                            "rooms could not be polled; each says why on its page"
                        );
                    }
                }
                Err(Error::Matrix(error)) if error.is_revoked() => {
                    tracing::warn!(%error, "polling needs a new sign-in");
                    self.sign_in().await;
                    tokio::time::sleep(backoff.next()).await;
                    self.poll_due.notify_one();
                }
                Err(error) => {
                    self.failed(Work::Polls, "polling the rooms' state", &error)
                        .await;
                    if error.is_of_storage() {
                        // The schedule's next time may be far away, and storing may work long
                        // before.
                        self.rest_after(&error, backoff.next()).await;
                        self.poll_due.notify_one();
                    }
                }
            }
        }
    }

    /// Polls every room once: those we are in, and those we only peek into. Returns how many rooms
    /// could not be read.
    async fn poll_all(&self) -> Result<usize, Error> {
        let mut todo: BTreeMap<String, Watch> = BTreeMap::new();
        for (room_id, watch) in rooms::list_watched_rooms(&self.store).await? {
            if watch == Watch::Peeked {
                todo.insert(room_id, watch);
            }
        }

        todo.extend(
            self.joined_now()
                .await?
                .into_iter()
                .map(|room_id| (room_id, Watch::Joined)),
        );
        let mut failed = 0;
        for (room_id, watch) in todo {
            failed += usize::from(!self.poll(&room_id, watch).await?);
        }

        let every_ms = self.rhythm.every_ms();
        vantages::set_poll_interval(&self.store, &self.vantage_id, every_ms).await?;
        vantages::set_last_poll(&self.store, &self.vantage_id, self.clock.now_ms()).await?;
        self.changes.announce(Change::Observer);
        if self.settings.mode == Mode::Poll {
            self.look_for_invitations_now_and_then().await;
        }

        Ok(failed)
    }

    /// Polls one room, at most [`TRIES`] times. `watch` is our membership of it as the caller knows
    /// it. Returns true if it was read; if not, the reason is recorded on the room. An error only
    /// for what concerns all rooms.
    pub(super) async fn poll(&self, room_id: &str, watch: Watch) -> Result<bool, Error> {
        let mut backoff = Backoff::new();
        for try_ in 1..=TRIES {
            let asked_ms = self.clock.now_ms();
            let error = match self.read_state(room_id, watch, asked_ms).await {
                Ok(()) => return Ok(true),
                Err(Error::Matrix(error)) => error,
                Err(error) => return Err(error),
            };

            if error.is_revoked() {
                return Err(error.into());
            }

            if try_ == TRIES || !error.is_transient() {
                tracing::warn!(%room_id, %error, "a room could not be polled");
                let watch = error.is_forbidden().then_some(Watch::Blind);
                rooms::record_room_error(
                    &self.store,
                    room_id,
                    watch,
                    &error.to_string(),
                    self.clock.now_ms(),
                )
                .await?;
                self.changes.announce(Change::Room {
                    room_id: room_id.to_owned(),
                });
                return Ok(false);
            }

            tokio::time::sleep(Self::pause(&Error::Matrix(error), &mut backoff)).await;
        }

        Ok(false)
    }

    /// Reads the state of a room as it comes and stores it, in pieces if it is very large.
    /// `asked_ms` is our clock when it was requested. Only the last piece has the snapshot, which
    /// says that the state is complete: an answer that breaks off ends no call.
    async fn read_state(&self, room_id: &str, watch: Watch, asked_ms: i64) -> Result<(), Error> {
        let mut parts = self.client.room_state_parts(room_id).await?;
        let (mut members, mut people) = (BTreeSet::new(), BTreeSet::new());
        let mut last = RoomBatch::new(room_id, Source::Poll);
        last.watch = Some(watch);
        // A part is written when the next one comes: so a small state is one commit.
        let mut waiting: Option<Vec<Value>> = None;
        while let Some(part) = parts.next().await? {
            let (of_calls, others): (Vec<_>, Vec<_>) = part
                .into_iter()
                .partition(|event| kind_of_event(event) == EventKind::Member);
            members.extend(of_calls.iter().filter_map(id_of_event));
            people.extend(others.iter().filter_map(user_in_room));
            add_events(&mut last, &of_calls, false, self.clock.now_ms());
            if bytes_of_events(&last) > PIECE {
                let next = RoomBatch::new(room_id, Source::Poll);
                let mut piece = std::mem::replace(&mut last, next);
                piece.watch = Some(watch);
                last.watch = Some(watch);
                self.ingest(&self.batch_of_room(piece)).await?;
            }

            if let Some(events) = waiting.replace(others) {
                let mut piece = RoomBatch::new(room_id, Source::Poll);
                piece.watch = Some(watch);
                add_events(&mut piece, &events, false, self.clock.now_ms());
                self.ingest(&self.batch_of_room(piece)).await?;
            }
        }

        parts.end()?;
        add_events(
            &mut last,
            &waiting.unwrap_or_default(),
            false,
            self.clock.now_ms(),
        );
        last.snapshot = Some(StateSnapshot {
            asked_ms,
            members,
            people,
        });
        if self.settings.backfill {
            // A room that is only polled has a history, too. It is read once.
            last.note_unread(JobKind::Backfill, None);
        }

        self.ingest(&self.batch_of_room(last)).await?;

        Ok(())
    }
}

/// The size of a batch's events, as text, bytes.
fn bytes_of_events(room: &RoomBatch) -> usize {
    room.arrivals.iter().map(|arrival| arrival.json.len()).sum()
}

/// What a raw event is to us, by its type.
fn kind_of_event(event: &Value) -> EventKind {
    EventKind::of_event_type(
        event
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    )
}

/// The user whose membership of the room this event states; `None` for other events.
fn user_in_room(event: &Value) -> Option<String> {
    let user_id = event.get("state_key")?.as_str()?;
    (kind_of_event(event) == EventKind::Presence).then(|| user_id.to_owned())
}

fn id_of_event(event: &Value) -> Option<String> {
    event.get("event_id")?.as_str().map(ToOwned::to_owned)
}
