//! A homeserver whose clock is three seconds ahead: its stays are not split, and we agree with the
//! real SDK all the time.

use crate::support::app::{App, Settings};
use crate::support::sdk::Device;
use crate::support::synapse::{Bed, Oddities};
use crate::support::truth::{Script, Stay, members};
use crate::support::{eventually, now_ms, pause};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeSet;

const AHEAD_S: i32 = 3;

/// Maximum time by which one side may know of a change before the other, ms.
const NEWS_MAX_MS: i64 = 2500;

/// The lifetime that clients state, ms. They renew `HEADROOM_MS` before its end, each time for the
/// same length again.
const TERM_MS: u64 = 30_000;

/// A busy machine renews late by seconds. A renewal after the end would be another stay.
const HEADROOM_MS: u64 = 15_000;

/// Time after the last sign of life at which the homeserver says goodbye for a client, ms. It is
/// long for the same reason.
const DELAY_MS: u64 = 60_000;

/// Who is in the call: user and device of each.
type Here = BTreeSet<(String, String)>;

fn here(members: &[Value]) -> Here {
    let text = |member: &Value, key: &str| member[key].as_str().unwrap().to_owned();
    members
        .iter()
        .filter(|member| member["left_ms"].is_null())
        .map(|member| (text(member, "user_id"), text(member, "device_id")))
        .collect()
}

/// Asks the SDK and the program who is here until `done`; returns the number of comparisons.
async fn compare(app: &App, judge: &mut Device, room: &str, done: &Cell<bool>) -> usize {
    let mut instants = 0;
    let mut apart_since: Option<i64> = None;
    while !done.get() {
        let sdk = here(judge.memberships(room).await.as_array().unwrap());
        let ours = here(&members(&app.active().await));
        instants += 1;
        if sdk == ours {
            apart_since = None;
        } else {
            let since = *apart_since.get_or_insert_with(now_ms);
            assert!(
                now_ms() - since < NEWS_MAX_MS,
                "the SDK sees {sdk:#?}, we see {ours:#?}"
            );
        }
        pause(100).await;
    }
    instants
}

/// Each stay of the script appears once, with its times except for the error of its server's clock.
fn equal_the_script(script: &Script, shown: &[Value], off_ms: i64) {
    assert_eq!(shown.len(), script.stays.len(), "{shown:#?}");
    let mut left: Vec<&Value> = shown.iter().collect();
    for stay in &script.stays {
        let place = left
            .iter()
            .position(|member| is_stay(stay, member, off_ms))
            .unwrap_or_else(|| panic!("{stay:#?} is none of {shown:#?}"));
        left.remove(place);
    }
}

fn is_stay(stay: &Stay, member: &Value, off_ms: i64) -> bool {
    let near = |shown: &Value, span: (i64, i64)| {
        shown
            .as_i64()
            .is_some_and(|ms| (span.0 - 1000..=span.1 + off_ms + 1000).contains(&ms))
    };
    member["user_id"] == stay.user.as_str()
        && member["device_id"] == stay.device.as_str()
        && near(&member["joined_ms"], stay.joined)
        && match stay.left {
            Some(left) => near(&member["left_ms"], left),
            None => member["left_ms"].is_null(),
        }
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_server_that_is_three_seconds_ahead_has_one_stay_for_each() {
    let bed = Bed::start_odd(
        2,
        Oddities {
            ahead_s: [0, AHEAD_S],
            ..Oddities::NONE
        },
    )
    .await;
    let (alice, watcher) = (bed.user(0, "alice").await, bed.user(0, "watcher").await);
    let (judge, carol) = (bed.user(0, "judge").await, bed.user(1, "carol").await);
    let room = alice.create_room(json!({"name": "Clocks"})).await;
    for user in [&watcher, &judge, &carol] {
        user.join(&room, &alice).await;
    }
    let settings = Settings::observe(&watcher, &bed.folder("live"));
    let app = App::ready(&settings).await;

    let mut judge = Device::start(&judge).await;
    let mut desk = Device::start(&alice).await;
    let mut carols = Device::start(&carol).await;
    let mut tablet = Device::start(&carol.device("TABLET").await).await;
    let mut script = Script::new(&room);
    let done = Cell::new(false);
    let often = json!({"expires_ms": TERM_MS, "headroom_ms": HEADROOM_MS, "delay_ms": DELAY_MS});
    let play = async {
        script.join(&mut carols, often.clone()).await;
        // Within the first term: the SDK states one term from the join, which ends later.
        carols.intent(&room, "video").await;
        pause(2 * TERM_MS - 2000).await;
        script.join(&mut desk, often.clone()).await;
        pause(TERM_MS - 2000).await;
        script.join(&mut tablet, json!({})).await;
        script.leave(&mut carols).await;
        pause(500).await;
        script.join(&mut carols, often.clone()).await;
        pause(TERM_MS - 2000).await;
        script.crash(tablet);
        script.leave(&mut desk).await;
        pause(6000).await;
        script.leave(&mut carols).await;
        pause(1000).await;
        done.set(true);
    };
    let ((), instants) = tokio::join!(play, compare(&app, &mut judge, &room, &done));
    println!("asked at {instants} instants");
    assert!(instants > 50, "{instants}");

    let shown = eventually("nobody is in the call any more", 120, async || {
        let shown = members(&app.calls(&room).await);
        here(&shown).is_empty().then_some(shown)
    })
    .await;
    equal_the_script(&script, &shown, 0);
    app.kill();

    // The same from history: there we have only the timestamps of the server that is ahead.
    let app = App::ready(&Settings::observe(&watcher, &bed.folder("history"))).await;
    let shown = eventually("all stays are read", 30, async || {
        let shown = members(&app.calls(&room).await);
        (shown.len() >= script.stays.len()).then_some(shown)
    })
    .await;
    equal_the_script(&script, &shown, i64::from(AHEAD_S) * 1000);
}
