//! Alerts from end to end: what happens in rooms of the simulated homeserver comes to receivers that
//! fail in every way, once, in order, and none of it where it does not belong.

use crate::app::bed::{Bed, Running, now};
use crate::support::eventually;
use crate::support::http::Http;
use crate::support::pause;
use crate::support::receiver::{Received, Receiver, Reply};
use callscope::clock::Clock;
use callscope::sim::NewRoom;
use callscope::store::alerts::outbox::{self, NewMessage};
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:sim.example";
const CAROL: &str = "@carol:sim.example";
const MINUTE: i64 = 60_000;
/// 24 bytes in base64.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A channel that is a webhook and hears of everything.
fn webhook(name: &str, url: &str) -> String {
    format!(
        "[[channel]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"{url}/hook\"\nsecret = \
         \"{SECRET}\"\noperator = true\nretry_seconds = 1\n"
    )
}

fn rule(name: &str, on: &str) -> String {
    format!("[[alert]]\nname = \"{name}\"\non = [{on}]\n")
}

/// Starts the app with this configuration beside that of the bed.
async fn start(bed: &Bed, text: &str, clock: Clock) -> Running {
    let file = bed.folder.path().join("callscope.toml");
    std::fs::write(&file, text).unwrap();

    bed.start_at(clock, &[("CONFIG", file.to_str().unwrap())])
        .await
}

/// The alerts that were taken, as `event kind room`.
fn words_of_alerts(taken: &[Received]) -> Vec<String> {
    let alerts = taken.iter().map(Received::alert);

    alerts
        .filter(|alert| alert["type"] == "alert")
        .map(|alert| {
            let condition = &alert["condition"];
            format!(
                "{} {}",
                alert["event"].as_str().unwrap(),
                condition["kind"].as_str().unwrap()
            )
        })
        .collect()
}

async fn until_taken(receiver: &Receiver, count: usize) -> Vec<Received> {
    eventually("the receiver took it", 60, async || {
        Some(receiver.taken()).filter(|taken| taken.len() >= count)
    })
    .await
}

#[tokio::test]
async fn a_call_is_told_signed_within_seconds_and_no_history() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let receiver = Receiver::start();
    // It began before the program was there.
    bed.joins(&room, ALICE, "AD", now() - 10 * MINUTE);
    let text =
        webhook("ops", &receiver.url) + &rule("calls", "\"call_began\", \"call_ended\", \"alone\"");
    let app = start(&bed, &text, Clock::watched()).await;
    app.ready().await;

    // She is alone, which is so now.
    let taken = until_taken(&receiver, 1).await;
    assert_eq!(words_of_alerts(&taken), ["fired alone"]);
    bed.joins(&room, BOB, "BD", now());
    let taken = until_taken(&receiver, 2).await;
    assert_eq!(words_of_alerts(&taken)[1..], ["resolved alone"]);
    bed.leaves(&room, BOB, "BD", now());
    bed.leaves(&room, ALICE, "AD", now());
    let is_end = |one: &Received| one.alert()["condition"]["kind"] == "call_ended";
    let ended = eventually("the end is told", 30, async || {
        receiver.taken().into_iter().find(is_end)
    })
    .await;
    let facts = &ended.alert()["condition"]["facts"];
    assert_eq!(
        (&facts["people_total"], &facts["peak"]),
        (&2.into(), &2.into())
    );
    pause(1500).await;
    let taken = receiver.taken();
    let told = words_of_alerts(&taken);
    assert!(!told.contains(&"fired call_began".to_owned()), "{told:?}");

    for one in &taken {
        let timestamp = &one.headers["webhook-timestamp"];
        let signed = format!("{}.{timestamp}.{}", one.key(), one.body);
        let key = BASE64
            .decode(SECRET.trim_start_matches("whsec_").as_bytes())
            .unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(signed.as_bytes());
        let expected = format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()));
        assert_eq!(one.headers["webhook-signature"], expected);
    }

    // Nothing is told twice, also after a new start.
    app.app.stop().await;
    let app = start(&bed, &text, Clock::watched()).await;
    app.ready().await;
    pause(2000).await;
    assert_eq!(words_of_alerts(&receiver.taken()), told);
    app.app.stop().await;
}

