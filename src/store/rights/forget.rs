//! Forgets a person or a homeserver. First the name is noted, so that nothing that comes stores it
//! any more; then it is taken out of what is stored, room by room; then the database is written
//! anew, so that no byte of it is left. A stop at any point loses nothing: who asks again goes on.

use super::forgotten;
use super::room_rows::{self, RoomCounts};
use crate::rtc::fold::Rules;
use crate::rtc::forgotten::{Forgotten, ForgottenKind, replace_server_name};
use crate::rtc::id::server_of;
use crate::rtc::transport::host_of_url;
use crate::store::derive::rebuild;
use crate::store::{Error, Tx, Writer, escape_for_like, to_usize};
use futures_util::TryStreamExt;
use serde_json::Value;
use std::collections::BTreeSet;

/// A name that is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameToForget {
    pub kind: ForgottenKind,
    /// A full user id, or the name of a homeserver.
    pub name: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForgetCounts {
    pub rooms: usize,
    /// Events whose names were replaced.
    pub events: usize,
    /// Stays that are nobody's now.
    pub stays: usize,
    /// Further rows that named the person: names, accounts, sign-ins, entries of the log.
    pub others: usize,
}

/// What became of a wish to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgot {
    Done(ForgetCounts),
    /// The name was forgotten before, and nothing is stored under it.
    Before,
}

/// The patterns of `like` that find a name.
#[derive(Debug, Clone)]
pub(super) struct NamePatterns {
    /// In a column that holds a user id.
    pub user: String,
    /// In a text.
    pub text: String,
    /// In a text where it is percent-encoded.
    pub encoded: String,
}

impl NamePatterns {
    pub fn new(wish: &NameToForget) -> Self {
        let name = &wish.name;
        // As it stands in the JSON text of an event.
        let quoted = Value::from(name.as_str()).to_string();
        let quoted = escape_for_like(quoted.trim_matches('"'));
        let encoded = name.replacen('@', "%40", 1).replacen(':', "%3A", 1);

        Self {
            user: match wish.kind {
                ForgottenKind::Person => escape_for_like(name),
                ForgottenKind::Server => format!("%:{}", escape_for_like(name)),
            },
            text: format!("%{quoted}%"),
            encoded: format!("%{}%", escape_for_like(&encoded)),
        }
    }
}

// Each of these tables names people in a room.
const ROOMS: &str = "
    select room_id from events where json like $2 escape '!' or json like $3 escape '!'
        or coalesce(kept, '') like $2 escape '!'
    union select room_id from memberships where user_id like $1 escape '!'
    union select room_id from people where user_id like $1 escape '!'
    union select room_id from room_members where user_id like $1 escape '!'
    union select room_id from chains where sender like $1 escape '!'
    union select room_id from state_resets where user_id like $1 escape '!'
    union select room_id from set_aside where sender like $1 escape '!'
    union select room_id from redacting_bans where user_id like $1 escape '!'
    union select room_id from pseudonyms where user_id like $1 escape '!'
    union select room_id from room_rules where sender like $1 escape '!' or json like $2 escape '!'
    union select room_id from checkpoints where state like $2 escape '!'
    union select room_id from heads where state like $2 escape '!'
    union select room_id from rooms where coalesce(access, '') like $2 escape '!'
        or coalesce(error, '') like $2 escape '!' or coalesce(name, '') like $2 escape '!'
    union select room_id from memberships where coalesce(transport_url, '') like $2 escape '!'";

