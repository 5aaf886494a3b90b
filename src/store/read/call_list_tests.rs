//! A list of calls is the same whatever is rare in its filter, and in whatever portions it is read.

use super::tests::Bed;
use super::{calls, room_at};
use crate::rtc::coverage::Span;
use crate::store::model::{Call, CallFilter, Cursor, Member, More};
use crate::store::{Reader, Tuning};
use std::collections::BTreeMap;

const NOW: i64 = 1_000_000_000_000;
const DAY: i64 = 86_400_000;

/// 600 calls of three rooms, over 60 days, of all lengths and sizes; some run, some begin after
/// now.
async fn many() -> Bed {
    let bed = Bed::new().await;
    bed.run("update rooms set name = 'The Lounge', alias = '#lounge:h'")
        .await;
    bed.run(
        "insert into rooms (room_id, watch, first_seen_ms) values ('!left:h', 'left', 1),
            ('!empty:h', 'joined', 1)",
    )
    .await;
    bed.run(
        "insert into people (room_id, user_id, name, event_ms, event_id) values ('!r:h',
        '@u7:s2', 'Ada', 1, '$')",
    )
    .await;
    let calls = format!(
        "with recursive n(n) as (select cast(0 as bigint) union all select n + 1 from n
            where n < 599),
            rows as (select n, {NOW} - cast(60 as bigint) * {DAY} + n * 8650000 + (n % 7) * 100000 as started,
                case when n % 97 = 5 then 3 * {DAY} when n % 13 = 0 then 9000000
                else 60000 * (n % 50 + 1) end as length
                from n)
        insert into sessions (id, room_id, slot_id, application, started_ms, until_ms, memberships,
            users, devices, peak, peak_users, servers, first_event_id)
        select 'c' || n, case when n % 5 = 1 then '!left:h' else '!r:h' end, 's' || n,
            case when n % 31 = 3 then 'm.other' else 'm.call' end, started, started + length, 1,
            1 + n % 4 * (n % 3),
            1, 1, 1 + n % 3, 's' || (n % 9) || ' s' || (n % 9) || '0', '$j' from rows"
    );
    bed.run(&calls).await;
    bed.run(
        "insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind,
            joined_ms, until_ms, end_reason, updates, join_event_id, resumed, claimed, selection,
            session_id)
        select s.id || '-' || d.d, s.room_id, s.id || '-' || d.d, s.slot_id,
        '@u' || (cast(substr(s.id,
        2) as bigint) % 50) || ':s' || (cast(substr(s.id, 2) as bigint) % 9) || d.d,
            'D', 's' || (cast(substr(s.id, 2) as bigint) % 9) || d.d, 'session', s.started_ms,
            s.until_ms, 'left', 0, '$j', 0, 0, 'unknown', s.id
        from sessions s cross join (select '' as d union all select '0') as d",
    )
    .await;

    bed
}

fn filters() -> Vec<CallFilter> {
    let mut all = Vec::new();
    for room in [None, Some("!left:h"), Some("!empty:h")] {
        for active in [None, Some(true), Some(false)] {
            for (from_ms, to_ms) in [
                (None, None),
                (Some(NOW - 30 * DAY), None),
                (None, Some(NOW - 40 * DAY)),
                (Some(NOW - 41 * DAY), Some(NOW - 40 * DAY)),
            ] {
                let room = room.map(ToOwned::to_owned);
                all.push(CallFilter {
                    room,
                    active,
                    from_ms,
                    to_ms,
                    more: More::default(),
                });
            }
        }
    }

    let text = |text: &str| Some(text.to_owned());
    let mores = [
        More {
            user: text("@u7:s7"),
            ..More::default()
        },
        More {
            user: text("@none:h"),
            ..More::default()
        },
        More {
            server: text("s20"),
            ..More::default()
        },
        More {
            server: text("s2"),
            group: Some(false),
            ..More::default()
        },
        More {
            application: text("m.other"),
            min_people: Some(2),
            ..More::default()
        },
        More {
            min_ms: Some(DAY),
            ..More::default()
        },
        More {
            min_people: Some(7),
            ..More::default()
        },
        More {
            q: text("LOUNGE"),
            ..More::default()
        },
        More {
            q: text("@u7:"),
            group: Some(true),
            ..More::default()
        },
        More {
            q: text("ada"),
            ..More::default()
        },
        More {
            q: text("s30"),
            server: text("s3"),
            ..More::default()
        },
        More {
            id: text("c5"),
            ..More::default()
        },
    ];
    for more in mores {
        for from_ms in [None, Some(NOW - 20 * DAY)] {
            all.push(CallFilter {
                more: more.clone(),
                from_ms,
                ..CallFilter::default()
            });
        }
    }

    all
}

