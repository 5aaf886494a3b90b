//! The database: all SQL of the program is in this folder, as constant text that `SQLite` and
//! `PostgreSQL` both run. A public function is a transaction or a read, a private one a query.

#[macro_use]
pub mod db;
pub mod alerts;
pub mod derive;
mod error;
pub mod findings;
pub mod ingest;
pub mod model;
pub mod read;
mod reader;
pub mod rights;
pub mod sign_in;
pub mod stats;
mod stored_event;
mod stored_membership;
/// The same file as the tests of `tests/` open their databases by.
#[cfg(test)]
#[path = "../../tests/support/database.rs"]
#[allow(dead_code, reason = "each test program uses its own part of it")]
mod test_database;
pub mod upkeep;
pub mod visible;
mod writer;

pub use db::connect::check_database;
pub use db::upgrade::newest_shape;
pub use error::Error;
pub use reader::{OneMoment, Reader};
pub use sign_in::SignIns;
pub use writer::Writer;

use crate::rtc::fold::Rules;

/// The database kind; nothing else names one.
pub type Db = sqlx::Any;
type Tx = sqlx::Transaction<'static, Db>;

/// The portions in which data is derived and lists are read. They keep the cost of an event
/// proportional to the change. The results never depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Events of a member key between two checkpoints; it may be a few more.
    pub checkpoint: usize,
    /// A member key with at least this many events since its last checkpoint has a head.
    pub head: usize,
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
    tuning: Tuning,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            checkpoint: 32,
            head: 3,
            page: 256,
            tally: 256,
            rare: 4000,
        }
    }
}

/// A number as the database stores it; one that is too large becomes the largest.
fn to_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of things, as stored. A negative number counts as none.
fn to_usize(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// A text that stands for itself in a pattern of `like … escape '!'`.
fn escape_for_like(text: &str) -> String {
    text.replace('!', "!!")
        .replace('%', "!%")
        .replace('_', "!_")
}

#[cfg(test)]
mod tests {
    use super::ingest::rooms;
    use super::*;

    #[test]
    fn a_text_is_no_pattern() {
        assert_eq!(escape_for_like("a_b%c!"), "a!_b!%c!!");
    }

    #[tokio::test]
    async fn what_is_read_at_one_moment_is_of_one_state() {
        let database = test_database::Database::new().await;
        let store = Writer::open(database.url()).await.unwrap();
        let moment = store.at_one_moment().await.unwrap();
        assert_eq!(
            rooms::list_watched_rooms(moment.reader()).await.unwrap(),
            []
        );
        sqlx::query(
            "insert into rooms (room_id, watch, first_seen_ms) values ('!r:h', 'joined', 1)",
        )
        .execute(&store.write)
        .await
        .unwrap();
        assert_eq!(
            rooms::list_watched_rooms(moment.reader()).await.unwrap(),
            []
        );
        assert_eq!(rooms::list_watched_rooms(&store).await.unwrap().len(), 1);
        drop(moment);
        let later = store.at_one_moment().await.unwrap();
        assert_eq!(
            rooms::list_watched_rooms(later.reader())
                .await
                .unwrap()
                .len(),
            1
        );
    }

    #[tokio::test]
    async fn a_moment_that_breaks_is_not_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("t.db").display());
        let store = Writer::open(&url).await.unwrap();
        let moment = store.at_one_moment().await.unwrap();
        assert_eq!(
            rooms::list_watched_rooms(moment.reader()).await.unwrap(),
            []
        );
        let connection = moment.reader().read.acquire().await.unwrap();
        connection.close().await.unwrap();
        let answer = tokio::time::timeout(
            std::time::Duration::from_secs(5),
            rooms::list_watched_rooms(moment.reader()),
        );
        assert!(answer.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn pages_that_take_all_their_connections_keep_nobody_else_waiting() {
        let database = test_database::Database::new().await;
        let store = Writer::open(database.url()).await.unwrap();
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

        assert_eq!(
            rooms::list_watched_rooms(&store.for_observer())
                .await
                .unwrap(),
            []
        );
        assert_eq!(
            rooms::list_watched_rooms(&store.for_watchers())
                .await
                .unwrap(),
            []
        );

        assert!(Error::from(sqlx::Error::PoolTimedOut).is_busy());
        assert!(!Error::from(sqlx::Error::RowNotFound).is_busy());
    }
}
