//! Events with the maximum nesting depth do not prevent later writes.

use crate::store::*;

/// A join whose content is nested as deeply as can just be parsed.
fn deep(at: i64) -> Value {
    let mut content = json!({"application": "m.call", "call_id": "", "device_id": "D",
        "expires": 14_400_000,
        "focus_active": {"type": "livekit"}});
    content["deep"] = (0..122).fold(json!(1), |inner, _| json!([inner]));

    json!({"event_id": format!("${at}"), "type": "m.call.member", "state_key": "k",
        "sender": "@a:h",
        "origin_server_ts": 1_700_000_000_000 + at * 1000, "content": content})
}

#[test]
fn a_checkpoint_that_is_too_deep_to_read_is_none() {
    block(async {
        let (store, _place) = open().await;
        let all: Vec<Value> = (0..100).map(deep).collect();
        assert!(
            serde_json::from_str::<Value>(&all[0].to_string()).is_ok(),
            "it comes through an answer"
        );
        for some in all.chunks(10) {
            write_all(&store, arrivals(some), &[10]).await;
        }

        let calls = all_calls(&store).await;
        assert_eq!(calls.len(), 1);
        // An older event that came first changes the same fold.
        write_all(&store, arrivals(&[deep(-1)]), &[1]).await;
    });
}

/// A sender chooses the times of its events: more of one instant than a page holds.
#[test]
fn a_rebuild_ends_where_many_events_have_one_time() {
    block(async {
        let (store, _place) = open().await;
        let store = store.with_tuning(Tuning {
            page: 4,
            ..Tuning::default()
        });
        let at_once: Vec<Value> = (0..40)
            .map(|number| {
                let mut event = deep(0);
                event["event_id"] = json!(format!("$once{number}"));
                event["content"]["deep"] = json!(1);
                event
            })
            .collect();
        write_all(&store, arrivals(&at_once), &[40]).await;
        let before = stored(&store).await;
        let limit = std::time::Duration::from_mins(1);
        let after = tokio::time::timeout(limit, rebuilt(&store)).await;

        assert_eq!(after.unwrap(), before);
    });
}
