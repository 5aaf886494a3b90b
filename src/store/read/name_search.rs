//! Search in the names of people and rooms. The names of people who were ever in a call are kept in
//! memory; the names of rooms are read each time. New names come only with new events, so the list
//! is updated by reading the events since the last update. It may hold names that are no longer in
//! use, so the search checks the calls themselves afterwards.

use crate::rtc::id::server_of;
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::{Error, Reader, escape_for_like};
use memchr::memmem::Finder;
use serde::Deserialize;
use sqlx::Row;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::RwLock;

/// Separates two names; it occurs in none.
const APART: char = '\0';
/// If there are more new events than this, the whole list is read again, because that is faster.
const MANY: i64 = 20_000;

/// Shared by all who read a store.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct NameIndex {
    known: Arc<RwLock<KnownNames>>,
    /// Users whose display names were deleted by redactions since the last search: their old names
    /// must not be found.
    taken_back: Arc<Mutex<BTreeSet<String>>>,
}

impl NameIndex {
    /// Notes users of whom display names were deleted. The next search removes those that are not
    /// in use any more from the list.
    pub fn forget(&self, users: &BTreeSet<String>) {
        if !users.is_empty() {
            self.lock().extend(users.iter().cloned());
        }
    }

    /// Drops all names; they are read again when somebody searches.
    pub async fn clear(&self) {
        *self.known.write().await = KnownNames::default();
        self.lock().clear();
    }

    /// Locks the set of users whose display names were deleted.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // A poisoned lock is harmless: no holder can fail half-way.
        self.taken_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Users whose old names are being removed. If that stops half-way, by an error or because the
/// request was cancelled, they are left for the next search.
struct DeletedNames<'n> {
    names: &'n NameIndex,
    users: BTreeSet<String>,
}

impl<'n> DeletedNames<'n> {
    /// Takes all users whose display names were deleted out of the index. The holder clears `users`
    /// when they are done; what is left of them goes back when this is dropped.
    fn take(names: &'n NameIndex) -> Self {
        Self {
            users: std::mem::take(&mut *names.lock()),
            names,
        }
    }
}

impl Drop for DeletedNames<'_> {
    fn drop(&mut self) {
        self.names.forget(&self.users);
    }
}

/// The ids and display names of people who were ever in a call, in one text that is searched.
#[derive(Debug, Default)]
struct KnownNames {
    /// The newest event that the list includes: its number and its id. `None` before the first
    /// reading.
    upto: Option<NewestEvent>,
    /// By user id: the index of the user.
    people: HashMap<String, usize>,
    /// For each user: the id, and the ranges of `text` that hold names of the user.
    users: Vec<(String, Vec<Range<usize>>)>,
    /// Ids and display names in lower case, one after the other, ...
    text: String,
    /// ... where each ends, and the index of its user.
    ends: Vec<(usize, usize)>,
}

/// The newest event; none in a database without events.
type NewestEvent = Option<(i64, String)>;

/// The matches of a word.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct NameMatches {
    /// Homeservers, and people of other homeservers.
    pub servers: Vec<String>,
    pub users: Vec<String>,
    pub rooms: Vec<String>,
}

/// The words of the room `r` and the display name of `p`, as a search compares them.
macro_rules! room_words {
    () => {
        "coalesce(r.folded, lower(coalesce(r.name,
            '') || ' ' || coalesce(r.alias, '') || ' ' || r.room_id))
            || coalesce((select ' ' || rt.folded from room_titles rt
                where rt.room_id = r.room_id), '')"
    };
}
macro_rules! name_words {
    () => {
        "coalesce(p.folded, lower(p.name))"
    };
}
pub(in crate::store) use {name_words, room_words};

pub(super) const TOP: &str = "select stream, event_id from events order by stream desc limit 1";
const AT: &str = "select event_id from events where stream = $1";
// Jumps from each id to the next, so that not every stay is read.
pub(super) const USERS: &str =
    "with recursive next(user_id) as (select min(user_id) from memberships
        union all select (select min(o.user_id) from memberships o where o.user_id > n.user_id)
        from next n where n.user_id is not null)
    select user_id, lower(user_id) as lowered from next where user_id is not null
    union select sender, lower(sender) from chains";
