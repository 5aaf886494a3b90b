//! Rebuild. All derived data is derived again from the stored events, in small transactions. A
//! running server can write in between, and its readers never see a room without its calls.

use super::member_keys::FoldConditions;
use super::memberships::{FoldGroup, GROUP};
use super::sessions::{self, SessionChanges};
use super::{membership_rows, session_counters, slots};
use crate::rtc::fold::Rules;
use crate::rtc::session::{Session, SessionCounter};
use crate::store::db::dialect::Dialect;
use crate::store::db::json_row::read_rows;
use crate::store::derive::session_rows::{SessionRow, session_from_row};
use crate::store::ingest::new_events::NewEvents;
use crate::store::ingest::rooms;
use crate::store::stats::concurrency;
use crate::store::{Derivation, Error, Reader, Tx, Writer, to_i64};
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use std::collections::BTreeMap;

const SIZES: &str =
    "select room_id, count(*) from events where chain is not null and ($1 = '' or room_id = $1)
    group by room_id order by room_id";

/// How many member events each room has, by room id; of one room or, with `None`, of all. Rooms
/// without member events are left out.
///
/// # Errors
/// When the database fails.
pub async fn count_member_events(
    store: &Reader,
    room_id: Option<&str>,
) -> Result<Vec<(String, i64)>, Error> {
    Ok(sqlx::query_as(SIZES)
        .bind(room_id.unwrap_or_default())
        .fetch_all(&store.read)
        .await?)
}

/// How far the member keys of a room are derived again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildPlace {
    /// The last member key that was begun.
    member_key: String,
    /// Member keys that are not finished, because they have many events, and up to which time
    /// (excluded) they are done, ms. They come before further member keys.
    open: Vec<(String, i64)>,
    /// The member events read so far.
    pub events: i64,
}

