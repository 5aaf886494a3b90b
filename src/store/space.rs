//! Is there space to write? What the last writes met, for the status page; and a way for tests to have none.

use super::{Error, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// As many pages as a `SQLite` file may have anyway.
const NO_LIMIT: i64 = 1_073_741_823;

#[derive(Debug, Default)]
struct Inner {
    /// Since when nothing can be written, ms; 0 = it can.
    full_since_ms: AtomicI64,
    /// Most pages of the file; 0 = no limit.
    pages: AtomicI64,
}

/// What is known of the space, shared by all copies of a [`Store`].
#[derive(Debug, Clone, Default)]
pub(super) struct Space(Arc<Inner>);

impl Space {
    pub(super) fn pages(&self) -> Option<i64> {
        Some(self.0.pages.load(Ordering::Relaxed)).filter(|pages| *pages > 0)
    }
}

impl Error {
    /// Is it that the disk, or what we may use of it, is full?
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else {
            return false;
        };
        // SQLITE_FULL, SQLITE_IOERR_SHMSIZE; disk_full of PostgreSQL.
        matches!(error.code().as_deref(), Some("13" | "4874" | "53100"))
    }
}

const PAGES: &str = "select page_count from pragma_page_count";

impl Store {
    /// Since when nothing can be written because the disk is full, ms; `None` while there is space.
    #[must_use]
    pub fn full_since_ms(&self) -> Option<i64> {
        Some(self.space.0.full_since_ms.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    /// Notes that the disk was full at `now`; true the first time.
    #[must_use]
    pub fn note_full(&self, now: i64) -> bool {
        self.space
            .0
            .full_since_ms
            .compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Notes that a write was possible; true when before it was not.
    #[must_use]
    pub fn note_space(&self) -> bool {
        self.space.0.full_since_ms.swap(0, Ordering::Relaxed) != 0
    }

    /// Lets a `SQLite` file grow by so many pages only, as if the disk were small; `None` lifts the limit. For tests.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn limit_growth(&self, pages: Option<i64>) -> Result<(), Error> {
        let mut connection = self.write.acquire().await?;
        let limit = match pages {
            Some(more) => {
                sqlx::query_scalar::<_, i64>(PAGES)
                    .fetch_one(&mut *connection)
                    .await?
                    + more
            }
            None => NO_LIMIT,
        };
        self.space.0.pages.store(limit, Ordering::Relaxed);
        sqlx::query(sqlx::AssertSqlSafe(limited(limit)))
            .fetch_all(&mut *connection)
            .await?;
        Ok(())
    }
}

/// The statement that limits a connection: it takes no parameters.
pub(super) fn limited(pages: i64) -> String {
    format!("pragma max_page_count = {pages}")
}
