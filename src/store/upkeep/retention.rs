//! Deletion by age. Each function is one short transaction; the caller repeats it until nothing is
//! left.
//!
//! Raw events are deleted first, member key by member key. A key is sealed where that changes
//! nothing that is derived from it, and only then its older events are deleted. A call is deleted
//! when all its stays are before the seals of their keys. Rooms with an open read of history are
//! left out, because the read compares what it reads with what is stored.

use super::retention_cutoffs;
use crate::rtc::fold::{Rules, fold_member_key};
use crate::rtc::membership::Membership;
use crate::store::db::dialect::Dialect;
use crate::store::derive::{checkpoints, member_keys, session_counters};
use crate::store::ingest::rooms;
use crate::store::{Error, Reader, Writer, to_i64};
use sqlx::Row;
use std::collections::BTreeSet;

/// Maximum rows deleted at once.
pub const BATCH: usize = 500;

/// What was deleted by age so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTotal {
    /// `events`, `calls` or `snapshots`.
    pub what: String,
    pub total: i64,
    /// When deletion last ran, ms.
    pub last_ms: i64,
}

const SETTLED: &str = "select room_id from rooms r where not exists
    (select 1 from history_jobs j where j.kind in ('backfill', 'gap') and j.room_id = r.room_id
    and j.done_ms is null) order by room_id";

/// Rooms without an open read of history.
///
/// # Errors
/// When the database fails.
pub async fn rooms_without_open_read(store: &Reader) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(SETTLED).fetch_all(&store.read).await?)
}

const IN_STATE: &str = "select members from snapshots s where room_id = $1 and taken_ms =
    (select max(n.taken_ms) from snapshots n where n.room_id = s.room_id
    and n.vantage_id = s.vantage_id)";

/// The ids of the member events that were in the room's state at the last poll of each vantage.
/// They must not be deleted, since the homeserver sends them again at every poll.
///
/// # Errors
/// When the database fails.
pub async fn events_in_state(store: &Reader, room_id: &str) -> Result<BTreeSet<String>, Error> {
    let sets: Vec<String> = sqlx::query_scalar(IN_STATE)
        .bind(room_id)
        .fetch_all(&store.read)
        .await?;

    Ok(sets
        .iter()
        .flat_map(|set| set.lines())
        .map(ToOwned::to_owned)
        .collect())
}

const CHAINS: &str = "select distinct chain from events where room_id = $1 and chain is not null
    and origin_server_ts < $2 order by chain";

/// The member keys of a room with events before this time, ms, by the events' own stamps.
///
/// # Errors
/// When the database fails.
pub async fn list_old_keys(
    store: &Reader,
    room_id: &str,
    before: i64,
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(CHAINS)
        .bind(room_id)
        .bind(before)
        .fetch_all(&store.read)
        .await?)
}

const LATEST: &str = "select coalesce(max(stream), 0) from events";
const SINCE: &str = "select count(*) from events where stream > $1 and room_id = $2";

