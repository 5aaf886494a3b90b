//! Checkpoints: the state of a member key at a cut. A fold begins at the newest checkpoint before
//! the change and ends early at a later checkpoint that did not change. They are derived data:
//! without them a fold begins at the first event of the key.

use crate::rtc::fold::KeyState;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::{Error, Tx};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::HashMap;

/// A span of time of a member key, ms.
pub(in crate::store) type KeySpan<'a> = (&'a str, i64, i64);

/// The checkpoints of a member key around a span.
#[derive(Debug, Default)]
pub(super) struct NearCheckpoints {
    /// The newest checkpoint at the beginning of the span or before it.
    pub before: Option<KeyState>,
    /// The first checkpoint after the end of the span.
    pub after: Option<KeyState>,
    /// The seal of the member key, ms.
    pub seal: Option<i64>,
}

static AROUND: MultiRow = MultiRow::new(
    "with asked(chain, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    ") select a.chain as chain,
    (select c.state from checkpoints c where c.room_id = $1 and c.chain = a.chain
    and c.at_ms <= a.from_ms
        order by c.at_ms desc limit 1) as before,
    (select c.state from checkpoints c where c.room_id = $1 and c.chain = a.chain
    and c.at_ms > a.to_ms
        order by c.at_ms limit 1) as later,
    (select s.cut_ms from seals s where s.room_id = $1 and s.chain = a.chain) as seal
    from asked a where a.chain is not null",
);

/// The checkpoints around these spans, by member key.
pub(super) async fn checkpoints_around(
    tx: &mut Tx,
    room_id: &str,
    spans: &[KeySpan<'_>],
) -> Result<HashMap<String, NearCheckpoints>, Error> {
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let rows = AROUND.read(tx, spans, shared, bind_key_span).await?;
    let mut around = HashMap::new();
    for row in &rows {
        let found = NearCheckpoints {
            before: state_from_row(row, "before")?,
            after: state_from_row(row, "later")?,
            seal: row.try_get("seal")?,
        };

        around.insert(row.try_get("chain")?, found);
    }

    Ok(around)
}

/// Binds a span of a member key.
pub(in crate::store) fn bind_key_span(query: Statement, span: Option<&KeySpan<'_>>) -> Statement {
    query
        .bind(span.map(|(member_key, ..)| (*member_key).to_owned()))
        .bind(span.map(|(_, from, _)| *from))
        .bind(span.map(|(.., to)| *to))
}

/// A checkpoint. `None` also if it cannot be read: an event may be nested so deeply that it exceeds
/// the depth limit once it is inside a checkpoint. That must not stop writing. The fold then begins
/// at an earlier checkpoint, or continues past this one.
fn state_from_row(row: &AnyRow, column: &str) -> Result<Option<KeyState>, Error> {
    let text: Option<&str> = row.try_get(column)?;
    let read = |text: &str| {
        serde_json::from_str(text).inspect_err(
            |error| tracing::debug!(why = ?error.classify(), "an unreadable checkpoint"),
        )
    };

    Ok(text.and_then(|text| read(text).ok()))
}

static FORGET: MultiRow = MultiRow::new(
    "with asked(chain, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    ") delete from checkpoints where (room_id, chain, at_ms) in (select c.room_id, c.chain, c.at_ms
    from asked a cross join checkpoints c
    where c.room_id = $1 and c.chain = a.chain and c.at_ms > a.from_ms and c.at_ms <= a.to_ms)",
);

/// Deletes the checkpoints after the beginning of each span up to its end, because something
/// changed there.
pub(super) async fn delete_checkpoints(
    tx: &mut Tx,
    room_id: &str,
    spans: &[KeySpan<'_>],
) -> Result<(), Error> {
    let shared = |query: Statement| query.bind(room_id.to_owned());
    FORGET
        .write(tx, spans, shared, |query, span| {
            bind_key_span(query, Some(span))
        })
        .await?;

    Ok(())
}

const FORGET_CHAIN: &str = "delete from checkpoints where room_id = $1 and chain = $2";

/// Deletes all checkpoints of a member key.
pub(in crate::store) async fn delete_key_checkpoints(
    tx: &mut Tx,
    room_id: &str,
    member_key: &str,
) -> Result<(), Error> {
    sqlx::query(FORGET_CHAIN)
        .bind(room_id)
        .bind(member_key)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const FORGET_ROOM: &str = "delete from checkpoints where room_id = $1";

/// Deletes all checkpoints of a room.
pub(super) async fn delete_room_checkpoints(tx: &mut Tx, room_id: &str) -> Result<(), Error> {
    sqlx::query(FORGET_ROOM)
        .bind(room_id)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

static KEEP: MultiRow = MultiRow::new(
    "insert into checkpoints (room_id, chain, at_ms, state) values ",
    "($1, ?, ?, ?)",
    " on conflict (room_id, chain, at_ms) do update set state = excluded.state",
);

/// Stores checkpoints, each with its member key.
pub(super) async fn store_checkpoints(
    tx: &mut Tx,
    room_id: &str,
    states: &[(String, KeyState)],
) -> Result<(), Error> {
    let mut rows = Vec::with_capacity(states.len());
    for (member_key, state) in states {
        let text =
            serde_json::to_string(state).map_err(|error| Error::Content(error.to_string()))?;
        rows.extend(state.at_ms.map(|at_ms| (member_key, at_ms, text)));
    }

    let shared = |query: Statement| query.bind(room_id.to_owned());
    let bind = |query: Statement, (member_key, at_ms, text): &(&String, i64, String)| {
        query
            .bind((*member_key).clone())
            .bind(*at_ms)
            .bind(text.clone())
    };

    KEEP.write(tx, &rows, shared, bind).await?;

    Ok(())
}
