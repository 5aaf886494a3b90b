//! Rooms: our membership of each, its name, and the names of people in it.

use super::room_rules;
use crate::rtc::event::{EventKind, RoomEvent, replace_nul};
use crate::rtc::order::sort_by_effective_time;
use crate::rtc::power::SendAccess;
use crate::rtc::room_rules::RoomRules;
use crate::rtc::room_visibility::{
    RoomVisibility, TOPIC_EVENT, VISIBILITY_EVENT, asks_for_no_record, event_that_decides,
    is_opt_out, number_of_opt_out, visibility_of_event,
};
use crate::rtc::spelling::spellings_of_name;
use crate::rtc::words::Watch;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::derive::room_titles::{people_title, refresh_room_title, room_name};
use crate::store::model::{Neighbour, RoomName, RoomRow};
use crate::store::stats::calls_ever;
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Reader, Tx, Writer};
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};

const NOTE: &str = "insert into rooms (room_id, watch, first_seen_ms) values ($1, $2, $3)
    on conflict (room_id) do nothing";
const WATCH: &str = "update rooms set watch = $2, error = null where room_id = $1 and watch <> $2";

/// Adds the room if it is not known, else notes our membership of it if that changed. Returns true
/// if the room was not known. `watch` is `None` if the answer does not state our membership: then a
/// new room counts as joined, and a known one stays as it is. A change of it ends the room's error.
/// `now`, ms, is when we first saw the room, or since when the membership counts.
pub(super) async fn upsert_room(
    tx: &mut Tx,
    room_id: &str,
    watch: Option<Watch>,
    now: i64,
) -> Result<bool, Error> {
    let word = watch.unwrap_or(Watch::Joined).as_str();
    let done = sqlx::query(NOTE)
        .bind(room_id)
        .bind(word)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(true);
    }

    if let Some(watch) = watch {
        let done = sqlx::query(WATCH)
            .bind(room_id)
            .bind(word)
            .execute(&mut **tx)
            .await?;
        if done.rows_affected() == 1 {
            crate::store::ingest::coverage_log::record_watch_change(tx, room_id, watch, now)
                .await?;
        }
    }

    Ok(false)
}

const POLLED: &str = "update rooms set polled_ms = $2, error = null where room_id = $1";

