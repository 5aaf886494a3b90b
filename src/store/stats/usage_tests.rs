//! Which time counts as inferred, on rows made by hand.

use super::ghost_time::Gone;
use super::scope::{Scope, UsageSums};
use super::{last_seen, usage};
use crate::rtc::coverage::Span;
use crate::store::read::tests::{Bed, ROOM};

const NOW: i64 = 10_000;

/// A room that has been watched live from the beginning.
async fn watched() -> Bed {
    let bed = Bed::new().await;
    bed.run(
        "insert into vantages (id, user_id, homeserver, mode, started_ms, last_sync_ms)
        values ('v', '@bot:h', 'https://h', 'follow', 0, 10000)",
    )
    .await;
    bed.run(
        "insert into coverage (vantage_id, room_id, kind, from_ms, to_ms) values ('v', '',
        'live', 0, 10000)",
    )
    .await;
    bed.run("update rooms set first_seen_ms = 0").await;

    bed
}

/// A call of one stay, with further columns of its membership.
async fn call(bed: &Bed, id: &str, span: (i64, i64), words: &str) {
    let (from, until) = span;
    bed.stay(&format!("@{id}:h"), "'D'", id, from, until).await;
    bed.call(id, from, until).await;
    bed.run(&format!(
        "update memberships set session_id = '{id}', end_event_id = '$end' where chain = '{id}'"
    ))
    .await;
    bed.run(&format!(
        "update memberships set {words} where chain = '{id}'"
    ))
    .await;
}

async fn sums(bed: &Bed, from: i64, to: i64, now: i64) -> UsageSums {
    usage::sums_of_span(
        &bed.store,
        Scope::All,
        Span { from, to },
        now,
        &Gone::default(),
    )
    .await
    .unwrap()
}

/// Calls, exact calls, time, seen time.
async fn figures(bed: &Bed, from: i64, to: i64, now: i64) -> (i64, i64, i64, i64) {
    let all = sums(bed, from, to, now).await;
    let span = Span { from, to };
    let room = usage::sums_of_span(&bed.store, Scope::Room(ROOM), span, now, &Gone::default())
        .await
        .unwrap();
    assert_eq!(all, room, "there is one room");
    let server = usage::sums_of_span(&bed.store, Scope::Server("h"), span, now, &Gone::default())
        .await
        .unwrap();
    assert_eq!(all, server, "and one server");
    let other = usage::sums_of_span(&bed.store, Scope::Server("_"), span, now, &Gone::default())
        .await
        .unwrap();
    assert_eq!(other, UsageSums::default(), "a name is no pattern");
    let hours = usage::stay_hours(&bed.store, Scope::All, span, now)
        .await
        .unwrap();
    assert_eq!(
        usage::time_by_hour(&hours).values().sum::<i64>(),
        all.together_ms
    );

    (
        all.calls,
        all.calls_exact,
        all.together_ms,
        all.together_seen_ms,
    )
}

#[tokio::test]
async fn expiry_and_claims_are_inferred_and_the_rest_is_not() {
    let bed = watched().await;
    call(&bed, "left", (1000, 2000), "updates = 0").await;
    assert_eq!(figures(&bed, 0, NOW, NOW).await, (1, 1, 1000, 1000));
    call(
        &bed,
        "expired",
        (3000, 4000),
        "end_event_id = null, end_reason = 'expired'",
    )
    .await;
    bed.event("$sign", Some("expired"), "m.call.member", 3400)
        .await;
    bed.event("$other", Some("other"), "m.call.member", 3900)
        .await;
    assert_eq!(figures(&bed, 0, NOW, NOW).await, (2, 1, 2000, 1400));
    assert_eq!(
        figures(&bed, 3200, 3600, NOW).await,
        (1, 0, 400, 200),
        "within a span"
    );
    assert_eq!(
        figures(&bed, 3200, 3600, 3600).await,
        (1, 1, 400, 400),
        "while it lasts it is here"
    );
    call(&bed, "claimed", (5000, 6000), "claimed = 1").await;
    bed.event("$j claimed 5000", Some("claimed"), "m.call.member", 5300)
        .await;
    assert_eq!(figures(&bed, 4500, NOW, NOW).await, (1, 0, 1000, 700));
    call(&bed, "found", (7000, 8000), "end_event_id = '~made'").await;
    assert_eq!(
        figures(&bed, 6500, NOW, NOW).await,
        (1, 0, 1000, 1000),
        "its end was found later"
    );
}

#[tokio::test]
async fn time_that_nobody_watched_is_inferred() {
    let bed = watched().await;
    call(&bed, "within", (1000, 2000), "updates = 0").await;
    call(&bed, "ends before", (1000, 1199), "updates = 0").await;
    call(&bed, "ends as it begins", (1100, 1200), "updates = 0").await;
    call(
        &bed,
        "expires in it",
        (1150, 1400),
        "end_event_id = null, end_reason = 'expired'",
    )
    .await;
    call(&bed, "later", (1500, 1600), "updates = 0").await;
    bed.run("update coverage set to_ms = 1200").await;
    let parts = "insert into coverage (vantage_id, room_id, kind, from_ms, to_ms) values ('v', '',
        'live', 1500, 10000)";
    bed.run(parts).await;
    let want_ms = 1000 + 199 + 100 + 250 + 100;
    // Of the expired stay only the beginning was seen.
    assert_eq!(
        figures(&bed, 0, NOW, NOW).await,
        (5, 2, want_ms, want_ms - 300 - 250)
    );
    assert_eq!(figures(&bed, 1200, 1500, NOW).await, (2, 0, 500, 0));
    bed.run("update rooms set polled_ms = 1501").await;
    assert_eq!(
        figures(&bed, 0, NOW, NOW).await,
        (5, 4, want_ms, want_ms - 250),
        "it was read afterwards"
    );
}