/// Does the call match? Computed for each call separately.
fn fits(filter: &CallFilter, call: &Call, members: &[Member]) -> bool {
    let More {
        application,
        server,
        user,
        group,
        min_ms,
        min_people,
        id,
        intent,
        finding: _,
        q,
    } = &filter.more;
    let is =
        |wanted: &Option<String>, have: &str| wanted.as_ref().is_none_or(|wanted| wanted == have);
    let word = |q: &String| {
        let q = q.to_lowercase();
        let room = [
            Some(call.room.room_id.clone()),
            call.room.name.clone(),
            call.room.alias.clone(),
        ];
        let people = members
            .iter()
            .flat_map(|member| [Some(member.stay.user_id.clone()), member.name.clone()]);
        let servers = call.servers.iter().map(|server| Some(server.clone()));
        room.into_iter()
            .chain(people)
            .chain(servers)
            .flatten()
            .any(|text| text.to_lowercase().contains(&q))
    };

    let runs = call.until_ms > NOW;

    call.started_ms <= NOW
        && is(&filter.room, &call.room.room_id)
        && filter.active.is_none_or(|active| {
            if active {
                runs && call.lost_ms.is_none()
            } else {
                !runs
            }
        })
        && filter.from_ms.is_none_or(|from| call.until_ms >= from)
        && filter.to_ms.is_none_or(|to| call.started_ms < to)
        && is(application, &call.application)
        && is(intent, call.intent.as_deref().unwrap_or_default())
        && server
            .as_ref()
            .is_none_or(|server| call.servers.contains(server))
        && user
            .as_ref()
            .is_none_or(|user| members.iter().any(|member| member.stay.user_id == *user))
        && group.is_none_or(|group| (call.peak_users >= 2) == group)
        && min_ms.is_none_or(|ms| call.until_ms.min(NOW) - call.started_ms >= ms)
        && min_people.is_none_or(|people| call.people >= people)
        && is(id, &call.id)
        && q.as_ref().is_none_or(word)
}

async fn listed(store: &Reader, filter: &CallFilter, portion: i64) -> Vec<Call> {
    let (mut calls, mut cursor): (Vec<Call>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let more = calls::list_calls(store, filter, cursor.as_ref(), portion, NOW)
            .await
            .unwrap();
        let Some(last) = more.last() else {
            return calls;
        };

        cursor = Some(Cursor {
            started_ms: last.started_ms,
            id: last.id.clone(),
        });
        calls.extend(more);
    }
}

