//! What the next start would do to the database, read without changing anything.

use crate::rtc::fold::Rules;
use crate::rtc::stamp::derivation_stamp;
use crate::store::db::connect;
use crate::store::db::dialect::Dialect;
use crate::store::db::instance_lock::{canonical_path, file_of};
use crate::store::db::upgrade::{UpgradePlan, has_table, plan_upgrade};
use crate::store::db::upgrade_backup;
use crate::store::{Db, Error};
use sqlx::{AnyConnection, Connection};
use std::path::PathBuf;

/// What the next start would do to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextStart {
    /// The present shape: the number of its newest migration; `None` = it has no tables yet.
    pub from: Option<i64>,
    /// The shape of this version.
    pub to: i64,
    /// What the migrations are about, oldest first.
    pub migrations: Vec<String>,
    /// How large the database is, bytes.
    pub bytes: u64,
    /// The backup that is made first; `None` where none is needed, and on `PostgreSQL`.
    pub backup: Option<PlannedBackup>,
    /// Rooms whose calls are from older rules or other settings, and their member events.
    pub stale_rooms: i64,
    pub stale_events: i64,
}

/// A backup that would be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBackup {
    pub database: PathBuf,
    pub path: PathBuf,
    /// It was made by an earlier try, and nothing was written to the database since.
    pub is_made: bool,
    /// Its size, bytes.
    pub bytes: u64,
    /// What is free on its disk, bytes.
    pub free_bytes: u64,
}

const BYTES_OF_FILE: &str = "select (select page_count from pragma_page_count)
    * (select page_size from pragma_page_size)";
const BYTES_ON_SERVER: &str = "select pg_database_size(current_database())";
const STALE_ROOMS: &str = "select count(*) from rooms r
        left join derivations d on d.room_id = r.room_id
    where (d.stamp is null or d.stamp <> $1 or d.target is not null)
        and exists (select 1 from events e where e.room_id = r.room_id and e.chain is not null)";
const STALE_EVENTS: &str = "select count(*) from events e
        left join derivations d on d.room_id = e.room_id
    where e.chain is not null and (d.stamp is null or d.stamp <> $1 or d.target is not null)";
/// A database that is older than the stamps: everything is derived again.
const ALL_ROOMS: &str = "select count(distinct room_id) from events where chain is not null";
const ALL_EVENTS: &str = "select count(*) from events where chain is not null";

/// What the next start would do to the database at `url`, which exists, if it derives by these
/// rules.
///
/// # Errors
/// [`Error::Newer`] if a newer version has changed it; else when it cannot be read.
pub async fn read_next_start(url: &str, rules: &Rules) -> Result<NextStart, Error> {
    let mut connection = connect::open_connection(url).await?;
    let next = read_by(&mut connection, url, rules).await;
    connection.close().await?;

    next
}

async fn read_by(
    connection: &mut AnyConnection,
    url: &str,
    rules: &Rules,
) -> Result<NextStart, Error> {
    let plan = plan_upgrade(connection, url).await?;
    let bytes = match Dialect::of_connection(connection) {
        Dialect::Sqlite => BYTES_OF_FILE,
        Dialect::Postgres => BYTES_ON_SERVER,
    };
    let bytes: i64 = sqlx::query_scalar::<Db, i64>(bytes)
        .fetch_one(&mut *connection)
        .await?;
    let backup = plan_backup(connection, url, &plan).await?;
    let mut next = NextStart {
        from: plan.from,
        to: plan.to,
        migrations: plan
            .pending
            .iter()
            .map(|migration| migration.description.to_string())
            .collect(),
        bytes: bytes.unsigned_abs(),
        backup,
        stale_rooms: 0,
        stale_events: 0,
    };
    if plan.has_events {
        count_stale(connection, rules, &mut next).await?;
    }

    Ok(next)
}

/// Counts what is derived again.
async fn count_stale(
    connection: &mut AnyConnection,
    rules: &Rules,
    next: &mut NextStart,
) -> Result<(), Error> {
    let stamp = derivation_stamp(rules);
    if !has_table(connection, "derivations").await? {
        next.stale_rooms = sqlx::query_scalar(ALL_ROOMS)
            .fetch_one(&mut *connection)
            .await?;
        next.stale_events = sqlx::query_scalar(ALL_EVENTS)
            .fetch_one(&mut *connection)
            .await?;
        return Ok(());
    }

    next.stale_rooms = sqlx::query_scalar(STALE_ROOMS)
        .bind(&stamp)
        .fetch_one(&mut *connection)
        .await?;
    next.stale_events = sqlx::query_scalar(STALE_EVENTS)
        .bind(&stamp)
        .fetch_one(&mut *connection)
        .await?;

    Ok(())
}

async fn plan_backup(
    connection: &mut AnyConnection,
    url: &str,
    plan: &UpgradePlan,
) -> Result<Option<PlannedBackup>, Error> {
    let (Some(shape), Some(database)) = (plan.shape_to_back_up(), file_of(url)?) else {
        return Ok(None);
    };

    let database = canonical_path(&database);

    Ok(Some(PlannedBackup {
        is_made: upgrade_backup::find_current_backup(&database, shape).is_some(),
        path: upgrade_backup::backup_path(&database, shape),
        bytes: upgrade_backup::needed_bytes(connection).await?,
        free_bytes: upgrade_backup::free_bytes(&database)?,
        database,
    }))
}

impl PlannedBackup {
    /// Checks that it fits, unless it is made.
    ///
    /// # Errors
    /// [`Error::NoRoomForBackup`] if not.
    pub fn check_room(&self) -> Result<(), Error> {
        if self.is_made {
            return Ok(());
        }

        upgrade_backup::check_room(&self.database, self.bytes, self.free_bytes)
    }
}
