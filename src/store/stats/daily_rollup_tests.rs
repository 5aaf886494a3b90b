//! Counted days give the same sums as counting all stays, and change with the stays.

use super::*;
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::Rules;
use crate::rtc::words::{Mode, Source};
use crate::store::derive::dirty::discard_day_totals;
use crate::store::derive::{pseudonyms, rebuild};
use crate::store::ingest::batch::{Arrival, Batch, RoomBatch};
use crate::store::ingest::vantages;
use crate::store::ingest::write::write_batch;
use crate::store::read::tests::Bed;
use crate::store::stats::distributions::{CallClass, ServerRow};
use crate::store::stats::ghost_time::Gone;
use crate::store::stats::scope::UsageSums;
use crate::store::upkeep::retention;
use crate::store::visible::{Viewer, VisibilityPolicy};
use serde_json::json;
use std::collections::BTreeMap;

const HOUR: i64 = 3_600_000;
const DAY: i64 = DAY_MS;
const NOW: i64 = 40 * DAY + 9 * HOUR;

/// Calls of forty days, in three rooms, of people of three servers: short and long ones, with
/// devices that have overlapping stays, stays without an end event or with a claimed earlier start,
/// and unobserved spans.
async fn many() -> Bed {
    random_world(0).await
}

/// The same, but with other times, lengths and people for each number.
async fn random_world(world: i64) -> Bed {
    let bed = Bed::new().await;
    let (often, late, who) = (7 + world, 1_000_003 + world * 7_919, 20 + world * 3);
    bed.run(
        "insert into rooms (room_id, watch, first_seen_ms) values ('!q:h', 'joined', 1),
        ('!p:h', 'joined', 1)",
    )
    .await;
    let stays = format!(
        "with recursive n(n) as (select cast(0 as bigint) union all select n + 1 from n
            where n < 499),
            rows as (select n, n * 6800000 + (n % {often}) * {late} % 20000000 as joined,
            case when n % 61 = 5 then 3 * {DAY}
                when n % 13 = 0 then 30 * {HOUR} else 60000 * (n % 50 + 1) end as length from n)
        insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind,
            joined_ms, until_ms, end_event_id, end_reason, updates, join_event_id, resumed,
            claimed, selection, session_id)
        select 'm' || n, '!' || substr('rqp', cast(n % 3 + 1 as integer), 1) || ':h', 'm' || n,
        's' || n, '@u' || (n % {who}) || ':s' || (n % {who} % 3),
            'D', 's' || (n % {who} % 3), 'session', joined, joined + length,
            case when n % 9 = 0 then null else '$end' end,
            case when n % 9 = 0 then 'expired' else 'left' end, 0, case when n % 17 = 4 then '~j'
            else '$j' end || n, 0,
            n % 11 / 10, 'unknown', 'c' || (n - n % 2) from rows"
    );
    bed.run(&stays).await;
    bed.run(
        "insert into sessions (id, room_id, slot_id, application, started_ms, until_ms,
            memberships, users, devices, peak, peak_users, servers, first_event_id)
        select session_id, (select first.room_id from memberships first
            where first.id = 'm' || substr(memberships.session_id, 2)), min(slot_id), 'm.call', min(joined_ms), max(until_ms), 1,
        count(distinct user_id),
            1, 1, 1, case when min(server) = max(server) then min(server)
            else min(server) || ' ' || max(server) end, '$j'
        from memberships group by session_id",
    )
    .await;
    bed.run(
        "update memberships set room_id = (select s.room_id from sessions s
        where s.id = session_id)",
    )
    .await;
    // Signs of life within half of the time of each stay.
    bed.run(
        "insert into signs (membership_id, joined_ms, until_ms, updates, from_ms, to_ms) select id,
            joined_ms, until_ms, updates, joined_ms + (until_ms - joined_ms) / 4,
            joined_ms + (until_ms - joined_ms) / 2 from memberships",
    )
    .await;
    watched(&bed).await;

    bed
}

