//! Scenarios for a clock: the time that it shows, and when that is not believed.

use super::*;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const NOW: i64 = 1_700_000_000_000;

/// A change in a scenario, at a true time in ms since its beginning.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The machine's clock is set forward by this much.
    SetBy(i64),
    /// The machine sleeps for this long: only the wall clock goes on.
    Sleep(i64),
    /// Both clocks of the machine stand still for this long.
    Freeze(i64),
    /// The homeserver's clock is set forward by this much.
    ServerSetBy(i64),
}

/// How often the homeserver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// Every five seconds; it answers at once.
    Often,
    /// Long polls only, one after the other: `Date` says when they came.
    LongPolls,
    /// Once an hour, a few requests.
    Hourly,
    Never,
}

#[derive(Debug, Clone)]
struct World {
    name: &'static str,
    /// The machine's clock minus the true time at the beginning.
    wall_off_ms: i64,
    server_off_ms: i64,
    events: Vec<(i64, Event)>,
    asking: Asking,
    lasts_ms: i64,
}

/// The reading of the clock at a moment of true time.
#[derive(Debug, Clone, Copy)]
struct Seen {
    true_ms: i64,
    said_ms: i64,
    doubt: Option<Doubt>,
    /// The true error of the machine's clock.
    wall_off_ms: i64,
    /// Since when nothing has changed.
    settled_ms: i64,
}

impl Seen {
    /// The receive time of an event that is stamped long after that.
    fn bound_ms(&self) -> i64 {
        self.doubt.map_or(self.said_ms, |doubt| doubt.latest_ms)
    }
}

fn at_once(date_ms: i64) -> Word {
    Word {
        date_ms,
        elapsed_ms: 40,
    }
}

fn live_through(world: &World) -> (Vec<Seen>, Steady) {
    let mut steady = Steady::default();
    let (mut wall_off, mut server_off) = (world.wall_off_ms, world.server_off_ms);
    let mut stood_ms = 0;
    let mut settled_ms = 0;
    let mut asleep_until = 0;
    let mut seen = Vec::new();
    let mut events = world.events.iter().peekable();
    // For the current long poll: when it was requested by the homeserver's clock, and by the
    // monotonic clock.
    let mut poll: Option<(i64, i64)> = None;

    for true_ms in (0..world.lasts_ms).step_by(1_000) {
        while let Some((_, event)) = events.next_if(|(at, _)| *at <= true_ms) {
            settled_ms = true_ms;
            match *event {
                Event::SetBy(ms) => wall_off += ms,
                Event::ServerSetBy(ms) => server_off += ms,
                Event::Sleep(ms) => {
                    stood_ms += ms;
                    asleep_until = true_ms + ms;
                    settled_ms = asleep_until;
                }
                Event::Freeze(ms) => {
                    stood_ms += ms;
                    wall_off -= ms;
                    asleep_until = true_ms + ms;
                    settled_ms = asleep_until;
                }
            }
        }

        if true_ms < asleep_until {
            continue;
        }

        // A little after the full second, so that the second in the answer's date has begun.
        let at_ms = true_ms + 7 * (true_ms / 1_000 % 91);
        let moment = Moment {
            wall_ms: NOW + at_ms + wall_off,
            counted_ms: 77 + at_ms - stood_ms,
        };
        let server_ms = NOW + at_ms + server_off;
        let second_ms = server_ms - server_ms % 1_000;
        match world.asking {
            Asking::Often if true_ms % 5_000 == 2_000 => steady.told(at_once(second_ms), moment),
            Asking::Hourly if true_ms % HOUR < 4_000 => steady.told(at_once(second_ms), moment),
            Asking::LongPolls => match poll {
                Some((date_ms, begun_ms)) if moment.counted_ms - begun_ms >= 30_000 => {
                    let elapsed_ms = moment.counted_ms - begun_ms;
                    steady.told(
                        Word {
                            date_ms,
                            elapsed_ms,
                        },
                        moment,
                    );
                    poll = Some((second_ms, moment.counted_ms));
                }
                Some(_) => {}
                None => poll = Some((second_ms, moment.counted_ms)),
            },
            _ => {}
        }

        let doubt = steady.doubt(moment);
        seen.push(Seen {
            true_ms: NOW + at_ms,
            said_ms: steady.read(moment),
            doubt,
            wall_off_ms: wall_off,
            settled_ms: NOW + settled_ms,
        });
    }

    (seen, steady)
}

