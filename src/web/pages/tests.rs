//! Pages from handwritten rows, without a store: they render, strangers' text is escaped, and HTML
//! and JSON agree.

use super::*;
use crate::rtc::coverage::{Cover, Interval, Span};
use crate::rtc::present::{Sight, UnknownReason};
use crate::rtc::related::RelatedKind;
use crate::rtc::ring::RingOutcome;
use crate::rtc::words::{Mode, Source, Watch};
use crate::store::db::health::TroubleKind;
use crate::store::ingest::invitations::PendingInvitation;
use crate::store::ingest::receive_times::ClockDoubts;
use crate::store::ingest::sender_limit::Flood;
use crate::store::model::{
    Evidence, Matching, Rejected, RoomName, RoomRow, SpanNumbers, Totals, Vantage,
};
use crate::store::read::coverage::UnheardSpan;
use crate::store::stats::scope::UsageSums;
use crate::store::upkeep::retention::DeletedTotal;
use crate::web::fixtures::{self, MINUTE, NOW, today_at};
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, Shell};
use crate::web::view::liveness::{AllSeenFacts, Liveness};
use crate::web::view::{List, Stamp, StorageTroubleFacts, SumFacts};

mod lists;
mod walks;

const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const NASTY: &str = "<script>alert(1)</script>\"'&\u{202e}\u{0}\n<b>";

fn vantage() -> Vantage {
    Vantage {
        id: "main".to_owned(),
        user_id: "@callscope:example.org".to_owned(),
        homeserver: "https://example.org".to_owned(),
        device_id: Some("CALLSCOPE".to_owned()),
        mode: Mode::Follow,
        software: Some("Synapse 1.157.1".to_owned()),
        delayed_events: true,
        sticky_events: false,
        polls_every_ms: Some(5 * MINUTE),
        started_ms: NOW - 5 * DAY,
        first_sync_ms: Some(NOW - 5 * DAY + 2000),
        last_sync_ms: Some(NOW - 2000),
        last_poll_ms: Some(NOW - 7 * MINUTE),
        error: None,
        error_since_ms: None,
        unheard_since_ms: None,
        last_error: Some("the homeserver answered 502 Bad Gateway".to_owned()),
        last_error_ms: Some(NOW - 2 * DAY),
        errors: 3,
        invites_refused: 1,
        preparing_ms: None,
        needs_action: false,
        capabilities_ms: Some(NOW - 5 * DAY),
    }
}

fn invitation() -> PendingInvitation {
    PendingInvitation {
        is_direct: false,
        room: fixtures::room_name("Tree house", "#tree:other.example"),
        inviter: "@eve:other.example".to_owned(),
        accepted: false,
        seen_ms: NOW - HOUR,
    }
}

/// The present of these rooms.
fn seen(rooms: &[RoomRow]) -> Liveness {
    let sight = |room: &RoomRow| crate::store::read::present::RoomSight {
        room_id: room.room.room_id.clone(),
        room: crate::rtc::present::RoomObservation {
            sight: match room.watch {
                Watch::Joined => Sight::Followed,
                Watch::Peeked => Sight::Polled,
                Watch::Left => Sight::Left,
                Watch::Blind => Sight::Blind,
            },
            fails: room.error.is_some(),
            looked_ms: room.polled_ms,
            has_encrypted: room.unreadable > 0,
        },
    };

    let found = crate::store::read::present::PresentRows {
        vantages: vec![vantage()],
        rooms: rooms.iter().map(sight).collect(),
        not_stored_since_ms: None,
    };

    Liveness::from_rows(found, NOW)
}

