//! Rooms that opted out: their calls are not recorded, and what was recorded is deleted. Only the
//! room's own state is kept, from which it follows, so that the room can come back.

use crate::rtc::event::{EventKind, RoomEvent};
use crate::store::derive::dirty::discard_all_day_totals;
use crate::store::ingest::batch::RoomBatch;
use crate::store::{Error, Tx};
use sqlx::Row;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What is recorded of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Recording {
    /// Since when nothing is recorded, ms; `None` = it is.
    opted_out_ms: Option<i64>,
    /// Events from before are not stored, ms.
    from_ms: Option<i64>,
    /// The events of the room's own state, where nothing else is recorded.
    own_events: BTreeSet<String>,
}

const OWN_EVENTS: &str = "select event_id from events where room_id = $1";
const RECORDING: &str = "select opted_out_ms, recorded_from_ms from rooms where room_id = $1";

/// What is recorded of this room, which must be stored.
pub(in crate::store) async fn read_recording(
    tx: &mut Tx,
    room_id: &str,
) -> Result<Recording, Error> {
    let row = sqlx::query(RECORDING)
        .bind(room_id)
        .fetch_one(&mut **tx)
        .await?;

    let mut recording = Recording {
        opted_out_ms: row.try_get("opted_out_ms")?,
        from_ms: row.try_get("recorded_from_ms")?,
        own_events: BTreeSet::new(),
    };
    if recording.is_off() {
        let own_events: Vec<String> = sqlx::query_scalar(OWN_EVENTS)
            .bind(room_id)
            .fetch_all(&mut **tx)
            .await?;
        recording.own_events = own_events.into_iter().collect();
    }

    Ok(recording)
}

impl Recording {
    /// Is nothing recorded?
    pub fn is_off(&self) -> bool {
        self.opted_out_ms.is_some()
    }

    /// The part of the batch that may be stored.
    pub fn keep_recorded<'b>(&self, room: &'b RoomBatch) -> Cow<'b, RoomBatch> {
        if !self.is_off() && self.from_ms.is_none() {
            return Cow::Borrowed(room);
        }

        let mut kept = room.clone();
        let is_late = |ms: i64| !self.is_off() && self.from_ms.is_none_or(|from| ms >= from);
        kept.arrivals.retain(|arrival| {
            self.is_of_own_state(&arrival.event) || is_late(arrival.event.time())
        });
        if self.is_off() {
            kept.malformed.clear();
        }

        Cow::Owned(kept)
    }

    /// Is the event the room's own state, or does it take back some of it; and is it not about
    /// people and calls?
    fn is_of_own_state(&self, event: &RoomEvent) -> bool {
        match EventKind::of_event_type(&event.kind) {
            EventKind::Create | EventKind::Other => true,
            EventKind::Redaction => {
                let target = event.redacts.as_ref();
                target.is_some_and(|target| self.own_events.contains(target))
            }
            _ => false,
        }
    }
}

const OPTS_OUT: &str = "select opts_out from rooms where room_id = $1";
const OPT_OUT: &str = "update rooms set opted_out_ms = $2, access = null, members_ms = null
    where room_id = $1";
const COME_BACK: &str = "update rooms set opted_out_ms = null, recorded_from_ms = $2
    where room_id = $1";

/// Deletes what was recorded if the room just opted out at `now`, ms, or notes that it came back.
/// Returns true if one of both happened.
pub(in crate::store) async fn apply_opt_out(
    tx: &mut Tx,
    room_id: &str,
    before: &Recording,
    now: i64,
) -> Result<bool, Error> {
    let opts_out: i64 = sqlx::query_scalar(OPTS_OUT)
        .bind(room_id)
        .fetch_one(&mut **tx)
        .await?;
    if (opts_out != 0) == before.is_off() {
        return Ok(false);
    }

    if opts_out == 0 {
        sqlx::query(COME_BACK)
            .bind(room_id)
            .bind(now)
            .execute(&mut **tx)
            .await?;
        return Ok(true);
    }

    for statement in DELETE_RECORDED {
        sqlx::query(statement)
            .bind(room_id)
            .execute(&mut **tx)
            .await?;
    }

    sqlx::query(OPT_OUT)
        .bind(room_id)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    discard_all_day_totals(tx).await?;

    Ok(true)
}

/// Deletes everything that tells of calls and people in a room. The room's own state stays: its
/// events have an empty state key, and the types are not those of calls.
const DELETE_RECORDED: [&str; 21] = [
    "delete from tallies where tally in (select s.tally from sessions s where s.room_id = $1)",
    "delete from tallies_present
        where tally in (select s.tally from sessions s where s.room_id = $1)",
    "delete from signs where membership_id in (select m.id from memberships m
        where m.room_id = $1)",
    "delete from memberships where room_id = $1",
    "delete from sessions where room_id = $1",
    "delete from former_calls where room_id = $1",
    "delete from chains where room_id = $1",
    "delete from checkpoints where room_id = $1",
    "delete from heads where room_id = $1",
    "delete from seals where room_id = $1",
    "delete from slots where room_id = $1",
    "delete from snapshots where room_id = $1",
    "delete from state_resets where room_id = $1",
    "delete from set_aside where room_id = $1",
    "delete from redacting_bans where room_id = $1",
    "delete from people where room_id = $1",
    "delete from room_members where room_id = $1",
    "delete from call_types where room_id = $1",
    "delete from pseudonyms where room_id = $1",
    "delete from events where room_id = $1 and not (chain is null and coalesce(state_key, 'x') = ''
        and (kind in ('m.room.create', 'm.room.power_levels', 'm.room.name', 'm.room.topic',
            'm.room.canonical_alias', 'm.room.encryption', 'm.room.history_visibility',
            'm.room.join_rules', 'm.room.tombstone', 'm.room.server_acl',
            'org.callscope.visibility')))",
    "delete from sightings where room_id = $1 and not exists (select 1 from events e
        where e.event_id = sightings.event_id and e.room_id = sightings.room_id)",
];
