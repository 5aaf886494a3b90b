//! Results of probes: whether servers and SFUs are ready, as pages and JSON show them.

use super::Stamp;
use super::format as f;
use crate::rtc::transport::normalise_url;
use crate::store::ingest::probe_flips::{ProbeFlip, UNASKED};
use crate::store::ingest::probes::{AnswerState, Probed, RequestResult, ServerResult, SfuResult};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// A server, asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerProbeFacts {
    pub asked_ms: i64,
    pub asked_at: Stamp,
    /// When it last answered with its versions.
    pub well_ms: Option<i64>,
    pub well_at: Option<Stamp>,
    /// `/.well-known/matrix/client`, and the addresses in it: of the homeserver, and of its SFUs.
    pub well_known: RequestResult,
    pub homeserver_url: Option<String>,
    pub sfus: Vec<String>,
    /// `/_matrix/client/versions`, and what it says of delayed events (MSC4140), sticky events
    /// (MSC4354) and the endpoint of transports (MSC4143); null where it did not answer.
    pub versions: RequestResult,
    pub delayed_events: Option<bool>,
    pub sticky_events: Option<bool>,
    pub rtc_transports: Option<bool>,
    /// The addresses include those of the endpoint of transports.
    #[serde(skip)]
    pub is_offered: bool,
}

/// The result of probing an SFU's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SfuProbeFacts {
    pub asked_ms: i64,
    pub asked_at: Stamp,
    pub well_ms: Option<i64>,
    pub well_at: Option<Stamp>,
    pub health: RequestResult,
    /// How long it took to answer.
    pub took_ms: Option<i64>,
    /// Whether it takes over the goodbye of clients that lost their connection (delegated leave);
    /// null where that is not known.
    pub delegates_leave: Option<bool>,
}

/// How many of the servers of a period are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct ReadyFacts {
    pub asked: usize,
    /// Their client API answers.
    pub answer: usize,
    /// They publish at least one SFU.
    pub publish: usize,
    /// They report support for delayed events.
    pub delayed_events: usize,
}

impl ReadyFacts {
    /// Counts the results.
    #[must_use]
    pub fn count_probes<'a>(probes: impl Iterator<Item = &'a ServerProbeFacts>) -> Self {
        probes.fold(Self::default(), |count, probe| Self {
            asked: count.asked + 1,
            answer: count.answer + usize::from(probe.versions.is_ok()),
            publish: count.publish + usize::from(!probe.sfus.is_empty()),
            delayed_events: count.delayed_events + usize::from(probe.delayed_events == Some(true)),
        })
    }
}

/// An SFU that a server publishes or its people name, and its health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SfuOfServer {
    pub service_url: String,
    pub published: bool,
    /// By somebody of the server, in the period.
    pub named: bool,
    /// Null where it was not asked.
    pub probe: Option<SfuProbeFacts>,
}

impl SfuOfServer {
    /// All SFUs that the server publishes or its people name, each once, in order of address, with
    /// their health.
    #[must_use]
    pub fn all<'a>(
        published: &[String],
        named: impl Iterator<Item = &'a str>,
        mut probed: BTreeMap<String, Probed<SfuResult>>,
    ) -> Vec<Self> {
        let mut found: BTreeMap<String, (bool, bool)> = BTreeMap::new();
        for url in published {
            found.entry(normalise_url(url)).or_default().0 = true;
        }

        for url in named {
            found.entry(normalise_url(url)).or_default().1 = true;
        }

        let sfu = |(service_url, (published, named)): (String, (bool, bool))| {
            let probe = probed.remove(&service_url).map(SfuProbeFacts::from);
            Self {
                service_url,
                published,
                named,
                probe,
            }
        };

        found.into_iter().map(sfu).collect()
    }

    /// Whether the server, its people or both name this SFU, in words. `known` says that we know
    /// what the server publishes.
    #[must_use]
    pub fn said(&self, known: bool) -> &'static str {
        match (self.published, self.named) {
            (true, true) => "published, and named by its people",
            (true, false) => "published, and named by nobody in this period",
            _ if known => "named by its people, and not published",
            _ => "named by its people",
        }
    }
}

