//! Numbers over spans of time, computed on request from memberships and sessions; and counts of all
//! that is stored.

use super::ghost_time::Gone;
use super::scope::Scope;
use super::spans::{seen_from, seen_until, touching};
use super::{calls_ever, usage};
use crate::rtc::coverage::Span;
use crate::store::db::dialect::Dialect;
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::model::{Call, SpanNumbers, Totals};
use crate::store::read::calls::{call_from_row, calls};
use crate::store::{Error, Reader};
use sqlx::Row;
use std::collections::HashMap;

const LONGEST: &str = calls!(
    " from ",
    touching!("sessions", "started_ms"),
    " as s join rooms r on r.room_id = s.room_id
    order by (case when s.until_ms > $2 then $2 else s.until_ms end) - s.started_ms desc, s.id
    limit $3 offset $4"
);
/// Maximum calls read at once in search of the longest, and maximum number of such reads.
const LONG_CALLS: i64 = 64;
const LONG_ROUNDS: i64 = 16;

/// The span in which somebody was really seen in a call, part by part.
static SEEN: MultiRow = MultiRow::new(
    concat!(
        "select m.session_id, min(",
        seen_from!(),
        ") as from_ms, max(",
        seen_until!("$1"),
        ") as to_ms from memberships m where m.until_ms > m.joined_ms and m.session_id in ("
    ),
    "?",
    ") group by m.session_id",
);

/// The call in which somebody was seen longest within a span, as known at `now`, ms, and how long
/// that was, ms; `None` without calls. Time that is only claimed, or after the last sign, does not
/// count. A call that began before the span counts from its start; one that goes on after the span
/// counts only until the span ends.
async fn find_longest_call(
    store: &Reader,
    span: Span,
    now: i64,
    gone: &Gone,
) -> Result<Option<(Call, i64)>, Error> {
    let mut best: Option<(Call, i64)> = None;
    for round in 0..LONG_ROUNDS {
        let rows = store
            .dialect()
            .query(LONGEST)
            .bind(span.from)
            .bind(span.to)
            .bind(LONG_CALLS)
            .bind(round * LONG_CALLS)
            .fetch_all(&store.read)
            .await?;
        let mut calls = read_rows(&rows, call_from_row)?;
        // How long it can have been seen at most.
        let stated_ms = |call: &Call| call.until_ms.min(span.to) - call.started_ms;
        calls.sort_by_key(|call| (std::cmp::Reverse(stated_ms(call)), call.id.clone()));
        let is_last = crate::store::to_i64(calls.len()) < LONG_CALLS;
        let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
        let seen = seen_time_of_calls(store, &ids, now).await?;
        for call in calls {
            // No other call is longer, because none is longer than its stated length.
            if best.as_ref().is_some_and(|(_, ms)| *ms >= stated_ms(&call)) {
                return Ok(best);
            }

            let (from, to) = seen
                .get(&call.id)
                .copied()
                .unwrap_or((call.started_ms, call.until_ms));
            let to = gone.stuck.get(&call.id).map_or(to, |heard| to.min(*heard));
            let seen_ms = (to.min(span.to) - from.max(call.started_ms)).max(0);
            if best.as_ref().is_none_or(|(_, ms)| *ms < seen_ms) {
                best = Some((call, seen_ms));
            }
        }

        if is_last {
            break;
        }
    }

    Ok(best)
}

/// From when to when somebody was really seen in each of these calls, ms, by call id, as known at
/// `now`, ms. A call without stays of any length is left out.
async fn seen_time_of_calls(
    store: &Reader,
    ids: &[String],
    now: i64,
) -> Result<HashMap<String, (i64, i64)>, Error> {
    let mut connection = store.read.acquire().await?;
    let bind = |query: Statement, id: Option<&String>| query.bind(id.cloned());
    let rows = SEEN
        .read(&mut connection, ids, |query| query.bind(now), bind)
        .await?;
    let seen = |row: &sqlx::any::AnyRow| {
        let span = (row.try_get("from_ms")?, row.try_get("to_ms")?);
        Ok((row.try_get("session_id")?, span))
    };

    rows.iter().map(seen).collect()
}

/// The numbers of a span, as known at `now`, ms. A stay that crosses a boundary counts with the
/// part inside. Nobody saw the devices of `gone` after they were last heard.
///
/// # Errors
/// When the database fails.
pub async fn numbers_of_span(
    store: &Reader,
    span: Span,
    now: i64,
    gone: &Gone,
) -> Result<SpanNumbers, Error> {
    let devices = DevicesOfSpan::read(store, span, now, gone).await?;

    numbers_with_devices(store, span, now, gone, &devices).await
}

