//! Discards the derived findings of calls of which something changes. They are derived again in the
//! background, and computed as long as that has not happened.

use crate::rtc::side_by_side::BEGAN_APART_MAX_MS;
use crate::rtc::time::DAY_MS;
use crate::store::db::multi_row::MultiRow;
use crate::store::{Error, Tx};

// A call may be found by its begin; long ones are few and have an index of their own.
pub(in crate::store) const CHANGED: &str =
    "select s.id from sessions s where s.room_id = $1 and s.started_ms >= $2
        and s.started_ms <= $3 and s.findings is not null
    union select s.id from sessions s where s.until_ms - s.started_ms > 86400000
        and s.until_ms >= $4 and s.room_id || '' = $1 and s.started_ms + 0 <= $3
        and s.findings is not null";
const OF_ROOM: &str = "select id from sessions where room_id = $1 and findings is not null";
const LONE_OF_ROOM: &str =
    "select id from sessions where room_id = $1 and users = 1 and findings is not null";
static TAKE: MultiRow = MultiRow::new(
    "update sessions set findings = null where id in (",
    "?",
    ")",
);
static FINDINGS: MultiRow = MultiRow::new("delete from findings where call_id in (", "?", ")");
static PEOPLE: MultiRow = MultiRow::new(
    "delete from finding_people where finding_id in
        (select f.id from findings f where f.call_id in (",
    "?",
    "))",
);

/// Discards the findings of a room's calls that ran in one of these spans (from and to, ms) or
/// within the hour beside it: a finding may be about two calls.
pub(in crate::store) async fn discard_findings(
    tx: &mut Tx,
    room_id: &str,
    spans: &[(i64, i64)],
) -> Result<(), Error> {
    let Some(from) = spans.iter().map(|(from, _)| *from).min() else {
        return Ok(());
    };
    let to = spans.iter().map(|(_, to)| *to).max().unwrap_or(from);
    let (from, to) = (
        from.saturating_sub(BEGAN_APART_MAX_MS),
        to.saturating_add(BEGAN_APART_MAX_MS),
    );
    let ids: Vec<String> = sqlx::query_scalar(CHANGED)
        .bind(room_id)
        .bind(from.saturating_sub(DAY_MS))
        .bind(to)
        .bind(from)
        .fetch_all(&mut **tx)
        .await?;

    discard_findings_of_calls(tx, &ids).await
}

/// Discards the findings of all calls of a room.
pub(in crate::store) async fn discard_findings_of_room(
    tx: &mut Tx,
    room_id: &str,
) -> Result<(), Error> {
    let ids: Vec<String> = sqlx::query_scalar(OF_ROOM)
        .bind(room_id)
        .fetch_all(&mut **tx)
        .await?;

    discard_findings_of_calls(tx, &ids).await
}

/// Discards the findings of those calls of a room in which one person was alone: they rest on who
/// else was in the room and could have joined.
pub(in crate::store) async fn discard_findings_of_lone_calls(
    tx: &mut Tx,
    room_id: &str,
) -> Result<(), Error> {
    let ids: Vec<String> = sqlx::query_scalar(LONE_OF_ROOM)
        .bind(room_id)
        .fetch_all(&mut **tx)
        .await?;

    discard_findings_of_calls(tx, &ids).await
}

/// Discards the findings of these calls.
pub(in crate::store) async fn discard_findings_of_calls(
    tx: &mut Tx,
    ids: &[String],
) -> Result<(), Error> {
    // This first: it waits for who derives them, and then sees what was stored.
    TAKE.write(tx, ids, |query| query, |query, id| query.bind(id.clone()))
        .await?;

    delete_findings_of_calls(tx, ids).await
}

/// Deletes the stored findings of these calls, and leaves it to the caller to say what is stored of
/// them.
pub(in crate::store) async fn delete_findings_of_calls(
    tx: &mut Tx,
    ids: &[String],
) -> Result<(), Error> {
    for statement in [&PEOPLE, &FINDINGS] {
        statement
            .write(tx, ids, |query| query, |query, id| query.bind(id.clone()))
            .await?;
    }

    Ok(())
}