/// Forgets a name, at `now`, ms. `random` becomes the key of all hashes, if there is none yet.
///
/// # Errors
/// When the database fails; what was done until then stays done.
pub async fn forget_name(
    store: &Writer,
    rules: &Rules,
    wish: &NameToForget,
    now: i64,
    random: [u8; 32],
) -> Result<Forgot, Error> {
    let mut tx = store.writing().await?;
    forgotten::make_key(&mut tx, random).await?;
    let mut names = forgotten::read_all_names(&mut tx).await?;
    let patterns = NamePatterns::new(wish);
    let was_done = forgotten::is_name_done(&mut tx, &names, wish.kind, &wish.name).await?;
    forgotten::store_name(&mut tx, &names, wish.kind, &wish.name, now).await?;
    tx.commit().await?;
    names.add(wish.kind, &wish.name);

    let room_ids: Vec<String> = bind_patterns(sqlx::query_scalar(ROOMS), &patterns)
        .fetch_all(&store.write)
        .await?;
    let mut counts = ForgetCounts::default();
    for room_id in &room_ids {
        let mut tx = store.writing().await?;
        let done =
            room_rows::forget_in_room(&mut tx, store.derivation(rules), &names, &patterns, room_id)
                .await?;
        tx.commit().await?;
        // Stays that no event is left of keep their call; its servers follow from all stays.
        if done.changed_stays > 0 || (wish.kind == ForgottenKind::Server && done.is_touched()) {
            rebuild::recount_calls(store, room_id).await?;
        }

        counts.add(done);
    }

    let mut tx = store.writing().await?;
    // First, since it waits for those who store a batch; they may wait for the rows below.
    forgotten::store_name_done(&mut tx, &names, wish.kind, &wish.name, now).await?;
    counts.others += forget_outside_rooms(&mut tx, &names, wish, &patterns).await?;
    tx.commit().await?;
    store.notice_forgotten().await?;
    if was_done && counts == ForgetCounts::default() {
        return Ok(Forgot::Before);
    }

    Ok(Forgot::Done(counts))
}

impl ForgetCounts {
    fn add(&mut self, room: RoomCounts) {
        self.rooms += usize::from(room.is_touched());
        self.events += room.events;
        self.stays += room.stays;
        self.others += room.others;
    }
}

/// Binds `$1` to `$3` of a statement that looks for a name.
fn bind_patterns<'q, O>(
    query: sqlx::query::QueryScalar<
        'q,
        crate::store::Db,
        O,
        <crate::store::Db as sqlx::Database>::Arguments,
    >,
    patterns: &NamePatterns,
) -> sqlx::query::QueryScalar<
    'q,
    crate::store::Db,
    O,
    <crate::store::Db as sqlx::Database>::Arguments,
> {
    query
        .bind(patterns.user.clone())
        .bind(patterns.text.clone())
        .bind(patterns.encoded.clone())
}

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownName {
    /// Nothing is stored about it.
    No,
    Stored,
    /// It is forgotten, and nothing is stored about it.
    Forgotten,
    /// It is the account by which rooms are watched, or its homeserver.
    Own,
}

/// What is known of this name.
///
/// # Errors
/// When the database fails.
pub async fn look_up_name(store: &Writer, wish: &NameToForget) -> Result<KnownName, Error> {
    if is_own_name(store, wish).await? {
        return Ok(KnownName::Own);
    }

    if is_name_stored(store, wish).await? {
        return Ok(KnownName::Stored);
    }

    store.notice_forgotten().await?;
    if store.forgotten.names().has_name(wish.kind, &wish.name) {
        return Ok(KnownName::Forgotten);
    }

    Ok(KnownName::No)
}

/// A column that may name somebody, in a table that has rooms.
struct NamingColumn {
    table: &'static str,
    column: &'static str,
    /// It holds a user id, and nothing else.
    is_id: bool,
}

const fn id_column(table: &'static str, column: &'static str) -> NamingColumn {
    let is_id = true;
    NamingColumn {
        table,
        column,
        is_id,
    }
}

const fn text_column(table: &'static str, column: &'static str) -> NamingColumn {
    let is_id = false;
    NamingColumn {
        table,
        column,
        is_id,
    }
}

