//! The stored rows of sessions: written and deleted when their members change.

use super::dirty;
use crate::rtc::session::Session;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::db::packed::Fields;
use crate::store::{Error, Tx, to_i64};

/// The columns of [`session_from_fields`].
macro_rules! session_columns {
    () => {
        packed!(text "s.id", text "s.slot_id", text "s.application", number "s.started_ms",
            number "s.until_ms", number "s.memberships", number "s.users", number "s.devices",
            number "s.peak", number "s.peak_users", text "s.servers", text "s.intent",
            text "s.first_event_id", number "s.tally")
    };
}
pub(in crate::store) use session_columns;

/// A session from its packed form, and its tally.
pub(in crate::store) fn session_from_fields(
    fields: &mut Fields<'_>,
) -> Result<(Session, Option<i64>), Error> {
    let count = |fields: &mut Fields<'_>| {
        fields
            .some_number()
            .map(|number| usize::try_from(number).unwrap_or(0))
    };

    let session = Session {
        id: fields.some_text()?,
        slot_id: fields.some_text()?,
        application: fields.some_text()?,
        started_ms: fields.some_number()?,
        until_ms: fields.some_number()?,
        memberships: count(fields)?,
        users: count(fields)?,
        devices: count(fields)?,
        peak: count(fields)?,
        peak_users: count(fields)?,
        servers: fields
            .some_text()?
            .split_whitespace()
            .map(ToOwned::to_owned)
            .collect(),
        intent: fields.maybe_text()?,
        first_event_id: fields.some_text()?,
        membership_ids: Vec::new(),
    };

    Ok((session, fields.number()?))
}

static WRITE: MultiRow = MultiRow::new(
    "insert into sessions (room_id, id, slot_id, application, started_ms, until_ms, memberships,
        users, devices, peak, peak_users, servers, intent, first_event_id, tally) values ",
    "($1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " on conflict (id) do update set started_ms = excluded.started_ms, until_ms = excluded.until_ms,
        memberships = excluded.memberships, users = excluded.users, devices = excluded.devices,
        peak = excluded.peak, peak_users = excluded.peak_users, servers = excluded.servers,
        intent = excluded.intent, tally = excluded.tally",
);

/// Writes sessions of a room, each with the number of its tally; `None` = it keeps none.
pub(in crate::store) async fn write_sessions(
    tx: &mut Tx,
    room_id: &str,
    sessions: &[(Session, Option<i64>)],
) -> Result<(), Error> {
    // A call counts for the day of its start. A call that starts at another time has another first
    // stay, and so another id.
    let starts: Vec<(i64, i64)> = sessions
        .iter()
        .map(|(new, _)| (new.started_ms, new.started_ms))
        .collect();
    dirty::discard_day_totals(tx, &starts).await?;
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let bind = |query: Statement, (session, tally): &(Session, Option<i64>)| {
        // A server name has no white space, so a space can separate names.
        let servers: Vec<String> = session
            .servers
            .iter()
            .map(|name| name.replace(char::is_whitespace, ""))
            .collect();
        query
            .bind(session.id.clone())
            .bind(session.slot_id.clone())
            .bind(session.application.clone())
            .bind(session.started_ms)
            .bind(session.until_ms)
            .bind(to_i64(session.memberships))
            .bind(to_i64(session.users))
            .bind(to_i64(session.devices))
            .bind(to_i64(session.peak))
            .bind(to_i64(session.peak_users))
            .bind(servers.join(" "))
            .bind(session.intent.clone())
            .bind(session.first_event_id.clone())
            .bind(*tally)
    };

    WRITE.write(tx, sessions, shared, bind).await?;

    Ok(())
}

static DELETE: MultiRow = MultiRow::new("delete from sessions where id in (", "?", ")");
static FORMER: MultiRow = MultiRow::new(
    "insert into former_calls (room_id, id, slot_id, started_ms, first_event_id) values ",
    "($1, ?, ?, ?, ?)",
    " on conflict (id) do update set started_ms = excluded.started_ms,
        first_event_id = excluded.first_event_id",
);

/// Deletes sessions that no longer exist. Links to them will lead to the sessions that replaced
/// them.
pub(in crate::store) async fn delete_sessions(
    tx: &mut Tx,
    room_id: &str,
    sessions: &[Session],
) -> Result<(), Error> {
    let starts: Vec<(i64, i64)> = sessions
        .iter()
        .map(|gone| (gone.started_ms, gone.started_ms))
        .collect();
    dirty::discard_day_totals(tx, &starts).await?;
    DELETE
        .write(
            tx,
            sessions,
            |query| query,
            |query, session| query.bind(session.id.clone()),
        )
        .await?;
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let bind = |query: Statement, session: &Session| {
        let query = query
            .bind(session.id.clone())
            .bind(session.slot_id.clone())
            .bind(session.started_ms);
        query.bind(session.first_event_id.clone())
    };

    FORMER.write(tx, sessions, shared, bind).await?;

    Ok(())
}
