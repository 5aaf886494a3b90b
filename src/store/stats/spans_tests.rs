//! Boundaries of a stay that are no proof, in SQL, on rows made by hand: a claim that history
//! refutes, an event that came late or while our own clock was wrong, a predecessor that is
//! impossible to get, an impossible stamp.

use super::concurrency::{self, DevicesOfSpan};
use super::ghost_time::{Ghost, Gone};
use super::scope::{Scope, UsageSums};
use super::{daily_rollup, distributions, transport_usage, usage};
use crate::rtc::coverage::Span;
use crate::store::read::evidence;
use crate::store::read::tests::{Bed, ROOM};

const NOW: i64 = 100_000_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;
const FROM: i64 = 10 * HOUR;

/// A room watched live from the beginning, with one call of one stay from FROM on for an hour; both
/// boundaries are events.
async fn bed() -> Bed {
    let bed = Bed::new().await;
    for sql in [
        "insert into vantages (id, user_id, homeserver, mode, started_ms, last_sync_ms)
            values ('v', '@bot:h', 'https://h', 'follow', 0, 100000000)",
        "insert into coverage (vantage_id, room_id, kind, from_ms, to_ms) values ('v', '', 'live',
            0, 100000000)",
        "update rooms set first_seen_ms = 0",
    ] {
        bed.run(sql).await;
    }

    bed.stay("@a:h", "'D'", "one", FROM, FROM + HOUR).await;
    bed.call("call", FROM, FROM + HOUR).await;
    bed.event("$join", Some("one"), "m.call.member", FROM).await;
    bed.event("$end", Some("one"), "m.call.member", FROM + HOUR)
        .await;
    bed.run(
        "update memberships set join_event_id = '$join',
        end_event_id = '$end', opened_ms = joined_ms",
    )
    .await;
    bed.run(
        "update events set received_ms = origin_server_ts + 200,
        time_ms = origin_server_ts, state_key = 'k'",
    )
    .await;

    bed
}

async fn sums(bed: &Bed, gone: &Gone) -> UsageSums {
    let span = Span { from: 0, to: NOW };
    usage::sums_of_span(&bed.store, Scope::All, span, NOW, gone)
        .await
        .unwrap()
}

async fn is_exact(bed: &Bed) -> bool {
    let sums = sums(bed, &Gone::default()).await;
    assert_eq!(sums.calls, 1);
    sums.calls_exact == 1
}

async fn seen_ms(bed: &Bed) -> i64 {
    sums(bed, &Gone::default()).await.together_seen_ms
}

async fn is_refuted(bed: &Bed) -> bool {
    let found = evidence::origins_of_calls(&bed.store, &["call".to_owned()])
        .await
        .unwrap();
    found.values().next().unwrap().is_claim_refuted
}

#[tokio::test]
async fn a_claim_is_refuted_only_where_nothing_came_before_its_event() {
    let bed = bed().await;
    assert!(is_exact(&bed).await && seen_ms(&bed).await == HOUR);
    // The stay claims to have begun half an hour before its first event.
    bed.run("update memberships set claimed = 1, joined_ms = joined_ms - 1800000")
        .await;
    bed.run("update sessions set started_ms = started_ms - 1800000")
        .await;
    assert!(!is_refuted(&bed).await, "history is not read");
    bed.run(&format!(
        "insert into history_jobs (kind, room_id, opened_ms, event_id, done_ms, ended_by)
        values ('backfill', '{ROOM}', 1, '', 2, 'beginning')"
    ))
    .await;
    assert!(
        !is_refuted(&bed).await,
        "the homeserver may name no predecessors at all"
    );
    bed.run("update events set replaces_state = '$join' where event_id = '$end'")
        .await;
    assert!(is_refuted(&bed).await);
    let all = sums(&bed, &Gone::default()).await;
    assert_eq!(
        (all.together_ms, all.together_seen_ms, all.calls_exact),
        (HOUR, HOUR, 0)
    );
    for (spoils, mends) in [
        (
            "update history_jobs set ended_by = 'not_visible'",
            "update history_jobs set ended_by = 'beginning'",
        ),
        (
            "update events set replaces_state = '$gone' where event_id = '$join'",
            "update events set replaces_state = null where event_id = '$join'",
        ),
        (
            "update events set state_key = null where event_id = '$join'",
            "update events set state_key = 'k' where event_id = '$join'",
        ),
        (
            "update memberships set resumed = 1",
            "update memberships set resumed = 0",
        ),
    ] {
        bed.run(spoils).await;
        assert!(!is_refuted(&bed).await, "{spoils}");
        bed.run(mends).await;
    }

    assert!(is_refuted(&bed).await);

    // The call is in no distribution, no median and no longest call.
    let span = Span { from: 0, to: NOW };
    let store = &bed.store;
    let classes = distributions::CallsOfSpan::read(store, span, NOW)
        .await
        .unwrap()
        .classes();
    assert_eq!(
        (classes.len(), classes[0].length_ms, classes[0].calls),
        (1, HOUR, 1)
    );
    let usual = distributions::CallsOfSpan::read(store, span, NOW)
        .await
        .unwrap()
        .usual_length();
    assert_eq!(usual, Some(HOUR));
    let numbers = concurrency::numbers_of_span(store, span, NOW, &Gone::default())
        .await
        .unwrap();
    assert_eq!(numbers.longest_ms, HOUR);

    // Nor is it in counted days.
    let later = NOW + 2 * 24 * HOUR;
    let mut counted = 0;
    for day in daily_rollup::list_uncounted_days(store, later)
        .await
        .unwrap()
    {
        let is_counted = daily_rollup::count_day(store, day, later).await.unwrap();
        counted += usize::from(is_counted);
    }
    assert!(counted > 0);
    let span = Span { from: 0, to: later };
    assert_eq!(
        distributions::CallsOfSpan::read(store, span, later)
            .await
            .unwrap()
            .classes(),
        classes
    );
    let usual = distributions::CallsOfSpan::read(store, span, later).await;
    assert_eq!(usual.unwrap().usual_length(), Some(HOUR));
}

