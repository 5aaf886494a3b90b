//! The handle that reads. It cannot write: the web has no other.

use super::db::connect::{self, Setup};
use super::db::dialect::Dialect;
use super::db::disk::DiskLimit;
use super::db::health::{FileIdentity, Health};
use super::derive::rederive::Rederiving;
use super::read::name_search::NameIndex;
use super::rights::forgotten::ForgottenList;
use super::stats::calls_ever::CallCounts;
use super::stats::day_totals::DaysOfMoment;
use super::visible::{VisibleReaders, VisibleRooms};
use super::{Db, Error, Tuning};
use sqlx::AnyPool;
use sqlx::pool::PoolConnection;
use std::sync::Arc;
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
    /// Of rooms that are seen wholly: all readers share it.
    pub(in crate::store) counts: CallCounts,
    /// The numbers of days, where all is read at one moment.
    pub(in crate::store) days: Option<Arc<DaysOfMoment>>,
    /// Of rooms that are seen in part.
    pub(in crate::store) counts_in_part: CallCounts,
    pub(in crate::store) names: NameIndex,
    pub(in crate::store) rederiving: Rederiving,
    /// Whose names are not stored, nor kept in memory.
    pub(in crate::store) forgotten: ForgottenList,
    /// The rooms that its connections show; all if `None`.
    pub(in crate::store) rooms: Option<Arc<VisibleRooms>>,
    pub(in crate::store) rooms_number: u64,
    /// Whose connections it reads through.
    pub(in crate::store) kind: PoolKind,
    pub(in crate::store) visible: VisibleReaders,
}

/// A kind of reader, with connections of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum PoolKind {
    Pages,
    /// Expensive queries.
    Dear,
    Watchers,
    Observer,
}

/// The connections that read, by kind of reader.
#[derive(Debug, Clone)]
pub(in crate::store) struct Pools {
    pub(in crate::store) pages: AnyPool,
    pub(in crate::store) dear: AnyPool,
    pub(in crate::store) watchers: AnyPool,
    pub(in crate::store) observer: AnyPool,
    /// What is run on each of their connections.
    setup: Setup,
}

impl Pools {
    /// The pools for a database. Connections are opened when they are needed. Each connection has
    /// 24 MB of cache, but only 2 MB for watchers, whose queries are small.
    pub(in crate::store) fn new(url: &str, space: &DiskLimit) -> Result<Self, sqlx::Error> {
        let setup = Setup::default();
        let options = |connections, cache, limit| {
            connect::pool_options(connections, cache, space, limit, setup.clone())
        };

        Ok(Self {
            pages: options(PAGES_MOST, 24_000, None)
                .acquire_timeout(PAGES_WAIT)
                .connect_lazy(url)?,
            dear: options(DEAR_MOST, 24_000, Some(DEAR_LIMIT))
                .acquire_timeout(DEAR_WAIT)
                .connect_lazy(url)?,
            watchers: options(1, 2_000, None)
                .acquire_timeout(PAGES_WAIT)
                .connect_lazy(url)?,
            observer: options(OBSERVER_MOST, 24_000, None).connect_lazy(url)?,
            setup,
        })
    }

    /// Pools for the same database whose connections are set up by these statements, too: few ones,
    /// with 4 MB of cache, which are closed soon when nobody uses them.
    pub(in crate::store) fn set_up_by(&self, setup: Setup, space: &DiskLimit) -> Self {
        let open = |connections, limit, wait| {
            let options = (*self.pages.connect_options()).clone();
            connect::pool_options(connections, 4_000, space, limit, setup.clone())
                .acquire_timeout(wait)
                .idle_timeout(VIEWERS_IDLE)
                .connect_lazy_with(options)
        };
        let pages = open(VIEWERS_PAGES_MOST, None, PAGES_WAIT);

        Self {
            dear: open(VIEWERS_DEAR_MOST, Some(DEAR_LIMIT), DEAR_WAIT),
            watchers: pages.clone(),
            observer: pages.clone(),
            pages,
            setup,
        }
    }
}

/// Maximum connections for pages, and how long a page waits for one.
const PAGES_MOST: u32 = 4;
const PAGES_WAIT: Duration = Duration::from_secs(10);
/// Maximum connections for expensive queries (long spans, searches, exports), and how long such a
/// query waits for one. One more than one viewer may use at once.
const DEAR_MOST: u32 = 3;
const DEAR_WAIT: Duration = Duration::from_secs(5);
/// Time limit of an expensive query's statement in `PostgreSQL`.
const DEAR_LIMIT: Duration = Duration::from_secs(20);
/// Maximum connections for pages of those who may see the same rooms, and how long an unused one
/// stays open.
const VIEWERS_PAGES_MOST: u32 = 2;
const VIEWERS_DEAR_MOST: u32 = 3;
const VIEWERS_IDLE: Duration = Duration::from_secs(30);
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
        self.through(PoolKind::Dear)
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
        let setup = self.pools.setup.clone();
        let read = connect::transaction_pool_options(begin, &self.space, DEAR_LIMIT, setup)
            .connect_lazy_with(options);
        drop(read.acquire().await?);
        // A second connection would read another moment. No driver exists for this address, so that
        // a read fails if the first connection breaks.
        read.set_connect_options("moment://over".parse()?);

        Ok(OneMoment {
            reader: Self {
                read,
                days: Some(Arc::default()),
                ..self.clone()
            },
            _place: place,
        })
    }

    /// The same reader, read through the connections of pages.
    #[must_use]
    pub fn for_pages(&self) -> Self {
        self.through(PoolKind::Pages)
    }

    /// The same reader, for monitoring of the process: it is answered however many ask for pages.
    #[must_use]
    pub fn for_watchers(&self) -> Self {
        self.through(PoolKind::Watchers)
    }

    /// The same reader with the connections of this kind.
    pub(in crate::store) fn through(&self, kind: PoolKind) -> Self {
        let pool = match kind {
            PoolKind::Pages => &self.pools.pages,
            PoolKind::Dear => &self.pools.dear,
            PoolKind::Watchers => &self.pools.watchers,
            PoolKind::Observer => &self.pools.observer,
        };

        Self {
            read: pool.clone(),
            kind,
            ..self.clone()
        }
    }
}
