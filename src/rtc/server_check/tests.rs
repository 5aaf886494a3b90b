//! A healthy server, and the same with one thing broken at a time.

use super::*;

fn said<T>(url: &str, said: T) -> WebAnswer<T> {
    WebAnswer {
        url: url.to_owned(),
        answer: ProbeAnswer::Said(said),
        cors: Some(true),
    }
}

fn failed<T>(why: &str) -> ProbeAnswer<T> {
    ProbeAnswer::Failed(why.to_owned())
}

fn healthy() -> ServerAnswers {
    let sfu = "https://rtc.a.example/jwt".to_owned();
    ServerAnswers {
        server: "a.example".to_owned(),
        is_own: true,
        addresses: ProbeAnswer::Said(2),
        delegated: ProbeAnswer::Said("matrix.a.example:443".to_owned()),
        federation: said("https://matrix.a.example", "Synapse 1.163.2".to_owned()),
        signing_name: ProbeAnswer::Said("a.example".to_owned()),
        published: said(
            "https://a.example/.well-known/matrix/client",
            PublishedWellKnown {
                homeserver_url: Some("https://matrix.a.example".to_owned()),
                sfus: vec![sfu.clone()],
            },
        ),
        versions: said(
            "https://matrix.a.example/_matrix/client/versions",
            ServerFeatures {
                delayed_events: true,
                sticky_events: true,
                rtc_transports: true,
            },
        ),
        clock_ahead_ms: Some(-900),
        certificates: vec![CertificateAnswer {
            url: "https://a.example".to_owned(),
            days_left: ProbeAnswer::Said(60),
        }],
        transports: ProbeAnswer::Said(vec![sfu.clone()]),
        limits: ProbeAnswer::Said(DelayLimits {
            max_delay_ms: Some(86_400_000),
            max_scheduled: None,
        }),
        sfus: vec![SfuAnswers {
            service_url: sfu,
            health: ProbeAnswer::Said(12),
            cors: Some(true),
            token: ProbeAnswer::Said("wss://rtc.a.example/sfu".to_owned()),
            socket: ProbeAnswer::Said(401),
            delegates_leave: Some(false),
        }],
        rooms: Some(RoomAnswers {
            checked: 4,
            ..RoomAnswers::default()
        }),
    }
}

/// The steps that are not well, the gravest first; those that cannot be told are left out.
fn faults(answers: &ServerAnswers) -> Vec<(CheckStep, StepState)> {
    gravest_first(answers.check_lines())
        .into_iter()
        .filter(|line| line.state < StepState::Unknown)
        .map(|line| (line.step, line.state))
        .collect()
}

/// The faults of the healthy server after one thing was changed.
fn faults_after(change: impl FnOnce(&mut ServerAnswers)) -> Vec<(CheckStep, StepState)> {
    let mut answers = healthy();
    change(&mut answers);

    faults(&answers)
}

#[test]
fn nothing_is_named_when_nothing_is_broken() {
    let lines = healthy().check_lines();
    let all_well = lines.iter().all(|line| line.state == StepState::Well);
    assert!(all_well, "{lines:#?}");
    for step in CheckStep::ALL {
        assert!(
            lines.iter().any(|line| line.step == step),
            "{step} has a line"
        );
    }
}

#[test]
fn one_broken_thing_is_one_fault() {
    use CheckStep as Step;
    use StepState::{Broken, Weak};
    type Change = fn(&mut ServerAnswers);
    let cases: [(Change, Step, StepState); 20] = [
        (|a| a.addresses = failed("no such name"), Step::Name, Broken),
        (
            |a| {
                let refused = |url: &str| CertificateAnswer {
                    url: url.to_owned(),
                    days_left: failed("the certificate has expired"),
                };
                a.certificates = vec![
                    refused("https://a.example"),
                    refused("https://matrix.a.example"),
                ];
                a.federation.answer = failed("the certificate has expired");
                a.signing_name = failed("the certificate has expired");
                a.published.answer = failed("the certificate has expired");
                a.versions.answer = failed("the certificate has expired");
            },
            Step::Certificate,
            Broken,
        ),
        (
            |a| a.certificates[0].days_left = ProbeAnswer::Said(3),
            Step::Certificate,
            Weak,
        ),
        (
            |a| {
                a.federation.answer = failed("connection refused");
                a.signing_name = failed("connection refused");
            },
            Step::Federation,
            Broken,
        ),
        (
            |a| a.signing_name = ProbeAnswer::Said("b.example".to_owned()),
            Step::ServerName,
            Broken,
        ),
        (
            |a| {
                a.versions.answer = failed("it answered 502");
                a.versions.cors = None;
            },
            Step::ClientApi,
            Broken,
        ),
        (
            |a| a.published.answer = ProbeAnswer::Missing,
            Step::WellKnown,
            Broken,
        ),
        (|a| a.published.cors = Some(false), Step::Cors, Broken),
        (|a| a.sfus[0].cors = Some(false), Step::Cors, Broken),
        (|a| a.clock_ahead_ms = Some(10_000), Step::Clock, Broken),
        (|a| a.clock_ahead_ms = Some(-10_000), Step::Clock, Broken),
        (
            |a| a.transports = ProbeAnswer::Missing,
            Step::Transports,
            Weak,
        ),
        (
            |a| {
                a.sfus[0].health = failed("it answered 502");
                a.sfus[0].cors = Some(false);
                a.sfus[0].token = failed("it answered 502");
                a.sfus[0].socket = ProbeAnswer::Refused("no token".to_owned());
            },
            Step::TokenService,
            Broken,
        ),
        (
            |a| {
                a.sfus[0].token = failed("it answered 500");
                a.sfus[0].socket = ProbeAnswer::Refused("no token".to_owned());
            },
            Step::TokenService,
            Broken,
        ),
        (
            |a| a.sfus[0].socket = failed("connection refused"),
            Step::Sfu,
            Broken,
        ),
        (
            |a| a.sfus[0].socket = ProbeAnswer::Said(502),
            Step::Sfu,
            Broken,
        ),
        (
            |a| {
                if let ProbeAnswer::Said(can) = &mut a.versions.answer {
                    can.delayed_events = false;
                }
            },
            Step::DelayedEvents,
            Broken,
        ),
        (
            |a| {
                a.limits = ProbeAnswer::Said(DelayLimits {
                    max_delay_ms: Some(5000),
                    max_scheduled: None,
                });
            },
            Step::DelayLimit,
            Broken,
        ),
        (
            |a| {
                if let ProbeAnswer::Said(can) = &mut a.versions.answer {
                    can.sticky_events = false;
                }
            },
            Step::StickyEvents,
            Weak,
        ),
        (
            |a| {
                a.rooms
                    .as_mut()
                    .unwrap()
                    .denying
                    .push("Tree house".to_owned());
            },
            Step::Acl,
            Weak,
        ),
    ];

    for (change, step, state) in cases {
        assert_eq!(faults_after(change), [(step, state)], "{step}");
    }

    let powerless = faults_after(|answers| {
        let room = PowerlessRoom {
            name: "Tree house".to_owned(),
            needed: 50,
        };
        answers.rooms.as_mut().unwrap().powerless.push(room);
    });
    assert_eq!(powerless, [(Step::Power, Weak)]);
}

