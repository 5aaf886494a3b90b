//! Pseudonyms of people: what stands for a person where names are not shown. A pseudonym is a keyed
//! hash of the room and the person, so it is the same throughout a room, and nobody can match those
//! of two rooms or compute them from a user id.

use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::{Error, Tx, Writer};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::Row;
use std::collections::BTreeSet;

/// The length of a pseudonym, characters of 5 bits.
const LENGTH: usize = 12;
/// The length of the key, bytes.
const KEY_LENGTH: usize = 32;
/// Maximum rooms in one transaction, where the pseudonyms of all rooms are made.
const PORTION: usize = 100;

/// A person in a room, or one device of that person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Person<'p> {
    pub user_id: &'p str,
    /// Empty for the person.
    pub device_id: &'p str,
}

const KEY: &str = "select value from own_keys where name = 'pseudonyms'";
const SET_KEY: &str = "insert into own_keys (name, value) values ('pseudonyms', $1)
    on conflict (name) do update set value = excluded.value";
static ADD: MultiRow = MultiRow::new(
    "insert into pseudonyms (room_id, user_id, device_id, pseudonym) values ",
    "($1, ?, ?, ?)",
    " on conflict (room_id, user_id, device_id) do nothing",
);

/// Stores pseudonyms of these people and devices of a room, unless they have one.
pub(in crate::store) async fn add_pseudonyms(
    tx: &mut Tx,
    room_id: &str,
    people: &BTreeSet<Person<'_>>,
) -> Result<(), Error> {
    if people.is_empty() {
        return Ok(());
    }

    let Some(key) = read_key(tx).await? else {
        // The key is made when the database is opened, and then all pseudonyms that are missing.
        return Ok(());
    };

    let rows: Vec<&Person> = people.iter().collect();
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let bind = |query: Statement, person: &&Person| {
        query
            .bind(person.user_id.to_owned())
            .bind(person.device_id.to_owned())
            .bind(pseudonym_of(&key, room_id, person))
    };
    ADD.write(tx, &rows, shared, bind).await?;

    Ok(())
}

/// The key of pseudonyms; `None` if none was made yet.
async fn read_key(tx: &mut Tx) -> Result<Option<Vec<u8>>, Error> {
    let text: Option<String> = sqlx::query_scalar(KEY).fetch_optional(&mut **tx).await?;
    let decode = |text: String| {
        HEXLOWER
            .decode(text.as_bytes())
            .map_err(|error| Error::Content(format!("the key of pseudonyms: {error}")))
    };

    text.map(decode).transpose()
}

/// The pseudonym of a person or device in a room.
fn pseudonym_of(key: &[u8], room_id: &str, person: &Person) -> String {
    // No id contains NUL, so different ones never give the same text.
    let text = format!("{room_id}\0{}\0{}", person.user_id, person.device_id);
    let hash = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(hash) => hash.chain_update(text).finalize().into_bytes(),
        // A hash takes keys of every length.
        Err(_) => return String::new(),
    };
    let mut name = BASE32_NOPAD.encode(&hash).to_lowercase();
    name.truncate(LENGTH);

    name
}

const ROOMS: &str = "select room_id from rooms order by room_id";
const IN_CALLS: &str = "select distinct user_id, coalesce(device_id, '') as device_id
    from memberships where room_id = $1";
const FORGET: &str = "delete from pseudonyms";
const IS_FILLED: &str = "select count(*) from versions where name = 'pseudonyms'";
const NOTE_FILLED: &str =
    "insert into versions (name, version, place) values ('pseudonyms', '1', null)
    on conflict (name) do nothing";

/// Makes the key if there is none, and then the pseudonyms that are missing: those of people whom
/// an older version stored. `random` is the new key, if one is needed.
///
/// # Errors
/// When the database fails.
pub(in crate::store) async fn fill_once(
    store: &Writer,
    random: [u8; KEY_LENGTH],
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    let is_new = read_key(&mut tx).await?.is_none();
    if is_new {
        sqlx::query(SET_KEY)
            .bind(HEXLOWER.encode(&random))
            .execute(&mut *tx)
            .await?;
    }

    tx.commit().await?;
    let filled: i64 = sqlx::query_scalar(IS_FILLED)
        .fetch_one(&store.write)
        .await?;
    if filled == 0 {
        add_missing(store).await?;
        sqlx::query(NOTE_FILLED).execute(&store.write).await?;
    }

    Ok(())
}

/// Makes new pseudonyms for everybody, with this new key. Nobody can match them with the old ones.
///
/// # Errors
/// When the database fails.
pub async fn renew_pseudonyms(store: &Writer, random: [u8; KEY_LENGTH]) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    sqlx::query(SET_KEY)
        .bind(HEXLOWER.encode(&random))
        .execute(&mut *tx)
        .await?;
    sqlx::query(FORGET).execute(&mut *tx).await?;
    tx.commit().await?;

    add_missing(store).await
}

const LOOSE: &str = "delete from pseudonyms where not exists (select 1 from memberships m
    where m.user_id = pseudonyms.user_id and m.room_id = pseudonyms.room_id)";

/// Deletes the pseudonyms of those of whom no stay is stored any more.
///
/// # Errors
/// When the database fails.
pub async fn delete_orphaned_pseudonyms(store: &Writer) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    sqlx::query(LOOSE).execute(&mut *tx).await?;

    Ok(tx.commit().await?)
}

/// Adds the pseudonyms that are missing, room by room: each stay is read once.
async fn add_missing(store: &Writer) -> Result<(), Error> {
    let room_ids: Vec<String> = sqlx::query_scalar(ROOMS).fetch_all(&store.write).await?;
    for portion in room_ids.chunks(PORTION) {
        let mut tx = store.writing().await?;
        for room_id in portion {
            add_pseudonyms_of_room(&mut tx, room_id).await?;
        }

        tx.commit().await?;
    }

    Ok(())
}

/// Adds the pseudonyms that are missing in one room.
pub(in crate::store) async fn add_pseudonyms_of_room(
    tx: &mut Tx,
    room_id: &str,
) -> Result<(), Error> {
    let rows = sqlx::query(IN_CALLS)
        .bind(room_id)
        .fetch_all(&mut **tx)
        .await?;
    let mut people = BTreeSet::new();
    for row in &rows {
        let user_id: &str = row.try_get("user_id")?;
        for device_id in ["", row.try_get("device_id")?] {
            people.insert(Person { user_id, device_id });
        }
    }

    add_pseudonyms(tx, room_id, &people).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(user_id: &str) -> Person<'_> {
        Person {
            user_id,
            device_id: "",
        }
    }

    #[test]
    fn a_pseudonym_depends_on_key_room_and_person() {
        let name = |key: u8, room_id, user_id| pseudonym_of(&[key; 32], room_id, &person(user_id));
        let first = name(1, "!a:h", "@a:h");
        assert_eq!(first.len(), LENGTH);
        assert_eq!(first, name(1, "!a:h", "@a:h"));
        assert_ne!(first, name(1, "!b:h", "@a:h"), "another room");
        assert_ne!(first, name(1, "!a:h", "@b:h"), "another person");
        assert_ne!(first, name(2, "!a:h", "@a:h"), "another key");
        let device = Person {
            user_id: "@a:h",
            device_id: "D",
        };
        assert_ne!(first, pseudonym_of(&[1; 32], "!a:h", &device));
    }
}
