//! Forgets a person or a homeserver. First the name is noted, so that nothing that comes stores it
//! any more; then it is taken out of what is stored, room by room; then the database is written
//! anew, so that no byte of it is left. A stop at any point loses nothing: the wish stays open until
//! all of that is done.

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

/// Takes a name out of all rows, at `now`, ms. Bytes of it may be left until the database was
/// written anew; only then [`finish_forgetting`] says that it is done. `random` becomes the key of all hashes, if there is none yet.
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
    forgotten::store_name(&mut tx, &names, wish.kind, &wish.name, now).await?;
    close_wish(&mut tx, &names, wish).await?;
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
    /// It is forgotten, and nothing was left of it.
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

    store.notice_forgotten().await?;
    if is_done(store, wish).await? {
        return Ok(KnownName::Forgotten);
    }

    if is_name_stored(store, wish).await? {
        return Ok(KnownName::Stored);
    }

    // Somebody else began to forget it, and was stopped.
    if store.forgotten.names().has_name(wish.kind, &wish.name) {
        return Ok(KnownName::Stored);
    }

    Ok(KnownName::No)
}

async fn is_done(store: &Writer, wish: &NameToForget) -> Result<bool, Error> {
    let mut tx = store.writing().await?;
    let names = forgotten::read_all_names(&mut tx).await?;
    let is_done = forgotten::is_name_done(&mut tx, &names, wish.kind, &wish.name).await?;
    tx.commit().await?;

    Ok(is_done)
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

/// A wish to forget that is not fulfilled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenWish {
    Forget(NameToForget),
    /// No row has the name any more, which is known by its hash only. Bytes of it may be left.
    Erase {
        hash: String,
    },
}

// Whoever asked is named in full. What is erased next has its hash behind a sign that no name has.
const OPEN_WISHES: &str = "select user_id from opt_outs where asked_ms <= $1
    order by asked_ms, user_id limit 1000";
const ADD_WISH: &str = "insert into opt_outs (user_id, asked_ms) values ($1, $2)
    on conflict (user_id) do nothing";
const DROP_WISH: &str = "delete from opt_outs where user_id = $1";
const CLOSE_WISH: &str = "update opt_outs set user_id = $2 where user_id = $1";
const ERASE: char = '#';

/// The wishes that are open at `now`, ms, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list_open_wishes(store: &Writer, now: i64) -> Result<Vec<OpenWish>, Error> {
    let words: Vec<String> = sqlx::query_scalar(OPEN_WISHES)
        .bind(now)
        .fetch_all(&store.write)
        .await?;

    Ok(words.into_iter().map(wish_from_word).collect())
}

fn wish_from_word(word: String) -> OpenWish {
    if let Some(hash) = word.strip_prefix(ERASE) {
        let hash = hash.to_owned();
        return OpenWish::Erase { hash };
    }

    let kind = if word.starts_with('@') {
        ForgottenKind::Person
    } else {
        ForgottenKind::Server
    };

    OpenWish::Forget(NameToForget { kind, name: word })
}

/// Remembers a wish until it is fulfilled. From `due_ms` on the observer fulfils it, if whoever
/// remembered it was stopped.
///
/// # Errors
/// When the database fails.
pub async fn remember_wish(store: &Writer, wish: &NameToForget, due_ms: i64) -> Result<(), Error> {
    sqlx::query(ADD_WISH)
        .bind(&wish.name)
        .bind(due_ms)
        .execute(&store.write)
        .await?;

    Ok(())
}

/// Drops a wish that is not fulfilled, since it is about our own account.
///
/// # Errors
/// When the database fails.
pub async fn drop_wish(store: &Writer, wish: &NameToForget) -> Result<(), Error> {
    sqlx::query(DROP_WISH)
        .bind(&wish.name)
        .execute(&store.write)
        .await?;

    Ok(())
}

