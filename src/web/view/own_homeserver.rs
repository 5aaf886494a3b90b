//! The features of our own homeserver for calls, as pages and JSON show them.

use super::Stamp;
use super::format as f;
use crate::store::ingest::probes::{OwnResult, Probed, RequestResult};
use serde::Serialize;
use utoipa::ToSchema;

/// A client that leaves its goodbye to the SFU asks for this delay, ms.
const DELEGATED_MS: i64 = HOUR_MS;
const HOUR_MS: i64 = 3_600_000;

/// The answers of our own homeserver to the observing account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OwnFacts {
    pub asked_ms: i64,
    pub asked_at: Stamp,
    /// The endpoint of transports (MSC4143), which answers only signed-in users, and the SFUs that
    /// it offers. If it answers, clients use it; the well-known document is the older way.
    pub transports: RequestResult,
    pub sfus: Vec<String>,
    /// `/capabilities`, and its limits of delayed events (MSC4140): the longest delay, and how many
    /// one user may have scheduled at a time; null where it does not say.
    pub capabilities: RequestResult,
    pub max_delay_ms: Option<i64>,
    pub max_scheduled: Option<i64>,
    /// Whether a client may leave its goodbye to the SFU, which takes a delay of an hour; null
    /// where no limit is told.
    pub delegated_leave_possible: Option<bool>,
}

impl From<Probed<OwnResult>> for OwnFacts {
    fn from(probed: Probed<OwnResult>) -> Self {
        let result = probed.result;
        Self {
            asked_ms: probed.asked_ms,
            asked_at: Stamp(probed.asked_ms),
            transports: result.transports,
            sfus: result.sfus,
            capabilities: result.capabilities,
            max_delay_ms: result.max_delay_ms,
            max_scheduled: result.max_scheduled,
            delegated_leave_possible: result.max_delay_ms.map(|longest| longest >= DELEGATED_MS),
        }
    }
}

impl OwnFacts {
    /// The offered transports, in words.
    #[must_use]
    pub fn offers(&self) -> String {
        let ok = match self.sfus.len() {
            0 => "Offers no SFU to those who are signed in".to_owned(),
            count => format!(
                "Offers {} to those who are signed in",
                f::count_with_noun(count, "SFU", "SFUs")
            ),
        };

        let missing = "Has no endpoint of transports (MSC4143): clients go by the well-known \
                       document or their configuration";

        self.transports.words(&ok, missing)
    }

    /// The limits of delayed events, in words; empty if none is stated.
    #[must_use]
    pub fn limits(&self) -> String {
        let delay = self
            .max_delay_ms
            .map(|longest| format!("up to {}", delay_words(longest)));
        let scheduled = self
            .max_scheduled
            .map(|most| format!("at most {} at a time for each user", f::group_digits(most)));
        let limits: Vec<String> = delay.into_iter().chain(scheduled).collect();

        limits.join(", ")
    }

    /// What the limits mean for goodbyes delegated to the SFU, in words; `None` if no limit is
    /// told.
    #[must_use]
    pub fn delegation(&self) -> Option<&'static str> {
        self.delegated_leave_possible.map(|possible| {
            if possible {
                "the SFU may send the delayed leave of a client (1 h)"
            } else {
                "too short for a delayed leave that the SFU sends (1 h): who asks for that and is \
                 lost stays until expiry"
            }
        })
    }
}

/// A delay in words; whole hours are written as hours.
fn delay_words(ms: i64) -> String {
    if ms >= HOUR_MS && ms % HOUR_MS == 0 {
        format!("{} h", ms / HOUR_MS)
    } else {
        f::ended_duration(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ingest::probes::AnswerState;

    fn own(state: AnswerState, sfus: usize, max_delay_ms: Option<i64>) -> OwnFacts {
        let answer = || RequestResult { state, why: None };

        let result = OwnResult {
            transports: answer(),
            sfus: (0..sfus)
                .map(|n| format!("https://sfu{n}.example"))
                .collect(),
            capabilities: answer(),
            max_delay_ms,
            max_scheduled: max_delay_ms.map(|_| 100),
            homeserver_url: None,
        };

        let (asked_ms, well_ms) = (5, None);

        Probed {
            asked_ms,
            well_ms,
            result,
        }
        .into()
    }

    #[test]
    fn what_it_offers_has_words() {
        assert_eq!(
            own(AnswerState::Ok, 2, None).offers(),
            "Offers 2 SFUs to those who are signed in"
        );
        assert!(
            own(AnswerState::Missing, 0, None)
                .offers()
                .contains("MSC4143")
        );
        let day = own(AnswerState::Ok, 0, Some(86_400_000));
        assert_eq!(
            day.limits(),
            "up to 24 h, at most 100 at a time for each user"
        );
        assert_eq!(day.delegated_leave_possible, Some(true));
        let short = own(AnswerState::Ok, 0, Some(600_000));
        assert!(short.delegation().unwrap().starts_with("too short"));
        let silent = own(AnswerState::Ok, 0, None);
        assert_eq!(
            (silent.limits(), silent.delegation()),
            (String::new(), None)
        );
    }
}
