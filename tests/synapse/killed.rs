//! A program that is killed repeatedly while events come ends with the correct result.

use crate::support::account::Account;
use crate::support::app::{App, Settings, derive};
use crate::support::sdk::Device;
use crate::support::synapse::Bed;
use crate::support::truth::{members, plain};
use crate::support::{now_ms, pause};
use rand::RngExt;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Whether the traffic continues, and how much there was.
#[derive(Debug, Default)]
struct Traffic {
    stop: AtomicBool,
    sent: AtomicUsize,
}

impl Traffic {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

fn within(from: u64, to: u64) -> u64 {
    rand::rng().random_range(from..to)
}

/// A busy device whose events are written by hand: more of them than the SDK would send.
async fn by_hand(account: Account, room: String, traffic: Arc<Traffic>) {
    let key = format!("_{}_{}_m.call", account.user_id, account.device_id);
    let kind = "org.matrix.msc3401.call.member";

    while traffic.goes_on() {
        let mut content = json!({
            "application": "m.call", "call_id": "", "scope": "m.room",
            "device_id": account.device_id, "expires": 14_400_000,
            "focus_active": {"type": "livekit", "focus_selection": "multi_sfu"},
            "foci_preferred": [{
                "type": "livekit", "livekit_alias": room,
                "livekit_service_url": "https://livekit.invalid/jwt",
            }],
        });
        let before = now_ms();
        account.state(&room, kind, &key, &content).await;
        traffic.count();
        pause(within(10, 160)).await;
        if within(0, 2) == 0 {
            content["created_ts"] = json!(before);
            content["m.call.intent"] = json!("video");
            account.state(&room, kind, &key, &content).await;
            traffic.count();
            pause(within(10, 120)).await;
        }

        account.state(&room, kind, &key, &json!({})).await;
        traffic.count();
        pause(within(10, 160)).await;
    }
}

/// A device of the real SDK that joins and leaves.
async fn by_sdk(account: Account, room: String, sticky: bool, traffic: Arc<Traffic>) {
    let mut device = Device::start(&account).await;
    while traffic.goes_on() {
        device.join_with(&room, json!({"sticky": sticky})).await;
        pause(within(100, 900)).await;
        device.leave(&room).await;
        traffic.count();
        traffic.count();
        pause(within(100, 400)).await;
    }
}

/// The correct result for the room's events, from the homeserver's complete history.
async fn truth(watcher: &Account, room: &str) -> Vec<String> {
    let events = watcher.messages(room).await;
    let derived = derive(&events, now_ms());
    plain(derived["memberships"].as_array().unwrap())
}

async fn stored(app: &App, room: &str) -> Vec<String> {
    plain(&members(&app.calls(room).await))
}

/// Kills the program twenty times, some of them while it still starts.
async fn twenty_kills(settings: &Settings, traffic: &Traffic) {
    for round in 0..20 {
        let app = App::launch(settings);
        pause(within(30, 1800)).await;
        app.kill();
        if round == 10 {
            // Enough events that the next sync cannot return all of them at once.
            let enough = traffic.sent() + 300;
            while traffic.sent() < enough {
                pause(50).await;
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn killed_twenty_times_it_has_everything_once() {
    let here = tokio::task::LocalSet::new();
    here.run_until(killed_while_events_flow()).await;
}

async fn killed_while_events_flow() {
    let bed = Bed::start(2).await;
    let (alice, bob) = (bed.user(0, "alice").await, bed.user(0, "bob").await);
    let (carol, watcher) = (bed.user(1, "carol").await, bed.user(0, "watcher").await);
    let room = alice.create_room(json!({"name": "Busy"})).await;
    for member in [&bob, &carol, &watcher] {
        member.join(&room, &alice).await;
    }

    let settings = Settings::observe(&watcher, &bed.folder("killed"));
    App::ready(&settings).await.kill();

    let traffic = Arc::new(Traffic::default());
    let mut running = tokio::task::JoinSet::new();
    for name in ["ONE", "TWO", "THREE"] {
        let device = alice.device(name).await;
        running.spawn_local(by_hand(device, room.clone(), Arc::clone(&traffic)));
    }

    let far = carol.device("FAR").await;
    running.spawn_local(by_hand(far, room.clone(), Arc::clone(&traffic)));
    running.spawn_local(by_sdk(bob, room.clone(), false, Arc::clone(&traffic)));
    running.spawn_local(by_sdk(carol, room.clone(), true, Arc::clone(&traffic)));
    twenty_kills(&settings, &traffic).await;
    let app = App::ready(&settings).await;
    traffic.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended.expect("the traffic ends well");
    }

    same_in_the_end(&app, &watcher, &room, traffic.sent()).await;
}

async fn same_in_the_end(app: &App, watcher: &Account, room: &str, sent: usize) {
    let end = Instant::now() + Duration::from_mins(2);
    let (mut is, mut shall) = (Vec::new(), truth(watcher, room).await);
    while is != shall && Instant::now() < end {
        pause(200).await;
        is = stored(app, room).await;
        shall = truth(watcher, room).await;
    }

    println!("{sent} events, {} memberships, 20 kills", shall.len());
    let lost: Vec<_> = shall.iter().filter(|m| !is.contains(m)).collect();
    let made_up: Vec<_> = is.iter().filter(|m| !shall.contains(m)).collect();
    assert!(
        lost.is_empty(),
        "lost {lost:#?}, instead of them {made_up:#?}"
    );
    assert_eq!(is, shall, "nothing twice, nothing more");
    assert!(
        shall.len() > 40,
        "there was enough traffic to mean something"
    );
}
