//! One round of probes: who answered. If nobody did, our own network failed, which says nothing
//! about others.

use crate::rtc::transport::host_of_url;
use crate::store::ingest::probes::{AnswerState, RequestResult, ServerResult, SfuResult};
use std::collections::BTreeMap;

/// Fewer hosts than this may all be down at once.
const HOSTS_MIN: usize = 3;

/// The result of an SFU that waits until it is known whether anybody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldResult {
    pub url: String,
    pub result: SfuResult,
    /// When it was asked, ms.
    pub asked_ms: i64,
}

/// Who was asked in a round, and answered.
#[derive(Debug, Default)]
pub(super) struct ProbeRound {
    hosts: BTreeMap<String, bool>,
}

impl ProbeRound {
    /// Adds what a homeserver answered.
    pub(super) fn add_server(&mut self, name: &str, result: &ServerResult) {
        self.add_host(name, &[&result.well_known, &result.versions]);
    }

    /// Adds what the SFU of this address answered.
    pub(super) fn add_sfu(&mut self, url: &str, result: &SfuResult) {
        self.add_host(&host_of_url(url), &[&result.health]);
    }

    /// Adds a host to which these requests were made. What was refused was not asked; that
    /// something does not exist is an answer.
    fn add_host(&mut self, host: &str, requests: &[&RequestResult]) {
        let mut asked = requests
            .iter()
            .filter(|request| request.state != AnswerState::Refused)
            .peekable();
        if asked.peek().is_none() {
            return;
        }

        let answers = asked.any(|request| request.state != AnswerState::Failed);
        *self.hosts.entry(host.to_owned()).or_default() |= answers;
    }

    /// Did anybody answer but our own homeserver `own`? That one may stand beside us.
    pub(super) fn has_answer(&self, own: Option<&str>) -> bool {
        let mut others = self
            .hosts
            .iter()
            .filter(|(host, _)| Some(host.as_str()) != own);

        others.any(|(_, answers)| *answers)
    }

    /// Did our own network fail? Several others were asked and none answered; or none did, nor our
    /// own homeserver `own`, or the sync with it fails, too.
    pub(super) fn is_own_network_down(&self, own: Option<&str>, is_sync_failing: bool) -> bool {
        let own_answers = own.and_then(|own| self.hosts.get(own));
        let others = self.hosts.len() - usize::from(own_answers.is_some());
        let is_own_silent = own_answers == Some(&false);
        let are_many = self.hosts.len() >= HOSTS_MIN && (is_own_silent || is_sync_failing);

        !self.has_answer(own) && (others >= HOSTS_MIN || are_many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sfu_result(state: AnswerState) -> SfuResult {
        SfuResult {
            health: RequestResult { state, why: None },
            took_ms: None,
            delegates_leave: None,
            cors: None,
        }
    }

    fn server_result(state: AnswerState) -> ServerResult {
        let request = || RequestResult { state, why: None };
        ServerResult {
            well_known: request(),
            versions: request(),
            homeserver_url: None,
            sfus: Vec::new(),
            delayed_events: None,
            sticky_events: None,
            rtc_transports: None,
        }
    }

    fn round_with(servers: &[(&str, AnswerState)], sfus: &[(&str, AnswerState)]) -> ProbeRound {
        let mut round = ProbeRound::default();
        for (name, state) in servers {
            round.add_server(name, &server_result(*state));
        }
        for (url, state) in sfus {
            round.add_sfu(url, &sfu_result(*state));
        }

        round
    }

    #[test]
    fn a_round_in_which_nobody_answers_is_our_own_network() {
        use AnswerState::{Failed, Missing, Ok, Refused};
        let own = Some("own.example");
        let silent = round_with(
            &[("own.example", Failed), ("b.example", Failed)],
            &[("https://sfu.example/jwt", Failed)],
        );
        assert!(silent.is_own_network_down(own, false));
        assert!(silent.is_own_network_down(None, true), "sync fails");
        for state in [Ok, Missing] {
            let one = round_with(
                &[("own.example", Failed), ("b.example", Failed)],
                &[("https://sfu.example/jwt", state)],
            );
            assert!(!one.is_own_network_down(own, true), "{state} is an answer");
        }
        let few = round_with(
            &[("own.example", Failed), ("b.example", Refused)],
            &[
                ("https://sfu.example/a", Failed),
                ("https://sfu.example/b", Failed),
            ],
        );
        assert!(!few.is_own_network_down(own, true), "two hosts were asked");

        let far = [
            ("https://a.example", Failed),
            ("https://b.example", Failed),
            ("https://c.example", Failed),
        ];
        let beside_us = round_with(&[("own.example", Ok)], &far);
        assert!(beside_us.is_own_network_down(own, false), "only it answers");
        let beside_us = round_with(&[("own.example", Ok)], &far[..2]);
        assert!(
            !beside_us.is_own_network_down(own, false),
            "two may be down"
        );
    }
}
