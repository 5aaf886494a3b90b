//! The handle that writes. The observer has one, and so have commands that write.

use super::db::connect::{self, Setup};
use super::db::disk::DiskLimit;
use super::db::health::{FileIdentity, Health};
use super::db::instance_lock;
use super::db::upgrade::{self, MIGRATIONS, UpgradeOptions};
use super::derive::pseudonyms;
use super::derive::rederive::Rederiving;
use super::ingest::sender_limit::SenderLimits;
use super::ingest::sieve;
use super::read::name_search::NameIndex;
use super::reader::{PoolKind, Pools, Reader};
use super::rights::forgotten::ForgottenList;
use super::sign_in::SignIns;
use super::stats::calls_ever::CallCounts;
use super::visible::views::TABLES;
use super::visible::{VisibleReaders, version};
use super::{Derivation, Error, Tuning, Tx};
use crate::rtc::fold::Rules;
use crate::store::db::dialect::Dialect;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Executor, Row};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SHAPE: &str = "select count(*), max(version) from _sqlx_migrations";

/// How often erasing waits for readers of the database, and the pause between two tries.
const ERASE_TRIES: u32 = 60;
const ERASE_PAUSE: Duration = Duration::from_millis(250);
/// How many times we wait for another program's lock. `connect` sets how long each wait is.
const LOCK_TRIES: u32 = 6;

/// Writes the database, and reads it as its [`Reader`] does. Cheap to clone. One connection
/// writes, so that writers wait for each other here and not in the database.
#[derive(Debug, Clone)]
pub struct Writer {
    reader: Reader,
    pub(crate) write: AnyPool,
    sign_ins: SignIns,
    begin: &'static str,
    /// Contents were deleted that the write-ahead log may still hold.
    pub(in crate::store) taken_back: Arc<AtomicBool>,
    pub(in crate::store) limits: SenderLimits,
}

/// Writes a `SQLite` file anew. While somebody else writes, it waits for that a few times.
async fn vacuum_file(connection: &mut AnyConnection) -> Result<(), Error> {
    for _ in 1..ERASE_TRIES {
        match connection.execute("vacuum").await.map_err(Error::from) {
            Err(error) if error.is_locked() => {}
            done => return done.map(drop),
        }
    }

    connection.execute("vacuum").await?;

    Ok(())
}

impl Deref for Writer {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Writer {
    /// Opens the database, makes the file if it does not exist, and brings it to this version's
    /// shape, after a backup.
    ///
    /// # Errors
    /// As [`Self::open_upgrading`].
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::open_upgrading(url, &UpgradeOptions::default()).await
    }