#[tokio::test]
async fn an_event_is_late_where_we_listened_all_the_time() {
    for (sql, exact) in [
        (
            "update events set received_ms = origin_server_ts + 9999",
            true,
        ),
        (
            "update events set received_ms = origin_server_ts + 10000 where event_id = '$join'",
            false,
        ),
        (
            "update events set received_ms = origin_server_ts + 10000 where event_id = '$end'",
            false,
        ),
        (
            "update events set received_ms = origin_server_ts + 60000, source = 'poll'",
            true,
        ),
    ] {
        let bed = bed().await;
        bed.run(sql).await;
        assert_eq!(is_exact(&bed).await, exact, "{sql}");
    }

    let bed = bed().await;
    bed.run("update events set received_ms = origin_server_ts + 20000 where event_id = '$join'")
        .await;
    // A break of the sync stream between the event's stamp and its arrival.
    bed.run(&format!("update coverage set from_ms = {}", FROM + 10_000))
        .await;
    bed.run(
        "insert into coverage (vantage_id, room_id, kind, from_ms, to_ms) values ('v', '', 'live',
            0, 35990000)",
    )
    .await;
    bed.run("update rooms set polled_ms = 99999999").await;
    let late: i64 = sqlx::query_scalar(concat!(
        "select count(*) from events e where ",
        super::spans::is_late!("e")
    ))
    .fetch_one(&bed.store.read)
    .await
    .unwrap();
    assert_eq!(late, 0);
}

#[tokio::test]
async fn what_came_while_our_clock_was_wrong_is_no_proof() {
    for (id, stream) in [("$join", 0), ("$end", 1)] {
        let bed = bed().await;
        bed.run("update events set received_ms = null").await;
        assert!(is_exact(&bed).await, "nothing says that it was wrong");
        bed.run(&format!(
            "insert into clock_doubts (from_stream, to_stream, seen_ms) values ({stream}, {stream},
                5)"
        ))
        .await;
        assert!(!is_exact(&bed).await, "{id}");
        bed.run("delete from clock_doubts").await;
        bed.run("update events set source = 'backfill'").await;
        assert!(is_exact(&bed).await, "history bears no time of ours");
        bed.run(&format!(
            "update events set received_ms = 5 where event_id = '{id}'"
        ))
        .await;
        assert!(!is_exact(&bed).await, "{id}: its stamp cannot be");
    }
}

#[tokio::test]
async fn a_predecessor_that_nobody_could_get_is_said() {
    let bed = bed().await;
    bed.run("update events set replaces_state = '$gone' where event_id = '$join'")
        .await;
    assert!(is_exact(&bed).await, "it may be before all that is kept");
    bed.event("$before", Some("one"), "m.call.member", FROM - MINUTE)
        .await;
    bed.run(
        "update events set received_ms = 1, time_ms = origin_server_ts where event_id = '$before'",
    )
    .await;
    assert!(!is_exact(&bed).await);
    bed.run("update events set replaces_state = '$before' where event_id = '$join'")
        .await;
    assert!(is_exact(&bed).await);
}

