//! Limits how far a `SQLite` file may grow. For tests of a full disk.

use crate::store::{Error, Writer};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The maximum number of pages of any `SQLite` file.
const NO_LIMIT: i64 = 1_073_741_823;

/// Maximum pages of the file, shared by all copies of a [`crate::store::Reader`]; 0 = no limit.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct DiskLimit(Arc<AtomicI64>);

impl DiskLimit {
    /// The limit in pages; `None` if there is none.
    pub(in crate::store) fn pages(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|pages| *pages > 0)
    }
}

const PAGES: &str = "select page_count from pragma_page_count";

impl Writer {
    /// For tests. Limits the growth of a `SQLite` file to this many pages, as if the disk were
    /// small; `None` removes the limit. Free pages of the file would be room to grow, so it is
    /// rewritten without them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn limit_growth(&self, pages: Option<i64>) -> Result<(), Error> {
        let mut connection = self.write.acquire().await?;
        let limit = match pages {
            Some(more) => {
                sqlx::query("vacuum").execute(&mut *connection).await?;
                sqlx::query_scalar::<_, i64>(PAGES)
                    .fetch_one(&mut *connection)
                    .await?
                    + more
            }
            None => NO_LIMIT,
        };

        self.space.0.store(limit, Ordering::Relaxed);
        sqlx::query(sqlx::AssertSqlSafe(limit_statement(limit)))
            .fetch_all(&mut *connection)
            .await?;

        Ok(())
    }
}

/// The statement that limits the file of a connection to so many pages. It takes no parameters.
pub(in crate::store) fn limit_statement(pages: i64) -> String {
    format!("pragma max_page_count = {pages}")
}