#[tokio::test]
async fn a_receiver_that_fails_in_every_way_loses_nothing_and_blocks_no_other() {
    let bed = Bed::new().await;
    let (bad, good, private) = (Receiver::start(), Receiver::start(), Receiver::start());
    let redirect = format!("Location: {}/private\r\n", private.url);
    bad.reply_with([
        Reply::Refused(500, String::new()),
        Reply::Refused(429, "Retry-After: 2\r\n".to_owned()),
        Reply::Refused(302, redirect),
        Reply::Hang(Duration::from_secs(25)),
    ]);
    let text =
        webhook("bad", &bad.url) + &webhook("good", &good.url) + &rule("calls", "\"call_began\"");
    let app = start(&bed, &text, Clock::watched()).await;
    app.ready().await;
    let rooms: Vec<String> = (0..3).map(|_| bed.room(&[ALICE])).collect();
    for room in &rooms {
        app.room(room).await;
        bed.joins(room, ALICE, "AD", now());
    }

    until_taken(&good, 3).await;
    // Meanwhile the observer hears and stores.
    let calls = app.calls_until("the calls", |calls| calls.len() == 3).await;
    assert_eq!(calls.len(), 3);

    let taken = until_taken(&bad, 3).await;
    let keys: BTreeSet<String> = taken.iter().map(Received::key).collect();
    assert_eq!(keys.len(), 3, "each once, under its own key");
    let all = bad.all();
    assert!(all.len() >= 7, "{}", all.len());
    assert!(
        all.iter().all(|one| keys.contains(&one.key())),
        "the same keys again"
    );
    assert!(private.all().is_empty(), "a redirect was followed");
    app.app.stop().await;
}

#[tokio::test]
async fn messages_of_one_subject_come_in_order() {
    let bed = Bed::new().await;
    let receiver = Receiver::start();
    let app = start(&bed, &webhook("ops", &receiver.url), Clock::watched()).await;
    app.ready().await;
    let message = |number: usize, subject: &str| NewMessage {
        key: format!("{subject}-{number}"),
        channel: "ops".to_owned(),
        subject: subject.to_owned(),
        thread: subject.to_owned(),
        room_id: String::new(),
        payload: r#"{"type": "test", "rule": "r", "at_ms": 0}"#.to_owned(),
    };
    let messages: Vec<NewMessage> = (0..4)
        .flat_map(|number| [message(number, "a"), message(number, "b")])
        .collect();
    receiver.reply_with((0..3).map(|_| Reply::Refused(503, String::new())));
    outbox::add_messages(&app.app.store, &messages, now())
        .await
        .unwrap();
    // Twice the same is once.
    outbox::add_messages(&app.app.store, &messages, now())
        .await
        .unwrap();
    let taken = until_taken(&receiver, 8).await;
    for subject in ["a", "b"] {
        let keys: Vec<String> = taken.iter().map(Received::key).collect();
        let own: Vec<&String> = keys.iter().filter(|key| key.starts_with(subject)).collect();
        let wanted: Vec<String> = (0..4).map(|number| format!("{subject}-{number}")).collect();
        assert_eq!(own, wanted.iter().collect::<Vec<_>>());
    }

    app.app.stop().await;
}

