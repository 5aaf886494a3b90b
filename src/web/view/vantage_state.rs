//! What an account of Callscope does now, in an admin's words: the same on all pages.

use super::VantageFacts;
use super::format::WholeNumber;
use crate::rtc::present::SILENT_MS;

/// The state of one account, or of all together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VantageState {
    /// `ok`, or `warn` if somebody should look.
    pub class: &'static str,
    pub icon: &'static str,
    pub words: &'static str,
    /// Since when, ms; if all is well, when the last answer came.
    pub ms: Option<i64>,
}

impl VantageState {
    /// Nothing has been received yet, at least not by this process.
    pub const STARTING: Self = Self {
        class: "warn",
        icon: "clock",
        words: "Starting",
        ms: None,
    };

    /// A state that somebody should look at.
    #[must_use]
    pub const fn trouble(words: &'static str, since_ms: Option<i64>) -> Self {
        Self {
            class: "warn",
            icon: "alert",
            words,
            ms: since_ms,
        }
    }

    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.class == "ok"
    }
}

/// What an account does, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    Failing,
    Starting,
    Silent,
    WithErrors,
    Working,
}

impl VantageFacts {
    /// What this account does now, in words.
    #[must_use]
    pub fn state(&self, now_ms: impl WholeNumber) -> VantageState {
        match self.doing(now_ms.whole()) {
            Doing::Failing => VantageState::trouble(self.failing(), self.unheard_since_ms),
            Doing::Starting => VantageState::STARTING,
            Doing::Silent => VantageState::trouble("No answer", self.heard_ms()),
            Doing::WithErrors if self.follows() => {
                VantageState::trouble("Syncing, with errors", self.error_since_ms)
            }
            Doing::WithErrors => VantageState::trouble("Polling, with errors", self.error_since_ms),
            Doing::Working => VantageState {
                class: "ok",
                icon: "check",
                words: if self.follows() { "Syncing" } else { "Polling" },
                ms: self.answered_ms(),
            },
        }
    }

    fn doing(&self, now: i64) -> Doing {
        if self.unheard_since_ms.is_some() {
            Doing::Failing
        } else if self.first_sync_ms.is_none() || self.is_starting(now) {
            Doing::Starting
        } else if self.is_silent(now) {
            Doing::Silent
        } else if self.error.is_some() {
            Doing::WithErrors
        } else {
            Doing::Working
        }
    }

    /// Did its process start a moment ago, and has not been answered yet?
    fn is_starting(&self, now: i64) -> bool {
        !self.is_heard_since_start() && now.saturating_sub(self.started_ms) <= SILENT_MS
    }

    /// The words for what fails if the present is not known. Sync may go on while polls fail.
    fn failing(&self) -> &'static str {
        let syncs = self.last_sync_ms > self.unheard_since_ms;
        match self.heard_ms() {
            None => "Not connected",
            Some(_) if self.follows() && !syncs => "Sync failing",
            Some(_) => "Polls failing",
        }
    }

    /// When what it mainly does was last answered, ms: its sync, or its polls.
    fn answered_ms(&self) -> Option<i64> {
        if self.follows() {
            self.last_sync_ms
        } else {
            self.last_poll_ms
        }
    }
}

/// The state of all accounts together: that of the worst. If all is well, its time is that of the
/// account whose last answer is the oldest.
#[must_use]
pub fn state_of_accounts(vantages: &[VantageFacts], now: i64) -> VantageState {
    let worst = vantages
        .iter()
        .min_by_key(|vantage| (vantage.doing(now), vantage.answered_ms()));

    worst.map_or(VantageState::STARTING, |vantage| vantage.state(now))
}
