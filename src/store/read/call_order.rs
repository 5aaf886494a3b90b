//! Lists of calls in every order: by start, by length, by people, by the maximum number at once,
//! each ascending or descending. For newest first it asks `call_list`.
//!
//! In any other order a place holds the moment of the first page. All further pages are of that
//! moment: a call that ran then counts with the length that it had then, and calls that began later
//! are not in the list. So nothing moves while a user pages through the list.

use super::call_filter::{CallCondition, EndBounds, conditions_of_filter};
use super::calls::{self, CallRow, call_from_row};
use crate::store::db::dialect::Dialect;
use crate::store::db::json_row::read_rows;
use crate::store::db::select_text::SelectText;
use crate::store::model::{Call, CallFilter, Cursor, More};
use crate::store::{Error, Reader, to_i64};
use serde::Deserialize;

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

const MANY_LATE: &str =
    "select count(*) from (select 1 from sessions where until_ms >= $1 and until_ms <= $2
    and started_ms < $3 limit $4) as few";
const MANY_ROOM: &str =
    "select count(*) from (select 1 from sessions where room_id = $1 limit $2) as few";

/// The index by which the calls of a page are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListIndex {
    /// The index of the sort key: one by one in its order, until the page is full. By length, only
    /// ended calls are read this way, because the stored end of a running call is not its end.
    Wide,
    /// The index of ends. All calls are read, and sorted afterwards.
    Late,
    /// The index of rooms. All calls are read, and sorted afterwards.
    Room,
}

/// One page of calls in this order, after `place` (`None` = the first page), at most `limit`; each
/// with its own place, after which a further page may begin. `now`, ms, is the moment of the list
/// if this is its first page.
///
/// # Errors
/// When the database fails.
pub async fn list_ordered_calls(
    store: &Reader,
    filter: &CallFilter,
    order: CallOrder,
    place: Option<&ListPlace>,
    limit: i64,
    now: i64,
) -> Result<Vec<(Call, ListPlace)>, Error> {
    if order == CallOrder::NEWEST {
        let cursor = place.map(|place| Cursor {
            started_ms: place.started_ms,
            id: place.id.clone(),
        });
        let calls = calls::list_calls(store, filter, cursor.as_ref(), limit, now).await?;
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
        let few = calls::list_calls(store, filter, None, to_i64(FEW_FOUND) + 1, now).await?;
        if few.len() <= FEW_FOUND {
            return Ok(list.page_of_all(few));
        }
    }

    let source = list.source(store).await?;
    let mut found = list.read(store, source, list.ends).await?;
    if source == ListIndex::Wide && order.by == SortKey::Length {
        // The calls that ran at that moment are few. They count with their length until then.
        let running = EndBounds {
            at_least: list.ends.at_least.max(list.at_ms.saturating_add(1)),
            ..list.ends
        };
        found.extend(list.read(store, ListIndex::Late, running).await?);
        found = list.page_in_order(found);
    }

    Ok(found)
}

/// A call, and its sort key.
#[derive(Debug, Deserialize)]
struct OrderedCallRow {
    call: CallRow,
    key: i64,
}

/// The place of a call in a list, with its sort key. `at_ms` is the moment of the list.
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
    /// Key, start and id after which the page begins. On the first page they are before every call
    /// of the list, in its order.
    after: (i64, i64, &'q str),
    /// The moment of the list, ms.
    at_ms: i64,
    /// Calls that started before this time, ms: the end of the filter's span, but not after the
    /// moment of the list.
    before_ms: i64,
    ends: EndBounds,
    /// Maximum calls on the page.
    limit: i64,
}

impl<'q> OrderedRequest<'q> {
    /// The request of the page after `place`; `None` = the first page. An ascending list begins at
    /// the smallest key that the filter allows, so that the index need not be read from its start.
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
        let before_ms = filter.to_ms.unwrap_or(i64::MAX);

