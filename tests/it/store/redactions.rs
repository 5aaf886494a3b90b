//! Only a redaction redacts, and only new redactions are counted, on each database.

use crate::store::*;
use callscope::store::ingest::write::redact_next_of_ban;
use callscope::store::read::events;

/// The number of events, and the end and end reason of the only stay.
async fn all(store: &Writer) -> (i64, Vec<(i64, String)>) {
    let calls = all_calls(store).await;
    let members = members_of(store, &calls).await;
    let events = gauges::read_gauges(store).await.unwrap().events;

    (
        events,
        members
            .into_iter()
            .map(|member| (member.stay.until_ms, member.stay.end_reason.to_string()))
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
            json!({"event_id": id, "type": kind, "sender": "@m:h",
                "origin_server_ts": joins["origin_server_ts"].as_i64().unwrap() + 1,
                "redacts": target, "content": {"redacts": target}})
        };

        let ring = claim("$ring", "org.matrix.msc4075.rtc.notification");
        write_batch(
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
        write_batch(&store, &Rules::default(), &batch(arrivals(&[redaction])))
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
        write_batch(&store, &Rules::default(), &batch(arrivals(&known)))
            .await
            .unwrap();
        for _ in 0..2 {
            let again = [&known[..], &[other("$3"), other("$3")]].concat();
            write_batch(&store, &Rules::default(), &batch(arrivals(&again)))
                .await
                .unwrap();
            assert_eq!(all(&store).await.0, 3);
        }

        drop(place);
    });
}

#[test]
fn a_ban_takes_back_any_number_of_events_in_parts_and_goes_on_after_a_stop() {
    block(async {
        let (store, place) = open().await;
        let events: Vec<Value> = (0..1200)
            .map(|at| {
                json!({"event_id": format!("$m{at}"), "type": "org.matrix.msc3401.call.member",
                    "state_key": format!("_@m:h_D{}", at % 7), "sender": "@m:h",
                    "origin_server_ts": 1000 + at,
                    "content": {"application": "m.call", "call_id": "", "device_id": format!("D{}",
                    at % 7),
                        "focus_active": {"type": "livekit"}, "secret": "SECRET"}})
            })
            .collect();
        write_batch(&store, &Rules::default(), &batch(arrivals(&events)))
            .await
            .unwrap();
        let ban = json!({"event_id": "$ban", "type": "m.room.member", "state_key": "@m:h",
            "sender": "@mod:h",
            "origin_server_ts": 5000, "content": {"membership": "ban", "redact_events": true}});
        let changed = write_batch(&store, &Rules::default(), &batch(arrivals(&[ban])))
            .await
            .unwrap();
        assert!(
            changed.has_open_bans,
            "one commit takes no more than a part"
        );
        let first = redact_next_of_ban(&store, &Rules::default()).await.unwrap();
        assert!(first.is_some_and(|changed| changed.taken_back && changed.has_open_bans));
        // As after a restart: only stored data is known.
        let mut parts = 0;
        while redact_next_of_ban(&store, &Rules::default())
            .await
            .unwrap()
            .is_some()
        {
            parts += 1;
        }

        assert_eq!(parts, 1);
        let calls = all_calls(&store).await;
        let mut texts = Vec::new();
        for call in &calls {
            let (found, _) = events::events_behind_call(&store, &call.id, 5000)
                .await
                .unwrap();
            texts.extend(found.into_iter().map(|event| event.json));
        }

        assert!(texts.len() >= 1200, "{}", texts.len());
        assert!(texts.iter().all(|text| !text.contains("SECRET")));
        drop(place);
    });
}
