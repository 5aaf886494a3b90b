//! Sign-in by a code across two federated homeservers: the program sends it in a direct room.

use crate::support::app::{App, Settings};
use crate::support::eventually;
use crate::support::http::{Http, quote};
use crate::support::synapse::Bed;
use crate::support::visitor::Visitor;
use reqwest::StatusCode;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A visitor who signs in with a code.
trait SignIn {
    async fn ask(&mut self, user_id: &str) -> (StatusCode, String, Duration);
    async fn enter(&mut self, code: &str) -> StatusCode;
}

impl SignIn for Visitor {
    /// Asks for a code; returns the answer without what is random, and how long it took.
    async fn ask(&mut self, user_id: &str) -> (StatusCode, String, Duration) {
        self.get("/sign-in").await;
        let begun = Instant::now();
        let answer = self
            .post("/sign-in", "/sign-in/code", &[("user_id", user_id)])
            .await;
        let took = begun.elapsed();
        let (status, place) = (answer.status(), answer.headers()["location"].clone());

        (status, place.to_str().unwrap().to_owned(), took)
    }

    async fn enter(&mut self, code: &str) -> StatusCode {
        let fields = [("code", code)];
        self.post("/sign-in/code", "/sign-in/code/check", &fields)
            .await
            .status()
    }
}

/// The code in a text: two groups of five signs.
fn code_in(text: &str) -> String {
    let (_, rest) = text.split_once(" is ").unwrap();
    let is_sign = |sign: &char| sign.is_ascii_uppercase() || sign.is_ascii_digit();
    let signs: String = rest.chars().take(11).filter(is_sign).collect();
    assert_eq!(signs.len(), 10, "{text}");

    signs
}

#[tokio::test]
#[ignore = "needs Synapse and Node.js: `scripts/test synapse`"]
async fn a_member_on_another_server_gets_a_code_and_a_stranger_gets_nothing() {
    let bed = Bed::start(2).await;
    let watcher = bed.user(0, "watcher").await;
    let bob = bed.user(0, "bob").await;
    let (alice, zoe) = (bed.user(1, "alice").await, bed.user(1, "zoe").await);
    let room = bob.create_room(json!({"name": "The shared room"})).await;
    let other = bob.create_room(json!({"name": "Without Alice"})).await;
    for known in [&room, &other] {
        watcher.join(known, &bob).await;
    }
    alice.join(&room, &bob).await;

    let settings =
        Settings::observe(&watcher, &bed.folder("codes")).with("CALLSCOPE_SIGN_IN_BY_CODE", "true");
    let app = App::ready(&settings).await;
    eventually("Alice is known, and codes can be sent", 60, async || {
        let offered = Visitor::at(&app).get("/sign-in").await;
        offered.contains("Send me a code").then_some(())
    })
    .await;
    let mut unasked = Visitor::at(&app);
    assert!(!unasked.get("/rooms").await.contains("shared room"));

    // The same answer for all; only Alice hears of it.
    let mut visitor = Visitor::at(&app);
    let mut stranger = Visitor::at(&app);
    let of_stranger = stranger.ask(&zoe.user_id).await;
    let of_alice = visitor.ask(&alice.user_id).await;
    assert_eq!(
        (of_alice.0, of_alice.1.as_str()),
        (StatusCode::SEE_OTHER, "/sign-in/code?next=%2F")
    );
    assert_eq!((of_stranger.0, of_stranger.1), (of_alice.0, of_alice.1));
    let (one, two) = (of_stranger.2, of_alice.2);
    assert!(
        one.abs_diff(two) < Duration::from_millis(500),
        "{one:?} {two:?}"
    );

    let invitation = eventually("an invitation comes", 60, async || {
        alice.list_invitations().await.into_iter().next()
    })
    .await;
    assert!(invitation.is_direct);
    let direct = invitation.room_id;
    alice.join(&direct, &watcher).await;
    let text = eventually("the code comes", 60, async || {
        alice.read_texts(&direct).await.into_iter().next()
    })
    .await;
    let code = code_in(&text);

    // Wrong, from a browser that did not ask, right, and again.
    let wrong = format!(
        "{}{}",
        if code.starts_with('A') { 'B' } else { 'A' },
        &code[1..]
    );
    assert_eq!(visitor.enter(&wrong).await, StatusCode::FORBIDDEN);
    assert_eq!(stranger.enter(&code).await, StatusCode::FORBIDDEN);
    assert_eq!(unasked.enter(&code).await, StatusCode::FORBIDDEN);
    assert_eq!(visitor.enter(&code).await, StatusCode::SEE_OTHER);
    let rooms = visitor.get("/rooms").await;
    assert!(rooms.contains("The shared room"), "{rooms}");
    assert!(!rooms.contains("Without Alice"), "{rooms}");
    let mut again = Visitor::at(&app);
    again.cookies = visitor.cookies.clone();
    again.cookies.remove("callscope");
    assert_eq!(again.enter(&code).await, StatusCode::FORBIDDEN);

    // A second code comes in the same room.
    let mut visitor = Visitor::at(&app);
    visitor.ask(&alice.user_id).await;
    let second = eventually("another code comes", 60, async || {
        alice.read_texts(&direct).await.into_iter().nth(1)
    })
    .await;
    assert_eq!(
        visitor.enter(&code_in(&second)).await,
        StatusCode::SEE_OTHER
    );

    // Whoever left is not written to, nor invited again.
    let leave = format!("/_matrix/client/v3/rooms/{}/leave", quote(&direct));
    alice.http.post(&leave, &json!({})).await.ok();
    eventually("the watcher's server knows that she left", 60, async || {
        let membership = watcher.membership(&direct, &alice).await;
        (membership.as_deref() == Some("leave")).then_some(())
    })
    .await;
    let mut visitor = Visitor::at(&app);
    assert_eq!(visitor.ask(&alice.user_id).await.0, StatusCode::SEE_OTHER);
    eventually("it is not sent", 60, async || {
        app.log().contains("did not send a code").then_some(())
    })
    .await;
    assert_eq!(alice.list_invitations().await, []);

    // Too many for one id from one address; and the direct room is not watched.
    let mut visitor = Visitor::at(&app);
    let fields = [("user_id", alice.user_id.as_str())];
    let limited = visitor.post("/sign-in", "/sign-in/code", &fields).await;
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(zoe.list_invitations().await, [], "the stranger got nothing");
    let known = rooms_of(&app, &settings).await;
    assert_eq!(known, BTreeSet::from([other, room]));
    assert!(!app.log().contains(&code), "no code in the log");
    app.kill();
}

/// The ids of all rooms that the program knows.
async fn rooms_of(app: &App, settings: &Settings) -> BTreeSet<String> {
    let settings = settings.clone();
    let add_key = move || settings.run(&["key", "add", "test", "--scope", "all"]);
    let output = tokio::task::spawn_blocking(add_key).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let key = Http::new(&app.http.base, said.lines().next());
    let rooms = key.get("/api/v1/rooms").await.ok();
    let rooms = rooms["data"].as_array().unwrap().iter();

    rooms
        .map(|room| room["room_id"].as_str().unwrap().to_owned())
        .collect()
}
