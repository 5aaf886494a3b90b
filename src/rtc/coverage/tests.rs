//! Coverage of made-up notes: history, breaks, limited timelines, what is hidden.

use super::*;

fn span(from: i64, to: i64) -> Span {
    Span { from, to }
}

fn read(opened_ms: i64, history: bool, reached: i64, ended_by: Option<JobEnd>) -> HistoryRead {
    HistoryRead {
        opened_ms,
        history,
        since_ms: None,
        reached_ms: Some(reached),
        horizon_ms: None,
        ended_by,
    }
}

fn words(notes: &CoverageRecords, now: i64) -> Vec<(i64, i64, &'static str)> {
    coverage_of_room(notes, now)
        .iter()
        .map(|i| (i.span.from, i.span.to, i.cover.as_str()))
        .collect()
}

fn followed() -> CoverageRecords {
    CoverageRecords {
        heard: vec![span(100, 200), span(300, 390)],
        first_seen_ms: 100,
        polled_ms: Some(150),
        created_ms: Some(10),
        reads: vec![read(100, true, 40, None)],
        ..CoverageRecords::default()
    }
}

#[test]
fn a_gap_is_read_after_a_look_at_the_state_and_its_read() {
    let mut notes = followed();
    let with = |cover| {
        [
            (10, 40, "gap"),
            (40, 100, "backfilled"),
            (100, 200, "live"),
            (200, 300, cover),
            (300, 400, "live"),
        ]
    };

    assert_eq!(words(&notes, 400), with("gap"));
    notes.polled_ms = Some(301);
    assert_eq!(words(&notes, 400), with("backfilled"));
    notes.reads.push(read(300, false, 250, None));
    assert_eq!(words(&notes, 400), with("gap"));
    notes.reads[1].ended_by = Some(JobEnd::Met);
    assert_eq!(words(&notes, 400), with("backfilled"));
    notes.reads[1].ended_by = Some(JobEnd::NotVisible);
    assert_eq!(words(&notes, 400), with("gap"));
}

#[test]
fn a_limited_timeline_is_a_gap_until_its_read_has_met() {
    let mut notes = CoverageRecords {
        heard: vec![span(100, 390)],
        ..followed()
    };

    let limited = |from, to, why| HistoryRead {
        since_ms: Some(from),
        ..read(to, false, to, why)
    };

    notes
        .reads
        .extend([limited(350, 360, None), limited(150, 170, None)]);
    let with = |one, two| {
        let mut want = vec![
            (10, 40, "gap"),
            (40, 100, "backfilled"),
            (100, 150, "live"),
            (150, 170, one),
        ];
        want.extend([(170, 350, "live"), (350, 360, two), (360, 400, "live")]);
        want
    };

    assert_eq!(words(&notes, 400), with("gap", "gap"));
    assert_eq!(
        unwatched_since(&coverage_of_room(&notes, 400)),
        None,
        "what comes now is seen"
    );
    for (why, want) in [
        (JobEnd::Met, "backfilled"),
        (JobEnd::Beginning, "backfilled"),
        (JobEnd::NotVisible, "gap"),
        (JobEnd::NoMore, "gap"),
        (JobEnd::Circle, "gap"),
        (JobEnd::Endless, "gap"),
        (JobEnd::Refused, "gap"),
    ] {
        notes.reads[1].ended_by = Some(why);
        assert_eq!(words(&notes, 400), with("gap", want), "{why}");
    }

    // If nobody watched at all, the coverage of the break itself is shown.
    notes = followed();
    notes.reads.push(limited(200, 300, None));
    assert_eq!(
        words(&notes, 400)[2..4],
        [(100, 200, "live"), (200, 300, "gap")]
    );
    notes.polled_ms = Some(301);
    notes.reads[1].ended_by = Some(JobEnd::Met);
    assert_eq!(
        words(&notes, 400)[2..4],
        [(100, 200, "live"), (200, 300, "backfilled")]
    );
}

#[test]
fn what_lies_beyond_the_horizon_was_not_read() {
    let horizon = |from, at| HistoryRead {
        since_ms: Some(from),
        horizon_ms: Some(at),
        ..read(300, false, at, Some(JobEnd::Horizon))
    };

    let mut notes = CoverageRecords {
        polled_ms: Some(301),
        ..followed()
    };

    notes.reads.push(horizon(200, 260));
    assert_eq!(
        words(&notes, 400)[3..],
        [
            (200, 260, "gap"),
            (260, 300, "backfilled"),
            (300, 400, "live")
        ]
    );
    notes.reads[1].horizon_ms = Some(150);
    assert_eq!(
        words(&notes, 400)[3..],
        [(200, 300, "backfilled"), (300, 400, "live")],
        "all that was wanted"
    );
    notes = CoverageRecords {
        heard: vec![span(100, 390)],
        ..followed()
    };

    notes.reads.push(horizon(200, 260));
    assert_eq!(
        words(&notes, 400)[2..5],
        [
            (100, 200, "live"),
            (200, 260, "gap"),
            (260, 300, "backfilled")
        ]
    );
}

#[test]
fn history_says_where_it_ended() {
    let mut notes = CoverageRecords {
        heard: vec![span(100, 390)],
        ..followed()
    };

    for (why, want) in [
        (
            JobEnd::Beginning,
            vec![(10, 100, "backfilled"), (100, 400, "live")],
        ),
        (
            JobEnd::NotVisible,
            vec![
                (10, 40, "not_visible"),
                (40, 100, "backfilled"),
                (100, 400, "live"),
            ],
        ),
        (
            JobEnd::Horizon,
            vec![(10, 40, "gap"), (40, 100, "backfilled"), (100, 400, "live")],
        ),
        (
            JobEnd::NoMore,
            vec![(10, 40, "gap"), (40, 100, "backfilled"), (100, 400, "live")],
        ),
        (
            JobEnd::Circle,
            vec![(10, 40, "gap"), (40, 100, "backfilled"), (100, 400, "live")],
        ),
    ] {
        notes.reads = vec![read(100, true, 40, Some(why))];
        assert_eq!(words(&notes, 400), want, "{why}");
    }

    notes.reads.clear();
    assert_eq!(words(&notes, 400), [(10, 100, "gap"), (100, 400, "live")]);
}