#[tokio::test]
async fn a_list_is_the_same_however_it_is_found() {
    let bed = many().await;
    let store = |rare: i64| {
        bed.store.clone().with_tuning(Tuning {
            rare,
            ..Tuning::default()
        })
    };

    let all = listed(&store(0), &CallFilter::default(), 1000).await;
    assert!(
        all.len() > 550 && all.is_sorted_by(|a, b| (a.started_ms, &a.id) > (b.started_ms, &b.id))
    );
    let ids: Vec<String> = all.iter().map(|call| call.id.clone()).collect();
    let mut members: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for member in crate::store::read::memberships::members_of_calls(&bed.store, &ids)
        .await
        .unwrap()
    {
        members
            .entry(member.session_id.clone())
            .or_default()
            .push(member);
    }

    for filter in filters() {
        let fitting = all
            .iter()
            .filter(|call| fits(&filter, call, &members[&call.id]));
        let expected: Vec<&str> = fitting.map(|call| call.id.as_str()).collect();
        for (rare, portion) in [(0, 7), (0, 1000), (1000, 50)] {
            let found = listed(&store(rare), &filter, portion).await;
            let found: Vec<&str> = found.iter().map(|call| call.id.as_str()).collect();
            assert_eq!(found, expected, "{filter:?} {rare}");
            let count = calls::count_calls(&store(rare), &filter, NOW)
                .await
                .unwrap();
            assert_eq!(
                (count.calls, count.more),
                (crate::store::to_i64(expected.len()), false),
                "{filter:?} {rare}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_room_did_comes_in_parts_that_fit() {
    let bed = Bed::new().await;
    for (id, from, until) in [
        ("a", 10, 20),
        ("b", 30, 40),
        ("c", 50, 60),
        ("long", 5, 3 * DAY),
        ("e", 2 * DAY, 4 * DAY),
    ] {
        bed.call(id, from, until).await;
    }

    let (mut to, mut parts) = (NOW, Vec::new());
    loop {
        let (calls, from) = room_at::calls_between(&bed.store, "!r:h", Span { from: 7, to }, 2)
            .await
            .unwrap();
        let mut ids: Vec<String> = calls.into_iter().map(|call| call.id).collect();
        ids.sort();
        parts.push((from, ids.join(" ")));
        if from == 7 {
            break;
        }

        to = from;
    }

    let part = |from, ids: &str| (from, ids.to_owned());
    assert_eq!(
        parts,
        [part(50, "c e long"), part(10, "a b long"), part(7, "long")]
    );
    let plan = bed.plan(room_at::BETWEEN).await;
    assert!(
        plan.contains("(room_id=? AND started_ms>? AND started_ms<?)")
            && plan.contains("sessions_long"),
        "{plan}"
    );
}

/// The ids of the calls that a word finds.
async fn found(bed: &Bed, word: &str) -> Vec<String> {
    let filter = CallFilter {
        more: More {
            q: Some(word.to_owned()),
            ..More::default()
        },
        ..CallFilter::default()
    };

    listed(&bed.store, &filter, 50)
        .await
        .into_iter()
        .map(|call| call.id)
        .collect()
}

#[tokio::test]
async fn a_word_finds_who_is_new() {
    let bed = Bed::new().await;
    assert_eq!(found(&bed, "new").await, [""; 0]);
    // New names that come with an event: its sender, ...
    bed.event("$one", Some("one"), "m.call.member", 10).await;
    bed.run("update events set sender = '@New:h'").await;
    bed.stay("@New:h", "'D'", "one", 10, 20).await;
    bed.call("call", 10, 20).await;
    assert_eq!(found(&bed, "nEw").await, ["call"]);
    // ... and another display name of a user who was in a call; names of others are not kept.
    for (id, user, name) in [("$two", "@New:h", "Grace"), ("$three", "@other:h", "Grace")] {
        bed.event(id, None, "m.room.member", 11).await;
        bed.run(&format!(
            "update events set state_key = '{user}' where event_id = '{id}'"
        ))
        .await;
        bed.run(&format!(
            "insert into people (room_id, user_id, name, event_ms, event_id) values ('!r:h',
                '{user}', '{name}', 1, '{id}')"
        ))
        .await;
    }

    assert_eq!(found(&bed, "grace").await, ["call"]);
    // A user whose name changed is found only by the new name.
    bed.event("$four", None, "m.room.member", 12).await;
    bed.run("update events set state_key = '@New:h' where event_id = '$four'")
        .await;
    bed.run("update people set name = 'Hopper'").await;
    assert_eq!(
        (
            found(&bed, "grace").await.len(),
            found(&bed, "hopper").await.len()
        ),
        (0, 1)
    );
    // The names of rooms are read each time.
    bed.run("update rooms set alias = '#Lounge:h'").await;
    assert_eq!(found(&bed, "lounge").await, ["call"]);
}

#[tokio::test]
async fn an_event_that_takes_the_number_of_a_deleted_one_is_not_missed() {
    let bed = Bed::new().await;
    bed.event("$old", Some("old"), "m.call.member", 10).await;
    assert_eq!(found(&bed, "new").await, [""; 0]);
    bed.run("delete from events").await;
    for (id, sender) in [("$one", "@new:h"), ("$two", "@a:h")] {
        bed.event(id, Some(id), "m.call.member", 11).await;
        bed.run(&format!(
            "update events set sender = '{sender}' where event_id = '{id}'"
        ))
        .await;
    }

    bed.stay("@new:h", "'D'", "one", 11, 20).await;
    bed.call("call", 11, 20).await;
    assert_eq!(found(&bed, "new").await, ["call"]);
}
