//! Rooms that were replaced by another one, and whether we are in the new one.

use crate::rtc::id::server_of;
use crate::rtc::words::Watch;
use crate::store::ingest::room_rules;
use crate::store::{Error, Reader};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum rooms that are searched for those that do not wait.
const ROOMS_MAX: i64 = 10_000;
/// Maximum rooms that are processed in one turn.
const AT_ONCE: usize = 20;
/// Maximum members whose servers are considered for joining the new room, and maximum servers.
const MEMBERS_MAX: i64 = 500;
const SERVERS_MAX: usize = 5;
/// Maximum length of a chain of replacements that is followed back.
const CHAIN_MAX: usize = 32;

/// A room that was replaced by another one, where we are not in the new one yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSuccessor {
    pub old_room_id: String,
    /// Our membership of the old room: joined or peeked.
    pub watch: Watch,
    pub new_room_id: String,
    /// Who sent the tombstone.
    pub sender: String,
    /// When the tombstone was sent, ms, by its own stamp.
    pub replaced_ms: Option<i64>,
    /// Servers that are probably in the new room: the sender's first.
    pub servers: Vec<String>,
    /// The length of the chain of replacements before this room: how many rooms came to us since a
    /// given time, each by replacing the one before it.
    pub recent_chain: usize,
}

const PENDING: &str = "select r.room_id, r.replaced_by, r.watch from rooms r
    left join rooms n on n.room_id = r.replaced_by
    where r.replaced_by is not null and r.watch in ('joined', 'peeked') and (n.room_id is null
    or n.watch = 'blind')
    order by r.replaced_ms desc, r.room_id limit $1";

/// The replaced rooms whose successors are to be joined, a few at a time. Those whose successor is
/// `waiting` for its turn are left out. A room that we have known only since `recent_ms` counts in
/// the chain of a successor.
///
/// # Errors
/// When the database fails.
pub async fn list_pending_successors(
    store: &Reader,
    recent_ms: i64,
    waiting: &BTreeSet<String>,
) -> Result<Vec<PendingSuccessor>, Error> {
    let mut rows: Vec<(String, String, String)> = sqlx::query_as(PENDING)
        .bind(ROOMS_MAX)
        .fetch_all(&store.read)
        .await?;
    rows.retain(|(_, new_room_id, _)| !waiting.contains(new_room_id));
    rows.truncate(AT_ONCE);
    let mut found = Vec::new();
    for (old_room_id, new_room_id, watch) in rows {
        let mut connection = store.read.acquire().await?;
        let rules = room_rules::rules_of_room(&mut connection, &old_room_id).await?;
        drop(connection);
        let replaced_ms = rules.replaced().map(|replaced| replaced.at_ms);
        let sender = rules.replaced().map(|replaced| replaced.sender.clone());
        let sender = sender.unwrap_or_default();
        found.push(PendingSuccessor {
            servers: servers_to_join_through(store, &old_room_id, &new_room_id, &sender).await?,
            recent_chain: recent_chain(store, &old_room_id, recent_ms).await?,
            watch: Watch::from_word(&watch),
            old_room_id,
            new_room_id,
            sender,
            replaced_ms,
        });
    }

    Ok(found)
}

const MEMBERS: &str = "select user_id from room_members where room_id = $1 and joined = 1 limit $2";

/// The servers through which the new room can probably be joined: that of the user who replaced the
/// room, the server in the new room's id, then the servers with most members in the old room. Each
/// once, at most [`SERVERS_MAX`].
async fn servers_to_join_through(
    store: &Reader,
    old_room_id: &str,
    new_room_id: &str,
    sender: &str,
) -> Result<Vec<String>, Error> {
    let members: Vec<String> = sqlx::query_scalar(MEMBERS)
        .bind(old_room_id)
        .bind(MEMBERS_MAX)
        .fetch_all(&store.read)
        .await?;
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for user_id in &members {
        *counted.entry(server_of(user_id)).or_default() += 1;
    }

    let mut by_members: Vec<(&str, usize)> = counted.into_iter().collect();
    by_members.sort_by_key(|(_, members)| std::cmp::Reverse(*members));
    let by_members = by_members.iter().map(|(server, _)| *server);
    let mut named = BTreeSet::new();
    let all = [server_of(sender), server_of(new_room_id)]
        .into_iter()
        .chain(by_members);
    let each_once = all.filter(|server| !server.is_empty() && named.insert(*server));

    Ok(each_once.take(SERVERS_MAX).map(ToOwned::to_owned).collect())
}

