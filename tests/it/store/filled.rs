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
use callscope::store::Writer;
use callscope::store::derive::rederive::{self, RederiveStep};
use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::{AnyPool, AssertSqlSafe};
use std::path::Path;

const ROOM: &str = "!WEjBJqqpRW3dyq-o6uSIUCioWKN4mghZHcELmcZw9MQ";
/// After each tenth migration, the number of that one.
const FILES: [(i64, &str); 5] = [
    (12, include_str!("filled/0012.sql")),
    (65, include_str!("filled/0065.sql")),
    (77, include_str!("filled/0077.sql")),
    (95, include_str!("filled/0095.sql")),
    (114, include_str!("filled/0114.sql")),
];

/// A database of the shape of that number, with these rows.
async fn database_of(shape: i64, rows: &str) -> Database {
    let database = Database::empty().await;
    sqlx::any::install_default_drivers();
    let url = database.url().replace(".db", ".db?mode=rwc");
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

    database
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
