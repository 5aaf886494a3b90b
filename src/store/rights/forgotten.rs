//! Who is forgotten, in memory and in the database; and batches without their names. Every
//! transaction that stores a batch looks whether the list changed, so it does not matter which
//! process wrote it.

use crate::rtc::forgotten::{Forgotten, ForgottenKind};
use crate::store::db::dialect::Dialect;
use crate::store::ingest::batch::{Arrival, Batch, RoomBatch, Unasked, count_by_type};
use crate::store::{Error, Reader, Tx, Writer};
use data_encoding::HEXLOWER;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Whose names are forgotten, as it was last read. Shared by all who write or read a store.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct ForgottenList {
    read: Arc<Mutex<ReadList>>,
    /// How often it changed since the start.
    changes: Arc<AtomicU64>,
    /// Up to which change memory was cleared.
    cleared: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct ReadList {
    version: ListVersion,
    names: Arc<Forgotten>,
    /// Those of them whose names are nowhere any more.
    done: Arc<Forgotten>,
}

/// It differs after every change of the list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ListVersion {
    names: i64,
    done: i64,
    last_ms: i64,
}

impl ForgottenList {
    /// The list as it was last read.
    pub fn names(&self) -> Arc<Forgotten> {
        self.lock().names.clone()
    }