/// Seals a member key at `before`, ms, or at the start of the stay that lasts at that time (of
/// several, of the first). A seal is only raised: one that is there already stays. Returns true if
/// the key is sealed, and false if that would change derived data or if something was written
/// meanwhile. The fold is computed without blocking the writer, which only stores the
/// result.
///
/// # Errors
/// When the database fails.
pub async fn raise_cutoff(
    store: &Writer,
    rules: &Rules,
    room_id: &str,
    member_key: &str,
    before: i64,
) -> Result<bool, Error> {
    let mut read = store.read.begin().await?;
    let latest: i64 = sqlx::query_scalar(LATEST).fetch_one(&mut *read).await?;
    let old = retention_cutoffs::read_cutoff(&mut read, room_id, member_key).await?;
    let (events, room) = member_keys::read_fold_input(&mut read, room_id, member_key, old).await?;
    read.rollback().await?;
    let members = |cut: i64| {
        let (mut members, _) = fold_member_key(
            member_key,
            events
                .iter()
                .filter(|event| retention_cutoffs::is_after_cutoff(event, cut)),
            &room,
            rules,
        );
        retention_cutoffs::clamp_to_cutoff(&mut members, cut);
        members
    };

    let known = members(old);
    let lasting = known
        .iter()
        .filter(|member| member.joined_ms < before && member.until_ms >= before);
    let cut = lasting
        .map(|member| member.joined_ms)
        .min()
        .unwrap_or(before);
    if cut <= old {
        return Ok(true);
    }

    let kept: Vec<&Membership> = known
        .iter()
        .filter(|member| member.joined_ms >= cut)
        .collect();
    let after = members(cut);
    if kept != after.iter().collect::<Vec<_>>() {
        return Ok(false);
    }

    let mut tx = store.writing().await?;
    // The write comes first: otherwise another process could write between our read and our write.
    retention_cutoffs::store_cutoff(&mut tx, room_id, member_key, cut).await?;
    let since: i64 = sqlx::query_scalar(SINCE)
        .bind(latest)
        .bind(room_id)
        .fetch_one(&mut *tx)
        .await?;
    if since > 0 {
        // Something came meanwhile; the next run will do.
        tx.rollback().await?;
        return Ok(false);
    }

    // The checkpoints stand for events that no longer count.
    checkpoints::delete_key_checkpoints(&mut tx, room_id, member_key).await?;
    tx.commit().await?;

    Ok(true)
}

const BEHIND_SEAL: &str =
    "select e.event_id from events e join seals s on s.room_id = e.room_id and s.chain = e.chain
    where e.room_id = $1 and e.chain = $2 and e.time_ms < s.cut_ms";

/// The ids of the events of a member key that are before its seal.
///
/// # Errors
/// When the database fails.
pub async fn events_before_cutoff(
    store: &Reader,
    room_id: &str,
    member_key: &str,
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(BEHIND_SEAL)
        .bind(room_id)
        .bind(member_key)
        .fetch_all(&store.read)
        .await?)
}

// Membership events of the room are kept while they can still decide about a stay: the newest of
// each user, and all of a user with member events.
const LOOSE: &str =
    "select e.event_id from events e where e.room_id = $1 and e.origin_server_ts < $2
        and e.chain is null
    and (e.rejected is not null or e.kind in ('', 'm.room.encrypted', 'org.matrix.msc3401.call',
    'm.call',
        'org.matrix.msc4075.rtc.notification', 'm.rtc.notification',
        'org.matrix.msc4075.call.notify', 'm.call.notify',
        'org.matrix.msc4310.rtc.decline', 'm.rtc.decline')
    or (e.kind = 'm.room.redaction' and not exists
        (select 1 from events t where t.event_id = e.redacts and t.room_id = e.room_id))
    or (e.kind = 'm.room.member' and exists (select 1 from events n where n.room_id = e.room_id
    and n.chain is null and n.kind = e.kind
            and n.state_key = e.state_key and (n.origin_server_ts,
            n.event_id) > (e.origin_server_ts, e.event_id))
        and not exists (select 1 from chains c where c.room_id = e.room_id
        and c.sender = e.state_key
            and exists (select 1 from events x where x.room_id = c.room_id
            and x.chain = c.chain))))";

/// Events before this time, ms, that decide about no stay: rings, events that could not be used,
/// and membership events of the room and redactions that no longer decide anything. Names and other
/// facts of a room are never among them.
///
/// # Errors
/// When the database fails.
pub async fn old_events_without_key(
    store: &Reader,
    room_id: &str,
    before: i64,
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(LOOSE)
        .bind(room_id)
        .bind(before)
        .fetch_all(&store.read)
        .await?)
}

const DELETE: &str = "delete from events where event_id = $1 and room_id = $2";
const UNSEE: &str = "delete from sightings where event_id = $1 and room_id = $2";

/// Deletes these events of a room at `now`, ms. The caller passes at most [`BATCH`].
///
/// # Errors
/// When the database fails.
pub async fn delete_stored_events(
    store: &Writer,
    room_id: &str,
    event_ids: &[&String],
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    let mut gone = 0;
    for event_id in event_ids {
        let done = sqlx::query(DELETE)
            .bind(event_id)
            .bind(room_id)
            .execute(&mut *tx)
            .await?;
        gone += done.rows_affected();
        sqlx::query(UNSEE)
            .bind(event_id)
            .bind(room_id)
            .execute(&mut *tx)
            .await?;
    }

    add_to_deleted(&mut tx, "events", gone, now).await?;
    tx.commit().await?;

    Ok(())
}

