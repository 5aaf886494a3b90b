//! Rebuild: everything that follows from stored events is derived again, chain by chain in small transactions, so that
//! a running server goes on writing in between and its readers never see a room without its calls.

use super::append::Touched;
use super::{Error, Store, chains, rooms, sessions};
use crate::rtc::fold::Rules;

/// So many chains are derived in one transaction; a chain itself is read page by page.
const CHAINS: i64 = 32;

const SIZES: &str = "select room_id, count(*) from events where chain is not null and ($1 = '' or room_id = $1)
    group by room_id order by room_id";

/// Rooms that have member events, and how many; of one room or of all.
///
/// # Errors
/// When the database fails.
pub async fn sizes(store: &Store, room_id: Option<&str>) -> Result<Vec<(String, i64)>, Error> {
    Ok(sqlx::query_as(SIZES).bind(room_id.unwrap_or_default()).fetch_all(&store.read).await?)
}

const SOME: &str = "select chain, count(*) from events where room_id = $1 and chain > $2
    group by chain order by chain limit $3";

/// Derives the next chains of a room again, those that follow `after` (empty at first). Returns the last of them, to go
/// on from, and how many events it read; `None` at the end.
///
/// # Errors
/// When the database fails; then nothing of this step was written.
pub async fn step(store: &Store, rules: &Rules, room_id: &str, after: &str) -> Result<Option<(String, i64)>, Error> {
    let mut tx = store.write.begin().await?;
    let query = sqlx::query_as(SOME).bind(room_id).bind(after).bind(CHAINS);
    let chains: Vec<(String, i64)> = query.fetch_all(&mut *tx).await?;
    let mut touched = Touched::default();
    for (chain, _) in &chains {
        touched.chain(chain, i64::MIN, i64::MAX);
    }
    let changes = chains::refold(&mut tx, (rules, store.grain), room_id, &touched).await?;
    sessions::follow(&mut tx, store.grain, room_id, &changes).await?;
    if chains.is_empty() {
        rooms::refresh(&mut tx, room_id).await?;
    }
    tx.commit().await?;
    let events = chains.iter().map(|(_, events)| events).sum();
    Ok(chains.into_iter().next_back().map(|(chain, _)| (chain, events)))
}

const SLOTS: &str = "select distinct slot_id from memberships where room_id = $1";
const NEXT: &str = "select count(*), min(joined_ms), max(joined_ms) from (select joined_ms from memberships
    where room_id = $1 and slot_id = $2 and joined_ms > $3 order by joined_ms limit 512) as portion";

/// Folds the calls of a room again from its stays, each slot from its first stay to its last.
///
/// # Errors
/// When the database fails.
pub async fn calls(store: &Store, room_id: &str) -> Result<(), Error> {
    let slots: Vec<String> = sqlx::query_scalar(SLOTS).bind(room_id).fetch_all(&store.read).await?;
    for slot_id in slots {
        let mut after = i64::MIN;
        loop {
            let query = sqlx::query_as(NEXT).bind(room_id).bind(&slot_id).bind(after);
            let (_, first, last): (i64, Option<i64>, Option<i64>) = query.fetch_one(&store.read).await?;
            let (Some(first), Some(last)) = (first, last) else { break };
            let mut tx = store.write.begin().await?;
            after = sessions::anew(&mut tx, room_id, &slot_id, first, last).await?.max(last);
            tx.commit().await?;
        }
    }
    Ok(())
}

const COUNT: &str = "select count(*) from memberships";
const PAGES_OF_SQLITE: &str = "select page_count * page_size from pragma_page_count, pragma_page_size";
const SIZE_ON_POSTGRES: &str = "select pg_database_size(current_database())";

/// How large the database is, bytes, and how many stays it holds.
///
/// # Errors
/// When the database fails.
pub async fn weight(store: &Store) -> Result<(i64, i64), Error> {
    let stays = sqlx::query_scalar(COUNT).fetch_one(&store.read).await?;
    let sqlite = store.read.acquire().await?.backend_name() == "SQLite";
    let sql = if sqlite { PAGES_OF_SQLITE } else { SIZE_ON_POSTGRES };
    Ok((sqlx::query_scalar(sql).fetch_one(&store.read).await?, stays))
}
