//! Sessions, which pages call calls: derived from memberships, replaced span by span; read as lists and one by one.

use super::memberships::Change;
use super::row::{Call, CallFilter, Cursor, RoomName, Viewer};
use super::tally::{self, Move};
use super::{Error, Grain, Store, Tx, int};
use crate::rtc::member::Format;
use crate::rtc::membership::{EndReason, Membership};
use crate::rtc::session::{Session, fold};
use crate::rtc::slot::SlotId;
use crate::rtc::transport::Selection;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};

const WITHIN: &str =
    "select * from sessions where room_id = $1 and slot_id = $2 and started_ms >= $3 and started_ms <= $4";
const BEFORE: &str = "select * from sessions where room_id = $1 and slot_id = $2 and started_ms < $3
    order by started_ms desc limit 1";
const MEMBERS: &str =
    "select * from memberships where room_id = $1 and slot_id = $2 and joined_ms >= $3 and joined_ms <= $4";
const DELETE: &str = "delete from sessions where id = $1";
const ASSIGN: &str = "update memberships set session_id = $2 where id = $1";

/// Changes of one slot that touch each other, and their span of time, ms.
struct Cluster<'a> {
    from: i64,
    to: i64,
    changes: Vec<&'a Change>,
}

/// Folds the sessions again that changed memberships touch; the slots concerned.
pub(super) async fn follow(
    tx: &mut Tx,
    grain: Grain,
    room_id: &str,
    changes: &[Change],
) -> Result<BTreeSet<String>, Error> {
    let mut slots: BTreeMap<&str, Vec<(i64, i64, &Change)>> = BTreeMap::new();
    for change in changes {
        for (slot_id, from, to) in change.spans() {
            slots.entry(slot_id).or_default().push((from, to, change));
        }
    }
    for (slot_id, spans) in &mut slots {
        spans.sort_unstable_by_key(|(from, to, change)| (*from, *to, change.id()));
        let mut fresh = BTreeSet::new();
        let mut spans = spans.iter().peekable();
        while let Some((from, to, change)) = spans.next() {
            let mut cluster = Cluster { from: *from, to: *to, changes: vec![change] };
            while let Some((_, to, change)) = spans.next_if(|next| next.0 <= cluster.to) {
                cluster.to = cluster.to.max(*to);
                cluster.changes.push(change);
            }
            cluster.refold(tx, grain, (room_id, slot_id), &mut fresh).await?;
        }
    }
    Ok(slots.into_keys().map(ToOwned::to_owned).collect())
}

impl Cluster<'_> {
    /// Brings the sessions up to date that this cluster touches. `fresh` are those that were counted anew
    /// since the memberships were written: to add the changes to these would be to add them twice.
    async fn refold(
        &self,
        tx: &mut Tx,
        grain: Grain,
        (room_id, slot_id): (&str, &str),
        fresh: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        let old = touching(tx, room_id, slot_id, self.from, self.to).await?;
        let large = old.values().find(|(session, _)| {
            old.len() == 1
                && session.memberships >= grain.tally
                && session.started_ms < self.from
                && !fresh.contains(&session.id)
        });
        if let Some((session, Some(tally))) = large
            && self.in_one_slot()
        {
            let (from, to) = (self.from, self.to);
            let step = Move { session, tally: *tally, from, to, changes: &self.changes };
            if let Some(new) = step.apply(tx).await? {
                return if new == *session { Ok(()) } else { write(tx, room_id, &new, Some(*tally)).await };
            }
        }
        let grow = large.is_some_and(|(_, tally)| tally.is_none()).then_some(grain.tally);
        refold(tx, (room_id, slot_id), (self.from, self.to), old, grow, fresh).await
    }

    /// A stay that changes its slot is news in two: rare, and counted anew.
    fn in_one_slot(&self) -> bool {
        let slots =
            |change: &Change| change.old.as_ref().zip(change.new.as_ref()).is_none_or(|(a, b)| a.slot_id == b.slot_id);
        let distinct: BTreeSet<&str> = self.changes.iter().map(|change| change.id()).collect();
        self.changes.iter().all(|change| slots(change)) && distinct.len() == self.changes.len()
    }
}

