//! Lists of calls, newest first, by any filter. If a condition of the filter is rare, all its
//! matches are read and sorted. Else the list is read in its order until the page is full, which
//! happens soon. So a page costs about the same however many calls there are.

use super::call_filter::{CallCondition, EndBounds, conditions_of_filter};
use super::calls::{CallRow, call_from_row};
use super::name_search::{self, NameMatches};
use crate::rtc::time::DAY_MS;
use crate::store::db::dialect::Dialect;
use crate::store::db::json_row::read_rows;
use crate::store::db::select_text::SelectText;
use crate::store::model::{Call, CallFilter, Cursor, Matching};
use crate::store::{Error, Reader, to_i64};
use sqlx::Row;

/// Maximum number of newest calls that are read to count the matches.
const LOOKED: i64 = 20_000;
/// Maximum number of matches that is shown; beyond it the count says "more".
pub const COUNTED: i64 = 1000;
/// A call that is longer than this, ms, is a long one. Long calls are few and have their own index.
const LONG_MS: i64 = DAY_MS;
/// Calls read at once: more than most pages have.
const PORTION: usize = 64;
/// The matches of a word are read faster than those of another condition, so this many times as
/// many still count as rare.
const OF_WORD: i64 = 4;

/// The way in which the calls of a list are found.
#[derive(Debug, Clone, Copy)]
pub(super) enum AccessPath<'a> {
    /// One by one in the order of the list: all calls, or those of one room or application.
    InOrder,
    /// All calls of a rare condition, sorted afterwards.
    Rare(CallCondition<'a>),
    /// All calls that are longer than a day, sorted afterwards.
    Long,
    /// These calls.
    Ids(&'a [(i64, String)]),
}

/// The rarest part of a filter.
enum RarePart<'a> {
    Condition(CallCondition<'a>),
    /// A word: the calls that it matches, each with a time that is its start or later, the latest
    /// first.
    Word(NameMatches),
}

/// A rare part of a filter, and the number of its calls or stays.
struct Rarest<T> {
    part: T,
    count: i64,
}

/// The request of a list, with its bounds in time.
#[derive(Clone)]
pub(super) struct ListRequest<'a> {
    filter: &'a CallFilter,
    conditions: Vec<CallCondition<'a>>,
    /// Calls that started before this time, ms; at the same time those with a lower id.
    before_ms: i64,
    before_id: &'a str,
    /// Calls that started at or after this time, ms.
    low: i64,
    ends: EndBounds,
}

impl<'a> ListRequest<'a> {
    /// The request of a page that begins after `cursor`; `None` = at the newest call. `now` in ms.
    pub fn new(filter: &'a CallFilter, cursor: Option<&'a Cursor>, now: i64) -> Self {
        // A call that starts in the future does not count yet.
        let begin = filter.to_ms.unwrap_or(i64::MAX).min(now.saturating_add(1));
        // A cursor that lies before the list leads to its beginning.
        let (before_ms, before_id) = cursor
            .map(|cursor| (cursor.started_ms, cursor.id.as_str()))
            .filter(|after| *after < (begin, ""))
            .unwrap_or((begin, ""));
        let ends = EndBounds::of_filter(filter, now);

        Self {
            filter,
            conditions: conditions_of_filter(filter, ends, now),
            before_ms,
            before_id,
            low: i64::MIN,
            ends,
        }
    }

    /// The statement that reads the calls of a page.
    pub fn select(&self, dialect: Dialect, path: AccessPath<'_>, limit: i64) -> SelectText {
        let mut select = SelectText::new(
            dialect,
            sql!(
                "select string_agg(found.call, '') from (select ",
                CallRow::TEXT,
                " as call from sessions s cross join rooms r where r.room_id = s.room_id"
            ),
        );
        self.push_place(&mut select, path);
        self.push_conditions(&mut select, path);
        select.push(match path {
            AccessPath::InOrder => " order by s.started_ms desc, s.id desc limit ",
            _ => " order by {s.started_ms} desc, {s.id} desc limit ",
        });
        select.number(limit).push(") as found");

        select
    }

    /// The statement that counts the first calls of the list, at most `limit`, and those of them
    /// that match.
    pub fn select_counts(&self, dialect: Dialect, limit: i64) -> SelectText {
        let mut select = SelectText::new(dialect, "select count(*), count(case when 1 = 1");
        self.push_conditions(&mut select, AccessPath::InOrder);
        select.push(" then 1 end) from (select * from sessions s where 1 = 1");
        self.push_place(&mut select, AccessPath::InOrder);
        select
            .push(" order by s.started_ms desc, s.id desc limit ")
            .number(limit)
            .push(") as s cross join rooms r where r.room_id = s.room_id");

        select
    }

