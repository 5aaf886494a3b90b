//! A database of an older version, filled, becomes one of this version: its calls are there at
//! once, and are those that the core derives from its events.
//!
//! Each file of `tests/it/store/filled` has the rows of one room of the demonstration, in the
//! tables and columns that the shape of its number had. The shape itself is made by the migrations
//! up to that number. What older versions kept to derive faster, and this one derives again, is
//! only in the newest.

use crate::store::{LATER, block, derived, stored_of_room};
use crate::support::database::Database;
use callscope::rtc;
use callscope::rtc::event::RoomEvent;
use callscope::rtc::fold::Rules;
use callscope::rtc::words::{JobEnd, JobKind};
use callscope::store::Writer;
use callscope::store::derive::rederive::{self, RederiveStep};
use callscope::store::ingest::history_jobs::job::{self, HistoryJob, JobTurn};
use callscope::store::read::history_progress;
use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::{AnyPool, AssertSqlSafe};
use std::path::Path;

pub const ROOM: &str = "!WEjBJqqpRW3dyq-o6uSIUCioWKN4mghZHcELmcZw9MQ";
/// After each tenth migration, the number of that one.
pub const FILES: [(i64, &str); 5] = [
    (12, include_str!("filled/0012.sql")),
    (65, include_str!("filled/0065.sql")),
    (77, include_str!("filled/0077.sql")),
    (95, include_str!("filled/0095.sql")),
    (114, include_str!("filled/0114.sql")),
];

/// A database of the shape of that number, with these rows.
pub async fn database_of(shape: i64, rows: &str) -> Database {
    let database = Database::empty().await;
    fill(database.url(), shape, rows).await;

    database
}

/// Makes the shape of that number in an empty database, and these rows.
pub async fn fill(url: &str, shape: i64, rows: &str) {
    sqlx::any::install_default_drivers();
    let url = url.replace(".db", ".db?mode=rwc");
    let pool = AnyPool::connect(&url).await.unwrap();
    let all = Migrator::new(Path::new("migrations")).await.unwrap();
    let older = all.iter().filter(|one| one.version <= shape).cloned();
    let migrator = Migrator {
        migrations: older.collect::<Vec<_>>().into(),
        ..Migrator::DEFAULT
    };
    migrator.run(&pool).await.unwrap();

    sqlx::raw_sql(AssertSqlSafe(rows.to_owned()))
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
}

async fn events_of(database: &Database) -> Vec<RoomEvent> {
    let pool = AnyPool::connect(database.url()).await.unwrap();
    let texts: Vec<String> = sqlx::query_scalar("select json from events order by stream")
        .fetch_all(&pool)
        .await
        .unwrap();
    pool.close().await;

    let event = |text: &String| {
        let json: Value = serde_json::from_str(text).unwrap();
        RoomEvent::from_recorded(&json).unwrap()
    };

    texts.iter().map(event).collect()
}

/// One row of each of the tables that became `history_jobs`, open and done.
const OLD_JOBS: &str = "
    insert into walks (room_id, opened_ms, reason, token, before_stream, pages, found, done_ms,
        ended_by, reached_ms, since_ms, horizon_ms, spent_ms, first_token, last_token, cut,
        again_ms, tries, continues_ms)
    values ('!a:h', 5, 'history', 't1', 7, 3, 4, null, null, 2, null, 1, 6, 't0', 't2', 1, null,
            0, null),
        ('!b:h', 5, 'history', null, 7, 3, 4, 9, 'no_more', 2, null, 1, 6, 't0', 't2', 0, 10, 2,
            null),
        ('!b:h', 6, 'gap', null, 7, 1, 0, 8, 'met', 2, 3, 1, 6, 't3', 't3', 0, null, 0, 4);
    insert into holes (room_id, event_id, depth, asked_ms, outcome, tries, due_ms)
    values ('!b:h', '$new', 2, null, null, 0, 0), ('!b:h', '$again', 1, 4, 'failed', 1, 3),
        ('!b:h', '$found', 1, 4, 'found', 1, null), ('!b:h', '$made_up', 65, null, null, 0, 0);
    insert into late (room_id, first_token, token, page, pages, round, found, tries, horizon_ms,
        due_ms)
    values ('!b:h', 'f', 't', 1, 3, 2, 4, 5, 6, 7);
    insert into scans (name, stream) values ('holes', 12);";

