//! What the web itself writes: who is signed in and signs in, the keys of programs, what an
//! operator decides about rooms, who asked not to be recorded, and the log of it all. All else it
//! only reads. But for those of rooms, the tables are its own; of the other files only those about
//! the rights of people (`store/rights`) name them.

pub mod api_keys;
pub mod audit_log;
pub mod codes;
pub mod feed_keys;
pub mod operator_secret;
pub mod opt_outs;
pub mod rooms;
pub mod sessions;
pub mod share_links;

use super::db::connect::{self, Setup};
use super::db::dialect::Dialect;
use super::db::disk::DiskLimit;
use super::rights::forgotten::ForgottenList;
use super::{Db, Error};
use sqlx::query::Query;
use sqlx::{AnyPool, Database};
use std::time::Duration;

/// Reads and writes who is signed in. Cheap to clone. It has connections of its own, so that a
/// sign-in neither waits for pages nor for the observer.
#[derive(Debug, Clone)]
pub struct SignIns {
    read: AnyPool,
    write: AnyPool,
    /// Whose names the log does not have.
    forgotten: ForgottenList,
}

/// Maximum connections that read, and how long a request waits for one.
const READ_MOST: u32 = 2;
const WAIT: Duration = Duration::from_secs(10);
/// Cache of a connection, kB: its tables are small.
const CACHE: u32 = 2_000;
/// How many times we wait for another writer. `connect` sets how long each wait is.
const LOCK_TRIES: u32 = 4;

impl SignIns {
    /// The handle for a database. Connections are opened when they are needed.
    pub(in crate::store) fn connect_lazy(
        url: &str,
        space: &DiskLimit,
        forgotten: ForgottenList,
    ) -> Result<Self, Error> {
        let pool = |connections| {
            connect::pool_options(connections, CACHE, space, None, Setup::default())
                .acquire_timeout(WAIT)
                .connect_lazy(url)
        };

        Ok(Self {
            read: pool(READ_MOST)?,
            write: pool(1)?,
            forgotten,
        })
    }

    /// Closes all connections.
    pub(in crate::store) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// The language of the database.
    fn dialect(&self) -> Dialect {
        Dialect::of_pool(&self.read)
    }

    /// Runs a statement that writes; returns how many rows it changed. While somebody else writes,
    /// it waits for that a few times.
    async fn write<'q>(
        &self,
        statement: impl Fn() -> Query<'q, Db, <Db as Database>::Arguments>,
    ) -> Result<u64, Error> {
        for _ in 1..LOCK_TRIES {
            match self.try_write(statement()).await {
                Err(error) if error.is_locked() => (),
                done => return done,
            }
        }

        self.try_write(statement()).await
    }

    async fn try_write(
        &self,
        statement: Query<'_, Db, <Db as Database>::Arguments>,
    ) -> Result<u64, Error> {
        Ok(statement.execute(&self.write).await?.rows_affected())
    }
}