/// Takes the name out of the wish itself, which stays open until the name is erased.
async fn close_wish(tx: &mut Tx, names: &Forgotten, wish: &NameToForget) -> Result<(), Error> {
    let word = format!("{ERASE}{}", names.hash_of_name(wish.kind, &wish.name));
    let is_open: i64 = sqlx::query_scalar("select count(*) from opt_outs where user_id = $1")
        .bind(&wish.name)
        .fetch_one(&mut **tx)
        .await?;
    if is_open == 0 {
        return Ok(());
    }

    sqlx::query(DROP_WISH)
        .bind(&word)
        .execute(&mut **tx)
        .await?;
    sqlx::query(CLOSE_WISH)
        .bind(&wish.name)
        .bind(word)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

/// Stores at `now`, ms, that a name is forgotten, after the database was written anew.
///
/// # Errors
/// When the database fails.
pub async fn finish_forgetting(store: &Writer, wish: &NameToForget, now: i64) -> Result<(), Error> {
    let hash = store.forgotten.names().hash_of_name(wish.kind, &wish.name);

    finish_erasing(store, &hash, now).await
}

/// Like [`finish_forgetting`], of a name that is known by its hash only.
///
/// # Errors
/// When the database fails.
pub async fn finish_erasing(store: &Writer, hash: &str, now: i64) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    forgotten::store_name_done(&mut tx, hash, now).await?;
    sqlx::query(DROP_WISH)
        .bind(format!("{ERASE}{hash}"))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    store.notice_forgotten().await?;

    Ok(())
}

/// What stands in the log for a name that is forgotten.
#[must_use]
pub fn name_in_log(store: &Writer, wish: &NameToForget) -> String {
    nameless_outside(&store.forgotten.names(), wish, &wish.name)
}

const IS_ACCOUNT: &str = "select count(*) from vantages where user_id like $1 escape '!'";

/// Is it the account by which rooms are watched, or its homeserver?
///
/// # Errors
/// When the database fails.
pub async fn is_own_name(store: &Writer, wish: &NameToForget) -> Result<bool, Error> {
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
    /// So it does, and it differs from room to room, since the row must stay.
    RenameByRoom,
}

/// A column that may name somebody, in a table that is not of one room.
struct OutsideColumn {
    table: &'static str,
    column: &'static str,
    change: RowChange,
    /// It holds a user id, or a word for who is none.
    is_id: bool,
}

const OUTSIDE: [OutsideColumn; 22] = [
    delete_users("web_sessions", "identity"),
    delete_users("opt_outs", "user_id"),
    delete_users("feed_keys", "owner"),
    delete_users("sign_in_codes", "user_id"),
    // Without its row the room would be watched.
    OutsideColumn {
        table: "direct_rooms",
        column: "user_id",
        change: RowChange::RenameByRoom,
        is_id: true,
    },
    delete_users("invitations", "inviter"),
    delete_rows("days", "facts"),
    delete_rows("probes", "result"),
    delete_rows("probes", "name"),
    delete_rows("probe_flips", "name"),
    delete_rows("probe_flips", "words"),
    delete_rows("unasked", "kind"),
    delete_rows("alerts", "subject"),
    delete_rows("alerts", "condition"),
    delete_rows("outbox", "subject"),
    delete_rows("outbox", "payload"),
    delete_rows("outbox", "why"),
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
                    let also = match (*table, *column) {
                        ("audit_log", "identity") => ", address = null",
                        _ => "",
                    };
                    format!("update {table} set {column} = $2{also} where {column} = $1")
                }
                RowChange::RenameByRoom => format!(
                    "update {table} set {column} = $2 || ' ' || room_id where {column} = $1"
                ),
            };
            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&text);
            let query = match change {
                RowChange::Delete => query,
                RowChange::Rename | RowChange::RenameByRoom => query.bind(&nameless),
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
            "probes" | "probe_flips" => text.contains("://") && host_of_url(text).ends_with(&below),
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