/// Differences between the SFUs that a server publishes and those that its people really name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DriftFacts {
    /// SFUs that it publishes and none of its people named in the period.
    pub published_only: Vec<String>,
    /// SFUs that its people named and that it does not publish.
    pub named_only: Vec<String>,
}

impl From<Probed<ServerResult>> for ServerProbeFacts {
    fn from(
        Probed {
            asked_ms,
            well_ms,
            result,
        }: Probed<ServerResult>,
    ) -> Self {
        Self {
            asked_ms,
            asked_at: Stamp(asked_ms),
            well_ms,
            well_at: well_ms.map(Stamp),
            well_known: result.well_known,
            homeserver_url: result.homeserver_url,
            sfus: result.sfus,
            versions: result.versions,
            delayed_events: result.delayed_events,
            sticky_events: result.sticky_events,
            rtc_transports: result.rtc_transports,
            is_offered: false,
        }
    }
}

impl From<Probed<SfuResult>> for SfuProbeFacts {
    fn from(
        Probed {
            asked_ms,
            well_ms,
            result,
        }: Probed<SfuResult>,
    ) -> Self {
        Self {
            asked_ms,
            asked_at: Stamp(asked_ms),
            well_ms,
            well_at: well_ms.map(Stamp),
            health: result.health,
            took_ms: result.took_ms,
            delegates_leave: result.delegates_leave,
        }
    }
}

impl RequestResult {
    /// The result of a request in words: `ok` if it was answered, `missing` if there is nothing,
    /// else what went wrong.
    pub(super) fn words(&self, ok: &str, missing: &str) -> String {
        let why = || {
            self.why
                .as_deref()
                .map(|why| format!(": {}", f::sanitize_line(why)))
                .unwrap_or_default()
        };

        match self.state {
            AnswerState::Ok => ok.to_owned(),
            AnswerState::Missing => missing.to_owned(),
            AnswerState::Refused => format!("Not asked{}", why()),
            AnswerState::Failed => format!("No good answer{}", why()),
        }
    }

    /// The class and the icon of the result.
    #[must_use]
    pub fn look(&self) -> (&'static str, &'static str) {
        match self.state {
            AnswerState::Ok => ("ok", "check"),
            AnswerState::Missing | AnswerState::Refused => ("faint", "unknown"),
            AnswerState::Failed => ("warn", "alert"),
        }
    }
}

impl ServerProbeFacts {
    /// What it publishes for clients, in words.
    #[must_use]
    pub fn published(&self) -> String {
        let ok = match self.sfus.len() {
            0 => "Names no SFU".to_owned(),
            count => format!("Names {}", f::count_with_noun(count, "SFU", "SFUs")),
        };

        self.well_known
            .words(&ok, "No well-known document, which is the older way")
    }

    /// Whether its client API answers, in words.
    #[must_use]
    pub fn answers(&self) -> String {
        self.versions.words("Answers", "Not at this address")
    }

    /// The class and the words of a summary in one line; problems come first.
    #[must_use]
    pub fn summary(&self) -> (&'static str, String) {
        match (self.well_known.state, self.versions.state) {
            (AnswerState::Refused, _) => ("", self.published()),
            (AnswerState::Failed, AnswerState::Ok) => {
                ("warn", format!("Well-known document: {}", self.published()))
            }
            (_, AnswerState::Ok) => (
                "",
                format!("{}; {}", self.published(), self.delayed().to_lowercase()),
            ),
            _ => ("warn", format!("Client API: {}", self.answers())),
        }
    }

    /// When everything last worked, ms; `None` if it does now, or never did.
    #[must_use]
    pub fn well_before(&self) -> Option<i64> {
        self.well_ms.filter(|ms| *ms != self.asked_ms)
    }

