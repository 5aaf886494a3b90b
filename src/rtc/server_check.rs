//! Why calls fail on a homeserver: judges what it answered, step by step, from its name to the SFU.
//!
//! Pure: the answers come from whoever asked. A step that cannot be told because an earlier one is
//! broken is unknown, not broken. So the cause stands first, and only the cause.

mod steps;

pub use steps::{CheckStep, Remedy, StepState};

use super::acl::without_port;
use super::probe_answer::ProbeAnswer;
use serde::{Deserialize, Serialize};

/// A certificate with fewer days left is a warning: renewal usually happens 30 days before the end.
const DAYS_LEFT_WARNING: i64 = 14;
/// Events of a server whose clock is off by more than this are noticed by people, ms. The `Date`
/// header has whole seconds, and an answer takes time.
const CLOCK_OFF_MS: i64 = 5_000;
/// The delay that Element Call 0.26 asks for when it schedules its leave, ms.
const USUAL_DELAY_MS: i64 = 18_000;
/// The delay that it asks for when the SFU takes over the leave, ms.
const DELEGATED_DELAY_MS: i64 = 3_600_000;
/// Maximum rooms that are named in a line; others are counted.
const ROOMS_NAMED: usize = 3;

/// What a homeserver's well-known document for clients says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedWellKnown {
    pub homeserver_url: Option<String>,
    /// Addresses of its `LiveKit` services, normalised.
    pub sfus: Vec<String>,
}

/// The features that a homeserver reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerFeatures {
    /// MSC4140, MSC4354, MSC4143.
    pub delayed_events: bool,
    pub sticky_events: bool,
    pub rtc_transports: bool,
}

/// What was asked of one address, and whether a web page of another origin may read the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAnswer<T> {
    /// The address that was asked.
    pub url: String,
    pub answer: ProbeAnswer<T>,
    /// It has the header `Access-Control-Allow-Origin`; `None` if there was no answer.
    pub cors: Option<bool>,
}

/// The certificate of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateAnswer {
    pub url: String,
    /// Whole days until it ends; failed if it is not accepted, with the reason.
    pub days_left: ProbeAnswer<i64>,
}

/// What a `LiveKit` service and the SFU behind it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SfuAnswers {
    /// The address of the token service, normalised.
    pub service_url: String,
    /// Its health, or that the endpoint for clients exists: how long the answer took, ms.
    pub health: ProbeAnswer<u64>,
    /// A browser's preflight request for a token is answered with CORS headers.
    pub cors: Option<bool>,
    /// The address of the SFU that it gave with a token.
    pub token: ProbeAnswer<String>,
    /// The SFU answered a WebSocket handshake, with this status.
    pub socket: ProbeAnswer<u16>,
    /// It sends the leave event for clients that lost their connection; `None` if not known.
    pub delegates_leave: Option<bool>,
}

/// The limits of delayed events for our account, ms and number; `None` where it has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DelayLimits {
    pub max_delay_ms: Option<i64>,
    pub max_scheduled: Option<i64>,
}

/// Rooms in which calls of this server cannot work by the room's own rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomAnswers {
    /// Rooms whose rules were read.
    pub checked: usize,
    /// Names or ids of rooms in which usual members have no power to join a call, with the power
    /// that they need.
    pub powerless: Vec<PowerlessRoom>,
    /// Names or ids of rooms that take no events of this server (`m.room.server_acl`).
    pub denying: Vec<String>,
}

/// A room in which usual members cannot join a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerlessRoom {
    pub name: String,
    pub needed: i64,
}

