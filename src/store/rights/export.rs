//! All that is stored about one person, as one JSON document that is made while it is read: a part
//! for each table that can name people, with the rows that do.

use super::forget::{NamePatterns, NameToForget};
use crate::rtc::forgotten::{Forgotten, ForgottenKind};
use crate::store::visible::views::{Rows, TABLES};
use crate::store::{Error, Reader, to_i64};
use serde_json::{Map, Value, json};
use sqlx::any::{AnyRow, AnyTypeInfoKind};
use sqlx::{Column, Row, ValueRef};
use std::io;

/// A table, and which of its rows are about the person.
struct ExportedTable {
    /// The key of the document.
    part: &'static str,
    table: &'static str,
    /// Of a row `t`, where `a` has the `user_id`: it is about this person and nobody else.
    condition: &'static str,
    /// Columns whose texts may name the person.
    texts: &'static [&'static str],
    order: &'static str,
}

const OF_USER: &str = "t.user_id = a.user_id";
const OF_SENDER: &str = "t.sender = a.user_id";
const OF_IDENTITY: &str = "t.identity = a.user_id";
const BY_TEXT: &str = "1 = 0";

/// Every table that can name a person.
const PARTS: &[ExportedTable] = &[
    ExportedTable {
        part: "rooms",
        table: "rooms",
        condition: "exists (select 1 from room_members m where m.room_id = t.room_id
            and m.user_id = a.user_id) or exists (select 1 from memberships m
            where m.room_id = t.room_id and m.user_id = a.user_id)",
        texts: &["error"],
        order: "t.room_id",
    },
    ExportedTable {
        part: "names",
        table: "people",
        condition: OF_USER,
        texts: &[],
        order: "t.room_id",
    },
    ExportedTable {
        part: "room_memberships",
        table: "room_members",
        condition: OF_USER,
        texts: &[],
        order: "t.room_id",
    },
    ExportedTable {
        part: "stays",
        table: "memberships",
        condition: OF_USER,
        texts: &[],
        order: "t.joined_ms, t.id",
    },
    ExportedTable {
        part: "events",
        table: "events",
        condition: "t.sender = a.user_id",
        texts: &["json"],
        order: "t.stream",
    },
    ExportedTable {
        part: "room_rules",
        table: "room_rules",
        condition: "t.sender = a.user_id",
        texts: &["json"],
        order: "t.room_id, t.kind, t.time_ms, t.event_id",
    },
    ExportedTable {
        part: "member_keys",
        table: "chains",
        condition: OF_SENDER,
        texts: &[],
        order: "t.room_id, t.chain",
    },
    ExportedTable {
        part: "checkpoints",
        table: "checkpoints",
        condition: BY_TEXT,
        texts: &["state"],
        order: "t.room_id, t.chain, t.at_ms",
    },
    ExportedTable {
        part: "heads",
        table: "heads",
        condition: BY_TEXT,
        texts: &["state"],
        order: "t.room_id, t.chain",
    },
    ExportedTable {
        part: "alerts",
        table: "alerts",
        condition: BY_TEXT,
        texts: &["subject", "condition"],
        order: "t.rule, t.kind, t.subject",
    },
    ExportedTable {
        part: "messages_of_alerts",
        table: "outbox",
        condition: BY_TEXT,
        texts: &["subject", "payload", "why"],
        order: "t.number",
    },
    ExportedTable {
        part: "counters",
        table: "tallies",
        condition: BY_TEXT,
        texts: &["key"],
        order: "t.tally, t.what, t.key",
    },
    ExportedTable {
        part: "state_resets",
        table: "state_resets",
        condition: OF_USER,
        texts: &[],
        order: "t.room_id, t.made_event_id",
    },
    ExportedTable {
        part: "events_not_stored",
        table: "set_aside",
        condition: OF_SENDER,
        texts: &[],
        order: "t.room_id, t.hour",
    },
    ExportedTable {
        part: "redacting_bans",
        table: "redacting_bans",
        condition: OF_USER,
        texts: &[],
        order: "t.room_id, t.at_ms",
    },
    ExportedTable {
        part: "pseudonyms",
        table: "pseudonyms",
        condition: OF_USER,
        texts: &[],
        order: "t.room_id, t.device_id",
    },
    ExportedTable {
        part: "invitations",
        table: "invitations",
        condition: "t.inviter = a.user_id",
        texts: &[],
        order: "t.vantage_id, t.room_id",
    },
    ExportedTable {
        part: "sign_in_sessions",
        table: "web_sessions",
        condition: OF_IDENTITY,
        texts: &[],
        order: "t.created_ms, t.id_hash",
    },
    ExportedTable {
        part: "keys_of_feeds",
        table: "feed_keys",
        condition: "t.owner = a.user_id",
        texts: &[],
        order: "t.owner",
    },
    ExportedTable {
        part: "codes_by_matrix",
        table: "sign_in_codes",
        condition: OF_USER,
        texts: &[],
        order: "t.asked_ms, t.browser_hash",
    },
    ExportedTable {
        part: "direct_rooms",
        table: "direct_rooms",
        condition: OF_USER,
        texts: &[],
        order: "t.room_id",
    },
    ExportedTable {
        part: "opt_outs",
        table: "opt_outs",
        condition: OF_USER,
        texts: &[],
        order: "t.user_id",
    },
    ExportedTable {
        part: "log_entries",
        table: "audit_log",
        condition: "t.identity = a.user_id",
        texts: &["detail"],
        order: "t.number",
    },
    ExportedTable {
        part: "keys",
        table: "api_keys",
        condition: BY_TEXT,
        texts: &["name"],
        order: "t.created_ms, t.id",
    },
    ExportedTable {
        part: "days",
        table: "days",
        condition: BY_TEXT,
        texts: &["facts"],
        order: "t.day",
    },
    ExportedTable {
        part: "accounts",
        table: "vantages",
        condition: "t.user_id = a.user_id",
        texts: &["error", "last_error"],
        order: "t.id",
    },
    ExportedTable {
        part: "types_not_asked_for",
        table: "unasked",
        condition: BY_TEXT,
        texts: &["kind"],
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

/// Columns of our own accounts that are nobody else's business.
const OF_ACCOUNTS: [&str; 2] = ["position", "device_id"];

/// Rows that are read at once. Nothing is held in the database while they are sent.
const PAGE: usize = 1000;

/// Writes all that is stored about a user, as of `now`, ms: gives the document to `write`, part
/// after part. No more than a page of rows is in memory. Parts that the reader may not see are left
/// out, and the document says which.
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
    let wish = NameToForget {
        kind: ForgottenKind::Person,
        name: user_id.to_owned(),
    };
    let patterns = NamePatterns::new(&wish);
    let mut names = Forgotten::default();
    names.add(wish.kind, &wish.name);
    let head = json!({"user_id": user_id, "exported_ms": now}).to_string();
    write(head.trim_end_matches('}').to_owned()).await?;
    let mut left_out = Vec::new();
    for part in PARTS {
        if !is_readable(store, part.table) {
            left_out.push(part.part);
            continue;
        }

        write(format!(",\n\"{}\": [", part.part)).await?;
        let mut before = "\n";
        let mut from = 0;
        loop {
            let rows = sqlx::query(sqlx::AssertSqlSafe(statement_of_table(part)))
                .bind(user_id.to_owned())
                .bind(patterns.text.clone())
                .bind(patterns.encoded.clone())
                .bind(to_i64(PAGE))
                .bind(to_i64(from))
                .fetch_all(&store.read)
                .await
                .map_err(Error::from)?;
            for row in &rows {
                if is_about(row, part, &names)? {
                    let text = value_of_row(row, part.table)?.to_string();
                    write(format!("{before}{text}")).await?;
                    before = ",\n";
                }
            }

            from += rows.len();
            if rows.len() < PAGE {
                break;
            }
        }

        write("]".to_owned()).await?;
    }

    let left_out = json!(left_out);

    Ok(write(format!(",\n\"left_out\": {left_out}\n}}\n")).await?)
}