const BEFORE: &str = "select room_id, first_seen_ms from rooms where replaced_by = $1
    order by first_seen_ms desc, room_id limit 1";

/// How many rooms before this one, each replaced by the next, have been known to us only since
/// `recent_ms`. It is followed back only so far, because rooms may replace each other in a circle.
async fn recent_chain(store: &Reader, room_id: &str, recent_ms: i64) -> Result<usize, Error> {
    let mut at = room_id.to_owned();
    let mut passed = BTreeSet::new();
    let mut recent = 0;
    while passed.len() < CHAIN_MAX && passed.insert(at.clone()) {
        let before: Option<(String, i64)> = sqlx::query_as(BEFORE)
            .bind(&at)
            .fetch_optional(&store.read)
            .await?;
        let Some((room_id, first_seen_ms)) = before else {
            break;
        };

        recent += usize::from(first_seen_ms > recent_ms);
        at = room_id;
    }

    Ok(recent)
}

const BEFORE_OURS: &str = "select r.room_id, r.predecessor from rooms r
    where r.predecessor is not null and r.watch in ('joined', 'peeked')
    and not exists (select 1 from rooms o where o.room_id = r.predecessor) order by r.room_id
    limit $1";

/// The rooms whose predecessor we do not know, a few at a time, each with its predecessor.
/// Predecessors that are `waiting` for their turn are left out.
///
/// # Errors
/// When the database fails.
pub async fn unknown_predecessors(
    store: &Reader,
    waiting: &BTreeSet<String>,
) -> Result<Vec<(String, String)>, Error> {
    let mut rows: Vec<(String, String)> = sqlx::query_as(BEFORE_OURS)
        .bind(ROOMS_MAX)
        .fetch_all(&store.read)
        .await?;
    rows.retain(|(_, before)| !waiting.contains(before));
    rows.truncate(AT_ONCE);

    Ok(rows)
}

const UNCOUNTED: &str = "select room_id from rooms where watch = 'joined' and members_ms is null
    and first_seen_ms < $1 order by first_seen_ms desc limit $2";

/// Rooms that we have been in since before a time, ms, whose full state was never polled and which
/// are not `waiting`, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_never_polled(
    store: &Reader,
    before_ms: i64,
    limit: usize,
    waiting: &BTreeSet<String>,
) -> Result<Vec<String>, Error> {
    let mut room_ids: Vec<String> = sqlx::query_scalar(UNCOUNTED)
        .bind(before_ms)
        .bind(ROOMS_MAX)
        .fetch_all(&store.read)
        .await?;
    room_ids.retain(|room_id| !waiting.contains(room_id));
    room_ids.truncate(limit);

    Ok(room_ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::read::tests::Bed;

    #[tokio::test]
    async fn rooms_that_wait_keep_no_place_from_others() {
        let bed = Bed::new().await;
        bed.run(
            "insert into rooms (room_id, watch, first_seen_ms, replaced_by, replaced_ms,
                predecessor)
            with recursive n(n) as (select 100 union all select n + 1 from n where n < 399)
            select '!' || n, 'joined', 500 - n, '!next' || n, 1, '!before' || n from n",
        )
        .await;
        let names = |prefix: &str| -> BTreeSet<String> {
            (100..399).map(|n| format!("!{prefix}{n}")).collect()
        };

        let found = list_pending_successors(&bed.store, 0, &names("next"))
            .await
            .unwrap();
        let new: Vec<&str> = found.iter().map(|one| one.new_room_id.as_str()).collect();
        assert_eq!(new, ["!next399"]);
        let found = unknown_predecessors(&bed.store, &names("before")).await;
        assert_eq!(
            found.unwrap(),
            [("!399".to_owned(), "!before399".to_owned())]
        );
        let mut waiting = names("");
        waiting.insert("!r:h".to_owned());
        let found = list_never_polled(&bed.store, 1000, 5, &waiting).await;
        assert_eq!(found.unwrap(), ["!399"]);
    }
}