/// Everything that was asked of one homeserver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAnswers {
    /// Its name, as in user ids.
    pub server: String,
    /// It was asked with an account of it.
    pub is_own: bool,
    /// How many addresses its name has.
    pub addresses: ProbeAnswer<usize>,
    /// `/.well-known/matrix/server`: the name that it delegates to.
    pub delegated: ProbeAnswer<String>,
    /// The federation API: its software.
    pub federation: WebAnswer<String>,
    /// The name that the server at the end of the federation API signs with.
    pub signing_name: ProbeAnswer<String>,
    /// `/.well-known/matrix/client`.
    pub published: WebAnswer<PublishedWellKnown>,
    pub versions: WebAnswer<ServerFeatures>,
    /// How far its clock is ahead of ours, ms; negative if behind.
    pub clock_ahead_ms: Option<i64>,
    pub certificates: Vec<CertificateAnswer>,
    /// The endpoint of transports (MSC4143), which only signed-in users may ask.
    pub transports: ProbeAnswer<Vec<String>>,
    pub limits: ProbeAnswer<DelayLimits>,
    pub sfus: Vec<SfuAnswers>,
    /// `None` if no room's rules are known.
    pub rooms: Option<RoomAnswers>,
}

/// One step of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckLine {
    pub step: CheckStep,
    pub state: StepState,
    /// What was asked: an address or a setting.
    pub asked: String,
    /// What came, in words.
    pub came: String,
}

impl ServerAnswers {
    /// The report, in the order of the steps of a call.
    #[must_use]
    pub fn check_lines(&self) -> Vec<CheckLine> {
        let mut lines = vec![
            self.check_name(),
            self.check_certificates(),
            self.check_delegation(),
            self.check_federation(),
            self.check_signing_name(),
            self.check_client_api(),
            self.check_published(),
            self.check_cors(),
            self.check_clock(),
            self.check_transports(),
        ];
        lines.extend(self.sfus.iter().flat_map(check_sfu));
        lines.extend([
            self.check_delayed_events(),
            self.check_delay_limit(),
            self.check_sticky_events(),
        ]);
        lines.extend(self.rooms.iter().flat_map(RoomAnswers::check_lines));

        lines
    }

    /// Does the name lead to an address?
    fn check_name(&self) -> CheckLine {
        let (state, came) = match &self.addresses {
            ProbeAnswer::Said(count) => (StepState::Well, count_addresses(*count)),
            ProbeAnswer::Missing => (StepState::Broken, "no address".to_owned()),
            ProbeAnswer::Failed(why) => (StepState::Broken, why.clone()),
            ProbeAnswer::Refused(why) => (StepState::Unknown, why.clone()),
        };

        CheckLine::new(CheckStep::Name, state, without_port(&self.server), came)
    }

    /// Are the certificates accepted, and for how long?
    fn check_certificates(&self) -> CheckLine {
        let refused = self.certificates.iter().find_map(|one| {
            let ProbeAnswer::Failed(why) = &one.days_left else {
                return None;
            };

            Some((one, why))
        });
        if let Some((one, why)) = refused {
            return CheckLine::new(
                CheckStep::Certificate,
                StepState::Broken,
                &one.url,
                why.clone(),
            );
        }

        let shortest = self
            .certificates
            .iter()
            .filter_map(|one| Some((*one.days_left.said()?, one)))
            .min_by_key(|(days, _)| *days);
        let Some((days, one)) = shortest else {
            let came = "no address with TLS answered".to_owned();
            return CheckLine::new(CheckStep::Certificate, StepState::Unknown, "TLS", came);
        };

        let state = if days < DAYS_LEFT_WARNING {
            StepState::Weak
        } else {
            StepState::Well
        };
        let came = match days {
            1 => "1 day left".to_owned(),
            days => format!("{days} days left"),
        };

        CheckLine::new(CheckStep::Certificate, state, &one.url, came)
    }

    /// Does the server delegate to another name, and can that be read?
    fn check_delegation(&self) -> CheckLine {
        let asked = format!(
            "https://{}/.well-known/matrix/server",
            without_port(&self.server)
        );
        let (state, came) = match &self.delegated {
            ProbeAnswer::Said(name) => (StepState::Well, format!("other servers go to {name}")),
            ProbeAnswer::Failed(why) if self.federation.answer.said().is_none() => {
                (self.unless_caused(StepState::Weak, &asked), why.clone())
            }
            // Without the document others use SRV records or port 8448.
            ProbeAnswer::Missing | ProbeAnswer::Failed(_) => {
                let came = "no document: other servers go to the name itself".to_owned();
                (StepState::Well, came)
            }
            ProbeAnswer::Refused(why) => (StepState::Unknown, why.clone()),
        };

        CheckLine::new(CheckStep::Delegation, state, &asked, came)
    }