impl RebuildPlace {
    /// The place of a text that [`Self::to_text`] wrote; `None` if the text cannot be read.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The place as it is stored, so that a stop loses no work.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

const SOME: &str =
    "select distinct chain from events where room_id = $1 and chain > $2 order by chain limit $3";

/// Derives the next part of a room again: one page of events of each of several member keys.
/// Returns the place where to continue; `None` when all member keys of the room are done. Its calls
/// are not complete until [`recount_calls`] has run.
///
/// # Errors
/// When the database fails; then nothing of this step was written.
pub async fn rebuild_next_part(
    store: &Writer,
    rules: &Rules,
    room_id: &str,
    place: RebuildPlace,
) -> Result<Option<RebuildPlace>, Error> {
    let mut tx = store.writing().await?;
    let place = rebuild_part_in(&mut tx, store.derivation(rules), room_id, place).await?;
    tx.commit().await?;
    Ok(place)
}

/// Like [`rebuild_next_part`], in a transaction that the caller commits.
pub(super) async fn rebuild_part_in(
    tx: &mut Tx,
    derivation: Derivation<'_>,
    room_id: &str,
    mut place: RebuildPlace,
) -> Result<Option<RebuildPlace>, Error> {
    rooms::count_write(tx, room_id).await?;
    if place == RebuildPlace::default() {
        slots::rebuild_slots(tx, room_id).await?;
    }

    let mut member_keys: Vec<(String, (i64, i64))> = place
        .open
        .drain(..)
        .map(|(member_key, reached)| (member_key, (reached, i64::MAX)))
        .collect();
    if member_keys.is_empty() {
        let query = sqlx::query_scalar(SOME)
            .bind(room_id)
            .bind(&place.member_key)
            .bind(to_i64(GROUP));
        let next: Vec<String> = query.fetch_all(&mut **tx).await?;
        if let Some(last) = next.last() {
            place.member_key.clone_from(last);
        }

        member_keys.extend(
            next.into_iter()
                .map(|member_key| (member_key, (i64::MIN, i64::MAX))),
        );
    }

    if member_keys.is_empty() {
        rooms::refresh_room_facts(tx, room_id).await?;
        return Ok(None);
    }

    let mut conditions = FoldConditions::default();
    conditions.read(tx, room_id).await?;
    let fresh = NewEvents::default();
    let mut work = FoldGroup::new(derivation, room_id, &mut conditions, &fresh);
    let tasks = work.begin(tx, &member_keys).await?;
    let mut tasks = work.fold_next_page(tx, tasks).await?;
    // The next transaction would begin with a small page again, and never end.
    while work.is_stuck() && !tasks.is_empty() {
        tasks = work.fold_next_page(tx, tasks).await?;
    }

    place.open = tasks
        .iter()
        .map(|task| (task.member_key().to_owned(), task.reached()))
        .collect();
    place.events += work.read();
    let changes = work.done(tx).await?;
    crate::store::derive::sessions::write_memberships_and_sessions(
        tx,
        derivation.tuning,
        room_id,
        &changes,
    )
    .await?;

    Ok(Some(place))
}

const SLOTS: &str = "select slot_id from memberships where room_id = $1 union select slot_id
    from sessions where room_id = $1";

/// Computes all calls of a room again from its stored stays, slot by slot, and deletes those that
/// no longer exist.
///
/// # Errors
/// When the database fails.
pub async fn recount_calls(store: &Writer, room_id: &str) -> Result<(), Error> {
    let slots: Vec<String> = sqlx::query_scalar(SLOTS)
        .bind(room_id)
        .fetch_all(&store.read)
        .await?;
    for slot in slots {
        let mut from = Some(i64::MIN);
        while let Some(begin) = from {
            from = recount_next_calls(store, room_id, &slot, begin).await?;
        }
    }

    let mut tx = store.writing().await?;
    crate::store::derive::dirty::discard_all_day_totals(&mut tx).await?;
    tx.commit().await?;

    Ok(())
}

/// How many times a portion is read without blocking the writer; after that the writer waits once.
const TRIES: usize = 5;

/// Computes the next calls of a slot, from this time on, ms, and writes them. No call may reach
/// across that time. Returns the time, ms, from which on there may be more; `None` at the end of
/// the slot.
///
/// The stays are read without blocking the writer, who waits only while the result is written. If
/// somebody wrote to the room meanwhile, they are read again; after a few tries they are read while
/// the writer waits.
async fn recount_next_calls(
    store: &Writer,
    room_id: &str,
    slot: &str,
    from: i64,
) -> Result<Option<i64>, Error> {
    for _ in 0..TRIES {
        let mut connection = store.read.acquire().await?;
        let writes = rooms::read_write_count(&mut connection, room_id).await?;
        let mut portion = CallPortion::new(room_id, slot, from);
        // False means that somebody wrote to the room, so that the portion is out of date.
        if !portion
            .read_calls(&mut connection, Some((store, writes)))
            .await?
        {
            continue;
        }

        drop(connection);
        let mut tx = store.writing().await?;
        rooms::count_write(&mut tx, room_id).await?;
        // The one write since is the line above.
        if rooms::read_write_count(&mut tx, room_id).await? == writes + 1 {
            let more = portion.record_sessions(&mut tx).await?;
            tx.commit().await?;
            return Ok(more);
        }

        tx.rollback().await?;
    }

    let mut tx = store.writing().await?;
    rooms::count_write(&mut tx, room_id).await?;
    let mut portion = CallPortion::new(room_id, slot, from);
    portion.read_calls(&mut tx, None).await?;
    let more = portion.record_sessions(&mut tx).await?;
    tx.commit().await?;

    Ok(more)
}

/// Some consecutive calls of a slot, computed anew from its stays.
struct CallPortion<'a> {
    room_id: &'a str,
    slot: &'a str,
    /// Where the portion begins, ms. No call reaches across it.
    from: i64,
    /// Where the portion ends, ms, if more calls follow.
    end: Option<i64>,
    outcome: SessionChanges,
}

impl<'a> CallPortion<'a> {
    /// A portion that begins at `from`, ms, and of which nothing is read yet.
    fn new(room_id: &'a str, slot: &'a str, from: i64) -> Self {
        Self {
            room_id,
            slot,
            from,
            end: None,
            outcome: SessionChanges::default(),
        }
    }

