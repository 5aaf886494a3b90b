//! What can go wrong with the database.

use super::db::instance_lock::{WHICH_COPIES, WHICH_RESTORES};
use std::path::PathBuf;

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database answered: {0}")]
    Database(#[from] sqlx::Error),
    /// It does not exist, is no database, or we have no permission.
    #[error(
        "the database {database} cannot be opened: {source}; see that it is there, is a database
            and may be written, or name another with CALLSCOPE_DATABASE_URL"
    )]
    Open {
        database: String,
        source: sqlx::Error,
    },
    #[error(
        "the database could not be brought to this version's shape, and nothing was changed: {0}"
    )]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A newer version has changed the database. `way` says how to go back.
    #[error(
        "a newer version of Callscope has changed the database {database} (its shape is {shape}, and \
         this version knows {known}); start the newer version, or go back: {way}"
    )]
    Newer {
        database: String,
        shape: i64,
        known: i64,
        way: String,
    },
    /// The database has another program's table of migrations.
    #[error(
        "the database {database} is not one of Callscope: its table _sqlx_migrations is another \
         program's. Give Callscope a database of its own (on PostgreSQL a schema is enough) with \
         CALLSCOPE_DATABASE_URL"
    )]
    Foreign { database: String },
    /// The disk has fewer bytes free than the backup before an upgrade needs.
    #[error(
        "the disk of {} has {} free, and the backup that is made before an upgrade needs {}; make \
         room there, or back up elsewhere (callscope backup FILE) and start with \
         CALLSCOPE_BACKUP_BEFORE_UPGRADE=false to go on without{}",
        database.display(), megabytes(*free), megabytes(*needed), words_of_older(older.as_ref())
    )]
    NoRoomForBackup {
        database: PathBuf,
        needed: u64,
        free: u64,
        /// A backup of the same shape that is there, but older than what was written last.
        older: Option<PathBuf>,
    },
    #[error(
        "the database {} was not upgraded, because the backup before it failed: {source}; if that is \
         the disk, mend it, else take back an older backup (callscope restore FILE); \
         CALLSCOPE_BACKUP_BEFORE_UPGRADE=false goes on without", database.display()
    )]
    NoBackup {
        database: PathBuf,
        source: Box<Error>,
    },
    #[error("stored data could not be read: {0}")]
    Content(String),
    /// Another process observes into this database.
    #[error(
        "the database {database} is in use by another Callscope ({by}); stop that one first,
            or give this one a database of its own with CALLSCOPE_DATABASE_URL"
    )]
    Held { database: String, by: String },
    #[error(
        "the database is served by a Callscope of another version; stop it, or use the same version"
    )]
    Shape,
    /// The file was deleted, moved away or replaced while we have it open: nobody would find what
    /// is written now.
    #[error("the file {} was deleted, moved away or replaced", .0.display())]
    Gone(PathBuf),
    #[error("a database that is no file cannot be copied or restored")]
    NoFile,
    /// A backup that cannot be used, and why.
    #[error("{0} cannot be used: {1}")]
    Backup(PathBuf, String),
    #[error("{doing} {path} failed: {source}")]
    File {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

/// What can be done with an older backup, after other words; nothing if there is none.
fn words_of_older(file: Option<&PathBuf>) -> String {
    file.map_or_else(String::new, |file| {
        format!(
            ". An older backup of the same shape is there, which can be moved to another disk: {}",
            file.display()
        )
    })
}

/// A number of bytes in words: MB with one digit after the point.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

impl Error {
    /// Does another process have the database, beside which this one may write? Not beside one that
    /// copies or replaces it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        let leaves_it = |by: &str| {
            [WHICH_COPIES, WHICH_RESTORES]
                .iter()
                .any(|doing| by.ends_with(doing))
        };

        matches!(self, Self::Held { by, .. } if !leaves_it(by))
    }

    /// All connections were taken, or the answer took too long: another attempt may succeed.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let Self::Database(error) = self else {
            return false;
        };

        // `PostgreSQL` reports query_canceled when a statement exceeds its time limit.
        let is_over = |code: &str| code == "57014";

        matches!(error, sqlx::Error::PoolTimedOut)
            || error
                .as_database_error()
                .and_then(|error| error.code().map(|code| is_over(&code)))
                .unwrap_or(false)
    }
}
