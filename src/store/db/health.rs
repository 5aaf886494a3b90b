//! Whether the database can be written and read. A problem with the database cannot be stored in
//! it, so it is kept in memory, shared by all copies of a [`Reader`]. The observer notes the errors
//! of its writes; pages and metrics show them.

use crate::rtc::words::words;
use crate::store::{Error, Reader, Writer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an error of a page's read is shown: the next read may succeed.
const READ_TROUBLE_LASTS: Duration = Duration::from_mins(1);

words! {
    /// What is wrong with the database.
    pub enum TroubleKind {
        /// The disk, or our quota of it, is full.
        Full = "full",
        /// Another program holds it locked.
        Locked = "locked",
        /// The file, or its file system, may only be read.
        ReadOnly = "read_only",
        /// It was deleted, moved away or replaced by another file.
        Gone = "gone",
        /// Its content can no longer be read.
        Damaged = "damaged",
        /// Anything else: a disk error, a server that does not answer.
        Failing = "failing",
    }
}

impl TroubleKind {
    /// The kind for a value in JSON.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        word.parse().unwrap_or(Self::Failing)
    }
}

/// A problem with the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// Since when the problem lasts, ms.
    pub since_ms: i64,
    /// The error message of the database.
    pub error: String,
}

impl Error {
    /// Does the error mean that the disk, or our quota of it, is full?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kind() == TroubleKind::Full
    }

    /// Does the error mean that another program holds the database locked?
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.kind() == TroubleKind::Locked
    }

    /// The kind of problem that this error means.
    #[must_use]
    pub fn kind(&self) -> TroubleKind {
        match self {
            Self::Database(error) | Self::Open { source: error, .. } => kind_of(error),
            Self::Content(_) => TroubleKind::Damaged,
            Self::Gone(_) => TroubleKind::Gone,
            _ => TroubleKind::Failing,
        }
    }
}

/// The kind of problem that an error of the database means, by its code:
/// <https://sqlite.org/rescode.html>, and the classes of `PostgreSQL`'s codes.
fn kind_of(error: &sqlx::Error) -> TroubleKind {
    let sqlx::Error::Database(error) = error else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => TroubleKind::Damaged,
            _ => TroubleKind::Failing,
        };
    };

    let code = error.code().unwrap_or_default().into_owned();
    match code.as_str() {
        // SQLITE_IOERR_SHMSIZE also occurs when the disk is full; 53100 is disk_full of PostgreSQL.
        "13" | "4874" | "53100" => return TroubleKind::Full,
        "25006" => return TroubleKind::ReadOnly,
        "XX001" | "XX002" => return TroubleKind::Damaged,
        _ => {}
    }

    // The low byte of a SQLite code is its kind. Codes of PostgreSQL have five characters.
    let primary = code
        .parse::<u32>()
        .ok()
        .filter(|_| code.len() < 5)
        .map(|code| code & 0xff);

    match primary {
        Some(5 | 6) => TroubleKind::Locked,
        Some(8) => TroubleKind::ReadOnly,
        Some(11 | 26) => TroubleKind::Damaged,
        _ => TroubleKind::Failing,
    }
}

#[derive(Debug, Default)]
struct HealthState {
    /// A write failed, and none of its kind succeeded since then.
    unwritten: Option<Trouble>,
    /// Since when another program has held the lock that we wait for.
    locked: Option<Instant>,
    /// The database was found damaged. That stays so until the process ends.
    damaged: Option<Trouble>,
    /// A read failed, and when that was.
    unread: Option<(Trouble, Instant)>,
}

/// The state of the database. Cheap to clone; all clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<HealthState>>);

impl Health {
    /// Locks the state, which all clones share.
    fn inner(&self) -> MutexGuard<'_, HealthState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The problem of the database at `now`, ms; `None` while it can be written and read.
    #[must_use]
    pub fn trouble(&self, now: i64) -> Option<Trouble> {
        let inner = self.inner();
        if let Some(damaged) = &inner.damaged {
            return Some(damaged.clone());
        }

        if let Some(unwritten) = &inner.unwritten {
            return Some(unwritten.clone());
        }

        if let Some(locked) = inner.locked {
            let waited = i64::try_from(locked.elapsed().as_millis()).unwrap_or(i64::MAX);
            return Some(Trouble {
                kind: TroubleKind::Locked,
                since_ms: now.saturating_sub(waited),
                error: "database is locked".to_owned(),
            });
        }

        inner
            .unread
            .as_ref()
            .filter(|(_, met)| met.elapsed() < READ_TROUBLE_LASTS)
            .map(|(trouble, _)| trouble.clone())
    }

    /// Notes the error of a write at `now`, ms. Returns true if there was no problem before. A
    /// write that succeeds ends it with `note_success`; a lock ends with
    /// `note_unlocked`, and damage never.
    #[must_use]
    pub fn note_failure(&self, error: &Error, now: i64) -> bool {
        let was_well = self.trouble(now).is_none();
        let trouble = Trouble {
            kind: error.kind(),
            since_ms: now,
            error: error.to_string(),
        };

        let mut inner = self.inner();
        match trouble.kind {
            TroubleKind::Damaged => {
                inner.damaged.get_or_insert(trouble);
            }
            TroubleKind::Locked => {
                inner.locked.get_or_insert_with(Instant::now);
            }
            _ => match &mut inner.unwritten {
                // The newest kind of error is what must be fixed now. The time of the first error
                // stays.
                Some(known) if known.kind != trouble.kind => {
                    *known = Trouble {
                        since_ms: known.since_ms,
                        ..trouble
                    };
                }
                Some(_) => {}
                none => *none = Some(trouble),
            },
        }

        was_well
    }

