//! The database: all SQL of the program is in this folder, as constant text that `SQLite` and
//! `PostgreSQL` both run. A public function is a transaction or a read, a private one a query.

#[macro_use]
mod packed;
pub mod access;
mod append;
pub mod backup;
pub mod batch;
mod blind;
pub mod carried;
mod chains;
mod checkpoints;
mod connect;
pub mod coverage;
pub mod crowds;
pub mod days;
pub mod events;
pub mod ever;
pub mod evidence;
mod fresh;
pub mod gauges;
pub mod ghosts;
pub mod gone;
pub mod health;
pub mod hold;
pub mod holes;
pub mod invitations;
pub mod late;
mod marks;
pub mod memberships;
pub mod moments;
mod names;
pub mod present;
pub mod probes;
pub mod progress;
#[cfg(test)]
mod read_tests;
pub mod readings;
pub mod rebuild;
mod recount;
mod redactions;
pub mod rederive;
mod refold;
pub mod related;
pub mod retention;
pub mod rings;
mod room_members;
mod room_rules;
pub mod rooms;
pub mod row;
mod rows;
mod seals;
mod search;
#[cfg(test)]
mod search_tests;
pub mod sender_limit;
pub mod sessions;
mod sift;
mod sightings;
pub mod signs;
pub mod skew;
mod slots;
pub mod snapshots;
pub mod sorted;
mod space;
mod spans;
#[cfg(test)]
mod spans_tests;
pub mod state_resets;
pub mod statistics;
pub mod stats;
pub mod successors;
pub mod sums;
#[cfg(test)]
mod sums_tests;
mod tally;
/// The same file as the tests of `tests/` open their databases by.
#[cfg(test)]
#[path = "../../tests/support/database.rs"]
#[allow(dead_code, reason = "each test program uses its own part of it")]
mod test_database;
pub mod unasked;
pub mod vantages;
pub mod walks;
pub mod zombies;

use crate::rtc::fold::Rules;
pub use connect::check;
use health::{Health, Identity};
use space::Space;
use sqlx::Row;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::{AnyPool, Executor};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The database kind; nothing else names one.
pub type Db = sqlx::Any;
type Tx = sqlx::Transaction<'static, Db>;

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database answered: {0}")]
    Database(#[from] sqlx::Error),
    /// It does not exist, is no database, or we have no permission.
    #[error(
        "the database {database} cannot be opened: {source}; see that it is there, is a database and may be written, or \
         name another with CALLSCOPE_DATABASE_URL"
    )]
    Open {
        database: String,
        source: sqlx::Error,
    },
    #[error("the database could not be brought to this version's shape: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("stored data could not be read: {0}")]
    Content(String),
    /// Another process observes into this database.
    #[error(
        "the database {database} is in use by another Callscope ({by}); stop that one first, or give this one a database \
         of its own with CALLSCOPE_DATABASE_URL"
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

/// How many times we wait for another program's lock. `connect` sets how long each wait is.
const LOCK_TRIES: u32 = 6;