    /// Appends where the page begins and by what its calls are found. A condition that is searched
    /// for here is not among those of [`Self::push_conditions`].
    fn push_place(&self, select: &mut SelectText, path: AccessPath<'_>) {
        let is_in_order = matches!(path, AccessPath::InOrder);
        select
            .push(if is_in_order {
                " and (s.started_ms, s.id) < ("
            } else {
                " and ({s.started_ms}, {s.id}) < ("
            })
            .number(self.before_ms)
            .push(", ")
            .text(self.before_id)
            .push(")");
        if self.low > i64::MIN {
            select
                .push(if is_in_order {
                    " and s.started_ms >= "
                } else {
                    " and {s.started_ms} >= "
                })
                .number(self.low);
        }

        match path {
            AccessPath::InOrder => {
                if let Some(condition) = self.narrowing() {
                    condition.push_search(select);
                }
            }
            AccessPath::Rare(condition) => condition.push_search(select),
            AccessPath::Long => {
                select
                    .push(" and s.until_ms - s.started_ms > 86400000 and s.until_ms >= ")
                    .number(self.ends.at_least);
            }
            AccessPath::Ids(calls) => {
                select.push(" and s.id in (");
                for (at, (_, id)) in calls.iter().enumerate() {
                    select.push(if at == 0 { "" } else { ", " }).text(id);
                }

                select.push(")");
            }
        }
    }

    /// Appends all conditions except the one that the calls are found by.
    fn push_conditions(&self, select: &mut SelectText, path: AccessPath<'_>) {
        let search = match path {
            AccessPath::InOrder => self.narrowing(),
            AccessPath::Rare(condition) => Some(condition),
            AccessPath::Long => Some(CallCondition::EndsFrom(self.ends.at_least)),
            AccessPath::Ids(_) => None,
        };

        for condition in &self.conditions {
            if Some(*condition) != search {
                condition.push_check(select);
            }
        }
    }

    /// The condition whose calls have an index in the order of the list.
    fn narrowing(&self) -> Option<CallCondition<'a>> {
        let room = self.filter.room.as_deref().map(CallCondition::Room);
        let application = self.filter.more.application.as_deref();

        room.or(application.map(CallCondition::Application))
    }
}

/// One page of calls, newest first, after `cursor`; `None` = from the newest. At most `limit`.
/// Calls that begin after `now`, ms, are not in the list.
///
/// # Errors
/// When the database fails.
pub async fn list_calls(
    store: &Reader,
    filter: &CallFilter,
    cursor: Option<&Cursor>,
    limit: i64,
    now: i64,
) -> Result<Vec<Call>, Error> {
    let request = ListRequest::new(filter, cursor, now);
    match request.find_rarest_part(store).await? {
        Some(Rarest { count: 0, .. }) => return Ok(Vec::new()),
        Some(rarest) => return request.read_rare(store, &rarest.part, limit).await,
        None => {}
    }

    let (late, long) = request.split_by_length();
    let mut calls = late.read(store, AccessPath::InOrder, limit).await?;
    let missing = limit - to_i64(calls.len());
    if let Some(long) = long.filter(|_| missing > 0) {
        calls.extend(long.read(store, AccessPath::Long, missing).await?);
    }

    Ok(calls)
}

/// The number of calls that match at `now`, ms, up to `COUNTED`. If no condition of the filter is
/// rare, only the newest calls are looked at; `more` then says that older ones may match as well.
///
/// # Errors
/// When the database fails.
pub async fn count_calls(store: &Reader, filter: &CallFilter, now: i64) -> Result<Matching, Error> {
    let request = ListRequest::new(filter, None, now);
    let matching = |calls: i64, more: bool| Matching {
        calls: calls.min(COUNTED),
        more: more || calls > COUNTED,
    };

    if let Some(rarest) = request.find_rarest_part(store).await? {
        let calls = request.read_rare(store, &rarest.part, COUNTED + 1).await?;
        return Ok(matching(to_i64(calls.len()), false));
    }

    let (late, long) = request.split_by_length();
    let select = late.select_counts(store.dialect(), LOOKED + 1);
    let row = select.statement().fetch_one(&store.read).await?;
    let looked: i64 = row.try_get(0)?;
    let mut calls: i64 = row.try_get(1)?;
    if let Some(long) = long.filter(|_| looked <= LOOKED) {
        let long = long.read(store, AccessPath::Long, COUNTED + 1).await?;
        calls += to_i64(long.len());
    }

    Ok(matching(calls, looked > LOOKED))
}