#[test]
fn what_is_still_to_be_read_of_the_past_goes_on() {
    block(async {
        let database = database_of(123, OLD_JOBS).await;
        let store = Writer::open(database.url()).await.unwrap();
        let due = async |turn| job::list_due_jobs(&store, turn, 10).await.unwrap();
        let job = |kind, room_id: &str| HistoryJob {
            kind,
            room_id: room_id.to_owned(),
            ..HistoryJob::default()
        };

        let text = |text: &str| Some(text.to_owned());
        let read = HistoryJob {
            opened_ms: 5,
            due_ms: Some(0),
            token: text("t1"),
            first_token: text("t0"),
            last_token: text("t2"),
            is_cut: true,
            pages: 3,
            found: 4,
            before_stream: 7,
            reached_ms: Some(2),
            horizon_ms: Some(1),
            spent_ms: 6,
            ..job(JobKind::Backfill, "!a:h")
        };
        assert_eq!(due(JobTurn::OpenRead).await, std::slice::from_ref(&read));

        let ended = HistoryJob {
            room_id: "!b:h".to_owned(),
            due_ms: Some(10),
            done_ms: Some(9),
            ended_by: Some(JobEnd::NoMore),
            tries: 2,
            token: None,
            is_cut: false,
            ..read
        };
        assert_eq!(due(JobTurn::EndedRead).await, std::slice::from_ref(&ended));

        let recheck = HistoryJob {
            due_ms: Some(7),
            tries: 5,
            token: text("t"),
            first_token: text("f"),
            pages: 1,
            pages_max: 3,
            round: 2,
            found: 4,
            horizon_ms: Some(6),
            ..job(JobKind::Recheck, "!b:h")
        };
        assert_eq!(due(JobTurn::Recheck).await, [recheck]);

        let event = |event_id: &str, due_ms, tries| HistoryJob {
            event_id: event_id.to_owned(),
            due_ms: Some(due_ms),
            tries,
            ..job(JobKind::Event, "!b:h")
        };
        assert_eq!(
            due(JobTurn::Event).await,
            [event("$new", 0, 0), event("$again", 3, 1)]
        );

        let reads = history_progress::progress_of_room(&store, "!b:h", 5)
            .await
            .unwrap();
        let gap = HistoryJob {
            kind: JobKind::Gap,
            opened_ms: 6,
            due_ms: None,
            done_ms: Some(8),
            ended_by: Some(JobEnd::Met),
            tries: 0,
            first_token: text("t3"),
            last_token: text("t3"),
            pages: 1,
            found: 0,
            since_ms: Some(3),
            continues_ms: Some(4),
            ..ended.clone()
        };
        let reads: Vec<_> = reads.into_iter().map(|read| read.job).collect();
        assert_eq!(reads, [ended, gap]);

        let pool = AnyPool::connect(database.url()).await.unwrap();
        let done: Vec<(String, i64, String)> = sqlx::query_as(
            "select event_id, done_ms, ended_by from history_jobs where kind = 'event'
            and done_ms is not null",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        assert_eq!(done, [("$found".to_owned(), 4, "found".to_owned())]);
        let scans: Vec<(String, i64)> = sqlx::query_as("select name, stream from scans")
            .fetch_all(&pool)
            .await
            .unwrap();
        assert_eq!(scans, [("missing_events".to_owned(), 12)]);
        pool.close().await;
        store.close().await;
    });
}

#[test]
fn a_filled_database_of_each_older_shape_is_read_and_derived_anew() {
    block(async {
        let rules = Rules::default();
        for (shape, rows) in FILES {
            let database = database_of(shape, rows).await;
            let want = derived(&rtc::derive(ROOM, events_of(&database).await, &rules));
            let calls = want["calls"].as_array().unwrap().len();
            assert!(calls > 10, "{shape}: {calls} calls are few");

            let store = Writer::open(database.url()).await.unwrap();
            assert_eq!(
                stored_of_room(&store, ROOM).await,
                want,
                "{shape}, as it was"
            );
            rederive::find_stale_rooms(&store, &rules, LATER)
                .await
                .unwrap();
            while rederive::rederive_next_part(&store, &rules).await.unwrap()
                != RederiveStep::AllDone
            {}
            assert_eq!(
                stored_of_room(&store, ROOM).await,
                want,
                "{shape}, derived anew"
            );
            store.close().await;
        }
    });
}