/// Counts anew what touches this span, ms. Returns where the last session of it ends.
pub(super) async fn anew(tx: &mut Tx, room_id: &str, slot_id: &str, from: i64, to: i64) -> Result<i64, Error> {
    let old = touching(tx, room_id, slot_id, from, to).await?;
    let end = old.values().map(|(session, _)| session.until_ms).max().unwrap_or(to);
    refold(tx, (room_id, slot_id), (from, to), old, None, &mut BTreeSet::new()).await?;
    Ok(end)
}

/// Folds the sessions of one slot again where its memberships changed between `from` and `to`, ms.
/// The cost follows the sessions that touch this span, not the history of the slot.
async fn refold(
    tx: &mut Tx,
    (room_id, slot_id): (&str, &str),
    (from, to): (i64, i64),
    mut old: BTreeMap<String, (Session, Option<i64>)>,
    tally_from: Option<usize>,
    fresh: &mut BTreeSet<String>,
) -> Result<(), Error> {
    let low = old.values().map(|(session, _)| session.started_ms).min().unwrap_or(from).min(from);
    let high = old.values().map(|(session, _)| session.until_ms).max().unwrap_or(to).max(to);
    // Sessions are disjoint, so every membership of those found begins within them.
    let rows = sqlx::query(MEMBERS).bind(room_id).bind(slot_id).bind(low).bind(high).fetch_all(&mut **tx).await?;
    let mut assigned: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut members = BTreeMap::new();
    for row in &rows {
        let member = membership(row)?;
        assigned.insert(member.id.clone(), row.try_get("session_id")?);
        members.insert(member.id.clone(), member);
    }
    for tally in old.values().filter_map(|(_, tally)| *tally) {
        tally::end(tx, tally).await?;
    }
    for mut session in fold(room_id, members.values()) {
        let ids = std::mem::take(&mut session.membership_ids);
        for member in &ids {
            if assigned.remove(member).flatten().as_deref() != Some(&session.id) {
                assign(tx, member, Some(&session.id)).await?;
            }
        }
        let mut tally = None;
        if tally_from.is_some_and(|least| session.memberships >= least) {
            let stays = ids.iter().filter_map(|id| members.get(id));
            let stays = stays.map(|m| (m.user_id.as_str(), m.device_key().1, m.intent.as_deref()));
            tally = Some(tally::begin(tx, stays).await?);
        }
        fresh.insert(session.id.clone());
        if old.remove(&session.id) != Some((session.clone(), tally)) {
            write(tx, room_id, &session, tally).await?;
        }
    }
    for (member, _) in assigned.into_iter().filter(|(_, session)| session.is_some()) {
        assign(tx, &member, None).await?;
    }
    for id in old.into_keys() {
        sqlx::query(DELETE).bind(id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// The stored sessions of a slot that touch the span, by id.
async fn touching(
    tx: &mut Tx,
    room_id: &str,
    slot_id: &str,
    from: i64,
    to: i64,
) -> Result<BTreeMap<String, (Session, Option<i64>)>, Error> {
    let before = sqlx::query(BEFORE).bind(room_id).bind(slot_id).bind(from).fetch_optional(&mut **tx).await?;
    let mut rows = sqlx::query(WITHIN).bind(room_id).bind(slot_id).bind(from).bind(to).fetch_all(&mut **tx).await?;
    rows.extend(before);
    let mut sessions = BTreeMap::new();
    for row in &rows {
        let session = stored(row)?;
        if session.until_ms >= from {
            sessions.insert(session.id.clone(), (session, row.try_get("tally")?));
        }
    }
    Ok(sessions)
}

pub(super) async fn assign(tx: &mut Tx, member: &str, session: Option<&str>) -> Result<(), Error> {
    sqlx::query(ASSIGN).bind(member).bind(session).execute(&mut **tx).await?;
    Ok(())
}

/// As much of a stored membership as the fold to sessions reads.
fn membership(row: &AnyRow) -> Result<Membership, Error> {
    Ok(Membership {
        id: row.try_get("id")?,
        chain: row.try_get("chain")?,
        slot: SlotId::from_text(row.try_get("slot_id")?),
        user_id: row.try_get("user_id")?,
        device_id: row.try_get("device_id")?,
        format: Format::Session,
        joined_ms: row.try_get("joined_ms")?,
        opened_ms: row.try_get("joined_ms")?,
        until_ms: row.try_get("until_ms")?,
        end_reason: EndReason::Left,
        updates: 0,
        join_event_id: row.try_get("join_event_id")?,
        end_event_id: None,
        resumed: row.try_get::<i64, _>("resumed")? != 0,
        claimed: false,
        intent: row.try_get("intent")?,
        transport: None,
        selection: Selection::Unknown,
    })
}

fn stored(row: &AnyRow) -> Result<Session, Error> {
    let count = |name: &str| row.try_get::<i64, _>(name).map(|number| usize::try_from(number).unwrap_or(0));
    let servers: String = row.try_get("servers")?;
    Ok(Session {
        id: row.try_get("id")?,
        slot_id: row.try_get("slot_id")?,
        application: row.try_get("application")?,
        started_ms: row.try_get("started_ms")?,
        until_ms: row.try_get("until_ms")?,
        memberships: count("memberships")?,
        users: count("users")?,
        devices: count("devices")?,
        peak: count("peak")?,
        peak_users: count("peak_users")?,
        servers: servers.split_whitespace().map(ToOwned::to_owned).collect(),
        intent: row.try_get("intent")?,
        first_event_id: row.try_get("first_event_id")?,
        membership_ids: Vec::new(),
    })
}

const WRITE: &str = "insert into sessions (id, room_id, slot_id, application, started_ms, until_ms, memberships, users,
        devices, peak, peak_users, servers, intent, first_event_id, tally)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    on conflict (id) do update set started_ms = excluded.started_ms, until_ms = excluded.until_ms,
        memberships = excluded.memberships, users = excluded.users, devices = excluded.devices, peak = excluded.peak,
        peak_users = excluded.peak_users, servers = excluded.servers, intent = excluded.intent,
        tally = excluded.tally";

async fn write(tx: &mut Tx, room_id: &str, session: &Session, tally: Option<i64>) -> Result<(), Error> {
    // A server name holds no white space, so that one can part them.
    let servers: Vec<String> = session.servers.iter().map(|name| name.replace(char::is_whitespace, "")).collect();
    sqlx::query(WRITE)
        .bind(&session.id)
        .bind(room_id)
        .bind(&session.slot_id)
        .bind(&session.application)
        .bind(session.started_ms)
        .bind(session.until_ms)
        .bind(int(session.memberships))
        .bind(int(session.users))
        .bind(int(session.devices))
        .bind(int(session.peak))
        .bind(int(session.peak_users))
        .bind(servers.join(" "))
        .bind(&session.intent)
        .bind(&session.first_event_id)
        .bind(tally)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

const ACTIVE: &str = "select s.*, r.name as room_name, r.alias from sessions s join rooms r on r.room_id = s.room_id
    where s.until_ms > $1 and s.started_ms <= $1 order by s.started_ms desc, s.id desc";

/// Calls active at `now`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn active(store: &Store, viewer: Viewer, now: i64) -> Result<Vec<Call>, Error> {
    let Viewer::Operator = viewer;
    sqlx::query(ACTIVE).bind(now).fetch_all(&store.read).await?.iter().map(call).collect()
}

const PAGE: &str = "select s.*, r.name as room_name, r.alias from sessions s join rooms r on r.room_id = s.room_id
    where (s.started_ms, s.id) < ($1, $2) and s.started_ms < $3 and s.until_ms >= $4 and s.until_ms <= $5
    order by s.started_ms desc, s.id desc limit $6";
const PAGE_ROOM: &str = "select s.*, r.name as room_name, r.alias from sessions s join rooms r on r.room_id = s.room_id
    where (s.started_ms, s.id) < ($1, $2) and s.started_ms < $3 and s.until_ms >= $4 and s.until_ms <= $5
    and s.room_id = $7 order by s.started_ms desc, s.id desc limit $6";

/// The bounds of a filter: started before, ended at or after, ended at or before.
fn bounds(filter: &CallFilter, now: i64) -> (i64, i64, i64) {
    let from = filter.from_ms.unwrap_or(i64::MIN);
    let (at_least, at_most) = match filter.active {
        Some(true) => (from.max(now.saturating_add(1)), i64::MAX),
        Some(false) => (from, now),
        None => (from, i64::MAX),
    };
    // A stamp from the future is no call yet.
    (filter.to_ms.unwrap_or(i64::MAX).min(now.saturating_add(1)), at_least, at_most)
}

/// One page of calls, newest first, after `cursor`.
///
/// # Errors
/// When the database fails.
pub async fn page(
    store: &Store,
    viewer: Viewer,
    filter: &CallFilter,
    cursor: Option<&Cursor>,
    limit: i64,
    now: i64,
) -> Result<Vec<Call>, Error> {
    let Viewer::Operator = viewer;
    let (before, at_least, at_most) = bounds(filter, now);
    let (started_ms, id) = cursor.map_or((i64::MAX, ""), |cursor| (cursor.started_ms, cursor.id.as_str()));
    let query = sqlx::query(if filter.room.is_some() { PAGE_ROOM } else { PAGE });
    let query = query.bind(started_ms).bind(id).bind(before).bind(at_least).bind(at_most).bind(limit);
    let query = if let Some(room) = &filter.room { query.bind(room) } else { query };
    query.fetch_all(&store.read).await?.iter().map(call).collect()
}

const COUNT: &str = "select count(*) from sessions where started_ms < $1 and until_ms >= $2 and until_ms <= $3";
const COUNT_ROOM: &str = "select count(*) from sessions
    where started_ms < $1 and until_ms >= $2 and until_ms <= $3 and room_id = $4";

/// How many calls match.
///
/// # Errors
/// When the database fails.
pub async fn count(store: &Store, viewer: Viewer, filter: &CallFilter, now: i64) -> Result<i64, Error> {
    let Viewer::Operator = viewer;
    let (before, at_least, at_most) = bounds(filter, now);
    let query = sqlx::query_scalar(if filter.room.is_some() { COUNT_ROOM } else { COUNT });
    let query = query.bind(before).bind(at_least).bind(at_most);
    let query = if let Some(room) = &filter.room { query.bind(room) } else { query };
    Ok(query.fetch_one(&store.read).await?)
}

const BY_ID: &str = "select s.*, r.name as room_name, r.alias from sessions s join rooms r on r.room_id = s.room_id
    where s.id = $1";
// The stay that the event began or ended, else the last one of its chain that had begun by then.
const BY_EVENT: &str = "select m.room_id, m.slot_id, m.joined_ms, m.session_id from events e
    join memberships m on m.room_id = e.room_id and m.chain = e.chain
    where e.event_id = $1
    order by case when m.join_event_id = e.event_id then 0 when m.end_event_id = e.event_id then 1
        when m.joined_ms <= e.origin_server_ts then 2 else 3 end, m.joined_ms desc limit 1";
const AROUND: &str =
    "select id from sessions where room_id = $1 and slot_id = $2 and started_ms <= $3 and until_ms >= $3
    order by started_ms desc limit 1";

/// The call with this id, or the one that this member event belongs to.
///
/// # Errors
/// When the database fails.
pub async fn find(store: &Store, viewer: Viewer, id_or_event: &str) -> Result<Option<Call>, Error> {
    let Viewer::Operator = viewer;
    if let Some(row) = sqlx::query(BY_ID).bind(id_or_event).fetch_optional(&store.read).await? {
        return call(&row).map(Some);
    }
    let Some(stay) = sqlx::query(BY_EVENT).bind(id_or_event).fetch_optional(&store.read).await? else {
        return Ok(None);
    };
    let mut id: Option<String> = stay.try_get("session_id")?;
    if id.is_none() {
        // A stay without length is in no call itself, but may lie within one.
        let query = sqlx::query_scalar(AROUND).bind(stay.try_get::<String, _>("room_id")?);
        let query = query.bind(stay.try_get::<String, _>("slot_id")?).bind(stay.try_get::<i64, _>("joined_ms")?);
        id = query.fetch_optional(&store.read).await?;
    }
    let Some(id) = id else { return Ok(None) };
    let row = sqlx::query(BY_ID).bind(id).fetch_optional(&store.read).await?;
    row.as_ref().map(call).transpose()
}

/// A call out of a row of `sessions` joined with its room.
pub(super) fn call(row: &AnyRow) -> Result<Call, Error> {
    let session = stored(row)?;
    let room_id = row.try_get("room_id")?;
    Ok(Call {
        id: session.id,
        room: RoomName { room_id, name: row.try_get("room_name")?, alias: row.try_get("alias")? },
        slot_id: session.slot_id,
        application: session.application,
        started_ms: session.started_ms,
        until_ms: session.until_ms,
        people: int(session.users),
        devices: int(session.devices),
        memberships: int(session.memberships),
        peak: int(session.peak),
        peak_users: int(session.peak_users),
        servers: session.servers.into_iter().collect(),
        intent: session.intent,
        first_event_id: session.first_event_id,
    })
}
