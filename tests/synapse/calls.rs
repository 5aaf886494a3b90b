//! Real calls over two servers: the program shows correctly and quickly what happened.

use crate::support::account::Account;
use crate::support::app::{App, Settings};
use crate::support::sdk::Device;
use crate::support::synapse::Bed;
use crate::support::truth::{Script, members};
use crate::support::{eventually, now_ms, pause};
use serde_json::{Value, json};

/// Waits until the program shows as many stays, and as many open ones, as there were.
async fn settled(app: &App, script: &Script) -> Vec<Value> {
    let what = format!("{} stays, {} open", script.stays.len(), script.present());
    eventually(&what, 60, async || {
        let calls = app.calls(&script.room).await;
        script.same_count(&members(&calls)).then_some(calls)
    })
    .await
}

/// The program, told to watch a room of another server by its alias; it joins by itself.
async fn watching(bed: &Bed, watcher: &Account, room: &str, alias: &str) -> App {
    let settings = Settings::observe(watcher, &bed.folder("watching"));
    let app = App::ready(&settings.with("CALLSCOPE_ROOMS", alias)).await;
    eventually("the program joins the room", 60, async || {
        let membership = watcher.membership(room, watcher).await;
        (membership.as_deref() == Some("join")).then_some(())
    })
    .await;

    app
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn what_it_says_of_a_call_is_what_happened() {
    let bed = Bed::start(2).await;
    let (alice, bob) = (bed.user(0, "alice").await, bed.user(0, "bob").await);
    let carol = bed.user(1, "carol").await;
    let watcher = bed.user(0, "watcher").await;
    let options = json!({"name": "Story", "room_alias_name": "story"});
    let room = carol.create_room(options).await;
    alice.join(&room, &carol).await;
    bob.join(&room, &carol).await;
    let alias = format!("#story:{}", carol.server());
    let app = watching(&bed, &watcher, &room, &alias).await;

    let mut script = Script::new(&room);
    let mut desk = Device::start(&alice).await;
    first_call(&app, &mut script, [&alice, &bob, &carol], &mut desk).await;
    let calls = settled(&app, &script).await;
    assert_eq!(calls.len(), 1, "they overlapped all the time: {calls:#?}");
    assert_eq!(calls[0]["active"], false);

    script.join(&mut desk, json!({})).await;
    let calls = settled(&app, &script).await;
    script.check(&members(&calls), &watcher.messages(&room).await);
    check_calls(&app, &calls).await;
}

/// Joins, overlap, a leave and a rejoin, two devices of one user, a crash, a sticky member.
async fn first_call(app: &App, script: &mut Script, users: [&Account; 3], desk: &mut Device) {
    let [alice, bob, carol] = users;
    let mut phone = Device::start(&alice.device("PHONE").await).await;
    let mut bobs = Device::start(bob).await;
    let mut carols = Device::start(carol).await;
    let mut tablet = Device::start(&carol.device("TABLET").await).await;

    script.join(desk, json!({"intent": "audio"})).await;
    script.join(&mut carols, json!({})).await;
    script.join(&mut bobs, json!({})).await;
    script.join(&mut phone, json!({})).await;
    settled(app, script).await;
    let now = app.active().await;
    assert_eq!(now.len(), 1, "{now:#?}");
    assert_eq!(
        (&now[0]["people"], &now[0]["devices"]),
        (&json!(3), &json!(4))
    );

    desk.intent(&script.room, "video").await;
    script.leave(&mut bobs).await;
    script.join(&mut bobs, json!({})).await;
    script.crash(carols);
    settled(app, script).await;
    script.join(&mut tablet, json!({"sticky": true})).await;
    settled(app, script).await;
    script.leave(&mut tablet).await;
    script.leave(&mut phone).await;
    script.leave(&mut bobs).await;
    script.leave(desk).await;
}

/// The two calls of the story as a whole, and that the id of a member event leads to its call.
async fn check_calls(app: &App, calls: &[Value]) {
    assert_eq!(calls.len(), 2, "{calls:#?}");
    let (second, first) = (&calls[0], &calls[1]);
    assert_eq!(
        (&second["active"], &first["active"]),
        (&json!(true), &json!(false))
    );
    assert!(second["ended_ms"].is_null());
    for (fact, value) in [
        ("people", 3),
        ("devices", 5),
        ("peak", 4),
        ("peak_users", 3),
    ] {
        assert_eq!(first[fact], value, "{fact} of {first:#?}");
    }

    let updates: i64 = members(calls)
        .iter()
        .filter_map(|m| m["updates"].as_i64())
        .sum();
    assert_eq!(updates, 1, "one device changed its intent, once");
    let path = format!("/api/v1/calls/{}", first["id"].as_str().unwrap());
    assert_eq!(app.http.get(&path).await.ok()["id"], first["id"]);
}

/// Checks repeatedly whether the device is in a call; returns the time at which it first was.
async fn first_shown(app: &App, device: &str) -> i64 {
    eventually("the join is shown", 30, async || {
        let shown = members(&app.active().await);
        let there = shown.iter().any(|m| m["device_id"] == device);
        there.then(now_ms)
    })
    .await
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn twenty_joins_are_shown_soon() {
    let bed = Bed::start(1).await;
    let (bob, watcher) = (bed.user(0, "bob").await, bed.user(0, "watcher").await);
    let room = bob.create_room(json!({"name": "Twenty joins"})).await;
    watcher.join(&room, &bob).await;
    let app = App::ready(&Settings::observe(&watcher, &bed.folder("twenty"))).await;
    let mut device = Device::start(&bob).await;
    let mut took = Vec::new();
    for n in 0..20 {
        let (joined, shown) = tokio::join!(device.join(&room), first_shown(&app, &bob.device_id));
        let event = joined["event_id"].as_str().unwrap();
        let answered = device.sent_ms(event).expect("the SDK sent it");
        took.push(shown - answered);
        device.leave(&room).await;
        eventually("the leave is shown", 30, async || {
            app.active().await.is_empty().then_some(())
        })
        .await;
        // An irregular pause, so that it is not synchronised with anything.
        pause(40 + 17 * n).await;
    }

    took.sort_unstable();
    println!(
        "20 joins, from the homeserver's answer to the API: median {} ms, max {} ms, all {took:?}",
        i64::midpoint(took[9], took[10]),
        took[19],
    );
    assert_eq!(app.calls(&room).await.len(), 20, "each join was a call");
}
