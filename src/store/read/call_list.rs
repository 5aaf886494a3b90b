//! Lists of calls, newest first, by any filter. If a condition of the filter is rare, all its
//! matches are read and sorted. Else the list is read in its order until the page is full, which
//! happens soon. So a page costs about the same however many calls there are.

use super::calls::{call_columns, call_from_fields, calls};
use super::name_search::{self, NameMatches, name_words, room_words, word_pattern};
use crate::rtc::time::DAY_MS;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::db::packed::unpack;
use crate::store::model::{Call, CallFilter, Cursor, Matching, More, Viewer};
use crate::store::{Error, Reader};
use sqlx::Row;

/// Maximum number of newest calls that are read to count the matches.
const LOOKED: i64 = 20_000;
/// Maximum number of matches that is shown; beyond it the count says "more".
pub const COUNTED: i64 = 1000;
/// A call that is longer than this, ms, is a long one. Long calls are few and have their own index.
const LONG_MS: i64 = DAY_MS;

// All conditions of a filter, written so that no index is used: `+ 0` and `|| ''` see to that.
// Whether a condition is asked for depends on its parameter alone: otherwise PostgreSQL would guess
// that each comparison leaves a third or less, would expect an empty list, and would read all calls
// for a page of them.
macro_rules! fits {
    () => {
        concat!(
            "($4 < -9000000000000000000 or s.until_ms + 0 >= $4)
        and ($5 > 9000000000000000000 or s.until_ms + 0 <= $5) and ($7 = ''
        or r.watch in ('joined', 'peeked'))
        and ($8 = '' or s.room_id || '' = $8) and ($9 = '' or s.application || '' = $9)
        and ($10 <= 0 or s.users + 0 >= $10) and ($11 <= 0 or s.peak_users + 0 >= $11)
        and ($12 > 9000000000000000000 or s.peak_users + 0 <= $12)
        and ($14 <= 0 or (case when s.until_ms > $13 then $13
        else s.until_ms end) - s.started_ms >= $14)
        and ($15 = '' or replace(' ' || s.servers || ' ',
        ' ' || $15 || ' ', '') <> ' ' || s.servers || ' ')
        and ($16 = '' or exists (select 1 from memberships m where m.session_id = s.id
        and m.user_id || '' = $16))
        and ($17 = '' or ",
            room_words!(),
            " like $17 escape '!'
            or lower(s.servers) like $17 escape '!'
            or exists (select 1 from memberships m
                left join people p on p.room_id = m.room_id and p.user_id = m.user_id
                where m.session_id = s.id and lower(m.user_id) || ' ' || coalesce(",
            name_words!(),
            ", '') like $17 escape '!'))"
        )
    };
}
pub(super) use fits;

// The list in its order; ...
macro_rules! walk {
    ($of:literal) => {
        calls!(
            " from sessions s cross join rooms r where r.room_id = s.room_id
            and (s.started_ms, s.id) < ($1, $2) and s.started_ms >= $3",
            $of,
            " and ",
            fits!(),
            " order by s.started_ms desc, s.id desc limit $6"
        )
    };
}

// ... the number of matches among its first rows; ...
macro_rules! walk_count {
    ($of:literal) => {
        concat!(
            "select count(*), count(case when ",
            fits!(),
            " then 1 end) from (select * from sessions s where (s.started_ms, s.id) < ($1, $2)
                and s.started_ms >= $3",
            $of,
            " order by s.started_ms desc, s.id desc limit $6) as s cross join rooms r
                where r.room_id = s.room_id"
        )
    };
}

// ... and all matches of a rare condition, sorted afterwards.
macro_rules! rare {
    ($what:literal) => {
        calls!(
            " from sessions s cross join rooms r where r.room_id = s.room_id
            and (s.started_ms + 0, s.id || '') < ($1, $2) and s.started_ms + 0 >= $3 and ",
            $what,
            " and ",
            fits!(),
            " order by s.started_ms + 0 desc, s.id desc limit $6"
        )
    };
}

/// The order in which a list is read: all calls, those of one room, those of one application.
pub(in crate::store) const WALKS: [&str; 3] = [
    walk!(""),
    walk!(" and s.room_id = $8"),
    walk!(" and s.application = $9"),
];
const COUNTS: [&str; 3] = [
    walk_count!(""),
    walk_count!(" and s.room_id = $8"),
    walk_count!(" and s.application = $9"),
];

/// A condition of a filter that may be rare: how to count its matches, and how to read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RareCondition {
    pub count: &'static str,
    pub page: &'static str,
}

pub(super) const ONE: RareCondition = RareCondition {
    count: "",
    page: rare!("s.id = $18"),
};
pub(in crate::store) const LONG: &str =
    rare!("s.until_ms - s.started_ms > 86400000 and s.until_ms >= $4");
pub(super) const LATE: RareCondition = RareCondition {
    count: "select count(*) from (select 1 from sessions where until_ms >= $2 limit $1) as found",
    page: rare!("s.until_ms >= $4"),
};
pub(super) const USERS: RareCondition = RareCondition {
    count: "select count(*) from (select 1 from sessions where users >= $2 limit $1) as found",
    page: rare!("s.users >= $10"),
};
pub(super) const PEAK: RareCondition = RareCondition {
    count: "select count(*) from (select 1 from sessions where peak_users >= $2
        and peak_users <= $3 limit $1) as found",
    page: rare!("s.peak_users >= $11 and s.peak_users <= $12"),
};
pub(super) const LENGTH: RareCondition = RareCondition {
    count: "select count(*) from (select 1 from sessions where until_ms - started_ms >= $2
        limit $1) as found",
    page: rare!("s.until_ms - s.started_ms >= $14"),
};
pub(super) const USER: RareCondition = RareCondition {
    count: "select count(*) from (select 1 from memberships where user_id = $2 limit $1) as found",
    page: rare!("s.id in (select m.session_id from memberships m where m.user_id = $18)"),
};
pub(super) const SERVER: RareCondition = RareCondition {
    count: "select count(*) from (select 1 from memberships where server = $2 limit $1) as found",
    page: rare!("s.id in (select m.session_id from memberships m where m.server = $18)"),
};