/// The observed spans.
async fn watched(bed: &Bed) {
    bed.run(
        "insert into vantages (id, user_id, homeserver, mode, started_ms, last_sync_ms)
        values ('v', '@bot:h', 'https://h', 'follow', 0, 3500000000000)",
    )
    .await;
    for (from, to) in [
        (0, 5 * DAY + HOUR),
        (8 * DAY - HOUR, 20 * DAY),
        (20 * DAY + HOUR, 30 * DAY),
        (31 * DAY, NOW),
    ] {
        bed.run(&format!(
            "insert into coverage (vantage_id, room_id, kind, from_ms, to_ms) values ('v', '',
                'live', {from}, {to})"
        ))
        .await;
    }

    let away = format!("('', '!q:h', 'away', {}, {})", 11 * DAY + 7, 15 * DAY + 5);
    bed.run(&format!(
        "insert into coverage (vantage_id, room_id, kind, from_ms, to_ms) values {away}"
    ))
    .await;
}

type Numbers = (
    Vec<UsageSums>,
    Vec<BTreeMap<i64, i64>>,
    Vec<i64>,
    Vec<Vec<CallClass>>,
    Vec<Vec<ServerRow>>,
    Vec<Vec<i64>>,
    Vec<Option<i64>>,
);

/// The numbers that pages ask for, over spans that begin and end anywhere.
async fn numbers(store: &Reader) -> Numbers {
    let mut found = Numbers::default();
    let sees_all = store.visible_rooms().is_none();
    for (from, to) in [
        (0, NOW),
        (2 * DAY, NOW),
        (6 * DAY + 5, 33 * DAY + 7),
        (9 * DAY, 10 * DAY),
        (40 * DAY, NOW),
    ] {
        let span = Span { from, to };
        let mut sums = usage::sums_of_span(store, Scope::All, span, NOW, &Gone::default())
            .await
            .unwrap();
        sums.places
            .sort_by(|a, b| (&a.room_id, &a.server).cmp(&(&b.room_id, &b.server)));
        assert!(!sees_all || sums.calls > 0 && sums.people > 0 && sums.places.len() > 1);
        let part = sums.calls_exact > 0
            && sums.calls_exact < sums.calls
            && sums.together_seen_ms < sums.together_ms;
        assert!(!sees_all || part || to - from < 2 * DAY, "{sums:?}");
        found.0.push(sums);
        let hours = usage::stay_hours(store, Scope::All, span, NOW)
            .await
            .unwrap();
        found.1.push(usage::time_by_hour(&hours));
        found
            .2
            .push(usage::device_time_of_span(store, span, NOW).await.unwrap());
        let mut classes = distributions::CallsOfSpan::read(store, span, NOW)
            .await
            .unwrap()
            .classes();
        classes.sort_by_key(|class| (class.day, class.length_ms, class.people));
        found.3.push(classes);
        let calls = distributions::CallsOfSpan::read(store, span, NOW).await;
        found.6.push(calls.unwrap().usual_length());
        found.4.push(
            distributions::servers_in_calls(store, from, NOW)
                .await
                .unwrap(),
        );
        let cut = |step: i64| -> Vec<Span> {
            let starts = (from / DAY * DAY..to).step_by(usize::try_from(step * DAY).unwrap());
            starts
                .map(|start| Span {
                    from: start.max(from),
                    to: to.min(start + step * DAY),
                })
                .collect()
        };

        for step in [1, 7, 30] {
            found.5.push(
                usage::count_people_per_step(store, &cut(step))
                    .await
                    .unwrap(),
            );
        }

        let whole = usage::count_people_per_step(store, &[span]).await.unwrap();
        assert_eq!(
            whole,
            [found.0.last().unwrap().people],
            "in whatever way they are counted"
        );
    }

    found
}

async fn count_all(bed: &Bed, now: i64) -> usize {
    let mut counted = 0;
    for day in list_uncounted_days(&bed.store, now).await.unwrap() {
        counted += usize::from(count_day(&bed.store, day, now).await.unwrap());
    }

    counted
}

async fn counted(bed: &Bed) -> Vec<i64> {
    let rows =
        sqlx::query_scalar("select day from days where facts <> '' and day >= 0 order by day");
    rows.fetch_all(&bed.store.read).await.unwrap()
}