/// Notes that the room's state was read at `now`, ms, so that an error of the room is over.
pub(in crate::store) async fn set_last_poll(
    tx: &mut Tx,
    room_id: &str,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(POLLED)
        .bind(room_id)
        .bind(now)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const FACTS: &str = "select * from events where room_id = $1 and chain is null and state_key = ''
        and kind in ('m.room.name',
    'm.room.canonical_alias', 'm.room.encryption', 'm.room.history_visibility', 'm.room.create',
    'm.room.join_rules', 'org.callscope.visibility', 'm.room.topic')";
const SET_FACTS: &str =
    "update rooms set name = $2, alias = $3, version = $4, encrypted = $5, history_visibility = $6,
    replaced_by = $7, folded = $8, replaced_ms = $9, predecessor = $10, join_rule = $11,
    shown_by_room = $12, opts_out = $13 where room_id = $1";

/// Computes name, alias and other facts of the room again, from the newest stored event of each
/// type, and stores them. The room's rules ([`room_rules::store_rules`]) must be stored before,
/// since predecessor and successor follow from them.
pub(in crate::store) async fn refresh_room_facts(tx: &mut Tx, room_id: &str) -> Result<(), Error> {
    let rows = sqlx::query(FACTS)
        .bind(room_id)
        .fetch_all(&mut **tx)
        .await?;
    let mut kinds: BTreeMap<String, Vec<RoomEvent>> = BTreeMap::new();
    for row in &rows {
        let event = event_from_row(row)?;
        kinds.entry(event.kind.clone()).or_default().push(event);
    }

    let newest = |kind: &str| {
        kinds
            .get(kind)
            .and_then(|events| Some(sort_by_effective_time(events).last()?.1))
    };
    let time_of = |event: &RoomEvent| {
        let same = kinds.get(&event.kind).into_iter().flatten();
        let found = sort_by_effective_time(same).into_iter();
        let mut found = found.filter(|(_, other)| other.event_id == event.event_id);
        found.next().map_or_else(|| event.time(), |(time, _)| time)
    };

    let text = |kind: &str, key: &str| {
        let text = newest(kind)?.content.get(key)?.as_str()?;
        // Room names are limited to 255 bytes by clients, not by servers.
        Some(replace_nul(&text.chars().take(255).collect::<String>()))
            .filter(|text| !text.trim().is_empty())
    };

    let version = newest("m.room.create").map(|event| match event.content.get("room_version") {
        Some(Value::String(version)) => replace_nul(&version.chars().take(64).collect::<String>()),
        _ => "1".to_owned(),
    });
    let (name, alias) = (
        text("m.room.name", "name"),
        text("m.room.canonical_alias", "alias"),
    );
    let words = [
        name.as_deref().unwrap_or_default(),
        alias.as_deref().unwrap_or_default(),
        room_id,
    ]
    .join(" ");
    let rules = room_rules::rules_of_room(tx, room_id).await?;
    let replaced = rules
        .replaced()
        .filter(|replaced| replaced.room_id != room_id);
    let decides = event_that_decides(newest(VISIBILITY_EVENT), newest(TOPIC_EVENT));
    let shown_by_room =
        decides.map(|event| visibility_of_event(event, rules.levels_at(time_of(event))));
    let opts_out = match decides {
        Some(event) => number_if_opted_out(tx, room_id, event, &rules, time_of(event)).await?,
        None => 0,
    };
    sqlx::query(SET_FACTS)
        .bind(room_id)
        .bind(name)
        .bind(alias)
        .bind(version)
        .bind(i64::from(newest("m.room.encryption").is_some()))
        .bind(text("m.room.history_visibility", "history_visibility"))
        .bind(replaced.map(|replaced| replaced.room_id.clone()))
        .bind(lower_for_search(&words))
        .bind(replaced.map(|replaced| replaced.at_ms))
        .bind(rules.creation.predecessor.clone())
        .bind(text("m.room.join_rules", "join_rule"))
        .bind(shown_by_room.map(RoomVisibility::as_str))
        .bind(opts_out)
        .execute(&mut **tx)
        .await?;

    refresh_room_title(tx, room_id).await
}

const OPTS_OUT: &str = "select opts_out from rooms where room_id = $1";

/// The number of the event that decides, if the room opts out by it at this time, ms; else 0. Once
/// it did, it does so for as long as the event decides: levels of that time may be deleted
/// meanwhile.
async fn number_if_opted_out(
    tx: &mut Tx,
    room_id: &str,
    event: &RoomEvent,
    rules: &RoomRules,
    time_ms: i64,
) -> Result<i64, Error> {
    if !asks_for_no_record(event) {
        return Ok(0);
    }

    let number = number_of_opt_out(event);
    let stored: i64 = sqlx::query_scalar(OPTS_OUT)
        .bind(room_id)
        .fetch_one(&mut **tx)
        .await?;
    let opts_out = stored == number || is_opt_out(event, rules.levels_at_or_earliest(time_ms));

    Ok(if opts_out { number } else { 0 })
}

/// The words in lower case, for the search; `None` if the database can compute that itself. It
/// cannot for letters beyond ASCII, because `lower` of `SQLite` knows ASCII only.
fn lower_for_search(words: &str) -> Option<String> {
    Some(words.to_lowercase()).filter(|folded| *folded != words.to_ascii_lowercase())
}

const COUNT_WRITE: &str = "update rooms set writes = writes + 1 where room_id = $1";

/// Adds one to the room's count of writes. A commit that can change the room's stays does so before
/// it reads anything: of two processes one then waits for the other, and whoever read before can
/// see that it is outdated.
pub(in crate::store) async fn count_write(tx: &mut Tx, room_id: &str) -> Result<(), Error> {
    sqlx::query(COUNT_WRITE)
        .bind(room_id)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const HOLD: &str = "update rooms set writes = writes where room_id = $1";

/// Prevents others from writing to the room until the commit.
pub(in crate::store) async fn lock_room(tx: &mut Tx, room_id: &str) -> Result<(), Error> {
    sqlx::query(HOLD).bind(room_id).execute(&mut **tx).await?;
    Ok(())
}

const WRITES: &str = "select coalesce(max(writes), 0) from rooms where room_id = $1";

/// The room's count of writes, which [`count_write`] moves; 0 for an unknown room.
pub(in crate::store) async fn read_write_count(
    connection: &mut sqlx::AnyConnection,
    room_id: &str,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(WRITES)
        .bind(room_id)
        .fetch_one(connection)
        .await?)
}

static PEOPLE: MultiRow = MultiRow::new(
    "insert into people (room_id, user_id, name, folded, event_ms, event_id) values ",
    "($1, ?, ?, ?, ?, ?)",
    " on conflict (room_id, user_id) do update set name = excluded.name, folded = excluded.folded,
        event_ms = excluded.event_ms, event_id = excluded.event_id
    where (excluded.event_ms, excluded.event_id) > (people.event_ms, people.event_id)",
);

/// Stores the display names in those of these events that are joins of the room: of each user the
/// newest, unless a newer one is stored. Other events are skipped; the events need no order.
pub(in crate::store) async fn store_display_names<'e>(
    tx: &mut Tx,
    room_id: &str,
    events: impl Iterator<Item = &'e RoomEvent>,
) -> Result<(), Error> {
    let mut newest: BTreeMap<&str, &RoomEvent> = BTreeMap::new();
    for event in events.filter(|event| EventKind::of_event_type(&event.kind) == EventKind::Presence)
    {
        let is_join = event
            .content
            .get("membership")
            .is_some_and(|word| word == "join");
        let (true, Some(user)) = (is_join, &event.state_key) else {
            continue;
        };

        let known = newest.entry(user).or_insert(event);
        if (event.time(), &event.event_id) > (known.time(), &known.event_id) {
            *known = event;
        }
    }

    let people: Vec<(&str, &RoomEvent)> = newest.into_iter().collect();
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let bind = |query: Statement, (user, event): &(&str, &RoomEvent)| {
        let name = event.content.get("displayname").and_then(Value::as_str);
        let name = name.map(|name| replace_nul(&name.chars().take(255).collect::<String>()));
        let name = name.filter(|name| !name.trim().is_empty());
        let folded = name.as_deref().and_then(lower_for_search);
        query
            .bind((*user).to_owned())
            .bind(name)
            .bind(folded)
            .bind(event.time())
            .bind(event.event_id.clone())
    };

    PEOPLE.write(tx, &people, shared, bind).await?;

    Ok(())
}

