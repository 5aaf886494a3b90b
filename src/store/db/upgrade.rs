//! Brings a database to this version's shape: a backup first, then all migrations in one
//! transaction. If anything fails before that is committed, the database is as it was, and the older
//! version goes on with it. What the program itself does to older data afterwards goes on at the next
//! start, if it is stopped.

use super::connect;
use super::dialect::Dialect;
use super::instance_lock::{canonical_path, file_of};
use super::upgrade_backup;
use super::upgrade_progress::{UpgradeProgress, UpgradeStep};
use crate::store::{Db, Error};
use sqlx::migrate::{Migrate, MigrateError, Migration, Migrator};
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The migrations, from the first schema to this version's.
pub(in crate::store) static MIGRATIONS: Migrator = sqlx::migrate!();

/// The table in which sqlx keeps which migrations were applied.
const APPLIED_TABLE: &str = "_sqlx_migrations";
/// The table that the oldest version made last.
const NEWEST_OF_FIRST_TABLES: &str = "sessions";
/// The interval of progress messages in the log.
const TELL: Duration = Duration::from_secs(10);

/// How a database is opened that an older version made.
#[derive(Debug, Clone)]
pub struct UpgradeOptions {
    /// A backup is made before an upgrade, and an upgrade without one fails.
    pub makes_backup: bool,
    /// Told what happens.
    pub progress: UpgradeProgress,
}

impl Default for UpgradeOptions {
    fn default() -> Self {
        Self {
            makes_backup: true,
            progress: UpgradeProgress::default(),
        }
    }
}

/// What is to be done to bring a database to this version's shape. A shape is the number of the
/// newest migration.
#[derive(Debug, Clone)]
pub(in crate::store) struct UpgradePlan {
    /// The present shape; `None` = it has no tables yet.
    pub from: Option<i64>,
    /// The shape of this version.
    pub to: i64,
    /// What is to be applied, oldest first.
    pub pending: Vec<&'static Migration>,
    /// All tables of the oldest version are there, so that something could be lost. If not, its
    /// first start was stopped.
    pub has_tables: bool,
    /// Events are stored, from which calls may be derived again.
    pub has_events: bool,
}

impl UpgradePlan {
    /// The present shape, if a database that is in use is to be changed.
    pub fn shape_to_back_up(&self) -> Option<i64> {
        self.from
            .filter(|_| self.has_tables && !self.pending.is_empty())
    }
}

/// An upgrade that is committed.
#[derive(Debug)]
pub(in crate::store) struct CommittedUpgrade {
    /// The shape before; `None` = it was a new database.
    from: Option<i64>,
    to: i64,
    since: Instant,
    /// The backup that was made before.
    backup: Option<PathBuf>,
}

/// The shape of this version: the number of its newest migration.
pub fn newest_shape() -> i64 {
    MIGRATIONS
        .iter()
        .map(|known| known.version)
        .max()
        .unwrap_or_default()
}

const IN_FILE: &str = "select count(*) from sqlite_master where type = 'table' and name = $1";
const ON_SERVER: &str =
    "select count(*) from pg_tables where schemaname = current_schema() and tablename = $1";
const HAS_EVENTS: &str = "select count(*) from (select 1 from events limit 1) as few";

/// Does the database have a table of this name? On `PostgreSQL` only the schema counts in which
/// Callscope makes its tables; other programs may have theirs in another one.
pub(in crate::store) async fn has_table(
    connection: &mut AnyConnection,
    name: &str,
) -> Result<bool, Error> {
    let text = match Dialect::of_connection(connection) {
        Dialect::Sqlite => IN_FILE,
        Dialect::Postgres => ON_SERVER,
    };
    let count: i64 = sqlx::query_scalar::<Db, i64>(text)
        .bind(name)
        .fetch_one(connection)
        .await?;

    Ok(count > 0)
}