#[tokio::test]
async fn counted_days_give_the_same_sums() {
    let bed = many().await;
    let live = numbers(&bed.store).await;
    assert!(count_all(&bed, NOW).await > 0);
    let days = counted(&bed).await;
    assert!(
        days.len() > 30 && days.contains(&0) && !days.contains(&40),
        "{days:?}"
    );
    assert_eq!(numbers(&bed.store).await, live);
    bed.run("delete from days where day % 4 = 1").await;
    assert_eq!(numbers(&bed.store).await, live, "some of them");
    bed.run("update days set facts = '' where day % 4 = 3")
        .await;
    assert_eq!(numbers(&bed.store).await, live, "some are being counted");
    assert!(count_all(&bed, NOW).await > 10);
    assert_eq!(counted(&bed).await, days);
    // The totals of the days are really used: a changed total counts.
    bed.run("update days set facts = replace(facts, '[1,', '[2,')")
        .await;
    assert_ne!(numbers(&bed.store).await, live);
}

/// What the rooms of a world are to an account: it sees `!r:h` wholly, `!q:h` since it joined it,
/// and `!p:h` never.
async fn add_rights(bed: &Bed, since: i64) {
    bed.run(
        "update rooms set join_rule = 'invite', history_visibility =
            case when room_id = '!q:h' then 'joined' else 'shared' end",
    )
    .await;
    for room_id in ["!r:h", "!q:h"] {
        bed.run(&format!(
            "insert into room_members (room_id, user_id, joined, event_ms, event_id)
            values ('{room_id}', '@u1:s1', 1, {since}, '$m')"
        ))
        .await;
        for (kind, key, content) in [
            ("m.room.member", "@u1:s1", r#"{"membership":"join"}"#),
            (
                "m.room.history_visibility",
                "",
                r#"{"history_visibility":"joined"}"#,
            ),
        ] {
            let at = if key.is_empty() { 1 } else { since };
            let visibility_of_shared_room = room_id == "!r:h" && key.is_empty();
            if visibility_of_shared_room {
                continue;
            }

            bed.run(&format!(
                "insert into events (event_id, room_id, kind, state_key, sender, origin_server_ts,
                    stream, source, in_timeline, json)
                select '${kind}', '{room_id}', '{kind}', '{key}', '@a:h', {at},
                    coalesce(max(stream), 0) + 1, 'sync', 1, '{{\"content\":{content}}}'
                from events"
            ))
            .await;
        }
    }
}

async fn reader_of(bed: &Bed, viewer: &Viewer) -> Reader {
    let policy = VisibilityPolicy::default();

    bed.store.for_viewer(viewer, policy).await.unwrap()
}

#[tokio::test]
async fn counted_days_give_a_viewer_the_sums_of_the_visible_stays() {
    let account = Viewer::Account {
        user_id: "@u1:s1".to_owned(),
    };
    for world in 0..5 {
        let bed = random_world(world).await;
        add_rights(&bed, (7 + 5 * world) * DAY + world * HOUR).await;
        let reader = reader_of(&bed, &account).await;
        let rooms = reader.visible_rooms().unwrap();
        assert_eq!(
            (rooms.whole.len(), rooms.in_part.len()),
            (1, 1),
            "{rooms:?}"
        );
        let live = numbers(&reader).await;
        let all = numbers(&bed.store).await;
        assert!(live.0[0].calls > 0 && live.0[0].calls < all.0[0].calls);
        assert!(count_all(&bed, NOW).await > 0);
        assert_eq!(numbers(&reader).await, live, "world {world}");
        bed.run("delete from days where day % 3 = 1").await;
        assert_eq!(numbers(&reader).await, live, "world {world}, some of them");
        assert_eq!(numbers(&bed.store).await, all, "world {world}, everything");
        // The totals of the days are really used: a changed total counts.
        bed.run("update days set facts = replace(facts, '[1,', '[2,')")
            .await;
        assert_ne!(numbers(&reader).await, live);
    }
}

/// How exact something is, is not told by pseudonyms: it follows from events, which name people.
fn without_seen_time(mut numbers: Numbers) -> Numbers {
    for sums in &mut numbers.0 {
        (sums.calls_exact, sums.together_seen_ms) = (0, 0);
        for place in &mut sums.places {
            place.together_seen_ms = 0;
        }
    }

    numbers
}