const COUNT: &str = "insert into removed (what, total, last_ms) values ($1, $2, $3)
    on conflict (what) do update set total = removed.total + excluded.total,
    last_ms = excluded.last_ms";

/// Adds to the total of what was deleted by age, at `now`, ms, also if it is nothing: the time of
/// the last deletion moves. `what` is `events`, `calls` or `snapshots`.
async fn add_to_deleted(
    tx: &mut crate::store::Tx,
    what: &str,
    more: u64,
    now: i64,
) -> Result<(), Error> {
    let more = i64::try_from(more).unwrap_or(i64::MAX);
    sqlx::query(COUNT)
        .bind(what)
        .bind(more)
        .bind(now)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const SNAPSHOTS: &str = "delete from snapshots where (room_id, vantage_id, taken_ms) in
    (select s.room_id, s.vantage_id, s.taken_ms from snapshots s where s.last_seen_ms < $1
    and s.taken_ms <
        (select max(n.taken_ms) from snapshots n where n.room_id = s.room_id
        and n.vantage_id = s.vantage_id) limit $2)";

/// Deletes a batch of snapshots last seen before the time `before`, ms, but never the newest of a
/// vantage. Returns false if there was none to delete.
///
/// # Errors
/// When the database fails.
pub async fn delete_snapshots(store: &Writer, before: i64, now: i64) -> Result<bool, Error> {
    let mut tx = store.writing().await?;
    let done = sqlx::query(SNAPSHOTS)
        .bind(before)
        .bind(to_i64(BATCH))
        .execute(&mut *tx)
        .await?;
    add_to_deleted(&mut tx, "snapshots", done.rows_affected(), now).await?;
    tx.commit().await?;

    Ok(done.rows_affected() > 0)
}

/// Records other than events: what polls and limits found, who is no longer in a room, and rules
/// that were replaced since. A user with a later stay stays known as no longer in the room. A doubt
/// about our clock is dated by its last good reading, because the doubted reading is wrong.
const BESIDE: [&str; 6] = [
    "delete from state_resets where (room_id, made_event_id) in
        (select room_id, made_event_id from state_resets where noticed_ms < $1 limit $2)",
    "delete from set_aside where (room_id, sender, hour) in
        (select room_id, sender, hour from set_aside where (hour + 1) * 3600000 < $1 limit $2)",
    "delete from clock_doubts where from_stream in
        (select from_stream from clock_doubts where high_ms < $1 or (high_ms is null
        and seen_ms < $1) limit $2)",
    "delete from clock_offs where (from_ms, found_by) in
        (select from_ms, found_by from clock_offs where to_ms < $1 limit $2)",
    "delete from room_members where (room_id, user_id) in
        (select m.room_id, m.user_id from room_members m where m.joined = 0 and m.event_ms < $1
        and not exists
            (select 1 from history_jobs j where j.kind in ('backfill', 'gap')
            and j.room_id = m.room_id and j.done_ms is null) and not exists
            (select 1 from memberships s where s.user_id = m.user_id and s.room_id = m.room_id
            and s.until_ms >= $1) limit $2)",
    "delete from room_rules where (room_id, kind, time_ms, event_id) in
        (select r.room_id, r.kind, r.time_ms, r.event_id from room_rules r where r.time_ms < $1
        and exists
            (select 1 from room_rules n where n.room_id = r.room_id and n.kind = r.kind
            and n.time_ms < $1
                and (n.time_ms, n.event_id) > (r.time_ms, r.event_id)) limit $2)",
];

/// Deletes a batch of each kind of record named in `BESIDE` from before this time, ms. Returns
/// false if there was none to delete. The rules in force at that time are kept.
///
/// # Errors
/// When the database fails.
pub async fn delete_side_records(store: &Writer, before: i64) -> Result<bool, Error> {
    let mut tx = store.writing().await?;
    let mut gone = 0;
    for sql in BESIDE {
        let done = sqlx::query(sql)
            .bind(before)
            .bind(to_i64(BATCH))
            .execute(&mut *tx)
            .await?;
        gone += done.rows_affected();
    }

    tx.commit().await?;

    Ok(gone > 0)
}

const CALLS: &str = "select s.id, s.tally, s.started_ms, s.until_ms from sessions s
    where s.room_id = $1 and s.until_ms < $2 and not exists
    (select 1 from memberships m left join seals x on x.room_id = m.room_id and x.chain = m.chain
        where m.session_id = s.id and (x.cut_ms is null or m.joined_ms >= x.cut_ms)) limit $3";
const CALL: &str = "delete from sessions where id = $1";
const STAYS: &str = "delete from memberships where session_id = $1";
const EMPTY: &str = "delete from memberships where id in
    (select m.id from memberships m join seals x on x.room_id = m.room_id and x.chain = m.chain
        where m.room_id = $1 and m.session_id is null and m.until_ms < $2
        and m.joined_ms < x.cut_ms limit $3)";
const SEALS: &str = "delete from seals where (room_id, chain) in (select x.room_id, x.chain
    from seals x
    where x.room_id = $1 and not exists (select 1 from events e where e.room_id = x.room_id
    and e.chain = x.chain)
    and not exists (select 1 from memberships m where m.room_id = x.room_id and m.chain = x.chain)
    limit $2)";
