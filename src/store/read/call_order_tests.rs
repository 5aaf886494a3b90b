//! Sorted lists of calls: every call once, in order, also while calls are running; and each order
//! by its own index.

use super::*;
use crate::store::model::More;
use crate::store::read::tests::Bed;

const NOW: i64 = 10_000;

/// One stay for each call whose id begins with this.
async fn with_stays(bed: &Bed, ids: &str) {
    bed.run(&format!(
        "insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind,
            joined_ms, until_ms, end_reason, updates, join_event_id, resumed, claimed, selection,
            session_id)
        select id, room_id, id, 's', '@a:h', 'D', 'h', 'session', started_ms, until_ms, 'left', 0,
        '$j', 0, 0, 'unknown', id
        from sessions where id like '{ids}%'"
    ))
    .await;
}

/// Twenty calls, many of them with equal keys; the last two are running.
async fn filled() -> Bed {
    let bed = Bed::new().await;
    for index in 0..18 {
        bed.call(
            &format!("c{index:02}"),
            100 * index,
            100 * index + 50 * (1 + index % 4),
        )
        .await;
    }

    bed.call("run1", 9_000, 20_000).await;
    bed.call("run2", 9_900, 99_000).await;
    bed.run(
        "update sessions set users = 1 + started_ms / 100 % 3, peak = 1 + started_ms / 100 % 5",
    )
    .await;
    with_stays(&bed, "").await;

    bed
}

async fn walk(
    bed: &Bed,
    filter: &CallFilter,
    order: CallOrder,
    limit: i64,
    now: i64,
) -> Vec<(Call, ListPlace)> {
    let mut found: Vec<(Call, ListPlace)> = Vec::new();
    loop {
        let place = found.last().map(|(_, place)| place);
        // Time passes between two pages.
        let later = now + 7 * to_i64(found.len());
        let more = list_ordered_calls(&bed.store, filter, order, place, limit, later)
            .await
            .unwrap();
        if more.is_empty() {
            return found;
        }

        found.extend(more);
    }
}

fn keys(order: CallOrder, call: &Call, now: i64) -> i64 {
    match order.by {
        SortKey::Started => call.started_ms,
        SortKey::Length => call.duration_ms(now),
        SortKey::People => call.people,
        SortKey::Peak => call.peak,
    }
}

fn orders() -> impl Iterator<Item = CallOrder> {
    let both = |by| [true, false].map(|descending| CallOrder { by, descending });
    [
        SortKey::Started,
        SortKey::Length,
        SortKey::People,
        SortKey::Peak,
    ]
    .into_iter()
    .flat_map(both)
}