/// Like [`numbers_of_span`], with the devices of this span or a longer one, which were read before.
/// They must be as of the same `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn numbers_with_devices(
    store: &Reader,
    span: Span,
    now: i64,
    gone: &Gone,
    devices: &DevicesOfSpan,
) -> Result<SpanNumbers, Error> {
    let sums = usage::sums_of_span(store, Scope::All, span, now, gone).await?;
    let (longest, longest_ms) = find_longest_call(store, span, now, gone).await?.unzip();
    let (steps, stays) = (devices.steps(span), devices.count(span));
    let highest = steps
        .iter()
        .filter(|(_, devices)| *devices > 0)
        .max_by_key(|(time, devices)| (*devices, -time));

    Ok(SpanNumbers {
        calls: sums.calls,
        calls_exact: sums.calls_exact,
        people: sums.people,
        together_ms: sums.together_ms,
        together_seen_ms: sums.together_seen_ms,
        longest_ms: longest_ms.unwrap_or(0),
        longest_id: longest.as_ref().map(|call| call.id.clone()),
        longest_room: longest.map(|call| call.room),
        peak: highest.map_or(0, |(_, devices)| *devices),
        peak_ms: highest.map(|(time, _)| *time),
        stays,
    })
}

json_row! {
    /// A stay, and until when it was seen.
    struct SeenStayRow {
        user_id: String = "user_id",
        device: String = "device",
        joined_ms: i64 = "joined_ms",
        seen_ms: i64 = "seen_ms",
        room_id: String = "room_id",
        join_event_id: String = "join_event_id",
    }
}

const SPANS: &str = sql!(
    "select ",
    SeenStayRow::LIST,
    " from (select m.room_id, m.join_event_id, m.user_id,
        coalesce(m.device_id, m.room_id || ' ' || m.chain) as device, m.joined_ms, ",
    seen_until!("$3"),
    " as seen_ms from ",
    touching!("memberships", "joined_ms"),
    " as m where m.until_ms > m.joined_ms) as stays"
);

/// Stays of devices in a span of time, from which the devices at once are computed, also for parts
/// of the span.
#[derive(Debug, Clone, Default)]
pub struct DevicesOfSpan {
    /// In order of user and device, then of arrival.
    stays: Vec<DeviceStay>,
}

/// A stay of one device, whatever call it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct DeviceStay {
    user_id: String,
    device: String,
    joined_ms: i64,
    /// Until when the device was seen.
    until_ms: i64,
}

impl DevicesOfSpan {
    /// Reads the stays of a span, as known at `now`, ms. A device that still counts though it is
    /// probably gone is there until it was last heard.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(store: &Reader, span: Span, now: i64, gone: &Gone) -> Result<Self, Error> {
        let Span { from, to } = span;
        let last_heard = gone.last_heard();
        let rows = store
            .dialect()
            .query(SPANS)
            .bind(from)
            .bind(to)
            .bind(now)
            .fetch_all(&store.read)
            .await?;
        let mut stays = read_rows(&rows, |row: SeenStayRow| {
            // A device that was heard only once counts for at least that moment.
            let least_ms = row.joined_ms.saturating_add(1);
            let heard_ms = last_heard.get(&(&*row.room_id, &*row.join_event_id, &*row.user_id));
            let until_ms = heard_ms
                .map_or(row.seen_ms, |heard_ms| row.seen_ms.min(*heard_ms))
                .max(least_ms);

            DeviceStay {
                user_id: row.user_id,
                device: row.device,
                joined_ms: row.joined_ms,
                until_ms,
            }
        })?;
        stays.sort_unstable();

        Ok(Self { stays })
    }

    /// The number of devices in calls at once as steps `(time ms, devices)` within a part of the
    /// span. The first step is at its beginning. A device (user and device) with several stays at
    /// once counts once: it may use two event types, two slots or two rooms.
    #[must_use]
    pub fn steps(&self, Span { from, to }: Span) -> Vec<(i64, i64)> {
        let mut changes: Vec<(i64, i64)> = Vec::with_capacity(self.stays.len() * 2);
        let is_one = |one: &DeviceStay, next: &DeviceStay| {
            (&one.user_id, &one.device) == (&next.user_id, &next.device)
        };

        for stays in self.stays.chunk_by(is_one) {
            // In order of arrival: a later stay adds only the part after the end known so far.
            let mut end = i64::MIN;
            for stay in stays {
                let start = stay.joined_ms.max(from).max(end);
                if stay.until_ms <= start || start >= to {
                    continue;
                }

                changes.push((start, 1));
                if stay.until_ms < to {
                    changes.push((stay.until_ms, -1));
                }

                end = stay.until_ms;
            }
        }

        steps_from_changes(changes, from)
    }

    /// How many stays touch a part of the span.
    fn count(&self, span: Span) -> i64 {
        let touches = |stay: &&DeviceStay| stay.until_ms > span.from && stay.joined_ms < span.to;
        crate::store::to_i64(self.stays.iter().filter(touches).count())
    }
}