/// Calls by their ids, for the matches of a word.
pub(in crate::store) static CALLS: MultiRow = MultiRow::new(
    concat!(
        "select string_agg(",
        call_columns!(),
        ", '') from sessions s cross join rooms r where r.room_id = s.room_id
        and (s.started_ms + 0, s.id || '') < ($1, $2) and s.started_ms + 0 >= $3 and $6 > 0 and ",
        fits!(),
        " and s.id in ("
    ),
    "?",
    ")",
);
/// Calls read at once: more than most pages have.
const PORTION: usize = 64;
/// The matches of a word are read faster than those of another condition, so this many times as
/// many still count as rare.
const OF_WORD: i64 = 4;

/// The access path of a list.
enum AccessPath<'a> {
    /// By a rare condition, with its key.
    Rare(RareCondition, &'a str),
    /// By a word: the calls that it matches, each with a time that is its start or later, the
    /// latest first.
    Word(NameMatches),
}

/// The request of a list, with its bounds in time.
#[derive(Clone, Copy)]
struct ListRequest<'a> {
    filter: &'a CallFilter,
    /// Calls before this place of the list.
    before: (i64, &'a str),
    /// Calls that started at or after this time, ms.
    low: i64,
    /// Calls that ended, or will end, in this span, ms.
    until: (i64, i64),
    now: i64,
}

impl<'a> ListRequest<'a> {
    fn new(filter: &'a CallFilter, cursor: Option<&'a Cursor>, now: i64) -> Self {
        // A call that starts in the future does not count yet.
        let before = filter.to_ms.unwrap_or(i64::MAX).min(now.saturating_add(1));
        let cursor = cursor.map_or((i64::MAX, ""), |cursor| {
            (cursor.started_ms, cursor.id.as_str())
        });
        let from = filter.from_ms.unwrap_or(i64::MIN);
        let until = match filter.active {
            Some(true) => (from.max(now.saturating_add(1)), i64::MAX),
            Some(false) => (from, now),
            None => (from, i64::MAX),
        };

        Self {
            filter,
            before: cursor.min((before, "")),
            low: i64::MIN,
            until,
            now,
        }
    }

