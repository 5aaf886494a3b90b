//! One process for each database. The serving process holds a lock, and a second process is told
//! who holds it. The operating system releases the lock when its process ends, however it ends.

use super::connect;
use crate::store::{Db, Error};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Row};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// How processes describe themselves that leave a database behind, or replace it. What others wrote
/// into it meanwhile would be lost.
pub const WHICH_COPIES: &str = "which copies it to another place";
pub const WHICH_RESTORES: &str = "which restores a backup";

/// How often the lock on a database server is checked.
const EVERY: Duration = Duration::from_secs(10);

/// The right to be the one process that observes into a database; it ends when this is dropped.
#[derive(Debug)]
pub struct InstanceLock(LockKind);

#[derive(Debug)]
enum LockKind {
    /// A locked file beside the database.
    File { _file: File },
    /// A connection with an advisory lock of its session.
    Server {
        url: String,
        who: String,
        connection: tokio::sync::Mutex<sqlx::AnyConnection>,
    },
    /// A database in memory belongs to this process alone.
    Memory,
}

impl InstanceLock {
    /// Takes the lock of the database at `url`, without waiting. `who` describes this process, in
    /// words, to another one that wants the lock.
    ///
    /// # Errors
    /// [`Error::Held`] when another process has it; else when the lock cannot be asked for.
    pub async fn acquire_lock(url: &str, who: &str) -> Result<Self, Error> {
        match file_of(url)? {
            Some(path) => lock_file(&path, who).map(|file| Self(LockKind::File { _file: file })),
            None if url.starts_with("sqlite:") => Ok(Self(LockKind::Memory)),
            None => {
                let connection = tokio::sync::Mutex::new(lock_server(url, who).await?);
                Ok(Self(LockKind::Server {
                    url: url.to_owned(),
                    who: who.to_owned(),
                    connection,
                }))
            }
        }
    }

    /// Waits until another process has taken the lock, and returns that error. Until then it checks
    /// the lock again and again. A database server that was restarted has lost it; then it is taken
    /// again. For a file it waits for ever.
    pub async fn lost(&self) -> Error {
        let LockKind::Server {
            url,
            who,
            connection,
        } = &self.0
        else {
            return std::future::pending().await;
        };

        loop {
            tokio::time::sleep(EVERY).await;
            let mut connection = connection.lock().await;
            if connection.ping().await.is_ok() {
                continue;
            }

            match lock_server(url, who).await {
                Ok(again) => *connection = again,
                Err(error @ Error::Held { .. }) => return error,
                Err(Error::Open { source: why, .. } | Error::Database(why)) => {
                    report_lost_lock(&why);
                }
                Err(error) => {
                    report_lost_lock(&error);
                }
            }
        }
    }
}

/// The file of a `SQLite` database; `None` for one in memory and for a database server.
pub(in crate::store) fn file_of(url: &str) -> Result<Option<PathBuf>, Error> {
    if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
        return Ok(None);
    }

    let cannot = |source| Error::Open {
        database: "of that address".to_owned(),
        source,
    };

    Ok(Some(
        SqliteConnectOptions::from_str(url)
            .map_err(cannot)?
            .get_filename()
            .to_owned(),
    ))
}

/// The path with a suffix after its name: `callscope.db` and `.lock` give `callscope.db.lock`.
pub(in crate::store) fn path_with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The one path of a file, however it was named. It may be missing, as long as its folder is there.
pub(in crate::store) fn canonical_path(path: &Path) -> PathBuf {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));

    path.canonicalize()
        .unwrap_or_else(|_| match (folder.canonicalize(), path.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => path.to_owned(),
        })
}