impl<'a> ListRequest<'a> {
    /// Reads the calls of the page, at most `limit`, found in this way, newest first.
    async fn read(
        &self,
        store: &Reader,
        path: AccessPath<'_>,
        limit: i64,
    ) -> Result<Vec<Call>, Error> {
        let select = self.select(store.dialect(), path, limit);
        let rows = select.statement().fetch_all(&store.read).await?;

        read_rows(&rows, call_from_row)
    }

    /// Reads all calls that the rare part of the filter finds, and gives the newest `limit` of
    /// those that match the whole filter.
    async fn read_rare(
        &self,
        store: &Reader,
        part: &RarePart<'_>,
        limit: i64,
    ) -> Result<Vec<Call>, Error> {
        match part {
            RarePart::Condition(condition) => {
                self.read(store, AccessPath::Rare(*condition), limit).await
            }
            RarePart::Word(matches) => self.read_matches_of_word(store, matches, limit).await,
        }
    }

    /// The newest `limit` calls of those that a word matches. They are read from the latest on,
    /// portion by portion, until no other can have begun as late.
    async fn read_matches_of_word(
        &self,
        store: &Reader,
        matches: &NameMatches,
        limit: i64,
    ) -> Result<Vec<Call>, Error> {
        let mut calls: Vec<Call> = Vec::new();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let matches = matches.calls(store).await?;
        for portion in matches.chunks(PORTION) {
            let last = calls.get(limit.saturating_sub(1));
            if last.is_some_and(|last| last.started_ms > portion[0].0) {
                break;
            }

            calls.extend(self.read(store, AccessPath::Ids(portion), i64::MAX).await?);
            calls.sort_by(|one, other| {
                (other.started_ms, &other.id).cmp(&(one.started_ms, &one.id))
            });
        }

        calls.truncate(limit);

        Ok(calls)
    }

    /// The rarest part of the filter. `None` if none is rare.
    async fn find_rarest_part(
        &self,
        store: &Reader,
    ) -> Result<Option<Rarest<RarePart<'a>>>, Error> {
        let rarest = self.find_rarest_condition(store).await?;
        let more = &self.filter.more;
        // With the id of a call nothing is rarer than that call.
        if let Some(word) = more.q.as_ref().filter(|_| more.id.is_none()) {
            let of_word = store.tuning.rare.saturating_mul(OF_WORD);
            let most = rarest.as_ref().map_or(of_word, |rarest| rarest.count);
            let matches = name_search::find_matches(store, word).await?;
            let count = matches.count(store, most).await?;
            if count <= most {
                let part = RarePart::Word(matches);
                return Ok(Some(Rarest { part, count }));
            }
        }

        Ok(rarest.map(|rarest| Rarest {
            part: RarePart::Condition(rarest.part),
            count: rarest.count,
        }))
    }

    /// The rarest condition of the filter other than a word. `None` if none is rare.
    async fn find_rarest_condition(
        &self,
        store: &Reader,
    ) -> Result<Option<Rarest<CallCondition<'a>>>, Error> {
        let mut rarest: Option<Rarest<CallCondition<'a>>> = None;
        for condition in &self.conditions {
            if let CallCondition::Call(_) = condition {
                let part = *condition;
                return Ok(Some(Rarest { part, count: 1 }));
            }

            let most = rarest
                .as_ref()
                .map_or(store.tuning.rare, |rarest| rarest.count);
            let Some(select) = condition.select_count(store.dialect(), most + 1) else {
                // Most calls match it.
                continue;
            };

            let row = select.statement().fetch_one(&store.read).await?;
            let count: i64 = row.try_get(0)?;
            if count <= most {
                let part = *condition;
                rarest = Some(Rarest { part, count });
            }
        }

        Ok(rarest)
    }

    /// Splits a list that asks for calls that ended at a time or later in two: the calls that began
    /// at most a day before that time, and the long ones that began earlier (see [`LONG_MS`]). So
    /// each part has an index, and the second part follows the first in the order of the list.
    /// `None` if the list has no such time.
    fn split_by_length(self) -> (Self, Option<Self>) {
        if self.ends.at_least == i64::MIN {
            return (self, None);
        }

        let low = self.ends.at_least.saturating_sub(LONG_MS);
        let mut long = self.clone();
        if (low, "") < (long.before_ms, long.before_id) {
            (long.before_ms, long.before_id) = (low, "");
        }

        (Self { low, ..self }, Some(long))
    }
}
