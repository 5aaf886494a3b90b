//! A homeserver that applies only the limit of a filter: not a byte of unrequested events is kept.

use crate::app::alone::settings;
use crate::app::bed::{Bed, MEMBER, join, key, now};
use crate::support::app::App;
use crate::support::eventually;
use callscope::sim::NewRoom;
use serde_json::{Value, json};
use sqlx::Executor;
use std::path::Path;

const ALICE: &str = "@alice:sim.example";
const STICKY_MEMBER: &str = "org.matrix.msc4143.rtc.member";

/// Secret text in every place that we could think of.
fn say_secrets(bed: &Bed, room: &str, at: i64) {
    let hs = &bed.hs;
    let text = json!({"msgtype": "m.text", "body": "SECRET-TEXT"});
    let cipher = json!({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "SECRET-CIPHER",
        "session_id": "SECRET-SESSION",
        "device_id": "SECRET-DEVICE", "sender_key": "SECRET-KEY"});
    hs.send_event(room, ALICE, "m.room.message", text.clone(), at);
    hs.send_event(room, ALICE, "m.room.encrypted", cipher.clone(), at + 1);
    let reaction = json!({"m.relates_to": {"rel_type": "m.annotation", "key": "SECRET-REACTION"}});
    hs.send_event(room, ALICE, "m.reaction", reaction, at + 2);
    hs.send_sticky(room, ALICE, "m.room.message", text.clone(), 600_000, at + 3);
    hs.send_sticky(room, ALICE, "m.room.encrypted", cipher, 600_000, at + 4);
    hs.send_state(room, ALICE, "org.example.note", "", text, at + 5);
    hs.send_state(
        room,
        ALICE,
        "m.room.topic",
        "",
        json!({"topic": "SECRET-TOPIC"}),
        at + 6,
    );
    // Events of our types, with fields that we do not need.
    let avatar = json!({"membership": "join", "displayname": "Alice",
        "avatar_url": "mxc://SECRET-AVATAR", "reason": "SECRET"});
    hs.send_state(room, ALICE, "m.room.member", ALICE, avatar, at + 7);
    let ring = json!({"notification_type": "ring", "body": "SECRET-RING", "sender_ts": at,
        "lifetime": 30_000});
    hs.send_event(
        room,
        ALICE,
        "org.matrix.msc4075.rtc.notification",
        ring,
        at + 8,
    );

    // Events that cannot be read.
    for odd in [
        json!({"event_id": "$odd1", "type": {"SECRET-TYPE": 1}, "sender": ALICE,
            "content": {"body": "SECRET-BODY"}}),
        json!({"event_id": "$odd2", "sender": ALICE, "content": {"body": "SECRET-BODY"}}),
        json!({"event_id": "$odd3", "type": "m.room.message", "sender": 7,
            "content": {"body": "SECRET-BODY"}}),
        json!({"event_id": "$odd4", "type": MEMBER, "sender": {"x": "SECRET-SENDER"},
            "state_key": "k",
            "origin_server_ts": at, "content": {}, "body": "SECRET-TOP"}),
    ] {
        hs.send_raw(room, odd);
    }
}

/// The files of the database that contain this text.
pub fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        if bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }

    found
}

fn unasked(status: &Value, kind: &str) -> i64 {
    let list = status["unasked"].as_array().unwrap();
    let found = list.iter().find(|one| one["type"] == kind);
    found.map_or(0, |one| one["count"].as_i64().unwrap())
}

