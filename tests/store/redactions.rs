//! Only a redaction redacts, and only what is new is counted as such, on each database.

use crate::*;

/// How many events there are, and until when the only stay lasts and why it ends.
async fn all(store: &Store) -> (i64, Vec<(i64, String)>) {
    let calls = sessions::page(
        store,
        Viewer::Operator,
        &CallFilter::default(),
        None,
        99,
        LATER,
    )
    .await
    .unwrap();
    let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
    let members = memberships::of(store, Viewer::Operator, &ids)
        .await
        .unwrap();
    let events = gauges::read(store, Viewer::Operator).await.unwrap().events;
    (
        events,
        members
            .into_iter()
            .map(|member| (member.until_ms, member.end_reason))
            .collect(),
    )
}

#[test]
fn a_stranger_s_key_redacts_nothing() {
    block(async {
        let (store, place) = open().await;
        let joins = joined();
        let target = joins["event_id"].as_str().unwrap();
        let claim = |id: &str, kind: &str| {
            json!({"event_id": id, "type": kind, "sender": "@m:h", "origin_server_ts": joins["origin_server_ts"].as_i64().unwrap() + 1,
                "redacts": target, "content": {"redacts": target}})
        };
        let ring = claim("$ring", "org.matrix.msc4075.rtc.notification");
        write(
            &store,
            &Rules::default(),
            &batch(arrivals(&[joins.clone(), ring])),
        )
        .await
        .unwrap();
        let (_, before) = all(&store).await;
        assert_eq!(before.len(), 1);
        assert_ne!(before[0].1, "redacted");
        rebuilt(&store).await;
        assert_eq!(all(&store).await.1, before, "a rebuild says the same");
        let redaction = claim("$redaction", "m.room.redaction");
        write(&store, &Rules::default(), &batch(arrivals(&[redaction])))
            .await
            .unwrap();
        assert_ne!(
            all(&store).await.1,
            before,
            "the same from a redaction counts"
        );
        drop(place);
    });
}

#[test]
fn what_is_known_is_not_counted_again() {
    block(async {
        let (store, place) = open().await;
        let other = |id: &str| {
            json!({"event_id": id, "type": "m.room.topic", "state_key": "", "sender": "@a:h",
            "origin_server_ts": 1, "content": {}})
        };
        let known = [other("$1"), other("$2")];
        write(&store, &Rules::default(), &batch(arrivals(&known)))
            .await
            .unwrap();
        for _ in 0..2 {
            let again = [&known[..], &[other("$3"), other("$3")]].concat();
            write(&store, &Rules::default(), &batch(arrivals(&again)))
                .await
                .unwrap();
            assert_eq!(all(&store).await.0, 3);
        }
        drop(place);
    });
}
