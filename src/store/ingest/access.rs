//! Who may join a call in a room. Only the accounts that the power levels name are counted, never
//! all members. Also other facts of a room's own state that explain its calls.

use super::room_rules;
use crate::rtc::power::{CREATOR, JoinType, PowerLevels, SendAccess, count_allowed_senders};
use crate::rtc::room_finding::{RoomKnowledge, RoomStanding};
use crate::rtc::room_rules::RoomRules;
use crate::rtc::time::DAY_MS;
use crate::store::db::multi_row::MultiRow;
use crate::store::{Error, Reader, Tx};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A type of event is no longer in use if it was last used this much earlier than the newest one,
/// ms: 90 days.
const OUT_OF_USE_MS: i64 = 90 * DAY_MS;
/// If the power levels name more accounts than this, we do not look up which of them are in the
/// room.
const NAMED_MAX: usize = 500;

const TYPES: &str = "select kind, is_state from call_types t where t.room_id = $1
    and t.last_ms > (select max(n.last_ms) from call_types n where n.room_id = $1) - $2
    order by kind, is_state";
static TYPES_OF_ROOMS: MultiRow = MultiRow::new(
    "select room_id, kind, is_state, last_ms from call_types where room_id in (",
    "?",
    ") order by room_id, kind, is_state",
);
const OBSERVERS: &str = "select distinct user_id from vantages where user_id <> ''";
static STANDING: MultiRow = MultiRow::new(
    "select user_id, joined, event_ms from room_members where room_id = $1 and user_id in (",
    "?",
    ")",
);
const ACCOUNTS: &str = "select count(*) from room_members where room_id = $1 and joined = 1";
const COUNTED: &str = "select members_ms from rooms where room_id = $1";
const SET: &str =
    "update rooms set access = $2 where room_id = $1 and coalesce(access, '') <> coalesce($2, '')";

/// Computes again who may join a call in the room, and stores the result; null if everybody may.
/// Returns true if the result changed.
pub(in crate::store) async fn refresh_access(tx: &mut Tx, room_id: &str) -> Result<bool, Error> {
    let found = find_restricted_types(tx, room_id).await?;
    let text = if found.is_empty() {
        None
    } else {
        Some(serde_json::to_string(&found).map_err(|error| Error::Content(error.to_string()))?)
    };

    let done = sqlx::query(SET)
        .bind(room_id)
        .bind(text)
        .execute(&mut **tx)
        .await?;

    Ok(done.rows_affected() > 0)
}

/// For each type of event in use that not everybody in the room may send, how many may. Those are
/// the types that join a call or open its slot. Empty also if too little is known: no call was
/// seen, or the members were not counted.
async fn find_restricted_types(
    connection: &mut sqlx::AnyConnection,
    room_id: &str,
) -> Result<Vec<SendAccess>, Error> {
    let types: Vec<(String, i64)> = sqlx::query_as(TYPES)
        .bind(room_id)
        .bind(OUT_OF_USE_MS)
        .fetch_all(&mut *connection)
        .await?;
    let counted: Option<Option<i64>> = sqlx::query_scalar(COUNTED)
        .bind(room_id)
        .fetch_optional(&mut *connection)
        .await?;
    if types.is_empty() || counted.flatten().is_none() {
        return Ok(Vec::new());
    }

    let rules = room_rules::rules_of_room(connection, room_id).await?;
    // If the state of a room was read and holds no power levels, everybody may send everything.
    let Some(levels) = rules.levels() else {
        return Ok(Vec::new());
    };

    let types: Vec<JoinType> = types
        .iter()
        .map(|(kind, is_state)| JoinType::new(kind, *is_state != 0))
        .filter(|join_type| may_be_restricted(levels, join_type))
        .collect();
    if types.is_empty() {
        return Ok(Vec::new());
    }

    let observers = list_own_accounts(connection).await?;
    let named: BTreeSet<&str> = levels
        .named()
        .map(|(user, _)| user)
        .chain(observers.iter().map(String::as_str))
        .collect();
    let standing = read_standings(connection, room_id, named).await?;
    let joined: BTreeSet<String> = standing
        .into_iter()
        .filter(|(_, standing)| standing.joined)
        .map(|(user, _)| user)
        .collect();
    let accounts: i64 = sqlx::query_scalar(ACCOUNTS)
        .bind(room_id)
        .fetch_one(&mut *connection)
        .await?;
    let is_restricted = |found: &SendAccess| {
        // It is no problem that the observer's own account may not join.
        let shut_out = observers.iter().filter(|user| {
            joined.contains(*user)
                && !levels.may_send(user, &found.join_type.event_type, found.join_type.is_state)
        });
        found.accounts - found.may > crate::store::to_i64(shut_out.count())
    };

    let found = types
        .iter()
        .map(|join_type| count_allowed_senders(levels, join_type, accounts, &joined));

    Ok(found.filter(is_restricted).collect())
}

