//! The stored rows of sessions: written and deleted when their members change.

use super::{dirty, stale_findings};
use crate::rtc::session::Session;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::{Error, Tx, to_i64};

json_row! {
    /// A row of `sessions s`.
    pub(in crate::store) struct SessionRow {
        id: String = "s.id",
        slot_id: String = "s.slot_id",
        application: String = "s.application",
        started_ms: i64 = "s.started_ms",
        until_ms: i64 = "s.until_ms",
        memberships: i64 = "s.memberships",
        users: i64 = "s.users",
        devices: i64 = "s.devices",
        peak: i64 = "s.peak",
        peak_users: i64 = "s.peak_users",
        servers: String = "s.servers",
        intent: Option<String> = "s.intent",
        first_event_id: String = "s.first_event_id",
        tally: Option<i64> = "s.tally",
    }
}

/// A stored session, and its tally.
pub(in crate::store) fn session_from_row(row: SessionRow) -> (Session, Option<i64>) {
    let count = |number: i64| usize::try_from(number).unwrap_or(0);
    let servers = row.servers.split_whitespace().map(ToOwned::to_owned);

    let session = Session {
        servers: servers.collect(),
        id: row.id,
        slot_id: row.slot_id,
        application: row.application,
        started_ms: row.started_ms,
        until_ms: row.until_ms,
        memberships: count(row.memberships),
        users: count(row.users),
        devices: count(row.devices),
        peak: count(row.peak),
        peak_users: count(row.peak_users),
        intent: row.intent,
        first_event_id: row.first_event_id,
        membership_ids: Vec::new(),
    };

    (session, row.tally)
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
    let ids: Vec<String> = sessions.iter().map(|gone| gone.id.clone()).collect();
    stale_findings::discard_findings_of_calls(tx, &ids).await?;
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