    /// Does the federation API answer? A name without a port and without a document may lead
    /// elsewhere by an SRV record, which is not looked up: then silence is no proof.
    fn check_federation(&self) -> CheckLine {
        let federation = &self.federation;
        let is_address_certain =
            self.delegated.said().is_some() || without_port(&self.server) != self.server;
        let (state, came) = match &federation.answer {
            ProbeAnswer::Said(software) => (StepState::Well, software.clone()),
            ProbeAnswer::Missing => (StepState::Broken, "404: not found there".to_owned()),
            ProbeAnswer::Failed(why) if is_address_certain => (
                self.unless_caused(StepState::Broken, &federation.url),
                why.clone(),
            ),
            ProbeAnswer::Failed(why) => {
                let came = format!("{why}; SRV records were not looked up");
                (self.unless_caused(StepState::Weak, &federation.url), came)
            }
            ProbeAnswer::Refused(why) => (StepState::Unknown, why.clone()),
        };

        CheckLine::new(CheckStep::Federation, state, &federation.url, came)
    }

    /// Does the server at the end sign with the name that was asked for?
    fn check_signing_name(&self) -> CheckLine {
        let asked = "/_matrix/key/v2/server";
        let (state, came) = match &self.signing_name {
            ProbeAnswer::Said(name) if *name == self.server => {
                (StepState::Well, format!("it calls itself {name}"))
            }
            ProbeAnswer::Said(name) => {
                let came = format!("it calls itself {name}, not {}", self.server);
                (StepState::Broken, came)
            }
            other => (StepState::Unknown, words_of_silence(other)),
        };

        CheckLine::new(CheckStep::ServerName, state, asked, came)
    }

    /// Does the client API answer?
    fn check_client_api(&self) -> CheckLine {
        let versions = &self.versions;
        let (state, came) = match &versions.answer {
            ProbeAnswer::Said(_) => (StepState::Well, "it answers".to_owned()),
            ProbeAnswer::Missing => (StepState::Broken, "404: not found there".to_owned()),
            ProbeAnswer::Failed(why) => (
                self.unless_caused(StepState::Broken, &versions.url),
                why.clone(),
            ),
            ProbeAnswer::Refused(why) => (StepState::Unknown, why.clone()),
        };

        CheckLine::new(CheckStep::ClientApi, state, &versions.url, came)
    }

    /// Is there a well-known document for clients, and does it say what clients need?
    fn check_published(&self) -> CheckLine {
        let published = &self.published;
        let (state, came) = match &published.answer {
            ProbeAnswer::Said(said) if said.homeserver_url.is_none() => {
                let came = "it names no homeserver (m.homeserver.base_url)".to_owned();
                (StepState::Broken, came)
            }
            ProbeAnswer::Said(said) if said.sfus.is_empty() && !self.offers_transports() => {
                (StepState::Weak, "it names no SFU".to_owned())
            }
            ProbeAnswer::Said(said) => {
                let url = said.homeserver_url.as_deref().unwrap_or_default();
                (
                    StepState::Well,
                    format!("it names {url} {}", count_sfus(said.sfus.len())),
                )
            }
            ProbeAnswer::Missing => (StepState::Broken, "404: there is no document".to_owned()),
            ProbeAnswer::Failed(why) => (
                self.unless_caused(StepState::Broken, &published.url),
                why.clone(),
            ),
            ProbeAnswer::Refused(why) => (StepState::Unknown, why.clone()),
        };

        CheckLine::new(CheckStep::WellKnown, state, &published.url, came)
    }