#[tokio::test]
async fn of_a_stamp_that_cannot_be_nothing_is_counted() {
    let bed = bed().await;
    bed.run("update memberships set claimed = 1, opened_ms = 0")
        .await;
    assert_eq!(seen_ms(&bed).await, HOUR, "when it came is known");
    bed.run(
        "update events set source = 'backfill', received_ms = null, origin_server_ts = 0
        where event_id = '$join'",
    )
    .await;
    let all = sums(&bed, &Gone::default()).await;
    assert_eq!(
        (all.together_ms, all.together_seen_ms, all.calls_exact),
        (0, 0, 0)
    );
    let (span, gone) = (Span { from: 0, to: NOW }, Gone::default());
    let numbers = concurrency::numbers_of_span(&bed.store, span, NOW, &gone)
        .await
        .unwrap();
    assert_eq!(numbers.longest_ms, 0);
}

#[tokio::test]
async fn a_stay_was_seen_until_the_last_that_was_heard_of_it() {
    let bed = bed().await;
    bed.run("update memberships set end_event_id = null, end_reason = 'expired'")
        .await;
    bed.run("delete from events where event_id = '$end'").await;
    bed.event("$sign", Some("one"), "m.call.member", FROM + 10 * MINUTE)
        .await;
    bed.run("update events set time_ms = origin_server_ts")
        .await;
    assert_eq!(seen_ms(&bed).await, 10 * MINUTE);
    let store = &bed.store;
    let span = Span { from: 0, to: NOW };
    let numbers = concurrency::numbers_of_span(store, span, NOW, &Gone::default())
        .await
        .unwrap();
    assert_eq!(
        (numbers.longest_ms, numbers.together_ms),
        (10 * MINUTE, HOUR)
    );
    bed.run(
        "update memberships set transport_type = 'livekit',
        transport_url = 'https://sfu', selection = 'multi_sfu'",
    )
    .await;
    let (found, _) = transport_usage::usage_by_transport(store, span, NOW, &Gone::default())
        .await
        .unwrap();
    assert_eq!(
        (found[0].together_ms, found[0].together_seen_ms),
        (HOUR, 10 * MINUTE)
    );
    let late = Span {
        from: FROM,
        to: NOW,
    };
    let devices = DevicesOfSpan::read(store, late, NOW, &Gone::default())
        .await
        .unwrap();
    assert_eq!(devices.steps(late), [(FROM, 1), (FROM + 10 * MINUTE, 0)]);

    // The device was still there when the stay ran out.
    bed.run(&format!(
        "update memberships set outlived_ms = {}",
        FROM + 2 * HOUR
    ))
    .await;
    assert_eq!(seen_ms(&bed).await, HOUR);
}

#[tokio::test]
async fn who_still_counts_though_gone_was_seen_until_heard_last() {
    let bed = bed().await;
    bed.run(&format!(
        "update memberships set end_event_id = null, end_reason = 'expired', until_ms = {}",
        NOW + HOUR
    ))
    .await;
    bed.run(&format!("update sessions set until_ms = {}", NOW + HOUR))
        .await;
    let gone = Gone {
        ghosts: vec![Ghost {
            room_id: ROOM.to_owned(),
            session_id: "call".to_owned(),
            user_id: "@a:h".to_owned(),
            server: "h".to_owned(),
            device: "D".to_owned(),
            join_event_id: "$join".to_owned(),
            heard_ms: FROM + 5 * MINUTE,
        }],
        stuck: [("call".to_owned(), FROM + 5 * MINUTE)].into(),
    };

    assert_eq!(seen_ms(&bed).await, NOW - FROM, "as far as the store knows");
    let all = sums(&bed, &gone).await;
    assert_eq!(
        (all.together_ms, all.together_seen_ms),
        (NOW - FROM, 5 * MINUTE)
    );
    let store = &bed.store;
    let span = Span { from: 0, to: NOW };
    let numbers = concurrency::numbers_of_span(store, span, NOW, &gone)
        .await
        .unwrap();
    assert_eq!(numbers.longest_ms, 5 * MINUTE);
    // The chart and the peak of a day come from the same data.
    let heard_ms = FROM + 5 * MINUTE;
    let devices = concurrency::DevicesOfSpan::read(store, span, NOW, &gone)
        .await
        .unwrap();
    assert_eq!(devices.steps(span), [(0, 0), (FROM, 1), (heard_ms, 0)]);
    let after = Span {
        from: heard_ms,
        to: NOW,
    };
    let later = concurrency::numbers_of_span(store, after, NOW, &gone)
        .await
        .unwrap();
    assert_eq!((numbers.peak, later.peak), (1, 0));
    let persons = distributions::top_people_of_server(store, "h", span, NOW, 5, &gone)
        .await
        .unwrap();
    assert_eq!(persons[0].together_seen_ms, 5 * MINUTE);
    bed.run(
        "update memberships set transport_type = 'livekit',
        transport_url = 'https://sfu', selection = 'multi_sfu'",
    )
    .await;
    let (found, _) = transport_usage::usage_by_transport(store, span, NOW, &gone)
        .await
        .unwrap();
    assert_eq!(found[0].together_seen_ms, 5 * MINUTE);
}

