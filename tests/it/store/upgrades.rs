//! What an upgrade leaves: a backup that can be restored, and the database as it was if it fails.

use crate::store::filled::{FILES, ROOM, database_of};
use crate::store::{block, stored_of_room};
use crate::support::database::Database;
use callscope::store::db::backup;
use callscope::store::db::upgrade::UpgradeOptions;
use callscope::store::{Error, Writer};
use sqlx::AnyPool;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use url::Url;

/// One number that this query gives.
async fn number(url: &str, sql: &'static str) -> i64 {
    let pool = AnyPool::connect(url).await.unwrap();
    let number = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
    pool.close().await;

    number
}

async fn shape_of(url: &str) -> i64 {
    number(url, "select max(version) from _sqlx_migrations").await
}

fn file_of(database: &Database) -> PathBuf {
    database.url().strip_prefix("sqlite://").unwrap().into()
}

/// The files beside a database that its upgrades made, by name.
fn backups_beside(database: &Database) -> Vec<PathBuf> {
    if !database.is_file() {
        return Vec::new();
    }

    let entries = std::fs::read_dir(file_of(database).parent().unwrap()).unwrap();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("before-upgrade"))
        .collect();
    found.sort();

    found
}

fn url_of(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

async fn open_and_close(url: &str) {
    Writer::open(url).await.unwrap().close().await;
}

#[test]
fn each_upgrade_leaves_a_backup_that_can_be_restored() {
    block(async {
        for (shape, rows) in FILES {
            let database = database_of(shape, rows).await;
            let events = number(database.url(), "select count(*) from events").await;
            let store = Writer::open(database.url()).await.unwrap();
            let want = stored_of_room(&store, ROOM).await;
            store.close().await;
            let newest = shape_of(database.url()).await;
            let backups = backups_beside(&database);
            if !database.is_file() {
                assert_eq!((newest > shape, backups.len()), (true, 0), "{shape}");
                continue;
            }

            let [backup_file] = backups.as_slice() else {
                panic!("{shape}: {backups:?}");
            };
            let name = format!("callscope.db.before-upgrade-from-{shape:04}");
            assert_eq!(backup_file.file_name().unwrap().to_str(), Some(&*name));
            let mode = backup_file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{shape}");
            assert_eq!(shape_of(&url_of(backup_file)).await, shape);

            // Nothing is made where nothing is to be done.
            open_and_close(database.url()).await;
            assert_eq!(backups_beside(&database).len(), 1, "{shape}");

            database.execute("delete from events").await;
            let restored = backup::restore(database.url(), backup_file, "now", "a test").await;
            assert_eq!(restored.unwrap().contents.events, events, "{shape}");
            assert_eq!(shape_of(database.url()).await, shape);
            let store = Writer::open(database.url()).await.unwrap();
            assert_eq!(stored_of_room(&store, ROOM).await, want, "{shape}");
            store.close().await;
            assert_eq!(backups_beside(&database).len(), 1, "{shape}");
        }
    });
}

#[test]
fn of_many_upgrades_the_last_two_backups_are_kept() {
    block(async {
        let (shape, rows) = FILES[4];
        let database = database_of(shape, rows).await;
        if !database.is_file() {
            return;
        }

        let beside = |name: &str| file_of(&database).with_file_name(name);
        for older in ["0012", "0065", "0077"] {
            let name = format!("callscope.db.before-upgrade-from-{older}");
            std::fs::write(beside(&name), older).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        std::fs::write(beside("callscope.db.before-restore-x"), "mine").unwrap();
        // What a start leaves that is killed while it makes its backup.
        for end in ["partial", "partial-journal"] {
            let name = format!("callscope.db.before-upgrade-from-0114.{end}");
            std::fs::write(beside(&name), "rest").unwrap();
        }
        std::fs::write(beside("copy.db"), "mine").unwrap();

        open_and_close(database.url()).await;
        let names: Vec<String> = backups_beside(&database)
            .iter()
            .map(|path| path.extension().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            names,
            ["before-upgrade-from-0077", "before-upgrade-from-0114"]
        );
        assert!(beside("callscope.db.before-restore-x").exists() && beside("copy.db").exists());
        // Whoever is forgotten is in these, too.
        let told = backup::list_set_aside(database.url()).unwrap();
        assert_eq!(told.len(), 3, "{told:?}");
    });
}

#[test]
fn an_upgrade_that_fails_changes_nothing_and_can_be_tried_again() {
    block(async {
        let (shape, rows) = FILES[4];
        let database = database_of(shape, rows).await;
        // A migration further on makes this table.
        database
            .execute("create table web_sessions (n bigint)")
            .await;
        let before = number(database.url(), "select count(*) from events").await;
        for _ in 0..2 {
            let error = Writer::open(database.url()).await.unwrap_err();
            assert!(matches!(error, Error::Migration(_)), "{error}");
            assert!(error.to_string().contains("nothing was changed"), "{error}");
            assert_eq!(shape_of(database.url()).await, shape);
            let events = number(database.url(), "select count(*) from events").await;
            assert_eq!(events, before);
            let backups = backups_beside(&database).len();
            assert_eq!(backups, usize::from(database.is_file()));
        }

        database.execute("drop table web_sessions").await;
        open_and_close(database.url()).await;
        assert!(shape_of(database.url()).await > shape);
    });
}

#[test]
fn only_of_a_new_database_or_where_it_is_switched_off_there_is_no_backup() {
    block(async {
        let fresh = Database::empty().await;
        open_and_close(&fresh.url().replace(".db", ".db?mode=rwc")).await;
        assert_eq!(backups_beside(&fresh).len(), 0);
        // The first start of the oldest version was stopped.
        let begun = database_of(2, "select 1").await;
        open_and_close(begun.url()).await;
        assert_eq!(backups_beside(&begun).len(), 0);

        // Keys, accounts and calls may be there without events.
        let empty = database_of(114, "select 1").await;
        open_and_close(empty.url()).await;
        assert_eq!(backups_beside(&empty).len(), usize::from(empty.is_file()));

        let (shape, rows) = FILES[4];
        let database = database_of(shape, rows).await;
        let options = UpgradeOptions {
            makes_backup: false,
            ..UpgradeOptions::default()
        };
        let store = Writer::open_upgrading(database.url(), &options).await;
        store.unwrap().close().await;
        assert!(shape_of(database.url()).await > shape);
        assert_eq!(backups_beside(&database).len(), 0);
    });
}

#[test]
fn a_second_try_uses_the_backup_of_the_first_unless_something_was_written() {
    block(async {
        let (shape, rows) = FILES[4];
        let database = database_of(shape, rows).await;
        if !database.is_file() {
            return;
        }

        // A migration further on makes this table.
        database
            .execute("create table web_sessions (n bigint)")
            .await;
        // As each start leaves it: else the first one writes to the file.
        database.execute("pragma journal_mode = wal").await;
        // Times of files are coarse.
        let wait = std::time::Duration::from_millis(300);
        let mut made = Vec::new();
        for is_written in [false, false, true] {
            if is_written {
                database.execute("delete from events").await;
            }

            tokio::time::sleep(wait).await;
            Writer::open(database.url()).await.unwrap_err();
            let [backup_file] = &backups_beside(&database)[..] else {
                panic!("one backup");
            };
            made.push(backup_file.metadata().unwrap().ino());
        }

        assert_eq!(made[0], made[1]);
        assert_ne!(made[1], made[2]);
        let of_backup = url_of(&backups_beside(&database)[0]);
        assert_eq!(number(&of_backup, "select count(*) from events").await, 0);
    });
}

#[test]
fn another_program_s_migrations_are_not_a_newer_version_s() {
    block(async {
        let database = database_of(0, "select 1").await;
        let row = "insert into _sqlx_migrations
            (version, description, installed_on, success, checksum, execution_time)
            values (9000, 'other', current_timestamp, true, ";
        let bytes = if database.is_file() {
            "x'00'"
        } else {
            "'\\x00'"
        };
        database.execute(&format!("{row}{bytes}, 0)")).await;
        let error = Writer::open(database.url()).await.unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    });
}

#[test]
fn another_program_s_tables_in_another_schema_are_no_obstacle() {
    block(async {
        let database = Database::empty().await;
        if database.is_file() {
            return;
        }

        let pool = AnyPool::connect(database.url()).await.unwrap();
        for sql in [
            "create table public._sqlx_migrations (version bigint, success boolean, checksum bytea)",
            "insert into public._sqlx_migrations values (77, true, '\\x00')",
            "create schema own",
        ] {
            sqlx::query(sql).execute(&pool).await.unwrap();
        }
        let mut url: Url = database.url().parse().unwrap();
        url.query_pairs_mut()
            .append_pair("options[search_path]", "own,public");
        open_and_close(url.as_str()).await;
        let found = "select count(*) from pg_tables
            where schemaname = 'own' and tablename = 'sessions'";
        assert_eq!(number(database.url(), found).await, 1);
    });
}

#[test]
fn a_damaged_database_is_not_upgraded() {
    block(async {
        let (shape, rows) = FILES[4];
        let database = database_of(shape, rows).await;
        if !database.is_file() {
            return;
        }

        let sql = "select rootpage from sqlite_master where name = 'memberships'";
        let root = usize::try_from(number(database.url(), sql).await).unwrap();
        let mut bytes = std::fs::read(file_of(&database)).unwrap();
        bytes[(root - 1) * 4096..root * 4096].fill(0x5a);
        std::fs::write(file_of(&database), bytes).unwrap();
        let error = Writer::open(database.url()).await.unwrap_err();
        assert!(
            matches!(error, Error::NoBackup { .. }) && error.to_string().contains("malformed"),
            "{error}"
        );
        assert_eq!(backups_beside(&database), Vec::<PathBuf>::new(), "{error}");
        assert_eq!(shape_of(database.url()).await, shape);
    });
}

#[test]
fn a_database_of_a_newer_version_names_the_way_back() {
    block(async {
        let (shape, rows) = FILES[4];
        let database = database_of(shape, rows).await;
        open_and_close(database.url()).await;
        let later = "insert into _sqlx_migrations
            (version, description, installed_on, success, checksum, execution_time)
            select 9000, 'later', installed_on, success, checksum, execution_time
            from _sqlx_migrations where version = 114";
        database.execute(later).await;
        let error = Writer::open(database.url()).await.unwrap_err().to_string();
        assert!(error.contains("its shape is 9000"), "{error}");
        if database.is_file() {
            let [backup_file] = &backups_beside(&database)[..] else {
                panic!("one backup");
            };
            let command = format!("callscope restore {}", backup_file.display());
            assert!(error.contains(&command), "{error}");

            let backup_of_newer =
                file_of(&database).with_file_name("callscope.db.before-upgrade-from-8000");
            std::fs::rename(backup_file, &backup_of_newer).unwrap();
            let error = Writer::open(database.url()).await.unwrap_err().to_string();
            assert!(error.contains("callscope restore FILE"), "{error}");
        } else {
            assert!(
                error.contains(
                    "pg_restore --exit-on-error --single-transaction --no-owner --dbname=NEW"
                ),
                "{error}"
            );
        }
    });
}
