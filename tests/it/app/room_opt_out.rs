//! A room that asks not to be recorded: its past goes, nothing new is stored, and it can come back.

use crate::app::bed::{Bed, Running, now};
use crate::app::sieve::files_with;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::http::quote;
use serde_json::{Value, json};

const ANN: &str = "@qxann:sim.example";
const BOB: &str = "@bob:sim.example";
const MODERATOR: &str = "@moderator:sim.example";

/// A room in which the moderator may decide, and everybody may write state.
fn room_with_moderator(bed: &Bed) -> String {
    let room = bed.room(&[ANN, BOB, MODERATOR]);
    let levels = json!({"users": {MODERATOR: 50}, "state_default": 0});
    bed.hs
        .set_power_levels(&room, MODERATOR, levels, now() - 900_000);

    room
}

fn set_topic(bed: &Bed, room: &str, user: &str, topic: &str) {
    let topic = json!({"topic": topic});
    bed.hs
        .send_state(room, user, "m.room.topic", "", topic, now());
}

async fn calls_of(app: &Running, room: &str) -> Vec<Value> {
    let path = format!("/api/v1/calls?room={}", quote(room));
    app.json(&path).await["data"].as_array().unwrap().clone()
}

async fn until_unknown(app: &Running, room: &str, why: &Value) {
    eventually("why the present is unknown", 30, async || {
        (app.room(room).await["unknown_why"] == *why).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_topic_tag_ends_the_record_and_its_removal_begins_it_again() {
    let bed = Bed::new().await;
    let room = room_with_moderator(&bed);
    let other = bed.room(&[MODERATOR]);
    bed.joins(&room, ANN, "AD", now() - 600_000);
    bed.leaves(&room, ANN, "AD", now() - 500_000);
    bed.joins(&room, ANN, "AD", now() - 60_000);
    bed.joins(&other, MODERATOR, "MD", now() - 60_000);
    let app = bed.start().await;
    app.once_read(&room).await;
    assert_eq!(calls_of(&app, &room).await.len(), 2);

    // Somebody without power hides the room only.
    set_topic(&bed, &room, BOB, "Hello [callscope: off]");
    bed.joins(&room, ANN, "AD2", now());
    eventually("the second device", 30, async || {
        (calls_of(&app, &room).await[0]["devices"] == 2).then_some(())
    })
    .await;
    assert_eq!(calls_of(&app, &room).await.len(), 2);

    set_topic(&bed, &room, MODERATOR, "Hello [callscope: off]");
    until_unknown(&app, &room, &json!("opted_out")).await;
    assert!(calls_of(&app, &room).await.is_empty());
    let unrecorded = bed.joins(&room, ANN, "AD3", now());
    bed.hs.redact(&room, ANN, &unrecorded, now());
    set_topic(&bed, &room, MODERATOR, "Good day [callscope: off]");
    bed.joins(&other, MODERATOR, "MD2", now());
    eventually("what came later", 30, async || {
        (calls_of(&app, &other).await[0]["devices"] == 2).then_some(())
    })
    .await;
    assert!(calls_of(&app, &room).await.is_empty());
    let overview = app.json("/api/v1/overview").await;
    assert_eq!(overview["unknown_rooms"], 0, "it is nobody's trouble");
    let pool = sqlx::AnyPool::connect(bed.database.url()).await.unwrap();
    let log = "select detail from audit_log where kind = 'opted_out'";
    let log: Vec<String> = sqlx::query_scalar(log).fetch_all(&pool).await.unwrap();
    assert_eq!(log, [room.as_str()]);
    pool.close().await;
    app.app.stop().await;
    if Database::are_files() {
        assert_eq!(files_with(bed.folder.path(), "qxann"), Vec::<String>::new());
    }

    let app = bed.start().await;
    app.ready().await;
    assert!(calls_of(&app, &room).await.is_empty());
    set_topic(&bed, &room, MODERATOR, "Hello");
    until_unknown(&app, &room, &Value::Null).await;
    bed.joins(&room, ANN, "AD4", now() + 1000);
    eventually("a new call", 30, async || {
        let calls = calls_of(&app, &room).await;
        (calls.len() == 1 && calls[0]["devices"] == 1).then_some(())
    })
    .await;
    app.app.stop().await;
}

#[tokio::test]
async fn a_room_that_opted_out_before_is_never_recorded() {
    let bed = Bed::new().await;
    let room = room_with_moderator(&bed);
    bed.joins(&room, ANN, "AD", now() - 600_000);
    let none = json!({"visibility": "none"});
    bed.hs.send_state(
        &room,
        MODERATOR,
        "org.callscope.visibility",
        "",
        none,
        now() - 550_000,
    );
    bed.joins(&room, ANN, "AD2", now() - 500_000);
    let app = bed.start().await;
    app.once_read(&room).await;
    until_unknown(&app, &room, &json!("opted_out")).await;
    assert!(calls_of(&app, &room).await.is_empty());
    app.app.stop().await;
    if Database::are_files() {
        assert_eq!(files_with(bed.folder.path(), "qxann"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_an_operator_decided_goes_before_an_opt_out() {
    let bed = Bed::new().await;
    let room = room_with_moderator(&bed);
    bed.joins(&room, ANN, "AD", now() - 60_000);
    let app = bed.start().await;
    app.once_read(&room).await;
    let pool = sqlx::AnyPool::connect(bed.database.url()).await.unwrap();
    sqlx::query("update rooms set shown_by_operator = 'members'")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    set_topic(&bed, &room, MODERATOR, "Hello [callscope: off]");
    bed.joins(&room, ANN, "AD2", now());
    eventually("the second device", 30, async || {
        let calls = calls_of(&app, &room).await;
        (calls.len() == 1 && calls[0]["devices"] == 2).then_some(())
    })
    .await;
    app.app.stop().await;
}
