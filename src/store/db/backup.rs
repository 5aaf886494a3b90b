//! Copies of a `SQLite` database: taken while a server runs, and checked before they become the
//! database again.

use super::instance_lock::{InstanceLock, canonical_path, file_of, path_with_suffix};
use super::upgrade::MIGRATIONS;
use super::upgrade_backup::BEFORE_UPGRADE;
use crate::store::Error;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    pub rooms: i64,
    pub events: i64,
    pub memberships: i64,
    pub calls: i64,
    pub bytes: u64,
}

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub contents: Contents,
    /// The database that was replaced, if there was one.
    pub aside: Option<PathBuf>,
    pub database: PathBuf,
}

/// Writes a consistent copy of the database to `to`, even while a server writes to it. Only the
/// user of this process can read the copy (0600). An existing file is not overwritten.
///
/// # Errors
/// When there is no such database, the file is there already, or the disk is full; then nothing is
/// left behind.
pub async fn copy_database(url: &str, to: &Path) -> Result<Contents, Error> {
    let database = file_of(url)?.ok_or(Error::NoFile)?;
    let mut connection = open_file(&database, false).await?;
    count_contents(&mut connection, &database).await?;
    // The name is reserved from here on. A file with this name is always a complete copy.
    new_file(to)?;
    let done = copy_to_file(&mut connection, to).await;
    let _ = connection.close().await;
    if done.is_err() {
        let _ = std::fs::remove_file(to);
    }

    let bytes = done?;
    let mut made = open_file(to, true).await?;

    Ok(Contents {
        bytes,
        ..count_contents(&mut made, to).await?
    })
}

/// Makes the copy at `from` the database, after a check, and keeps what was there before under
/// another name that ends in `stamp`. `who` describes this process to another one that wants the
/// database meanwhile.
///
/// # Errors
/// When a server has the database, or the copy is damaged, not ours, or of a newer version; then
/// nothing changed.
pub async fn restore(url: &str, from: &Path, stamp: &str, who: &str) -> Result<Restored, Error> {
    let database = canonical_path(&file_of(url)?.ok_or(Error::NoFile)?);
    let _hold = InstanceLock::acquire_lock(url, who).await?;
    if canonical_path(from) == database {
        return Err(Error::Backup(
            from.to_owned(),
            "it is the database itself".into(),
        ));
    }

    let mut connection = open_file(from, true).await?;
    let contents = check_copy(&mut connection, from, WHOLE_CHECK).await?;
    let new = path_with_suffix(&database, ".restoring");
    if let Err(source) = std::fs::remove_file(&new)
        && source.kind() != std::io::ErrorKind::NotFound
    {
        return Err(Error::File {
            doing: "removing the rest of a restore at",
            path: new,
            source,
        });
    }

    new_file(&new)?;
    let done = copy_to_file(&mut connection, &new).await;
    let _ = connection.close().await;
    let done = done.and_then(|bytes| keep_owner(&database, &new).map(|()| bytes));
    if done.is_err() {
        let _ = std::fs::remove_file(&new);
    }

    let bytes = done?;
    let aside = set_aside(
        &database,
        &unused_file_name(&database, &format!("{BEFORE_RESTORE}{stamp}")),
    )?;
    rename_durably(&new, &database)?;

    Ok(Restored {
        contents: Contents { bytes, ..contents },
        aside,
        database,
    })
}

/// Gives a new file the owner and the mode of the one that it replaces, if there is one. Only root can
/// do so, and only root has to: the service could not open its file.
fn keep_owner(replaced: &Path, new: &Path) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }

    let kept = match replaced.metadata() {
        Ok(kept) => kept,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(Error::File {
                doing: "looking at",
                path: replaced.to_owned(),
                source,
            });
        }
    };
    let given = std::os::unix::fs::chown(new, Some(kept.uid()), Some(kept.gid()))
        .and_then(|()| std::fs::set_permissions(new, kept.permissions()));

    given.map_err(|source| Error::File {
        doing: "giving its owner to",
        path: new.to_owned(),
        source,
    })
}

/// How the names of databases begin that a restore set aside, after that of the database.
const BEFORE_RESTORE: &str = ".before-restore-";