#[tokio::test]
async fn every_order_has_every_call_once() {
    let bed = filled().await;
    let late = CallFilter {
        from_ms: Some(1_000),
        ..CallFilter::default()
    };

    let room = CallFilter {
        room: Some("!r:h".into()),
        to_ms: Some(9_500),
        ..CallFilter::default()
    };

    let running = CallFilter {
        active: Some(true),
        ..CallFilter::default()
    };

    let group = CallFilter {
        more: More {
            min_people: Some(2),
            ..More::default()
        },
        ..CallFilter::default()
    };

    let more = More {
        server: Some("h".into()),
        ..More::default()
    };

    let server = CallFilter {
        more,
        ..CallFilter::default()
    };

    let more = More {
        min_ms: Some(150),
        group: Some(false),
        ..More::default()
    };

    let long = CallFilter {
        more,
        ..CallFilter::default()
    };

    for (filter, count) in [
        (CallFilter::default(), 20),
        (late, 11),
        (room, 19),
        (running, 2),
        (group, 12),
        (server, 20),
        (long, 9),
    ] {
        for order in orders() {
            for limit in [1, 3, 50] {
                let found = walk(&bed, &filter, order, limit, NOW).await;
                let of = |call: &Call| (keys(order, call, NOW), call.started_ms, call.id.clone());
                let found: Vec<_> = found.iter().map(|(call, _)| of(call)).collect();
                let mut sorted = found.clone();
                sorted.sort();
                sorted.dedup();
                if order.descending {
                    sorted.reverse();
                }

                assert_eq!(
                    (found.len(), &found),
                    (count, &sorted),
                    "{order:?} {limit} {filter:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn many_calls_are_read_by_index_and_few_are_sorted() {
    let bed = filled().await;
    let many = "with recursive n(n) as (select 1 union all select n + 1 from n where n < 5000)
        insert into sessions (id, room_id, slot_id, application, started_ms, until_ms, memberships,
            users, devices, peak, peak_users, servers, first_event_id)
        select 'n' || n, '!r:h', 's', 'm.call', n, n + 1 + n % 40, 1, 1, 1, 1, 1, 'h', '$j' from n";
    bed.run(many).await;
    with_stays(&bed, "n").await;
    let filter = CallFilter {
        room: Some("!r:h".into()),
        from_ms: Some(-5),
        ..CallFilter::default()
    };

    for order in orders() {
        let list = OrderedRequest::new(&filter, order, None, 500, NOW);
        let sorts = !order.descending && matches!(order.by, SortKey::People | SortKey::Peak);
        let want = if sorts {
            ListIndex::Room
        } else {
            ListIndex::Wide
        };
        assert_eq!(list.source(&bed.store).await.unwrap(), want, "{order:?}");
        let found = walk(&bed, &filter, order, 500, NOW).await;
        assert_eq!(found.len(), 5020, "{order:?}");
        assert!(found.is_sorted_by(|(a, _), (b, _)| {
            let (a, b) = (keys(order, a, NOW), keys(order, b, NOW));
            if order.descending { a >= b } else { a <= b }
        }));
    }

    let more = More {
        server: Some("h".into()),
        q: Some("!R".into()),
        ..More::default()
    };

    let word = CallFilter {
        more,
        from_ms: Some(-5),
        ..CallFilter::default()
    };

    let found = walk(
        &bed,
        &word,
        CallOrder {
            by: SortKey::Length,
            descending: true,
        },
        500,
        NOW,
    )
    .await;
    assert_eq!(
        found.len(),
        5020,
        "what many calls fit is read by index, too"
    );
    let late = CallFilter {
        from_ms: Some(1_700),
        ..CallFilter::default()
    };

    let list = OrderedRequest::new(
        &late,
        CallOrder {
            by: SortKey::Peak,
            descending: true,
        },
        None,
        5,
        NOW,
    );
    assert_eq!(list.source(&bed.store).await.unwrap(), ListIndex::Late);
}

#[tokio::test]
async fn a_call_that_ends_meanwhile_keeps_its_place() {
    let bed = filled().await;
    let order = CallOrder {
        by: SortKey::Length,
        descending: true,
    };

    let first = list_ordered_calls(&bed.store, &CallFilter::default(), order, None, 1, NOW)
        .await
        .unwrap();
    assert_eq!(first[0].0.id, "run1");
    bed.run("update sessions set until_ms = 10500 where id = 'run2'")
        .await;
    bed.call("new", 10_100, 90_000).await;
    let all = CallFilter::default();
    let rest = list_ordered_calls(&bed.store, &all, order, Some(&first[0].1), 50, 50_000)
        .await
        .unwrap();
    let ids: Vec<&str> = rest.iter().map(|(call, _)| call.id.as_str()).collect();
    assert_eq!(
        ids.len(),
        19,
        "neither twice nor left out, and nothing that began later: {ids:?}"
    );
    assert_eq!(
        ids.iter().position(|id| *id == "run2"),
        Some(8),
        "as long as it was at the first page: {ids:?}"
    );
}

#[tokio::test]
async fn each_order_has_its_index() {
    let bed = Bed::new().await;
    let all = CallFilter {
        room: Some("!r:h".into()),
        from_ms: Some(5),
        ..CallFilter::default()
    };

    for order in orders() {
        let list = OrderedRequest::new(&all, order, None, 50, NOW);
        let index = match order.by {
            SortKey::Length => "sessions_by_length",
            SortKey::People => "sessions_by_people",
            SortKey::Peak => "sessions_by_peak",
            SortKey::Started => "sessions_started",
        };
        let bed = &bed;
        let plan = |source| {
            let select = list.select(Dialect::Sqlite, source, list.ends);
            let text = select.as_text().to_owned();
            async move { bed.plan(&text).await }
        };

        let wide = plan(ListIndex::Wide).await;
        assert!(
            wide.contains(index) && !wide.contains("FOR ORDER BY"),
            "{wide}"
        );

        let late = plan(ListIndex::Late).await;
        assert!(late.contains("sessions_until (until_ms>?"), "{late}");

        let room = plan(ListIndex::Room).await;
        assert!(room.contains("(room_id=?"), "{room}");
    }
}