    /// May clients in a browser read the document, the client API and the token service?
    fn check_cors(&self) -> CheckLine {
        let closed = [
            (&self.published.url, self.published.cors),
            (&self.versions.url, self.versions.cors),
        ];
        // A proxy's error page has no such header either: that is no fault of its own.
        let answering = self.sfus.iter().filter(|sfu| sfu.health.said().is_some());
        let of_sfus = answering.map(|sfu| (&sfu.service_url, sfu.cors));
        let all: Vec<_> = closed.into_iter().chain(of_sfus).collect();
        let lacking = all.iter().find(|(_, cors)| *cors == Some(false));
        if let Some((url, _)) = lacking {
            let came = "no header Access-Control-Allow-Origin".to_owned();
            return CheckLine::new(CheckStep::Cors, StepState::Broken, url, came);
        }

        let known = all.iter().filter(|(_, cors)| cors.is_some()).count();
        let (state, came) = match known {
            0 => (StepState::Unknown, "nothing answered".to_owned()),
            1 => (StepState::Well, "1 address allows it".to_owned()),
            count => (StepState::Well, format!("{count} addresses allow it")),
        };

        CheckLine::new(CheckStep::Cors, state, "Access-Control-Allow-Origin", came)
    }

    /// Is its clock right?
    fn check_clock(&self) -> CheckLine {
        let (state, came) = match self.clock_ahead_ms {
            None => (StepState::Unknown, "no answer had a date".to_owned()),
            Some(ms) if ms.abs() > CLOCK_OFF_MS => {
                let side = if ms > 0 { "ahead of" } else { "behind" };
                (
                    StepState::Broken,
                    format!("{} s {side} ours", ms.abs() / 1000),
                )
            }
            Some(_) => (StepState::Well, "as ours, to a few seconds".to_owned()),
        };

        CheckLine::new(
            CheckStep::Clock,
            state,
            "the Date header of its answers",
            came,
        )
    }

    /// Does the endpoint of transports offer an SFU?
    fn check_transports(&self) -> CheckLine {
        let published = self.published.answer.said();
        let is_published = published.is_some_and(|said| !said.sfus.is_empty());
        let (state, came) = match &self.transports {
            ProbeAnswer::Said(urls) if !urls.is_empty() => {
                (StepState::Well, format!("it offers {}", urls.join(", ")))
            }
            ProbeAnswer::Said(_) => (StepState::Broken, "it offers no SFU".to_owned()),
            ProbeAnswer::Missing if is_published => {
                let came = "404: only clients that read the well-known document find the SFU";
                (StepState::Weak, came.to_owned())
            }
            ProbeAnswer::Missing => (StepState::Broken, "404: no SFU is offered".to_owned()),
            ProbeAnswer::Failed(why) => (
                self.unless_caused(StepState::Broken, &self.versions.url),
                why.clone(),
            ),
            ProbeAnswer::Refused(why) => (StepState::Unknown, why.clone()),
        };

        CheckLine::new(
            CheckStep::Transports,
            state,
            "/_matrix/client/v1/rtc/transports",
            came,
        )
    }

    /// Are delayed events on?
    fn check_delayed_events(&self) -> CheckLine {
        let said = self.versions.answer.said();
        let (state, came) = match said.map(|can| can.delayed_events) {
            Some(true) => (StepState::Well, "on"),
            Some(false) => (StepState::Broken, "off: no leave is sent for lost clients"),
            None => (StepState::Unknown, "the client API does not answer"),
        };

        CheckLine::new(
            CheckStep::DelayedEvents,
            state,
            "org.matrix.msc4140",
            came.to_owned(),
        )
    }