    /// Reads stays and counts them to calls, until there are enough whole calls or no stays are
    /// left. Returns false if somebody wrote to the room meanwhile, so that all must be read again.
    ///
    /// `beside` is given if the writer is not kept waiting: the store, and the room's count of
    /// writes from before the reading. Then which call each stay belongs to is written on the way,
    /// so that it does not pile up in memory for a call of many stays. With `None` the caller's
    /// transaction keeps others out, and the result is always true.
    async fn read_calls(
        &mut self,
        connection: &mut AnyConnection,
        beside: Option<(&Writer, i64)>,
    ) -> Result<bool, Error> {
        let mut count = SessionCounter::default();
        let mut from = Some(self.from);
        while let Some(begin) = from {
            let (rows, more) =
                sessions::read_next_stays(connection, self.room_id, self.slot, begin, i64::MAX)
                    .await?;
            from = more;
            for (stay, session) in rows {
                if stay.until_ms <= stay.joined_ms {
                    self.outcome
                        .assigned
                        .extend(session.map(|_| (stay.id, None)));
                    continue;
                }

                if count.is_over(&stay) {
                    self.outcome
                        .sessions
                        .extend(count.end().map(|session| (session, None)));
                }

                count.push(self.room_id, self.slot, &stay);
                let counted = count.session().map(|session| session.id.clone());
                if counted != session {
                    self.outcome.assigned.insert(stay.id, counted);
                }
            }

            let until = self
                .outcome
                .sessions
                .last()
                .map(|(session, _)| session.until_ms);
            if let (Some(_), Some(until)) = (from, until) {
                // A call that was begun is read again with the next portion.
                self.end = Some(until);
                self.remove_assignments_to(count.session());
                return Ok(true);
            }

            if let Some((store, writes)) = beside
                && !self.write_assignments(store, writes).await?
            {
                return Ok(false);
            }
        }

        self.outcome
            .sessions
            .extend(count.end().map(|session| (session, None)));

        Ok(true)
    }

    /// Removes the assignments to this call, which is not part of the portion because it was read
    /// in part only.
    fn remove_assignments_to(&mut self, session: Option<&Session>) {
        self.outcome
            .assigned
            .retain(|_, id| id.as_deref() != session.map(|session| session.id.as_str()));
    }

    /// Writes which call each stay read so far belongs to, before the calls themselves are written.
    /// Returns false, and writes nothing, if the room's count of writes is no longer `writes`.
    async fn write_assignments(&mut self, store: &Writer, writes: i64) -> Result<bool, Error> {
        if self.outcome.assigned.is_empty() {
            return Ok(true);
        }

        let mut tx = store.writing().await?;
        rooms::lock_room(&mut tx, self.room_id).await?;
        let fresh = rooms::read_write_count(&mut tx, self.room_id).await? == writes;
        if fresh {
            membership_rows::assign_sessions(&mut tx, std::mem::take(&mut self.outcome.assigned))
                .await?;
        }

        tx.commit().await?;

        Ok(fresh)
    }

    /// Writes the calls of the portion that changed, and deletes the stored ones that no longer
    /// exist. Returns the time, ms, at which the next portion begins; `None` if this is the last
    /// one.
    async fn record_sessions(mut self, tx: &mut Tx) -> Result<Option<i64>, Error> {
        let to = self.end.unwrap_or(i64::MAX);
        let query = Dialect::of_connection(tx)
            .query(WITHIN)
            .bind(self.room_id)
            .bind(self.slot)
            .bind(self.from)
            .bind(to);
        let mut old: BTreeMap<String, (Session, Option<i64>)> = BTreeMap::new();
        let rows = query.fetch_all(&mut **tx).await?;
        for (session, tally) in read_rows(&rows, session_from_row)? {
            old.insert(session.id.clone(), (session, tally));
        }

        let mut changed = Vec::new();
        for new in std::mem::take(&mut self.outcome.sessions) {
            match old.remove(&new.0.id) {
                Some(known) if known == new => continue,
                // The tally is deleted and begun again when it is needed, because it may be what is
                // wrong.
                Some((_, Some(tally))) => session_counters::delete_tally(tx, tally).await?,
                _ => {}
            }

            changed.push(new);
        }

        for (_, tally) in old.values() {
            if let Some(tally) = tally {
                session_counters::delete_tally(tx, *tally).await?;
            }
        }

        let gone: Vec<Session> = old.into_values().map(|(session, _)| session).collect();
        crate::store::derive::session_rows::delete_sessions(tx, self.room_id, &gone).await?;
        crate::store::derive::session_rows::write_sessions(tx, self.room_id, &changed).await?;
        membership_rows::assign_sessions(tx, self.outcome.assigned).await?;

        Ok(self.end.map(|end| end + 1))
    }
}

const WITHIN: &str = sql!(
    "select ",
    SessionRow::LIST,
    " from sessions s where s.room_id = $1 and s.slot_id = $2 and s.started_ms >= $3
        and s.started_ms <= $4"
);

const STAYS: &str = "select count(*) from memberships";

/// The size of the database in bytes, and the number of stays in it.
///
/// # Errors
/// When the database fails.
pub async fn measure_database(store: &Reader) -> Result<(i64, i64), Error> {
    let stays = sqlx::query_scalar(STAYS).fetch_one(&store.read).await?;
    Ok((concurrency::database_bytes(store).await?, stays))
}
