//! Who is in which room: the newest membership of every account, corrected by polls of the full
//! state.

use super::batch::{Batch, RoomBatch, StateSnapshot};
use super::events::append_events;
use super::{snapshots, state_resets};
use crate::rtc::event::{EventKind, RoomEvent};
use crate::rtc::order::sort_by_effective_time;
use crate::rtc::words::Source;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::derive::dirty::Dirty;
use crate::store::derive::stale_findings;
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Tx};
use serde_json::{Value, json};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Is this the membership of somebody who is in the room?
fn is_join(content: &Value) -> bool {
    content.get("membership").is_some_and(|word| word == "join")
}

// An event that replaces the known one is newer, and an event that the known one replaced is older,
// whatever their clocks say.
static FOLLOW: MultiRow = MultiRow::new(
    "insert into room_members (room_id, user_id, joined, event_ms, event_id, replaces) values ",
    "($1, ?, ?, ?, ?, ?)",
    " on conflict (room_id, user_id) do update set joined = excluded.joined,
        event_ms = excluded.event_ms, event_id = excluded.event_id, replaces = excluded.replaces
    where excluded.replaces = room_members.event_id
        or ((excluded.event_ms, excluded.event_id) > (room_members.event_ms, room_members.event_id)
            and excluded.event_id <> coalesce(room_members.replaces, ''))",
);
static SET: MultiRow = MultiRow::new(
    "insert into room_members (room_id, user_id, joined, event_ms, event_id, replaces) values ",
    "($1, ?, ?, ?, ?, ?)",
    " on conflict (room_id, user_id) do update set joined = excluded.joined,
        event_ms = excluded.event_ms, event_id = excluded.event_id, replaces = excluded.replaces",
);

/// The newest membership of one account.
struct NewestMembership<'e> {
    user_id: &'e str,
    event: &'e RoomEvent,
    joined: bool,
}

/// Writes the newest memberships with a statement: [`FOLLOW`] keeps a stored one that is newer,
/// [`SET`] does not. `members` must not name an account twice, since one statement writes many
/// rows.
async fn write_members(
    tx: &mut Tx,
    statement: &MultiRow,
    room_id: &str,
    members: &[NewestMembership<'_>],
) -> Result<(), Error> {
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let bind = |query: Statement, one: &NewestMembership<'_>| {
        query
            .bind(one.user_id.to_owned())
            .bind(i64::from(one.joined))
            .bind(one.event.time())
            .bind(one.event.event_id.clone())
            .bind(one.event.replaces_state.clone())
    };

    statement.write(tx, members, shared, bind).await?;

    Ok(())
}

/// Stores the newest membership of each account in these events, unless a newer one is stored.
pub(in crate::store) async fn update_members<'e>(
    tx: &mut Tx,
    room_id: &str,
    events: impl Iterator<Item = &'e RoomEvent>,
) -> Result<(), Error> {
    let mut of_user: BTreeMap<&str, Vec<&RoomEvent>> = BTreeMap::new();
    for event in events.filter(|event| EventKind::of_event_type(&event.kind) == EventKind::Presence)
    {
        if let Some(user_id) = &event.state_key {
            of_user.entry(user_id).or_default().push(event);
        }
    }

    let newest: Vec<NewestMembership> = of_user
        .into_iter()
        .filter_map(|(user_id, events)| {
            let (_, event) = *sort_by_effective_time(events).last()?;
            Some(NewestMembership {
                user_id,
                event,
                joined: is_join(&event.content),
            })
        })
        .collect();

    write_members(tx, &FOLLOW, room_id, &newest).await
}

const KNOWN: &str =
    "select user_id, joined, event_ms, event_id from room_members where room_id = $1";
const GONE: &str = "update room_members set joined = 0 where room_id = $1 and user_id = $2";
const COUNTED: &str = "update rooms set members_ms = $2 where room_id = $1 and members_ms is null";