fn room(name: RoomName) -> RoomRow {
    RoomRow {
        room: name,
        version: Some("11".to_owned()),
        encrypted: false,
        watch: Watch::Joined,
        history_visibility: Some("shared".to_owned()),
        replaced_by: None,
        replaced_ms: None,
        successor: None,
        successor_names: None,
        predecessor: None,
        predecessor_watch: None,
        predecessor_names: None,
        predecessor_replaced_ms: None,
        access: Vec::new(),
        resets: 0,
        first_seen_ms: NOW - 5 * DAY,
        polled_ms: Some(NOW - 7 * MINUTE),
        error: None,
        calls: 640,
        active: 1,
        last_call_ms: Some(NOW - HOUR),
        unreadable: 0,
        rejected: 0,
        history_pages: 12,
        history_open: false,
        oldest_event_ms: Some(1_678_752_000_000),
    }
}

fn rooms() -> Vec<RoomRow> {
    let mut rooms = vec![
        room(fixtures::room_name("Ops war room", "#ops:example.org")),
        room(fixtures::room_name(
            "Weekly community call",
            "#community:matrix.example.org",
        )),
        room(fixtures::room_name("Lobby", "#lobby:example.org")),
        room(fixtures::room_name("", "moderators")),
    ];
    rooms[2].encrypted = true;
    rooms[2].unreadable = 14;
    (
        rooms[2].active,
        rooms[3].active,
        rooms[3].calls,
        rooms[3].last_call_ms,
    ) = (0, 0, 0, None);
    rooms[3].history_visibility = Some("joined".to_owned());
    rooms[3].history_open = true;

    rooms
}

fn rejected(reason: &str, json: &str) -> Rejected {
    Rejected {
        room: fixtures::room_name("Lobby", "#lobby:example.org"),
        event_id: format!("$rejected_{reason}"),
        kind: "org.matrix.msc3401.call.member".to_owned(),
        sender: "@mallory:evil.example".to_owned(),
        origin_server_ts: NOW - 3 * HOUR,
        reason: reason.to_owned(),
        stream: 1,
        seen_ms: Some(NOW - 2 * HOUR),
        json: json.to_owned(),
    }
}

fn overview() -> overview::Overview {
    let mut active = vec![fixtures::war_room_call(), fixtures::crowd_call(42)];
    active.extend(fixtures::two_small_calls());
    let counts = (0..96).map(|step| {
        (
            NOW - DAY + step * 15 * MINUTE,
            (step * step / 7) % 23 * i64::from(step % 11 > 4),
        )
    });
    let today = SpanNumbers {
        calls: 23,
        calls_exact: 20,
        people: 118,
        together_ms: 56 * HOUR + 52 * MINUTE,
        together_seen_ms: 53 * HOUR + 40 * MINUTE,
        longest_ms: 2 * HOUR + 41 * MINUTE,
        longest_id: Some("board".to_owned()),
        longest_room: Some(fixtures::room_name(
            "Board of the Verein",
            "#board:example.org",
        )),
        peak: 51,
        peak_ms: Some(today_at(14, 44, 0)),
        stays: 140,
    };

    let last_week = SpanNumbers {
        calls: 19,
        people: 118,
        together_ms: 47 * HOUR,
        ..today.clone()
    };

    overview::overview_page(
        overview::OverviewRows {
            active_total: 4,
            active,
            ended: fixtures::ended_calls(),
            day: overview::DayCounts {
                today,
                last_week,
                concurrency: counts.collect(),
                concurrency_whole: true,
                compared: true,
            },
            rooms: rooms(),
            vantages: vec![vantage()],
            gaps: vec![UnheardSpan {
                span: Span {
                    from: NOW - 5 * HOUR,
                    to: NOW - 4 * HOUR,
                },
                rooms_unread: 2,
            }],
            seen: AllSeenFacts::default(),
            older_rules: false,
            short: Vec::new(),
            compared: true,
            trouble: None,
            own_server: Some("example.org".to_owned()),
            invitations: vec![invitation()],
        },
        NOW,
    )
}

