//! Nothing can be stored: every page, the metrics and `callscope idle` report it at once, though it
//! cannot be stored, and storing resumes automatically if possible.

use crate::app::alone::settings;
use crate::app::bed::{Bed, Running, now};
use crate::app::operator::run;
use crate::support::eventually;
use callscope::store::Writer;
use sqlx::{Connection, Executor, SqliteConnection};
use std::path::PathBuf;

const ALICE: &str = "@alice:sim.example";

fn database(bed: &Bed) -> PathBuf {
    bed.folder.path().join("callscope.db")
}

/// Another program, which holds the database locked.
async fn lock(bed: &Bed) -> SqliteConnection {
    let url = format!("sqlite://{}", database(bed).display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    other.execute("pragma busy_timeout = 10000").await.unwrap();
    other.execute("begin exclusive").await.unwrap();

    other
}

/// Checks that everything that shows the state reports that nothing is stored.
async fn assert_told(bed: &Bed, app: &Running, kind: &str, words: &str) {
    let status = app
        .status_until("the trouble is told", |status| {
            status["storage_trouble"]["kind"] == kind
        })
        .await;
    assert!(status["storage_trouble"]["since_ms"].is_i64(), "{status}");
    assert!(
        status["vantages"][0]["error"].is_null(),
        "the homeserver is not to blame: {status}"
    );
    let page = app.page("/status").await;
    assert!(
        page.contains(words) && page.contains("Not stored") && !page.contains("All is well"),
        "{page}"
    );
    for path in ["/", "/calls", "/rooms", "/servers", "/about"] {
        let page = app.page(path).await;
        assert!(
            page.contains("Nothing stored since") && !page.contains("Syncing"),
            "{path}: {page}"
        );
    }

    let wall = app.page("/wall").await;
    assert!(wall.contains(words), "{wall}");
    let ready = app.http.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body["error"].as_str().unwrap().contains(words));
    let metrics = app.page("/metrics").await;
    for line in [
        "callscope_database_writable 0",
        "callscope_now_known 0",
        "callscope_vantage_up{homeserver=\"",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    let up = metrics
        .lines()
        .find(|line| line.starts_with("callscope_vantage_up{"));
    assert!(up.unwrap().ends_with(" 0"), "{metrics}");
    let settings = settings(bed);
    let url = &app.http.base;
    let (code, _, said) = run(&settings, &["idle", "--url", url]).await;
    assert!(code == Some(2) && said.contains(words), "{said}");
    let (code, said, _) = run(&settings, &["status", "--url", url]).await;
    assert!(
        code == Some(1) && said.contains(words) && !said.contains("All is well"),
        "{said}"
    );
}

async fn assert_over(app: &Running) {
    app.status_until("it is over", |status| status["storage_trouble"].is_null())
        .await;
    assert_eq!(app.http.get("/readyz").await.status, 200);
    assert!(
        app.page("/metrics")
            .await
            .contains("callscope_database_writable 1")
    );
    assert!(app.page("/status").await.contains("All is well"));
}

#[tokio::test]
async fn a_foreign_lock_is_told_while_it_lasts_and_nothing_is_lost() {
    let bed = Bed::new().await;
    bed.hs.set_feature("org.matrix.msc4354", true);
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    let mut other = lock(&bed).await;
    assert_told(&bed, &app, "locked", "The database is locked").await;
    bed.joins(&room, ALICE, "AD", now());
    other.execute("rollback").await.unwrap();
    app.calls_until("the call of meanwhile", |calls| calls.len() == 1)
        .await;
    assert_over(&app).await;
    app.app.stop().await;
}

#[tokio::test]
async fn a_database_that_can_only_be_read_is_told_without_any_event() {
    let bed = Bed::new().await;
    bed.hs.set_feature("org.matrix.msc4354", true);
    bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    app.app.store.refuse_writes(true).await.unwrap();
    assert_told(&bed, &app, "read_only", "The database can only be read").await;
    app.app.store.refuse_writes(false).await.unwrap();
    assert_over(&app).await;
    app.app.stop().await;
}

#[tokio::test]
async fn a_database_file_that_was_deleted_is_told() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    std::fs::remove_file(database(&bed)).unwrap();
    // Pages may fail or not: open connections continue to use the deleted file.
    let words = "The database file is gone";
    eventually("it is told", 30, async || {
        let ready = app.http.get("/readyz").await;
        let error = ready.body["error"].as_str()?;
        (ready.status == 503 && error.contains(words)).then_some(())
    })
    .await;
    let idle = ["idle", "--url", &app.http.base];
    assert_eq!(run(&settings(&bed), &idle).await.0, Some(2));
    assert!(!database(&bed).exists(), "no new database takes its place");
    app.app.stop().await;
}

/// Overwrites the database pages with the newest data, but not the schema.
fn damage(bed: &Bed) {
    let file = database(bed);
    let mut bytes = std::fs::read(&file).unwrap();
    let from = bytes.len() / 3 / 4096 * 4096;
    bytes[from..].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
}

#[tokio::test]
async fn a_page_that_fails_for_a_damaged_file_makes_it_not_ready() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    for n in 0..200 {
        bed.joins(&room, ALICE, "AD", now() - 900_000 + n * 2000);
        bed.leaves(&room, ALICE, "AD", now() - 900_000 + n * 2000 + 1000);
    }

    let app = bed.start().await;
    app.calls_until("the calls", |calls| calls.len() == 200)
        .await;
    app.once_read(&room).await;
    app.app.stop().await;
    damage(&bed);
    // The damage may be found at the start: then the program reports it and does not serve.
    let url = format!("sqlite://{}", database(&bed).display());
    if Writer::open(&url).await.is_err() {
        return;
    }

    let app = bed.start().await;
    let paths = [
        "/",
        "/calls?limit=50",
        "/rooms",
        "/statistics",
        "/status",
        "/rejected",
    ];
    let mut failed = false;
    for path in paths {
        failed |= app.http.get(path).await.status == 500;
    }

    assert!(failed, "the damage is where no page reads");
    let ready = app.http.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(
        ready.body["error"]
            .as_str()
            .unwrap()
            .contains("The database is damaged"),
        "{}",
        ready.body
    );
    let page = app.page("/calls?limit=50").await;
    assert!(
        page.contains("callscope restore"),
        "it says what to do: {page}"
    );
    app.app.stop().await;
}
