//! All that is stored about one person, as one JSON document that is made while it is read: a part
//! for each table that can name people, with the rows that do.

use super::forget::{NamePatterns, NameToForget};
use crate::rtc::forgotten::ForgottenKind;
use crate::store::{Error, Reader};
use futures_util::TryStreamExt;
use serde_json::{Map, Value, json};
use sqlx::any::{AnyRow, AnyTypeInfoKind};
use sqlx::{Column, Row, ValueRef};
use std::io;

/// A table, and which of its rows are about the person.
struct ExportedTable {
    /// The key of the document.
    part: &'static str,
    table: &'static str,
    /// Of a row `t`, where `a` has the `user_id`, and patterns of a text that names it, plain
    /// (`text`) and percent-encoded (`encoded`).
    condition: &'static str,
    order: &'static str,
}

const OF_USER: &str = "t.user_id = a.user_id";
const OF_SENDER: &str = "t.sender = a.user_id";
const OF_IDENTITY: &str = "t.identity = a.user_id";
const IN_STATE: &str = "t.state like a.text escape '!' or t.state like a.encoded escape '!'";

/// Every table that can name a person.
const PARTS: &[ExportedTable] = &[
    ExportedTable {
        part: "rooms",
        table: "rooms",
        condition: "exists (select 1 from room_members m where m.room_id = t.room_id
            and m.user_id = a.user_id) or exists (select 1 from memberships m
            where m.room_id = t.room_id and m.user_id = a.user_id)
            or coalesce(t.error, '') like a.text escape '!' or coalesce(t.error, '') like a.encoded escape '!'",
        order: "t.room_id",
    },
    ExportedTable {
        part: "names",
        table: "people",
        condition: OF_USER,
        order: "t.room_id",
    },
    ExportedTable {
        part: "room_memberships",
        table: "room_members",
        condition: OF_USER,
        order: "t.room_id",
    },
    ExportedTable {
        part: "stays",
        table: "memberships",
        condition: OF_USER,
        order: "t.joined_ms, t.id",
    },
    ExportedTable {
        part: "events",
        table: "events",
        condition: "t.sender = a.user_id or t.json like a.text escape '!' or t.json like a.encoded escape '!'",
        order: "t.stream",
    },
    ExportedTable {
        part: "room_rules",
        table: "room_rules",
        condition: "t.sender = a.user_id or t.json like a.text escape '!' or t.json like a.encoded escape '!'",
        order: "t.room_id, t.kind, t.time_ms, t.event_id",
    },
    ExportedTable {
        part: "member_keys",
        table: "chains",
        condition: OF_SENDER,
        order: "t.room_id, t.chain",
    },
    ExportedTable {
        part: "checkpoints",
        table: "checkpoints",
        condition: IN_STATE,
        order: "t.room_id, t.chain, t.at_ms",
    },
    ExportedTable {
        part: "heads",
        table: "heads",
        condition: IN_STATE,
        order: "t.room_id, t.chain",
    },
    ExportedTable {
        part: "counters",
        table: "tallies",
        condition: "t.key like a.text escape '!' or t.key like a.encoded escape '!'",
        order: "t.tally, t.what, t.key",
    },
    ExportedTable {
        part: "state_resets",
        table: "state_resets",
        condition: OF_USER,
        order: "t.room_id, t.made_event_id",
    },
    ExportedTable {
        part: "events_not_stored",
        table: "set_aside",
        condition: OF_SENDER,
        order: "t.room_id, t.hour",
    },
    ExportedTable {
        part: "redacting_bans",
        table: "redacting_bans",
        condition: OF_USER,
        order: "t.room_id, t.at_ms",
    },
    ExportedTable {
        part: "pseudonyms",
        table: "pseudonyms",
        condition: OF_USER,
        order: "t.room_id, t.device_id",
    },
    ExportedTable {
        part: "invitations",
        table: "invitations",
        condition: "t.inviter = a.user_id",
        order: "t.vantage_id, t.room_id",
    },
    ExportedTable {
        part: "sign_in_sessions",
        table: "web_sessions",
        condition: OF_IDENTITY,
        order: "t.created_ms, t.id_hash",
    },
    ExportedTable {
        part: "keys_of_feeds",
        table: "feed_keys",
        condition: "t.owner = a.user_id",
        order: "t.owner",
    },
    ExportedTable {
        part: "codes_by_matrix",
        table: "sign_in_codes",
        condition: OF_USER,
        order: "t.asked_ms, t.browser_hash",
    },
    ExportedTable {
        part: "direct_rooms",
        table: "direct_rooms",
        condition: OF_USER,
        order: "t.room_id",
    },
    ExportedTable {
        part: "opt_outs",
        table: "opt_outs",
        condition: OF_USER,
        order: "t.user_id",
    },
    ExportedTable {
        part: "log_entries",
        table: "audit_log",
        condition: "t.identity = a.user_id or coalesce(t.detail, '') like a.text escape '!'
            or coalesce(t.detail, '') like a.encoded escape '!'",
        order: "t.number",
    },
    ExportedTable {
        part: "keys",
        table: "api_keys",
        condition: "t.name like a.text escape '!' or t.name like a.encoded escape '!'",
        order: "t.created_ms, t.id",
    },
    ExportedTable {
        part: "days",
        table: "days",
        condition: "t.facts like a.text escape '!' or t.facts like a.encoded escape '!'",
        order: "t.day",
    },
    ExportedTable {
        part: "accounts",
        table: "vantages",
        condition: "t.user_id = a.user_id or coalesce(t.error, '') like a.text escape '!'
            or coalesce(t.last_error, '') like a.encoded escape '!'",
        order: "t.id",
    },
    ExportedTable {
        part: "types_not_asked_for",
        table: "unasked",
        condition: "t.kind like a.text escape '!' or t.kind like a.encoded escape '!'",
        order: "t.vantage_id, t.kind",
    },
];

