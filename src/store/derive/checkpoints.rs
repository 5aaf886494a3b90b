//! Checkpoints: the state of a member key at a cut. A fold begins at the newest checkpoint before
//! the change and ends early at a later checkpoint that did not change. The head is the state after
//! the last event, so that the next event is folded alone. Both are derived data: without them a
//! fold begins at the first event of the key.

use crate::rtc::fold::KeyState;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::{Error, Tx, to_i64, to_usize};
use serde::de::IgnoredAny;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::HashMap;

/// A span of time of a member key (or of a slot), from and to, ms. Whether its ends are included,
/// the function that takes it says.
pub(in crate::store) type KeySpan<'a> = (&'a str, i64, i64);

/// The checkpoints of a member key around a span.
#[derive(Debug, Default)]
pub(super) struct NearCheckpoints {
    /// The newest checkpoint at the beginning of the span or before it, or the head if it is there.
    pub before: Option<KeyState>,
    /// Events between the last checkpoint and `before`; 0 if `before` is a checkpoint.
    pub events: usize,
    /// The member key has a head, before or after the span.
    pub has_head: bool,
    /// The first checkpoint after the end of the span.
    pub after: Option<KeyState>,
    /// The seal of the member key, ms.
    pub seal: Option<i64>,
}

static AROUND: MultiRow = MultiRow::new(
    "with asked(chain, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    ") select a.chain as chain, h.events as events,
    case when h.at_ms <= a.from_ms then h.state end as head,
    case when h.at_ms <= a.from_ms then null else
        (select c.state from checkpoints c where c.room_id = $1 and c.chain = a.chain
        and c.at_ms <= a.from_ms
            order by c.at_ms desc limit 1) end as before,
    (select c.state from checkpoints c where c.room_id = $1 and c.chain = a.chain
    and c.at_ms > a.to_ms
        order by c.at_ms limit 1) as later,
    (select s.cut_ms from seals s where s.room_id = $1 and s.chain = a.chain) as seal
    from asked a left join heads h on h.room_id = $1 and h.chain = a.chain
    where a.chain is not null",
);