impl Error {
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

const SHAPE: &str = "select count(*), max(version) from _sqlx_migrations";

/// The migrations, from the first schema to this version's.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// The database, open. Cheap to clone. One connection writes, so that writers wait for each other
/// here and not in the database. Several connections read. Each kind of reader has its own
/// connections, so that none can block another: pages, expensive queries of pages, watchers over
/// the process, and the observer.
#[derive(Debug, Clone)]
pub struct Store {
    /// The connections that this handle reads with.
    pub(crate) read: AnyPool,
    pub(crate) write: AnyPool,
    pools: Pools,
    space: Space,
    health: Health,
    /// The file of a `SQLite` database, as it was when it was opened.
    file: Option<Identity>,
    grain: Grain,
    begin: &'static str,
    counts: ever::Counts,
    names: names::Names,
    rederiving: rederive::Rederiving,
    /// Contents were deleted that the write-ahead log may still hold.
    taken_back: Arc<AtomicBool>,
    limits: sender_limit::Limits,
}

/// The connections that read, by kind of reader.
#[derive(Debug, Clone)]
struct Pools {
    pages: AnyPool,
    dear: AnyPool,
    watchers: AnyPool,
    observer: AnyPool,
}

impl Pools {
    /// Connections are opened when they are needed.
    fn new(url: &str, space: &Space) -> Result<Self, sqlx::Error> {
        Ok(Self {
            pages: connect::pool(PAGES_MOST, 24_000, space)
                .acquire_timeout(PAGES_WAIT)
                .connect_lazy(url)?,
            dear: connect::limited_pool(DEAR_MOST, 24_000, space, DEAR_LIMIT)
                .acquire_timeout(DEAR_WAIT)
                .connect_lazy(url)?,
            watchers: connect::pool(1, 2_000, space)
                .acquire_timeout(PAGES_WAIT)
                .connect_lazy(url)?,
            observer: connect::pool(OBSERVER_MOST, 24_000, space).connect_lazy(url)?,
        })
    }
}

/// Maximum connections for pages, and how long a page waits for one.
const PAGES_MOST: u32 = 4;
const PAGES_WAIT: Duration = Duration::from_secs(10);
/// Maximum connections for expensive queries (long spans, searches, exports), and how long such a
/// query waits for one.
const DEAR_MOST: u32 = 2;
const DEAR_WAIT: Duration = Duration::from_secs(5);
/// Time limit of an expensive query's statement in `PostgreSQL`.
const DEAR_LIMIT: Duration = Duration::from_secs(20);
/// Maximum reading connections of the observer.
const OBSERVER_MOST: u32 = 2;

/// The store as it was at one moment.
#[derive(Debug)]
pub struct OneMoment {
    store: Store,
    _place: PoolConnection<Db>,
}

impl OneMoment {
    /// Everything read through it is of that moment.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// The portions in which data is derived and lists are read. They keep the cost of an event
/// proportional to the change. The results never depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grain {
    /// Events of a member key between two checkpoints; it may be a few more.
    pub checkpoint: usize,
    /// Maximum events of a member key in memory at once; it may be a few more.
    pub page: usize,
    /// A call with at least this many stays keeps a tally and is not recounted from its stays.
    pub tally: usize,
    /// A condition of a filter that matches at most this many calls or stays is rare: all its
    /// matches are read.
    pub rare: i64,
}

/// How memberships are derived from events: by these rules, in these portions.
#[derive(Debug, Clone, Copy)]
struct Derivation<'a> {
    rules: &'a Rules,
    grain: Grain,
}

impl Default for Grain {
    fn default() -> Self {
        Self {
            checkpoint: 32,
            page: 256,
            tally: 256,
            rare: 4000,
        }
    }
}

impl Store {
    /// Opens the database, makes the file if it does not exist, and migrates it to this version's
    /// schema.
    ///
    /// # Errors
    /// When it cannot be opened or migrated.
    pub async fn open(url: &str) -> Result<Self, Error> {
        let url = connect::with_create(url);
        connect::make_private(&url)?;
        let store = Self::connect(&url).await?;
        MIGRATIONS.run(&store.write).await?;
        sift::sift_stored(&store).await?;

        Ok(store)
    }

    /// Opens a database that another process serves, without migrating it. Writers of both
    /// processes wait for each other.
    ///
    /// # Errors
    /// When it cannot be opened, or has not this version's shape.
    pub async fn open_beside_server(url: &str) -> Result<Self, Error> {
        let store = Self::connect(url).await?;
        let (shapes, newest): (i64, i64) = sqlx::query_as(SHAPE).fetch_one(&store.write).await?;
        let known = MIGRATIONS.iter().map(|shape| shape.version).max();
        if Some(newest) != known || usize::try_from(shapes).ok() != Some(MIGRATIONS.iter().count())
        {
            return Err(Error::Shape);
        }

        Ok(store)
    }

