//! The alerts that are open, and since when each rule is known.

use super::outbox::{self, NewMessage};
use crate::rtc::alert::step::{Alert, AlertChange, AlertKey, AlertState};
use crate::rtc::alert::{AlertKind, FirstSights};
use crate::store::{Error, Reader, Tx, Writer};
use sqlx::Row;
use sqlx::any::AnyRow;

/// Maximum alerts that are read; nobody has so many open ones.
const ALERTS_MOST: i64 = 100_000;

const ALL: &str = "select * from alerts order by rule, kind, subject limit $1";

/// All alerts. One that a newer version stored in another form is left out.
///
/// # Errors
/// When the database fails.
pub async fn list_alerts(store: &Reader) -> Result<Vec<Alert>, Error> {
    let rows = sqlx::query(ALL)
        .bind(ALERTS_MOST)
        .fetch_all(&store.read)
        .await?;
    let mut alerts = Vec::with_capacity(rows.len());
    for row in &rows {
        alerts.extend(alert_from_row(row)?);
    }

    Ok(alerts)
}

fn alert_from_row(row: &AnyRow) -> Result<Option<Alert>, Error> {
    let kind: String = row.try_get("kind")?;
    let state: String = row.try_get("state")?;
    let condition: String = row.try_get("condition")?;
    let (Ok(kind), Ok(state), Ok(condition)) = (
        kind.parse::<AlertKind>(),
        state.parse::<AlertState>(),
        serde_json::from_str(&condition),
    ) else {
        return Ok(None);
    };

    Ok(Some(Alert {
        key: AlertKey {
            rule: row.try_get("rule")?,
            kind,
            subject: row.try_get("subject")?,
        },
        state,
        condition,
        opened_ms: row.try_get("opened_ms")?,
        seen_ms: row.try_get("seen_ms")?,
        told_ms: row.try_get("told_ms")?,
        sequence: row.try_get("sequence")?,
        is_held: row.try_get::<i64, _>("held")? != 0,
        ended_ms: row.try_get("ended_ms")?,
    }))
}

const SIGHTS: &str = "select rule, kind, since_ms from alert_sights";

/// When each rule was first there with each kind, ms.
///
/// # Errors
/// When the database fails.
pub async fn read_first_sights(store: &Reader) -> Result<FirstSights, Error> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(SIGHTS).fetch_all(&store.read).await?;
    let known = rows
        .into_iter()
        .filter_map(|(rule, kind, since_ms)| Some(((rule, kind.parse().ok()?), since_ms)));

    Ok(known.collect())
}

const ADD_SIGHT: &str = "insert into alert_sights (rule, kind, since_ms) values ($1, $2, $3)
    on conflict (rule, kind) do nothing";
const DELETE_SIGHT: &str = "delete from alert_sights where rule = $1 and kind = $2";

/// Notes that these rules are there with these kinds since `now`, ms, unless that is known. Of
/// others it is forgotten: when such a rule comes back, it is new.
///
/// # Errors
/// When the database fails.
pub async fn record_first_sights(
    store: &Writer,
    rules: &[(String, AlertKind)],
    now: i64,
) -> Result<(), Error> {
    let known = read_first_sights(store).await?;
    let mut tx = store.writing().await?;
    for (rule, kind) in rules {
        sqlx::query(ADD_SIGHT)
            .bind(rule.as_str())
            .bind(kind.as_str())
            .bind(now)
            .execute(&mut *tx)
            .await?;
    }

    for key in known.keys().filter(|key| !rules.contains(key)) {
        sqlx::query(DELETE_SIGHT)
            .bind(key.0.as_str())
            .bind(key.1.as_str())
            .execute(&mut *tx)
            .await?;
    }

    tx.commit().await?;

    Ok(())
}

const WRITE: &str = "insert into alerts (rule, kind, subject, room_id, state, opened_ms, seen_ms,
        told_ms, sequence, held, ended_ms, condition)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    on conflict (rule, kind, subject) do update set room_id = excluded.room_id,
        state = excluded.state, opened_ms = excluded.opened_ms, seen_ms = excluded.seen_ms,
        told_ms = excluded.told_ms, sequence = excluded.sequence, held = excluded.held,
        ended_ms = excluded.ended_ms, condition = excluded.condition";
const DELETE: &str = "delete from alerts where rule = $1 and kind = $2 and subject = $3";

/// Writes what changed of alerts, and the messages that tell it, at `now`, ms.
///
/// # Errors
/// When the database fails; then nothing was written.
pub async fn write_changes(
    store: &Writer,
    changes: &[AlertChange],
    messages: &[NewMessage],
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    for change in changes {
        if change.is_gone {
            delete_alert(&mut tx, &change.alert.key).await?;
        } else {
            write_alert(&mut tx, &change.alert).await?;
        }
    }

    outbox::append_messages(&mut tx, messages, now).await?;
    tx.commit().await?;

    Ok(())
}

async fn write_alert(tx: &mut Tx, alert: &Alert) -> Result<(), Error> {
    let room = alert.condition.room.as_ref();
    let condition = serde_json::to_string(&alert.condition)
        .map_err(|error| Error::Content(error.to_string()))?;
    sqlx::query(WRITE)
        .bind(alert.key.rule.as_str())
        .bind(alert.key.kind.as_str())
        .bind(alert.key.subject.as_str())
        .bind(room.map_or("", |room| room.room_id.as_str()))
        .bind(alert.state.as_str())
        .bind(alert.opened_ms)
        .bind(alert.seen_ms)
        .bind(alert.told_ms)
        .bind(alert.sequence)
        .bind(i64::from(alert.is_held))
        .bind(alert.ended_ms)
        .bind(condition)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

async fn delete_alert(tx: &mut Tx, key: &AlertKey) -> Result<(), Error> {
    sqlx::query(DELETE)
        .bind(key.rule.as_str())
        .bind(key.kind.as_str())
        .bind(key.subject.as_str())
        .execute(&mut **tx)
        .await?;

    Ok(())
}
