//! The database: all SQL of the program is in this folder, as constant text that `SQLite` and `PostgreSQL`
//! both run. A public function is a transaction or a read, a private one a query.

mod append;
pub mod batch;
mod chains;
mod checkpoints;
pub mod events;
mod marks;
pub mod memberships;
pub mod rebuild;
pub mod rooms;
pub mod row;
mod rows;
pub mod sessions;
pub mod snapshots;
pub mod stats;
mod tally;
pub mod vantages;
pub mod walks;

use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, Executor};
use std::time::Duration;

/// The database kind; nothing else names one.
pub type Db = sqlx::Any;
type Tx = sqlx::Transaction<'static, Db>;

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database answered: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database could not be brought to this version's shape: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("stored data could not be read: {0}")]
    Content(String),
}

/// The database, open. Cheap to clone. One connection writes, so that writers wait for each other here
/// and not in the database; several read.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) read: AnyPool,
    pub(crate) write: AnyPool,
    grain: Grain,
}

/// How finely derived data is cut, so that the cost of an event follows the change. The results never depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grain {
    /// So many events of a chain lie between two checkpoints, or a few more.
    pub checkpoint: usize,
    /// So many events of a chain are in memory at once, or a few more.
    pub page: usize,
    /// From so many stays on a call keeps a tally and is not counted anew.
    pub tally: usize,
}

impl Default for Grain {
    fn default() -> Self {
        Self { checkpoint: 32, page: 512, tally: 256 }
    }
}

impl Store {
    /// Opens the database, makes it if it is a file that is not there, and brings it to this version's shape.
    ///
    /// # Errors
    /// When it cannot be opened or migrated.
    pub async fn open(url: &str) -> Result<Self, Error> {
        install_default_drivers();
        let url = with_create(url);
        let write = pool(1).connect(&url).await?;
        sqlx::migrate!().run(&write).await?;
        let read = pool(6).connect(&url).await?;
        Ok(Self { read, write, grain: Grain::default() })
    }

    /// The same store, deriving in other portions.
    #[must_use]
    pub fn with_grain(self, grain: Grain) -> Self {
        Self { grain, ..self }
    }

    /// Closes all connections; `SQLite` then folds its write-ahead log into the file.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

fn pool(connections: u32) -> AnyPoolOptions {
    let options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(30));
    options.after_connect(|connection, _| {
        Box::pin(async move {
            if connection.backend_name() == "SQLite" {
                // WAL: readers do not wait for the writer. NORMAL keeps every commit when the process dies.
                connection.execute("pragma journal_mode = wal").await?;
                connection.execute("pragma synchronous = normal").await?;
                connection.execute("pragma busy_timeout = 10000").await?;
                connection.execute("pragma cache_size = -32000").await?;
            }
            Ok(())
        })
    })
}

fn with_create(url: &str) -> String {
    if url.starts_with("sqlite:") && !url.contains('?') { format!("{url}?mode=rwc") } else { url.to_owned() }
}

/// A number of the program as the database stores it.
fn int(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `PostgreSQL` has no text with NUL, and no id has one either.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
