//! Lists of calls in other orders than newest first: by length, by people, by the maximum number at
//! once, each ascending or descending.
//!
//! A place holds the moment of the first page. All further pages are of that moment: a call that
//! ran then counts with the length that it had then, and calls that began later are not in the
//! list. So nothing moves while a user pages through the list.

use super::call_list::{fits, people_at_once};
use super::calls::{self, call_columns, call_from_fields};
use super::name_search::{name_words, room_words, word_pattern};
use crate::store::db::packed::unpack;
use crate::store::model::{Call, CallFilter, Cursor, More, Viewer};
use crate::store::{Db, Error, Reader, to_i64};
use sqlx::any::AnyArguments;
use sqlx::query::Query;

/// The sort key of a list of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    Started,
    Length,
    People,
    /// Maximum devices at once.
    Peak,
}

/// The order of a list of calls. Calls with equal keys are sorted by start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOrder {
    pub by: SortKey,
    pub descending: bool,
}

impl CallOrder {
    /// Newest first.
    pub const NEWEST: Self = Self {
        by: SortKey::Started,
        descending: true,
    };
}

/// A place in a sorted list: the last call already shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPlace {
    /// The moment of the list, ms; a moment in the future is replaced by now.
    pub at_ms: i64,
    pub key: i64,
    pub started_ms: i64,
    pub id: String,
}

/// Up to this many calls are read and sorted at once; more are read in the order of an index.
const FEW: usize = 5000;
/// The same limit if the list begins with the calls of fewest people. Most calls have few people,
/// and the oldest of them come first, so that in the order of the index very many would be skipped
/// before the recent ones.
const FEW_OF_MOST: usize = 200_000;

/// Maximum number of calls of a person, a server or a word that are sorted here.
const FEW_FOUND: usize = 2000;

macro_rules! list {
    ($key:expr, $after:expr, $order:expr) => {
        concat!(
            "select ",
            call_columns!(),
            " || ",
            $key,
            " || ':' from sessions s cross join rooms r where r.room_id = s.room_id and ",
            $after,
            " and s.started_ms + 0 < $3 and ",
            fits!(),
            " and ($18 = '' or s.id = $18)
            order by ",
            $order,
            " limit $6"
        )
    };
}

// By the index of the key, one by one, until the page is full. By length, only ended calls are read
// this way, because the stored end of a running call is not its end.
macro_rules! wide {
    ($key:literal) => {
        [
            list!(
                $key,
                concat!("(", $key, ", s.started_ms, s.id) < ($19, $1, $2)"),
                concat!($key, " desc, s.started_ms desc, s.id desc")
            ),
            list!(
                $key,
                concat!("(", $key, ", s.started_ms, s.id) > ($19, $1, $2)"),
                concat!($key, ", s.started_ms, s.id")
            ),
        ]
    };
}
const STARTED: [&str; 2] = wide!("s.started_ms");
const LENGTH: [&str; 2] = wide!("(s.until_ms - s.started_ms)");
const PEOPLE: [&str; 2] = wide!("s.users");
const PEAK: [&str; 2] = wide!("s.peak");

// If the filter matches few calls, they are found by the filter, and sorted. A call whose room was
// lost counts with the length that was seen.
macro_rules! key {
    () => {
        "(case $20 when 'length' then (case when s.until_ms <= $13 then s.until_ms
            when r.watch in ('joined', 'peeked') then $13
            when coalesce(r.polled_ms,
            r.first_seen_ms) > s.started_ms then coalesce(r.polled_ms, r.first_seen_ms)
            else s.started_ms end) - s.started_ms
        when 'people' then s.users when 'peak' then s.peak else s.started_ms end)"
    };
}
macro_rules! narrow {
    ($found:literal) => {
        [
            list!(
                key!(),
                concat!(
                    $found,
                    " and (",
                    key!(),
                    ", s.started_ms + 0, s.id) < ($19, $1, $2)"
                ),
                concat!(key!(), " desc, s.started_ms + 0 desc, s.id desc")
            ),
            list!(
                key!(),
                concat!(
                    $found,
                    " and (",
                    key!(),
                    ", s.started_ms + 0, s.id) > ($19, $1, $2)"
                ),
                concat!(key!(), ", s.started_ms + 0, s.id")
            ),
        ]
    };
}
const LATE: [&str; 2] = narrow!("s.until_ms >= $4");
const ROOM: [&str; 2] = narrow!("s.room_id = $8");

const MANY_LATE: &str =
    "select count(*) from (select 1 from sessions where until_ms >= $1 and until_ms <= $2
    and started_ms < $3 limit $4) as few";
const MANY_ROOM: &str =
    "select count(*) from (select 1 from sessions where room_id = $1 limit $2) as few";