#[tokio::test]
async fn whenever_it_is_stopped_nothing_is_lost_and_no_key_is_new() {
    let bed = Bed::new().await;
    let receiver = Receiver::start();
    let text = webhook("ops", &receiver.url)
        .replace("retry_seconds", "messages_per_minute = 600\nretry_seconds")
        + &rule("calls", "\"call_began\"");
    let app = start(&bed, &text, Clock::watched()).await;
    app.ready().await;
    app.app.stop().await;
    for round in 0..20_u64 {
        let room = bed.room(&[ALICE]);
        let app = start(&bed, &text, Clock::watched()).await;
        bed.joins(&room, ALICE, "AD", now());
        if round % 5 == 0 {
            receiver.reply_with([Reply::Refused(500, String::new())]);
        }

        pause(round * 97 % 1500).await;
        app.app.stop().await;
    }

    let app = start(&bed, &text, Clock::watched()).await;
    app.ready().await;
    let rooms = |taken: &[Received]| -> BTreeSet<String> {
        let alerts = taken.iter().map(Received::alert);
        alerts
            .map(|alert| alert["condition"]["room"]["room_id"].to_string())
            .collect()
    };
    eventually("all calls were told", 90, async || {
        (rooms(&receiver.taken()).len() == 20).then_some(())
    })
    .await;
    pause(1500).await;
    let mut by_room: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in receiver.all() {
        let room = one.alert()["condition"]["room"]["room_id"].to_string();
        by_room.entry(room).or_default().insert(one.key());
    }

    assert_eq!(by_room.len(), 20);
    assert!(by_room.values().all(|keys| keys.len() == 1), "{by_room:?}");
    app.app.stop().await;
}

#[tokio::test]
async fn a_flood_becomes_few_messages_that_tell_all() {
    let bed = Bed::new().await;
    let receiver = Receiver::start();
    let app = start(&bed, &webhook("ops", &receiver.url), Clock::watched()).await;
    app.ready().await;
    let messages: Vec<NewMessage> = (0..1000)
        .map(|number| NewMessage {
            key: format!("key {number}"),
            channel: "ops".to_owned(),
            subject: format!("subject {number}"),
            thread: format!("thread {number}"),
            room_id: String::new(),
            payload: r#"{"type": "test", "rule": "r", "at_ms": 0}"#.to_owned(),
        })
        .collect();
    outbox::add_messages(&app.app.store, &messages, now())
        .await
        .unwrap();
    let taken = until_taken(&receiver, 10).await;
    pause(3000).await;
    assert_eq!(receiver.all().len(), 10);
    let last = taken.last().unwrap().json();
    assert_eq!(last["type"], "callscope.summary.flood");
    assert_eq!(last["data"]["message"]["total"], 991);
    assert_eq!(last["data"]["title"], "And 991 more alerts");
    app.app.stop().await;
}

/// The messages that the bot wrote into a room, oldest first.
async fn notices(bed: &Bed, room: &str) -> Vec<Value> {
    let bot = Http::new(&bed.hs.url(), Some(&bed.token));
    let path = format!(
        "/_matrix/client/v3/rooms/{}/messages?dir=f&limit=100",
        crate::support::http::quote(room)
    );
    let page = bot.get(&path).await.ok();
    let events = page["chunk"].as_array().unwrap().clone();

    events
        .into_iter()
        .filter(|event| event["type"] == "m.room.message")
        .collect()
}

