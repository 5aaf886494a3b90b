//! A back-fill that is killed repeatedly at any point gives the same result as an uninterrupted
//! one.

use crate::app::alone::settings;
use crate::app::bed::{Bed, now};
use crate::app::mixture::plain;
use crate::support::app::App;
use crate::support::eventually;
use callscope::store::Writer;
use callscope::store::read::history_progress::{self, ReadSums};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const USERS: [&str; 3] = [
    "@alice:sim.example",
    "@bob:other.example",
    "@carol:third.example",
];
const CALLS: i64 = 300;

/// Calls that overlap, some with several people, in both rooms.
fn past(bed: &Bed) {
    let rooms = [bed.room(&USERS), bed.room(&USERS)];
    for n in 0..CALLS {
        let room = &rooms[usize::from(n % 4 == 0)];
        let at = now() - 90_000_000 + n * 60_000;
        let many = 1 + usize::try_from(n % 3).unwrap();
        for (turn, user) in (0..).zip(&USERS[..many]) {
            bed.joins(room, user, "D", at + turn * 1000);
        }

        for (turn, user) in (0..).zip(&USERS[..many]) {
            bed.leaves(room, user, "D", at + 30_000 + turn * 1000);
        }
    }
}

/// The progress of reading history in the database of a killed process.
async fn left(database: &str) -> ReadSums {
    let store = Writer::open(database).await.unwrap();
    let sums = history_progress::sum_reads(&store, None).await.unwrap();
    store.close().await;

    sums
}

#[tokio::test]
async fn ten_kills_within_a_read_change_nothing() {
    let bed = Bed::new().await;
    past(&bed);
    let app = bed.start().await;
    app.status_until("all", |status| {
        status["totals"]["calls"] == CALLS && status["history_open"] == 0
    })
    .await;
    let want = plain(&app).await;
    app.app.stop().await;

    let other = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", other.path().join("stopped.db").display());
    let small = settings(&bed)
        .with("CALLSCOPE_DATABASE_URL", &database)
        .with("CALLSCOPE_BACKFILL_PAGE", "2");
    let mut dice = SmallRng::seed_from_u64(20_261_123);
    let mut last = 0;
    for kill in 0..10 {
        let enough = bed.hs.count("/messages") + dice.random_range(2..12);
        let app = App::launch(&small);
        eventually("so many pages are asked for", 60, async || {
            (bed.hs.count("/messages") >= enough).then_some(())
        })
        .await;
        app.kill();
        let sums = left(&database).await;
        assert!(
            sums.open > 0,
            "kill {kill} came within an open read: {sums:?}"
        );
        assert!(
            sums.pages > last,
            "which had come further since the last: {sums:?}, {last} pages before"
        );
        last = sums.pages;
    }

    let whole = [("DATABASE_URL", database.as_str())];
    let app = bed.start_with(&whole).await;
    app.status_until("all", |status| {
        status["totals"]["calls"] == CALLS && status["history_open"] == 0
    })
    .await;
    assert_eq!(plain(&app).await, want);
    assert_eq!(
        bed.hs.count("/event/"),
        0,
        "no page was lost, so that its events had to be asked for one by one"
    );
    app.app.stop().await;
}