/// Locks the file `.lock` beside a database file and writes `who` into it. An error tells who has
/// the lock.
fn lock_file(path: &Path, who: &str) -> Result<File, Error> {
    let path = canonical_path(path);
    let lock = path_with_suffix(&path, ".lock");
    let cannot = |source| Error::File {
        doing: "locking",
        path: lock.clone(),
        source,
    };

    // If the folder does not exist, no database can exist in it.
    let nowhere = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Open {
            database: path.display().to_string(),
            source: source.into(),
        },
        _ => cannot(source),
    };

    let mut options = OpenOptions::new();
    let options = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options.open(&lock).map_err(nowhere)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            let _ = Read::by_ref(&mut file).take(200).read_to_string(&mut by);
            let by = by.lines().next().unwrap_or_default().to_owned();
            return Err(held_error(path.display().to_string(), &by));
        }
        Err(TryLockError::Error(source)) => return Err(cannot(source)),
    }

    // The text only helps people. The lock is what counts, so a full disk is no obstacle.
    let _ = file
        .set_len(0)
        .and_then(|()| file.write_all(who.as_bytes()));

    Ok(file)
}

/// The error that another process, which described itself as `by`, has the lock of a database.
fn held_error(database: String, by: &str) -> Error {
    let by = if by.is_empty() {
        "a process that has not said which"
    } else {
        by
    };

    Error::Held {
        database,
        by: by.to_owned(),
    }
}

// The schema is part of the key: one database may hold several.
const TAKE: &str = "select pg_try_advisory_lock(1128353875, hashtext(current_schema()))";
const NAME: &str = "select set_config('application_name', $1, false)";
const HOLDER: &str =
    "select cast(current_database() as text) as name, coalesce((select a.application_name
        from pg_locks l
    join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.classid = 1128353875
    and a.datname = current_database()
    and cast(cast(l.objid as bigint) as bit(32))
        = cast(cast(hashtext(current_schema()) as bigint) as bit(32))
    limit 1), '') as by";

/// A new connection to a database server that holds its lock, with `who` as the name that others
/// see. An error tells who has the lock.
async fn lock_server(url: &str, who: &str) -> Result<sqlx::AnyConnection, Error> {
    let mut connection = connect::open_connection(url).await?;
    if sqlx::query_scalar::<Db, bool>(TAKE)
        .fetch_one(&mut connection)
        .await?
    {
        // PostgreSQL keeps 63 bytes of this text.
        sqlx::query(NAME).bind(who).execute(&mut connection).await?;
        return Ok(connection);
    }

    let row = sqlx::query(HOLDER).fetch_one(&mut connection).await?;
    let (name, by): (String, String) = (row.try_get("name")?, row.try_get("by")?);

    Err(held_error(format!("{name} on PostgreSQL"), &by))
}

/// Says in the log that the lock was lost and could not be taken again yet.
fn report_lost_lock(error: &dyn std::fmt::Display) {
    tracing::warn!(%error, "the database's lock was lost and cannot be taken yet");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn by_every_name_it_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b.db");
        let link = folder.path().join("link.db");
        File::create(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let first =
            InstanceLock::acquire_lock(&format!("sqlite://{}", path.display()), "process 1")
                .await
                .unwrap();
        let names = [
            format!("sqlite:{}?mode=rwc", link.display()),
            format!("sqlite://{}", path.display()).replace(' ', "%20"),
            format!(
                "sqlite://{}",
                folder.path().join(".").join("a b.db").display()
            ),
        ];
        for name in names {
            let error = InstanceLock::acquire_lock(&name, "process 2")
                .await
                .unwrap_err();
            assert!(
                matches!(&error, Error::Held { by, .. } if by == "process 1"),
                "{name}: {error}"
            );
            assert!(
                error.to_string().contains("CALLSCOPE_DATABASE_URL"),
                "{error}"
            );
        }

        drop(first);
        InstanceLock::acquire_lock(&format!("sqlite://{}", link.display()), "process 3")
            .await
            .unwrap();
        assert!(
            InstanceLock::acquire_lock("sqlite::memory:", "")
                .await
                .is_ok()
        );
        let gone = format!("sqlite://{}", folder.path().join("gone/x.db").display());
        let said = InstanceLock::acquire_lock(&gone, "process 4")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("gone/x.db cannot be opened: ") && said.contains("No such file"),
            "{said}"
        );
    }
}
