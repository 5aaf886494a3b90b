//! Handwritten rows for tests: the calls of the page mocks.

use crate::rtc::id::server_of;
use crate::rtc::membership::Membership;
use crate::rtc::slot::SlotId;
use crate::rtc::transport::{Selection, Transport};
use crate::rtc::words::Format;
use crate::store::model::{Call, Member, RoomName};
use crate::web::http::response::Shell;
use crate::web::view::{CallContext, CallFacts, calls_with_members};

/// 2026-11-22 14:47:16 UTC, a Sunday.
pub const NOW: i64 = 1_795_358_836_000;
pub const MINUTE: i64 = 60_000;
pub const DAY: i64 = 86_400_000;

/// The frame of a page for somebody who may see everything.
pub fn shell() -> Shell {
    Shell {
        public_url: None,
        section: None,
        follows: false,
        is_made_up: false,
        now_ms: NOW,
        room_id: None,
        vantages: None,
        older_rules: false,
        part_shown: None,
        storage_trouble: None,
        is_shared: false,
        halvings: 0,
        frame: crate::web::sign_in::Frame::PLAIN,
        sign_in_address: "/sign-in".to_owned(),
        open_problems: None,
        links_findings: true,
    }
}

/// A time today, ms.
pub fn today_at(h: i64, m: i64, s: i64) -> i64 {
    NOW - NOW.rem_euclid(86_400_000) + ((h * 60 + m) * 60 + s) * 1000
}

pub fn room_name(name: &str, alias: &str) -> RoomName {
    RoomName {
        room_id: format!(
            "!{}:example.org",
            alias
                .trim_start_matches('#')
                .split(':')
                .next()
                .unwrap_or("x")
        ),
        name: (!name.is_empty()).then(|| name.to_owned()),
        alias: alias.starts_with('#').then(|| alias.to_owned()),
        people_title: None,
    }
}

/// A call with counts computed from its members.
pub fn call_row(id: &str, room: RoomName, members: &[Member]) -> Call {
    let distinct = |key: fn(&Member) -> String| {
        members
            .iter()
            .map(key)
            .collect::<std::collections::BTreeSet<_>>()
    };

    let people = distinct(|member| member.stay.user_id.clone());
    let devices = distinct(|member| format!("{} {:?}", member.stay.user_id, member.stay.device_id));
    let started_ms = members
        .iter()
        .map(|member| member.stay.joined_ms)
        .min()
        .unwrap_or(NOW);

    Call {
        id: id.to_owned(),
        room,
        slot_id: "m.call#ROOM".to_owned(),
        application: "m.call".to_owned(),
        started_ms,
        until_ms: members
            .iter()
            .map(|member| member.stay.until_ms)
            .max()
            .unwrap_or(NOW),
        people: i64::try_from(people.len()).unwrap(),
        devices: i64::try_from(devices.len()).unwrap(),
        memberships: i64::try_from(members.len()).unwrap(),
        peak: i64::try_from(devices.len()).unwrap(),
        peak_users: i64::try_from(people.len()).unwrap(),
        servers: distinct(|member| member.stay.server().to_owned())
            .into_iter()
            .collect(),
        intent: Some("video".to_owned()),
        first_event_id: format!("$first{id}"),
        lost_ms: None,
    }
}

/// One stay; it is open if `until` is `None`.
pub fn member_row(
    call: &str,
    who: (&str, &str, &str),
    from: i64,
    until: Option<(i64, &str)>,
    sfu: &str,
) -> Member {
    let (name, user_id, device) = who;
    let (until_ms, end_reason) = until.unwrap_or((NOW + 3 * 60 * MINUTE, "expired"));

    let stay = Membership {
        id: format!("{call} {user_id} {device} {from}"),
        member_key: format!("k{user_id} {device}"),
        slot: SlotId::new("m.call", ""),
        user_id: user_id.to_owned(),
        device_id: (!device.is_empty()).then(|| device.to_owned()),
        format: Format::Session,
        joined_ms: from,
        opened_ms: from,
        until_ms,
        end_reason: end_reason.parse().unwrap(),
        updates: 0,
        join_event_id: format!("$join{from}"),
        end_event_id: None,
        resumed: false,
        claimed: false,
        back_since_ms: None,
        outlived_ms: None,
        intent: Some("video".to_owned()),
        transport: (!sfu.is_empty()).then(|| {
            let address = Some(format!("https://{sfu}"));
            Transport::stored("livekit".to_owned(), address, server_of(user_id))
        }),
        transport_alias: None,
        selection: Selection::MultiSfu,
    };

    Member {
        stay,
        session_id: call.to_owned(),
        name: (!name.is_empty()).then(|| name.to_owned()),
    }
}