fn calls() -> calls::Calls {
    let mut data = vec![fixtures::war_room_call(), fixtures::crowd_call(42)];
    data.extend(fixtures::two_small_calls());
    data.extend(fixtures::ended_calls());
    data.sort_by_key(|call| std::cmp::Reverse(call.started_ms));
    let query = Query::read(
        "room=%23ops%3Aexample.org&from=2026-11-01",
        &["room", "from"],
    )
    .unwrap();
    let form = calls::CallsForm {
        query,
        chosen: crate::web::http::sort::SortOrder::default(),
        matching: Matching {
            calls: 143,
            more: false,
        },
        all: 1284,
        since_ms: Some(1_678_752_000_000),
        rooms: 42,
    };

    let list = List {
        entries_total: None,
        data,
        next: Some("31".to_owned()),
        next_url: Some("/api/v1/calls?cursor=31".to_owned()),
    };

    calls::Calls {
        list,
        looked: crate::web::view::liveness::LookedFacts::default(),
        form,
    }
}

fn evidence(call: &CallFacts) -> Vec<Evidence> {
    let event = |index: usize, member: &view::MemberFacts, content: &str| Evidence {
        event_id: if content == "{}" {
            format!("$leave{index}")
        } else {
            member.join_event_id.clone()
        },
        kind: "org.matrix.msc3401.call.member".to_owned(),
        sender: member.user_id.clone(),
        name: member.name.clone(),
        state_key: Some(format!(
            "_{}_{}",
            member.user_id,
            member.device_id.as_deref().unwrap_or("")
        )),
        origin_server_ts: if content == "{}" {
            member.left_ms.unwrap_or(NOW)
        } else {
            member.joined_ms
        },
        received_ms: Some(member.joined_ms + 312),
        source: if index == 2 {
            Source::Backfill
        } else {
            Source::Sync
        },
        rejected: None,
        json: format!(r#"{{"type":"org.matrix.msc3401.call.member","content":{content}}}"#),
    };

    let content = r#"{"application":"m.call","call_id":"","device_id":"X","expires":14400000}"#;
    let mut events: Vec<_> = call
        .members
        .iter()
        .enumerate()
        .map(|(index, member)| event(index, member, content))
        .collect();
    events.push(event(9, &call.members[1], "{}"));
    events.sort_by_key(|event| event.origin_server_ts);

    events
}

fn shell(page: &impl Page) -> Shell {
    Shell {
        room_id: page.room_id().map(ToOwned::to_owned),
        vantages: Some(vec![vantage().into()]),
        ..fixtures::shell()
    }
}

fn html<P: Page>(page: &P) -> String {
    response::render_within_limit(
        page,
        Shell {
            section: Some(P::SECTION),
            ..shell(page)
        },
    )
    .unwrap()
}

/// Hidden, read, watched, with a gap in the war room's call.
fn cover() -> Vec<Interval> {
    let part = |from, to, cover| Interval {
        span: Span { from, to },
        cover,
    };

    vec![
        part(NOW - 300 * DAY, NOW - 200 * DAY, Cover::NotVisible),
        part(NOW - 200 * DAY, NOW - 5 * DAY, Cover::Backfilled),
        part(NOW - 5 * DAY, today_at(14, 15, 0), Cover::Live),
        part(today_at(14, 15, 0), today_at(14, 18, 0), Cover::Gap),
        part(today_at(14, 18, 0), NOW, Cover::Live),
    ]
}

fn one_call(call: CallFacts) -> call::CallPage {
    let events = evidence(&call);
    let count = i64::try_from(events.len()).unwrap();
    let mut page = call::call_page(call, events, count, cover(), NOW);
    page.related = vec![
        related(RelatedKind::Ring, "@grace:matrix.example.net"),
        related(RelatedKind::Decline, NASTY),
    ];

    page
}

fn related(kind: RelatedKind, who: &str) -> view::RelatedFacts {
    let at_ms = today_at(14, if kind == RelatedKind::Ring { 1 } else { 6 }, 0);
    view::RelatedFacts {
        kind,
        event_id: NASTY.to_owned(),
        user_id: who.to_owned(),
        name: Some(NASTY.to_owned()),
        whom: vec![NASTY.to_owned(), "@bob:matrix.example.net".to_owned()],
        whom_names: vec![None, Some("Bob".to_owned())],
        whole_room: false,
        at_ms,
        at_at: view::Stamp(at_ms),
        lifetime_ms: Some(30_000),
        intent: Some(NASTY.to_owned()),
        relates_to: None,
        slot_id: None,
        outcome: (kind == RelatedKind::Ring).then_some(RingOutcome::Missed),
        answered_ms: None,
        answered_at: None,
    }
}

/// The parts of a room's page that not every room has.
fn month() -> SumFacts {
    let (calls, calls_exact, people) = (81, 78, 24);
    let (together_ms, together_seen_ms) = (112 * HOUR, 109 * HOUR + 40 * MINUTE);
    let sums = UsageSums {
        calls,
        calls_exact,
        people,
        together_ms,
        together_seen_ms,
        places: Vec::new(),
    };

    SumFacts::new(
        &sums,
        Span {
            from: NOW - 30 * DAY,
            to: NOW,
        },
    )
}

fn with_past(mut page: room::RoomPage) -> room::RoomPage {
    page.zombies = vec![view::ZombieFacts {
        call_id: Some("war".to_owned()),
        user_id: NASTY.to_owned(),
        name: Some(NASTY.to_owned()),
        event_id: NASTY.to_owned(),
        newer_event_id: "$newer".to_owned(),
        noticed_ms: NOW - HOUR,
        noticed_at: view::Stamp(NOW - HOUR),
    }];
    let flip = |at_ms, on| view::Flip {
        at_ms,
        at_at: view::Stamp(at_ms),
        on,
        call_id: "war".to_owned(),
        slot_id: NASTY.to_owned(),
    };

    page.walks = vec![walks::history().into(), walks::gap().into()];
    page.flips = vec![flip(NOW - HOUR, true), flip(NOW - 5 * HOUR, false)];
    let calls = vec![CallFacts {
        slot_id: NASTY.to_owned(),
        ..fixtures::war_room_call()
    }];
    page.then = Some(view::Moment::new(
        page.room.room.clone(),
        today_at(14, 6, 0),
        Cover::Gap,
        Some(UnknownReason::NotWatched),
        calls,
    ));

    page
}

fn one_room() -> room::RoomPage {
    let year = (0..214)
        .map(|index| {
            (
                NOW - 360 * DAY + index * index % 360 * DAY - index % 9 * HOUR,
                3 + index % 17,
            )
        })
        .collect();
    let mut list = rooms();
    list[1].rejected = 2;
    let reasons = vec![
        rejected("bad_device_id", "{\"type\":3}"),
        rejected("foreign_sender", NASTY),
    ];

    with_past(room::room_page(
        list.remove(1),
        calls().list.data,
        year,
        reasons,
        cover(),
        month(),
    ))
}

fn status() -> status::Status {
    let totals = Totals {
        rooms: 42,
        events: 12_406,
        memberships: 9_120,
        calls: 1284,
        snapshots: 310,
        rejected: 17,
        unreadable: 14,
        database_bytes: Some(18_400_000),
        oldest_event_ms: Some(1_678_752_000_000),
    };

    let reasons = vec![
        ("bad_device_id".to_owned(), 12),
        ("foreign_sender".to_owned(), 5),
    ];
    let rows = status::StatusRows {
        active: Vec::new(),
        numbers_now: view::NowFacts::default(),
        present: seen(&rooms()),
        vantages: vec![vantage()],
        own: std::collections::BTreeMap::new(),
        totals,
        rejected: reasons,
        clock_doubts: ClockDoubts::default(),
        clock_offs: Vec::new(),
        rederiving: None,
        unasked: vec![crate::store::ingest::unrequested::UnrequestedEvents {
            kind: "m.room.message".into(),
            events: 12_000,
            first_ms: NOW - HOUR,
            last_ms: NOW - MINUTE,
        }],
        rejected_events: vec![rejected("bad_device_id", "{}"); 3],
        rooms: rooms(),
        invitations: vec![invitation()],
        trouble: None,
        reads: vec![walks::gap(), walks::history()],
        short: vec![walks::short()],
        rooms_short: 1,
        read_sums: crate::store::read::history_progress::ReadSums {
            rooms: 42,
            open: 2,
            pages: 900,
            found: 80_000,
        },
        removed: vec![DeletedTotal {
            what: "events".into(),
            total: 1200,
            last_ms: NOW - MINUTE,
        }],
        gaps: vec![
            UnheardSpan {
                span: Span {
                    from: NOW - 5 * HOUR,
                    to: NOW - 4 * HOUR,
                },
                rooms_unread: 2,
            },
            UnheardSpan {
                span: Span {
                    from: NOW - 9,
                    to: NOW,
                },
                rooms_unread: 0,
            },
        ],
        floods: vec![Flood {
            room: fixtures::room_name("Ops", "#ops:example.org"),
            user_id: "@mallory:evil.example".to_owned(),
            events: 21_000,
            from_ms: NOW - HOUR,
            until_ms: NOW,
        }],
    };

    status::status_page(rows, NOW)
}

#[test]
fn beside_a_stuck_call_nothing_is_said_to_be_well() {
    let mut page = overview();
    (page.watched.unread, page.watched.history_short) = (0, 0);
    (page.watched.followed, page.seen) = (3, AllSeenFacts::default());
    page.watched.vantages.truncate(1);
    page.watched.vantages[0].error = None;
    page.stuck.clear();
    assert_eq!(
        page.watching_words(),
        "Callscope is well and watching 3 rooms."
    );
    page.stuck = vec![fixtures::war_room_call()];
    assert_eq!(page.watching_words(), "Callscope is watching 3 rooms.");
}

#[test]
fn the_status_says_what_went_by_age_and_that_the_disk_is_full() {
    let mut page = status();
    assert!(html(&page).contains("0 calls and 0 snapshots were deleted so far"));
    assert!(!html(&page).contains("The disk is full"));
    page.storage_trouble = Some(StorageTroubleFacts {
        kind: TroubleKind::Full,
        since_ms: NOW - MINUTE,
        since_at: Stamp(NOW - MINUTE),
        error: "database or disk is full".into(),
    });
    assert!(html(&page).contains("The disk is full"));
}

/// Writes every page below the directory in `CALLSCOPE_LOOK`, for eyes and screenshots.
#[test]
fn every_page_renders() {
    let empty = overview::overview_page(
        overview::OverviewRows {
            vantages: vec![vantage()],
            ..overview::OverviewRows::default()
        },
        NOW,
    );
    let pages = [
        ("overview", html(&overview())),
        ("empty", html(&empty)),
        ("calls", html(&calls())),
        ("call", html(&one_call(fixtures::war_room_call()))),
        ("crowd", html(&one_call(fixtures::crowd_call(60)))),
        ("mass", html(&one_call(fixtures::crowd_call(250)))),
        (
            "rooms",
            html(&rooms::rooms_page(rooms(), &[], &seen(&rooms()))),
        ),
        ("room", html(&one_room())),
        ("status", html(&status())),
        ("about", html(&about::About::unconfigured())),
    ];

    for (name, page) in &pages {
        assert!(
            page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"),
            "{name}"
        );
        assert!(page.contains("<h1 ") || page.contains("<h1>"), "{name}");
        assert!(
            !page.contains(" style=") && !page.contains("<script>"),
            "{name} breaks the content security policy"
        );
        assert!(page.contains("UTC"), "{name}");
        if let Ok(folder) = std::env::var("CALLSCOPE_LOOK") {
            std::fs::write(format!("{folder}/{name}.html"), page).unwrap();
        }
    }
}

#[test]
fn text_of_strangers_is_escaped_cut_and_stripped_of_tricks() {
    let mut call = fixtures::war_room_call();
    let long = "x".repeat(60_000);
    call.room.name = Some(NASTY.repeat(2000));
    call.room.alias = Some(long.clone());
    call.slot_id = format!("m.call#{NASTY}");
    call.intent = Some(NASTY.to_owned());
    for member in &mut call.members {
        member.name = Some(NASTY.to_owned());
        member.user_id = format!("@{NASTY}:{long}");
        member.device_id = Some(format!("{NASTY}{long}"));
        member.server = format!("{NASTY}{long}");
        if let Some(transport) = &mut member.transport {
            transport.service_url = Some(format!("javascript:{NASTY}{long}"));
        }
    }

    let mut evil = room(RoomName {
        room_id: NASTY.to_owned(),
        name: Some(NASTY.to_owned()),
        alias: None,
        people_title: None,
    });
    evil.error = Some(NASTY.to_owned());
    let mut view = overview();
    view.active = vec![call.clone()];
    let mut list = calls();
    list.list.data = vec![call.clone()];
    list.form.query = Query::read("room=%3Cscript%3E%22%27", &["room"]).unwrap();
    let (odd, reasons) = (
        vec![(i64::MAX, i64::MAX), (i64::MIN, -1)],
        vec![rejected(NASTY, NASTY)],
    );
    let hidden = html(&with_past(room::room_page(
        evil.clone(),
        Vec::new(),
        odd,
        reasons,
        cover(),
        month(),
    )));
    let pages = [
        html(&view),
        html(&list),
        html(&one_call(call)),
        html(&rooms::rooms_page(vec![evil.clone()], &[], &seen(&[evil]))),
        hidden,
    ];

    for (index, page) in pages.iter().enumerate() {
        assert!(
            !page.contains("<script>") && !page.contains("<b><b>"),
            "page {index}"
        );
        assert!(
            !page.contains('\u{202e}') && !page.contains('\u{0}'),
            "page {index}"
        );
        assert!(
            !page.contains("href=\"javascript") && page.len() < 250_000,
            "page {index}: {}",
            page.len()
        );
    }
}

#[test]
fn json_has_the_shape_that_was_promised() {
    let call = serde_json::to_value(fixtures::war_room_call()).unwrap();
    let keys = "id room slot_id application started_ms ended_ms active duration_ms people devices \
                peak peak_users servers intent members";
    for key in keys.split(' ').chain(["started_at", "ended_at"]) {
        assert!(call.get(key).is_some(), "{key}");
    }

    assert_eq!(call["started_at"], "2026-11-22T13:58:04.000Z");
    assert!(
        call["ended_ms"].is_null()
            && call["members"][0]["left_ms"].is_null()
            && call["members"][0]["end_reason"].is_null()
    );
    assert_eq!(call["members"][1]["end_reason"], "delayed_leave");
    assert_eq!(
        call["members"][0]["transport"],
        serde_json::json!({
            "type": "livekit",
            "service_url": "https://livekit.example.org",
            "url": null,
            "sfu": "livekit.example.org",
        })
    );
    let list = serde_json::to_value(calls()).unwrap();
    let keys: Vec<_> = list.as_object().unwrap().keys().collect();
    let present = [
        "rooms_followed",
        "rooms_unread",
        "unknown",
        "unknown_rooms",
        "unknown_since_at",
        "unknown_since_ms",
        "unknown_why",
    ];
    assert_eq!(keys[..4], ["data", "entries_total", "next", "next_url"]);
    assert_eq!(
        keys[4..],
        present,
        "an empty list says whether it was looked at"
    );
}
