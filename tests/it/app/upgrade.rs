//! An upgrade with the real program: what `callscope check` says before, the backup that the start
//! makes, and the way back.

use crate::app::alone::settings;
use crate::app::bed::Bed;
use crate::app::operator::run;
use crate::store::filled::{FILES, fill};
use crate::support::app::{App as Program, Settings};
use crate::support::eventually;
use crate::support::http::Http;
use callscope::app::{App, StartOptions};
use callscope::clock::Clock;
use callscope::config::Config;
use callscope::matrix::probe::Prober;
use callscope::store::db::instance_lock::{InstanceLock, WHICH_COPIES};
use sqlx::{AnyPool, AssertSqlSafe, Connection, Executor, SqliteConnection};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;

/// The files of a folder with their contents, but for those that every opening makes.
fn files_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap();
    let files = entries.map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(&path).unwrap_or_default())
    });

    files
        .filter(|(name, _)| !name.ends_with("-shm") && !name.ends_with("-wal"))
        .collect()
}

async fn execute(url: &str, sql: &str) {
    let pool = AnyPool::connect(url).await.unwrap();
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
}

/// The program's settings with a filled database of an older shape, as a file, and its address.
async fn with_older_database(bed: &Bed) -> (Settings, String) {
    let (shape, rows) = FILES[4];
    let url = format!(
        "sqlite://{}",
        bed.folder.path().join("callscope.db").display()
    );
    fill(&url, shape, rows).await;
    let settings = settings(bed)
        .without("CALLSCOPE_DATABASE_URL")
        .with("CALLSCOPE_DATABASE_URL", &url);

    (settings, url)
}