#[tokio::test]
async fn counted_days_give_the_same_sums_to_whoever_sees_pseudonyms() {
    let bed = random_world(1).await;
    bed.run("update rooms set history_visibility = 'world_readable' where room_id <> '!p:h'")
        .await;
    pseudonyms::renew_pseudonyms(&bed.store, [7; 32])
        .await
        .unwrap();
    for servers_are_public in [false, true] {
        let policy = VisibilityPolicy {
            servers_are_public,
            ..VisibilityPolicy::default()
        };
        let reader = bed.store.for_viewer(&Viewer::Anonymous, policy).await;
        let reader = reader.unwrap();
        bed.run("delete from days").await;
        let live = numbers(&reader).await;
        assert!(live.0[0].calls > 0);
        assert!(count_all(&bed, NOW).await > 0);
        assert_eq!(
            without_seen_time(numbers(&reader).await),
            without_seen_time(live)
        );
    }
}

#[tokio::test]
async fn a_shared_call_is_not_served_by_counted_days() {
    let bed = many().await;
    assert!(count_all(&bed, NOW).await > 0);
    let link = Viewer::HasShareLink {
        call_id: "c10".to_owned(),
        with_names: true,
    };
    let reader = reader_of(&bed, &link).await;
    let span = Span { from: 0, to: NOW };
    let sums = usage::sums_of_span(&reader, Scope::All, span, NOW, &Gone::default()).await;
    assert_eq!(sums.unwrap().calls, 1);
}