    async fn connect(url: &str) -> Result<Self, Error> {
        connect::once(url).await?;
        // From here on a missing file is an error; no new database is made.
        let lasting = url.replace("mode=rwc", "mode=rw");
        let url = lasting.as_str();
        let space = Space::default();
        let write = connect::pool(1, 48_000, &space).connect(url).await?;
        let pools = Pools::new(url, &space)?;
        // With a plain `begin`, SQLite would find out only at the first write that data read before
        // is outdated, because another process may write.
        let begin = if url.starts_with("sqlite:") {
            "begin immediate"
        } else {
            "begin"
        };

        Ok(Self {
            read: pools.pages.clone(),
            write,
            pools,
            space,
            health: Health::default(),
            file: hold::file_of(url)?.and_then(|path| Identity::of_path(&path)),
            grain: Grain::default(),
            begin,
            counts: ever::Counts::default(),
            names: names::Names::default(),
            rederiving: rederive::Rederiving::default(),
            taken_back: Arc::default(),
            limits: sender_limit::Limits::default(),
        })
    }

    /// The same store, but deriving in other portions.
    #[must_use]
    pub fn with_grain(self, grain: Grain) -> Self {
        Self { grain, ..self }
    }

    fn derivation<'a>(&self, rules: &'a Rules) -> Derivation<'a> {
        Derivation {
            rules,
            grain: self.grain,
        }
    }

    /// The same store, with reading connections that pages cannot use up.
    #[must_use]
    pub fn for_observer(&self) -> Self {
        let read = self.pools.observer.clone();
        Self {
            read,
            ..self.clone()
        }
    }

    /// The same store, for queries that may take long: they wait for each other and do not block
    /// other pages.
    #[must_use]
    pub fn for_dear_questions(&self) -> Self {
        let read = self.pools.dear.clone();
        Self {
            read,
            ..self.clone()
        }
    }

    /// The same store as it is at one moment. Everything read through it, however often, is of one
    /// state, in one transaction that ends with it. It takes a connection of the expensive queries,
    /// so no more moments than those can be open.
    ///
    /// # Errors
    /// When there are too many of them, or the database fails.
    pub async fn at_one_moment(&self) -> Result<OneMoment, Error> {
        let place = self.pools.dear.acquire().await?;
        let begin = if place.backend_name() == "SQLite" {
            "begin"
        } else {
            "begin isolation level repeatable read read only"
        };

        let options = (*self.pools.dear.connect_options()).clone();
        let read = connect::moment_pool(begin, &self.space, DEAR_LIMIT).connect_lazy_with(options);
        drop(read.acquire().await?);
        // A second connection would read another moment. No driver exists for this address, so that
        // a read fails if the first connection breaks.
        read.set_connect_options("moment://over".parse()?);

        Ok(OneMoment {
            store: Self {
                read,
                ..self.clone()
            },
            _place: place,
        })
    }

    /// The same store, read through the connections of pages.
    #[must_use]
    pub fn for_pages(&self) -> Self {
        let read = self.pools.pages.clone();
        Self {
            read,
            ..self.clone()
        }
    }

    /// The same store, for monitoring of the process: it is answered however many ask for pages.
    #[must_use]
    pub fn for_watchers(&self) -> Self {
        let read = self.pools.watchers.clone();
        Self {
            read,
            ..self.clone()
        }
    }

    /// Begins a write transaction; other writers wait until its end. While another program has the
    /// lock, that is reported.
    async fn writing(&self) -> Result<Tx, Error> {
        for _ in 1..LOCK_TRIES {
            match self.try_writing().await {
                Err(error) if error.is_locked() => self.health.note_locked(),
                done => return done,
            }
        }

        self.try_writing().await
    }

    async fn try_writing(&self) -> Result<Tx, Error> {
        let tx = self.write.begin_with(self.begin).await?;
        self.health.note_unlocked();
        Ok(tx)
    }

    /// Checkpoints the write-ahead log into the file and empties it, if contents were deleted
    /// since: the log holds earlier versions of pages. If readers prevent it, the next call tries
    /// again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn empty_log(&self) -> Result<(), Error> {
        if !self.taken_back.load(Ordering::Relaxed) {
            return Ok(());
        }

        let mut connection = self.write.acquire().await?;
        if connection.backend_name() == "SQLite" {
            connection.execute("pragma busy_timeout = 100").await?;
            let row = connection
                .fetch_one("pragma wal_checkpoint(truncate)")
                .await;
            connection.execute("pragma busy_timeout = 2000").await?;
            if row?.try_get::<i64, _>(0)? != 0 {
                return Ok(());
            }
        }

        self.taken_back.store(false, Ordering::Relaxed);

        Ok(())
    }

    /// Rewrites the whole database, so that no bytes of deleted data remain.
    async fn write_anew(&self) -> Result<(), Error> {
        let mut connection = self.write.acquire().await?;
        let statements: &[&'static str] = match connection.backend_name() {
            "SQLite" => &["vacuum", "pragma wal_checkpoint(truncate)"],
            _ => &["vacuum full events", "vacuum full sightings"],
        };

        for statement in statements {
            connection.fetch_all(*statement).await?;
        }

        Ok(())
    }

    /// Closes all connections; `SQLite` then checkpoints its write-ahead log into the file.
    pub async fn close(&self) {
        let Pools {
            pages,
            dear,
            watchers,
            observer,
        } = &self.pools;
        for readers in [pages, dear, watchers, observer] {
            readers.close().await;
        }

        self.write.close().await;
    }
}