#[tokio::test]
async fn a_room_hears_of_itself_alone_and_the_end_edits_the_first_message() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let secret = NewRoom {
        name: Some("The secret plan".into()),
        ..NewRoom::default()
    };
    let other = bed.room_like(secret, &[ALICE, CAROL]);
    let text = format!(
        "[[channel]]\nname = \"room\"\ntype = \"matrix\"\nroom = \"{room}\"\n{}",
        rule(
            "calls",
            "\"alone\", \"call_ended\", \"blind\", \"token_dead\""
        )
    );
    let app = start(&bed, &text, Clock::watched()).await;
    app.ready().await;
    bed.joins(&other, CAROL, "CD", now());
    bed.joins(&room, ALICE, "AD", now());
    let first = eventually("the notice", 30, async || {
        let notices = notices(&bed, &room).await;
        notices.first().cloned()
    })
    .await;
    assert_eq!(first["content"]["msgtype"], "m.notice");
    bed.joins(&room, BOB, "BE", now());
    bed.leaves(&other, CAROL, "CD", now());
    let edit = eventually("the edit", 30, async || {
        let notices = notices(&bed, &room).await;
        notices.get(1).cloned()
    })
    .await;
    let relation = &edit["content"]["m.relates_to"];
    assert_eq!(relation["rel_type"], "m.replace");
    assert_eq!(relation["event_id"], first["event_id"]);
    let new = edit["content"]["m.new_content"]["body"].as_str().unwrap();
    assert!(new.starts_with("Over: "), "{new}");
    pause(2000).await;
    let all = notices(&bed, &room).await;
    assert_eq!(all.len(), 2, "{all:?}");
    for one in &all {
        for word in [&*other, "secret plan", CAROL] {
            assert!(!one.to_string().contains(word), "{word}: {one}");
        }
    }

    assert!(notices(&bed, &other).await.is_empty());
    app.app.stop().await;
}

#[tokio::test]
async fn while_it_is_blind_that_is_told_and_nothing_of_calls_is_over() {
    let bed = Bed::new().await;
    let (room, elsewhere) = (bed.room(&[ALICE]), bed.room(&[BOB]));
    let receiver = Receiver::start();
    let text =
        webhook("ops", &receiver.url) + &rule("all", "\"alone\", \"call_ended\", \"token_dead\"");
    let app = start(&bed, &text, Clock::watched()).await;
    app.ready().await;
    bed.joins(&room, ALICE, "AD", now());
    let taken = until_taken(&receiver, 1).await;
    assert_eq!(words_of_alerts(&taken), ["fired alone"]);
    bed.hs.revoke(&bed.token);
    // Only what happens elsewhere ends the request that waits.
    bed.joins(&elsewhere, BOB, "BD", now());
    let taken = until_taken(&receiver, 2).await;
    assert_eq!(words_of_alerts(&taken)[1..], ["fired token_dead"]);
    bed.leaves(&room, ALICE, "AD", now());
    pause(3000).await;
    assert_eq!(receiver.taken().len(), 2);
    app.app.stop().await;
}

#[tokio::test]
async fn every_other_channel_gets_its_form() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let (ntfy, manager, ping) = (Receiver::start(), Receiver::start(), Receiver::start());
    let text = format!(
        "[[channel]]\nname = \"ntfy\"\ntype = \"ntfy\"\nurl = \"{}\"\ntopic = \"calls\"\noperator = true
[[channel]]\nname = \"am\"\ntype = \"alertmanager\"\nurl = \"{}\"\noperator = true
[[channel]]\nname = \"dead\"\ntype = \"ping\"\nurl = \"{}/uuid\"
{}",
        ntfy.url,
        manager.url,
        ping.url,
        rule("calls", "\"alone\"")
    );
    let app = start(&bed, &text, Clock::watched()).await;
    app.ready().await;
    bed.joins(&room, ALICE, "AD", now());
    let sent = until_taken(&ntfy, 1).await.remove(0).json();
    assert_eq!(
        (&sent["topic"], &sent["priority"]),
        (&"calls".into(), &3.into())
    );
    assert_eq!(sent["title"], "Somebody is alone in a call in A room");
    let sent = until_taken(&manager, 1).await.remove(0);
    assert_eq!(sent.path, "/api/v2/alerts");
    let labels = &sent.json()[0]["labels"];
    assert_eq!(labels["alertname"], "callscope_alone");
    assert_eq!(until_taken(&ping, 1).await[0].path, "/uuid");
    bed.leaves(&room, ALICE, "AD", now());
    let taken = until_taken(&manager, 2).await;
    let ended = taken[1].json();
    assert_eq!(&ended[0]["labels"], labels);
    assert_ne!(ended[0]["endsAt"], sent.json()[0]["endsAt"]);
    app.app.stop().await;
}