/// Is there any account, in the room or not, that may not send this type?
fn may_be_restricted(levels: &PowerLevels, join_type: &JoinType) -> bool {
    let needed = levels.needed(&join_type.event_type, join_type.is_state);
    levels.of_others() < needed || levels.named().any(|(_, level)| level < needed)
}

/// The user ids of the accounts from which we observe or have observed.
async fn list_own_accounts(
    connection: &mut sqlx::AnyConnection,
) -> Result<BTreeSet<String>, Error> {
    let found: Vec<String> = sqlx::query_scalar(OBSERVERS).fetch_all(connection).await?;
    Ok(found.into_iter().collect())
}

/// Whether each of these users is in the room, and since when that is so, by user. Users whose
/// membership was never seen are left out.
async fn read_standings(
    connection: &mut sqlx::AnyConnection,
    room_id: &str,
    users: BTreeSet<&str>,
) -> Result<BTreeMap<String, RoomStanding>, Error> {
    let users: Vec<&str> = users.into_iter().collect();
    let mut found = BTreeMap::new();
    for row in STANDING.look_up(connection, room_id, &users).await? {
        let standing = RoomStanding {
            joined: row.try_get::<i64, _>("joined")? != 0,
            since_ms: row.try_get("event_ms")?,
        };

        found.insert(row.try_get("user_id")?, standing);
    }

    Ok(found)
}

/// What a room's own state says about its calls, for each of these rooms, by room id. A room whose
/// state is not known is left out. The accounts are read only if its rules restrict calls.
///
/// # Errors
/// When the database fails.
pub async fn knowledge_of_rooms(
    store: &Reader,
    rooms: &BTreeSet<String>,
) -> Result<HashMap<String, RoomKnowledge>, Error> {
    let ids: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let mut connection = store.read.acquire().await?;
    let rules = room_rules::rules_of_rooms(&mut connection, &ids).await?;
    let mut types: HashMap<String, Vec<(JoinType, i64)>> = HashMap::new();
    for row in TYPES_OF_ROOMS.read_by_ids(&mut connection, &ids).await? {
        let kind: String = row.try_get("kind")?;
        let join_type = JoinType::new(&kind, row.try_get::<i64, _>("is_state")? != 0);
        types
            .entry(row.try_get("room_id")?)
            .or_default()
            .push((join_type, row.try_get("last_ms")?));
    }

    let observers = list_own_accounts(&mut connection).await?;
    let mut found = HashMap::new();
    for (room_id, rules) in rules {
        let types = types_in_use(types.remove(&room_id).unwrap_or_default());
        let mut known = RoomKnowledge {
            rules,
            types,
            observers: observers.clone(),
            ..RoomKnowledge::default()
        };

        if known.rules.restricts_calls(&known.types) {
            let named = accounts_with_power(&known.rules);
            if named.len() <= NAMED_MAX {
                known.accounts = counted_accounts(&mut connection, &room_id).await?;
                known.named = read_standings(&mut connection, &room_id, named).await?;
            }
        }

        found.insert(room_id, known);
    }

    Ok(found)
}