    /// Like [`Self::open`]. The options say how an older database is brought to this version's
    /// shape.
    ///
    /// # Errors
    /// When it cannot be opened, no backup can be made, or a migration fails; then the database is
    /// as it was. Also when what the program does to older data after the migrations fails; that
    /// goes on at the next start, but an older version cannot use the database any more.
    pub async fn open_upgrading(url: &str, options: &UpgradeOptions) -> Result<Self, Error> {
        let url = connect::with_create(url);
        connect::make_private(&url)?;
        let store = Self::connect(&url).await?;
        let upgraded = upgrade::upgrade(&store.write, store.begin, &url, options).await?;
        // What follows is not of the same transaction: if it is stopped, the next start goes on.
        version::make_triggers(&store).await?;
        sieve::sift_stored(&store).await?;
        pseudonyms::fill_once(&store, rand::random()).await?;
        if let Some(upgraded) = upgraded {
            upgrade::finish_upgrade(&upgraded);
        }

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

    /// Connects to a database that exists, with all pools, without migrating it.
    async fn connect(url: &str) -> Result<Self, Error> {
        connect::connect_once(url).await?;
        // From here on a missing file is an error; no new database is made.
        let lasting = url.replace("mode=rwc", "mode=rw");
        let url = lasting.as_str();
        let space = DiskLimit::default();
        let write = connect::pool_options(1, 48_000, &space, None, Setup::default())
            .connect(url)
            .await?;
        let pools = Pools::new(url, &space)?;
        let forgotten = ForgottenList::default();
        let sign_ins = SignIns::connect_lazy(url, &space, forgotten.clone())?;
        // With a plain `begin`, SQLite would find out only at the first write that data read before
        // is outdated, because another process may write.
        let begin = if url.starts_with("sqlite:") {
            "begin immediate"
        } else {
            "begin"
        };

        Ok(Self {
            reader: Reader {
                read: pools.pages.clone(),
                pools,
                space,
                health: Health::default(),
                file: instance_lock::file_of(url)?.and_then(|path| FileIdentity::of_path(&path)),
                tuning: Tuning::default(),
                counts: CallCounts::default(),
                counts_in_part: CallCounts::default(),
                days: None,
                names: NameIndex::default(),
                rederiving: Rederiving::default(),
                forgotten,
                rooms: None,
                rooms_number: 0,
                kind: PoolKind::Pages,
                visible: VisibleReaders::default(),
            },
            write,
            sign_ins,
            begin,
            taken_back: Arc::default(),
            limits: SenderLimits::default(),
        })
    }

    /// The handle that only reads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The handle that writes who is signed in, and nothing else.
    #[must_use]
    pub fn sign_ins(&self) -> SignIns {
        self.sign_ins.clone()
    }

    /// The same writer, but deriving in other portions.
    #[must_use]
    pub fn with_tuning(mut self, tuning: Tuning) -> Self {
        self.reader.tuning = tuning;
        self
    }

    /// How this writer derives by these rules.
    pub(in crate::store) fn derivation<'a>(&self, rules: &'a Rules) -> Derivation<'a> {
        Derivation {
            rules,
            tuning: self.tuning,
        }
    }

    /// The same writer, with reading connections that pages cannot use up.
    #[must_use]
    pub fn for_observer(&self) -> Self {
        let mut writer = self.clone();
        writer.reader = self.reader.through(PoolKind::Observer);
        writer
    }

    /// Begins a write transaction; other writers wait until its end. While another program has the
    /// lock, that is noted, so that pages can tell it, and the lock is waited for a few times.
    pub(in crate::store) async fn writing(&self) -> Result<Tx, Error> {
        for _ in 1..LOCK_TRIES {
            match self.try_writing().await {
                Err(error) if error.is_locked() => self.health.note_locked(),
                done => return done,
            }
        }

        self.try_writing().await
    }

    /// Begins a write transaction, with one wait for another program's lock.
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
        if self.dialect() == Dialect::Sqlite {
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
    pub(in crate::store) async fn write_anew(&self) -> Result<(), Error> {
        let mut connection = self.write.acquire().await?;
        let statements: &[&'static str] = match self.dialect() {
            Dialect::Sqlite => &["vacuum", "pragma wal_checkpoint(truncate)"],
            Dialect::Postgres => &["vacuum full events", "vacuum full sightings"],
        };

        for statement in statements {
            connection.fetch_all(*statement).await?;
        }

        Ok(())
    }

    /// Rewrites every table, so that no bytes of deleted data remain, also beside a running server.
    /// Returns false if readers of the server kept a part of the write-ahead log; it is emptied by
    /// the next call, or when the server stops.
    ///
    /// # Errors
    /// When the database fails: `SQLite` needs as much free space as the file is large.
    pub async fn erase_deleted(&self) -> Result<bool, Error> {
        match self.dialect() {
            Dialect::Sqlite => self.erase_in_file().await,
            Dialect::Postgres => {
                self.erase_in_tables().await?;
                Ok(true)
            }
        }
    }

    async fn erase_in_file(&self) -> Result<bool, Error> {
        let mut connection = self.write.acquire().await?;
        // It writes a copy, which may be too large for memory; without a place for files, it is
        // made there all the same.
        connection.execute("pragma temp_store = file").await?;
        let mut done = vacuum_file(&mut connection).await;
        connection.execute("pragma temp_store = memory").await?;
        if done.is_err() {
            done = vacuum_file(&mut connection).await;
        }

        done?;

        for _ in 0..ERASE_TRIES {
            let row = connection
                .fetch_one("pragma wal_checkpoint(truncate)")
                .await?;
            if row.try_get::<i64, _>(0)? == 0 {
                return Ok(true);
            }

            tokio::time::sleep(ERASE_PAUSE).await;
        }

        Ok(false)
    }

    /// Rewrites the tables of this program, and the statistics of the planner, which hold samples
    /// of them.
    async fn erase_in_tables(&self) -> Result<(), Error> {
        let mut connection = self.write.acquire().await?;
        for (table, _) in TABLES {
            let statement = format!("vacuum (full, analyze) {table}");
            connection.execute(AssertSqlSafe(statement)).await?;
        }

        connection
            .execute("vacuum full pg_catalog.pg_statistic")
            .await?;

        Ok(())
    }

    /// Closes all connections; `SQLite` then checkpoints its write-ahead log into the file.
    pub async fn close(&self) {
        let Pools {
            pages,
            dear,
            watchers,
            observer,
            ..
        } = &self.reader.pools;
        for readers in [pages, dear, watchers, observer] {
            readers.close().await;
        }

        self.sign_ins.close().await;
        self.write.close().await;
    }
}
