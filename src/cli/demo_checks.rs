//! Made-up checks of the demo's homeservers: their names lead nowhere, so nothing can be asked.

use crate::rtc::id::server_of;
use crate::rtc::probe_answer::ProbeAnswer;
use crate::rtc::server_check::{
    CertificateAnswer, DelayLimits, PublishedWellKnown, ServerAnswers, ServerFeatures, SfuAnswers,
    WebAnswer,
};
use crate::rtc::support::{ContactRole, Support, SupportContact};
use crate::rtc::time::DAY_MS;
use crate::store::ingest::probes::{
    AnswerState, CheckResult, RequestResult, SupportResult, record_result,
};
use crate::store::{self, Writer};

/// Stores a check of our own homeserver, and of two others: one whose delayed events went off two
/// days ago, and one whose certificate ends soon.
pub(super) async fn store_made_up_checks(
    store: &Writer,
    bot: &str,
    now: i64,
) -> Result<(), store::Error> {
    let own = healthy_server(server_of(bot));
    record_result(store, server_of(bot), &check_of(&own), now).await?;

    let mut without_delay = as_everybody_sees(healthy_server("verein.example"));
    let before = check_of(&without_delay);
    record_result(store, "verein.example", &before, now - 3 * DAY_MS).await?;
    if let ProbeAnswer::Said(features) = &mut without_delay.versions.answer {
        features.delayed_events = false;
    }

    let after = check_of(&without_delay);
    for at_ms in [now - 2 * DAY_MS, now] {
        record_result(store, "verein.example", &after, at_ms).await?;
    }

    let mut ending = as_everybody_sees(healthy_server("uni.example"));
    for certificate in &mut ending.certificates {
        certificate.days_left = ProbeAnswer::Said(6);
    }

    record_result(store, "uni.example", &check_of(&ending), now).await?;
    for server in ["matrix.example.net", "verein.example", server_of(bot)] {
        record_result(store, server, &support_of(server), now).await?;
    }

    Ok(())
}

/// Whom to tell about a server of the demo.
fn support_of(server: &str) -> SupportResult {
    let admin = SupportContact {
        role: ContactRole::Admin,
        user_id: Some(format!("@admin:{server}")),
        email: Some(format!("admin@{server}")),
    };

    SupportResult {
        answer: RequestResult {
            state: AnswerState::Ok,
            why: None,
        },
        said: Support {
            contacts: vec![admin],
            page: None,
        },
    }
}

/// The same answers without what only an account of the server may ask.
fn as_everybody_sees(mut answers: ServerAnswers) -> ServerAnswers {
    let not_asked = || "only an account of the server may ask".to_owned();
    answers.is_own = false;
    answers.transports = ProbeAnswer::Refused(not_asked());
    answers.limits = ProbeAnswer::Refused(not_asked());
    for sfu in &mut answers.sfus {
        sfu.token = ProbeAnswer::Refused(not_asked());
        sfu.socket = ProbeAnswer::Refused(not_asked());
    }

    answers
}

fn check_of(answers: &ServerAnswers) -> CheckResult {
    CheckResult {
        is_own: answers.is_own,
        lines: answers.check_lines(),
    }
}

/// The answers of a homeserver on which everything works.
fn healthy_server(server: &str) -> ServerAnswers {
    let base = format!("https://matrix.{server}");
    let service_url = format!("https://call.{server}/livekit/jwt");

    ServerAnswers {
        server: server.to_owned(),
        is_own: true,
        addresses: ProbeAnswer::Said(2),
        delegated: ProbeAnswer::Said(format!("matrix.{server}:443")),
        federation: said(
            format!("{base}:443/_matrix/federation/v1/version"),
            "Synapse 1.163.2".to_owned(),
        ),
        signing_name: ProbeAnswer::Said(server.to_owned()),
        published: said(
            format!("https://{server}/.well-known/matrix/client"),
            PublishedWellKnown {
                homeserver_url: Some(base.clone()),
                sfus: vec![service_url.clone()],
            },
        ),
        versions: said(
            format!("{base}/_matrix/client/versions"),
            ServerFeatures {
                delayed_events: true,
                sticky_events: true,
                rtc_transports: true,
            },
        ),
        clock_ahead_ms: Some(200),
        certificates: vec![CertificateAnswer {
            url: base,
            days_left: ProbeAnswer::Said(61),
        }],
        transports: ProbeAnswer::Said(vec![service_url.clone()]),
        limits: ProbeAnswer::Said(DelayLimits {
            max_delay_ms: Some(DAY_MS),
            max_scheduled: None,
        }),
        sfus: vec![SfuAnswers {
            health: ProbeAnswer::Said(31),
            cors: Some(true),
            token: ProbeAnswer::Said(format!("wss://call.{server}/livekit/sfu")),
            socket: ProbeAnswer::Said(401),
            delegates_leave: Some(true),
            service_url,
        }],
        rooms: None,
    }
}

fn said<T>(url: String, said: T) -> WebAnswer<T> {
    WebAnswer {
        url,
        answer: ProbeAnswer::Said(said),
        cors: Some(true),
    }
}