    /// Is the longest delay long enough for what clients ask for?
    fn check_delay_limit(&self) -> CheckLine {
        let delegates = self
            .sfus
            .iter()
            .any(|sfu| sfu.delegates_leave == Some(true));
        let is_on = self
            .versions
            .answer
            .said()
            .is_some_and(|can| can.delayed_events);
        let longest = self.limits.said().and_then(|limits| limits.max_delay_ms);
        let (state, came) = match longest {
            _ if !is_on => (StepState::Unknown, "delayed events are not on".to_owned()),
            Some(ms) if ms < USUAL_DELAY_MS => {
                let came = format!(
                    "{} s, clients ask for {} s",
                    ms / 1000,
                    USUAL_DELAY_MS / 1000
                );
                (StepState::Broken, came)
            }
            Some(ms) if delegates && ms < DELEGATED_DELAY_MS => {
                let came = format!(
                    "{} s, the delayed leave by the SFU needs an hour",
                    ms / 1000
                );
                (StepState::Broken, came)
            }
            Some(ms) => (StepState::Well, format!("up to {} s", ms / 1000)),
            None => (StepState::Unknown, words_of_silence(&self.limits)),
        };

        CheckLine::new(
            CheckStep::DelayLimit,
            state,
            "/_matrix/client/v3/capabilities",
            came,
        )
    }

    /// Are sticky events on?
    fn check_sticky_events(&self) -> CheckLine {
        let said = self.versions.answer.said();
        let (state, came) = match said.map(|can| can.sticky_events) {
            Some(true) => (StepState::Well, "on"),
            Some(false) => (StepState::Weak, "off: clients can only use room state"),
            None => (StepState::Unknown, "the client API does not answer"),
        };

        CheckLine::new(
            CheckStep::StickyEvents,
            state,
            "org.matrix.msc4354",
            came.to_owned(),
        )
    }

    /// Is an SFU offered to signed-in users?
    fn offers_transports(&self) -> bool {
        self.transports.said().is_some_and(|urls| !urls.is_empty())
    }

    /// The state of a step that asked this address, or unknown if an earlier step explains the
    /// failure: a name without an address, or a certificate that is not accepted there.
    fn unless_caused(&self, state: StepState, asked: &str) -> StepState {
        let no_address = matches!(
            self.addresses,
            ProbeAnswer::Failed(_) | ProbeAnswer::Missing
        );
        let is_refused = |one: &CertificateAnswer| {
            matches!(one.days_left, ProbeAnswer::Failed(_)) && asked.starts_with(&one.url)
        };

        if no_address || self.certificates.iter().any(is_refused) {
            StepState::Unknown
        } else {
            state
        }
    }
}

impl CheckLine {
    fn new(step: CheckStep, state: StepState, asked: &str, came: String) -> Self {
        Self {
            step,
            state,
            asked: asked.to_owned(),
            came,
        }
    }
}

impl RoomAnswers {
    /// Do the rules of the rooms let people join calls, and this server take part?
    #[must_use]
    pub fn check_lines(&self) -> [CheckLine; 2] {
        let powerless: Vec<&str> = self
            .powerless
            .iter()
            .map(|room| room.name.as_str())
            .collect();
        // A room may be so on purpose: its moderators decide it, not the server.
        let (power, needed) = match self.powerless.first() {
            None => (
                StepState::Well,
                format!("enough {}", in_rooms(self.checked)),
            ),
            Some(room) => {
                let came = format!("{} needed in {}", room.needed, name_rooms(&powerless));
                (StepState::Weak, came)
            }
        };
        let denying: Vec<&str> = self.denying.iter().map(String::as_str).collect();
        let (access, shut_out) = match denying.first() {
            None => (
                StepState::Well,
                format!("allowed {}", in_rooms(self.checked)),
            ),
            Some(_) => (
                StepState::Weak,
                format!("shut out of {}", name_rooms(&denying)),
            ),
        };

        [
            CheckLine::new(CheckStep::Power, power, "m.room.power_levels", needed),
            CheckLine::new(CheckStep::Acl, access, "m.room.server_acl", shut_out),
        ]
    }
}

