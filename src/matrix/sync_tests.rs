//! The request of `/sync`, and how its answer is split.

use super::super::Error;
use super::super::stub::{Reply, Stub, json_reply, reply_of_type};
use super::*;

const FIRST: SyncRequest<'_> = SyncRequest {
    since: None,
    timeout_ms: 0,
    filter: "7",
    full_state: false,
};

async fn sync_of(answer: Value) -> Result<SyncBatch> {
    let stub = Stub::start(vec![json_reply(200, &answer)]);
    stub.client().sync(FIRST).await
}

#[tokio::test]
async fn everything_that_is_needed_is_asked_for() {
    let answer = || json_reply(200, &json!({"next_batch": "s1"}));
    let stub = Stub::start(vec![answer(), answer()]);
    let client = stub.client();
    assert_eq!(client.sync(FIRST).await.unwrap().next_batch, "s1");
    client
        .sync(SyncRequest {
            since: Some("s/1&"),
            timeout_ms: 5,
            full_state: true,
            ..FIRST
        })
        .await
        .unwrap();
    let asked = stub.requests();
    for part in [
        "timeout=0&",
        "filter=7&",
        "set_presence=offline",
        "&use_state_after=true",
        "msc4222.use_state_after=true",
    ] {
        assert!(asked[0].contains(part), "{part}: {}", asked[0]);
    }

    assert!(!asked[0].contains("since=") && !asked[0].contains("full_state"));
    assert!(
        asked[1].contains("&full_state=true&since=s%2F1%26 HTTP"),
        "{}",
        asked[1]
    );
}

#[test]
fn the_filter_has_the_types_and_no_ciphertext() {
    let filter = filter_json();
    assert_eq!(
        filter.pointer("/room/timeline/types").unwrap(),
        &json!(TYPES)
    );
    assert_eq!(filter.pointer("/room/state/types").unwrap(), &json!(TYPES));
    assert!(!filter.to_string().contains("m.room.encrypted"));
}

#[tokio::test]
async fn the_filter_is_stored_for_the_user() {
    let stub = Stub::start(vec![
        json_reply(200, &json!({"filter_id": "3"})),
        json_reply(200, &json!({})),
    ]);
    let client = stub.client();
    assert_eq!(
        client.upload_filter("@a/b:x", filter_json()).await.unwrap(),
        "3"
    );
    assert!(client.upload_filter("@a:x", filter_json()).await.is_err());
    let asked = stub.requests().remove(0);
    assert!(
        asked.starts_with("POST /_matrix/client/v3/user/@a%2Fb:x/filter HTTP"),
        "{asked}"
    );
    assert!(asked.contains("include_leave"));
}

#[tokio::test]
async fn a_room_is_read_under_stable_and_unstable_names() {
    let room = |after: &str, sticky: &str| {
        json!({
            "timeline": {"events": [{"event_id": "$t"}], "limited": true, "prev_batch": "p"},
            after: {"events": [{"event_id": "$s"}]},
            sticky: {"events": [{"event_id": "$k"}]},
        })
    };

    let rooms = json!({
        "!1": room("state_after", "sticky"),
        "!2": room("org.matrix.msc4222.state_after", "msc4354_sticky"),
        "!3": room("state", "x"),
        "!4": {"state": null},
    });
    let batch = sync_of(json!({"next_batch": "n", "rooms": {"join": rooms}}))
        .await
        .unwrap();
    assert_eq!(batch.malformed, [""; 0]);
    for room in &batch.joined[..2] {
        assert_eq!(
            (room.timeline.len(), room.state.len(), room.sticky.len()),
            (1, 1, 1),
            "{room:?}"
        );
        assert!(room.limited && room.state_is_after && room.prev_batch.as_deref() == Some("p"));
    }

    assert!(!batch.joined[2].state_is_after && batch.joined[2].state.len() == 1);
    assert_eq!(
        batch.joined[3],
        JoinedRoom {
            room_id: "!4".to_owned(),
            ..JoinedRoom::default()
        }
    );
}

