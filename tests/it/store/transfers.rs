//! A database that is copied to another place, such as from `SQLite` to `PostgreSQL`: all answers
//! stay what they were, and what is broken off leaves nothing behind.

use crate::pages::goldens::{paths, seeded_site, without_database_size};
use crate::pages::site::Site;
use crate::store::block;
use crate::store::filled::{FILES, database_of, fill};
use crate::support::database::Database;
use callscope::store::Error;
use callscope::store::Writer;
use callscope::store::db::instance_lock::InstanceLock;
use callscope::store::upkeep::transfer::{
    TransferError, TransferProgress, Transferred, transfer_database,
};
use serde_json::Value;
use sqlx::{AnyConnection, Connection, Executor};
use std::sync::Mutex;

async fn transfer(from: &Database, to: &Database) -> Result<Transferred, TransferError> {
    transfer_database(from.url(), to.url(), "a test", |_| ()).await
}

/// The answer of the API, without what the database itself is told by.
async fn answer_of(site: &Site, path: &str) -> Value {
    without_database_size(site.get(path).await.json())
}

/// Where two answers differ first, and what each has there.
fn first_difference(want: &Value, found: &Value) -> Option<String> {
    let children: Vec<(String, &Value, &Value)> = match (want, found) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => a
            .iter()
            .map(|(key, value)| (key.clone(), value, b.get(key).unwrap_or(&Value::Null)))
            .collect(),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .map(|(at, (a, b))| (at.to_string(), a, b))
            .collect(),
        _ => return (want != found).then(|| format!(": {want} became {found}")),
    };

    children.into_iter().find_map(|(name, want, found)| {
        let inner = first_difference(want, found)?;
        Some(format!("/{name}{inner}"))
    })
}

/// A database of this version with a room of calls.
async fn filled_database() -> Database {
    let (shape, rows) = FILES[4];
    let database = database_of(shape, rows).await;
    Writer::open(database.url()).await.unwrap().close().await;

    database
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_answers_as_the_database_did_and_goes_back() {
    let site = seeded_site(Database::file()).await;
    let mut paths = paths(&site).await;
    paths.retain(|path| path.starts_with("/api/v1/") && !path.contains(".csv"));
    paths.retain(|path| !path.contains("ndjson"));
    assert!(paths.len() > 150, "{}", paths.len());
    let mut want = Vec::with_capacity(paths.len());
    for path in &paths {
        want.push(answer_of(&site, path).await);
    }

    let told = Mutex::new(Vec::new());
    let to = Database::empty().await;
    let tell = |progress: TransferProgress| told.lock().unwrap().push(progress);
    let from = site.database_url().to_owned();
    let done = transfer_database(&from, to.url(), "a test", tell)
        .await
        .unwrap();
    let rows_of = |name: &str| {
        let mut tables = done.tables.iter();
        tables.find(|table| table.name == name).unwrap().rows
    };
    assert!(rows_of("events") > 1000 && rows_of("sessions") > 100);
    let last = *told.lock().unwrap().last().unwrap();
    assert_eq!(
        (last.is_comparing, last.rows_done, last.rows_total),
        (true, done.rows() * 2, done.rows())
    );

    let back = Database::file();
    let again = transfer(&to, &back).await.unwrap();
    assert_eq!(again, done, "back in a file");

    let copy = Site::over(to).await;
    for (path, want) in paths.iter().zip(&want) {
        let found = answer_of(&copy, path).await;
        assert_eq!(first_difference(want, &found), None, "{path}");
    }
    // It is a database like any other: it goes on.
    let written = copy.fill().await;
    assert_eq!(written.get("/readyz").await.status, 200);
}

#[test]
fn only_an_empty_database_becomes_a_copy() {
    block(async {
        let from = filled_database().await;
        let used = filled_database().await;
        let error = transfer(&from, &used).await.unwrap_err();
        assert!(
            matches!(&error, TransferError::NotEmpty { table, .. } if table == "rooms"),
            "{error}"
        );

        let foreign = Database::empty().await;
        let url = foreign.url().replace(".db", ".db?mode=rwc");
        let pool = sqlx::AnyPool::connect(&url).await.unwrap();
        sqlx::query("create table mine (n bigint)")
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
        let error = transfer(&from, &foreign).await.unwrap_err();
        assert!(
            matches!(error, TransferError::ForeignTables { .. }),
            "{error}"
        );

        let done = transfer(&from, &Database::empty().await).await.unwrap();
        assert!(done.rows() > 100, "{done:?}");
    });
}

#[test]
fn neither_may_be_in_use_and_the_first_has_this_version_s_shape() {
    block(async {
        let (shape, rows) = FILES[4];
        let older = database_of(shape, rows).await;
        let to = Database::empty().await;
        let error = transfer(&older, &to).await.unwrap_err();
        assert!(
            matches!(error, TransferError::OlderSource { shape: 114, .. }),
            "{error}"
        );

        let from = filled_database().await;
        for held in [&from, &to] {
            let lock = InstanceLock::acquire_lock(held.url(), "process 1")
                .await
                .unwrap();
            let error = transfer(&from, &to).await.unwrap_err();
            assert!(
                matches!(&error, TransferError::Store(Error::Held { by, .. }) if by == "process 1"),
                "{error}"
            );
            drop(lock);
        }
    });
}

/// Tries to write to a database, and does not wait for others. Returns the error.
fn write_beside(url: &str) -> Option<String> {
    let write = async {
        let mut other = AnyConnection::connect(url).await.unwrap();
        let soon = if url.starts_with("sqlite:") {
            "pragma busy_timeout = 100"
        } else {
            "set lock_timeout = '100ms'"
        };
        other.execute(soon).await.unwrap();
        let sql = "update rooms set first_seen_ms = first_seen_ms";

        other
            .execute(sql)
            .await
            .err()
            .map(|error| error.to_string())
    };
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(write)
    };

    std::thread::scope(|threads| threads.spawn(runtime).join().unwrap())
}

