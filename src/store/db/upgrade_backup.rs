//! Backups that are made by itself before an upgrade of a `SQLite` database, beside it. The name
//! has the shape of what is in it, so that an older version finds the one that it can read.

use super::backup;
use super::instance_lock::{canonical_path, path_with_suffix};
use crate::store::Error;
use sqlx::AnyConnection;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What stands between the name of the database and the shape of the backup.
pub(super) const BEFORE_UPGRADE: &str = ".before-upgrade-from-";
/// How many are kept, the newest included.
const KEPT: usize = 2;
/// Free space that has to stay, for the upgrade itself.
const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// How much later than it was the system may say that something was written: the times of files are
/// coarser than the clock.
const CLOCK_STEP: Duration = Duration::from_millis(100);

/// A backup that was made before an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct UpgradeBackup {
    pub path: PathBuf,
    /// The shape of the database in it: the number of its newest migration.
    pub shape: i64,
    pub bytes: u64,
    made: SystemTime,
}

const USED: &str = "select (select page_count from pragma_page_count)
    - (select freelist_count from pragma_freelist_count)";
const PAGE_BYTES: &str = "select page_size from pragma_page_size";

/// How large a backup becomes: what is in use of a `SQLite` database, bytes.
pub(in crate::store) async fn needed_bytes(connection: &mut AnyConnection) -> Result<u64, Error> {
    let pages: i64 = sqlx::query_scalar(USED).fetch_one(&mut *connection).await?;
    let bytes: i64 = sqlx::query_scalar(PAGE_BYTES)
        .fetch_one(&mut *connection)
        .await?;

    Ok(pages.saturating_mul(bytes).unsigned_abs())
}

/// How much this process may still write to the disk of the database, bytes.
pub(in crate::store) fn free_bytes(database: &Path) -> Result<u64, Error> {
    let file = canonical_path(database);
    let folder = file.parent().unwrap_or(Path::new("/"));
    let disk = rustix::fs::statvfs(folder).map_err(|source| Error::File {
        doing: "looking at the disk of",
        path: folder.to_owned(),
        source: source.into(),
    })?;

    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Checks that a backup of so many bytes fits.
///
/// # Errors
/// [`Error::NoRoomForBackup`] if not.
pub(in crate::store) fn check_room(database: &Path, needed: u64, free: u64) -> Result<(), Error> {
    let needed = needed.saturating_add(RESERVE_BYTES);
    if free >= needed {
        return Ok(());
    }

    Err(Error::NoRoomForBackup {
        database: database.to_owned(),
        needed,
        free,
        older: None,
    })
}

/// The backup of a database of this shape that is there, if nothing was written to the database since
/// it was begun. It is still to be checked ([`is_whole`]).
pub(in crate::store) fn find_current_backup(database: &Path, shape: i64) -> Option<PathBuf> {
    let path = backup_path(database, shape);
    let made = path.metadata().ok().filter(Metadata::is_file)?;
    let made = made.modified().ok()?;
    let log = path_with_suffix(database, "-wal");
    let written = log.metadata().ok().filter(|log| log.len() > 0);
    let written = written.into_iter().chain(database.metadata().ok());
    let is_current = written
        .map(|file| last_change(&file))
        .all(|change| change.is_some_and(|change| change < made));

    Some(path).filter(|_| is_current && database.exists())
}

/// When a file was written, or came to its place. `None` if that was before 1970.
fn last_change(file: &Metadata) -> Option<SystemTime> {
    let seconds = u64::try_from(file.ctime()).ok()?;
    let nanoseconds = u32::try_from(file.ctime_nsec()).ok()?;
    let arrived = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);

    Some(arrived.max(file.modified().ok()?))
}

/// Is this backup undamaged, and one that a restore takes?
pub(super) async fn is_whole(backup: &Path) -> bool {
    check_backup(backup).await.is_ok()
}

/// The file of the backup of a database of this shape.
pub(in crate::store) fn backup_path(database: &Path, shape: i64) -> PathBuf {
    path_with_suffix(database, &format!("{BEFORE_UPGRADE}{shape:04}"))
}