#[tokio::test]
async fn a_day_is_counted_when_it_is_over() {
    let bed = Bed::new().await;
    bed.stay("@a:h", "'D'", "one", DAY + 5, 3 * DAY + 5).await;
    bed.call("call", DAY + 5, 3 * DAY + 5).await;
    for (day, now, is) in [
        (0, DAY - 1, false),
        (0, DAY, true),
        (1, 2 * DAY, false),
        (1, 3 * DAY + 4, false),
        (1, 3 * DAY + 5, true),
        (2, 3 * DAY + 5, true),
        (2, 3 * DAY + 5, false),
    ] {
        assert_eq!(
            count_day(&bed.store, day, now).await.unwrap(),
            is,
            "{day} at {now}"
        );
    }

    bed.run("delete from memberships").await;
    bed.run("update sessions set until_ms = 9 * 86400000").await;
    bed.run("delete from days").await;
    assert!(
        !count_day(&bed.store, 1, 4 * DAY).await.unwrap(),
        "its call goes on"
    );
    assert!(count_day(&bed.store, 2, 4 * DAY).await.unwrap());
    assert_eq!(
        list_uncounted_days(&bed.store, 4 * DAY).await.unwrap()[..3],
        [3, 1, 0]
    );
    bed.run("update days set day = -800").await;
    assert_eq!(
        list_uncounted_days(&bed.store, 4 * DAY)
            .await
            .unwrap()
            .len(),
        732,
        "old ones are forgotten"
    );
    let left: i64 = sqlx::query_scalar("select count(*) from days")
        .fetch_one(&bed.store.read)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

/// An event of a member who comes or goes.
fn event(id: &str, user: &str, time: i64, content: &serde_json::Value) -> Arrival {
    let json = json!({"event_id": id, "type": "org.matrix.msc3401.call.member", "sender": user,
        "origin_server_ts": time,
        "state_key": format!("_{user}_D_m.call"), "content": content});

    Arrival {
        json: json.to_string(),
        event: RoomEvent::from_json(&json, Some(time)).unwrap().into(),
        in_timeline: true,
    }
}

fn join(id: &str, user: &str, time: i64) -> Arrival {
    let content = json!({"application": "m.call", "call_id": "", "scope": "m.room",
        "device_id": "D", "expires": 14_400_000,
        "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
        "foci_preferred": []});
    event(id, user, time, &content)
}

async fn store(bed: &Bed, arrivals: Vec<Arrival>) {
    let room = RoomBatch {
        arrivals,
        ..RoomBatch::new("!r:h", Source::Backfill)
    };

    let batch = Batch {
        vantage_id: "v".into(),
        seen_ms: NOW,
        position: None,
        rooms: vec![room],
        invitations: vec![],
    };

    write_batch(&bed.store, &Rules::default(), &batch)
        .await
        .unwrap();
}

/// Some past days, from events that were all stored before.
async fn past() -> Bed {
    let bed = Bed::new().await;
    let start = vantages::VantageStart {
        id: "v",
        user_id: "@bot:h",
        homeserver: "https://h",
        device_id: None,
        mode: Mode::Follow,
        software: None,
        delayed_events: true,
        sticky_events: true,
        now: 0,
    };

    vantages::record_start(&bed.store, &start).await.unwrap();
    let stay = |day: i64| {
        let at = day * DAY + HOUR;
        [
            join(&format!("$j{day}"), "@a:h", at),
            event(&format!("$l{day}"), "@a:h", at + HOUR, &json!({})),
        ]
    };

    store(&bed, (1..9).flat_map(stay).collect()).await;
    count_all(&bed, NOW).await;
    assert_eq!(counted(&bed).await.len(), 40);

    bed
}

fn without(gone: &[i64]) -> Vec<i64> {
    (0..40).filter(|day| !gone.contains(day)).collect()
}

#[tokio::test]
async fn what_changes_a_day_takes_it_out() {
    let bed = past().await;
    // A stay that was in no call yet, over midnight; and a day of which nothing was known.
    store(
        &bed,
        vec![
            join("$j", "@b:h", 3 * DAY - HOUR),
            event("$l", "@b:h", 3 * DAY + 2 * HOUR, &json!({})),
        ],
    )
    .await;
    assert_eq!(counted(&bed).await, without(&[2, 3]));
    store(
        &bed,
        vec![
            join("$jj", "@b:h", 20 * DAY),
            event("$ll", "@b:h", 20 * DAY + 9, &json!({})),
        ],
    )
    .await;
    assert_eq!(counted(&bed).await, without(&[2, 3, 20]));
    // A known event changes nothing, nor does a name.
    store(&bed, vec![join("$j5", "@a:h", 5 * DAY + HOUR)]).await;
    assert_eq!(counted(&bed).await, without(&[2, 3, 20]));
    count_all(&bed, NOW).await;
    let (store, span, gone) = (&bed.store, Span { from: 0, to: NOW }, Gone::default());
    let read = || usage::sums_of_span(store, Scope::All, span, NOW, &gone);
    let with = read().await.unwrap();
    bed.run("delete from days").await;
    assert_eq!(
        (with, counted(&bed).await.len()),
        (read().await.unwrap(), 0)
    );
    assert_eq!(read().await.unwrap().together_ms, 8 * HOUR + 3 * HOUR + 9);
}

#[tokio::test]
async fn a_day_that_changes_while_it_is_counted_is_not_kept() {
    let bed = past().await;
    bed.run("update days set facts = '' where day = 4").await;
    let mut tx = bed.store.writing().await.unwrap();
    discard_day_totals(&mut tx, &[(4 * DAY, 4 * DAY)])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let done = sqlx::query(NOTE)
        .bind(4_i64)
        .bind("{}")
        .execute(&bed.store.write)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 0);
    assert_eq!(counted(&bed).await, without(&[4]));
}

#[tokio::test]
async fn rebuild_and_retention_take_days_out() {
    let bed = past().await;
    bed.run(
        "insert into seals (room_id, chain, cut_ms) select distinct room_id, chain,
        4 * 86400000 from memberships",
    )
    .await;
    retention::delete_calls(&bed.store, "!r:h", 4 * DAY, NOW)
        .await
        .unwrap();
    assert_eq!(counted(&bed).await, without(&[1, 2, 3]));
    rebuild::recount_calls(&bed.store, "!r:h").await.unwrap();
    assert_eq!(counted(&bed).await, [0_i64; 0]);
}

#[tokio::test]
async fn days_are_found_without_a_look_at_every_stay() {
    let bed = Bed::new().await;
    let plan = bed.plan(OPEN).await;
    assert!(
        plan.contains("memberships_until (until_ms>?")
            && plan.contains("sessions_started (started_ms>?"),
        "{plan}"
    );
    let plan = bed.plan(usage::EVERYBODY).await;

    for index in [
        "memberships_user (user_id=? AND until_ms>? AND until_ms<?)",
        "memberships_long",
    ] {
        assert!(plan.contains(index) && !plan.contains("SCAN m\n"), "{plan}");
    }
}