#[test]
fn a_read_that_goes_on_from_another_one_forgets_nothing() {
    let mut notes = CoverageRecords {
        heard: vec![span(100, 390)],
        ..followed()
    };

    let first = read(100, true, 40, Some(JobEnd::Horizon));
    let fresh = HistoryRead {
        reached_ms: None,
        ..read(300, true, 0, None)
    };

    notes.reads = vec![first.clone(), fresh];
    let known = [(10, 40, "gap"), (40, 100, "backfilled"), (100, 400, "live")];
    assert_eq!(words(&notes, 400), known);
    notes.reads = vec![first.clone(), read(300, true, 20, Some(JobEnd::NoMore))];
    let more = [(10, 20, "gap"), (20, 100, "backfilled"), (100, 400, "live")];
    assert_eq!(words(&notes, 400), more);
    notes.reads = vec![first, read(300, true, 20, Some(JobEnd::Beginning))];
    let all = [(10, 100, "backfilled"), (100, 400, "live")];
    assert_eq!(words(&notes, 400), all);
}

#[test]
fn silence_and_absence_are_blind() {
    let mut notes = CoverageRecords {
        heard: vec![span(100, 390)],
        silent: true,
        created_ms: None,
        reads: vec![],
        ..followed()
    };

    assert_eq!(words(&notes, 400), [(100, 390, "live"), (390, 400, "gap")]);
    assert_eq!(unwatched_since(&coverage_of_room(&notes, 400)), Some(390));
    notes.silent = false;
    assert_eq!(unwatched_since(&coverage_of_room(&notes, 400)), None);
    notes.away = vec![span(120, 130), span(350, i64::MAX)];
    let want = [
        (100, 120, "live"),
        (120, 130, "backfilled"),
        (130, 350, "live"),
        (350, 400, "gap"),
    ];
    assert_eq!(words(&notes, 400), want);
    assert_eq!(
        (
            cover_at(&coverage_of_room(&notes, 400), 125),
            cover_at(&coverage_of_room(&notes, 400), 5)
        ),
        (Cover::Backfilled, Cover::Gap)
    );
    notes = CoverageRecords {
        polled: vec![span(100, 380)],
        heard: vec![],
        away: vec![],
        ..notes
    };

    assert_eq!(words(&notes, 400), [(100, 400, "polled")]);
}

#[test]
fn what_is_hidden_was_not_read() {
    let mut notes = followed();
    notes.reads[0].ended_by = Some(JobEnd::Beginning);
    notes.hidden = vec![span(20, 90), span(250, 260), span(320, 330)];
    let want = [
        (10, 20, "backfilled"),
        (20, 90, "not_visible"),
        (90, 100, "backfilled"),
        (100, 200, "live"),
        (200, 250, "gap"),
        (250, 260, "not_visible"),
        (260, 300, "gap"),
        (300, 400, "live"),
    ];
    assert_eq!(words(&notes, 400), want);
    notes.hidden = vec![span(5, i64::MAX)];
    assert_eq!(
        words(&notes, 400)[..2],
        [(10, 100, "not_visible"), (100, 200, "live")]
    );
}

#[test]
fn nothing_noted_is_no_knowledge() {
    assert_eq!(
        words(
            &CoverageRecords {
                first_seen_ms: 100,
                ..CoverageRecords::default()
            },
            400
        ),
        [(100, 400, "gap")]
    );
    assert_eq!(
        words(
            &CoverageRecords {
                first_seen_ms: 500,
                heard: vec![span(0, 900)],
                ..CoverageRecords::default()
            },
            400
        ),
        []
    );
}

proptest::proptest! {
    #[test]
    fn no_open_gap_is_called_watched_and_time_is_complete(
        heard in proptest::collection::vec((0_i64..400, 1_i64..60), 0..5),
        gaps in proptest::collection::vec((0_i64..400, 1_i64..40, proptest::bool::ANY), 0..6),
        hidden in proptest::collection::vec((0_i64..400, 1_i64..40), 0..2),
    ) {
        let whole = |(from, long): &(i64, i64)| span(*from, from + long);
        let mut spans: Vec<Span> = heard.iter().map(whole).collect();
        spans.sort();
        let limited = |(from, long, met): &(i64, i64, bool)| HistoryRead {
            since_ms: Some(*from), ..read(from + long, false, *from, met.then_some(JobEnd::Met))
        };

        let reads: Vec<HistoryRead> = gaps.iter().map(limited).collect();
        let notes = CoverageRecords {
            heard: spans,
            first_seen_ms: 5,
            reads,
            hidden: hidden.iter().map(whole).collect(),
            ..CoverageRecords::default()
        };
        let found = coverage_of_room(&notes, 450);
        for pair in found.windows(2) {
            proptest::prop_assert_eq!(pair[0].span.to, pair[1].span.from);
            proptest::prop_assert_ne!(pair[0].cover, pair[1].cover);
        }

        proptest::prop_assert_eq!((found[0].span.from, found[found.len() - 1].span.to), (5, 450));

        for (from, long, met) in gaps {
            let watched = (from.max(5)..from + long).any(|ms| cover_at(&found, ms) == Cover::Live);
            proptest::prop_assert!(met || !watched, "{:?}", found);
        }
    }
}