/// Reads what is to be done, and changes nothing. `url` is the address of the database, for the
/// error.
///
/// # Errors
/// [`Error::Newer`] if a newer version has changed the database, [`Error::Foreign`] if it is not one
/// that Callscope made; else when it cannot be read.
pub(in crate::store) async fn plan_upgrade(
    connection: &mut AnyConnection,
    url: &str,
) -> Result<UpgradePlan, Error> {
    let mut plan = UpgradePlan {
        from: None,
        to: newest_shape(),
        pending: MIGRATIONS.iter().collect(),
        has_tables: false,
        has_events: false,
    };
    if !has_table(connection, APPLIED_TABLE).await? {
        return Ok(plan);
    }

    if let Some(version) = connection.dirty_version(APPLIED_TABLE).await? {
        return Err(MigrateError::Dirty(version).into());
    }

    let applied = connection.list_applied_migrations(APPLIED_TABLE).await?;
    let newest = applied.iter().map(|done| done.version).max();
    let first = MIGRATIONS.iter().min_by_key(|known| known.version);
    let is_ours = first.is_none_or(|first| {
        applied
            .iter()
            .any(|done| done.version == first.version && done.checksum == first.checksum)
    });
    if newest.is_some() && !is_ours {
        return Err(Error::Foreign {
            database: connect::database_name(url),
        });
    }

    for done in &applied {
        let Some(known) = MIGRATIONS
            .iter()
            .find(|known| known.version == done.version)
        else {
            return Err(match newest.filter(|newest| *newest > plan.to) {
                Some(newest) => newer_error(url, newest)?,
                None => MigrateError::VersionMissing(done.version).into(),
            });
        };

        if known.checksum != done.checksum {
            return Err(MigrateError::VersionMismatch(done.version).into());
        }
    }

    plan.pending
        .retain(|known| !applied.iter().any(|done| done.version == known.version));
    plan.from = newest;
    plan.has_tables = has_table(connection, NEWEST_OF_FIRST_TABLES).await?;
    if has_table(connection, "events").await? {
        let events: i64 = sqlx::query_scalar(HAS_EVENTS)
            .fetch_one(&mut *connection)
            .await?;
        plan.has_events = events > 0;
    }

    Ok(plan)
}

/// The error that a newer version has changed the database to this shape, with the way back.
fn newer_error(url: &str, shape: i64) -> Result<Error, Error> {
    let known = newest_shape();
    let way = match file_of(url)? {
        Some(file) => way_back_of_file(&upgrade_backup::list_backups(&file), known),
        None if url.starts_with("sqlite:") => String::new(),
        None => "stop every Callscope, make a new, empty database NEW, take back there what \
                 pg_dump --format=custom wrote before the upgrade, by pg_restore --exit-on-error \
                 --single-transaction --no-owner --dbname=NEW FILE, and name NEW with \
                 CALLSCOPE_DATABASE_URL"
            .to_owned(),
    };

    Ok(Error::Newer {
        database: connect::database_name(url),
        shape,
        known,
        way,
    })
}

/// How to go back to a version that knows shapes up to `known`, in words. `backups` are those that
/// are there, newest first.
fn way_back_of_file(backups: &[upgrade_backup::UpgradeBackup], known: i64) -> String {
    match backups.iter().find(|backup| backup.shape <= known) {
        Some(backup) => format!(
            "run: callscope restore {} (it is what was stored before the upgrade; the present \
             database is kept beside it)",
            words_for_shell(&backup.path.display().to_string())
        ),
        None => {
            "no backup that this version can read is beside it; if you have one elsewhere, run: \
                 callscope restore FILE"
                .to_owned()
        }
    }
}

