//! Repairs by a poll, on each database.

use crate::store::*;

fn member(id: &str, at: i64, content: &Value) -> Value {
    json!({"event_id": id, "type": "m.call.member", "state_key": "k", "sender": "@a:h",
        "origin_server_ts": at,
        "content": content})
}

/// A poll that finds these events in the room's state.
async fn poll(store: &Writer, state: &[Value], at: i64) {
    let members = state
        .iter()
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect();
    let mut look = batch(arrivals(state));
    look.seen_ms = at;
    look.rooms[0].source = Source::Poll;
    look.rooms[0].snapshot = Some(StateSnapshot {
        asked_ms: at,
        members,
        people: std::collections::BTreeSet::new(),
    });
    write_batch(store, &Rules::default(), &look).await.unwrap();
}

/// Start, end and reason of every stay, as known at `now`.
async fn stays(store: &Writer, now: i64) -> Vec<(i64, Option<i64>, String)> {
    let calls = all_calls(store).await;
    let members = members_of(store, &calls).await;
    let mut stays: Vec<_> = members
        .iter()
        .map(|member| {
            let stay = &member.stay;
            (
                stay.joined_ms,
                stay.left_ms(now),
                stay.end_reason.to_string(),
            )
        })
        .collect();
    stays.sort();

    stays
}

#[test]
fn a_poll_repairs_what_no_event_told() {
    block(async {
        let (store, place) = open().await;
        let t = 1_700_000_000_000;
        let join = joined()["content"].clone();
        let (joins, leaves) = (member("$1", t, &join), member("$2", t + 10, &json!({})));
        let open_stay = |from: i64| (from, None, "expired".to_owned());
        write_batch(
            &store,
            &Rules::default(),
            &batch(arrivals(&[joins.clone(), leaves.clone()])),
        )
        .await
        .unwrap();
        poll(&store, std::slice::from_ref(&leaves), t + 20).await;
        let left = (t, Some(t + 10), "left".to_owned());
        assert_eq!(
            stays(&store, t + 20).await,
            std::slice::from_ref(&left),
            "nothing to repair"
        );
        for at in [t + 30, t + 40] {
            poll(&store, std::slice::from_ref(&joins), at).await;
            let back = [left.clone(), open_stay(t + 30)];
            assert_eq!(
                stays(&store, at).await,
                back,
                "a state reset brought the join back; it is said once"
            );
        }

        poll(&store, &[], t + 50).await;
        let gone = (t + 30, Some(t + 50), "left".to_owned());
        assert_eq!(
            stays(&store, t + 50).await,
            [left.clone(), gone.clone()],
            "the key vanished"
        );
        poll(&store, std::slice::from_ref(&joins), t + 60).await;
        assert_eq!(
            stays(&store, t + 60).await,
            [left.clone(), gone.clone(), open_stay(t + 60)],
            "and is there again"
        );
        poll(&store, std::slice::from_ref(&leaves), t + 70).await;
        let reset = (t + 60, Some(t + 70), "left".to_owned());
        assert_eq!(
            stays(&store, t + 70).await,
            [left, gone, reset],
            "reset to the older leave"
        );
        done(store, place).await;
    });
}
