//! A widget in a room: the real homeserver says whose token it is.

use crate::support::account::Account;
use crate::support::eventually;
use crate::support::http::quote;
use crate::support::synapse::Bed;
use callscope::app::App;
use callscope::clock::Clock;
use callscope::config::Config;
use callscope::matrix::probe::Prober;
use callscope::store::ingest::direct_rooms::shares_watched_room;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// A token of the widget API, as a client gets it.
async fn openid_token(account: &Account) -> Value {
    let user = quote(&account.user_id);
    let path = format!("/_matrix/client/v3/user/{user}/openid/request_token");

    account.http.post(&path, &json!({})).await.ok()
}

/// Exchanges a token for a session of this room.
async fn exchange(base: &str, token: &Value, room: &str) -> (StatusCode, Value) {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("server", token["matrix_server_name"].as_str().unwrap())
        .append_pair("token", token["access_token"].as_str().unwrap())
        .append_pair("room", room)
        .finish();
    let client = Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(format!("{base}/widget/session"))
        .body(body)
        .send()
        .await
        .unwrap();
    let status = answer.status();

    (
        status,
        serde_json::from_str(&answer.text().await.unwrap()).unwrap(),
    )
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_token_of_a_member_opens_the_room_and_nothing_else() {
    let bed = Bed::start(1).await;
    let (watcher, alice) = (bed.user(0, "watcher").await, bed.user(0, "alice").await);
    let zoe = bed.user(0, "zoe").await;
    let private = json!({"name": "The room", "preset": "public_chat"});
    let room = alice.create_room(private).await;
    let other = alice.create_room(json!({"name": "Another room"})).await;
    for known in [&room, &other] {
        watcher.join(known, &alice).await;
    }

    let folder = bed.folder("widget");
    let settings = [
        ("HOMESERVER_URL", watcher.http.base.clone()),
        ("ACCESS_TOKEN", watcher.token.clone()),
        (
            "DATABASE_URL",
            format!("sqlite://{}", folder.join("callscope.db").display()),
        ),
        ("BIND", "127.0.0.1:0".to_owned()),
        ("SIGN_IN_BY_WIDGET", "true".to_owned()),
    ];
    let settings = settings.map(|(key, value)| (format!("CALLSCOPE_{key}"), value));
    let config = Config::load(None, settings.into_iter()).unwrap();
    // The homeserver has no public address, so its name leads to it by the test's hand.
    let place = bed
        .server(0)
        .url
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let app = App::start_with(&config, Clock::System, || Prober::towards(place))
        .await
        .unwrap();
    let base = format!("http://{}", app.address);
    eventually("the room is known", 60, async || {
        let is_known = shares_watched_room(&app.store, &alice.user_id).await;
        is_known.unwrap().then_some(())
    })
    .await;
    let (status, body) = exchange(&base, &openid_token(&alice).await, &room).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let secret = body["token"].as_str().unwrap().to_owned();

    let client = Client::builder().no_proxy().build().unwrap();
    let get = async |path: String| {
        let request = client.get(format!("{base}{path}")).bearer_auth(&secret);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let (status, page) = get(format!("/embed/rooms/{}", quote(&room))).await;
    assert!(
        status == StatusCode::OK && page.contains("The room"),
        "{page}"
    );
    let (status, _) = get(format!("/embed/rooms/{}", quote(&other))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, rooms) = get("/api/v1/rooms".to_owned()).await;
    assert!(
        rooms.contains("The room") && !rooms.contains("Another room"),
        "{rooms}"
    );

    // Used, made up, of somebody who is not in the room, and of another server.
    let used = openid_token(&alice).await;
    assert_eq!(exchange(&base, &used, &room).await.0, StatusCode::OK);
    assert_eq!(exchange(&base, &used, &room).await.0, StatusCode::FORBIDDEN);
    let mut wrong = openid_token(&alice).await;
    wrong["access_token"] = json!("guessed");
    assert_eq!(
        exchange(&base, &wrong, &room).await.0,
        StatusCode::FORBIDDEN
    );
    let of_zoe = openid_token(&zoe).await;
    assert_eq!(
        exchange(&base, &of_zoe, &room).await.0,
        StatusCode::FORBIDDEN
    );
    let mut elsewhere = openid_token(&alice).await;
    elsewhere["matrix_server_name"] = json!("evil.example");
    assert_eq!(
        exchange(&base, &elsewhere, &room).await.0,
        StatusCode::FORBIDDEN
    );
    app.stop().await;
}