#[test]
fn the_certificate_of_an_sfu_explains_nothing_else() {
    let faults = faults_after(|answers| {
        answers.certificates.push(CertificateAnswer {
            url: "https://rtc.a.example".to_owned(),
            days_left: failed("the certificate has expired"),
        });
        answers.versions.answer = failed("it answered 502");
        answers.versions.cors = None;
    });
    let both = [CheckStep::Certificate, CheckStep::ClientApi];
    assert_eq!(faults, both.map(|step| (step, StepState::Broken)));
}

#[test]
fn an_sfu_without_tls_behind_a_service_with_tls_is_broken() {
    let faults = faults_after(|answers| {
        answers.sfus[0].token = ProbeAnswer::Said("ws://livekit:7880".to_owned());
    });
    assert_eq!(faults, [(CheckStep::Sfu, StepState::Broken)]);
}

#[test]
fn a_server_that_may_be_found_by_srv_records_is_not_called_broken() {
    let silent = |delegated: ProbeAnswer<String>| {
        faults_after(|answers| {
            answers.delegated = delegated;
            answers.federation.answer = failed("connection refused");
            answers.signing_name = failed("connection refused");
        })
    };

    assert_eq!(
        silent(ProbeAnswer::Missing),
        [(CheckStep::Federation, StepState::Weak)]
    );
    assert_eq!(
        silent(ProbeAnswer::Said("b.example:443".to_owned())),
        [(CheckStep::Federation, StepState::Broken)]
    );
}

#[test]
fn without_any_way_to_an_sfu_calls_are_broken() {
    let faults = faults_after(|answers| {
        answers.transports = ProbeAnswer::Missing;
        answers.sfus.clear();
        if let ProbeAnswer::Said(published) = &mut answers.published.answer {
            published.sfus.clear();
        }
    });

    assert_eq!(
        faults,
        [
            (CheckStep::Transports, StepState::Broken),
            (CheckStep::WellKnown, StepState::Weak)
        ]
    );
}

#[test]
fn a_delay_of_an_hour_is_needed_only_if_the_sfu_says_goodbye() {
    let short = |delegates: bool| {
        faults_after(|answers| {
            answers.sfus[0].delegates_leave = Some(delegates);
            answers.limits = ProbeAnswer::Said(DelayLimits {
                max_delay_ms: Some(600_000),
                max_scheduled: None,
            });
        })
    };

    assert_eq!(short(false), []);
    assert_eq!(short(true), [(CheckStep::DelayLimit, StepState::Broken)]);
}

#[test]
fn a_stranger_is_judged_by_what_can_be_seen() {
    let faults = faults_after(|answers| {
        let not_asked = || "only its own users may ask".to_owned();
        answers.is_own = false;
        answers.transports = ProbeAnswer::Refused(not_asked());
        answers.limits = ProbeAnswer::Refused(not_asked());
        answers.sfus[0].token = ProbeAnswer::Refused(not_asked());
        answers.sfus[0].socket = ProbeAnswer::Refused(not_asked());
        answers.rooms = None;
    });

    assert_eq!(faults, []);
}

#[test]
fn rooms_are_named_up_to_three() {
    let names = ["a", "b", "c", "d", "e"];
    assert_eq!(name_rooms(&names[..1]), "a");
    assert_eq!(name_rooms(&names[..4]), "a, b, c and 1 other room");
    assert_eq!(name_rooms(&names), "a, b, c and 2 other rooms");
}

#[test]
fn every_step_says_what_it_means_and_what_to_set() {
    for step in CheckStep::ALL {
        assert!(!step.title().is_empty() && step.meaning().ends_with('.'));
        let needs_none = step == CheckStep::Delegated;
        assert_eq!(step.remedies().is_empty(), needs_none, "{step}");
    }
}