    /// Whether it reports support for delayed events, in words.
    #[must_use]
    pub fn delayed(&self) -> &'static str {
        match self.delayed_events {
            Some(true) => "Has delayed events",
            Some(false) => "No delayed events",
            None => "Delayed events not known",
        }
    }

    /// Adds the SFUs that the homeserver offers to signed-in users to the published ones.
    pub fn offer(&mut self, sfus: &[String]) {
        for url in sfus {
            if !self.sfus.contains(url) {
                self.sfus.push(url.clone());
            }
        }

        self.is_offered = true;
    }

    /// The differences between the SFUs that it publishes and those that its people named; `None`
    /// if it could not be asked.
    #[must_use]
    pub fn drift<'a>(&self, named: impl Iterator<Item = &'a str>) -> Option<DriftFacts> {
        if !self.well_known.is_ok() && !self.is_offered {
            return None;
        }

        let published: BTreeSet<String> = self.sfus.iter().map(|url| normalise_url(url)).collect();
        let named: BTreeSet<String> = named.map(normalise_url).collect();

        Some(DriftFacts {
            published_only: published.difference(&named).cloned().collect(),
            named_only: named.difference(&published).cloned().collect(),
        })
    }
}

impl SfuProbeFacts {
    /// Whether the SFU answers and how fast, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let ok = self.took_ms.map_or("Answers".to_owned(), |ms| {
            format!("Answers in {}", super::precise_duration(ms))
        });
        let ok = match self.delegates_leave {
            Some(true) => format!("{ok}, and sends the delayed leave for lost clients"),
            _ => ok,
        };

        self.health.words(&ok, "Nothing at this address")
    }
}

/// What changed at a probe, in words.
#[must_use]
pub fn words_of_flip(flip: &ProbeFlip) -> String {
    if flip.before == UNASKED {
        "No answer since it was first asked".to_owned()
    } else {
        format!("{} → {}", flip.before, flip.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(state: AnswerState, sfus: &[&str]) -> ServerProbeFacts {
        let answer = |why: Option<&str>| RequestResult {
            state,
            why: why.map(ToOwned::to_owned),
        };

        let result = ServerResult {
            well_known: answer(Some("it answered 500")),
            versions: answer(None),
            homeserver_url: None,
            sfus: sfus.iter().map(|url| (*url).to_owned()).collect(),
            delayed_events: None,
            sticky_events: None,
            rtc_transports: None,
        };

        Probed {
            asked_ms: 5,
            well_ms: None,
            result,
        }
        .into()
    }

    #[test]
    fn drift_is_what_only_one_side_says() {
        let server = asked(
            AnswerState::Ok,
            &["https://a.example/jwt", "https://b.example/"],
        );
        let drift = server
            .drift(["https://B.example", "https://c.example"].into_iter())
            .unwrap();
        assert_eq!(
            (drift.published_only, drift.named_only),
            (
                vec!["https://a.example/jwt".to_owned()],
                vec!["https://c.example".to_owned()]
            )
        );
        assert_eq!(
            asked(AnswerState::Failed, &[]).drift(std::iter::empty()),
            None,
            "not known is no drift"
        );
    }

    #[test]
    fn each_answer_has_its_words() {
        assert_eq!(
            asked(AnswerState::Ok, &["https://a.example"]).published(),
            "Names 1 SFU"
        );
        assert_eq!(
            asked(AnswerState::Missing, &[]).published(),
            "No well-known document, which is the older way"
        );
        assert_eq!(
            asked(AnswerState::Failed, &[]).published(),
            "No good answer: it answered 500"
        );
        assert_eq!(asked(AnswerState::Refused, &[]).answers(), "Not asked");
        assert_eq!(
            asked(AnswerState::Failed, &[]).summary(),
            ("warn", "Client API: No good answer".to_owned())
        );
        assert_eq!(
            asked(AnswerState::Ok, &[]).summary(),
            ("", "Names no SFU; delayed events not known".to_owned())
        );
        let all = [
            asked(AnswerState::Ok, &["https://a.example"]),
            asked(AnswerState::Failed, &[]),
        ];
        assert_eq!(
            ReadyFacts::count_probes(all.iter()),
            ReadyFacts {
                asked: 2,
                answer: 1,
                publish: 1,
                delayed_events: 0
            }
        );
    }
}