const IN_ROOMS: [NamingColumn; 17] = [
    id_column("memberships", "user_id"),
    id_column("people", "user_id"),
    id_column("room_members", "user_id"),
    id_column("chains", "sender"),
    id_column("state_resets", "user_id"),
    id_column("set_aside", "sender"),
    id_column("redacting_bans", "user_id"),
    id_column("pseudonyms", "user_id"),
    id_column("room_rules", "sender"),
    text_column("events", "json"),
    text_column("events", "kept"),
    text_column("room_rules", "json"),
    text_column("checkpoints", "state"),
    text_column("heads", "state"),
    text_column("rooms", "error"),
    text_column("rooms", "access"),
    text_column("memberships", "transport_url"),
];

async fn is_name_stored(store: &Writer, wish: &NameToForget) -> Result<bool, Error> {
    let patterns = NamePatterns::new(wish);
    // Nothing is stored by it, so its key does not count.
    let mut names = Forgotten::default();
    names.add(wish.kind, &wish.name);
    let outside = OUTSIDE.iter().map(|outside| NamingColumn {
        table: outside.table,
        column: outside.column,
        is_id: outside.is_id,
    });
    for naming in IN_ROOMS.into_iter().chain(outside) {
        let NamingColumn {
            table,
            column,
            is_id,
        } = naming;
        let sql = format!(
            "select {column} from {table} where {column} like $1 escape '!'
            or {column} like $2 escape '!'"
        );
        let pattern = if is_id {
            &patterns.user
        } else {
            &patterns.text
        };
        let mut texts = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql))
            .bind(pattern)
            .bind(&patterns.encoded)
            .fetch(&store.write);
        while let Some(text) = texts.try_next().await? {
            if is_named(&names, wish, &text, is_id) {
                return Ok(true);
            }
        }
    }

    Ok(false)
}

/// Does a text name who is to be forgotten; or, if it `is_id`, is it such a user?
fn is_named(names: &Forgotten, wish: &NameToForget, text: &str, is_id: bool) -> bool {
    if is_id {
        return match wish.kind {
            ForgottenKind::Person => text == wish.name,
            ForgottenKind::Server => text.starts_with('@') && server_of(text) == wish.name,
        };
    }

    nameless_outside(names, wish, text) != text
}

const NEXT_OPT_OUT: &str = "select user_id from opt_outs order by asked_ms, user_id limit 1";

/// The first of those who asked on the pages not to be recorded, and are not forgotten yet.
///
/// # Errors
/// When the database fails.
pub async fn next_opt_out(store: &Writer) -> Result<Option<NameToForget>, Error> {
    let user_id: Option<String> = sqlx::query_scalar(NEXT_OPT_OUT)
        .fetch_optional(&store.write)
        .await?;

    Ok(user_id.map(|name| NameToForget {
        kind: ForgottenKind::Person,
        name,
    }))
}

/// What stands in the log for a name that is forgotten.
#[must_use]
pub fn name_in_log(store: &Writer, wish: &NameToForget) -> String {
    nameless_outside(&store.forgotten.names(), wish, &wish.name)
}

const IS_ACCOUNT: &str = "select count(*) from vantages where user_id like $1 escape '!'";

async fn is_own_name(store: &Writer, wish: &NameToForget) -> Result<bool, Error> {
    let found: i64 = sqlx::query_scalar(IS_ACCOUNT)
        .bind(NamePatterns::new(wish).user)
        .fetch_one(&store.write)
        .await?;

    Ok(found > 0)
}

/// What is done with a row outside of rooms that names somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowChange {
    Delete,
    /// A pseudonym takes the place of the name.
    Rename,
}

/// A column that may name somebody, in a table that is not of one room.
struct OutsideColumn {
    table: &'static str,
    column: &'static str,
    change: RowChange,
    /// It holds a user id, or a word for who is none.
    is_id: bool,
}

