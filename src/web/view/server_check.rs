//! The check of a homeserver, from its name to its SFU, as pages and JSON show it.

use super::Stamp;
use crate::rtc::server_check::{CheckLine, CheckStep, StepState};
use crate::rtc::words::words;
use crate::store::ingest::probe_flips::ProbeFlip;
use crate::store::ingest::probes::{CheckResult, Probed};
use serde::Serialize;
use utoipa::ToSchema;

const HOUR_MS: i64 = 3_600_000;
/// Our own server is checked every hour, others every six: a check that is older than this says
/// nothing of now, ms.
const OWN_STALE_MS: i64 = 3 * HOUR_MS;
const OTHER_STALE_MS: i64 = 13 * HOUR_MS;

words! {
    /// Do calls work on a server, as far as its answers tell?
    pub enum CheckVerdict {
        /// Its client API and a token service answered, and nothing is broken.
        Ok = "ok",
        /// Something is: calls fail by it, or people vanish from them or stay as ghosts.
        Broken = "broken",
        /// It was not checked, or too long ago, or too little of it answered.
        Unknown = "unknown",
    }
}

/// One step of the check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CheckStepFacts {
    /// Which step it is, for example `delayed_events`.
    pub step: CheckStep,
    pub title: &'static str,
    /// `broken` (calls fail by it), `weak` (they work, and not as well as they could), `ok`, or
    /// `unknown` (it cannot be told).
    pub state: StepState,
    /// What was asked, and what came, in words.
    pub asked: String,
    pub came: String,
    /// When the step last changed; null if it has not changed since it is checked.
    pub since_ms: Option<i64>,
    pub since_at: Option<Stamp>,
    /// What it means if this step is not well.
    pub meaning: &'static str,
    /// What to set, by program; empty if the step is well.
    pub remedies: Vec<RemedyFacts>,
}

/// What to set in one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RemedyFacts {
    /// A program, or a file of it.
    pub program: &'static str,
    /// The lines to set.
    pub lines: &'static str,
}

/// A change of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FlipOfStep {
    pub step: String,
    pub title: &'static str,
    /// When the change was seen.
    pub at_ms: i64,
    pub at_at: Stamp,
    pub before: String,
    pub state: String,
    pub came: String,
}

impl CheckStepFacts {
    /// The step with what follows from its state. `flips` are the changes of all steps, the newest
    /// first.
    #[must_use]
    pub fn new(line: CheckLine, flips: &[FlipOfStep]) -> Self {
        let CheckLine {
            step,
            state,
            asked,
            came,
        } = line;
        let remedies = step.remedies().iter().map(|remedy| RemedyFacts {
            program: remedy.program,
            lines: remedy.lines,
        });
        let is_fault = matches!(state, StepState::Broken | StepState::Weak);
        let changed = flips.iter().find(|flip| flip.step == step.as_str());
        let since_ms = changed.map(|flip| flip.at_ms);

        Self {
            step,
            title: step.title(),
            state,
            asked,
            came,
            since_ms,
            since_at: since_ms.map(Stamp),
            meaning: step.meaning(),
            remedies: remedies.filter(|_| is_fault).collect(),
        }
    }

    /// Is it broken or weak?
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self.state, StepState::Broken | StepState::Weak)
    }

    /// The class and the icon of its state.
    #[must_use]
    pub fn look(&self) -> (&'static str, &'static str) {
        match self.state {
            StepState::Broken => ("bad", "cross"),
            StepState::Weak => ("warn", "alert"),
            StepState::Unknown => ("faint", "unknown"),
            StepState::Well => ("ok", "check"),
        }
    }

    /// Its state in a word for people.
    #[must_use]
    pub fn state_word(&self) -> &'static str {
        match self.state {
            StepState::Broken => "Broken",
            StepState::Weak => "Could be better",
            StepState::Unknown => "Cannot be told",
            StepState::Well => "OK",
        }
    }
}

impl From<ProbeFlip> for FlipOfStep {
    fn from(flip: ProbeFlip) -> Self {
        let step: Option<CheckStep> = flip.step.parse().ok();

        Self {
            title: step.map_or("", CheckStep::title),
            step: flip.step,
            at_ms: flip.at_ms,
            at_at: Stamp(flip.at_ms),
            before: flip.before,
            state: flip.state,
            came: flip.words,
        }
    }
}

/// Is this check too old to say something of `now`, ms?
#[must_use]
pub fn is_stale(check: &Probed<CheckResult>, now: i64) -> bool {
    let limit = if check.result.is_own {
        OWN_STALE_MS
    } else {
        OTHER_STALE_MS
    };

    now - check.asked_ms > limit
}

/// Do calls work, as of `now`, ms? What the rules of single rooms do counts for nothing: their
/// moderators decide that, not the server.
#[must_use]
pub fn verdict_of_check(check: Option<&Probed<CheckResult>>, now: i64) -> CheckVerdict {
    let Some(check) = check.filter(|check| !is_stale(check, now)) else {
        return CheckVerdict::Unknown;
    };

    let lines = &check.result.lines;
    let is_well = |step| {
        let mut of_step = lines.iter().filter(|line| line.step == step);
        of_step.any(|line| line.state == StepState::Well)
    };
    if lines.iter().any(|line| line.state == StepState::Broken) {
        CheckVerdict::Broken
    } else if is_well(CheckStep::ClientApi) && is_well(CheckStep::TokenService) {
        CheckVerdict::Ok
    } else {
        CheckVerdict::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(step: CheckStep, state: StepState) -> CheckLine {
        CheckLine {
            step,
            state,
            asked: String::new(),
            came: String::new(),
        }
    }

    fn line(state: StepState) -> CheckLine {
        line_of(CheckStep::Sfu, state)
    }

    fn verdict(is_own: bool, hours: i64, lines: &[CheckLine]) -> CheckVerdict {
        let check = Probed {
            asked_ms: 0,
            well_ms: None,
            result: CheckResult {
                is_own,
                lines: lines.to_vec(),
            },
        };

        verdict_of_check(Some(&check), hours * HOUR_MS)
    }

    #[test]
    fn an_old_check_says_nothing() {
        let broken = [line(StepState::Broken)];
        assert_eq!(verdict(true, 3, &broken), CheckVerdict::Broken);
        assert_eq!(verdict(true, 4, &broken), CheckVerdict::Unknown);
        assert_eq!(verdict(false, 13, &broken), CheckVerdict::Broken);
        assert_eq!(verdict(false, 14, &broken), CheckVerdict::Unknown);
        assert_eq!(verdict_of_check(None, 0), CheckVerdict::Unknown);
    }

    #[test]
    fn who_did_not_answer_is_not_well() {
        let api = line_of(CheckStep::ClientApi, StepState::Well);
        let tokens = line_of(CheckStep::TokenService, StepState::Well);
        let unknown = line(StepState::Unknown);
        let weak = line(StepState::Weak);
        let well = [api.clone(), tokens.clone(), unknown.clone(), weak.clone()];
        assert_eq!(verdict(false, 0, &well), CheckVerdict::Ok);
        assert_eq!(
            verdict(false, 0, &[api, unknown.clone()]),
            CheckVerdict::Unknown
        );
        assert_eq!(verdict(false, 0, &[unknown, weak]), CheckVerdict::Unknown);
    }

    #[test]
    fn remedies_stand_only_by_faults() {
        let facts = |state| CheckStepFacts::new(line(state), &[]);
        assert!(facts(StepState::Well).remedies.is_empty());
        assert!(!facts(StepState::Broken).remedies.is_empty());
        assert_eq!(facts(StepState::Weak).look(), ("warn", "alert"));
    }
}