/// Does the token service answer, is the SFU behind it there, and who says goodbye for lost
/// clients?
fn check_sfu(sfu: &SfuAnswers) -> [CheckLine; 3] {
    let url = &sfu.service_url;
    let (service, came) = match (&sfu.health, &sfu.token) {
        (_, ProbeAnswer::Failed(why)) if sfu.health.said().is_some() => {
            (StepState::Broken, format!("it gives no token: {why}"))
        }
        (ProbeAnswer::Said(_), _) => (StepState::Well, "it answers".to_owned()),
        (ProbeAnswer::Missing, _) => (StepState::Broken, "404: not found there".to_owned()),
        (ProbeAnswer::Failed(why), _) => (StepState::Broken, why.clone()),
        (ProbeAnswer::Refused(why), _) => (StepState::Unknown, why.clone()),
    };
    let socket_url = sfu.token.said().unwrap_or(url);
    // Browsers refuse an unencrypted WebSocket on an encrypted page.
    let is_unencrypted = url.starts_with("https://") && socket_url.starts_with("ws://");
    let (socket, answered) = match &sfu.socket {
        _ if is_unencrypted => {
            let came = "the token service names an address without TLS (LIVEKIT_URL)";
            (StepState::Broken, came.to_owned())
        }
        ProbeAnswer::Said(status) if is_sfu_status(*status) => (
            StepState::Well,
            "it answers a WebSocket handshake".to_owned(),
        ),
        ProbeAnswer::Said(status) => {
            let came = format!("it answered a WebSocket handshake with {status}");
            (StepState::Broken, came)
        }
        ProbeAnswer::Missing => (StepState::Broken, "404: no SFU there".to_owned()),
        ProbeAnswer::Failed(why) => (StepState::Broken, why.clone()),
        ProbeAnswer::Refused(why) => (StepState::Unknown, why.clone()),
    };
    // Without delegation clients schedule their own leave, which is the usual way.
    let delegation = match sfu.delegates_leave {
        Some(true) => (
            StepState::Well,
            "it sends the delayed leave for lost clients",
        ),
        Some(false) => (StepState::Well, "clients schedule their own delayed leave"),
        None => (StepState::Unknown, "not told"),
    };

    [
        CheckLine::new(CheckStep::TokenService, service, url, came),
        CheckLine::new(CheckStep::Sfu, socket, socket_url, answered),
        CheckLine::new(
            CheckStep::Delegated,
            delegation.0,
            &format!("{url}/delegate_delayed_leave"),
            delegation.1.to_owned(),
        ),
    ]
}

/// The lines, what is broken first, then what is weak, then the rest; each group in order.
#[must_use]
pub fn gravest_first(mut lines: Vec<CheckLine>) -> Vec<CheckLine> {
    lines.sort_by_key(|line| line.state);

    lines
}

/// Is this what an SFU answers to a handshake without a token: the switch, or that a token is
/// missing?
fn is_sfu_status(status: u16) -> bool {
    matches!(status, 101 | 400 | 401 | 403)
}

fn count_addresses(count: usize) -> String {
    match count {
        1 => "1 address".to_owned(),
        count => format!("{count} addresses"),
    }
}

fn count_sfus(count: usize) -> String {
    match count {
        0 => "and no SFU".to_owned(),
        1 => "and 1 SFU".to_owned(),
        count => format!("and {count} SFUs"),
    }
}

fn in_rooms(count: usize) -> String {
    match count {
        1 => "in the 1 room that was read".to_owned(),
        count => format!("in all {count} rooms that were read"),
    }
}

/// The first of the rooms, and how many others.
fn name_rooms(rooms: &[&str]) -> String {
    let named = rooms
        .iter()
        .take(ROOMS_NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match rooms.len().saturating_sub(ROOMS_NAMED) {
        0 => named,
        1 => format!("{named} and 1 other room"),
        others => format!("{named} and {others} other rooms"),
    }
}

/// Why nothing was said, in words.
fn words_of_silence<T>(answer: &ProbeAnswer<T>) -> String {
    match answer {
        ProbeAnswer::Said(_) => "no limit is told".to_owned(),
        ProbeAnswer::Missing => "404: not found there".to_owned(),
        ProbeAnswer::Failed(why) | ProbeAnswer::Refused(why) => why.clone(),
    }
}

#[cfg(test)]
mod tests;
