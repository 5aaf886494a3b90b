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
    /// Events of calls from before are not stored, ms.
    from_ms: Option<i64>,
    /// The room asks that nothing is recorded, whatever the operator decided.
    opts_out: bool,
    /// The events of the room's own state, where nothing else is recorded.
    own_events: BTreeSet<String>,
}

const OWN_EVENTS: &str = "select event_id from events where room_id = $1";
const RECORDING: &str = "select opted_out_ms, recorded_from_ms, opts_out from rooms
    where room_id = $1";

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
        opts_out: row.try_get::<i64, _>("opts_out")? != 0,
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
        kept.arrivals
            .retain(|arrival| self.is_recorded(&arrival.event));
        if self.is_off() {
            kept.malformed.clear();
        }

        Cow::Owned(kept)
    }

    /// May the event be stored? What happened in calls while nothing was recorded is not read later;
    /// who is in the room is.
    fn is_recorded(&self, event: &RoomEvent) -> bool {
        if self.is_off() {
            return self.is_of_own_state(event);
        }

        let is_of_calls = matches!(
            EventKind::of_event_type(&event.kind),
            EventKind::Member | EventKind::Slot | EventKind::Related | EventKind::Encrypted
        );

        !is_of_calls || self.from_ms.is_none_or(|from| event.time() >= from)
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

const OPTS_OUT: &str = "select opts_out, shown_by_operator from rooms where room_id = $1";
const OPT_OUT: &str = "update rooms set opted_out_ms = $2, access = null, members_ms = null
    where room_id = $1";
const COME_BACK: &str = "update rooms set opted_out_ms = null, recorded_from_ms = $2
    where room_id = $1";

/// Deletes what was recorded if the room just opted out at `now`, ms, or notes that it came back.
/// Where an operator decided who may see its calls, that goes before: then nothing is deleted.
/// Returns true if one of both happened.
pub(in crate::store) async fn apply_opt_out(
    tx: &mut Tx,
    room_id: &str,
    before: &Recording,
    now: i64,
) -> Result<bool, Error> {
    let row = sqlx::query(OPTS_OUT)
        .bind(room_id)
        .fetch_one(&mut **tx)
        .await?;
    let opts_out = row.try_get::<i64, _>("opts_out")? != 0;
    let decided: Option<String> = row.try_get("shown_by_operator")?;
    if opts_out == before.is_off() {
        return Ok(false);
    }

    if opts_out && decided.is_some() {
        if !before.opts_out {
            tracing::warn!(
                room_id,
                "a room asked not to be recorded, but an operator decided who may see its calls, \
                 so they are recorded on"
            );
        }

        return Ok(false);
    }

    if !opts_out {
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
const DELETE_RECORDED: [&str; 26] = [
    "delete from finding_people where room_id = $1",
    "delete from findings where room_id = $1",
    "delete from tallies where tally in (select s.tally from sessions s where s.room_id = $1)",
    "delete from tallies_present
        where tally in (select s.tally from sessions s where s.room_id = $1)",
    "delete from signs where membership_id in (select m.id from memberships m
        where m.room_id = $1)",
    "delete from memberships where room_id = $1",
    "delete from sessions where room_id = $1",
    "delete from former_calls where room_id = $1",
    "delete from alerts where room_id = $1",
    "delete from outbox where room_id = $1 or payload like '%' || $1 || '%'",
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
    "delete from room_titles where room_id = $1",
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_room_that_came_back_knows_who_is_in_it() {
        let recording = Recording {
            opted_out_ms: None,
            from_ms: Some(100),
            opts_out: false,
            own_events: BTreeSet::new(),
        };
        let event = |kind: &str, at: i64| {
            let json = json!({"event_id": "$1", "type": kind, "sender": "@a:h", "state_key": "@a:h",
                "origin_server_ts": at, "content": {"membership": "join"}});
            RoomEvent::from_json(&json, None).unwrap()
        };
        assert!(recording.is_recorded(&event("m.room.member", 50)));
        assert!(recording.is_recorded(&event("m.room.power_levels", 50)));
        for kind in [
            "m.call.member",
            "m.rtc.slot",
            "m.rtc.notification",
            "m.room.encrypted",
        ] {
            assert!(!recording.is_recorded(&event(kind, 50)), "{kind}");
            assert!(recording.is_recorded(&event(kind, 100)), "{kind}");
        }

        let off = Recording {
            opted_out_ms: Some(1),
            ..recording
        };
        assert!(!off.is_recorded(&event("m.room.member", 150)));
    }
}
