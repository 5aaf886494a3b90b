//! What pages show about findings, and if the present is unknown.

use super::{call, calls, overview, wall};
use crate::rtc::evidence::Origin;
use crate::rtc::ghost::GhostSign;
use crate::rtc::present::{Unknown, UnknownReason};
use crate::rtc::transport::Selection;
use crate::rtc::words::Source;
use crate::store::ingest::state_resets::{ResetKind, StateReset};
use crate::store::read::evidence::Origins;
use crate::store::read::ghosts::{CurrentEvent, StayStatements};
use crate::web::fixtures::{self, NOW};
use crate::web::http::response::{self, Page, Shell};
use crate::web::view::liveness::AllSeenFacts;
use crate::web::view::{CallContext, CallFacts, FindingKind, List, StateResetFacts, Sureness};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn html<P: Page>(page: &P) -> String {
    let shell = Shell {
        section: Some(P::SECTION),
        ..fixtures::shell()
    };

    response::render_within_limit(page, shell).unwrap()
}

/// Alice's client knows one SFU, Carol sends to another; Dan renewed every hour until two hours
/// ago.
fn troubled() -> CallFacts {
    let sfu = ["sfu.one.example", "sfu.two.example"];
    let mut alice = fixtures::member_row(
        "c",
        ("Alice", "@alice:one.example", "A"),
        NOW - 5 * HOUR,
        None,
        sfu[0],
    );
    alice.stay.selection = Selection::OldestMembership;
    let mut dan = fixtures::member_row(
        "c",
        ("Dan", "@dan:one.example", "D"),
        NOW - 5 * HOUR,
        None,
        sfu[0],
    );
    (dan.stay.updates, dan.stay.until_ms) = (2, NOW + 6 * HOUR);
    let carol = fixtures::member_row(
        "c",
        ("", "@carol:two.example", "C"),
        NOW - 30 * MINUTE,
        None,
        sfu[1],
    );
    let mut ledger = CallContext::default();
    let last = |ms| Origins {
        last_sign_ms: Some(ms),
        ..Origins::default()
    };

    ledger
        .stays
        .origins
        .insert(alice.stay.id.clone(), last(NOW - 10 * MINUTE));
    ledger
        .stays
        .origins
        .insert(dan.stay.id.clone(), last(NOW - 2 * HOUR));
    ledger
        .stays
        .origins
        .insert(carol.stay.id.clone(), last(NOW - 30 * MINUTE));
    let members = vec![alice, dan, carol];
    let row = fixtures::call_row(
        "c",
        fixtures::room_name("Ops", "#ops:one.example"),
        &members,
    );

    CallFacts::new(row, members, &ledger, NOW)
}