/// May this reader see the table? One who sees some rooms only sees no table that tells of all
/// rooms or people together, nor our accounts.
fn is_readable(store: &Reader, table: &str) -> bool {
    let is_for_all = |(name, rows): &(&str, Rows)| {
        *name == table && (matches!(rows, Rows::None | Rows::ByReader) || table == "vantages")
    };

    store.rooms.is_none() || !TABLES.iter().any(is_for_all)
}

/// Is the row about the person, by its columns, or by a text that names exactly this person?
fn is_about(row: &AnyRow, part: &ExportedTable, names: &Forgotten) -> Result<bool, Error> {
    if row.try_get::<i64, _>("is_theirs")? == 1 {
        return Ok(true);
    }

    for column in part.texts {
        let text: Option<&str> = row.try_get(*column)?;
        if text.is_some_and(|text| names.in_room("").nameless_text(text).is_some()) {
            return Ok(true);
        }
    }

    Ok(false)
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
        texts,
        order,
        ..
    } = part;
    let naming: Vec<String> = texts
        .iter()
        .map(|column| {
            format!(" or t.{column} like a.text escape '!' or t.{column} like a.encoded escape '!'")
        })
        .collect();
    let naming = naming.concat();

    format!(
        "with asked(user_id, text, encoded) as
            (values (cast($1 as text), cast($2 as text), cast($3 as text)))
        select t.*, cast(case when {condition} then 1 else 0 end as bigint) as is_theirs
        from {table} t cross join asked a where {condition}{naming}
        order by {order} limit cast($4 as bigint) offset cast($5 as bigint)"
    )
}

/// A row as a JSON object, with its columns by name. A text that is JSON stands as such.
fn value_of_row(row: &AnyRow, table: &str) -> Result<Value, Error> {
    let mut object = Map::new();
    for column in row.columns() {
        let (name, at) = (column.name(), column.ordinal());
        let is_of_account = table == "vantages" && OF_ACCOUNTS.contains(&name);
        // The numbers of a day name everybody who was in calls on it.
        let is_of_all = table == "days" && name == "facts";
        if LEFT_OUT.contains(&name) || is_of_account || is_of_all || name == "is_theirs" {
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