/// The types that are in use, of types with the time of their last use, ms. One that was last used
/// [`OUT_OF_USE_MS`] or more before the newest one is not.
fn types_in_use(types: Vec<(JoinType, i64)>) -> Vec<JoinType> {
    let newest = types.iter().map(|(_, last_ms)| *last_ms).max().unwrap_or(0);
    types
        .into_iter()
        .filter(|(_, last_ms)| *last_ms > newest - OUT_OF_USE_MS)
        .map(|(join_type, _)| join_type)
        .collect()
}

/// Accounts that at any time had more power than those that no level names.
fn accounts_with_power(rules: &RoomRules) -> BTreeSet<&str> {
    let named = rules.levels_changes().flat_map(|(_, levels)| {
        let usual = levels.of_others();
        levels.named().filter(move |(_, level)| *level > usual)
    });

    named.map(|(user, _)| user).collect()
}

/// How many accounts are in the room; `None` if they were never counted by a poll of the full
/// state.
async fn counted_accounts(
    connection: &mut sqlx::AnyConnection,
    room_id: &str,
) -> Result<Option<i64>, Error> {
    let counted: Option<Option<i64>> = sqlx::query_scalar(COUNTED)
        .bind(room_id)
        .fetch_optional(&mut *connection)
        .await?;
    if counted.flatten().is_none() {
        return Ok(None);
    }

    let accounts = sqlx::query_scalar(ACCOUNTS)
        .bind(room_id)
        .fetch_one(&mut *connection)
        .await?;

    Ok(Some(accounts))
}

/// Who may join a call in a room and who may not, the first few of each by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedAccess {
    pub access: SendAccess,
    /// Accounts in the room that may, and that may not; our own are among them.
    pub may: Vec<RoomAccount>,
    pub may_not: Vec<RoomAccount>,
}

/// An account in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomAccount {
    pub user_id: String,
    pub name: Option<String>,
    /// `None` = a creator, whom no level binds.
    pub power: Option<i64>,
    pub is_observer: bool,
}

const JOINED: &str = "select m.user_id, p.name from room_members m
    left join people p on p.room_id = m.room_id and p.user_id = m.user_id
    where m.room_id = $1 and m.joined = 1 order by m.user_id limit $2";

/// For each type of event that not everybody in the room may send to join a call, the accounts that
/// may and those that may not, at most `limit` of each. Only the first few thousand accounts are
/// looked at for names; the others are only counted.
///
/// # Errors
/// When the database fails.
pub async fn name_accounts(
    store: &Reader,
    room_id: &str,
    limit: usize,
) -> Result<Vec<NamedAccess>, Error> {
    const LOOKED_AT: i64 = 2_000;
    let mut connection = store.read.acquire().await?;
    let found = find_restricted_types(&mut connection, room_id).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }

    let rules = room_rules::rules_of_room(&mut connection, room_id).await?;
    let Some(levels) = rules.levels() else {
        return Ok(Vec::new());
    };

    let observers = list_own_accounts(&mut connection).await?;
    let joined: Vec<(String, Option<String>)> = sqlx::query_as(JOINED)
        .bind(room_id)
        .bind(LOOKED_AT)
        .fetch_all(&mut *connection)
        .await?;
    let accounts: Vec<RoomAccount> = joined
        .into_iter()
        .map(|(user_id, name)| RoomAccount {
            power: Some(levels.of_user(&user_id)).filter(|level| *level < CREATOR),
            is_observer: observers.contains(&user_id),
            user_id,
            name,
        })
        .collect();
    let named = found.into_iter().map(|access| {
        let chosen = |may: bool| {
            let fits = |account: &&RoomAccount| {
                let power = account.power.unwrap_or(CREATOR);
                (power >= access.needed) == may
            };

            accounts.iter().filter(fits).take(limit).cloned().collect()
        };

        NamedAccess {
            may: chosen(true),
            may_not: chosen(false),
            access,
        }
    });

    Ok(named.collect())
}