    fn bind(&self, query: Statement, limit: i64, by: Option<(&RareCondition, &str)>) -> Statement {
        let More {
            application,
            server,
            user,
            group,
            min_ms,
            min_people,
            id: _,
            q,
        } = &self.filter.more;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        // If the calls are found by a person, the condition on the person is not checked again.
        let user = if by.is_some_and(|(by, _)| *by == USER) {
            String::new()
        } else {
            text(user)
        };

        let word = q.as_deref().map(word_pattern).unwrap_or_default();
        let (least, most) = people_at_once(*group);
        // A call of a room that we can no longer see counts neither as running nor, before its end,
        // as ended.
        let seen_only = if self.filter.active == Some(true) {
            "yes"
        } else {
            ""
        };

        let query = query
            .bind(self.before.0)
            .bind(self.before.1.to_owned())
            .bind(self.low)
            .bind(self.until.0)
            .bind(self.until.1);
        let query = query
            .bind(limit)
            .bind(seen_only)
            .bind(text(&self.filter.room))
            .bind(text(application));
        let query = query
            .bind(min_people.unwrap_or(0))
            .bind(least)
            .bind(most)
            .bind(self.now);
        let query = query
            .bind(min_ms.unwrap_or(0))
            .bind(text(server))
            .bind(user)
            .bind(word);

        match by {
            Some((_, key)) if !key.is_empty() => query.bind(key.to_owned()),
            _ => query,
        }
    }

    /// The index in `WALKS` of the order in which the list is read.
    fn order(&self) -> usize {
        match self.filter {
            CallFilter { room: Some(_), .. } => 1,
            CallFilter {
                more:
                    More {
                        application: Some(_),
                        ..
                    },
                ..
            } => 2,
            _ => 0,
        }
    }
}

/// One page of calls, newest first, after `cursor`.
///
/// # Errors
/// When the database fails.
pub async fn list_calls(
    store: &Reader,
    viewer: Viewer,
    filter: &CallFilter,
    cursor: Option<&Cursor>,
    limit: i64,
    now: i64,
) -> Result<Vec<Call>, Error> {
    let Viewer::Operator = viewer;
    let asked = ListRequest::new(filter, cursor, now);
    match asked.way(store).await? {
        Some((0, _)) => return Ok(Vec::new()),
        Some((_, way)) => return asked.read_by(store, &way, limit).await,
        None => {}
    }

    let (late, long) = asked.parts();
    let mut calls = late.read(store, WALKS[late.order()], limit, None).await?;
    if let Some(long) = long.filter(|_| crate::store::to_i64(calls.len()) < limit) {
        calls.extend(
            long.read(store, LONG, limit - crate::store::to_i64(calls.len()), None)
                .await?,
        );
    }

    Ok(calls)
}

/// The number of matching calls, if they are few or the newest calls show it.
///
/// # Errors
/// When the database fails.
pub async fn count_calls(
    store: &Reader,
    viewer: Viewer,
    filter: &CallFilter,
    now: i64,
) -> Result<Matching, Error> {
    let Viewer::Operator = viewer;
    let asked = ListRequest::new(filter, None, now);
    let matching = |calls: i64, more: bool| Matching {
        calls: calls.min(COUNTED),
        more: more || calls > COUNTED,
    };

    if let Some((_, way)) = asked.way(store).await? {
        let calls = asked.read_by(store, &way, COUNTED + 1).await?;
        return Ok(matching(crate::store::to_i64(calls.len()), false));
    }

    let (late, long) = asked.parts();
    let query = late.bind(sqlx::query(COUNTS[late.order()]), LOOKED + 1, None);
    let row = query.fetch_one(&store.read).await?;
    let (looked, mut calls): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if let Some(long) = long.filter(|_| looked <= LOOKED) {
        calls += crate::store::to_i64(long.read(store, LONG, COUNTED + 1, None).await?.len());
    }

    Ok(matching(calls, looked > LOOKED))
}

impl<'a> ListRequest<'a> {
    async fn read(
        &self,
        store: &Reader,
        sql: &'static str,
        limit: i64,
        by: Option<(&RareCondition, &str)>,
    ) -> Result<Vec<Call>, Error> {
        unpack(
            &self
                .bind(sqlx::query(sql), limit, by)
                .fetch_all(&store.read)
                .await?,
            call_from_fields,
        )
    }

    async fn read_by(
        &self,
        store: &Reader,
        way: &AccessPath<'_>,
        limit: i64,
    ) -> Result<Vec<Call>, Error> {
        match way {
            AccessPath::Rare(rare, key) => {
                self.read(store, rare.page, limit, Some((rare, key))).await
            }
            AccessPath::Word(hits) => self.of_word(store, hits, limit).await,
        }
    }

