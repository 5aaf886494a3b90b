//! Probes of other servers and SFUs: only if enabled, only public data, each once.

use crate::app::bed::{Bed, MEMBER, Running, join, key, now};
use crate::support::eventually;
use serde_json::{Value, json};

const ALICE: &str = "@alice:sim.example";
const BOB: &str = "@bob:other.example";
/// Every second, to check that a server that was asked once is not asked again.
const ON: [(&str, &str); 2] = [("PROBE_ENABLED", "true"), ("PROBE_SCHEDULE", "* * * * * *")];

async fn probed(app: &Running, path: &str, at: &[&str]) -> Value {
    eventually("it was asked", 30, async || {
        let page = app.json(path).await;
        at.iter()
            .all(|at| page.pointer(at).is_some_and(|probe| !probe.is_null()))
            .then_some(page)
    })
    .await
}

/// A call of two servers, each of which names one SFU; both publish another two.
async fn asking() -> (Bed, Running) {
    let bed = Bed::new().await;
    bed.hs.set_feature("org.matrix.msc4140", true);
    bed.hs.set_transports(vec![
        json!({ "type": "livekit", "livekit_service_url": "https://sfu.example" }),
        json!({ "type": "livekit", "livekit_service_url": "https://new.example/jwt" }),
    ]);
    let room = bed.room(&[ALICE, BOB]);
    let app = bed.start_probing(&ON).await;
    app.ready().await;
    bed.joins(&room, ALICE, "AD", now());
    let mut other = join("BD");
    other["foci_preferred"][0]["livekit_service_url"] = "https://old.example/jwt/".into();
    bed.hs
        .send_state(&room, BOB, MEMBER, &key(BOB, "BD"), other, now());
    app.calls_until("two people", |calls| {
        calls.len() == 1 && calls[0]["people"] == 2
    })
    .await;

    (bed, app)
}