const FORMER: &str = "delete from former_calls where room_id = $1 and started_ms < $2
    and not exists (select 1
    from sessions s where s.room_id = former_calls.room_id
    and s.started_ms <= former_calls.started_ms)";
const CHAINS_LEFT: &str = "delete from chains where room_id = $1
    and not exists (select 1 from events e where e.room_id = chains.room_id
    and e.chain = chains.chain)";

/// Deletes a batch of a room's calls that ended before the time `before`, ms, with their stays, if
/// all of these are sealed; also stays without a call, and seals that nothing needs any more.
/// Returns false if there was nothing to delete.
///
/// # Errors
/// When the database fails.
pub async fn delete_calls(
    store: &Writer,
    room_id: &str,
    before: i64,
    now: i64,
) -> Result<bool, Error> {
    let mut tx = store.writing().await?;
    rooms::count_write(&mut tx, room_id).await?;
    let few = to_i64(BATCH / 5);
    let query = sqlx::query(CALLS).bind(room_id).bind(before).bind(few);
    let rows = query.fetch_all(&mut *tx).await?;
    let mut spans: Vec<(i64, i64)> = Vec::with_capacity(rows.len());
    let mut ids: Vec<String> = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: String = row.try_get("id")?;
        ids.push(id.clone());
        spans.push((row.try_get("started_ms")?, row.try_get("until_ms")?));
        sqlx::query(STAYS).bind(&id).execute(&mut *tx).await?;
        sqlx::query(CALL).bind(&id).execute(&mut *tx).await?;
        if let Some(tally) = row.try_get("tally")? {
            session_counters::delete_tally(&mut tx, tally).await?;
        }
    }

    crate::store::derive::dirty::discard_day_totals(&mut tx, &spans).await?;
    crate::store::derive::stale_findings::discard_findings_of_calls(&mut tx, &ids).await?;
    let empty = sqlx::query(EMPTY)
        .bind(room_id)
        .bind(before)
        .bind(few)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    let seals = sqlx::query(SEALS)
        .bind(room_id)
        .bind(few)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    if rows.is_empty() && empty + seals == 0 {
        sqlx::query(FORMER)
            .bind(room_id)
            .bind(before)
            .execute(&mut *tx)
            .await?;
        sqlx::query(CHAINS_LEFT)
            .bind(room_id)
            .execute(&mut *tx)
            .await?;
    }

    add_to_deleted(&mut tx, "calls", rows.len() as u64, now).await?;
    tx.commit().await?;

    Ok(!rows.is_empty() || empty + seals > 0)
}

