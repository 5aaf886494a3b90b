//! The same events by sync, poll and back-fill in any mixture give the same calls, byte for byte,
//! except for evidence.

use crate::app::bed::{Bed, Running, now};
use crate::support::database::Database;
use crate::support::eventually;
use futures_util::future::join_all;
use serde_json::Value;

const USERS: [&str; 3] = [
    "@alice:sim.example",
    "@bob:other.example",
    "@carol:third.example",
];
const OFTEN: &str = "* * * * * *";
const NEVER: &str = "0 0 0 1 1 *";
const MINUTE: i64 = 60_000;

/// The events: user, join or leave, minutes after the beginning.
fn script() -> Vec<(usize, bool, i64)> {
    let stays = [
        (0, 0, 9),
        (1, 3, 12),
        (2, 5, 6),
        (0, 20, 25),
        (2, 21, 40),
        (1, 39, 45),
        (0, 50, 51),
        (1, 60, 70),
        (1, 80, 81),
    ];
    let mut script: Vec<_> = stays
        .iter()
        .flat_map(|&(who, from, to)| [(who, true, from), (who, false, to)])
        .collect();
    script.sort_by_key(|&(who, is_join, at)| (at, is_join, who));

    script
}

fn play(bed: &Bed, room: &str, begin: i64, script: &[(usize, bool, i64)]) {
    for &(who, is_join, at) in script {
        let device = format!("D{who}");
        let at = begin + at * MINUTE;
        if is_join {
            bed.joins(room, USERS[who], &device, at)
        } else {
            bed.leaves(room, USERS[who], &device, at)
        };
    }
}

/// The list of calls without the evidence, and without the names of this room.
pub async fn plain(app: &Running) -> Vec<String> {
    let mut calls = app.calls().await;
    for call in &mut calls {
        let call = call.as_object_mut().unwrap();
        for key in ["certainty", "unknown_since_ms", "unknown_since_at"] {
            assert!(call.remove(key).is_some(), "{key}");
        }

        for member in call["members"].as_array_mut().unwrap() {
            assert!(member.as_object_mut().unwrap().remove("evidence").is_some());
        }
    }

    calls.iter().map(Value::to_string).collect()
}

/// Runs the app over parts of the script: each part is played while the app runs (true) or before
/// it starts.
async fn mixed(
    bed: &Bed,
    parts: &[(usize, bool, &str, &str)],
    room: &str,
    begin: i64,
) -> Vec<String> {
    let database = Database::new().await;
    let mut rest = script();
    let mut last = Vec::new();
    for (turn, &(length, while_it_runs, mode, polls)) in parts.iter().enumerate() {
        let part: Vec<_> = rest.drain(..length.min(rest.len())).collect();
        let settings = [
            ("DATABASE_URL", database.url()),
            ("MODE", mode),
            ("POLL_SCHEDULE", polls),
        ];
        if !while_it_runs {
            play(bed, room, begin, &part);
        }

        let app = bed.start_with(&settings).await;
        app.ready().await;
        if while_it_runs {
            play(bed, room, begin, &part);
        }

        let want = script().len() - rest.len();
        last = eventually(&format!("all of part {turn}"), 60, async || {
            let status = app.json("/api/v1/status").await;
            let seen = status["totals"]["memberships"].as_i64().unwrap();
            let joins = script()[..want]
                .iter()
                .filter(|(_, is_join, _)| *is_join)
                .count();
            let calls = plain(&app).await;
            let open = script()[..want]
                .iter()
                .map(|(_, is_join, _)| if *is_join { 1 } else { -1 })
                .sum::<i32>();
            let shown_open = calls
                .iter()
                .filter(|call| call.contains("\"active\":true"))
                .count();
            (seen == i64::try_from(joins).unwrap() && (open > 0) == (shown_open > 0))
                .then_some(calls)
        })
        .await;
        app.app.stop().await;
    }

    assert!(rest.is_empty(), "all was played");

    last
}

#[tokio::test]
async fn every_way_gives_the_same_calls() {
    let ways: [&[(usize, bool, &str, &str)]; 5] = [
        &[(18, false, "follow", NEVER)],
        &[(18, true, "follow", NEVER)],
        &[
            (6, false, "follow", OFTEN),
            (6, true, "follow", OFTEN),
            (6, false, "follow", NEVER),
        ],
        &[(9, false, "poll", OFTEN), (9, false, "follow", NEVER)],
        &[
            (4, true, "follow", NEVER),
            (8, false, "poll", OFTEN),
            (6, true, "follow", OFTEN),
        ],
    ];
    let begin = now() - 150 * MINUTE;
    // Each mixture has its own homeserver with the same seed, so that all ids are the same. They
    // run in parallel, because they mostly wait for the next poll.
    let seen = join_all(ways.map(async |way| {
        let bed = Bed::new().await;
        let room = bed.room(&USERS);
        let calls = mixed(&bed, way, &room, begin).await;
        assert_eq!(calls.len(), 5, "{calls:#?}");

        calls
    }))
    .await;

    for calls in &seen[1..] {
        assert_eq!(calls, &seen[0]);
    }
}