    /// The first of the calls that a word matches. They are read from the latest on, until no other
    /// can have begun as late.
    async fn of_word(
        &self,
        store: &Reader,
        hits: &NameMatches,
        limit: i64,
    ) -> Result<Vec<Call>, Error> {
        let (mut calls, limit) = (Vec::new(), usize::try_from(limit).unwrap_or(usize::MAX));
        let hits = hits.calls(store).await?;
        let mut connection = store.read.acquire().await?;
        for some in hits.chunks(PORTION) {
            if calls
                .get(limit.saturating_sub(1))
                .is_some_and(|last: &Call| last.started_ms > some[0].0)
            {
                break;
            }

            let bind = |query: Statement, call: Option<&(i64, String)>| {
                query.bind(call.map(|(_, id)| id.clone()))
            };

            let shared = |query: Statement| self.bind(query, i64::MAX, None);
            calls.extend(unpack(
                &CALLS.read(&mut connection, some, shared, bind).await?,
                call_from_fields,
            )?);
            calls.sort_by(|one, other| {
                (other.started_ms, &other.id).cmp(&(one.started_ms, &one.id))
            });
        }

        calls.truncate(limit);

        Ok(calls)
    }

    /// The rarest condition of the filter: the number of its calls or stays, and the access path;
    /// `None` if none is rare.
    async fn way(&self, store: &Reader) -> Result<Option<(i64, AccessPath<'a>)>, Error> {
        let rarest = self.rare(store).await?;
        let Some(word) = self
            .filter
            .more
            .q
            .as_ref()
            .filter(|_| self.filter.more.id.is_none())
        else {
            return Ok(rarest.map(|(count, rare, key)| (count, AccessPath::Rare(rare, key))));
        };

        let most = rarest.map_or(store.tuning.rare.saturating_mul(OF_WORD), |(count, ..)| {
            count
        });
        let hits = name_search::find_matches(store, word).await?;
        let count = hits.count(store, most).await?;
        if count <= most {
            return Ok(Some((count, AccessPath::Word(hits))));
        }

        Ok(rarest.map(|(count, rare, key)| (count, AccessPath::Rare(rare, key))))
    }

    /// The rarest condition of the filter other than a word: the number of its calls or stays, and
    /// its key; `None` if none is rare.
    async fn rare(&self, store: &Reader) -> Result<Option<(i64, RareCondition, &'a str)>, Error> {
        let more = &self.filter.more;
        if let Some(id) = &more.id {
            return Ok(Some((1, ONE, id)));
        }

        let mut rarest: Option<(i64, RareCondition, &str)> = None;
        let keys = [(USER, &more.user), (SERVER, &more.server)];
        let keys = keys
            .into_iter()
            .filter_map(|(rare, key)| key.as_deref().map(|key| (rare, key, (0, 0))));
        let (least, most) = people_at_once(more.group);
        let numbers = [
            (LATE, (self.until.0 > i64::MIN).then_some((self.until.0, 0))),
            (PEAK, more.group.map(|_| (least, most))),
            (USERS, more.min_people.map(|people| (people, 0))),
            (LENGTH, more.min_ms.map(|ms| (ms, 0))),
        ];
        let numbers = numbers
            .into_iter()
            .filter_map(|(rare, bounds)| bounds.map(|bounds| (rare, "", bounds)));
        for (rare, key, bounds) in numbers.chain(keys) {
            let most = rarest.map_or(store.tuning.rare, |(count, ..)| count);
            let query = sqlx::query_scalar(rare.count).bind(most + 1);
            let query = if key.is_empty() {
                query.bind(bounds.0)
            } else {
                query.bind(key)
            };

            let query = if rare == PEAK {
                query.bind(bounds.1)
            } else {
                query
            };

            let count: i64 = query.fetch_one(&store.read).await?;
            if count <= most {
                rarest = Some((count, rare, key));
            }
        }

        Ok(rarest)
    }

    /// Splits the list in two: a call that ended this late either began within a day before that,
    /// or is long.
    fn parts(self) -> (Self, Option<Self>) {
        if self.until.0 == i64::MIN {
            return (self, None);
        }

        let low = self.until.0.saturating_sub(LONG_MS);
        let long = Self {
            before: self.before.min((low, "")),
            ..self
        };

        (Self { low, ..self }, Some(long))
    }
}

/// Bounds of the maximum number of people at once: alone, or with somebody.
pub(super) fn people_at_once(group: Option<bool>) -> (i64, i64) {
    match group {
        None => (0, i64::MAX),
        Some(true) => (2, i64::MAX),
        Some(false) => (0, 1),
    }
}