const OUTSIDE: [OutsideColumn; 15] = [
    delete_users("web_sessions", "identity"),
    delete_users("opt_outs", "user_id"),
    delete_users("feed_keys", "owner"),
    delete_users("sign_in_codes", "user_id"),
    delete_users("direct_rooms", "user_id"),
    delete_users("invitations", "inviter"),
    delete_rows("days", "facts"),
    delete_rows("probes", "result"),
    delete_rows("probes", "name"),
    delete_rows("unasked", "kind"),
    rename_in_rows("audit_log", "identity"),
    rename_in_rows("audit_log", "detail"),
    rename_in_rows("api_keys", "name"),
    rename_in_rows("vantages", "error"),
    rename_in_rows("vantages", "last_error"),
];

const fn delete_users(table: &'static str, column: &'static str) -> OutsideColumn {
    OutsideColumn {
        table,
        column,
        change: RowChange::Delete,
        is_id: true,
    }
}

const fn delete_rows(table: &'static str, column: &'static str) -> OutsideColumn {
    OutsideColumn {
        table,
        column,
        change: RowChange::Delete,
        is_id: false,
    }
}

const fn rename_in_rows(table: &'static str, column: &'static str) -> OutsideColumn {
    OutsideColumn {
        table,
        column,
        change: RowChange::Rename,
        is_id: false,
    }
}

/// Takes a name out of the tables that are not of one room. Returns how many rows had it.
async fn forget_outside_rooms(
    tx: &mut Tx,
    names: &Forgotten,
    wish: &NameToForget,
    patterns: &NamePatterns,
) -> Result<usize, Error> {
    let mut others = 0;
    for outside in &OUTSIDE {
        let OutsideColumn {
            table,
            column,
            change,
            is_id,
        } = outside;
        let select =
            format!("select distinct {column} from {table} where {column} like $1 escape '!'");
        let texts: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(select))
            .bind(&patterns.text)
            .fetch_all(&mut **tx)
            .await?;
        for text in texts.into_iter().collect::<BTreeSet<_>>() {
            if !is_named(names, wish, &text, *is_id) && !may_name_host(outside, wish, &text) {
                continue;
            }

            let nameless = nameless_outside(names, wish, &text);

            let sql = match change {
                RowChange::Delete => format!("delete from {table} where {column} = $1"),
                RowChange::Rename => {
                    format!("update {table} set {column} = $2 where {column} = $1")
                }
            };
            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&text);
            let query = match change {
                RowChange::Delete => query,
                RowChange::Rename => query.bind(&nameless),
            };
            let done = query.execute(&mut **tx).await?;
            others += to_usize(i64::try_from(done.rows_affected()).unwrap_or(i64::MAX));
        }
    }

    Ok(others)
}

/// May a text name a host below a server that is to be forgotten, and does nothing go with its row?
/// Totals are counted again, and who still names an SFU has it asked again.
fn may_name_host(outside: &OutsideColumn, wish: &NameToForget, text: &str) -> bool {
    let below = format!(".{}", wish.name);
    let is_server = wish.kind == ForgottenKind::Server;

    is_server
        && match outside.table {
            "days" => text.contains(&below),
            "probes" => text.contains("://") && host_of_url(text).ends_with(&below),
            _ => false,
        }
}

/// The text without the name, outside of rooms: all user ids of who is forgotten, and the name of a
/// server by itself.
fn nameless_outside(names: &Forgotten, wish: &NameToForget, text: &str) -> String {
    // No room has this id, so nothing here can be matched with what is stored of a room.
    let mut nameless = names.in_room("").nameless_text(text);
    if wish.kind == ForgottenKind::Server {
        let pseudonym = names.pseudonym_outside_rooms(&wish.name);
        let text = nameless.as_deref().unwrap_or(text);
        let other = replace_server_name(text, &wish.name, &pseudonym);
        nameless = other.or(nameless);
    }

    nameless.unwrap_or_else(|| text.to_owned())
}