    /// Notes that everything that failed has been written since. Returns true if there was a write
    /// problem.
    #[must_use]
    pub fn note_success(&self) -> bool {
        self.inner().unwritten.take().is_some()
    }

    /// Notes the error of a page's read at `now`, ms. It is shown for a minute, unless the database
    /// is damaged or the page only had to wait for a connection.
    pub fn note_unread(&self, error: &Error, now: i64) {
        let kind = error.kind();
        let trouble = Trouble {
            kind,
            since_ms: now,
            error: error.to_string(),
        };

        // If many requests come at once, a connection may not be free in time. That is no problem
        // of the database.
        let busy = error.is_busy() || matches!(error, Error::Database(sqlx::Error::PoolClosed));
        let mut inner = self.inner();

        match kind {
            TroubleKind::Damaged => {
                inner.damaged.get_or_insert(trouble);
            }
            TroubleKind::Failing if !busy => inner.unread = Some((trouble, Instant::now())),
            _ => {}
        }
    }

    /// Notes that another program holds the lock that we wait for.
    pub(in crate::store) fn note_locked(&self) {
        self.inner().locked.get_or_insert_with(Instant::now);
    }

    /// Notes that we got the lock.
    pub(in crate::store) fn note_unlocked(&self) {
        self.inner().locked = None;
    }
}

impl Reader {
    /// The state of the database, for those who note errors.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The problem of the database at `now`, ms; `None` while it can be written and read.
    #[must_use]
    pub fn trouble(&self, now: i64) -> Option<Trouble> {
        self.health.trouble(now)
    }
}

/// A file of the database, and what distinguishes it from another file of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct FileIdentity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The identity of the file that has this name now; `None` if there is none.
    pub(in crate::store) fn of_path(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(path).ok()?;

        Some(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    /// An error if the file of this name is gone, or is another one now.
    fn check(&self) -> Result<(), Error> {
        if Self::of_path(&self.path).as_ref() == Some(self) {
            return Ok(());
        }

        Err(Error::Gone(self.path.clone()))
    }
}

const BEAT: &str = "update pulse set at_ms = $1 where one = 1";

/// Writes a few bytes (`now`, ms), which shows whether the database can be written while nothing
/// else happens.
///
/// # Errors
/// When they cannot be written, or what is written would not be found by the next start.
pub async fn write_heartbeat(store: &Writer, now: i64) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    sqlx::query(BEAT).bind(now).execute(&mut *tx).await?;
    tx.commit().await?;

    // A deleted file can be written as long as it is open, so check that the file is still there.
    store.file.as_ref().map_or(Ok(()), FileIdentity::check)
}

impl Writer {
    /// For tests. Makes every write fail, as if the file were read-only; or lets writes succeed
    /// again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refuse_writes(&self, refuse: bool) -> Result<(), Error> {
        let statement = if refuse {
            "pragma query_only = 1"
        } else {
            "pragma query_only = 0"
        };

        sqlx::query(statement).execute(&self.write).await?;

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(words: &str) -> Error {
        Error::Database(sqlx::Error::Protocol(words.to_owned()))
    }

    #[test]
    fn what_was_written_since_ends_a_trouble_but_no_damage() {
        let health = Health::default();
        assert_eq!(health.trouble(7), None);
        assert!(health.note_failure(&failing("a"), 5));
        assert!(!health.note_failure(&failing("b"), 6));
        let trouble = health.trouble(7).unwrap();
        assert_eq!((trouble.kind, trouble.since_ms), (TroubleKind::Failing, 5));
        assert!(health.note_success() && !health.note_success());
        assert_eq!(health.trouble(7), None);
        health.note_unread(&Error::Content("a stay".into()), 8);
        let _ = health.note_success();
        assert_eq!(
            health.trouble(9).map(|trouble| trouble.kind),
            Some(TroubleKind::Damaged)
        );
    }

    #[test]
    fn a_lock_is_told_while_it_is_waited_for() {
        let health = Health::default();
        health.note_locked();
        assert_eq!(
            health.trouble(9).map(|trouble| trouble.kind),
            Some(TroubleKind::Locked)
        );
        health.note_unlocked();
        assert_eq!(health.trouble(9), None);
    }

    #[test]
    fn a_page_that_had_to_wait_too_long_says_nothing_of_the_database() {
        let health = Health::default();
        health.note_unread(&Error::Database(sqlx::Error::PoolTimedOut), 8);
        assert_eq!(health.trouble(9), None);
        health.note_unread(&failing("disk I/O error"), 8);
        assert_eq!(
            health.trouble(9).map(|trouble| trouble.kind),
            Some(TroubleKind::Failing)
        );
    }

    #[test]
    fn words_and_kinds_are_one_to_one() {
        for word in ["full", "locked", "read_only", "gone", "damaged", "failing"] {
            assert_eq!(TroubleKind::from_word(word).as_str(), word);
        }
    }

    #[tokio::test]
    async fn a_file_that_was_deleted_or_replaced_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let store = Writer::open(&format!("sqlite://{}", path.display()))
            .await
            .unwrap();
        write_heartbeat(&store, 1).await.unwrap();
        std::fs::rename(&path, folder.path().join("b.db")).unwrap();
        assert!(matches!(
            write_heartbeat(&store, 2).await,
            Err(Error::Gone(_))
        ));
        std::fs::write(&path, "another").unwrap();
        assert!(matches!(
            write_heartbeat(&store, 3).await,
            Err(Error::Gone(_))
        ));
        store.refuse_writes(true).await.unwrap();
        let error = write_heartbeat(&store, 4).await.unwrap_err();
        assert_eq!(error.kind(), TroubleKind::ReadOnly, "{error}");
    }
}