#[tokio::test]
async fn a_server_is_asked_what_it_publishes_and_that_is_held_against_what_its_people_name() {
    let (_bed, app) = asking().await;
    let all = [
        "/drift/named_only/0",
        "/sfus/0/probe",
        "/sfus/1/probe",
        "/sfus/2/probe",
    ];
    let page = probed(&app, "/api/v1/servers/other.example", &all).await;
    let probe = &page["probe"];
    assert_eq!(
        (&probe["well_known"]["state"], &probe["versions"]["state"]),
        (&json!("ok"), &json!("ok")),
        "{probe}"
    );
    assert_eq!(
        probe["sfus"],
        json!(["https://sfu.example", "https://new.example/jwt"])
    );
    assert_eq!(
        (&probe["delayed_events"], &page["probing"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        page["drift"]["named_only"],
        json!(["https://old.example/jwt"])
    );
    assert_eq!(
        page["drift"]["published_only"],
        json!(["https://new.example/jwt", "https://sfu.example"])
    );
    let sfu = |sfu: &Value| {
        json!([
            sfu["service_url"],
            sfu["published"],
            sfu["named"],
            sfu["probe"]["health"]["state"]
        ])
    };

    let sfus: Vec<Value> = page["sfus"].as_array().unwrap().iter().map(sfu).collect();
    let want = json!([
        ["https://new.example/jwt", true, false, "ok"],
        ["https://old.example/jwt", false, true, "ok"],
        ["https://sfu.example", true, false, "ok"],
    ]);
    assert_eq!(json!(sfus), want);
    let html = app.page("/servers/other.example").await;
    for words in [
        "named by its people, and not published",
        "Names 2 SFUs",
        "published, and named by nobody",
    ] {
        assert!(html.contains(words), "{words}: {html}");
    }

    app.app.stop().await;
}

#[tokio::test]
async fn servers_and_sfus_of_calls_are_asked_once_each() {
    let (bed, app) = asking().await;
    let list = probed(&app, "/api/v1/servers", &["/data/0/probe", "/data/1/probe"]).await;
    assert_eq!(
        list["ready"],
        json!({ "asked": 2, "answer": 2, "publish": 2, "delayed_events": 2 })
    );
    assert!(
        app.page("/servers")
            .await
            .contains("Names 2 SFUs; has delayed events")
    );
    let list = probed(
        &app,
        "/api/v1/transports",
        &["/data/0/probe", "/data/1/probe"],
    )
    .await;
    for sfu in list["data"].as_array().unwrap() {
        assert_eq!(sfu["probe"]["health"]["state"], "ok", "{sfu}");
        assert!(sfu["probe"]["took_ms"].is_i64());
    }

    assert!(app.page("/transports").await.contains("Answers in"));
    // The schedule fires each second. Three SFUs were asked once each; one of them is published,
    // but nobody names it.
    eventually("all were asked", 30, async || {
        (bed.hs.count("healthz") >= 3).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(bed.hs.count("healthz"), 3);
    app.app.stop().await;
}

#[tokio::test]
async fn what_leads_inside_is_not_asked() {
    let bed = Bed::new().await;
    let (local, numbers) = ("@mallory:localhost", "@mallory:127.0.0.1");
    let room = bed.room(&[local, numbers]);
    let app = bed.start_with(&ON).await;
    app.ready().await;
    let place = bed.hs.url().replace("http://", "https://");
    for (user, url) in [
        (local, place.clone()),
        (numbers, place.replace("127.0.0.1", "localhost")),
    ] {
        let mut content = join("MD");
        content["foci_preferred"][0]["livekit_service_url"] = url.into();
        bed.hs
            .send_state(&room, user, MEMBER, &key(user, "MD"), content, now());
    }

    app.calls_until("two people", |calls| {
        calls.len() == 1 && calls[0]["people"] == 2
    })
    .await;
    let asked = bed.hs.count(".well-known");
    for server in ["localhost", "127.0.0.1"] {
        let page = probed(&app, &format!("/api/v1/servers/{server}"), &["/probe"]).await;
        let refused =
            json!({ "state": "refused", "why": "it leads to an address that is not public" });
        assert_eq!(
            (&page["probe"]["well_known"], &page["probe"]["versions"]),
            (&refused, &refused),
            "{server}"
        );
    }

    let list = probed(
        &app,
        "/api/v1/transports",
        &["/data/0/probe", "/data/1/probe"],
    )
    .await;
    for sfu in list["data"].as_array().unwrap() {
        assert_eq!(sfu["probe"]["health"]["state"], "refused", "{sfu}");
    }

    assert!(
        app.page("/transports")
            .await
            .contains("Not asked: it leads to an address that is not public")
    );
    assert_eq!(
        (bed.hs.count("healthz"), bed.hs.count(".well-known")),
        (0, asked)
    );
    app.app.stop().await;
}

#[tokio::test]
async fn nobody_is_asked_unless_the_operator_wants_it() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE, BOB]);
    let app = bed.start_probing(&[]).await;
    app.ready().await;
    bed.joins(&room, BOB, "BD", now());
    app.calls_until("a call", |calls| calls.len() == 1).await;
    let own = bed.hs.count(".well-known");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(
        (bed.hs.count("healthz"), bed.hs.count(".well-known")),
        (0, own)
    );
    let page = app.json("/api/v1/servers/other.example").await;
    assert_eq!(
        (&page["probing"], &page["probe"], &page["drift"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    for path in ["/servers", "/servers/other.example", "/transports"] {
        let page = app.page(path).await;
        assert!(
            page.contains("Not probed: switched off") && page.contains("probe.enabled = true"),
            "{path}"
        );
    }

    app.app.stop().await;
}

#[tokio::test]
async fn whom_to_tell_about_a_server_is_asked_once_and_shown_at_its_ghosts() {
    let (bed, app) = asking().await;
    let page = probed(&app, "/api/v1/servers/other.example", &["/support"]).await;
    assert_eq!(
        page["support"]["contacts"],
        json!([{ "role": "admin", "user_id": "@admin:sim.example", "email": "admin@sim.example" }]),
        "{page}"
    );
    let html = app.page("/servers/other.example").await;
    assert!(html.contains("mailto:admin@sim.example"), "{html}");

    // The same person is silent for more than an hour.
    let room = bed.room(&[ALICE, BOB]);
    let key = key(BOB, "GHOST");
    let mut gone = join("GHOST");
    gone["m.call.intent"] = "video".into();
    let long_ago = now() - 2 * 3_600_000;
    bed.hs.send_state(&room, BOB, MEMBER, &key, gone, long_ago);
    let found = eventually("the ghost is listed", 30, async || {
        let list = app.json("/api/v1/problems?kind=silent").await;
        let first = list["data"][0].clone();
        (!first.is_null()).then_some(first)
    })
    .await;
    assert_eq!(found["support"]["server"], "other.example", "{found}");
    let path = format!("/problems/{}", found["id"].as_str().unwrap());
    assert!(app.page(&path).await.contains("mailto:admin@sim.example"));

    app.app.stop().await;
}