#[tokio::test]
async fn an_upgrade_is_announced_backed_up_and_taken_back() {
    let bed = Bed::new().await;
    let (settings, url) = with_older_database(&bed).await;
    let before = files_in(bed.folder.path());
    let (code, said, why) = run(&settings, &["check"]).await;
    assert_eq!(code, Some(0), "{said}{why}");
    for part in [
        "upgraded from shape 114 to ",
        "web sessions, api keys, ",
        "A backup is made first: ",
        "callscope.db.before-upgrade-from-0114, about 1 MB",
        "The calls of 1 room are derived again",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        files_in(bed.folder.path()) == before,
        "a check changes nothing"
    );

    let app = Program::ready(&settings).await;
    let log = app.log();
    for part in [
        "the database is being upgraded from=114",
        "a backup is made before the upgrade",
        "a step of the upgrade is done step=1 of=",
        "the database is upgraded from=114",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    app.kill();
    let (code, said, why) = run(&settings, &["check"]).await;
    assert_eq!(code, Some(0), "{said}{why}");
    assert!(said.contains("and stays as it is"), "{said}");

    let later = "insert into _sqlx_migrations
        (version, description, installed_on, success, checksum, execution_time)
        select 9000, 'later', installed_on, success, checksum, execution_time
        from _sqlx_migrations where version = 114";
    execute(&url, later).await;
    let (code, said, why) = run(&settings, &["check"]).await;
    assert!(
        code == Some(1) && said.contains("FAILS: a newer version of Callscope"),
        "{said}{why}"
    );
    let (code, _, why) = run(&settings, &["serve"]).await;
    assert_eq!(code, Some(1), "{why}");
    let (_, way) = why.split_once("run: callscope restore ").unwrap();
    let (file, _) = way.split_once(" (").unwrap();
    let (code, said, why) = run(&settings, &["restore", file]).await;
    assert_eq!(code, Some(0), "{said}{why}");
    let (_, said, _) = run(&settings, &["check"]).await;
    assert!(said.contains("upgraded from shape 114 to "), "{said}");
}

#[tokio::test]
async fn a_command_that_upgrades_says_so_and_does_not_write_beside_a_copy() {
    let bed = Bed::new().await;
    let (settings, url) = with_older_database(&bed).await;
    let (code, said, why) = run(&settings, &["key", "list"]).await;
    assert_eq!(code, Some(0), "{said}{why}");
    for part in [
        "the database is being upgraded from=114",
        "a backup is made before the upgrade",
        "the changes are committed",
        "the backup keeps what is deleted from the database later",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let (_, _, why) = run(&settings, &["key", "list"]).await;
    assert_eq!(why, "", "nothing is to be done any more");

    let who = format!("process 1, {WHICH_COPIES}");
    let hold = InstanceLock::acquire_lock(&url, &who).await.unwrap();
    for command in [["key", "list"].as_slice(), &["rebuild"]] {
        let (code, said, why) = run(&settings, command).await;
        assert_eq!(code, Some(1), "{said}{why}");
        assert!(why.contains(&who), "{why}");
    }
    drop(hold);
    let _hold = InstanceLock::acquire_lock(&url, "process 1").await.unwrap();
    let (code, said, why) = run(&settings, &["key", "list"]).await;
    assert_eq!(code, Some(0), "{said}{why}");
}

#[tokio::test]
async fn a_check_names_the_file_that_a_link_leads_to() {
    let bed = Bed::new().await;
    let (settings, url) = with_older_database(&bed).await;
    let link = tempfile::tempdir().unwrap();
    let link = link.path().join("linked.db");
    std::os::unix::fs::symlink(url.strip_prefix("sqlite://").unwrap(), &link).unwrap();
    let settings = settings.without("CALLSCOPE_DATABASE_URL").with(
        "CALLSCOPE_DATABASE_URL",
        &format!("sqlite://{}", link.display()),
    );
    let (code, said, why) = run(&settings, &["check"]).await;
    assert_eq!(code, Some(0), "{said}{why}");
    assert!(
        said.contains("callscope.db.before-upgrade-from-0114")
            && !said.contains("linked.db.before"),
        "{said}"
    );
}

#[tokio::test]
async fn where_it_is_switched_off_a_start_says_that_no_backup_is_made() {
    let bed = Bed::new().await;
    let (settings, _) = with_older_database(&bed).await;
    let settings = settings.with("CALLSCOPE_BACKUP_BEFORE_UPGRADE", "false");
    let (_, said, _) = run(&settings, &["check"]).await;
    assert!(said.contains("No backup is made first"), "{said}");
    let app = Program::ready(&settings).await;
    assert!(app.log().contains("no backup is made before the upgrade"));
    app.kill();
    let names = files_in(bed.folder.path());
    assert!(names.keys().all(|name| !name.contains("before-upgrade")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_during_an_upgrade_is_told_so_and_gets_the_pages_after_it() {
    let bed = Bed::new().await;
    let (_, url) = with_older_database(&bed).await;
    let mut variables = bed.settings();
    variables.retain(|(name, _)| name != "CALLSCOPE_DATABASE_URL");
    variables.push(("CALLSCOPE_DATABASE_URL".to_owned(), url.clone()));
    let config = Config::load(None, variables.into_iter()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = Http::new(&format!("http://{}", listener.local_addr().unwrap()), None);
    let options = StartOptions {
        listener: Some(listener),
        ..StartOptions::default()
    };

    execute(&url, "pragma journal_mode = wal").await;
    // The upgrade cannot go on before this lets go of the database.
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    other.execute("begin immediate").await.unwrap();
    let starting =
        tokio::spawn(
            async move { App::start_on(options, &config, Clock::System, Prober::new).await },
        );
    let answer = eventually("an answer", 10, async || Some(http.get("/readyz").await)).await;
    let words = answer.body["error"].as_str().unwrap_or_default();
    assert!(
        answer.status == 503 && words.contains("being upgraded"),
        "{} {words}",
        answer.status
    );
    assert_eq!(http.get("/healthz").await.status, 200);
    assert_eq!(http.get("/api/v1/calls").await.status, 503);
    other.execute("rollback").await.unwrap();

    let app = starting.await.unwrap().unwrap();
    assert_eq!(http.get("/api/v1/calls").await.status, 200);
    app.stop().await;
}
