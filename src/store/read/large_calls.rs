//! Calls with so many stays that only a part of them is read: which stays are read, and how many
//! people are left out. One member of a room can bring tens of thousands of devices into a call;
//! the cost of a page must not follow that number.

use crate::rtc::coverage::Span;
use crate::store::{Error, Reader};
use std::collections::HashMap;

/// The number of people and devices in a call now, counted by the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeopleInCall {
    pub people: i64,
    pub devices: i64,
}

pub(super) const FIRST: &str =
    "select id from memberships where session_id = $1 order by joined_ms limit $2 offset $3";
pub(super) const LAST: &str =
    "select id from memberships where session_id = $1 order by until_ms desc limit $2";
// Devices are counted as pages tell them apart: without a device id, each join is a device.
pub(in crate::store) const PRESENT: &str = "select count(distinct user_id) as people,
    count(distinct user_id || ' ' || coalesce(device_id, join_event_id)) as devices
    from memberships where session_id = $1 and until_ms > $2";

// `|| ''` keeps the database from using the index of servers: it must search by call, since a
// server may have many stays in other calls.
pub(super) const PRESENT_OF_SERVER: &str = "select count(distinct user_id) from memberships
    where session_id = $1 and until_ms > $2 and server || '' = $3";

/// The ids of at most `most` stays of a call: half of them those that came first, the other half
/// those that end last. So they show where the call begins and ends and, as far as there is room,
/// who is there now. By id, not in the order of arrival.
///
/// # Errors
/// When the database fails.
pub async fn representative_stays(
    store: &Reader,
    session_id: &str,
    most: i64,
) -> Result<Vec<String>, Error> {
    let mut ids = stays_in_order(store, session_id, 0, most / 2).await?;
    let last: Vec<String> = sqlx::query_scalar(LAST)
        .bind(session_id)
        .bind(most - most / 2)
        .fetch_all(&store.read)
        .await?;
    ids.extend(last);
    ids.sort_unstable();
    ids.dedup();

    Ok(ids)
}

/// The ids of the stays of a call in order of arrival, at most `most`, without the first `before`.
///
/// # Errors
/// When the database fails.
pub async fn stays_in_order(
    store: &Reader,
    session_id: &str,
    before: i64,
    most: i64,
) -> Result<Vec<String>, Error> {
    let query = sqlx::query_scalar(FIRST)
        .bind(session_id)
        .bind(most)
        .bind(before);

    Ok(query.fetch_all(&store.read).await?)
}

/// How many people and devices are in a call at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn people_now_in_call(
    store: &Reader,
    session_id: &str,
    now: i64,
) -> Result<PeopleInCall, Error> {
    let query = sqlx::query_as(PRESENT).bind(session_id).bind(now);
    let (people, devices) = query.fetch_one(&store.read).await?;
    Ok(PeopleInCall { people, devices })
}

pub(super) const WITHIN: &str = "select count(distinct user_id) as people,
    count(distinct case when joined_ms < $2 and until_ms >= $3 then user_id end) as within
    from memberships where session_id = $1";

/// The number of people of a call, and of those who were there within a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeopleWithin {
    pub all: i64,
    pub within: i64,
}

/// How many people were in a call at all, and how many of them within a span.
///
/// # Errors
/// When the database fails.
pub async fn people_within(
    store: &Reader,
    session_id: &str,
    span: Span,
) -> Result<PeopleWithin, Error> {
    let query = sqlx::query_as(WITHIN)
        .bind(session_id)
        .bind(span.to)
        .bind(span.from);
    let (all, within): (i64, i64) = query.fetch_one(&store.read).await?;

    // Nobody is there in an empty span.
    let within = if span.is_empty() { 0 } else { within };

    Ok(PeopleWithin { all, within })
}

/// How many people of one homeserver are in a call at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn people_of_server(
    store: &Reader,
    session_id: &str,
    server: &str,
    now: i64,
) -> Result<i64, Error> {
    let query = sqlx::query_scalar(PRESENT_OF_SERVER)
        .bind(session_id)
        .bind(now)
        .bind(server);

    Ok(query.fetch_one(&store.read).await?)
}

/// The number of people, devices and homeservers in all calls now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeopleInAllCalls {
    pub people: i64,
    pub devices: i64,
    pub servers: i64,
}

// `cross join` makes SQLite go from the calls to their stays, not from each stay to its call.
macro_rules! people_now_in_all_calls {
    ($what:literal, $rest:literal) => {
        concat!(
            "select ",
            $what,
            " from sessions s join rooms r on r.room_id = s.room_id cross join memberships m
            where m.session_id = s.id and s.until_ms > $1 and s.started_ms + 0 <= $1
            and r.watch in ('joined', 'peeked') and m.until_ms > $1",
            $rest
        )
    };
}
pub(in crate::store) const EVERYBODY: &str = people_now_in_all_calls!(
    "count(distinct m.user_id), count(distinct m.user_id || ' ' || coalesce(m.device_id, '')),
        count(distinct m.server)",
    ""
);
pub(super) const BY_ROOM: &str = people_now_in_all_calls!(
    "s.room_id, count(distinct m.user_id || ' ' || coalesce(m.device_id, ''))",
    " group by s.room_id"
);

/// How many people, devices and homeservers are in calls at `now`, ms, counted by the database.
/// Only calls in rooms that we can read count.
///
/// # Errors
/// When the database fails.
pub async fn people_now_overall(store: &Reader, now: i64) -> Result<PeopleInAllCalls, Error> {
    let all = sqlx::query_as(EVERYBODY).bind(now);
    let (people, devices, servers) = all.fetch_one(&store.read).await?;

    Ok(PeopleInAllCalls {
        people,
        devices,
        servers,
    })
}

/// How many devices are in calls at `now`, ms, by room id, counted by the database.
///
/// # Errors
/// When the database fails.
pub async fn devices_by_room(store: &Reader, now: i64) -> Result<HashMap<String, i64>, Error> {
    let query = sqlx::query_as(BY_ROOM).bind(now);
    let rows: Vec<(String, i64)> = query.fetch_all(&store.read).await?;

    Ok(rows.into_iter().collect())
}

/// How many stays are read of each of several calls of these sizes, in the order of `sizes`, if
/// `most` can be read in all. Each call gets the same share; what small calls do not need goes to
/// larger ones. Never less than `least`, so that it may be more than `most` in all, and never more
/// than the call has.
#[must_use]
pub fn share_stays_among_calls(sizes: &[i64], most: i64, least: i64) -> Vec<i64> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&at| sizes[at]);
    let mut shares = vec![0; sizes.len()];
    let mut left = most;
    for (served, &at) in order.iter().enumerate() {
        let waiting = i64::try_from(sizes.len() - served).unwrap_or(i64::MAX);
        let share = (left / waiting).max(least).min(sizes[at]);
        shares[at] = share;
        left = (left - share).max(0);
    }

    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_calls_are_read_whole_and_large_ones_share_what_is_left() {
        assert_eq!(share_stays_among_calls(&[], 10, 2), [0_i64; 0]);
        assert_eq!(
            share_stays_among_calls(&[3, 4], 10, 2),
            [3, 4],
            "there is room for all"
        );
        assert_eq!(share_stays_among_calls(&[16_000], 100, 2), [100]);
        assert_eq!(
            share_stays_among_calls(&[16_000, 5, 90, 16_000], 300, 2),
            [102, 5, 90, 103]
        );
        let many = share_stays_among_calls(&[50; 1000], 300, 20);
        assert!(many.iter().all(|share| *share == 20), "each has a few");
    }
}