/// The checkpoints around these spans, by member key: where the fold of each may begin (at the
/// beginning of the span or before it) and end (after the end of the span). No member key may be
/// there twice.
pub(super) async fn checkpoints_around(
    tx: &mut Tx,
    room_id: &str,
    spans: &[KeySpan<'_>],
) -> Result<HashMap<String, NearCheckpoints>, Error> {
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let rows = AROUND.read(tx, spans, shared, bind_key_span).await?;
    let mut around = HashMap::new();
    for row in &rows {
        let head = state_from_row(row, "head")?;
        let events: Option<i64> = row.try_get("events")?;
        let found = NearCheckpoints {
            events: events.filter(|_| head.is_some()).map_or(0, to_usize),
            has_head: events.is_some(),
            before: head.or(state_from_row(row, "before")?),
            after: state_from_row(row, "later")?,
            seal: row.try_get("seal")?,
        };

        around.insert(row.try_get("chain")?, found);
    }

    Ok(around)
}

/// Binds the three parameters of a span, in this order: member key, from, to. `None` binds nulls,
/// for a statement of which not all rows are used.
pub(in crate::store) fn bind_key_span(query: Statement, span: Option<&KeySpan<'_>>) -> Statement {
    query
        .bind(span.map(|(member_key, ..)| (*member_key).to_owned()))
        .bind(span.map(|(_, from, _)| *from))
        .bind(span.map(|(.., to)| *to))
}

/// The checkpoint in this column; `None` if there is none or if it cannot be read: an event may be
/// nested so deeply that it exceeds the depth limit once it is inside a checkpoint. That must not
/// stop writing. The fold then begins at an earlier checkpoint, or continues past this one.
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

/// Deletes the checkpoints after the beginning of each span (excluded) up to its end (included),
/// because something changed there. Heads stay: the fold that follows replaces or deletes them.
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

const FORGET_CHAIN: [&str; 2] = [
    "delete from checkpoints where room_id = $1 and chain = $2",
    "delete from heads where room_id = $1 and chain = $2",
];

/// Deletes all checkpoints and the head of a member key.
pub(in crate::store) async fn delete_key_checkpoints(
    tx: &mut Tx,
    room_id: &str,
    member_key: &str,
) -> Result<(), Error> {
    for sql in FORGET_CHAIN {
        sqlx::query(sql)
            .bind(room_id)
            .bind(member_key)
            .execute(&mut **tx)
            .await?;
    }

    Ok(())
}

const FORGET_ROOM: [&str; 2] = [
    "delete from checkpoints where room_id = $1",
    "delete from heads where room_id = $1",
];

/// Deletes all checkpoints and heads of a room.
pub(super) async fn delete_room_checkpoints(tx: &mut Tx, room_id: &str) -> Result<(), Error> {
    for sql in FORGET_ROOM {
        sqlx::query(sql).bind(room_id).execute(&mut **tx).await?;
    }

    Ok(())
}

static KEEP: MultiRow = MultiRow::new(
    "insert into checkpoints (room_id, chain, at_ms, state) values ",
    "($1, ?, ?, ?)",
    " on conflict (room_id, chain, at_ms) do update set state = excluded.state",
);

/// Stores checkpoints, each with its member key. A state without a cut is the beginning and is not
/// stored.
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

/// The state of a member key after its last event.
#[derive(Debug)]
pub(super) struct Head {
    pub member_key: String,
    pub state: KeyState,
    /// Events since the last checkpoint.
    pub events: usize,
}

static KEEP_HEADS: MultiRow = MultiRow::new(
    "insert into heads (room_id, chain, at_ms, events, state) values ",
    "($1, ?, ?, ?, ?)",
    " on conflict (room_id, chain) do update set at_ms = excluded.at_ms, events = excluded.events,
        state = excluded.state",
);

/// Maximum length of a head, bytes. It is written with each event. A sender could make it large
/// with many sticky events that are all still sticky.
const HEAD_MAX: usize = 64 * 1024;

/// Stores heads. Each replaces the one that its member key had. A head that is too long, or too
/// deep to be read again, is not stored, and the one before it is deleted.
pub(super) async fn store_heads(tx: &mut Tx, room_id: &str, heads: &[Head]) -> Result<(), Error> {
    let mut rows = Vec::with_capacity(heads.len());
    let mut unusable = Vec::new();
    for head in heads {
        let text = serde_json::to_string(&head.state)
            .map_err(|error| Error::Content(error.to_string()))?;
        let is_readable = || serde_json::from_str::<IgnoredAny>(&text).is_ok();
        match head.state.at_ms {
            Some(at_ms) if text.len() <= HEAD_MAX && is_readable() => {
                rows.push((head, at_ms, text));
            }
            _ => unusable.push(head.member_key.clone()),
        }
    }

    delete_heads(tx, room_id, &unusable).await?;

    let shared = |query: Statement| query.bind(room_id.to_owned());
    let bind = |query: Statement, (head, at_ms, text): &(&Head, i64, String)| {
        query
            .bind(head.member_key.clone())
            .bind(*at_ms)
            .bind(to_i64(head.events))
            .bind(text.clone())
    };

    KEEP_HEADS.write(tx, &rows, shared, bind).await?;

    Ok(())
}

static FORGET_HEADS: MultiRow = MultiRow::new(
    "delete from heads where room_id = $1 and chain in (",
    "?",
    ")",
);

/// Deletes the heads of these member keys.
pub(super) async fn delete_heads(
    tx: &mut Tx,
    room_id: &str,
    member_keys: &[String],
) -> Result<(), Error> {
    let shared = |query: Statement| query.bind(room_id.to_owned());
    FORGET_HEADS
        .write(tx, member_keys, shared, |query, member_key| {
            query.bind(member_key.clone())
        })
        .await?;

    Ok(())
}