/// Writes a backup of the database, which has this shape, and checks it. It takes the place of an
/// older one of the same shape. `needed` and `free` are bytes, as [`needed_bytes`] and
/// [`free_bytes`] tell.
///
/// # Errors
/// When it does not fit, cannot be written, or is damaged; then nothing is left behind.
pub(in crate::store) async fn make_backup(
    database: &Path,
    shape: i64,
    needed: u64,
    free: u64,
) -> Result<UpgradeBackup, Error> {
    let path = backup_path(database, shape);
    check_room(database, needed, free).map_err(|error| name_older(error, &path))?;
    let part = path_with_suffix(&path, ".partial");
    // A start that was stopped meanwhile left it.
    remove_unfinished(&part);
    let done = write_and_check(database, &part)
        .await
        .and_then(|bytes| backup::rename_durably(&part, &path).map(|()| bytes));
    if done.is_err() {
        remove_unfinished(&part);
    }

    let bytes = done.map_err(|source| Error::NoBackup {
        database: database.to_owned(),
        source: Box::new(source),
    })?;

    Ok(UpgradeBackup {
        path,
        shape,
        bytes,
        made: SystemTime::now(),
    })
}

/// Names the older backup in the error that there is no room for another one.
fn name_older(error: Error, path: &Path) -> Error {
    match error {
        Error::NoRoomForBackup {
            database,
            needed,
            free,
            older: None,
        } => Error::NoRoomForBackup {
            database,
            needed,
            free,
            older: path.exists().then(|| path.to_owned()),
        },
        other => other,
    }
}

/// Removes an unfinished backup, and its journal: `SQLite` would believe that it belongs to the next
/// one.
fn remove_unfinished(part: &Path) {
    for end in ["", "-journal"] {
        let _ = std::fs::remove_file(path_with_suffix(part, end));
    }
}

/// Writes a copy into a new file, and checks that it can be restored. Returns its size, bytes.
async fn write_and_check(database: &Path, part: &Path) -> Result<u64, Error> {
    let begun = SystemTime::now() - CLOCK_STEP;
    let mut connection = backup::open_file(database, false).await?;
    backup::new_file(part)?;
    let written = backup::vacuum_into_file(&mut connection, part).await;
    let _ = sqlx::Connection::close(connection).await;
    let bytes = written?;

    check_backup(part).await?;
    // What is written to the database from now on is not in it, however long it took.
    let dated = File::options().write(true).open(part);
    dated
        .and_then(|file| file.set_modified(begun))
        .map_err(|source| Error::File {
            doing: "dating",
            path: part.to_owned(),
            source,
        })?;

    Ok(bytes)
}

/// Checks that a backup can be read to its end, and is one that a restore takes. A restore checks it
/// again, and its indexes, too, for which nobody is to wait here.
async fn check_backup(file: &Path) -> Result<(), Error> {
    let mut copy = backup::open_file(file, true).await?;
    let checked = backup::check_copy(&mut copy, file, backup::QUICK_CHECK).await;
    let _ = sqlx::Connection::close(copy).await;

    checked.map(drop)
}

/// The backups of this kind beside the database, newest first. None if the folder cannot be read.
pub(in crate::store) fn list_backups(database: &Path) -> Vec<UpgradeBackup> {
    let database = canonical_path(database);
    let before = path_with_suffix(&database, BEFORE_UPGRADE);
    let before = before.as_os_str().as_encoded_bytes();
    let mut found: Vec<UpgradeBackup> = backup::list_files_beside(&database)
        .into_iter()
        .filter_map(|path| {
            let name = path.as_os_str().as_encoded_bytes();
            let shape = name.strip_prefix(before)?;
            let shape = std::str::from_utf8(shape).ok()?;
            let is_number = shape.len() >= 4 && shape.bytes().all(|sign| sign.is_ascii_digit());
            let shape = shape.parse().ok().filter(|_| is_number)?;
            let file = path.metadata().ok().filter(std::fs::Metadata::is_file)?;

            Some(UpgradeBackup {
                shape,
                bytes: file.len(),
                made: file.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                path,
            })
        })
        .collect();
    found.sort_by_key(|backup| std::cmp::Reverse((backup.made, backup.shape)));

    found
}

/// Deletes the backups of this kind but for the newest ones, after the one that was `made` now. What
/// cannot be deleted stays, and the log says so.
pub(super) fn delete_older_backups(made: &Path) {
    let Some(database) = database_of_backup(made) else {
        return;
    };

    let older = list_backups(&database)
        .into_iter()
        .filter(|backup| backup.path != made);
    for backup in older.skip(KEPT - 1) {
        let file = backup.path.display();
        match std::fs::remove_file(&backup.path) {
            Ok(()) => tracing::info!(%file, "an older backup of an upgrade is deleted"),
            Err(error) => {
                tracing::warn!(%file, %error, "an older backup of an upgrade cannot be deleted");
            }
        }
    }
}