pub(super) const DISPLAY: &str = concat!(
    "select p.user_id, lower(p.user_id) as lowered, ",
    name_words!(),
    " as display
    from people p where p.name is not null and (exists (select 1 from memberships m
    where m.user_id = p.user_id)
        or exists (select 1 from chains c where c.room_id = p.room_id and c.sender = p.user_id))"
);
const NAMES_OF: &str = concat!(
    "select ",
    name_words!(),
    " from people p where p.user_id = $1 and p.name is not null"
);
pub(super) const NEWS: &str = concat!(
    "select e.sender as user_id, lower(e.sender) as lowered, ",
    name_words!(),
    " as display, 1 as calls
    from events e left join people p on p.room_id = e.room_id and p.user_id = e.sender
    where e.stream > $1 and e.stream <= $2 and e.chain is not null
    union all select p.user_id, lower(p.user_id), ",
    name_words!(),
    ", 0
    from events e cross join people p where p.room_id = e.room_id and p.user_id = e.state_key
    and e.stream > $1 and e.stream <= $2 and e.kind = 'm.room.member' and e.chain is null"
);
pub(in crate::store) const ROOMS: &str = concat!(
    "select r.room_id from rooms r where ",
    room_words!(),
    " like $1 escape '!'"
);

/// A word as a pattern for `like`, in lower case.
pub(super) fn word_pattern(word: &str) -> String {
    format!("%{}%", escape_for_like(&word.to_lowercase()))
}

/// The rooms, people and servers in whose names this word is, in any case of letters. The list of
/// people is brought up to date first, if events came since.
pub(in crate::store) async fn find_matches(
    store: &Reader,
    word: &str,
) -> Result<NameMatches, Error> {
    let top: NewestEvent = sqlx::query_as(TOP).fetch_optional(&store.read).await?;
    let rooms = sqlx::query_scalar(ROOMS)
        .bind(word_pattern(word))
        .fetch_all(&store.read)
        .await?;
    if !store.shows_names() {
        return Ok(NameMatches {
            rooms,
            ..NameMatches::default()
        });
    }

    let word = word.to_lowercase();
    let known = store.names.known.read().await;
    if known.upto.as_ref() == Some(&top) && store.names.lock().is_empty() {
        return Ok(NameMatches {
            rooms,
            ..known.search_people(&word)
        });
    }

    drop(known);
    let mut known = store.names.known.write().await;
    let mut taken_back = DeletedNames::take(&store.names);
    known.remove_old_names(store, &taken_back.users).await?;
    taken_back.users.clear();
    known.catch_up(store, top).await?;

    Ok(NameMatches {
        rooms,
        ..known.downgrade().search_people(&word)
    })
}

impl KnownNames {
    /// Updates the list with what was stored up to `top`, the newest event. Few new events are read
    /// by themselves; if there are more than [`MANY`], or the number of the event read last is not
    /// that event's any more, the whole list is read again.
    async fn catch_up(&mut self, store: &Reader, top: NewestEvent) -> Result<(), Error> {
        match (&self.upto, &top) {
            (Some(upto), top) if upto == top => return Ok(()),
            (Some(Some((from, id))), Some((to, _))) if *from < *to && *to - *from <= MANY => {
                // The event may have been deleted by age, and its number used again for another.
                let there: Option<String> = sqlx::query_scalar(AT)
                    .bind(*from)
                    .fetch_optional(&store.read)
                    .await?;
                if there.as_ref() == Some(id) {
                    self.add_news(store, *from, *to).await?;
                    self.upto = Some(top);
                    return Ok(());
                }
            }
            _ => {}
        }

        *self = Self::default();
        for row in sqlx::query(USERS).fetch_all(&store.read).await? {
            self.add_name(row.try_get("user_id")?, row.try_get("lowered")?, None);
        }

        for row in sqlx::query(DISPLAY).fetch_all(&store.read).await? {
            self.add_name(
                row.try_get("user_id")?,
                row.try_get("lowered")?,
                row.try_get("display")?,
            );
        }

        self.upto = Some(top);

        Ok(())
    }