#[tokio::test]
async fn a_device_that_speaks_twice_counts_once() {
    let bed = watched().await;
    call(&bed, "one", (1000, 3000), "device_id = 'D'").await;
    bed.stay("@one:h", "'D'", "two", 2000, 4000).await;
    bed.stay("@one:h", "'D'", "three", 2500, 2600).await;
    bed.run("update memberships set session_id = 'one'").await;
    bed.run("update sessions set until_ms = 4000").await;
    assert_eq!(figures(&bed, 0, NOW, NOW).await, (1, 1, 3000, 3000));
    let hours = usage::stay_hours(
        &bed.store,
        Scope::All,
        Span {
            from: 500,
            to: 3500,
        },
        NOW,
    )
    .await
    .unwrap();
    let hour = hours.first().unwrap();
    assert_eq!(
        (
            hours.len(),
            hour.stays,
            hour.after_to_ms - hour.after_from_ms
        ),
        (1, 2, 2500)
    );
}

#[test]
fn hours_are_filled_between_start_and_end() {
    const HOUR: i64 = 3_600_000;
    let stays = [
        usage::StayHours {
            from: 5,
            to: 5,
            stays: 2,
            after_from_ms: 30,
            after_to_ms: 100,
        },
        usage::StayHours {
            from: 5,
            to: 8,
            stays: 2,
            after_from_ms: 600,
            after_to_ms: 400,
        },
    ];
    let hours: Vec<_> = usage::time_by_hour(&stays).into_iter().collect();
    assert_eq!(
        hours,
        [
            (5, 2 * HOUR - 600 + 70),
            (6, 2 * HOUR),
            (7, 2 * HOUR),
            (8, 400)
        ]
    );
}

#[tokio::test]
async fn signs_outlive_their_events_and_follow_their_stay() {
    let bed = watched().await;
    call(
        &bed,
        "e",
        (3000, 4000),
        "end_event_id = null, end_reason = 'expired'",
    )
    .await;
    bed.event("$sign", Some("e"), "m.call.member", 3400).await;
    assert!(!last_seen::record_last_seen(&bed.store, 3999).await.unwrap());
    assert_eq!(figures(&bed, 0, 3999, 3999).await.3, 999);
    last_seen::record_last_seen(&bed.store, NOW).await.unwrap();
    bed.run("delete from events").await;
    assert_eq!(figures(&bed, 0, NOW, NOW).await, (1, 0, 1000, 400));
    bed.run("update memberships set updates = 1, until_ms = 4100")
        .await;
    bed.event("$more", Some("e"), "m.call.member", 3500).await;
    assert_eq!(
        figures(&bed, 0, NOW, NOW).await.3,
        500,
        "an older sign is of another stay"
    );
    last_seen::record_last_seen(&bed.store, NOW).await.unwrap();
    assert_eq!(figures(&bed, 0, NOW, NOW).await.3, 500);
    bed.run("delete from memberships").await;
    last_seen::delete_orphaned_last_seen(&bed.store)
        .await
        .unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from signs")
        .fetch_one(&bed.store.read)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_span_is_found_by_its_index() {
    let bed = Bed::new().await;
    let plan = bed.plan(usage::PLACES[1]).await;
    assert!(
        plan.contains("memberships_room (room_id=? AND until_ms>?"),
        "{plan}"
    );
    let plan = bed.plan(usage::CALLS[0]).await;
    assert!(
        plan.contains("memberships_session (session_id=? AND joined_ms=?)"),
        "{plan}"
    );
    assert!(
        plan.contains("memberships_session_until (session_id=? AND until_ms=?)"),
        "{plan}"
    );
    let plan = bed.plan(usage::PLACES[2]).await;
    assert!(
        plan.contains("memberships_server (server=? AND until_ms>?"),
        "{plan}"
    );
    let plan = bed.plan(last_seen::MISSING).await;
    assert!(plan.contains("memberships_unsure"), "{plan}");
}

/// Thousands of devices that ran out must not each cost a scan of all events of their room within
/// their time, nor a stay of a member key with many events a scan of all its events.
#[tokio::test]
async fn the_last_sign_of_a_stay_is_found_by_its_chain_and_within_its_time() {
    let bed = Bed::new().await;
    for sql in [usage::PLACES[0], usage::PLACES[1], last_seen::MISSING] {
        let plan = bed.plan(sql).await;
        let sign =
            "SEARCH e USING INDEX events_chain (room_id=? AND chain=? AND time_ms>? AND time_ms<?)";
        assert!(plan.contains(sign), "{plan}");
        assert!(!plan.contains("e USING INDEX events_time"), "{plan}");
    }
}
