//! The totals of each day (UTC), so that sums over a year need not read every stay of it. A day is
//! counted in the background once everything that touches it is over. Whoever changes something of
//! a day deletes its totals in the same commit. A day without totals is counted when somebody asks.
//! Unobserved time is not part of the totals: it changes without any stay.

use super::day_totals::{DayInMaking, Uncounted};
use super::scope::Scope;
use super::{distributions, usage};
use crate::rtc::coverage::Span;
use crate::rtc::time::{DAY_MS, day_of_time};
use crate::store::{Error, Reader, Writer};

/// Maximum age of the days that are kept, in days: two periods of a year.
const KEPT: i64 = 732;

const COUNTED: &str = "select day from days where facts <> ''";
const FORGET: &str = "delete from days where day < $1";

/// The days before that of `now`, ms, that are not counted, the last first, as days since the Unix
/// epoch; none that pages do not ask for. The
/// totals of days that are older than pages ask for are deleted.
///
/// # Errors
/// When the database fails.
pub async fn list_uncounted_days(store: &Writer, now: i64) -> Result<Vec<i64>, Error> {
    let (first, today) = (day_of_time(now) - KEPT, day_of_time(now));
    sqlx::query(FORGET)
        .bind(first)
        .execute(&store.write)
        .await?;
    let counted: Vec<i64> = sqlx::query_scalar(COUNTED).fetch_all(&store.read).await?;
    let counted: std::collections::BTreeSet<i64> = counted.into_iter().collect();

    Ok((first..today)
        .rev()
        .filter(|day| !counted.contains(day))
        .collect())
}

// Something of the day still runs: a stay, or a call that began in it.
pub(in crate::store) const OPEN: &str = "select 1 from memberships where until_ms > $1
    and joined_ms < $3
    union all select 1 from sessions where until_ms > $1 and started_ms >= $2 and started_ms < $3
    limit 1";
const BEGIN: &str = "insert into days (day, facts) values ($1, '') on conflict (day) do nothing";
// If something of the day changed meanwhile, its row was deleted, and this updates nothing.
const NOTE: &str = "update days set facts = $2 where day = $1 and facts = ''";

/// Counts a day (days since the Unix epoch), as known at `now`, ms, and stores its totals. Returns
/// false, and stores nothing, if something of the day still goes on or changed meanwhile.
///
/// # Errors
/// When the database fails.
pub async fn count_day(store: &Writer, day: i64, now: i64) -> Result<bool, Error> {
    let span = Span {
        from: day * DAY_MS,
        to: (day + 1) * DAY_MS,
    };

    let query = sqlx::query_scalar(OPEN)
        .bind(now)
        .bind(span.from)
        .bind(span.to);
    let open: Option<i64> = query.fetch_optional(&store.read).await?;
    if span.to > now || open.is_some() {
        return Ok(false);
    }

    // The empty row is deleted by whoever changes something of the day while it is counted.
    sqlx::query(BEGIN).bind(day).execute(&store.write).await?;
    let facts = count_rooms_of_day(store, span, now).await?.to_text()?;
    let done = sqlx::query(NOTE)
        .bind(day)
        .bind(facts)
        .execute(&store.write)
        .await?;

    Ok(done.rows_affected() == 1)
}

/// Counts the numbers of a day by room, from stays and calls, as known at `now`, ms.
async fn count_rooms_of_day(store: &Reader, span: Span, now: i64) -> Result<DayInMaking, Error> {
    let mut day = DayInMaking::default();
    for place in usage::live_places(store, Scope::All, span, now).await? {
        let (together_ms, seen_ms) = (place.together_ms, place.together_seen_ms);
        day.add_place(&place.room_id, &place.server, together_ms, seen_ms);
    }

    let all = Uncounted {
        span,
        room_id: None,
    };
    for (room_id, (calls, unsure)) in usage::live_begun(store, all, now).await? {
        day.set_begun(&room_id, calls, unsure);
    }

    for (servers, calls, room_id) in distributions::begun_by_servers_and_room(store, span).await? {
        day.add_calls(&room_id, &servers, calls);
    }

    for (server, ended, expired, room_id) in
        distributions::live_ends_by_server_and_room(store, span).await?
    {
        day.add_ends(&room_id, &server, ended, expired);
    }

    for (room_id, hours) in usage::live_hours_by_room(store, span, now).await? {
        day.set_hours(&room_id, hours);
    }

    // A day has no more calls than can be read at leisure.
    let live = distributions::read_live_calls(store, all, now, usize::MAX).await?;
    for call in live.calls {
        day.add_size(&call.room_id, call.size);
    }

    for (room_id, user_id) in usage::live_people_by_room(store, span).await? {
        day.add_person(&room_id, &user_id);
    }

    Ok(day)
}

#[cfg(test)]
#[path = "daily_rollup_tests.rs"]
mod tests;