/// The index by which the calls of a page are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListIndex {
    Wide,
    Late,
    Room,
}

/// One page of calls in this order, after `place`; each with its own place.
///
/// # Errors
/// When the database fails.
pub async fn list_ordered_calls(
    store: &Reader,
    viewer: Viewer,
    filter: &CallFilter,
    order: CallOrder,
    place: Option<&ListPlace>,
    limit: i64,
    now: i64,
) -> Result<Vec<(Call, ListPlace)>, Error> {
    let Viewer::Operator = viewer;
    if order == CallOrder::NEWEST {
        let cursor = place.map(|place| Cursor {
            started_ms: place.started_ms,
            id: place.id.clone(),
        });
        let calls = calls::list_calls(store, viewer, filter, cursor.as_ref(), limit, now).await?;
        return Ok(calls
            .into_iter()
            .map(|call| {
                let place = place_of_call(&call, call.started_ms, now);
                (call, place)
            })
            .collect());
    }

    let list = OrderedRequest::new(filter, order, place, limit, now);
    let More {
        server,
        user,
        q,
        id,
        ..
    } = &filter.more;
    if server.is_some() || user.is_some() || q.is_some() || id.is_some() {
        // The calls of a name are found by the code of unsorted lists. If they are few, they are
        // sorted here.
        let few =
            calls::list_calls(store, viewer, filter, None, to_i64(FEW_FOUND) + 1, now).await?;
        if few.len() <= FEW_FOUND {
            return Ok(list.sorted(few));
        }
    }

    let source = list.source(store).await?;
    let mut found = list.read(store, source, list.within).await?;
    if source == ListIndex::Wide && order.by == SortKey::Length {
        // The calls that ran at that moment are few. They count with their length until then.
        let running = TimeBounds {
            at_least: list.within.at_least.max(list.at_ms.saturating_add(1)),
            ..list.within
        };
        found.extend(list.read(store, ListIndex::Late, running).await?);
        found = list.in_order(found);
    }

    Ok(found)
}

/// The calls of a list by their times, ms.
#[derive(Clone, Copy)]
struct TimeBounds {
    /// Started before this.
    before: i64,
    /// Ended at or after this.
    at_least: i64,
    /// Ended at or before this.
    at_most: i64,
}

fn bounds_of_filter(filter: &CallFilter, now: i64) -> TimeBounds {
    let from = filter.from_ms.unwrap_or(i64::MIN);
    let (at_least, at_most) = match filter.active {
        Some(true) => (from.max(now.saturating_add(1)), i64::MAX),
        Some(false) => (from, now),
        None => (from, i64::MAX),
    };

    TimeBounds {
        before: filter.to_ms.unwrap_or(i64::MAX),
        at_least,
        at_most,
    }
}

fn place_of_call(call: &Call, key: i64, at_ms: i64) -> ListPlace {
    ListPlace {
        at_ms,
        key,
        started_ms: call.started_ms,
        id: call.id.clone(),
    }
}

/// The request of a list.
struct OrderedRequest<'q> {
    filter: &'q CallFilter,
    order: CallOrder,
    /// Key, start and id after which the page begins.
    after: (i64, i64, &'q str),
    at_ms: i64,
    within: TimeBounds,
    limit: i64,
}

impl<'q> OrderedRequest<'q> {
    fn new(
        filter: &'q CallFilter,
        order: CallOrder,
        place: Option<&'q ListPlace>,
        limit: i64,
        now: i64,
    ) -> Self {
        let least = match (order.by, filter.more.group) {
            (SortKey::Length, _) => filter.more.min_ms,
            (SortKey::People, _) => filter.more.min_people,
            (SortKey::Peak, Some(true)) => Some(2),
            _ => None,
        };

        let first = if order.descending {
            (i64::MAX, i64::MAX, "")
        } else {
            (least.unwrap_or(i64::MIN), i64::MIN, "")
        };

        let after = place.map_or(first, |place| {
            (place.key, place.started_ms, place.id.as_str())
        });
        let at_ms = place.map_or(now, |place| place.at_ms.min(now));
        let mut within = bounds_of_filter(filter, now);
        within.before = within.before.min(at_ms.saturating_add(1));

        Self {
            filter,
            order,
            after,
            at_ms,
            within,
            limit,
        }
    }