/// The files beside the database that hold what it held before: those that a restore set aside, and
/// the backups that were made before an upgrade. Copies that somebody put elsewhere are not known.
///
/// # Errors
/// When the address of the database cannot be read.
pub fn list_set_aside(url: &str) -> Result<Vec<PathBuf>, Error> {
    let Some(database) = file_of(url)? else {
        return Ok(Vec::new());
    };

    let database = canonical_path(&database);
    let before = [BEFORE_RESTORE, BEFORE_UPGRADE].map(|end| path_with_suffix(&database, end));
    let mut found = list_files_beside(&database);
    found.retain(|path| {
        let name = path.as_os_str().as_encoded_bytes();
        before
            .iter()
            .any(|before| name.starts_with(before.as_os_str().as_encoded_bytes()))
    });
    found.sort();

    Ok(found)
}

/// All files in the folder of the database; none if it cannot be read.
pub(super) fn list_files_beside(database: &Path) -> Vec<PathBuf> {
    let entries = database.parent().map(std::fs::read_dir);
    let entries = entries.and_then(Result::ok).into_iter().flatten();

    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

/// A connection to a `SQLite` file, which must exist. With `read_only` nothing can be written.
pub(super) async fn open_file(path: &Path, read_only: bool) -> Result<SqliteConnection, Error> {
    // SQLite would only say "unable to open".
    let cannot = |source| Error::File {
        doing: "opening",
        path: path.to_owned(),
        source,
    };

    File::open(path).map_err(cannot)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .read_only(read_only)
        // To copy and to check a large database is slow, which is nothing to warn of.
        .disable_statement_logging();

    Ok(options
        .busy_timeout(Duration::from_secs(30))
        .connect()
        .await?)
}

/// Makes an empty file that only the user of this process can read. An existing one is an error.
pub(super) fn new_file(path: &Path) -> Result<(), Error> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);

    made.map(drop).map_err(|source| Error::File {
        doing: "making",
        path: path.to_owned(),
        source,
    })
}

/// Renames a file so that the new name also survives a power cut.
pub(super) fn rename_durably(from: &Path, to: &Path) -> Result<(), Error> {
    let cannot = |source| Error::File {
        doing: "moving",
        path: from.to_owned(),
        source,
    };

    std::fs::rename(from, to).map_err(cannot)?;
    // Sync the folder, so that the file name also survives a power cut.
    let folder = to
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));

    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(cannot)
}

/// Copies the database to `to`, an empty file that the caller has made ([`new_file`]). The content
/// appears there at once or not at all; then the caller removes the file. Returns the size, bytes.
async fn copy_to_file(connection: &mut SqliteConnection, to: &Path) -> Result<u64, Error> {
    let part = path_with_suffix(to, ".partial");
    new_file(&part)?;
    let done = vacuum_into_file(connection, &part)
        .await
        .and_then(|bytes| rename_durably(&part, to).map(|()| bytes));
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }

    done
}

/// Writes a copy of the database without free pages into this file, to the disk. Returns the size,
/// bytes.
pub(super) async fn vacuum_into_file(
    connection: &mut SqliteConnection,
    part: &Path,
) -> Result<u64, Error> {
    // Makes the copy release free pages in small steps, even if the original was made before that
    // was the default.
    if sqlx::query_scalar::<_, i64>("pragma auto_vacuum")
        .fetch_one(&mut *connection)
        .await?
        == 0
    {
        sqlx::query("pragma auto_vacuum = incremental")
            .execute(&mut *connection)
            .await?;
    }

    let name = part
        .to_str()
        .ok_or_else(|| Error::Backup(part.to_owned(), "its name is not Unicode".into()))?;
    sqlx::query("vacuum into $1")
        .bind(name)
        .execute(&mut *connection)
        .await?;
    let file = File::open(part).and_then(|file| file.sync_all().and_then(|()| file.metadata()));
    let cannot = |source| Error::File {
        doing: "writing",
        path: part.to_owned(),
        source,
    };

    Ok(file.map_err(cannot)?.len())
}