#[tokio::test]
async fn what_an_sfu_carried_was_seen_only_from_the_first_sign_and_while_watched() {
    let bed = bed().await;
    bed.run(
        "update memberships set transport_type = 'livekit',
        transport_url = 'https://sfu', selection = 'multi_sfu'",
    )
    .await;
    let store = &bed.store;
    let span = Span { from: 0, to: NOW };
    let seen = async || {
        let (found, _) = transport_usage::usage_by_transport(store, span, NOW, &Gone::default())
            .await
            .unwrap();
        (found[0].together_ms, found[0].together_seen_ms)
    };

    assert_eq!(seen().await, (HOUR, HOUR));
    // The stay claims to have begun half an hour before its first event; nothing refutes that.
    bed.run("update memberships set claimed = 1, joined_ms = joined_ms - 1800000")
        .await;
    bed.run("update sessions set started_ms = started_ms - 1800000")
        .await;
    assert_eq!(seen().await, (HOUR + 30 * MINUTE, HOUR));
    assert_eq!(seen_ms(&bed).await, HOUR);
    // Ten minutes of the stay were unobserved.
    bed.run(&format!(
        "update coverage set to_ms = {} where kind = 'live'",
        FROM + 20 * MINUTE
    ))
    .await;
    bed.run(&format!(
        "insert into coverage (vantage_id, room_id, kind, from_ms, to_ms) values ('v', '', 'live',
            {}, {NOW})",
        FROM + 30 * MINUTE
    ))
    .await;
    assert_eq!(seen().await, (HOUR + 30 * MINUTE, 50 * MINUTE));
    assert_eq!(seen_ms(&bed).await, 50 * MINUTE);
}

#[tokio::test]
async fn beyond_so_many_refuted_claims_lengths_are_not_known() {
    let bed = bed().await;
    bed.run("update memberships set claimed = 1, joined_ms = joined_ms - 1800000")
        .await;
    bed.run("update sessions set started_ms = started_ms - 1800000")
        .await;
    bed.run(&format!(
        "insert into history_jobs (kind, room_id, opened_ms, event_id, done_ms, ended_by)
        values ('backfill', '{ROOM}', 1, '', 2, 'beginning')"
    ))
    .await;
    bed.run("update events set replaces_state = '$join' where event_id = '$end'")
        .await;
    let span = Span { from: 0, to: NOW };
    let store = &bed.store;
    let usual = async || {
        distributions::CallsOfSpan::read(store, span, NOW)
            .await
            .unwrap()
            .usual_length()
    };
    assert_eq!(usual().await, Some(HOUR));
    let numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2001)";
    bed.run(&format!(
        "insert into sessions (id, room_id, slot_id, application, started_ms, until_ms,
            memberships, users, devices, peak, peak_users, servers, first_event_id)
        {numbers} select o.id || n.i, o.room_id, o.slot_id, o.application, o.started_ms,
            o.until_ms, 1, 1, 1, 1, 1, o.servers, o.first_event_id from sessions o, n"
    ))
    .await;
    bed.run(&format!(
        "insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind,
            joined_ms, until_ms, end_reason, updates, join_event_id, end_event_id, opened_ms,
            resumed, claimed, selection, session_id)
        {numbers} select o.id || n.i, o.room_id, o.chain, o.slot_id, o.user_id, o.device_id,
            o.server, o.kind, o.joined_ms, o.until_ms, o.end_reason, o.updates, o.join_event_id,
            o.end_event_id, o.opened_ms, 0, 1, o.selection, o.session_id || n.i from memberships o,
            n"
    ))
    .await;

    assert_eq!(usual().await, None, "2,002 calls claim what cannot be");
    let classes = distributions::CallsOfSpan::read(store, span, NOW)
        .await
        .unwrap()
        .classes();
    assert_eq!(classes.iter().map(|class| class.calls).sum::<i64>(), 2002);
}