#[tokio::test]
async fn what_was_not_asked_for_is_thrown_away_and_counted() {
    let bed = Bed::new().await;
    bed.hs.ignore_filters(true);
    let room = bed.room(&[ALICE]);
    // History, the state, the first sync and then live.
    say_secrets(&bed, &room, now() - 900_000);
    for at in 0..150 {
        let text = json!({"body": format!("SECRET-OLD-{at}")});
        bed.hs
            .send_event(&room, ALICE, "m.room.message", text, now() - 800_000 + at);
    }

    bed.joins(&room, ALICE, "AD", now() - 60_000);
    let left = bed.room_like(NewRoom::default(), &[ALICE]);
    say_secrets(&bed, &left, now() - 500_000);
    let program = settings(&bed).with("CALLSCOPE_LOG", "trace,hyper_util=info,h2=info");
    let app = App::ready(&program).await;
    say_secrets(&bed, &room, now());
    say_secrets(&bed, &left, now());
    bed.hs.kick(&left, ALICE, &bed.bot, now());
    let sticky = json!({"slot_id": "m.call#ROOM", "msc4354_sticky_key": "M", "rtc_transports": [],
        "versions": [],
        "application": {"type": "m.call"}, "member": {"id": "M", "device_id": "SD",
        "user_id": ALICE}});
    bed.hs
        .send_sticky(&room, ALICE, STICKY_MEMBER, sticky, 600_000, now());
    let status = eventually("all of it was thrown away", 60, async || {
        let status = app.http.get("/api/v1/status").await.ok();
        let encrypted = status["rejected"]
            .as_array()?
            .iter()
            .any(|one| one["reason"] == "encrypted");
        (unasked(&status, "m.room.message") >= 156 && encrypted && status["history_open"] == 0)
            .then_some(status)
    })
    .await;
    for kind in ["m.room.encrypted", "m.reaction", "org.example.note"] {
        assert!(unasked(&status, kind) >= 2, "{kind}: {}", status["unasked"]);
    }

    let total: i64 = status["unasked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["count"].as_i64().unwrap())
        .sum();
    assert_eq!(status["unasked_total"], total);
    let calls = app.calls(&room).await;
    assert_eq!(
        (calls.len(), &calls[0]["people"], &calls[0]["devices"]),
        (1, &json!(1), &json!(2))
    );
    let page = reqwest::Client::new()
        .get(format!("{}/status", app.http.base))
        .header("accept", "text/html");
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(
        page.contains("The homeserver sends what was not asked for")
            && page.contains("thrown away")
    );
    let shown = app.http.get("/api/v1/rejected").await.ok().to_string();
    assert!(
        shown.contains("encrypted") && !shown.contains("SECRET"),
        "{shown}"
    );
    assert_eq!(
        files_with(bed.folder.path(), "SECRET"),
        Vec::<String>::new()
    );
    assert!(!app.log().contains("SECRET"), "the log tells");
    drop(app);
    // Another start continues the count, and a poll requests the state of everything.
    let app = App::ready(&program).await;
    let status = app.http.get("/api/v1/status").await.ok();
    assert!(unasked(&status, "m.room.message") >= 156);
    drop(app);
    assert_eq!(
        files_with(bed.folder.path(), "SECRET"),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn one_page_without_anything_of_ours_closes_no_gap() {
    let bed = Bed::new().await;
    bed.hs.ignore_filters(true);
    let room = bed.room(&[ALICE]);
    let app = bed.start().await;
    app.once_read(&room).await;
    app.app.stop().await;
    let begin = now() - 400_000;
    bed.joins(&room, ALICE, "AD", begin);
    bed.leaves(&room, ALICE, "AD", begin + 60_000);
    for at in 0..600 {
        bed.hs.send_event(
            &room,
            ALICE,
            "m.room.message",
            json!({"body": "x"}),
            begin + 70_000 + at,
        );
    }

    let app = bed.start().await;
    let calls = app
        .calls_until("the call in the gap", |calls| calls.len() == 1)
        .await;
    assert_eq!(calls[0]["started_ms"], begin);
    app.app.stop().await;
}

/// The schema of the database before the sieve, with rows as older versions wrote them.
async fn old_database(file: &Path) {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&format!("sqlite://{}?mode=rwc", file.display()))
        .await
        .unwrap();
    let all = sqlx::migrate::Migrator::new(Path::new("migrations"))
        .await
        .unwrap();
    let before: Vec<_> = all
        .iter()
        .filter(|one| one.version <= 80)
        .cloned()
        .collect();
    pool.execute("pragma journal_mode = wal").await.unwrap();
    sqlx::migrate::Migrator {
        migrations: before.into(),
        ..sqlx::migrate::Migrator::DEFAULT
    }
    .run(&pool)
    .await
    .unwrap();
    let insert = "insert into events (event_id, room_id, kind, state_key, sender, origin_server_ts, received_ms, stream,
        source, in_timeline, rejected, json, time_ms, chain, redacts)
        values ($1, '!r:h', $2, $3, $4, 5, 5, $5, 'sync', 1, $6, $7, 5, $8, $9)";
    let rows = old_rows();
    for (at, row) in rows.iter().enumerate() {
        let text = |key: &str| row["event"][key].as_str().map(ToOwned::to_owned);
        sqlx::query(insert)
            .bind(text("event_id").unwrap_or_else(|| format!("malformed:{at}")))
            .bind(row["kind"].as_str().unwrap())
            .bind(text("state_key"))
            .bind(row["event"]["sender"].as_str().unwrap_or(ALICE).to_owned())
            .bind(i64::try_from(at).unwrap() + 1)
            .bind(row["rejected"].as_str().map(ToOwned::to_owned))
            .bind(row["event"].to_string())
            .bind(row["chain"].as_str().map(ToOwned::to_owned))
            .bind(text("redacts"))
            .execute(&pool)
            .await
            .unwrap();
    }

    for sql in [
        "insert into rooms (room_id, watch, first_seen_ms) values ('!r:h', 'joined', 1)",
        "insert into sightings (event_id, room_id, vantage_id, source, seen_ms) select event_id, room_id, 'v', 'poll', 9 from events",
        "insert into scans (name, stream) values ('holes', 999)",
        "create table gone (text text)",
        "insert into gone select json from events",
        "drop table gone",
    ] {
        pool.execute(sql).await.unwrap();
    }

    pool.close().await;
}

fn old_rows() -> Vec<Value> {
    let event = |id: usize, kind: &str, content: Value| {
        json!({"event_id": format!("$old{id}"), "type": kind, "sender": ALICE,
            "origin_server_ts": 5, "content": content,
            "unsigned": {"prev_content": {"body": "SECRET-BEFORE"}, "age": 3}})
    };

    let row = |event: Value, rejected: Value| {
        json!({"kind": event["type"], "event": event,
        "rejected": rejected})
    };
    let mut rows: Vec<Value> = (0..50)
        .map(|at| {
            row(
                event(
                    at,
                    "m.room.message",
                    json!({"body": format!("SECRET-{at} {}", "x".repeat(3000))}),
                ),
                Value::Null,
            )
        })
        .collect();
    let mut sticky = event(
        60,
        "m.room.encrypted",
        json!({"ciphertext": "SECRET-CIPHER", "session_id": "SECRET-SESSION"}),
    );
    sticky["msc4354_sticky"] = json!({"duration_ms": 600_000});
    rows.push(row(sticky, json!("encrypted")));
    rows.push(row(
        event(
            61,
            "m.room.encrypted",
            json!({"ciphertext": "SECRET-CIPHER"}),
        ),
        Value::Null,
    ));
    let mut member = event(62, MEMBER, join("AD"));
    member["state_key"] = json!(key(ALICE, "AD"));
    let mut member = row(member, Value::Null);
    member["chain"] = json!("s1");
    rows.push(member);
    let mut topic = event(63, "m.room.topic", json!({"topic": "SECRET-TOPIC"}));
    topic["state_key"] = json!("");
    rows.push(row(topic, Value::Null));
    rows.push(
        json!({"kind": "", "event": {"type": "m.room.message", "content": {"body": "SECRET"}},
        "rejected": "no_event_id"}),
    );
    rows.push(
        json!({"kind": "", "event": {"content": {"body": "SECRET"}, "sender": ALICE},
        "rejected": "no_event_id"}),
    );
    // Redacted events, also those redacted by a ban.
    let mut gone = event(70, MEMBER, join("SECRET-BUT-AN-ID"));
    gone["content"]["device_id"] = json!("GD");
    gone["content"]["m.call.intent"] = json!("SECRET-INTENT");
    gone["state_key"] = json!(key(ALICE, "GD"));
    let mut gone = row(gone, Value::Null);
    gone["chain"] = json!("s2");
    rows.push(gone);
    let mut redaction = event(71, "m.room.redaction", json!({"reason": "SECRET-REASON"}));
    redaction["redacts"] = json!("$old70");
    rows.push(row(redaction, Value::Null));
    let mut ban = event(
        72,
        "m.room.member",
        json!({"membership": "ban", "redact_events": true}),
    );
    ban["sender"] = json!("@mod:h");
    ban["state_key"] = json!("@banned:h");
    rows.push(row(ban, Value::Null));
    let mut named = event(73, "m.room.name", json!({"name": "SECRET-NAME"}));
    named["sender"] = json!("@banned:h");
    named["state_key"] = json!("");
    rows.push(row(named, Value::Null));
    let tombstone = json!({"body": "SECRET-BODY", "replacement_room": "!next:h"});
    let mut tombstone = event(74, "m.room.tombstone", tombstone);
    tombstone["state_key"] = json!("");
    rows.push(row(tombstone, Value::Null));
    let taken_back = json!({"body": "SECRET-BODY", "replacement_room": "!SECRET:h"});
    let mut taken_back = event(69, "m.room.tombstone", taken_back);
    taken_back["sender"] = json!("@banned:h");
    taken_back["state_key"] = json!("");
    rows.push(row(taken_back, Value::Null));

    rows
}

#[tokio::test]
async fn an_old_database_loses_what_was_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callscope.db");
    old_database(&file).await;
    assert!(
        !files_with(folder.path(), "SECRET").is_empty(),
        "the test is one"
    );
    let store = callscope::store::Writer::open(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    // The backup before the upgrade is the database as it was; the log says that it keeps all.
    let with_secrets = || {
        let mut files = files_with(folder.path(), "SECRET");
        files.retain(|file| !file.contains(".before-upgrade-from-"));

        files
    };
    assert_eq!(with_secrets(), Vec::<String>::new());
    store.close().await;
    assert_eq!(with_secrets(), Vec::<String>::new());
    let pool = sqlx::AnyPool::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let kept: Vec<(String, String, String)> =
        sqlx::query_as("select event_id, kind, json from events order by stream")
            .fetch_all(&pool)
            .await
            .unwrap();
    let ids: Vec<&str> = kept.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(ids.len(), 10, "{kept:?}");
    assert_eq!(ids[..3], ["$old60", "$old62", "$old63"]);
    assert!(ids[3].starts_with("malformed:"));
    let stays: String = sqlx::query_scalar("select kept from events where event_id = '$old70'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(
        stays.contains("GD") && kept[4].2.contains("redacted_because"),
        "{stays}: {}",
        kept[4].2
    );
    let banned: Option<i64> =
        sqlx::query_scalar("select redacted_ms from events where event_id = '$old73'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(banned, Some(5));
    let member: Value = serde_json::from_str(&kept[1].2).unwrap();
    assert_eq!(
        (&member["content"], &member["unsigned"]),
        (&join("AD"), &json!({"age": 3}))
    );
    let sightings: i64 = sqlx::query_scalar("select count(*) from sightings")
        .fetch_one(&pool)
        .await
        .unwrap();
    let scanned: i64 = sqlx::query_scalar("select stream from scans")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!((sightings, scanned), (10, 62));
    let rules: Vec<(String, String)> =
        sqlx::query_as("select event_id, json from room_rules order by event_id")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert_eq!(rules[0].1, json!({"content": {}}).to_string());
    assert!(rules[1].1.contains("!next:h"), "{rules:?}");
    let replaced: (Option<String>, Option<i64>) =
        sqlx::query_as("select replaced_by, replaced_ms from rooms")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(replaced, (Some("!next:h".to_owned()), Some(5)));
    pool.close().await;
}