#[tokio::test]
async fn sections_of_the_wrong_shape_are_named_and_the_rest_is_read() {
    let rooms = json!({
        "join": {
            "!a": {"timeline": "text", "state": {"events": {"x": 1}}, "sticky": [],
            "msc4354_sticky": {"events": [1]}},
            "!b": 7,
            "!c": {"timeline": {"events": [null, {"event_id": "$1"}]}},
        },
        "invite": [],
        "leave": {"!d": {"timeline": {"events": false}}},
    });
    let batch = sync_of(json!({"next_batch": "n", "rooms": rooms}))
        .await
        .unwrap();
    assert_eq!(batch.joined.len(), 3);
    assert_eq!(batch.joined[0].sticky, [json!(1)]);
    assert_eq!(
        batch.joined[2].timeline.len(),
        2,
        "events stay as they came"
    );
    assert_eq!(batch.left[0].room_id, "!d");
    let expected = [
        "state.events of !a is an object, not a list",
        "sticky of !a is a list, not an object",
        "timeline of !a is a text, not an object",
        "rooms.join.!b is a number, not an object",
        "rooms.invite is a list, not an object",
        "timeline.events of !d is a boolean, not a list",
    ];
    for words in expected {
        assert!(
            batch.malformed.iter().any(|found| found == words),
            "{words}: {:?}",
            batch.malformed
        );
    }

    assert_eq!(batch.malformed.len(), expected.len());
}

#[tokio::test]
async fn complaints_are_bounded() {
    let rooms: serde_json::Map<String, Value> = (0..1000)
        .map(|n| (format!("!{n}{}", "x".repeat(500)), json!(1)))
        .collect();
    let batch = sync_of(json!({"next_batch": "n", "rooms": {"join": rooms}}))
        .await
        .unwrap();
    assert_eq!(batch.malformed.len(), MALFORMED_MAX);
    assert!(batch.malformed.iter().all(|words| words.len() < 400));
}

#[tokio::test]
async fn without_a_position_it_is_no_sync() {
    for answer in [
        json!({}),
        json!({"next_batch": ""}),
        json!({"next_batch": 5}),
        json!([]),
    ] {
        let error = sync_of(answer).await.unwrap_err();
        assert!(
            matches!(error, Error::NotMatrix { .. }) && error.is_transient(),
            "{error:?}"
        );
    }

    let unknown = json!({"errcode": "M_UNKNOWN", "error": "Invalid stream token 's9_9'"});
    let stub = Stub::start(vec![json_reply(400, &unknown)]);
    let error = stub
        .client()
        .sync(SyncRequest {
            since: Some("s9_9"),
            ..FIRST
        })
        .await
        .unwrap_err();
    assert!(
        error.is_unknown_position() && !error.is_transient(),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with("GET /_matrix/client/v3/sync: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_long_poll_is_given_its_time_on_top() {
    let stub = Stub::start(vec![Reply::Hang]);
    let client = stub.client();
    let request = client.sync_request(SyncRequest {
        timeout_ms: 30_000,
        ..FIRST
    });
    assert_eq!(request.limit(), Duration::from_mins(1));
}

#[tokio::test]
async fn the_inviter_is_who_our_own_server_names() {
    let member = |sender: &str, who: &str, membership: &str| {
        json!({"type": "m.room.member",
        "sender": sender, "state_key": who, "content": {"membership": membership}})
    };
    let events = json!([
        member("@trusted:home", "@bot:home", "invite"),
        member("@mallory:evil", "@mallory:evil", "join"),
        {"type": "m.room.name", "content": {"name": "Lounge"}},
        {"type": "m.room.create", "content": {"type": "m.space"}},
        {"type": "m.room.canonical_alias", "content": {"alias": "#l:evil"}},
        member("@mallory:evil", "@bot:home", "invite"),
        member("@trusted:home", "@other:home", "invite"),
        3,
    ]);
    let rooms = json!({"invite": {"!i:evil": {"invite_state": {"events": events}}, "!j": {}}});
    let stub = Stub::start(vec![
        json_reply(200, &json!({"user_id": "@bot:home"})),
        json_reply(200, &json!({"next_batch": "n", "rooms": rooms})),
    ]);
    let client = stub.client();
    client.whoami().await.unwrap();
    let batch = client.sync(FIRST).await.unwrap();
    let invite = &batch.invited[0];
    assert_eq!(invite.inviter.as_deref(), Some("@mallory:evil"));
    assert_eq!(
        (
            invite.name.as_deref(),
            invite.alias.as_deref(),
            invite.is_space
        ),
        (Some("Lounge"), Some("#l:evil"), true)
    );
    assert_eq!(batch.invited[1].inviter, None);
}

#[tokio::test]
async fn one_hostile_event_does_not_stop_the_sync() {
    let deep = format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000));
    let huge = "9".repeat(500);
    let events = format!(
        "[{{\"content\":{deep}}},{{\"content\":\"\\ud800\"}},{{\"content\":{huge}}},{{\"event_id\":\"$ok\"}}]"
    );
    let body = format!(
        "{{\"next_batch\":\"n\",\"rooms\":{{\"join\":{{\"!a\":{{\"timeline\":{{\"events\":{events}}}}}}}}}}}"
    );
    let stub = Stub::start(vec![reply_of_type(200, "application/json", &body)]);
    let batch = stub.client().sync(FIRST).await.unwrap();
    assert_eq!(batch.joined[0].timeline.len(), 4);
    assert_eq!(batch.joined[0].timeline[3]["event_id"], "$ok");
    assert_eq!(
        batch.malformed,
        ["the answer is not JSON in places, which were replaced"]
    );
}