/// How the names of the files of a database end: itself, its log, and the log's index.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// A file name beside the database that is not in use: its name and this suffix, if need be with a
/// number. Two restores within one second must not overwrite what the first one kept.
fn unused_file_name(database: &Path, suffix: &str) -> PathBuf {
    let (mut name, mut number) = (path_with_suffix(database, suffix), 1);
    while PARTS
        .iter()
        .any(|end| path_with_suffix(&name, end).exists())
    {
        number += 1;
        name = path_with_suffix(database, &format!("{suffix}-{number}"));
    }

    name
}

/// Moves the database to the name `aside` with its other files: a write-ahead log that is not
/// checkpointed yet is part of it. Returns `aside`, or `None` if there was nothing to move.
fn set_aside(database: &Path, aside: &Path) -> Result<Option<PathBuf>, Error> {
    let mut moved = None;
    for end in PARTS {
        let (from, to) = (
            path_with_suffix(database, end),
            path_with_suffix(aside, end),
        );
        if from.exists() {
            rename_durably(&from, &to)?;
            moved = moved.or(Some(aside.to_owned()));
        }
    }

    Ok(moved)
}

/// The whole check of a database: also whether each index has what its table has. Of a database of
/// 2 GB it takes minutes.
const WHOLE_CHECK: &str = "pragma integrity_check(3)";
/// The check of everything but that, which is as fast as reading the file.
pub(super) const QUICK_CHECK: &str = "pragma quick_check(3)";

/// What the copy holds, after this check that it is an intact Callscope database whose version is not
/// newer than this program.
pub(super) async fn check_copy(
    connection: &mut SqliteConnection,
    path: &Path,
    check: &'static str,
) -> Result<Contents, Error> {
    let bad = |why: String| Error::Backup(path.to_owned(), why);
    let query = sqlx::query_scalar(check);
    let said: Vec<String> = query
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| bad(format!("it is damaged: {error}")))?;
    if said != ["ok"] {
        return Err(bad(format!("it is damaged: {}", said.join("; "))));
    }

    count_contents(connection, path).await
}

/// Counts what is in a database, after a check that Callscope made it and that its version is not
/// newer than this program. `bytes` is 0: the caller knows the size.
async fn count_contents(connection: &mut SqliteConnection, path: &Path) -> Result<Contents, Error> {
    let bad = |why: &str| Error::Backup(path.to_owned(), why.to_owned());
    let query =
        sqlx::query_as("select version, success, checksum from _sqlx_migrations order by version");
    let applied: Vec<(i64, bool, Vec<u8>)> = query
        .fetch_all(&mut *connection)
        .await
        .map_err(|_| bad("it is not a database of Callscope"))?;
    for (version, success, checksum) in &applied {
        let Some(known) = MIGRATIONS.iter().find(|known| known.version == *version) else {
            return Err(bad(
                "a newer version of Callscope made it; use that version",
            ));
        };

        if !success || known.checksum.as_ref() != checksum.as_slice() {
            return Err(bad("its shape is not one that Callscope made"));
        }
    }

    if applied.is_empty() {
        return Err(bad("it is not a database of Callscope"));
    }

    let text = "select (select count(*) from rooms), (select count(*) from events),
        (select count(*) from memberships), (select count(*) from sessions)";
    let (rooms, events, memberships, calls) =
        sqlx::query_as(text).fetch_one(&mut *connection).await?;

    Ok(Contents {
        rooms,
        events,
        memberships,
        calls,
        bytes: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_owner_and_the_mode_stay_where_root_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old.db"), folder.path().join("new.db"));
        new_file(&new).unwrap();
        keep_owner(&old, &new).unwrap();
        new_file(&old).unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o640)).unwrap();
        // Who is not root cannot give a file away.
        let is_root = std::os::unix::fs::chown(&old, Some(4321), Some(1234)).is_ok();
        keep_owner(&old, &new).unwrap();
        let made = new.metadata().unwrap();
        let of_file = (made.uid(), made.gid(), made.permissions().mode() & 0o777);
        if is_root {
            assert_eq!(of_file, (4321, 1234, 0o640));
        } else {
            assert_eq!(of_file.2, 0o600);
        }
    }
}