/// A number as the database stores it.
fn int(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `PostgreSQL` cannot store NUL in a text, and no valid id has one.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_read_at_one_moment_is_of_one_state() {
        let database = test_database::Database::new().await;
        let store = Store::open(database.url()).await.unwrap();
        let moment = store.at_one_moment().await.unwrap();
        assert_eq!(rooms::watched(moment.store()).await.unwrap(), []);
        sqlx::query(
            "insert into rooms (room_id, watch, first_seen_ms) values ('!r:h', 'joined', 1)",
        )
        .execute(&store.write)
        .await
        .unwrap();
        assert_eq!(rooms::watched(moment.store()).await.unwrap(), []);
        assert_eq!(rooms::watched(&store).await.unwrap().len(), 1);
        drop(moment);
        let later = store.at_one_moment().await.unwrap();
        assert_eq!(rooms::watched(later.store()).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_moment_that_breaks_is_not_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("t.db").display());
        let store = Store::open(&url).await.unwrap();
        let moment = store.at_one_moment().await.unwrap();
        assert_eq!(rooms::watched(moment.store()).await.unwrap(), []);
        let connection = moment.store().read.acquire().await.unwrap();
        connection.close().await.unwrap();
        let answer = tokio::time::timeout(
            std::time::Duration::from_secs(5),
            rooms::watched(moment.store()),
        );
        assert!(answer.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn pages_that_take_all_their_connections_keep_nobody_else_waiting() {
        let database = test_database::Database::new().await;
        let store = Store::open(database.url()).await.unwrap();
        let mut taken = Vec::new();
        for pages in [store.for_pages(), store.for_dear_questions()] {
            while taken.len() < 100
                && let Some(connection) = pages.read.try_acquire()
            {
                taken.push(connection);
            }

            // A pool opens its maximum of connections only when somebody waits for them.
            while pages.read.size() < pages.read.options().get_max_connections() {
                taken.push(pages.read.acquire().await.unwrap());
            }
        }

        for others in [store.for_observer(), store.for_watchers()] {
            assert_eq!(rooms::watched(&others).await.unwrap(), []);
        }

        assert!(Error::from(sqlx::Error::PoolTimedOut).is_busy());
        assert!(!Error::from(sqlx::Error::RowNotFound).is_busy());
    }
}
