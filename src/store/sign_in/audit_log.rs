//! The log of sign-ins, of keys and of their use. Entries are deleted after 180 days.

use super::SignIns;
use crate::rtc::words::words;
use crate::store::Error;
use crate::store::db::json_row::read_rows;

words! {
    /// What happened.
    pub enum AuditKind {
        SignIn = "sign_in",
        /// A wrong password, or, with a detail, a refusal of another way to sign in.
        SignInRefused = "sign_in_refused",
        SignOut = "sign_out",
        /// The operator ended a session on the admin page.
        SessionEnded = "session_ended",
        AllSessionsEnded = "all_sessions_ended",
        /// The first use of a key on a day.
        KeyUsed = "key_used",
        KeyAdded = "key_added",
        KeyRevoked = "key_revoked",
        /// An operator decided who may see the calls of a room.
        RoomShown = "room_shown",
        /// An operator had the history of a room read again.
        BackfillRequested = "backfill_requested",
        /// An operator made an address at which a call is shown.
        CallShared = "call_shared",
        /// An operator had a test of an alert sent.
        AlertTested = "alert_tested",
        ShareRevoked = "share_revoked",
        /// Somebody made a secret address for feeds.
        FeedKeyMade = "feed_key_made",
        /// It was ended, by its owner or by an operator.
        FeedKeyEnded = "feed_key_ended",
        /// A person took what is stored about them.
        Exported = "exported",
        /// A person, or a room, asked not to be recorded.
        OptedOut = "opted_out",
        /// The operator had somebody forgotten.
        Forgotten = "forgotten",
    }
}

/// How long entries are kept, ms.
pub const KEPT_MS: i64 = 180 * 24 * 60 * 60 * 1000;
/// How often an entry is tried to be added when another process adds one at the same time.
const ADD_TRIES: u32 = 4;

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub at_ms: i64,
    pub kind: AuditKind,
    /// `operator`, a Matrix id, or the id of a key; `None` if it is not known.
    pub identity: Option<String>,
    /// The name of a key; how somebody signed in, or why somebody was refused; the id of a room and
    /// what was decided about it.
    pub detail: Option<String>,
    /// Where the request came from; `None` if it was a command on this machine.
    pub address: Option<String>,
}

/// Some entries, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// The place at which older entries go on; `None` if there are none.
    pub older: Option<i64>,
}

json_row! {
    struct EntryRow {
        number: i64 = "number",
        at_ms: i64 = "at_ms",
        kind: AuditKind = "kind",
        identity: Option<String> = "identity",
        detail: Option<String> = "detail",
        address: Option<String> = "address",
    }
}

const ADD: &str = "insert into audit_log (number, at_ms, kind, identity, detail, address)
    select coalesce(max(number), 0) + 1, cast($1 as bigint), $2, $3, $4, $5 from audit_log";

/// Adds an entry, and deletes those that are too old at its time. Of who is forgotten it has a
/// pseudonym and no address.
///
/// # Errors
/// When the database fails.
pub async fn record_entry(sign_ins: &SignIns, entry: &AuditEntry) -> Result<(), Error> {
    let entry = nameless_entry(sign_ins, entry);
    let statement = || {
        sqlx::query(ADD)
            .bind(entry.at_ms)
            .bind(entry.kind.as_str())
            .bind(entry.identity.as_deref())
            .bind(entry.detail.as_deref())
            .bind(entry.address.as_deref())
    };

    for _ in 1..ADD_TRIES {
        match sign_ins.write(statement).await {
            // A command took the same number at the same time.
            Err(Error::Database(error)) if is_taken(&error) => (),
            done => {
                done?;
                return delete_old_entries(sign_ins, entry.at_ms).await;
            }
        }
    }

    sign_ins.write(statement).await?;

    delete_old_entries(sign_ins, entry.at_ms).await
}

/// The entry without the names of who is forgotten.
fn nameless_entry(sign_ins: &SignIns, entry: &AuditEntry) -> AuditEntry {
    let mut nameless = entry.clone();
    if let Some(identity) = &entry.identity {
        let name = sign_ins.forgotten.name_for_log(identity);
        if name != *identity {
            nameless.identity = Some(name);
            nameless.address = None;
        }
    }

    let names = sign_ins.forgotten.names();
    let detail = entry.detail.as_deref();
    if let Some(detail) = detail.and_then(|detail| names.in_room("").nameless_text(detail)) {
        nameless.detail = Some(detail);
    }

    nameless
}

fn is_taken(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

const FORGET: &str = "delete from audit_log where at_ms <= $1";

/// Deletes entries that are older than 180 days at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn delete_old_entries(sign_ins: &SignIns, now: i64) -> Result<(), Error> {
    let before = now.saturating_sub(KEPT_MS);
    sign_ins.write(|| sqlx::query(FORGET).bind(before)).await?;

    Ok(())
}

const LIST: &str = sql!(
    "select ",
    EntryRow::TEXT,
    " from audit_log where number < $1 order by number desc limit $2"
);

/// The newest entries, or those that are older than a place of an earlier answer. At most `most`.
///
/// # Errors
/// When the database fails.
pub async fn list_entries(
    sign_ins: &SignIns,
    before: Option<i64>,
    most: usize,
) -> Result<AuditPage, Error> {
    let query = sign_ins.dialect().query(LIST);
    let query = query
        .bind(before.unwrap_or(i64::MAX))
        .bind(crate::store::to_i64(most.saturating_add(1)));
    let rows = query.fetch_all(&sign_ins.read).await?;
    let mut found = read_rows(&rows, |row: EntryRow| row)?;
    let has_older = found.len() > most;
    found.truncate(most);
    let older = found.last().filter(|_| has_older).map(|row| row.number);

    Ok(AuditPage {
        entries: found.into_iter().map(entry_from_row).collect(),
        older,
    })
}

fn entry_from_row(row: EntryRow) -> AuditEntry {
    AuditEntry {
        at_ms: row.at_ms,
        kind: row.kind,
        identity: row.identity,
        detail: row.detail,
        address: row.address,
    }
}