#[test]
fn nothing_can_be_written_to_the_first_while_it_is_copied() {
    block(async {
        let from = filled_database().await;
        let to = Database::empty().await;
        let tried = Mutex::new(None);
        let tell = |_: TransferProgress| {
            let mut tried = tried.lock().unwrap();
            if tried.is_none() {
                *tried = Some(write_beside(from.url()));
            }
        };
        transfer_database(from.url(), to.url(), "a test", tell)
            .await
            .unwrap();
        let error = tried.lock().unwrap().take().unwrap().unwrap_or_default();
        assert!(
            error.contains("database is locked") || error.contains("lock timeout"),
            "{error:?}"
        );
        assert_eq!(write_beside(from.url()), None);
    });
}

#[test]
fn a_copy_that_is_broken_off_can_be_made_again() {
    block(async {
        let from = filled_database().await;
        let to = Database::empty().await;
        // The future is dropped in the middle, as if the process ended.
        let stop = tokio::sync::Notify::new();
        let tell = |progress: TransferProgress| {
            if progress.is_comparing {
                stop.notify_one();
            }
        };
        tokio::select! {
            biased;
            () = stop.notified() => {}
            done = transfer_database(from.url(), to.url(), "a test", tell) => {
                panic!("it was not broken off: {done:?}");
            }
        }

        let done =
            crate::support::eventually("the copy", 10, async || transfer(&from, &to).await.ok())
                .await;
        assert!(done.rows() > 100, "{done:?}");
        let error = transfer(&from, &to).await.unwrap_err();
        assert!(matches!(error, TransferError::NotEmpty { .. }), "{error}");
    });
}

#[test]
fn a_row_that_changes_on_the_way_is_noticed() {
    block(async {
        let from = filled_database().await;
        let to = Database::file();
        fill(to.url(), i64::MAX, "select 1").await;
        to.execute(
            "create trigger other after insert on rooms
            begin update rooms set first_seen_ms = first_seen_ms + 1 where room_id = new.room_id; end",
        )
        .await;
        let error = transfer(&from, &to).await.unwrap_err();
        assert!(
            matches!(&error, TransferError::Differs { table, .. } if table == "rooms"),
            "{error}"
        );

        // Nothing was kept.
        to.execute("drop trigger other").await;
        transfer(&from, &to).await.unwrap();
    });
}