/// The steps of [`DevicesOfSpan::steps`], at most about `most`; the second value is true if these
/// are all. If there are more, the span, which must be that of the steps, is cut into that many
/// parts, each with its maximum of devices at once.
#[must_use]
pub fn thin_steps(
    steps: Vec<(i64, i64)>,
    Span { from, to }: Span,
    most: i64,
) -> (Vec<(i64, i64)>, bool) {
    if i64::try_from(steps.len()).is_ok_and(|steps| steps <= most) {
        return (steps, true);
    }

    let part = (to.saturating_sub(from) / most).max(1);
    let mut thin: Vec<(i64, i64)> = Vec::new();
    let mut before = 0;
    for (time, devices) in steps {
        let begins = from + (time - from) / part * part;
        match thin.last_mut() {
            Some(last) if last.0 == begins => last.1 = last.1.max(devices),
            // Devices that were there when the part began count for the part, too.
            _ => thin.push((begins, devices.max(if begins < time { before } else { 0 }))),
        }

        before = devices;
    }

    (thin, false)
}

/// The steps of a number from `from`, ms, on, where it is 0. `changes` are `(time ms, change)`, in
/// any order, none before `from`. Changes that cancel out at one instant give no step.
fn steps_from_changes(mut changes: Vec<(i64, i64)>, from: i64) -> Vec<(i64, i64)> {
    changes.sort_unstable();
    let mut steps = vec![(from, 0)];
    let mut devices = 0;
    for at_once in changes.chunk_by(|one, next| one.0 == next.0) {
        let change: i64 = at_once.iter().map(|(_, change)| change).sum();
        devices += change;
        match steps.last_mut() {
            Some(last) if last.0 == at_once[0].0 => last.1 = devices,
            _ if change != 0 => steps.push((at_once[0].0, devices)),
            _ => {}
        }
    }

    steps
}

const STARTS: &str = "select started_ms, peak from sessions where room_id = $1 and started_ms >= $2
    order by started_ms, id";

/// The calls of one room since `from`, ms, oldest first: when each started, ms, and its most
/// devices at once.
///
/// # Errors
/// When the database fails.
pub async fn call_starts_in_room(
    store: &Reader,
    room_id: &str,
    from: i64,
) -> Result<Vec<(i64, i64)>, Error> {
    Ok(sqlx::query_as(STARTS)
        .bind(room_id)
        .bind(from)
        .fetch_all(&store.read)
        .await?)
}

// Matrix began in 2014: an older stamp is a wrong clock or a joke. The first event of each room is
// found by its index.
pub(in crate::store) const TOTALS: &str = "select (select count(*) from rooms
    where watch <> 'blind') as rooms,
    (select count(*) from events) as events,
    (select count(*) from memberships) as memberships,
    (select count(*) from snapshots) as snapshots,
    (select count(*) from events where rejected is not null) as rejected,
    (select count(*) from events where rejected = 'encrypted') as unreadable,
    (select min((select e.origin_server_ts from events e where e.room_id = r.room_id
        and e.origin_server_ts > 1388534400000 order by e.origin_server_ts limit 1))
        from rooms r) as oldest";
const BYTES_SQLITE: &str = "select page_count * page_size from pragma_page_count, pragma_page_size";
const BYTES_POSTGRES: &str = "select pg_database_size(current_database())";

/// The size of the database, bytes.
pub(in crate::store) async fn database_bytes(store: &Reader) -> Result<i64, Error> {
    let sql = match store.dialect() {
        Dialect::Sqlite => BYTES_SQLITE,
        Dialect::Postgres => BYTES_POSTGRES,
    };

    Ok(sqlx::query_scalar(sql).fetch_one(&store.read).await?)
}

/// Counts of everything stored that the reader shows; calls in the future count, too.
///
/// # Errors
/// When the database fails.
pub async fn count_stored_rows(store: &Reader) -> Result<Totals, Error> {
    let begun_at_any_time_ms = i64::MAX;
    let row = sqlx::query(TOTALS).fetch_one(&store.read).await?;
    // The size of the file is that of all rooms.
    let database_bytes = match store.visible_rooms() {
        None => Some(database_bytes(store).await?),
        Some(_) => None,
    };

    Ok(Totals {
        rooms: row.try_get("rooms")?,
        events: row.try_get("events")?,
        memberships: row.try_get("memberships")?,
        calls: calls_ever::count_calls_begun(store, begun_at_any_time_ms).await?,
        snapshots: row.try_get("snapshots")?,
        rejected: row.try_get("rejected")?,
        unreadable: row.try_get("unreadable")?,
        database_bytes,
        oldest_event_ms: row.try_get("oldest")?,
    })
}