    /// Removes the display names of these people from the list, except for those that they have
    /// now.
    async fn remove_old_names(
        &mut self,
        store: &Reader,
        users: &BTreeSet<String>,
    ) -> Result<(), Error> {
        for user in users {
            let Some(at) = self.people.get(user).copied() else {
                continue;
            };

            let names: Vec<String> = sqlx::query_scalar(NAMES_OF)
                .bind(user)
                .fetch_all(&store.read)
                .await?;
            // The first range is the id.
            let old = self.users[at].1.split_off(1);
            for range in old {
                // Of the same length, so that the other ranges stay true.
                let nothing = APART.to_string().repeat(range.len());
                self.text.replace_range(range, &nothing);
            }

            let lowered = self.text[self.users[at].1[0].clone()].to_owned();
            for name in &names {
                self.add_name(user, &lowered, Some(name));
            }
        }

        Ok(())
    }

    /// Adds the names that the events with numbers after `from` up to `to` brought. The column
    /// `calls` is 1 for the sender of a member event. The others are room members, of whom only
    /// those that are in the index already count.
    async fn add_news(&mut self, store: &Reader, from: i64, to: i64) -> Result<(), Error> {
        for row in sqlx::query(NEWS)
            .bind(from)
            .bind(to)
            .fetch_all(&store.read)
            .await?
        {
            let user: &str = row.try_get("user_id")?;
            // Most members of a room are in no call.
            if row.try_get::<i64, _>("calls")? == 1 || self.people.contains_key(user) {
                self.add_name(user, row.try_get("lowered")?, row.try_get("display")?);
            }
        }

        Ok(())
    }

    /// Adds a user's id in lower case (`lowered`), and a display name as a search compares it. A
    /// name that the user has already in the list is not added again. A user's first range is the
    /// id.
    fn add_name(&mut self, user: &str, lowered: &str, display: Option<&str>) {
        let next = self.users.len();
        let at = *self.people.entry(user.to_owned()).or_insert(next);
        if at == next {
            self.users.push((user.to_owned(), Vec::new()));
        }

        for name in [Some(lowered), display].into_iter().flatten() {
            let Self {
                users, text, ends, ..
            } = self;
            if !users[at].1.iter().any(|place| text[place.clone()] == *name) {
                let from = text.len();
                text.push_str(name);
                users[at].1.push(from..text.len());
                text.push(APART);
                ends.push((text.len(), at));
            }
        }
    }

    /// The people in whose ids or display names this word, in lower case, is; and the servers in
    /// whose names it is, for all their people. Rooms are left empty.
    fn search_people(&self, word: &str) -> NameMatches {
        let mut found: BTreeSet<usize> = BTreeSet::new();
        // A word with a separator in it would match across two names.
        for at in Finder::new(word)
            .find_iter(self.text.as_bytes())
            .filter(|_| !word.contains(APART))
        {
            let name = self.ends.partition_point(|(end, _)| *end <= at);
            found.extend(self.ends.get(name).map(|(_, who)| *who));
        }

        let (mut servers, mut users) = (BTreeSet::new(), Vec::new());
        for (user, places) in found.into_iter().map(|who| &self.users[who]) {
            if server_of(&self.text[places[0].clone()]).contains(word) {
                servers.insert(server_of(user).to_owned());
            } else {
                users.push(user.clone());
            }
        }

        NameMatches {
            servers: servers.into_iter().collect(),
            users,
            rooms: Vec::new(),
        }
    }
}

/// The call of a stay or a call, if it is in one, and a time that is its start or later.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchingCallRow {
    call: Option<String>,
    time_ms: i64,
}

macro_rules! of {
    ($table:literal, $key:literal, $call:literal, $time:literal) => {
        [
            MultiRow::new(
                concat!(
                    "select count(*) from (select 1 from ",
                    $table,
                    " where ",
                    $key,
                    " in ("
                ),
                "?",
                ") limit $1) as found",
            ),
            MultiRow::new(
                concat!(
                    "select string_agg(cast(json_object('call', ",
                    $call,
                    ", 'time_ms', ",
                    $time,
                    ") as text), '') from ",
                    $table,
                    " where ",
                    $key,
                    " in ("
                ),
                "?",
                ")",
            ),
        ]
    };
}