pub fn war_room_rows() -> (Call, Vec<Member>) {
    let (a, b, c) = (
        "livekit.example.org",
        "sfu.hackerspace.example",
        "livekit.matrix.example.net",
    );
    let alice = |device| ("Alice Moreau", "@alice:example.org", device);
    let bob = ("Bob", "@bob:matrix.example.net", "HHRVYTWCLA");
    let carol = ("Carol Okafor", "@carol:hackerspace.example", "QGZTNXKFUE");
    let long = "Maximiliane-Friederike von Hohenberg-Schwarzenstein (on call)";
    let max = (
        long,
        "@maximiliane.von.hohenberg-schwarzenstein:verein.example",
        "ZRFAOMQPLC",
    );
    let rows = vec![
        member_row("war", alice("KDQPMXTZRA"), today_at(13, 58, 4), None, a),
        member_row(
            "war",
            bob,
            today_at(13, 59, 30),
            Some((today_at(14, 12, 6), "delayed_leave")),
            a,
        ),
        member_row(
            "war",
            ("Grace", "@grace:matrix.example.net", "TBLJSWOMQE"),
            today_at(14, 0, 0),
            None,
            c,
        ),
        member_row(
            "war",
            alice("LWZNPBHKOE"),
            today_at(14, 2, 0),
            Some((today_at(14, 20, 40), "left")),
            a,
        ),
        member_row(
            "war",
            carol,
            today_at(14, 5, 2),
            Some((today_at(14, 9, 10), "switched")),
            b,
        ),
        member_row("war", carol, today_at(14, 9, 10), None, a),
        member_row("war", bob, today_at(14, 13, 20), None, a),
        member_row(
            "war",
            max,
            today_at(14, 22, 40),
            Some((today_at(14, 33, 0), "expired")),
            a,
        ),
    ];

    (
        call_row("war", room_name("Ops war room", "#ops:example.org"), &rows),
        rows,
    )
}

pub fn war_room_call() -> CallFacts {
    let (call, members) = war_room_rows();
    CallFacts::new(call, members, &CallContext::default(), NOW)
}

/// A call of `people` people on nine servers, who arrived one after another.
pub fn crowd_rows(people: i64) -> (Call, Vec<Member>) {
    let start = NOW - 72 * MINUTE - 9000;
    let rows: Vec<Member> = (0..people)
        .map(|index| {
            let user_id = format!("@person{index}:server{}.example", index % 9);
            let until = (index % 7 == 3).then_some((NOW - MINUTE * (1 + index % 5), "left"));
            let from = start + index * index * 600_000 / people.max(1) / 10;
            member_row(
                "crowd",
                (&format!("Person {index}"), &user_id, "DEV"),
                from.min(NOW - MINUTE),
                until,
                "livekit.example.org",
            )
        })
        .collect();

    (
        call_row(
            "crowd",
            room_name("Weekly community call", "#community:matrix.example.org"),
            &rows,
        ),
        rows,
    )
}

pub fn crowd_call(people: i64) -> CallFacts {
    let (call, members) = crowd_rows(people);
    CallFacts::new(call, members, &CallContext::default(), NOW)
}

/// Two small calls that run.
pub fn two_small_calls() -> Vec<CallFacts> {
    let two = vec![
        member_row(
            "ar",
            ("شيماء عبد الرحمن", "@shaima:matrix.example.net", "A"),
            today_at(14, 38, 45),
            None,
            "livekit.matrix.example.net",
        ),
        member_row(
            "ar",
            ("يوسف", "@yusuf:example.net", "B"),
            today_at(14, 39, 30),
            None,
            "livekit.matrix.example.net",
        ),
    ];
    let mut arabic = call_row("ar", room_name("مجلس المطوّرين", "jDvXwQmTzB"), &two);
    arabic.intent = Some("audio".to_owned());
    let one = vec![member_row(
        "rc",
        ("Dieter", "@dieter:hackerspace.example", "A"),
        today_at(14, 43, 29),
        None,
        "sfu.hackerspace.example",
    )];
    let name = "Neighbourhood Repair Café, Thursday Evening Planning and Tool Library";
    let cafe = call_row(
        "rc",
        room_name(
            name,
            "#repair-cafe-planning-tool-library:hackerspace.example",
        ),
        &one,
    );

    calls_with_members(
        vec![arabic, cafe],
        [two, one].concat(),
        &CallContext::default(),
        NOW,
    )
}

/// Three ended calls.
pub fn ended_calls() -> Vec<CallFacts> {
    let call = |id: &str, name: &str, from: i64, to: i64, reason: &str| {
        let members: Vec<_> = (0..3)
            .map(|index| {
                let user = format!("@u{index}:s{index}.example");
                let leave = Some((
                    to - index * 2 * MINUTE,
                    if index == 0 { reason } else { "left" },
                ));
                member_row(
                    id,
                    ("", &user, "D"),
                    from + index * 3 * MINUTE,
                    leave,
                    "sfu.example",
                )
            })
            .collect();
        CallFacts::new(
            call_row(id, room_name(name, &format!("#{id}:example.org")), &members),
            members,
            &CallContext::default(),
            NOW,
        )
    };

    vec![
        call(
            "support",
            "Support desk",
            today_at(14, 19, 0),
            today_at(14, 31, 0),
            "left",
        ),
        call(
            "board",
            "Board of the Verein",
            today_at(12, 22, 0),
            today_at(14, 2, 0),
            "expired",
        ),
        call(
            "film",
            "Film night",
            today_at(20, 10, 0) - DAY,
            today_at(23, 5, 0) - DAY,
            "left",
        ),
    ]
}
