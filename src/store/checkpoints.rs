//! Checkpoints: how a chain stood at a cut. A fold begins at the newest one before the change and ends early at one
//! after it that did not change. Derived: without them a fold begins at the chain's first event.

use super::{Error, Tx};
use crate::rtc::fold::State;

const BEFORE: &str = "select state from checkpoints where room_id = $1 and chain = $2 and at_ms <= $3
    order by at_ms desc limit 1";
const AFTER: &str = "select state from checkpoints where room_id = $1 and chain = $2 and at_ms > $3
    order by at_ms limit 1";

/// The newest checkpoint at or before this time, ms; else how a chain begins.
pub(super) async fn before(tx: &mut Tx, room_id: &str, chain: &str, time: i64) -> Result<State, Error> {
    Ok(state(tx, BEFORE, room_id, chain, time).await?.unwrap_or_default())
}

/// The first checkpoint after this time, ms.
pub(super) async fn after(tx: &mut Tx, room_id: &str, chain: &str, time: i64) -> Result<Option<State>, Error> {
    state(tx, AFTER, room_id, chain, time).await
}

async fn state(tx: &mut Tx, sql: &'static str, room_id: &str, chain: &str, time: i64) -> Result<Option<State>, Error> {
    let query = sqlx::query_scalar(sql).bind(room_id).bind(chain).bind(time);
    let text: Option<String> = query.fetch_optional(&mut **tx).await?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| Error::Content(error.to_string()))).transpose()
}

const FORGET: &str = "delete from checkpoints where room_id = $1 and chain = $2 and at_ms > $3 and at_ms <= $4";

/// Forgets the checkpoints after `from` up to `to`, ms: something changed there.
pub(super) async fn forget(tx: &mut Tx, room_id: &str, chain: &str, from: i64, to: i64) -> Result<(), Error> {
    sqlx::query(FORGET).bind(room_id).bind(chain).bind(from).bind(to).execute(&mut **tx).await?;
    Ok(())
}

const KEEP: &str = "insert into checkpoints (room_id, chain, at_ms, state) values ($1, $2, $3, $4)
    on conflict (room_id, chain, at_ms) do update set state = excluded.state";

/// Keeps a checkpoint.
pub(super) async fn keep(tx: &mut Tx, room_id: &str, chain: &str, state: &State) -> Result<(), Error> {
    let Some(at_ms) = state.at_ms else { return Ok(()) };
    let text = serde_json::to_string(state).map_err(|error| Error::Content(error.to_string()))?;
    sqlx::query(KEEP).bind(room_id).bind(chain).bind(at_ms).bind(text).execute(&mut **tx).await?;
    Ok(())
}
