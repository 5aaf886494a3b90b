//! Lists of calls by more than room, status and time: by person, server, size, length, or a word. They are read in the order of
//! the list and looked at one by one, so a rare match among very many calls takes its time.

use super::row::{Call, CallFilter, Cursor, More};
use super::sessions::{bounds, call, seen_only};
use super::{Db, Error, Store};
use sqlx::any::AnyArguments;
use sqlx::query::Query;

macro_rules! search {
    () => {
        "select s.*, r.name as room_name, r.alias, r.watch, coalesce(r.polled_ms, r.first_seen_ms) as looked_ms
    from sessions s join rooms r on r.room_id = s.room_id
    where (s.started_ms, s.id) < ($1, $2) and s.started_ms < $3 and s.until_ms + 0 >= $4 and s.until_ms + 0 <= $5
    and ($7 = '' or r.watch in ('joined', 'peeked'))
    and ($8 = '' or s.room_id = $8) and ($9 = '' or s.application = $9)
    and s.users >= $10 and s.peak_users >= $11 and s.peak_users <= $12
    and (case when s.until_ms > $13 then $13 else s.until_ms end) - s.started_ms >= $14
    and ($15 = '' or replace(' ' || s.servers || ' ', ' ' || $15 || ' ', '') <> ' ' || s.servers || ' ')
    and ($16 = '' or s.id in (select session_id from memberships where user_id = $16))
    and ($17 = '' or s.id = $17)
    and ($18 = '' or lower(coalesce(r.name, '') || ' ' || coalesce(r.alias, '') || ' ' || r.room_id) like $18 escape '\\'
        or lower(s.servers) like $18 escape '\\'
        or s.id in (select m.session_id from memberships m
            left join people p on p.room_id = m.room_id and p.user_id = m.user_id
            where lower(m.user_id || ' ' || coalesce(p.name, '')) like $18 escape '\\'))
    order by s.started_ms desc, s.id desc limit $6"
    };
}
const SEARCH: &str = search!();
const COUNT: &str = concat!("select count(*) from (", search!(), ") as found");

/// One page of calls, newest first, after `cursor`.
pub(super) async fn page(
    store: &Store,
    filter: &CallFilter,
    cursor: Option<&Cursor>,
    limit: i64,
    now: i64,
) -> Result<Vec<Call>, Error> {
    let query = bound(sqlx::query(SEARCH), filter, cursor, limit, now);
    query.fetch_all(&store.read).await?.iter().map(call).collect()
}

/// How many calls match.
pub(super) async fn count(store: &Store, filter: &CallFilter, now: i64) -> Result<i64, Error> {
    let row = bound(sqlx::query(COUNT), filter, None, i64::MAX, now).fetch_one(&store.read).await?;
    Ok(sqlx::Row::try_get(&row, 0)?)
}

type Bound<'q> = Query<'q, Db, AnyArguments>;

fn bound<'q>(query: Bound<'q>, filter: &'q CallFilter, cursor: Option<&'q Cursor>, limit: i64, now: i64) -> Bound<'q> {
    let (before, at_least, at_most) = bounds(filter, now);
    let (started_ms, id) = cursor.map_or((i64::MAX, ""), |cursor| (cursor.started_ms, cursor.id.as_str()));
    let More { application, server, user, group, min_ms, min_people, id: only, q } = &filter.more;
    let text = |text: &'q Option<String>| text.as_deref().unwrap_or_default();
    // Most people at once, from and to: alone, or with somebody.
    let (least, most) = match group {
        None => (0, i64::MAX),
        Some(true) => (2, i64::MAX),
        Some(false) => (0, 1),
    };
    let query = query.bind(started_ms).bind(id).bind(before).bind(at_least).bind(at_most).bind(limit);
    let query = query.bind(seen_only(filter)).bind(text(&filter.room)).bind(text(application));
    let query = query.bind(min_people.unwrap_or(0)).bind(least).bind(most).bind(now).bind(min_ms.unwrap_or(0));
    query.bind(text(server)).bind(text(user)).bind(text(only)).bind(q.as_deref().map(pattern).unwrap_or_default())
}

/// A word as a pattern for `like`, in lower case.
fn pattern(word: &str) -> String {
    let word = word.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{word}%")
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn a_word_is_no_pattern() {
        assert_eq!(pattern("A_b%c\\"), "%a\\_b\\%c\\\\%");
    }
}