    /// Puts calls in order, and cuts them to a page.
    fn in_order(&self, mut found: Vec<(Call, ListPlace)>) -> Vec<(Call, ListPlace)> {
        let key = |place: &'_ ListPlace| (place.key, place.started_ms, place.id.clone());
        found.sort_by_cached_key(|(_, place)| key(place));
        if self.order.descending {
            found.reverse();
        }

        found.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));

        found
    }

    /// A page of the list, if these are all its calls.
    fn sorted(&self, calls: Vec<Call>) -> Vec<(Call, ListPlace)> {
        let key = |call: &Call| match self.order.by {
            SortKey::Started => call.started_ms,
            SortKey::Length => call.duration_ms(self.at_ms),
            SortKey::People => call.people,
            SortKey::Peak => call.peak,
        };

        let found = calls
            .into_iter()
            .filter(|call| call.started_ms <= self.at_ms);
        let found = found.map(|call| {
            let place = place_of_call(&call, key(&call), self.at_ms);
            (call, place)
        });
        let is_after = |place: &ListPlace| {
            let order = (place.key, place.started_ms, place.id.as_str()).cmp(&self.after);
            if self.order.descending {
                order.is_lt()
            } else {
                order.is_gt()
            }
        };

        self.in_order(found.filter(|(_, place)| is_after(place)).collect())
    }

    /// The cheapest source: either all matches of the filter, sorted, or the list in the order of
    /// its index.
    async fn source(&self, store: &Reader) -> Result<ListIndex, Error> {
        let begins_with_most =
            !self.order.descending && matches!(self.order.by, SortKey::People | SortKey::Peak);
        let most = to_i64(if begins_with_most { FEW_OF_MOST } else { FEW }) + 1;
        let TimeBounds {
            before,
            at_least,
            at_most,
        } = self.within;
        if let Some(room) = &self.filter.room {
            let few: i64 = sqlx::query_scalar(MANY_ROOM)
                .bind(room)
                .bind(most)
                .fetch_one(&store.read)
                .await?;
            return Ok(if few < most {
                ListIndex::Room
            } else {
                ListIndex::Wide
            });
        }

        if self.filter.active != Some(true)
            && self.filter.from_ms.is_none()
            && self.filter.to_ms.is_none()
        {
            return Ok(ListIndex::Wide);
        }

        let query = sqlx::query_scalar(MANY_LATE)
            .bind(at_least)
            .bind(at_most)
            .bind(before)
            .bind(most);
        let few: i64 = query.fetch_one(&store.read).await?;

        Ok(if few < most {
            ListIndex::Late
        } else {
            ListIndex::Wide
        })
    }

    fn bind(
        &self,
        query: Query<'q, Db, AnyArguments>,
        within: TimeBounds,
    ) -> Query<'q, Db, AnyArguments> {
        let More {
            application,
            server,
            user,
            group,
            min_ms,
            min_people,
            id,
            q,
        } = &self.filter.more;
        let text = |text: &'q Option<String>| text.as_deref().unwrap_or_default();
        let (least, most) = people_at_once(*group);

        // A call of a room that we can no longer see does not count as running.
        let seen_only = if self.filter.active == Some(true) {
            "yes"
        } else {
            ""
        };

        let query = query
            .bind(self.after.1)
            .bind(self.after.2)
            .bind(within.before)
            .bind(within.at_least)
            .bind(within.at_most);
        let query = query
            .bind(self.limit)
            .bind(seen_only)
            .bind(text(&self.filter.room))
            .bind(text(application));
        let query = query
            .bind(min_people.unwrap_or(0))
            .bind(least)
            .bind(most)
            .bind(self.at_ms);
        let query = query
            .bind(min_ms.unwrap_or(0))
            .bind(text(server))
            .bind(text(user))
            .bind(q.as_deref().map(word_pattern).unwrap_or_default());

        query.bind(text(id))
    }

    async fn read(
        &self,
        store: &Reader,
        source: ListIndex,
        mut within: TimeBounds,
    ) -> Result<Vec<(Call, ListPlace)>, Error> {
        let way = usize::from(!self.order.descending);
        let (word, wide) = match self.order.by {
            SortKey::Started => ("started", STARTED[way]),
            SortKey::Length => ("length", LENGTH[way]),
            SortKey::People => ("people", PEOPLE[way]),
            SortKey::Peak => ("peak", PEAK[way]),
        };

        let sql = match source {
            ListIndex::Wide => wide,
            ListIndex::Late => LATE[way],
            ListIndex::Room => ROOM[way],
        };

        if source == ListIndex::Wide && self.order.by == SortKey::Length {
            within.at_most = within.at_most.min(self.at_ms);
        }

        let query = self.bind(sqlx::query(sql), within).bind(self.after.0);
        let query = if source == ListIndex::Wide {
            query
        } else {
            query.bind(word)
        };

        unpack(&query.fetch_all(&store.read).await?, |fields| {
            let (call, key) = (call_from_fields(fields)?, fields.some_number()?);
            let place = place_of_call(&call, key, self.at_ms);
            Ok((call, place))
        })
    }
}

#[cfg(test)]
#[path = "call_order_tests.rs"]
mod tests;