const FREE: &str =
    "select freelist_count from pragma_freelist_count, pragma_auto_vacuum where auto_vacuum = 2";

/// Returns a batch of the file's free pages to the operating system. Returns false if there are
/// none. `PostgreSQL` does so itself.
///
/// # Errors
/// When the database fails.
pub async fn release_free_pages(store: &Writer) -> Result<bool, Error> {
    if store.dialect() == Dialect::Postgres {
        return Ok(false);
    }

    let mut connection = store.write.acquire().await?;
    let free: Option<i64> = sqlx::query_scalar(FREE)
        .fetch_optional(&mut *connection)
        .await?;
    if free.unwrap_or(0) == 0 {
        sqlx::query("pragma wal_checkpoint(passive)")
            .fetch_all(&mut *connection)
            .await?;
        return Ok(false);
    }

    sqlx::query("pragma incremental_vacuum(500)")
        .fetch_all(&mut *connection)
        .await?;

    Ok(true)
}

const REMOVED: &str = "select what, total, last_ms from removed order by what";

/// What was deleted by age so far; empty if no age was ever configured.
///
/// # Errors
/// When the database fails.
pub async fn list_deleted_totals(store: &Reader) -> Result<Vec<DeletedTotal>, Error> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(REMOVED).fetch_all(&store.read).await?;
    Ok(rows
        .into_iter()
        .map(|(what, total, last_ms)| DeletedTotal {
            what,
            total,
            last_ms,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::read::tests::Bed;

    async fn left(bed: &Bed, sql: &'static str) -> Vec<String> {
        sqlx::query_scalar(sql)
            .fetch_all(&bed.store.read)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_stands_beside_events_goes_by_age() {
        let bed = Bed::new().await;
        for sql in [
            "insert into state_resets (room_id, made_event_id, kind, user_id, newest_event_id,
                noticed_ms)
                values ('!r:h', 'old', 'call_member_back', '@a:h', '$1', 99), ('!r:h', 'new',
                'call_member_back', '@a:h', '$1', 7200000)",
            "insert into set_aside (room_id, sender, hour, events) values ('!r:h', 'old', 0, 1),
                ('!r:h', 'new', 1, 1)",
            "insert into clock_doubts (from_stream, to_stream, seen_ms, high_ms) values (1, 1, 1,
                99), (2, 2, 1, 7200000), (3, 3, 1, null)",
            "insert into clock_offs (from_ms, to_ms, off_ms, found_by) values (1, 99, 5,
                'counting'), (2, 7200000, 5, 'counting')",
            "insert into room_members (room_id, user_id, joined, event_ms, event_id)
                values ('!r:h', 'old', 0, 99, '$1'),
                ('!r:h', 'here', 1, 99, '$2'), ('!r:h', 'new', 0, 7200000, '$3')",
            "insert into room_rules (room_id, kind, time_ms, event_id, sender, json)
                values ('!r:h', 'p', 98, 'old', '@a:h', '{}'),
                ('!r:h', 'p', 99, 'held', '@a:h', '{}'), ('!r:h', 'p', 7200000, 'new', '@a:h',
                '{}'), ('!r:h', 'q', 1, 'only', '@a:h', '{}')",
        ] {
            bed.run(sql).await;
        }

        assert!(
            delete_side_records(&bed.store, 7_200_000 - 1)
                .await
                .unwrap()
        );
        assert!(
            !delete_side_records(&bed.store, 7_200_000 - 1)
                .await
                .unwrap()
        );
        let kept = [
            ("select made_event_id from state_resets", vec!["new"]),
            ("select sender from set_aside", vec!["new"]),
            (
                "select cast(from_stream as text) from clock_doubts",
                vec!["2"],
            ),
            ("select cast(from_ms as text) from clock_offs", vec!["2"]),
            (
                "select user_id from room_members order by user_id",
                vec!["here", "new"],
            ),
            (
                "select event_id from room_rules order by event_id",
                vec!["held", "new", "only"],
            ),
        ];

        for (sql, expected) in kept {
            assert_eq!(left(&bed, sql).await, expected, "{sql}");
        }
    }
}