/// The database of which this is a backup.
fn database_of_backup(backup: &Path) -> Option<PathBuf> {
    let name = backup.file_name()?.to_str()?;
    let end = name.rfind(BEFORE_UPGRADE)?;

    Some(backup.with_file_name(&name[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    /// A file with this content, made so many seconds after 1970.
    fn write_at(path: &Path, seconds: u64) {
        std::fs::write(path, "x").unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
    }

    #[test]
    fn the_two_newest_are_kept_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let others = [
            "a.db",
            "a.db.before-upgrade-from-0012.partial",
            "a.db.before-upgrade-from-12",
            "a.db.before-upgrade-from-mine",
            "a.db.before-restore-20261122T000000Z",
            "b.db.before-upgrade-from-0012",
        ];
        for name in others {
            write_at(&folder.path().join(name), 1);
        }
        for (shape, seconds) in [(12, 10), (65, 30), (77, 20), (114, 40)] {
            write_at(&backup_path(&database, shape), seconds);
        }
        let shapes = || -> Vec<i64> {
            let kept = list_backups(&database);
            kept.iter().map(|backup| backup.shape).collect()
        };
        assert_eq!(shapes(), [114, 65, 77, 12]);

        // Made now, though its time is an older one.
        delete_older_backups(&backup_path(&database, 77));
        assert_eq!(shapes(), [114, 77]);
        for name in others {
            assert!(folder.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_disk_that_is_too_small_is_an_error_that_names_the_ways_out() {
        let database = Path::new("/var/lib/callscope/callscope.db");
        let fits = 5_000_000 + RESERVE_BYTES;
        assert!(check_room(database, 5_000_000, fits).is_ok());
        let said = check_room(database, 5_000_000, fits - 1)
            .unwrap_err()
            .to_string();
        for part in [
            "/var/lib/callscope/callscope.db",
            "21.8 MB",
            "CALLSCOPE_BACKUP_BEFORE_UPGRADE=false",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(check_room(database, u64::MAX, u64::MAX).is_ok());
    }

    #[test]
    fn no_room_beside_an_older_backup_names_that_one() {
        let folder = tempfile::tempdir().unwrap();
        let older = backup_path(&folder.path().join("a.db"), 114);
        let said = || {
            let error = check_room(Path::new("a.db"), 1, 1).unwrap_err();
            name_older(error, &older).to_string()
        };
        assert!(!said().contains("0114"), "{}", said());
        std::fs::write(&older, "x").unwrap();
        assert!(
            said().contains("a.db.before-upgrade-from-0114"),
            "{}",
            said()
        );
    }

    #[test]
    fn a_backup_is_current_until_the_database_or_its_log_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let log = path_with_suffix(&database, "-wal");
        std::fs::write(&database, "x").unwrap();
        let path = backup_path(&database, 114);
        let make = |later: u64| {
            std::fs::write(&path, "x").unwrap();
            let time = SystemTime::now() + Duration::from_secs(later);
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        };
        let is_current = |shape| find_current_backup(&database, shape).is_some();
        assert!(!is_current(114));
        make(60);
        assert!(is_current(114) && !is_current(115));

        // A file that was put there later may have an older time.
        std::fs::write(&path, "x").unwrap();
        write_at(&path, 1_000_000_000);
        write_at(&database, 10);
        assert!(!is_current(114));

        make(60);
        std::fs::write(&log, "").unwrap();
        File::options()
            .write(true)
            .open(&log)
            .and_then(|log| log.set_modified(SystemTime::now() + Duration::from_secs(90)))
            .unwrap();
        assert!(is_current(114), "an empty log has nothing in it");
        std::fs::write(&log, "x").unwrap();
        File::options()
            .write(true)
            .open(&log)
            .and_then(|log| log.set_modified(SystemTime::now() + Duration::from_secs(90)))
            .unwrap();
        assert!(!is_current(114));
    }

    #[test]
    fn the_disk_of_a_relative_path_is_found() {
        assert!(free_bytes(Path::new("callscope.db")).unwrap() > 0);
        assert!(free_bytes(Path::new("/nowhere/at/all.db")).is_err());
    }

    #[tokio::test]
    async fn a_backup_that_is_damaged_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let url = format!("sqlite://{}", file.display());
        crate::store::Writer::open(&url)
            .await
            .unwrap()
            .close()
            .await;
        assert!(check_backup(&file).await.is_ok());

        let mut connection = backup::open_file(&file, true).await.unwrap();
        let root: i64 =
            sqlx::query_scalar("select rootpage from sqlite_master where name = 'heads'")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        sqlx::Connection::close(connection).await.unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let start = (usize::try_from(root).unwrap() - 1) * 4096;
        bytes[start..start + 4096].fill(0x5a);
        std::fs::write(&file, bytes).unwrap();
        let error = check_backup(&file).await.unwrap_err().to_string();
        assert!(error.contains("it is damaged"), "{error}");
    }
}