#[test]
fn a_call_says_who_cannot_hear_whom_and_who_is_probably_gone() {
    let facts = troubled();
    let found: Vec<(&str, &str, i64)> = facts
        .findings
        .iter()
        .map(|finding| {
            (
                finding.kind.as_str(),
                finding.sure.as_str(),
                finding.from_ms,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("apart", "computed", NOW - 30 * MINUTE),
            ("silent", "probably", NOW - 2 * HOUR)
        ]
    );
    let page = html(&call::call_page(facts, Vec::new(), 0, Vec::new(), NOW));
    for words in [
        "Running, 2 findings",
        "Alice cannot hear carol since",
        "here sfu.one.example;",
        "Dan is probably gone since",
        "</svg>probably gone",
        "What to do:</b> update those clients",
        "<g class=\"mk bad\">",
        "<g class=\"mk warn\"",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }

    assert!(!page.contains("Healthy"));
    let mut well = troubled();
    well.findings.clear();
    let page = html(&call::call_page(well, Vec::new(), 0, Vec::new(), NOW));
    assert!(page.contains("Healthy") && !page.contains("Findings"));
}

#[test]
fn who_is_probably_gone_is_drawn_as_no_longer_believed() {
    let page = html(&call::call_page(troubled(), Vec::new(), 0, Vec::new(), NOW));
    for words in [
        " ghost\" x=",
        "<g id=\"e-ghost\">",
        "href=\"#e-ghost\"",
        "<title>SFU A, device D, 09:47:16 UTC, last heard 12:47:16 UTC, probably gone</title>",
        ">no sign of life</text>",
        "</svg>Probably gone</span>",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }

    let axis =
        &page[page.find("tl-row axis").unwrap()..page.find("<ul><li class=\"tl-row").unwrap()];
    assert!(
        axis.contains("<g class=\"mk bad\">") && !axis.contains("mk warn"),
        "its numeral is on its bar: {axis}"
    );
    let first = overview::overview_page(
        overview::OverviewRows {
            active: vec![troubled()],
            ..overview::OverviewRows::default()
        },
        NOW,
    );
    assert_eq!(html(&first).matches(" ghost\" x=").count(), 1);
    assert_eq!(
        html(&wall::wall_page(first)).matches(" ghost\"/>").count(),
        1
    );
}

#[test]
fn each_finding_below_the_picture_has_its_numeral_in_it() {
    let gone = |name, user_id, minutes: i64| {
        let who = (name, user_id, "D");
        fixtures::member_row(
            "c",
            who,
            NOW - 5 * HOUR,
            Some((NOW - minutes * MINUTE, "expired")),
            "sfu.one.example",
        )
    };

    let members = vec![
        gone("Dan", "@dan:one.example", 60),
        gone("Eve", "@eve:one.example", 230),
    ];
    let mut ledger = CallContext::default();
    for (member, minutes) in members.iter().zip([180, 242]) {
        let origins = Origins {
            last_sign_ms: Some(NOW - minutes * MINUTE),
            ..Origins::default()
        };

        ledger.stays.origins.insert(member.stay.id.clone(), origins);
    }

    let row = fixtures::call_row(
        "c",
        fixtures::room_name("Ops", "#ops:one.example"),
        &members,
    );
    let facts = CallFacts::new(row, members, &ledger, NOW);
    assert_eq!(
        facts
            .findings
            .iter()
            .map(|finding| finding.kind.as_str())
            .collect::<Vec<_>>(),
        ["no_goodbye"; 2]
    );
    let page = html(&call::call_page(facts, Vec::new(), 0, Vec::new(), NOW));
    let (axis, rows) = page[page.find("tl-row axis").unwrap()..]
        .split_once("<ul><li class=\"tl-row")
        .unwrap();
    assert!(
        axis.contains("<g class=\"mk \">") && axis.contains(">1</text></g>"),
        "no room on its bar: {axis}"
    );
    assert!(
        rows.contains("<g class=\"mk \" transform=") && rows.contains(">2</text></g>"),
        "on its bar"
    );
    assert!(
        !page.contains(" ghost\" x="),
        "its end is known to be computed"
    );
}

#[test]
fn numerals_keep_clear_of_the_times_wherever_those_stand() {
    let page = html(&call::call_page(troubled(), Vec::new(), 0, Vec::new(), NOW));
    let axis =
        &page[page.find("tl-row axis").unwrap()..page.find("<ul><li class=\"tl-row").unwrap()];
    let after = |text: &str, key: &str| -> i64 {
        text.split_once(key)
            .unwrap()
            .1
            .split('"')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };

    let labels: Vec<i64> = axis
        .split("<text class=\"t ")
        .skip(1)
        .map(|text| after(text, " y=\"") - 12)
        .collect();
    let numerals: Vec<i64> = axis
        .split("<circle ")
        .skip(1)
        .map(|text| after(text, "cy=\"") + 9)
        .collect();
    assert!(
        !numerals.is_empty() && numerals.iter().max() <= labels.iter().min(),
        "{numerals:?} {labels:?}"
    );
}

#[test]
fn the_key_names_the_band_of_those_who_were_apart() {
    let page = |call| html(&call::call_page(call, Vec::new(), 0, Vec::new(), NOW));
    assert!(page(troubled()).contains("</svg>Some could not hear others</span>"));
    let mut mutual = troubled();
    mutual.findings[0].mutual = true;
    assert!(page(mutual).contains("</svg>Could not hear each other</span>"));
    let mut well = troubled();
    well.findings.clear();
    assert!(!page(well).contains("not hear"));
}

#[test]
fn many_small_rows_say_their_sfu_in_letters() {
    let mut crowd = fixtures::crowd_call(60);
    let page = |call: &CallFacts| {
        html(&call::call_page(
            call.clone(),
            Vec::new(),
            0,
            Vec::new(),
            NOW,
        ))
    };
    assert_eq!(
        page(&crowd).matches("people, SFU A</small></h3>").count(),
        9
    );
    crowd.members[9].transport.as_mut().unwrap().service_url =
        Some("https://other.example".to_owned());
    let page = page(&crowd);
    assert_eq!(
        page.matches("people, SFU A</small></h3>").count(),
        8,
        "one server has two"
    );
    assert!(
        page.contains("<small>A</small><a class=\"plain\" href=\"/people/@person0:")
            && page.contains("<small>B</small><a class=\"plain\" href=\"/people/@person9:"),
        "{page}"
    );
}

#[test]
fn the_first_page_and_the_wall_lead_to_what_needs_a_look() {
    let rows = || overview::OverviewRows {
        active: vec![troubled()],
        ..overview::OverviewRows::default()
    };

    let page = overview::overview_page(rows(), NOW);
    assert!(
        html(&page)
            .contains(">One call needs a look</a>: in <bdi>Ops</bdi>: Alice cannot hear carol.")
    );
    assert!(html(&wall::wall_page(page)).contains("Alice cannot hear carol. 2 servers"));
    // If the room is not heard, nothing is stated as a fact.
    let unknown = Unknown {
        why: UnknownReason::NotHeard,
        since_ms: Some(NOW - MINUTE),
    };

    let seen = AllSeenFacts {
        seen: Some(unknown).into(),
        unknown_rooms: 1,
    };

    // Dan is probably gone: he is not counted.
    let cases = [
        (
            vec![troubled()],
            "1 call when last seen, 2 people",
            "1 call <span>when last seen, with 2 people",
        ),
        (
            Vec::new(),
            "Not known whether there are calls",
            "Not known whether there are calls",
        ),
    ];

    for (active, first, large) in cases {
        let page = overview::overview_page(
            overview::OverviewRows {
                active,
                seen,
                ..overview::OverviewRows::default()
            },
            NOW,
        );
        assert_eq!(
            (page.seen.seen.unknown, page.seen.seen.unknown_since_ms),
            (true, Some(NOW - MINUTE))
        );
        let text = html(&page);
        assert!(
            text.contains(first) && text.contains("<title>Calls of now not known"),
            "{text}"
        );
        let text = html(&wall::wall_page(page));
        assert!(
            text.contains(large) && text.contains("<title>Calls of now not known"),
            "{text}"
        );
    }
}

#[test]
fn what_needs_a_look_comes_first_and_lists_say_so() {
    let well = |people: usize| {
        let mut call = troubled();
        call.findings.clear();
        call.people_now = people;
        call
    };

    let rows = overview::OverviewRows {
        active: vec![well(1), well(9), troubled(), well(4)],
        ..overview::OverviewRows::default()
    };

    let page = overview::overview_page(rows, NOW);
    let order =
        |calls: &[CallFacts]| -> Vec<usize> { calls.iter().map(|call| call.people_now).collect() };
    assert_eq!(
        (order(&page.active), page.active[0].findings.len()),
        (vec![2, 9, 4, 1], 2)
    );
    assert!(html(&page).contains("</i>Healthy</span>"));
    assert_eq!(order(&wall::wall_page(page).active), [2, 9, 4, 1]);
    let mut over = troubled();
    (over.active, over.ended_ms) = (false, Some(NOW));
    let list = List::whole(vec![troubled(), over, well(2)]);
    let page = html(&calls::Calls {
        list,
        looked: crate::web::view::liveness::LookedFacts::default(),
        form: calls::CallsForm::default(),
    });

    for words in [
        "</svg>Now, Split SFUs, 1 more</a>",
        "</svg>Split SFUs, 1 more</a>",
        "</i>Now</span>",
    ] {
        assert_eq!(page.matches(words).count(), 1, "{words}: {page}");
    }
}

/// Ada is alone, and has been silent for 95 minutes. `hourly`: her client renews every hour; else
/// that is unknown.
fn alone(hourly: bool) -> CallFacts {
    let ada = fixtures::member_row(
        "a",
        ("Ada", "@ada:ash.example", "AD"),
        NOW - 95 * MINUTE,
        None,
        "sfu.one.example",
    );
    let mut ledger = CallContext::default();
    let origins = Origins {
        last_sign_ms: Some(ada.stay.joined_ms),
        ..Origins::default()
    };

    ledger.stays.origins.insert(ada.stay.id.clone(), origins);
    let told = StayStatements {
        is_hourly_client: hourly,
        until_ms: 0,
        came_back: false,
        current: Some(CurrentEvent {
            event_id: "$a1".to_owned(),
            kind: "org.matrix.msc3401.call.member".to_owned(),
            state_key: Some("_@ada:ash.example_AD_m.call'; rm".to_owned()),
        }),
    };

    ledger.stays.ghosts.told.insert(ada.stay.id.clone(), told);
    let members = vec![ada];
    let row = fixtures::call_row(
        "a",
        fixtures::room_name("Ops", "#ops:one.example"),
        &members,
    );

    CallFacts::new(row, members, &ledger, NOW)
}

#[test]
fn a_call_of_ghosts_alone_is_stuck_and_says_how_to_clear_it() {
    let call = alone(true);
    assert_eq!(
        (
            call.state.as_str(),
            call.people_now,
            call.devices_now,
            call.ghosts_now
        ),
        ("stuck", 0, 0, 1)
    );
    assert_eq!(
        (call.active, call.stuck_since_ms, call.duration_ms),
        (true, Some(NOW - 95 * MINUTE), 0)
    );
    let finding = &call.findings[0];
    assert_eq!(
        (finding.sure, finding.sign, finding.due_ms),
        (
            Sureness::Probably,
            Some(GhostSign::HourlyClient),
            Some(NOW - 35 * MINUTE)
        )
    );
    let clear = finding.clear.clone().unwrap();
    assert!(
        clear.curl.ends_with(
            "'https://YOUR_HOMESERVER/_matrix/client/v3/rooms/%21ops%3Aexample.org/state/\
             org.matrix.msc3401.call.member/_%40ada%3Aash.example_AD_m.call%27%3B%20rm'"
        ),
        "{}",
        clear.curl
    );
    let page = html(&call::call_page(
        call.clone(),
        Vec::new(),
        0,
        Vec::new(),
        NOW,
    ));
    for words in [
        "Probably stuck, 1 ghost",
        "Ada is probably gone",
        "fields that only clients write which renew every hour",
        "_@ada:ash.example_AD_m.call",
        "YOUR_HOMESERVER",
        "nobody heard since",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }

    assert!(!page.contains("Healthy") && !page.contains("Running for"));
    let rows = overview::OverviewRows {
        active: vec![call],
        ..overview::OverviewRows::default()
    };

    let page = overview::overview_page(rows, NOW);
    assert_eq!(
        (page.active.len(), page.stuck.len(), page.people),
        (0, 1, 0)
    );
    let text = html(&page);
    assert!(text.contains("No calls now"), "{text}");
    assert!(text.contains("1 call is probably stuck</a>"), "{text}");
    assert!(html(&wall::wall_page(page)).contains("1 call is probably stuck"));
}

#[test]
fn without_a_sign_the_word_is_weaker_and_the_call_needs_a_look_all_the_same() {
    let call = alone(false);
    assert_eq!(
        (call.state.as_str(), call.people_now, call.ghosts_now),
        ("running", 1, 0)
    );
    let finding = &call.findings[0];
    assert_eq!(
        (finding.sure.as_str(), finding.sign, finding.signs.len()),
        ("perhaps", None, 0)
    );
    assert!(finding.clear.is_some() && call.needs_look());
    let page = html(&call::call_page(
        call.clone(),
        Vec::new(),
        0,
        Vec::new(),
        NOW,
    ));
    for words in [
        "Running, 1 perhaps gone",
        "Ada is perhaps gone",
        "nothing tells which one this is",
        "perhaps gone, silent since",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }

    assert!(!page.contains("Healthy"));
    let rows = overview::OverviewRows {
        active: vec![call],
        ..overview::OverviewRows::default()
    };

    let text = html(&overview::overview_page(rows, NOW));
    assert!(text.contains("One call needs a look"), "{text}");
}

/// Ada's stay of one hour, with the origins of the events at its boundaries.
fn ended(origins: Origins, end_event_id: &str) -> CallFacts {
    let mut ada = fixtures::member_row(
        "a",
        ("Ada", "@ada:ash.example", "AD"),
        NOW - 2 * HOUR,
        Some((NOW - HOUR, "left")),
        "sfu.one.example",
    );
    ada.stay.end_event_id = Some(end_event_id.to_owned());
    let mut ledger = CallContext::default();
    ledger.stays.origins.insert(ada.stay.id.clone(), origins);
    let members = vec![ada];
    let row = fixtures::call_row(
        "a",
        fixtures::room_name("Ops", "#ops:one.example"),
        &members,
    );

    CallFacts::new(row, members, &ledger, NOW)
}

fn event(origin_ms: i64, received_ms: i64) -> Origin {
    Origin {
        origin_ms,
        received_ms: Some(received_ms),
        source: Source::Sync,
        made_since_ms: None,
        lost_since_ms: None,
    }
}

#[test]
fn a_state_reset_is_one_finding_in_the_words_of_its_room() {
    let found = Origin {
        made_since_ms: Some(NOW - HOUR - 5 * MINUTE),
        source: Source::Poll,
        ..event(NOW - HOUR, NOW - HOUR)
    };

    let origins = Origins {
        join: Some(event(NOW - 2 * HOUR, NOW - 2 * HOUR + 200)),
        end: Some(found),
        ..Origins::default()
    };

    let call = ended(origins, "~made");
    let resets: Vec<_> = call
        .findings
        .iter()
        .filter(|finding| finding.reset.is_some())
        .collect();
    assert_eq!(resets.len(), 1, "{:?}", call.findings);
    let told = StateResetFacts::from(StateReset {
        what: ResetKind::CallMemberVanished,
        user_id: "@ada:ash.example".to_owned(),
        name: Some("Ada".to_owned()),
        holds_event_id: None,
        newest_event_id: "$1".to_owned(),
        noticed_ms: NOW - HOUR,
        session_id: Some("a".to_owned()),
    });
    let finding = resets[0];
    assert_eq!(
        (finding.reset, finding.kind),
        (Some(told.kind), FindingKind::Reconciled)
    );
    assert_eq!(
        finding.title(&call),
        format!("{} {}", told.title(), told.what())
    );
    assert_eq!(finding.why(), told.why());
    assert_eq!(finding.advice(), Some(told.advice()));
    assert_eq!(finding.pill(), ("warn", "alert", "State reset"));
    assert_eq!(finding.until_ms, Some(NOW - HOUR));
}

#[test]
fn a_clock_that_is_off_is_told_on_the_call_by_live_events_alone() {
    let of = |late_ms: i64, source: Source| {
        let (join_ms, end_ms) = (NOW - 2 * HOUR, NOW - HOUR);
        let origins = Origins {
            join: Some(Origin {
                source,
                ..event(join_ms, join_ms + late_ms)
            }),
            end: Some(Origin {
                source,
                ..event(end_ms, end_ms + late_ms)
            }),
            ..Origins::default()
        };

        let clocks = ended(origins, "$end").clocks;
        clocks
            .into_iter()
            .map(|clock| (clock.server, clock.behind_ms, clock.events))
            .collect::<Vec<_>>()
    };

    let off = |ms| vec![("ash.example".to_owned(), ms, 2)];
    assert_eq!(of(-3_000, Source::Sync), off(-3_000));
    assert_eq!(of(30_000, Source::Sync), off(30_000));
    assert_eq!(of(900, Source::Sync), []);
    assert_eq!(of(-3_000, Source::Backfill), [], "history tells no clock");
    assert_eq!(of(-3_000, Source::Poll), [], "nor does a look");
}
