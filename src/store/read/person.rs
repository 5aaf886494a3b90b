//! One person: their stays, whom they were in calls with, and their names.

use crate::rtc::coverage::Span;
use crate::rtc::spelling::spellings_of_name;
use crate::rtc::words::EndReason;
use crate::store::db::word_column::word_from_row;
use crate::store::read::name_search::name_words;
use crate::store::{Error, Reader, escape_for_like};
use sqlx::Row;
use sqlx::any::AnyRow;

/// A stay of a person. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonStay {
    pub call_id: String,
    pub room_id: String,
    pub device_id: Option<String>,
    pub joined_ms: i64,
    pub until_ms: i64,
    /// How it ends or ended.
    pub end_reason: EndReason,
}

const STAYS: &str = "select session_id, room_id, device_id, joined_ms, until_ms, end_reason
    from memberships where user_id = $1 and until_ms > $2 and joined_ms < $3
    and until_ms > joined_ms and session_id is not null
    order by until_ms desc, joined_ms desc, id limit $4";

/// The stays of a person within a span, the newest first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn stays_of_person(
    store: &Reader,
    user_id: &str,
    span: Span,
    limit: i64,
) -> Result<Vec<PersonStay>, Error> {
    let query = sqlx::query(STAYS)
        .bind(user_id)
        .bind(span.from)
        .bind(span.to)
        .bind(limit);
    let rows = query.fetch_all(&store.read).await?;

    rows.iter().map(stay_from_row).collect()
}

fn stay_from_row(row: &AnyRow) -> Result<PersonStay, Error> {
    Ok(PersonStay {
        call_id: row.try_get("session_id")?,
        room_id: row.try_get("room_id")?,
        device_id: row.try_get("device_id")?,
        joined_ms: row.try_get("joined_ms")?,
        until_ms: row.try_get("until_ms")?,
        end_reason: word_from_row(row, "end_reason")?,
    })
}

/// Somebody who was in calls at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companion {
    pub user_id: String,
    pub name: Option<String>,
    pub calls: i64,
    /// How long devices of both were there at the same time, ms.
    pub together_ms: i64,
}

const COMPANIONS: &str = "select user_id,
        (select min(p.name) from people p where p.user_id = t.user_id) as name,
        count(distinct session_id) as calls,
        cast(sum(end_ms - start_ms) as bigint) as together_ms
    from (select o.user_id, o.session_id,
            case when o.joined_ms > m.joined_ms and o.joined_ms > $2 then o.joined_ms
                when m.joined_ms > $2 then m.joined_ms else $2 end as start_ms,
            case when o.until_ms < m.until_ms and o.until_ms < $3 then o.until_ms
                when m.until_ms < $3 then m.until_ms else $3 end as end_ms
        from (select session_id, user_id, joined_ms, until_ms from memberships
                where user_id = $1 and until_ms > $2 and joined_ms < $3
                order by until_ms desc limit 1000) as m
            join memberships o on o.session_id = m.session_id
            and o.user_id <> m.user_id and o.joined_ms < m.until_ms and o.until_ms > m.joined_ms) as t
    where end_ms > start_ms
    group by user_id order by 4 desc, 1 limit $4";

/// The people with whom a person was in calls at the same time within a span, most time first, at
/// most `limit`. Only the newest 1,000 stays of the person are looked at. Two devices at the same
/// time count twice.
///
/// # Errors
/// When the database fails.
pub async fn companions_of_person(
    store: &Reader,
    user_id: &str,
    span: Span,
    limit: i64,
) -> Result<Vec<Companion>, Error> {
    let query = sqlx::query(COMPANIONS)
        .bind(user_id)
        .bind(span.from)
        .bind(span.to)
        .bind(limit);
    let rows = query.fetch_all(&store.read).await?;
    let companion = |row: &AnyRow| {
        Ok(Companion {
            user_id: row.try_get("user_id")?,
            name: row.try_get("name")?,
            calls: row.try_get("calls")?,
            together_ms: row.try_get("together_ms")?,
        })
    };

    rows.iter().map(companion).collect()
}

const IS_KNOWN: &str = "select count(*) from (select 1 from memberships where user_id = $1
    limit 1) as found";

/// The id of this person, also if it is asked for in another case; `None` if nobody with it was
/// ever seen in a call.
///
/// # Errors
/// When the database fails.
pub async fn find_known_person(store: &Reader, user_id: &str) -> Result<Option<String>, Error> {
    for user_id in spellings_of_name(user_id) {
        let found: i64 = sqlx::query_scalar(IS_KNOWN)
            .bind(&user_id)
            .fetch_one(&store.read)
            .await?;
        if found > 0 {
            return Ok(Some(user_id));
        }
    }

    Ok(None)
}

const NAME: &str = "select min(name) from people where user_id = $1";

/// A display name of the person; of several, the first in the alphabet. `None` if none is known.
///
/// # Errors
/// When the database fails.
pub async fn name_of_person(store: &Reader, user_id: &str) -> Result<Option<String>, Error> {
    let name = sqlx::query_scalar(NAME)
        .bind(user_id)
        .fetch_one(&store.read)
        .await?;

    Ok(name)
}

/// A person whom a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPerson {
    pub user_id: String,
    pub name: Option<String>,
    pub calls: i64,
    /// When the last stay ends, ms.
    pub last_ms: i64,
}

// A person without a name in any room is found by the id.
const SEARCH: &str = concat!(
    "select o.user_id, (select min(n.name) from people n where n.user_id = o.user_id) as name,
        o.calls, o.last_ms
    from (select m.user_id, count(distinct m.session_id) as calls, max(m.until_ms) as last_ms
        from memberships m where m.until_ms > m.joined_ms and m.session_id is not null
            and (lower(m.user_id) like $1 escape '!' or m.user_id in (select p.user_id from people p
                where p.name is not null and ",
    name_words!(),
    " like $1 escape '!'))
        group by m.user_id) as o
    order by o.last_ms desc, o.user_id limit $2"
);

/// The people who were in a call and whose id or display name contains this text, in whatever case,
/// those first who were in a call last; at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn search_people(
    store: &Reader,
    text: &str,
    limit: i64,
) -> Result<Vec<FoundPerson>, Error> {
    let pattern = format!("%{}%", escape_for_like(&text.to_lowercase()));
    let query = sqlx::query(SEARCH).bind(pattern).bind(limit);
    let rows = query.fetch_all(&store.read).await?;
    let person = |row: &AnyRow| {
        Ok(FoundPerson {
            user_id: row.try_get("user_id")?,
            name: row.try_get("name")?,
            calls: row.try_get("calls")?,
            last_ms: row.try_get("last_ms")?,
        })
    };

    rows.iter().map(person).collect()
}