/// For rooms, servers and people: how many calls or stays there are, and which calls, each with a
/// time, ms, that is its start or later.
pub(super) static OF: [[MultiRow; 2]; 3] = [
    of!("sessions", "room_id", "id", "started_ms"),
    of!("memberships", "server", "session_id", "joined_ms"),
    of!("memberships", "user_id", "session_id", "joined_ms"),
];

impl NameMatches {
    /// Rooms, servers and users, in the order of [`OF`].
    fn keys(&self) -> [&[String]; 3] {
        [&self.rooms, &self.servers, &self.users]
    }

    /// How many calls the rooms had and how many stays the servers and users had, in all. Counting
    /// stops once there are more than `most`: then the number is greater than that, and no more.
    pub async fn count(&self, store: &Reader, most: i64) -> Result<i64, Error> {
        let (mut connection, mut count) = (store.read.acquire().await?, 0);
        for ([rows, _], keys) in OF.iter().zip(self.keys()) {
            for some in keys.chunks(64) {
                let shared = |query: Statement| query.bind(most + 1 - count);
                for row in rows
                    .read(&mut connection, some, shared, |query, key| {
                        query.bind(key.cloned())
                    })
                    .await?
                {
                    count += row.try_get::<i64, _>(0)?;
                }

                if count > most {
                    return Ok(count);
                }
            }
        }

        Ok(count)
    }

    /// The calls of these rooms, servers and users, each once, with a time, ms, that is its start
    /// or later; the latest first.
    pub async fn calls(&self, store: &Reader) -> Result<Vec<(i64, String)>, Error> {
        let mut connection = store.read.acquire().await?;
        let mut found: HashMap<String, i64> = HashMap::new();
        for ([_, rows], keys) in OF.iter().zip(self.keys()) {
            let rows = rows
                .read(
                    &mut connection,
                    keys,
                    |query| query,
                    |query, key| query.bind(key.cloned()),
                )
                .await?;
            for matching in read_rows(&rows, |row: MatchingCallRow| row)? {
                let Some(call) = matching.call else { continue };
                let latest = found.entry(call).or_insert(matching.time_ms);
                *latest = matching.time_ms.max(*latest);
            }
        }

        let mut calls: Vec<(i64, String)> =
            found.into_iter().map(|(call, time)| (time, call)).collect();
        calls.sort_unstable_by(|one, other| other.cmp(one));

        Ok(calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::read::tests::Bed;

    async fn users(bed: &Bed, word: &str) -> Vec<String> {
        find_matches(&bed.store, word).await.unwrap().users
    }

    #[tokio::test]
    async fn a_name_that_was_taken_back_is_forgotten_at_once() {
        let bed = Bed::new().await;
        bed.stay("@a:h", "'D'", "one", 10, 20).await;
        bed.event("$name", None, "m.room.member", 5).await;
        for (room, name) in [("!r:h", "secret"), ("!o:h", "other")] {
            bed.run(&format!(
                "insert into people (room_id, user_id, name, folded, event_ms, event_id)
                values ('{room}', '@a:h', '{name}', '{name}', 5, '$name')"
            ))
            .await;
        }

        assert_eq!(users(&bed, "secret").await, ["@a:h"]);
        bed.run("update people set name = null, folded = null where room_id = '!r:h'")
            .await;
        bed.store.names.forget(&BTreeSet::from(["@a:h".to_owned()]));
        assert_eq!(users(&bed, "secret").await, [""; 0]);
        assert_eq!(
            users(&bed, "other").await,
            ["@a:h"],
            "it has that one still"
        );
        assert_eq!(users(&bed, "@a").await, ["@a:h"]);
    }

    #[tokio::test]
    async fn a_search_that_is_given_up_half_way_forgets_none_of_what_was_taken_back() {
        let bed = Bed::new().await;
        let user = "@a:h".to_owned();
        bed.stay(&user, "'D'", "one", 10, 20).await;
        bed.event("$name", None, "m.room.member", 5).await;
        users(&bed, "nobody").await;
        for micros in 0..150 {
            bed.store.names.forget(&BTreeSet::from([user.clone()]));
            let wait = std::time::Duration::from_micros(micros * 20);
            let search = tokio::time::timeout(wait, users(&bed, "nobody"));
            let is_left = search.await.is_err();
            assert_eq!(is_left, !bed.store.names.lock().is_empty(), "{wait:?}");
        }
    }
}
