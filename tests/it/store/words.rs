//! A search ignores case, in any alphabet, on each database.

use crate::store::*;
use callscope::store::read::call_order;

async fn found(store: &Writer, word: &str) -> usize {
    let more = More {
        q: Some(word.to_owned()),
        ..More::default()
    };

    let filter = CallFilter {
        more,
        ..CallFilter::default()
    };

    let calls = calls::list_calls(store, &filter, None, 99, LATER)
        .await
        .unwrap();
    let by_length = call_order::CallOrder {
        by: call_order::SortKey::Length,
        descending: true,
    };

    let sorted = call_order::list_ordered_calls(store, &filter, by_length, None, 99, LATER)
        .await
        .unwrap();
    assert_eq!(calls.len(), sorted.len(), "{word}: in both orders");

    calls.len()
}

#[test]
fn names_of_any_alphabet_are_found_however_they_are_written() {
    block(async {
        let (store, place) = open().await;
        let joins = joined();
        let (sender, at) = (
            joins["sender"].as_str().unwrap(),
            joins["origin_server_ts"].as_i64().unwrap(),
        );
        let state = |id: &str, kind: &str, key: &str, content: Value| {
            json!({"event_id": id, "type": kind, "state_key": key, "sender": sender,
                "origin_server_ts": at - 1,
                "content": content})
        };

        let room = state("$name", "m.room.name", "", json!({"name": "ÜBER uns"}));
        let person = state(
            "$person",
            "m.room.member",
            sender,
            json!({"membership": "join", "displayname": "Яна Ёлкина"}),
        );
        write_batch(
            &store,
            &Rules::default(),
            &batch(arrivals(&[room, person, joins.clone()])),
        )
        .await
        .unwrap();
        for word in ["ÜBER", "über UNS", "Яна", "яНА ё", ROOM, sender] {
            assert_eq!(found(&store, word).await, 1, "{word}");
        }

        assert_eq!(found(&store, "Öber").await, 0);
        let (room, person) = (
            json!({"name": "Ærø"}),
            json!({"membership": "join", "displayname": "Ada"}),
        );
        let later = [
            ("$name2", "m.room.name", "", room),
            ("$person2", "m.room.member", sender, person),
        ];
        let mut later = later.map(|(id, kind, key, content)| state(id, kind, key, content));
        for event in &mut later {
            event["origin_server_ts"] = json!(at);
        }

        write_batch(&store, &Rules::default(), &batch(arrivals(&later)))
            .await
            .unwrap();
        for (word, count) in [("ÜBER", 0), ("яна", 0), ("ÆRØ", 1), ("aDA", 1)] {
            assert_eq!(found(&store, word).await, count, "{word}");
        }

        drop(place);
    });
}