/// Makes the list of accounts what a poll of the full state (`look`) found. Users in a call who are
/// no longer in the room, or are in it again, without an event that says so, are stored as state
/// resets. `room` may be the last part of a long answer: `look` names the people of all parts.
pub(super) async fn reconcile_members(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    look: &StateSnapshot,
    dirty: &mut Dirty,
) -> Result<(), Error> {
    let mut state: HashMap<&str, &RoomEvent> = HashMap::new();
    for arrival in &room.arrivals {
        let event = arrival.event.as_ref();
        if let (EventKind::Presence, Some(user_id)) =
            (EventKind::of_event_type(&event.kind), &event.state_key)
        {
            state.insert(user_id, event);
        }
    }

    reset_members(tx, batch, room, look, &state, dirty).await?;
    let mut gone: Vec<String> = Vec::new();
    let mut same: BTreeSet<String> = BTreeSet::new();
    for row in sqlx::query(KNOWN)
        .bind(&room.room_id)
        .fetch_all(&mut **tx)
        .await?
    {
        let user_id: String = row.try_get("user_id")?;
        let joined = row.try_get::<i64, _>("joined")? != 0;
        // The answer may be older than what sync brought while we waited for it.
        let is_newer = row.try_get::<i64, _>("event_ms")? >= look.asked_ms;
        match state.get(user_id.as_str()) {
            _ if is_newer => {
                same.insert(user_id);
            }
            Some(event)
                if row.try_get::<&str, _>("event_id")? == event.event_id
                    && joined == is_join(&event.content) =>
            {
                same.insert(user_id);
            }

            None if joined && !look.people.contains(&user_id) => gone.push(user_id),
            Some(_) | None => {}
        }
    }

    let changed: Vec<NewestMembership> = state
        .iter()
        .filter(|(user_id, _)| !same.contains(**user_id))
        .map(|(user_id, event)| NewestMembership {
            user_id,
            event,
            joined: is_join(&event.content),
        })
        .collect();
    dirty.accounts |= !changed.is_empty() || !gone.is_empty();
    write_members(tx, &SET, &room.room_id, &changed).await?;
    for user_id in gone {
        sqlx::query(GONE)
            .bind(&room.room_id)
            .bind(user_id)
            .execute(&mut **tx)
            .await?;
    }

    let counted = sqlx::query(COUNTED)
        .bind(&room.room_id)
        .bind(batch.seen_ms)
        .execute(&mut **tx)
        .await?;
    // Who could have joined the calls of the past is known from now on, even if everybody may now.
    if counted.rows_affected() > 0 {
        stale_findings::discard_findings_of_lone_calls(tx, &room.room_id).await?;
        dirty.accounts = true;
    }

    Ok(())
}

const IN_CALLS: &str =
    "select distinct user_id from memberships where room_id = $1 and until_ms > $2";
const LOST: &str = "select distinct user_id from (select user_id from state_resets
    where room_id = $1 and kind = 'room_member_vanished' order by noticed_ms desc
    limit 200) as lost";
static PRESENCE: MultiRow = MultiRow::new(
    "select * from events where room_id = $1 and chain is null and kind = 'm.room.member'
        and state_key in (",
    "?",
    ")",
);

/// Appends an event of our own, and stores a state reset, for each user in a call whose membership
/// in the state is another one than the newest that we know: clients do not count users who are not
/// in the room. `state` has the membership events of this poll, by user.
async fn reset_members(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    look: &StateSnapshot,
    state: &HashMap<&str, &RoomEvent>,
    dirty: &mut Dirty,
) -> Result<(), Error> {
    let in_calls: Vec<String> = sqlx::query_scalar(IN_CALLS)
        .bind(&room.room_id)
        .bind(batch.seen_ms)
        .fetch_all(&mut **tx)
        .await?;
    let lost: Vec<String> = sqlx::query_scalar(LOST)
        .bind(&room.room_id)
        .fetch_all(&mut **tx)
        .await?;
    let users: BTreeSet<String> = in_calls.into_iter().chain(lost).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut known: BTreeMap<String, Vec<RoomEvent>> = BTreeMap::new();
    for row in PRESENCE.look_up(tx, &room.room_id, &users).await? {
        let event = event_from_row(&row)?;
        let user_id = event.state_key.clone().unwrap_or_default();
        known.entry(user_id).or_default().push(event);
    }

    let mut repairs = RoomBatch::new(&room.room_id, Source::Poll);
    for (user_id, events) in &known {
        // The answer may be older than what sync brought while we waited for it.
        let is_settled = events.iter().all(|event| {
            event
                .received_ts
                .is_none_or(|received| received < look.asked_ms)
        });
        let Some((_, newest)) = sort_by_effective_time(events)
            .last()
            .copied()
            .filter(|_| is_settled)
        else {
            continue;
        };

        let holds = state.get(user_id.as_str()).copied();
        // The event came with an earlier part of this poll, and was stored with that part.
        if holds.is_none() && look.people.contains(user_id) {
            continue;
        }

        let is_in = holds.is_some_and(|holds| is_join(&holds.content));
        let same = holds.is_some_and(|holds| holds.event_id == newest.event_id);
        if same || is_in == is_join(&newest.content) {
            continue;
        }

        let content = holds.map_or_else(
            || json!({"membership": "leave"}),
            |holds| holds.content.clone(),
        );
        let since_ms = newest.time();
        let like = holds.unwrap_or(newest);
        let arrival = snapshots::make_own_event(user_id, like, content, since_ms, batch.seen_ms);
        let kind = if is_in {
            state_resets::ResetKind::RoomMemberBack
        } else {
            state_resets::ResetKind::RoomMemberVanished
        };

        let reset = state_resets::Reset {
            made: &arrival.event,
            what: kind,
            user_id,
            holds,
            newest,
        };

        state_resets::record_reset(tx, batch, &room.room_id, &reset).await?;
        repairs.arrivals.push(arrival);
    }

    append_events(tx, batch, &repairs, dirty, None).await
}
