//! The handle that reads. It cannot write: the web has no other.

use super::db::connect;
use super::db::dialect::Dialect;
use super::db::disk::DiskLimit;
use super::db::health::{FileIdentity, Health};
use super::derive::rederive::Rederiving;
use super::read::name_search::NameIndex;
use super::stats::calls_ever::CallCounts;
use super::{Db, Error, Tuning};
use sqlx::AnyPool;
use sqlx::pool::PoolConnection;
use std::time::Duration;

/// Reads the database. Cheap to clone. Several connections read. Each kind of reader has its own
/// connections, so that none can block another: pages, expensive queries of pages, watchers over
/// the process, and the observer.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The connections that this handle reads with.
    pub(crate) read: AnyPool,
    pub(in crate::store) pools: Pools,
    pub(in crate::store) space: DiskLimit,
    pub(in crate::store) health: Health,
    /// The file of a `SQLite` database, as it was when it was opened.
    pub(in crate::store) file: Option<FileIdentity>,
    pub(in crate::store) tuning: Tuning,
    pub(in crate::store) counts: CallCounts,
    pub(in crate::store) names: NameIndex,
    pub(in crate::store) rederiving: Rederiving,
}

/// The connections that read, by kind of reader.
#[derive(Debug, Clone)]
pub(in crate::store) struct Pools {
    pub(in crate::store) pages: AnyPool,
    pub(in crate::store) dear: AnyPool,
    pub(in crate::store) watchers: AnyPool,
    pub(in crate::store) observer: AnyPool,
}

impl Pools {
    /// The pools for a database. Connections are opened when they are needed. Each connection has
    /// 24 MB of cache, but only 2 MB for watchers, whose queries are small.
    pub(in crate::store) fn new(url: &str, space: &DiskLimit) -> Result<Self, sqlx::Error> {
        Ok(Self {
            pages: connect::pool_options(PAGES_MOST, 24_000, space, None)
                .acquire_timeout(PAGES_WAIT)
                .connect_lazy(url)?,
            dear: connect::pool_options(DEAR_MOST, 24_000, space, Some(DEAR_LIMIT))
                .acquire_timeout(DEAR_WAIT)
                .connect_lazy(url)?,
            watchers: connect::pool_options(1, 2_000, space, None)
                .acquire_timeout(PAGES_WAIT)
                .connect_lazy(url)?,
            observer: connect::pool_options(OBSERVER_MOST, 24_000, space, None)
                .connect_lazy(url)?,
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

/// The database as it was at one moment.
#[derive(Debug)]
pub struct OneMoment {
    reader: Reader,
    _place: PoolConnection<Db>,
}

impl OneMoment {
    /// Everything read through it is of that moment.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl Reader {
    /// The language of the database.
    pub(in crate::store) fn dialect(&self) -> Dialect {
        // The pool of one moment has an address of its own.
        Dialect::of_pool(&self.pools.pages)
    }

    /// The same reader, for queries that may take long: they wait for each other and do not block
    /// other pages.
    #[must_use]
    pub fn for_dear_questions(&self) -> Self {
        self.reading_through(&self.pools.dear)
    }

    /// The same reader as it is at one moment. Everything read through it, however often, is of one
    /// state, in one transaction that ends with it. It takes a connection of the expensive queries,
    /// so no more moments than those can be open.
    ///
    /// # Errors
    /// When there are too many of them, or the database fails.
    pub async fn at_one_moment(&self) -> Result<OneMoment, Error> {
        let place = self.pools.dear.acquire().await?;
        let begin = match self.dialect() {
            Dialect::Sqlite => "begin",
            Dialect::Postgres => "begin isolation level repeatable read read only",
        };

        let options = (*self.pools.dear.connect_options()).clone();
        let read = connect::transaction_pool_options(begin, &self.space, DEAR_LIMIT)
            .connect_lazy_with(options);
        drop(read.acquire().await?);
        // A second connection would read another moment. No driver exists for this address, so that
        // a read fails if the first connection breaks.
        read.set_connect_options("moment://over".parse()?);

        Ok(OneMoment {
            reader: Self {
                read,
                ..self.clone()
            },
            _place: place,
        })
    }

    /// The same reader, read through the connections of pages.
    #[must_use]
    pub fn for_pages(&self) -> Self {
        self.reading_through(&self.pools.pages)
    }

    /// The same reader, for monitoring of the process: it is answered however many ask for pages.
    #[must_use]
    pub fn for_watchers(&self) -> Self {
        self.reading_through(&self.pools.watchers)
    }

    /// The same reader with other connections.
    fn reading_through(&self, pool: &AnyPool) -> Self {
        Self {
            read: pool.clone(),
            ..self.clone()
        }
    }
}