/// A name, the error of the machine's clock at the beginning, and the events.
type Story = (&'static str, i64, Vec<(i64, Event)>);

/// All scenarios. At the end all clocks are right, except one that stays behind.
fn worlds() -> Vec<Story> {
    let begin = 20 * MINUTE;
    vec![
        ("nothing", 0, vec![]),
        ("step ahead", 0, vec![(begin, Event::SetBy(1_000))]),
        ("step back", 0, vec![(begin, Event::SetBy(-2_000))]),
        (
            "an hour ahead and back",
            0,
            vec![
                (begin, Event::SetBy(HOUR)),
                (begin + 30_000, Event::SetBy(-HOUR)),
            ],
        ),
        (
            "an hour behind and back",
            0,
            vec![
                (begin, Event::SetBy(-HOUR)),
                (begin + 30_000, Event::SetBy(HOUR)),
            ],
        ),
        (
            "40 s back for good",
            0,
            vec![(begin, Event::SetBy(-40_000))],
        ),
        (
            "an hour behind at first",
            -HOUR,
            vec![(MINUTE, Event::SetBy(HOUR))],
        ),
        (
            "an hour behind for long",
            -HOUR,
            vec![(begin, Event::SetBy(HOUR))],
        ),
        ("slept", 0, vec![(begin, Event::Sleep(HOUR))]),
        (
            "slept twice",
            0,
            vec![
                (begin, Event::Sleep(HOUR)),
                (begin + HOUR + 30_000, Event::Sleep(8 * HOUR)),
            ],
        ),
        (
            "homeserver set by 5 min",
            0,
            vec![(begin, Event::ServerSetBy(-5 * MINUTE))],
        ),
        (
            "homeserver set the other way",
            0,
            vec![(begin, Event::ServerSetBy(5 * MINUTE))],
        ),
        (
            "stood still, then set right",
            0,
            vec![
                (begin, Event::Freeze(7 * MINUTE)),
                (begin + 8 * MINUTE, Event::SetBy(7 * MINUTE)),
            ],
        ),
    ]
}

fn all_worlds() -> Vec<World> {
    let servers = [0, 60_000, -60_000, 5 * MINUTE, -5 * MINUTE];
    let ways = [
        Asking::Often,
        Asking::LongPolls,
        Asking::Hourly,
        Asking::Never,
    ];
    let mut all = Vec::new();
    for (name, wall_off_ms, events) in worlds() {
        for server_off_ms in servers {
            for asking in ways {
                let last = events.last().map_or(0, |(at, _)| *at);
                all.push(World {
                    name,
                    wall_off_ms,
                    server_off_ms,
                    events: events.clone(),
                    asking,
                    lasts_ms: last + 11 * HOUR,
                });
            }
        }
    }

    all
}

#[test]
fn ten_minutes_after_a_clock_is_right_nothing_is_doubted() {
    for world in all_worlds() {
        let (seen, _) = live_through(&world);
        let mut of_hour = None;
        for one in seen {
            let is_right = one.wall_off_ms.abs() <= STEP_MS;
            let is_settled = one.true_ms > one.settled_ms + 10 * MINUTE;
            // If the homeserver is asked once an hour, a new distance is noticed once an hour.
            let hour = one.true_ms / HOUR;
            if is_right && is_settled && one.doubt.is_some() && world.asking == Asking::Hourly {
                assert!(
                    *of_hour.get_or_insert(hour) + 1 >= hour,
                    "{world:?}: {one:?}"
                );
                continue;
            }

            assert!(
                !(is_right && is_settled) || one.doubt.is_none(),
                "{world:?}: {one:?}"
            );
        }
    }
}

#[test]
fn no_two_moments_that_came_apart_are_one() {
    for world in all_worlds() {
        let (seen, _) = live_through(&world);
        for pair in seen.windows(2) {
            assert_ne!(
                pair[0].bound_ms(),
                pair[1].bound_ms(),
                "{world:?}: {pair:?}"
            );
        }

        let doubted = seen.iter().filter(|one| one.doubt.is_some());
        let bounds: Vec<i64> = doubted.map(Seen::bound_ms).collect();
        let different: std::collections::BTreeSet<i64> = bounds.iter().copied().collect();
        assert_eq!(bounds.len(), different.len(), "{world:?}");
    }
}

/// A time that the homeserver refutes is not believed, as far as one clock can refute another one.
#[test]
fn no_wrong_time_is_believed_that_the_homeserver_refutes() {
    for world in all_worlds() {
        if !matches!(world.asking, Asking::Often | Asking::LongPolls) {
            continue;
        }

        // If two clocks differ from the beginning, nobody can say which is wrong: after ten minutes
        // the machine's clock is believed.
        if world.wall_off_ms != 0 && world.name != "an hour behind at first" {
            continue;
        }

        let (seen, _) = live_through(&world);
        let first_ms = seen[0].true_ms;
        for one in seen {
            // Until the first answer.
            if one.true_ms < first_ms + 31_000 && world.wall_off_ms != 0 {
                continue;
            }

            let wrong_ms = (one.said_ms - one.true_ms).abs();
            // If both clocks stood still, only the next answer shows it.
            if world.name.starts_with("stood still") && one.true_ms < one.settled_ms + 61_000 {
                continue;
            }

            assert!(
                one.doubt.is_some() || wrong_ms <= STEP_MS,
                "{world:?}: {one:?}"
            );
        }
    }
}

fn spans(steady: &Steady) -> Vec<(i64, Option<i64>, i64)> {
    let span = |off: &Off| (off.from_ms - NOW, off.to_ms.map(|to| to - NOW), off.off_ms);
    let stands = |off: &&Off| off.withdrawn_by_ms.is_none();
    steady.offs().0.iter().filter(stands).map(span).collect()
}

fn world(name: &str, asking: Asking) -> World {
    let is_it =
        |world: &World| world.name == name && world.asking == asking && world.server_off_ms == 0;
    all_worlds().into_iter().find(is_it).unwrap()
}

#[test]
fn a_jump_is_said_with_its_length_and_its_end() {
    let (seen, steady) = live_through(&world("an hour ahead and back", Asking::Often));
    let offs = spans(&steady);
    assert_eq!(offs.len(), 1, "{offs:?}");
    let (from, to, off) = offs[0];
    assert!((off - HOUR).abs() < 10 && from / 1000 == 1200 && to.unwrap() / 1000 == 1230);
    assert!(
        seen.iter()
            .all(|one| (one.said_ms - one.true_ms).abs() < 10)
    );
}

#[test]
fn steps_of_seconds_sleep_and_a_homeserver_that_is_set_leave_nothing_said() {
    for name in [
        "step ahead",
        "step back",
        "slept",
        "slept twice",
        "homeserver set by 5 min",
    ] {
        for asking in [Asking::Often, Asking::LongPolls] {
            let (_, steady) = live_through(&world(name, asking));
            assert_eq!(spans(&steady), [], "{name}");
        }
    }
}

#[test]
fn a_clock_that_is_set_right_was_wrong_before() {
    let (_, steady) = live_through(&world("an hour behind for long", Asking::Often));
    let was_believed: Vec<_> = steady
        .offs()
        .0
        .iter()
        .filter(|off| off.was_believed)
        .collect();
    assert_eq!(was_believed.len(), 1);
    assert_eq!(was_believed[0].from_ms, NOW - HOUR);
    assert!((was_believed[0].off_ms + HOUR).abs() < 10);
    assert_eq!(
        was_believed[0].to_ms.unwrap() / 1000,
        (NOW - HOUR) / 1000 + 1200
    );

    // It was doubted from the beginning, and so never believed.
    let (_, steady) = live_through(&world("an hour behind at first", Asking::Often));
    assert!(steady.offs().0.iter().all(|off| !off.was_believed));
}

#[test]
fn a_doubt_that_lapses_is_withdrawn_and_says_by_how_much() {
    let (_, steady) = live_through(&world("homeserver set by 5 min", Asking::Often));
    let by: Vec<_> = steady
        .offs()
        .0
        .iter()
        .map(|off| off.withdrawn_by_ms)
        .collect();
    assert_eq!(by, [Some(0)]);

    // The answer of a poll during which the machine slept shows nothing; the next one does.
    let (_, steady) = live_through(&world("slept", Asking::LongPolls));
    let by = steady.offs().0[0].withdrawn_by_ms.unwrap();
    assert!((by - HOUR).abs() < 1_000, "{by}");
}

#[test]
fn a_verdict_is_taken_back_by_the_next_word() {
    let mut steady = Steady::default();
    let at = |ms: i64, off_ms: i64| Moment {
        wall_ms: NOW + ms + off_ms,
        counted_ms: ms,
    };
    let word = |ms: i64| Word {
        date_ms: NOW + ms,
        elapsed_ms: 10,
    };
    steady.told(word(0), at(0, 0));
    steady.read(at(1_500, HOUR));
    // The machine slept. The first answer is an old one from a proxy's cache.
    steady.told(word(2_000), at(2_000, HOUR));
    assert!(spans(&steady)[0].1.is_none());
    steady.told(word(3_000 + HOUR), at(3_000, HOUR));
    assert_eq!(steady.doubt(at(4_000, HOUR)), None);
    assert_eq!(steady.read(at(4_000, HOUR)), NOW + 4_000 + HOUR);
    assert_eq!(spans(&steady), []);
    assert_eq!(steady.offs().0[0].withdrawn_by_ms, Some(HOUR));
}

#[test]
fn small_corrections_are_followed() {
    let mut steady = Steady::default();
    for n in 0..100 {
        let moment = Moment {
            wall_ms: NOW + n * 3_500,
            counted_ms: n * 1_000,
        };
        assert_eq!(steady.read(moment), moment.wall_ms);
    }

    assert_eq!(steady.offs().0.len(), 0);
}

#[test]
fn a_machine_that_slept_is_believed_at_the_next_word() {
    for server_off_ms in [0, 60_000, 5 * MINUTE, -5 * MINUTE] {
        for slept_ms in [MINUTE, HOUR] {
            let mut steady = Steady::default();
            let at = |ms: i64, slept_ms: i64| Moment {
                wall_ms: NOW + ms + slept_ms,
                counted_ms: ms,
            };
            let word = |ms: i64| at_once(NOW + server_off_ms + ms);
            for second in 0..700 {
                steady.told(word(second * 1_000), at(second * 1_000, 0));
            }

            assert_eq!(steady.doubt(at(700_000, 0)), None);
            assert!(steady.doubt(at(700_000, slept_ms)).is_some());
            steady.told(word(701_000 + slept_ms), at(701_000, slept_ms));
            let doubt = steady.doubt(at(702_000, slept_ms));
            assert_eq!(doubt, None, "{server_off_ms} {slept_ms}");
            assert_eq!(steady.read(at(702_000, slept_ms)), NOW + 702_000 + slept_ms);
        }
    }
}

#[test]
fn a_step_that_nobody_explains_is_believed_and_so_are_the_times_since() {
    for (name, by_ms) in [("40 s back for good", -40_000), ("slept", HOUR)] {
        let (seen, steady) = live_through(&world(name, Asking::Never));
        assert!(seen.last().unwrap().doubt.is_none());
        assert_eq!(spans(&steady), [], "{name}");
        let by: Vec<_> = steady
            .offs()
            .0
            .iter()
            .map(|off| off.withdrawn_by_ms)
            .collect();
        assert_eq!(by, [Some(by_ms)], "{name}");
    }
}

#[test]
fn two_homeservers_behind_one_address_are_both_usual_after_a_while() {
    let at = |ms: i64| Moment {
        wall_ms: NOW + ms,
        counted_ms: ms,
    };
    for ahead_ms in [20_000, -20_000, 5 * MINUTE] {
        let mut steady = Steady::default();
        for second in 0..2_000 {
            let ms = second * 1_000;
            let its_ms = if second % 3 == 1 { ahead_ms } else { 0 };
            steady.told(at_once(NOW + ms + its_ms), at(ms));
            let is_young = ms <= 10 * MINUTE;
            assert!(
                is_young || steady.doubt(at(ms)).is_none(),
                "{ahead_ms} {ms}"
            );
            assert!(is_young || steady.is_confirmed(at(ms)), "{ahead_ms} {ms}");
        }

        assert_eq!(spans(&steady), [], "{ahead_ms}");
        // Neither of them tells this time.
        steady.told(at_once(NOW + 2_000_000 + HOUR), at(2_000_000));
        assert!(steady.doubt(at(2_000_000)).is_some());
    }
}