/// A path as a shell takes it.
fn words_for_shell(path: &str) -> String {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "/._-+:@,".contains(sign);
    if path.chars().all(is_plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Brings the database to this version's shape. `pool` is that of the one connection that writes,
/// `begin` begins a transaction of it. Returns what [`finish_upgrade`] needs; `None` if nothing was to
/// be done.
///
/// # Errors
/// When no backup can be made, or a migration fails; then nothing is changed.
pub(in crate::store) async fn upgrade(
    pool: &AnyPool,
    begin: &'static str,
    url: &str,
    options: &UpgradeOptions,
) -> Result<Option<CommittedUpgrade>, Error> {
    let mut connection = pool.acquire().await?;
    // Only PostgreSQL has this lock. Two commands may open a new database there at the same time.
    connection.lock().await?;
    let done = upgrade_locked(&mut connection, begin, url, options).await;
    let unlocked = connection.unlock().await;
    let done = done?;
    unlocked?;

    Ok(done)
}

/// Says that an upgrade is done, and deletes backups of earlier ones. To be called when the program
/// has also done to older data what it has to.
pub(in crate::store) fn finish_upgrade(done: &CommittedUpgrade) {
    let (from, to) = (done.from, done.to);
    if from.is_some() {
        let took_ms = done.since.elapsed().as_millis();
        tracing::info!(from, to, took_ms, "the database is upgraded");
    }

    if let Some(backup) = &done.backup {
        tracing::info!(
            file = %backup.display(),
            "the backup keeps what is deleted from the database later; delete it when you need it \
             no more"
        );
        upgrade_backup::delete_older_backups(backup);
    }
}

async fn upgrade_locked(
    connection: &mut AnyConnection,
    begin: &'static str,
    url: &str,
    options: &UpgradeOptions,
) -> Result<Option<CommittedUpgrade>, Error> {
    let plan = plan_upgrade(connection, url).await?;
    if plan.pending.is_empty() {
        return Ok(None);
    }

    let since = Instant::now();
    let steps = plan.pending.len();
    let (from, to) = (plan.from, plan.to);
    if from.is_some() {
        tracing::info!(from, to, steps, "the database is being upgraded");
    }

    let backup = back_up(connection, url, &plan, options).await?;
    wait_long_for_locks(connection, true).await?;
    let mut tx = connection.begin_with(begin).await?;
    // Another process may have upgraded it meanwhile.
    let plan = plan_upgrade(&mut tx, url).await?;
    tx.ensure_migrations_table(APPLIED_TABLE).await?;
    for (before, migration) in plan.pending.iter().enumerate() {
        if plan.from.is_some() {
            options.progress.begin_step(UpgradeStep::Migration {
                number: before + 1,
                of: plan.pending.len(),
                name: migration.description.to_string(),
            });
        }

        apply_migration(&mut tx, migration, before + 1, &plan).await?;
    }

    options.progress.begin_step_of_upgrade(UpgradeStep::Finish);
    tx.commit().await?;
    wait_long_for_locks(connection, false).await?;
    if from.is_some() {
        tracing::info!(
            from,
            to,
            "the changes are committed; an older version cannot use the database any more"
        );
    }

    Ok(Some(CommittedUpgrade {
        from,
        to,
        since,
        backup,
    }))
}

/// Lets a `SQLite` connection wait long for another program that has the database locked, or as
/// short as it usually does. Only at the start is there nobody whom that would keep waiting.
async fn wait_long_for_locks(connection: &mut AnyConnection, long: bool) -> Result<(), Error> {
    if Dialect::of_connection(connection) == Dialect::Sqlite {
        let text = if long {
            "pragma busy_timeout = 15000"
        } else {
            connect::BUSY_TIMEOUT
        };
        connection.execute(text).await?;
    }

    Ok(())
}

/// Makes the backup before an upgrade, if one is needed. Returns its file.
async fn back_up(
    connection: &mut AnyConnection,
    url: &str,
    plan: &UpgradePlan,
    options: &UpgradeOptions,
) -> Result<Option<PathBuf>, Error> {
    let Some(shape) = plan.shape_to_back_up() else {
        return Ok(None);
    };

    if !options.makes_backup {
        tracing::warn!(
            "no backup is made before the upgrade, because backup_before_upgrade is off"
        );
        return Ok(None);
    }

    let Some(file) = file_of(url)? else {
        if Dialect::of_connection(connection) == Dialect::Postgres {
            tracing::warn!(
                "no backup is made before the upgrade of a database on PostgreSQL; pg_dump \
                 --format=custom makes one"
            );
        }

        return Ok(None);
    };

    options.progress.begin_step(UpgradeStep::Backup);
    let since = Instant::now();
    let file = canonical_path(&file);
    if let Some(there) = upgrade_backup::find_current_backup(&file, shape)
        && upgrade_backup::is_whole(&there).await
    {
        tracing::info!(
            file = %there.display(),
            "the backup of an earlier try is used; nothing was written to the database since"
        );
        return Ok(Some(there));
    }

    let needed = upgrade_backup::needed_bytes(connection).await?;
    let free = upgrade_backup::free_bytes(&file)?;
    let made = upgrade_backup::make_backup(&file, shape, needed, free).await?;
    tracing::info!(
        file = %made.path.display(),
        bytes = made.bytes,
        took_ms = since.elapsed().as_millis(),
        "a backup is made before the upgrade"
    );

    Ok(Some(made.path))
}

/// Applies one migration within a transaction, and says in the log how long it took, or takes.
/// `number` is its place in the plan, from 1.
async fn apply_migration(
    tx: &mut AnyConnection,
    migration: &'static Migration,
    number: usize,
    plan: &UpgradePlan,
) -> Result<(), Error> {
    let (of, what) = (plan.pending.len(), &migration.description);
    let since = Instant::now();
    let mut applying = tx.apply(APPLIED_TABLE, migration);
    let took = loop {
        if let Ok(done) = tokio::time::timeout(TELL, &mut applying).await {
            break done?;
        }

        tracing::info!(
            step = number,
            of,
            %what,
            seconds = since.elapsed().as_secs(),
            "a step of the upgrade is still running"
        );
    };
    if plan.from.is_some() {
        tracing::info!(
            step = number,
            of,
            shape = migration.version,
            %what,
            took_ms = took.as_millis(),
            "a step of the upgrade is done"
        );
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_tear_it() {
        for (path, words) in [
            ("/var/lib/c-1/a.db", "/var/lib/c-1/a.db"),
            ("/my calls/a.db", "'/my calls/a.db'"),
            ("/it's/$(a).db", r"'/it'\''s/$(a).db'"),
        ] {
            assert_eq!(words_for_shell(path), words);
        }
    }
}