    /// The name of a user as a log may have it: a pseudonym for who is forgotten.
    pub fn name_for_log(&self, user_id: &str) -> String {
        let names = self.names();
        if names.has_person(user_id) {
            names.pseudonym_outside_rooms(user_id)
        } else {
            user_id.to_owned()
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ReadList> {
        // No holder can fail half-way.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const KEY: &str = "select value from own_keys where name = 'forgotten'";
const SET_KEY: &str = "insert into own_keys (name, value) values ('forgotten', $1)
    on conflict (name) do nothing";

/// The key of all hashes; `None` if nobody was ever forgotten.
async fn read_key(tx: &mut Tx) -> Result<Option<Vec<u8>>, Error> {
    let text: Option<String> = sqlx::query_scalar(KEY).fetch_optional(&mut **tx).await?;
    let decode = |text: String| {
        HEXLOWER
            .decode(text.as_bytes())
            .map_err(|error| Error::Content(format!("the key of forgotten names: {error}")))
    };

    text.map(decode).transpose()
}

/// Makes the key of all hashes of `random`, unless there is one.
pub(super) async fn make_key(tx: &mut Tx, random: [u8; 32]) -> Result<(), Error> {
    sqlx::query(SET_KEY)
        .bind(HEXLOWER.encode(&random))
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const VERSION: &str = "select count(*), count(done_ms),
    coalesce(max(coalesce(done_ms, since_ms)), 0) from forgotten";
const HASHES: &str = "select hash from forgotten";
const DONE_HASHES: &str = "select hash from forgotten where done_ms is not null";
// Whoever forgets a name waits for those who store a batch, and they wait for it: so none stores
// the name after it was forgotten. SQLite has one writer at a time anyway.
const LOCK: &str = "lock table forgotten in share mode";

/// Who is forgotten now, for a transaction that is about to store something: until its end nobody
/// else is forgotten.
pub(in crate::store) async fn read_names(
    tx: &mut Tx,
    list: &ForgottenList,
) -> Result<Arc<Forgotten>, Error> {
    if Dialect::of_connection(tx) == Dialect::Postgres {
        sqlx::query(LOCK).execute(&mut **tx).await?;
    }

    let (names, done, last_ms): (i64, i64, i64) =
        sqlx::query_as(VERSION).fetch_one(&mut **tx).await?;
    let version = ListVersion {
        names,
        done,
        last_ms,
    };
    if list.lock().version == version {
        return Ok(list.names());
    }

    let names = Arc::new(read_all_names(tx).await?);
    let key = read_key(tx).await?.unwrap_or_default();
    let done: Vec<String> = sqlx::query_scalar(DONE_HASHES).fetch_all(&mut **tx).await?;
    *list.lock() = ReadList {
        version,
        names: names.clone(),
        done: Arc::new(Forgotten::new(&key, done)),
    };
    list.changes.fetch_add(1, Ordering::SeqCst);

    Ok(names)
}

/// Who is forgotten now, with the key that hashes further names.
pub(super) async fn read_all_names(tx: &mut Tx) -> Result<Forgotten, Error> {
    let key = read_key(tx).await?.unwrap_or_default();
    let hashes: Vec<String> = sqlx::query_scalar(HASHES).fetch_all(&mut **tx).await?;

    Ok(Forgotten::new(&key, hashes))
}

impl Reader {
    /// How often somebody was forgotten since the start. What was read at another number may name
    /// somebody who is forgotten since.
    #[must_use]
    pub fn forgets_number(&self) -> u64 {
        self.forgotten.changes.load(Ordering::SeqCst)
    }

    /// Is this user forgotten, as far as this process knows, and named nowhere any more?
    #[must_use]
    pub fn is_forgotten(&self, user_id: &str) -> bool {
        let done = self.forgotten.lock().done.clone();
        done.has_person(user_id)
    }

    /// Is this user about to be forgotten, as far as this process knows?
    #[must_use]
    pub fn is_being_forgotten(&self, user_id: &str) -> bool {
        self.forgotten.names().has_person(user_id) && !self.is_forgotten(user_id)
    }

    /// The name of a user as the program's own log may have it: a pseudonym for who is forgotten.
    #[must_use]
    pub fn name_for_log(&self, user_id: &str) -> String {
        self.forgotten.name_for_log(user_id)
    }
}

impl Writer {
    /// Looks whether somebody was forgotten, maybe by another process, and drops from memory what
    /// may name them. Returns true if so.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notice_forgotten(&self) -> Result<bool, Error> {
        let mut tx = self.writing().await?;
        read_names(&mut tx, &self.forgotten).await?;
        tx.commit().await?;
        let changes = self.forgets_number();
        if self.forgotten.cleared.swap(changes, Ordering::SeqCst) == changes {
            return Ok(false);
        }

        self.names.clear().await;
        self.visible.clear();

        Ok(true)
    }
}

/// The batch without the names of who is forgotten.
pub(in crate::store) fn nameless_batch<'b>(names: &Forgotten, batch: &'b Batch) -> Cow<'b, Batch> {
    if names.is_empty() {
        return Cow::Borrowed(batch);
    }

    let mut nameless = batch.clone();
    for room in &mut nameless.rooms {
        make_room_nameless(names, room);
    }

    for invitation in &mut nameless.invitations {
        let room_id = invitation.room.room_id.clone();
        let mut room = names.in_room(&room_id);
        if let Some(pseudonym) = room.pseudonym_of(&invitation.inviter) {
            invitation.inviter = pseudonym;
        }

        for text in [&mut invitation.room.name, &mut invitation.room.alias] {
            let nameless = text.as_deref().and_then(|text| room.nameless_text(text));
            *text = nameless.or_else(|| text.take());
        }
    }

    Cow::Owned(nameless)
}

fn make_room_nameless(names: &Forgotten, batch: &mut RoomBatch) {
    let room_id = batch.room_id.clone();
    let mut room = names.in_room(&room_id);
    for arrival in &mut batch.arrivals {
        let event = room.nameless_event(&arrival.event);
        let json = room.nameless_json(&arrival.json);
        if event.is_some() || json.is_some() {
            *arrival = Arrival {
                event: event.map_or_else(|| arrival.event.clone(), Arc::new),
                json: json.unwrap_or_else(|| arrival.json.clone()),
                in_timeline: arrival.in_timeline,
            };
        }
    }

    for (_, text) in &mut batch.malformed {
        if let Some(nameless) = room.nameless_json(text) {
            *text = nameless;
        }
    }

    let mut unasked = Unasked::new();
    for (kind, events) in std::mem::take(&mut batch.unasked) {
        let kind = room.nameless_text(&kind).unwrap_or(kind);
        count_by_type(&mut unasked, kind, events);
    }

    batch.unasked = unasked;
    if let Some(look) = &mut batch.snapshot {
        look.people = std::mem::take(&mut look.people)
            .into_iter()
            .map(|user_id| room.pseudonym_of(&user_id).unwrap_or(user_id))
            .collect();
    }
}

const NOTE: &str = "insert into forgotten (hash, kind, since_ms) values ($1, $2, $3)
    on conflict (hash) do update set done_ms = null";
const DONE: &str = "update forgotten set done_ms = $2 where hash = $1";
const IS_DONE: &str = "select count(*) from forgotten where hash = $1 and done_ms is not null";

/// Stores that this name is forgotten from `now` on, ms.
pub(super) async fn store_name(
    tx: &mut Tx,
    names: &Forgotten,
    kind: ForgottenKind,
    name: &str,
    now: i64,
) -> Result<(), Error> {
    sqlx::query(NOTE)
        .bind(names.hash_of_name(kind, name))
        .bind(kind.as_str())
        .bind(now)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

/// Stores that nothing stored holds the name with this hash any more.
pub(super) async fn store_name_done(tx: &mut Tx, hash: &str, now: i64) -> Result<(), Error> {
    sqlx::query(DONE)
        .bind(hash)
        .bind(now)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

/// Was this name forgotten before, and all that was stored then?
pub(super) async fn is_name_done(
    tx: &mut Tx,
    names: &Forgotten,
    kind: ForgottenKind,
    name: &str,
) -> Result<bool, Error> {
    let done: i64 = sqlx::query_scalar(IS_DONE)
        .bind(names.hash_of_name(kind, name))
        .fetch_one(&mut **tx)
        .await?;

    Ok(done > 0)
}