/// Prefix of the error of a room whose history cannot be read, although its state can.
pub const HISTORY_TROUBLE: &str = "reading its history: ";

/// Does this error of a room mean that its state cannot be read now? `None` = the room has no
/// error.
#[must_use]
pub fn is_unread(trouble: Option<&str>) -> bool {
    trouble.is_some_and(|trouble| !trouble.starts_with(HISTORY_TROUBLE))
}

const TROUBLE: &str = "update rooms set error = $2 where room_id = $1";

/// Stores that a room could not be read at `now`, ms, with the error in plain words, and our
/// membership of it if it is known (`None` = not changed). The error replaces an earlier one, and
/// stays until a poll or [`clear_room_error`] ends it, or our membership changes.
///
/// # Errors
/// When the database fails.
pub async fn record_room_error(
    store: &Writer,
    room_id: &str,
    watch: Option<Watch>,
    error: &str,
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    set_room_error(&mut tx, room_id, watch, error, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Like [`record_room_error`], in the transaction of the caller.
async fn set_room_error(
    tx: &mut Tx,
    room_id: &str,
    watch: Option<Watch>,
    error: &str,
    now: i64,
) -> Result<(), Error> {
    upsert_room(tx, room_id, watch, now).await?;
    sqlx::query(TROUBLE)
        .bind(room_id)
        .bind(error)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const KNOWN: &str =
    "select count(*) from (select 1 from events where room_id = $1 limit 1) as known";

/// Stores why a requested room could not be joined or read at `now`, ms. It counts as unreadable
/// (`blind`), unless events of it are stored: then our membership stays as it is, because we may be
/// in it all the same.
///
/// # Errors
/// When the database fails.
pub async fn record_failed_join(
    store: &Writer,
    room_id: &str,
    error: &str,
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    let known: i64 = sqlx::query_scalar(KNOWN)
        .bind(room_id)
        .fetch_one(&mut *tx)
        .await?;
    set_room_error(
        &mut tx,
        room_id,
        (known == 0).then_some(Watch::Blind),
        error,
        now,
    )
    .await?;
    tx.commit().await?;

    Ok(())
}

const FORGET_BLIND: &str = "delete from rooms where watch = 'blind'
    and not exists (select 1 from events e where e.room_id = rooms.room_id)";

/// Deletes rooms that were requested and never seen. At each start, those that are still requested
/// are added again.
///
/// # Errors
/// When the database fails.
pub async fn delete_unseen_rooms(store: &Writer) -> Result<(), Error> {
    sqlx::query(FORGET_BLIND).execute(&store.write).await?;
    Ok(())
}

const OVERCOME: &str = "update rooms set error = null where room_id = $1 and error = $2";

/// Deletes the error of a room if it is exactly this one: another one may have come since.
///
/// # Errors
/// When the database fails.
pub async fn clear_room_error(store: &Writer, room_id: &str, error: &str) -> Result<(), Error> {
    sqlx::query(OVERCOME)
        .bind(room_id)
        .bind(error)
        .execute(&store.write)
        .await?;

    Ok(())
}

const FORGET_WISH: &str = "delete from rooms where room_id = $1 and watch = 'blind'
    and not exists (select 1 from events e where e.room_id = rooms.room_id)";

/// Deletes a requested room that was joined under another name, or that never will be.
///
/// # Errors
/// When the database fails.
pub async fn delete_pending_room(store: &Writer, wish: &str) -> Result<(), Error> {
    sqlx::query(FORGET_WISH)
        .bind(wish)
        .execute(&store.write)
        .await?;

    Ok(())
}

const WATCHED: &str = "select room_id, watch from rooms order by room_id";

/// Every known room and our membership of it; for the observer.
///
/// # Errors
/// When the database fails.
pub async fn list_watched_rooms(store: &Reader) -> Result<Vec<(String, Watch)>, Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(WATCHED).fetch_all(&store.read).await?;
    Ok(rows
        .into_iter()
        .map(|(room_id, watch)| (room_id, Watch::from_word(&watch)))
        .collect())
}

// Matrix began in 2014: an older stamp is a wrong clock or a joke. The inner select names the
// columns that the outer one sorts by, as PostgreSQL requires. `+ 0` and `|| ''` make the database
// begin with the running calls, which are few. `stream`, which is never negative, makes it use the
// index of rejected events, which are few.
pub(in crate::store) const LISTED: &str = concat!(
    "select * from (select r.*, ",
    people_title!(),
    " as people_title,
    n.watch as successor_watch, n.error as successor_error, n.predecessor as successor_predecessor,
    o.watch as predecessor_watch, o.replaced_by as predecessor_replaced_by,
    o.replaced_ms as predecessor_replaced_ms, (select count(*) from state_resets z
    where z.room_id = r.room_id and z.noticed_ms > $1 - 86400000) as resets,
    (select count(*) from sessions s where s.room_id = r.room_id and s.started_ms > $1) as future,
    coalesce(a.active, 0) as active,
    (select coalesce(max(started_ms), 0) from sessions s where s.room_id = r.room_id
    and s.started_ms <= $1) as last_call_ms,
    (select count(*) from events e where e.room_id = r.room_id and e.rejected = 'encrypted'
    and e.stream >= 0) as unreadable,
    (select count(*) from events e where e.room_id = r.room_id and e.rejected is not null
    and e.stream >= 0) as rejected,
    (select coalesce(cast(sum(j.pages) as bigint), 0) from history_jobs j
    where j.kind in ('backfill', 'gap') and j.room_id = r.room_id) as history_pages,
    (select count(*) from history_jobs j where j.kind in ('backfill', 'gap')
    and j.room_id = r.room_id and j.done_ms is null) as history_open,
    (select min(origin_server_ts) from events e where e.room_id = r.room_id
        and e.origin_server_ts > 1388534400000) as oldest_event_ms
    from rooms r left join (select room_id, count(*) as active from sessions
        where until_ms > $1 and started_ms + 0 <= $1 group by room_id || '',
        room_id) as a on a.room_id = r.room_id
    left join rooms n on n.room_id = r.replaced_by left join rooms o on o.room_id = r.predecessor
    where $2 = '' or r.room_id = $2 or r.alias = $2) as listed
    order by active desc, last_call_ms desc, name, room_id"
);

/// All rooms, as known at `now`, ms: with a running call first, then by newest call, then by name.
///
/// # Errors
/// When the database fails.
pub async fn list_rooms(store: &Reader, now: i64) -> Result<Vec<RoomRow>, Error> {
    let rows = sqlx::query(LISTED)
        .bind(now)
        .bind("")
        .fetch_all(&store.read)
        .await?;
    let id = |row: &'_ AnyRow| Ok((row.try_get("room_id")?, row.try_get("writes")?));
    let ids: Vec<(String, i64)> = rows.iter().map(id).collect::<Result<_, sqlx::Error>>()?;
    let ids: Vec<(&str, i64)> = ids
        .iter()
        .map(|(room_id, writes)| (room_id.as_str(), *writes))
        .collect();
    calls_ever::count_calls_of_many_rooms(store, &ids).await?;
    let mut rooms = Vec::with_capacity(rows.len());
    for row in &rows {
        rooms.push(room_from_row(store, row).await?);
    }

    Ok(rooms)
}

/// One room by id or alias, as known at `now`, ms; `None` if it is not known. If several rooms have
/// the alias, it is the first of them in the order of [`list_rooms`].
///
/// # Errors
/// When the database fails.
pub async fn find_room(
    store: &Reader,
    id_or_alias: &str,
    now: i64,
) -> Result<Option<RoomRow>, Error> {
    for id_or_alias in spellings_of_room(id_or_alias) {
        let row = sqlx::query(LISTED)
            .bind(now)
            .bind(id_or_alias)
            .fetch_optional(&store.read)
            .await?;
        if let Some(row) = row {
            return room_from_row(store, &row).await.map(Some);
        }
    }

    Ok(None)
}

/// The ways in which a room may be known: its id as it is, its alias in any case.
fn spellings_of_room(id_or_alias: &str) -> Vec<String> {
    match id_or_alias.chars().next() {
        Some('#') => spellings_of_name(id_or_alias),
        Some(_) => vec![id_or_alias.to_owned()],
        None => Vec::new(),
    }
}

const DISPLAY_NAME: &str =
    "select name from people where room_id = $1 and user_id = $2 and name is not null";

/// The display names of these users in a room, by user id; users without one are left out.
///
/// # Errors
/// When the database fails.
pub async fn display_names(
    store: &Reader,
    room_id: &str,
    user_ids: &BTreeSet<String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut names = BTreeMap::new();
    for user_id in user_ids {
        let query = sqlx::query_scalar(DISPLAY_NAME).bind(room_id).bind(user_id);
        let name: Option<String> = query.fetch_optional(&store.read).await?;
        names.extend(name.map(|name| (user_id.clone(), name)));
    }

    Ok(names)
}

const REPLACED_BY: &str =
    "select room_id from rooms where replaced_by = $1 order by replaced_ms, room_id limit 1";

/// The room whose tombstone names this room as its successor; `None` if there is none. Of several,
/// the one that was replaced first.
///
/// # Errors
/// When the database fails.
pub async fn replaced_by(store: &Reader, room_id: &str) -> Result<Option<String>, Error> {
    let query = sqlx::query_scalar(REPLACED_BY).bind(room_id);
    Ok(query.fetch_optional(&store.read).await?)
}

const NAMED: &str = concat!(
    "select ",
    room_name!(),
    " from rooms r where r.room_id = $1 or r.alias = $1
    order by case when r.room_id = $1 then 0 else 1 end, r.room_id limit 1"
);

/// The names of the room with this id or alias; `None` if it is not known. An id comes before an
/// alias.
///
/// # Errors
/// When the database fails.
pub async fn find_room_name(store: &Reader, id_or_alias: &str) -> Result<Option<RoomName>, Error> {
    for id_or_alias in spellings_of_room(id_or_alias) {
        let row = sqlx::query(NAMED)
            .bind(id_or_alias)
            .fetch_optional(&store.read)
            .await?;
        if let Some(row) = row {
            return RoomName::from_row(&row).map(Some);
        }
    }

    Ok(None)
}

/// The room in this row of [`LISTED`], with its number of calls that have begun. That number is
/// read, unless it is known since the room's last write.
async fn room_from_row(store: &Reader, row: &AnyRow) -> Result<RoomRow, Error> {
    let watch: String = row.try_get("watch")?;

    Ok(RoomRow {
        room: RoomName::from_row(row)?,
        version: row.try_get("version")?,
        encrypted: row.try_get::<i64, _>("encrypted")? != 0,
        watch: Watch::from_word(&watch),
        history_visibility: row.try_get("history_visibility")?,
        replaced_by: row.try_get("replaced_by")?,
        replaced_ms: row.try_get("replaced_ms")?,
        successor: neighbour_from_row(row, "successor_watch", "successor_error")?,
        successor_names: row.try_get("successor_predecessor")?,
        predecessor: row.try_get("predecessor")?,
        predecessor_watch: row
            .try_get::<Option<&str>, _>("predecessor_watch")?
            .map(Watch::from_word),
        predecessor_names: row.try_get("predecessor_replaced_by")?,
        predecessor_replaced_ms: row.try_get("predecessor_replaced_ms")?,
        access: access_from_row(row)?,
        resets: row.try_get("resets")?,
        first_seen_ms: row.try_get("first_seen_ms")?,
        polled_ms: row.try_get("polled_ms")?,
        error: row.try_get("error")?,
        calls: calls_ever::count_calls_of_room(
            store,
            row.try_get("room_id")?,
            row.try_get("writes")?,
        )
        .await?
            - row.try_get::<i64, _>("future")?,
        active: row.try_get("active")?,
        last_call_ms: Some(row.try_get::<i64, _>("last_call_ms")?).filter(|time| *time > 0),
        unreadable: row.try_get("unreadable")?,
        rejected: row.try_get("rejected")?,
        history_pages: row.try_get("history_pages")?,
        history_open: row.try_get::<i64, _>("history_open")? != 0,
        oldest_event_ms: row.try_get("oldest_event_ms")?,
    })
}

/// Our membership of the room before or after this one, from these two columns; `None` if we do not
/// know that room.
fn neighbour_from_row(row: &AnyRow, watch: &str, error: &str) -> Result<Option<Neighbour>, Error> {
    let Some(watch) = row.try_get::<Option<&str>, _>(watch)? else {
        return Ok(None);
    };

    Ok(Some(Neighbour {
        watch: Watch::from_word(watch),
        error: row.try_get(error)?,
    }))
}

/// Who may join a call, as [`super::access::refresh_access`] stored it; empty if everybody may.
fn access_from_row(row: &AnyRow) -> Result<Vec<SendAccess>, Error> {
    let Some(text) = row.try_get::<Option<&str>, _>("access")? else {
        return Ok(Vec::new());
    };

    serde_json::from_str(text).map_err(|error| Error::Content(error.to_string()))
}