/// Columns that are as good as a password, or count what is stored of all rooms together.
const LEFT_OUT: [&str; 7] = [
    "id_hash",
    "hash",
    "code_hash",
    "browser_hash",
    "stream",
    "tally",
    "number",
];

/// Writes all that is stored about a user, as of `now`, ms: gives the document to `write`, part
/// after part. No more than a few rows are in memory.
///
/// # Errors
/// When the database fails, or `write` does.
pub async fn write_export<W>(
    store: &Reader,
    user_id: &str,
    now: i64,
    mut write: impl FnMut(String) -> W,
) -> Result<(), ExportError>
where
    W: Future<Output = io::Result<()>>,
{
    let patterns = NamePatterns::new(&NameToForget {
        kind: ForgottenKind::Person,
        name: user_id.to_owned(),
    });
    let head = json!({"user_id": user_id, "exported_ms": now}).to_string();
    write(head.trim_end_matches('}').to_owned()).await?;
    for part in PARTS {
        write(format!(",\n\"{}\": [", part.part)).await?;
        let sql = sqlx::AssertSqlSafe(statement_of_table(part));
        let mut rows = sqlx::query(sql)
            .bind(user_id.to_owned())
            .bind(patterns.text.clone())
            .bind(patterns.encoded.clone())
            .fetch(&store.read);
        let mut before = "\n";
        while let Some(row) = rows.try_next().await.map_err(Error::from)? {
            let text = value_of_row(&row)?.to_string();
            write(format!("{before}{text}")).await?;
            before = ",\n";
        }

        write("]".to_owned()).await?;
    }

    Ok(write("\n}\n".to_owned()).await?)
}

/// Why a document could not be written to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("writing failed: {0}")]
    Write(#[from] io::Error),
}

fn statement_of_table(part: &ExportedTable) -> String {
    let ExportedTable {
        table,
        condition,
        order,
        ..
    } = part;

    format!(
        "with asked(user_id, text, encoded) as
            (values (cast($1 as text), cast($2 as text), cast($3 as text)))
        select t.* from {table} t cross join asked a where {condition} order by {order}"
    )
}

/// A row as a JSON object, with its columns by name. A text that is JSON stands as such.
fn value_of_row(row: &AnyRow) -> Result<Value, Error> {
    let mut object = Map::new();
    for column in row.columns() {
        let (name, at) = (column.name(), column.ordinal());
        if LEFT_OUT.contains(&name) {
            continue;
        }

        let value = row.try_get_raw(at)?;
        let value = if value.is_null() {
            Value::Null
        } else {
            match value.type_info().kind() {
                AnyTypeInfoKind::Text => value_of_text(row.try_get(at)?),
                AnyTypeInfoKind::Real | AnyTypeInfoKind::Double => {
                    json!(row.try_get::<f64, _>(at)?)
                }
                AnyTypeInfoKind::Bool => json!(row.try_get::<bool, _>(at)?),
                _ => json!(row.try_get::<i64, _>(at)?),
            }
        };
        object.insert(name.to_owned(), value);
    }

    Ok(Value::Object(object))
}

fn value_of_text(text: &str) -> Value {
    let is_json = text.starts_with(['{', '[']);
    let parsed = is_json.then(|| serde_json::from_str(text).ok()).flatten();

    parsed.unwrap_or_else(|| Value::from(text))
}
