//! Sorted lists, rings, clocks and probes: their reads on each database.

use crate::store::{LATER, arrivals, block, done, joined, open, write_all};
use callscope::rtc::coverage::Span;
use callscope::store::ingest::probes::{self, RequestResult, ServerResult, SfuResult};
use callscope::store::model::{Call, CallFilter, More};
use callscope::store::read::call_order::{self, CallOrder, SortKey};
use callscope::store::read::{calls, rings, room_at};
use callscope::store::stats::clock_skew;
use callscope::store::stats::scope::Scope;
use serde_json::Value;

#[test]
fn sorted_lists_answer() {
    block(async {
        let (store, place) = open().await;
        write_all(&store, arrivals(&[joined()]), &[1]).await;
        let room = CallFilter {
            room: Some(crate::store::ROOM.into()),
            ..CallFilter::default()
        };

        let late = CallFilter {
            from_ms: Some(0),
            ..CallFilter::default()
        };

        let more = More {
            q: Some("r".into()),
            min_people: Some(1),
            ..More::default()
        };

        let search = CallFilter {
            more,
            ..CallFilter::default()
        };

        for by in [
            SortKey::Started,
            SortKey::Length,
            SortKey::People,
            SortKey::Peak,
        ] {
            for descending in [true, false] {
                for filter in [&CallFilter::default(), &room, &late, &search] {
                    let order = CallOrder { by, descending };
                    let page = async |place| {
                        call_order::list_ordered_calls(&store, filter, order, place, 5, LATER)
                            .await
                            .unwrap()
                    };

                    let found = page(None).await;
                    assert_eq!(found.len(), 1, "{order:?} {filter:?}");
                    assert!(
                        page(Some(&found[0].1)).await.is_empty(),
                        "{order:?} {filter:?}"
                    );
                }
            }
        }

        done(store, place).await;
    });
}

/// They are passed as one text, which must keep the order of the list.
#[test]
fn calls_come_in_the_order_of_their_list() {
    block(async {
        let (store, place) = open().await;
        let begin = 1_700_000_000_000_i64;
        let join = |at: i64| {
            let mut join = joined();
            (join["event_id"], join["state_key"]) =
                (format!("$j{at}").into(), format!("k{at}").into());
            join["content"]["call_id"] = format!("call {at}").into();
            join["origin_server_ts"] = (begin + at).into();
            join
        };

        let joins: Vec<Value> = (0..40).map(|at| join(at * 7 % 40)).collect();
        write_all(&store, arrivals(&joins), &[9]).await;
        let now = begin + 1000;
        let started = |calls: &[Call]| {
            calls
                .iter()
                .map(|call| call.started_ms - begin)
                .collect::<Vec<_>>()
        };

        let newest_first: Vec<i64> = (0..40).rev().collect();
        let oldest_first: Vec<i64> = (0..40).collect();
        assert_eq!(
            started(&calls::list_active_calls(&store, now).await.unwrap()),
            newest_first
        );
        let all = CallFilter::default();
        assert_eq!(
            started(
                &calls::list_calls(&store, &all, None, 40, now)
                    .await
                    .unwrap()
            ),
            newest_first
        );
        assert_eq!(
            started(
                &room_at::calls_at(&store, crate::store::ROOM, now)
                    .await
                    .unwrap()
            ),
            oldest_first
        );
        let order = CallOrder {
            by: SortKey::Started,
            descending: false,
        };

        let sorted = call_order::list_ordered_calls(&store, &all, order, None, 40, now)
            .await
            .unwrap();
        let sorted: Vec<Call> = sorted.into_iter().map(|(call, _)| call).collect();
        assert_eq!(started(&sorted), oldest_first);
        done(store, place).await;
    });
}

#[test]
fn rings_and_clocks_answer() {
    block(async {
        let (store, place) = open().await;
        let span = Span { from: 0, to: LATER };
        let ring = serde_json::json!({ "event_id": "$ring", "type": "m.rtc.notification",
            "sender": "@a:h_1",
            "origin_server_ts": 1_700_000_000_000_i64,
            "content": { "notification_type": "ring" } });
        write_all(&store, arrivals(&[joined(), ring]), &[2]).await;
        for (scope, sent) in [
            (Scope::All, 1),
            (Scope::Room(crate::store::ROOM), 1),
            (Scope::Server("h_1"), 1),
            (Scope::Server("hx1"), 0),
        ] {
            assert_eq!(
                rings::rings_within(&store, scope, span, LATER, 9)
                    .await
                    .unwrap()
                    .sent,
                sent,
                "{scope:?}"
            );
        }

        let heard = clock_skew::spans_heard(&store).await.unwrap();
        assert_eq!(
            clock_skew::clock_of_server(&store, "h", span, &heard)
                .await
                .unwrap()
                .live,
            0
        );
        done(store, place).await;
    });
}

#[test]
fn probes_answer() {
    block(async {
        let (store, place) = open().await;
        write_all(&store, arrivals(&[joined()]), &[1]).await;
        let due = probes::list_due_servers(&store, 0, 5, 9).await.unwrap();
        assert_eq!(due.len(), 1);
        assert!(probes::list_due_sfus(&store, 0, 5, 9).await.unwrap().len() <= 1);
        let answer = |state: &str| RequestResult {
            state: state.parse().unwrap(),
            why: None,
        };

        let server = |state: &str| ServerResult {
            well_known: answer("missing"),
            versions: answer(state),
            homeserver_url: None,
            sfus: vec!["https://a.example".into()],
            delayed_events: Some(true),
            sticky_events: None,
            rtc_transports: None,
        };

        probes::record_result(&store, &due[0], &server("ok"), 10)
            .await
            .unwrap();
        assert!(
            probes::list_due_servers(&store, 0, 5, 9)
                .await
                .unwrap()
                .is_empty(),
            "it was asked after that"
        );
        assert_eq!(
            probes::list_due_servers(&store, 0, 10, 9).await.unwrap(),
            due
        );
        probes::record_result(&store, &due[0], &server("failed"), 20)
            .await
            .unwrap();
        probes::record_result(
            &store,
            "https://a.example",
            &SfuResult {
                health: answer("ok"),
                took_ms: Some(7),
                delegates_leave: None,
                cors: None,
            },
            20,
        )
        .await
        .unwrap();
        let all = probes::newest_results::<ServerResult>(&store)
            .await
            .unwrap();
        let found = &all[&due[0]];
        assert_eq!(
            (found.asked_ms, found.well_ms, &found.result),
            (20, Some(10), &server("failed"))
        );
        assert_eq!(
            probes::newest_results::<SfuResult>(&store)
                .await
                .unwrap()
                .len(),
            1
        );
        probes::delete_old_results(&store, 21).await.unwrap();
        assert!(
            probes::newest_results::<ServerResult>(&store)
                .await
                .unwrap()
                .is_empty()
        );
        done(store, place).await;
    });
}