#[tokio::test]
async fn what_is_too_large_comes_without_its_content_in_every_section() {
    let event = |content: Value| json!({"event_id": "$1", "content": content});
    let section = json!({"events": [event(vec![json!({"a": 1}); 9_000].into()), event(json!(1))]});
    let room = json!({"timeline": section, "state": section, "sticky": section});
    let batch =
        sync_of(json!({"next_batch": "n", "rooms": {"join": {"!a": room}, "leave": {"!b": room}}}))
            .await
            .unwrap();
    let (joined, left) = (&batch.joined[0], &batch.left[0]);

    for events in [
        &joined.timeline,
        &joined.state,
        &joined.sticky,
        &left.timeline,
        &left.state,
    ] {
        assert_eq!(*events, [event("too_large".into()), event(json!(1))]);
    }
}

#[tokio::test]
async fn an_answer_of_countless_nothings_is_no_sync() {
    let events = vec![json!({"a": 1}); 200_000];
    let rooms = json!({"!a": {"timeline": {"events": events}}});
    let error = sync_of(json!({"next_batch": "n", "rooms": {"join": rooms}}))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("more small events"), "{error}");
}

#[tokio::test]
async fn what_can_be_no_id_and_no_position_is_left_out_and_stops_nothing() {
    let long = format!("!{}:x", "r".repeat(300));
    let room = |prev_batch: &str| {
        json!({"timeline": {"events": [{"type": "m.room.name", "content": {"a\u{0}": "b\u{0}"}}],
        "limited": true, "prev_batch": prev_batch}})
    };

    let far = "p".repeat(20_000);
    let answer = json!({"next_batch": "s1", "rooms": {
        "join": {&long: room("p"), "!nul\u{0}:x": room(&far)}, "invite": {&long: {}},
        "leave": {&long: room("p")}}});
    let stub = Stub::start(vec![
        json_reply(200, &answer),
        json_reply(200, &json!({"next_batch": far})),
        json_reply(200, &json!({"joined_rooms": [long, "", "!a:x"]})),
        json_reply(200, &json!({"room_id": long})),
        json_reply(200, &json!({"chunk": [], "end": far})),
    ]);
    let client = stub.client();
    let batch = client.sync(FIRST).await.unwrap();
    assert_eq!(batch.joined.len(), 1);
    assert!(batch.invited.is_empty() && batch.left.is_empty());
    assert_eq!(batch.malformed.len(), 3, "{:?}", batch.malformed);
    let room = &batch.joined[0];
    assert_eq!(room.room_id, "!nul\u{fffd}:x");
    assert!(room.limited && room.prev_batch.is_none());
    let text = serde_json::to_string(&room.timeline).unwrap();
    assert!(
        !text.contains("u0000") && text.contains("b\u{fffd}"),
        "{text}"
    );

    let error = client.sync(FIRST).await.unwrap_err();
    assert!(error.to_string().contains("next_batch"), "{error}");
    assert_eq!(client.joined_rooms().await.unwrap(), ["!a:x"]);
    let error = client.join("!a:x", &[]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let page = client.messages("!a:x", None, 5).await.unwrap();
    assert_eq!(page.end, None);
}