        Self {
            filter,
            order,
            after,
            at_ms,
            before_ms: before_ms.min(at_ms.saturating_add(1)),
            ends: EndBounds::of_filter(filter, now),
            limit,
        }
    }

    /// The first `limit` of these calls, which need no order, in the order of the list.
    fn page_in_order(&self, mut found: Vec<(Call, ListPlace)>) -> Vec<(Call, ListPlace)> {
        let key = |place: &'_ ListPlace| (place.key, place.started_ms, place.id.clone());
        found.sort_by_cached_key(|(_, place)| key(place));
        if self.order.descending {
            found.reverse();
        }

        found.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));

        found
    }

    /// The page of the list, at most `limit` calls after `after`. `calls` are all calls of the
    /// list, in any order.
    fn page_of_all(&self, calls: Vec<Call>) -> Vec<(Call, ListPlace)> {
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

        self.page_in_order(found.filter(|(_, place)| is_after(place)).collect())
    }

    /// The index by which the page is found with least cost. If the calls of the room, or of the
    /// span of time, are few, all of them are read and sorted; else the list is read in the order
    /// of the sort key.
    async fn source(&self, store: &Reader) -> Result<ListIndex, Error> {
        let begins_with_most =
            !self.order.descending && matches!(self.order.by, SortKey::People | SortKey::Peak);
        let most = to_i64(if begins_with_most { FEW_OF_MOST } else { FEW }) + 1;
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
            .bind(self.ends.at_least)
            .bind(self.ends.at_most)
            .bind(self.before_ms)
            .bind(most);
        let few: i64 = query.fetch_one(&store.read).await?;

        Ok(if few < most {
            ListIndex::Late
        } else {
            ListIndex::Wide
        })
    }

    /// The statement that reads a page: the calls that end within `ends`.
    fn select(&self, dialect: Dialect, source: ListIndex, mut ends: EndBounds) -> SelectText {
        let by_key = source == ListIndex::Wide;
        if by_key && self.order.by == SortKey::Length {
            ends.at_most = ends.at_most.min(self.at_ms);
        }

        let search = match source {
            ListIndex::Wide => None,
            ListIndex::Late => Some(CallCondition::EndsFrom(ends.at_least)),
            ListIndex::Room => self.filter.room.as_deref().map(CallCondition::Room),
        };
        let mut select = SelectText::new(
            dialect,
            sql!(
                "select cast(json_object('call', ",
                CallRow::OBJECT,
                ", 'key', "
            ),
        );
        self.push_key(&mut select, by_key);
        select.push(
            ") as text) from sessions s cross join rooms r where r.room_id = s.room_id
                and {s.started_ms} < ",
        );
        select.number(self.before_ms).push(" and (");
        self.push_key(&mut select, by_key);
        select
            .push(if by_key {
                ", s.started_ms, s.id"
            } else {
                ", {s.started_ms}, {s.id}"
            })
            .push(if self.order.descending {
                ") < ("
            } else {
                ") > ("
            })
            .number(self.after.0)
            .push(", ")
            .number(self.after.1)
            .push(", ")
            .text(self.after.2)
            .push(")");
        if let Some(search) = search {
            search.push_search(&mut select);
        }

        for condition in conditions_of_filter(self.filter, ends, self.at_ms) {
            if Some(condition) != search {
                condition.push_check(&mut select);
            }
        }

        select.push(" order by ");
        self.push_key(&mut select, by_key);
        select.push(match (by_key, self.order.descending) {
            (true, true) => " desc, s.started_ms desc, s.id desc limit ",
            (true, false) => ", s.started_ms, s.id limit ",
            (false, true) => " desc, {s.started_ms} desc, {s.id} desc limit ",
            (false, false) => ", {s.started_ms}, {s.id} limit ",
        });
        select.number(self.limit);

        select
    }

    /// Appends the sort key to the statement: as its index has it (`by_key`), or as it was at the
    /// moment of the list and without its index (a column in braces, see [`SelectText::push`]).
    fn push_key(&self, select: &mut SelectText, by_key: bool) {
        match (self.order.by, by_key) {
            (SortKey::Started, true) => select.push("s.started_ms"),
            (SortKey::Started, false) => select.push("{s.started_ms}"),
            (SortKey::People, true) => select.push("s.users"),
            (SortKey::People, false) => select.push("{s.users}"),
            (SortKey::Peak, true) => select.push("s.peak"),
            (SortKey::Peak, false) => select.push("{s.peak}"),
            (SortKey::Length, true) => select.push("(s.until_ms - s.started_ms)"),
            // A call whose room was lost counts with the length that was seen.
            (SortKey::Length, false) => select
                .push("((case when s.until_ms <= ")
                .number(self.at_ms)
                .push(" then s.until_ms when r.watch in ('joined', 'peeked') then ")
                .number(self.at_ms)
                .push(
                    " when coalesce(r.polled_ms, r.first_seen_ms) > s.started_ms
                        then coalesce(r.polled_ms, r.first_seen_ms)
                        else s.started_ms end) - s.started_ms)",
                ),
        };
    }

    /// Reads the calls of the page that end within `ends`, each with its place: in the order of the
    /// list, at most `limit`.
    async fn read(
        &self,
        store: &Reader,
        source: ListIndex,
        ends: EndBounds,
    ) -> Result<Vec<(Call, ListPlace)>, Error> {
        let select = self.select(store.dialect(), source, ends);
        let rows = select.statement().fetch_all(&store.read).await?;

        read_rows(&rows, |row: OrderedCallRow| {
            let call = call_from_row(row.call);
            let place = place_of_call(&call, row.key, self.at_ms);
            (call, place)
        })
    }
}

#[cfg(test)]
#[path = "call_order_tests.rs"]
mod tests;
