//! Rederive. Derived state has the stamp of the rules that made it. If the stamp differs from that
//! of the running program, the state is derived again, room by room, in small transactions that
//! store their progress.

use super::checkpoints;
use super::rebuild::{self, RebuildPlace};
use crate::rtc::fold::Rules;
use crate::rtc::stamp::derivation_stamp;
use crate::store::{Error, Reader, Tx, Writer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The derived state that is from older rules, shared by all copies of a [`Reader`].
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Rederiving(Arc<Mutex<Option<RederiveProgress>>>);

/// The progress of deriving again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RederiveProgress {
    /// The rooms whose stays and calls are from older rules, and the number of member events of
    /// each.
    pub rooms: BTreeMap<String, i64>,
    pub rooms_total: usize,
    pub events_done: i64,
    pub events_total: i64,
    /// When it began, ms.
    pub since_ms: i64,
}

impl Reader {
    /// How far deriving again has come; `None` if everything is from the current rules.
    #[must_use]
    pub fn rederiving(&self) -> Option<RederiveProgress> {
        self.held().clone().filter(|_| self.rooms.is_none())
    }

    /// Are the stays and calls of this room from older rules?
    #[must_use]
    pub fn is_from_older_rules(&self, room_id: &str) -> bool {
        let held = self.held();
        held.as_ref()
            .is_some_and(|progress| progress.rooms.contains_key(room_id))
    }

    /// Is anything from older rules?
    #[must_use]
    pub fn has_older_rules(&self) -> bool {
        self.rooms.is_none() && self.held().is_some()
    }

    /// Locks the progress, which all copies of the reader share.
    fn held(&self) -> std::sync::MutexGuard<'_, Option<RederiveProgress>> {
        // After a panic elsewhere a number may be slightly outdated; that is harmless.
        self.rederiving
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

const SET: &str =
    "insert into derivations (room_id, stamp) values ($1, $2) on conflict (room_id) do nothing";

/// Stores that a new room is derived by these rules, so that it is not derived again.
pub(in crate::store) async fn record_new_room(
    tx: &mut Tx,
    room_id: &str,
    rules: &Rules,
) -> Result<(), Error> {
    sqlx::query(SET)
        .bind(room_id)
        .bind(derivation_stamp(rules))
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const STALE: &str = "select r.room_id, d.target, d.place from rooms r
        left join derivations d on d.room_id = r.room_id
    where d.stamp is null or d.stamp <> $1 or d.target is not null order by r.room_id";
const DONE: &str = "insert into derivations (room_id, stamp) values ($1, $2)
    on conflict (room_id) do update set stamp = excluded.stamp, target = null, place = null";
const AIM: &str = "insert into derivations (room_id, stamp, target) values ($1, '', $2)
    on conflict (room_id) do update set target = excluded.target, place = null";
const HAS_STAYS: &str =
    "select count(*) from (select 1 from memberships where room_id = $1 limit 1) as stays";

/// Finds the rooms whose derived state is from other rules than these, and makes them the progress
/// that [`Reader::rederiving`] tells, as begun at `now`, ms. It must run before anything is derived
/// by these rules. A room
/// without member events and stays needs no work, and is marked as done. A room for which deriving
/// again by these rules was begun earlier goes on where it was.
///
/// # Errors
/// When the database fails.
pub async fn find_stale_rooms(store: &Writer, rules: &Rules, now: i64) -> Result<(), Error> {
    let target = derivation_stamp(rules);
    let stale: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(STALE)
        .bind(&target)
        .fetch_all(&store.write)
        .await?;
    let sizes: BTreeMap<String, i64> = if stale.is_empty() {
        BTreeMap::new()
    } else {
        rebuild::count_member_events(store, None)
            .await?
            .into_iter()
            .collect()
    };

    let mut progress = RederiveProgress {
        since_ms: now,
        ..RederiveProgress::default()
    };

    for (room_id, aim, place) in stale {
        let events = sizes.get(&room_id).copied().unwrap_or(0);
        let stays: i64 = sqlx::query_scalar(HAS_STAYS)
            .bind(&room_id)
            .fetch_one(&store.write)
            .await?;
        if events == 0 && stays == 0 {
            store_room_stamp(store, &room_id, &target).await?;
            continue;
        }

        if aim.as_deref() != Some(&target) {
            begin_stale_room(store, &room_id, &target).await?;
        } else if let Some(place) = place.as_deref().and_then(RebuildPlace::from_text) {
            progress.events_done += place.events.min(events);
        }

        progress.events_total += events;
        progress.rooms.insert(room_id, events);
    }

    progress.rooms_total = progress.rooms.len();
    *store.held() = (progress.rooms_total > 0).then_some(progress);

    Ok(())
}

/// Stores that the room is being derived again for the stamp `target`. Deletes its checkpoints:
/// they are from other rules, and maybe of a form that is no longer read.
async fn begin_stale_room(store: &Writer, room_id: &str, target: &str) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    checkpoints::delete_room_checkpoints(&mut tx, room_id).await?;
    sqlx::query(AIM)
        .bind(room_id)
        .bind(target)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;

    Ok(())
}

/// Stores that a room is now derived by the rules of this stamp, and that nothing of it is left to
/// do.
///
/// # Errors
/// When the database fails.
pub async fn store_room_stamp(store: &Writer, room_id: &str, stamp: &str) -> Result<(), Error> {
    sqlx::query(DONE)
        .bind(room_id)
        .bind(stamp)
        .execute(&store.write)
        .await?;

    Ok(())
}

const PLACE: &str = "select target, place from derivations where room_id = $1";
const MOVE: &str = "update derivations set place = $2 where room_id = $1";

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RederiveStep {
    /// Some member keys of a room were derived; there is more to do.
    Went,
    /// This room is now from the current rules.
    RoomDone(String),
    /// Everything is from the current rules.
    AllDone,
}

/// Derives the next part of the rooms that [`find_stale_rooms`] found: a few member keys of the
/// first room or, when all of them are done, its calls. Returns what that was. The rules must be
/// those that [`find_stale_rooms`] was given.
///
/// # Errors
/// When the database fails; then the next call does this step again.
pub async fn rederive_next_part(store: &Writer, rules: &Rules) -> Result<RederiveStep, Error> {
    let next = store
        .held()
        .as_ref()
        .and_then(|progress| progress.rooms.keys().next().cloned());
    let Some(room_id) = next else {
        *store.held() = None;
        return Ok(RederiveStep::AllDone);
    };

    let target = derivation_stamp(rules);
    let mut tx = store.writing().await?;
    let row: Option<(Option<String>, Option<String>)> = sqlx::query_as(PLACE)
        .bind(&room_id)
        .fetch_optional(&mut *tx)
        .await?;
    let place = row
        .filter(|(aim, _)| aim.as_deref() == Some(&target))
        .and_then(|(_, place)| RebuildPlace::from_text(&place?))
        .unwrap_or_default();
    let before = place.events;
    let next = rebuild::rebuild_part_in(&mut tx, store.derivation(rules), &room_id, place).await?;
    if let Some(place) = next {
        sqlx::query(MOVE)
            .bind(&room_id)
            .bind(place.to_text())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        if let Some(progress) = store.held().as_mut() {
            progress.events_done += place.events - before;
        }

        return Ok(RederiveStep::Went);
    }

    tx.commit().await?;
    rebuild::recount_calls(store, &room_id).await?;
    store_room_stamp(store, &room_id, &target).await?;
    if let Some(progress) = store.held().as_mut() {
        progress.rooms.remove(&room_id);
    }

    Ok(RederiveStep::RoomDone(room_id))
}
