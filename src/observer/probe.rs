//! Probes: asks other servers and SFUs by a schedule whether they are ready, if the operator
//! enabled it.
//!
//! Strangers determine whom we ask. So each is asked at most once per hour, one after the other
//! with a pause, only a few addresses of one host, and a limited number per round.
//! [`matrix::probe`] decides which addresses are allowed at all.

use super::error_state::Work;
use super::probe_round::{HeldResult, ProbeRound};
use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix::probe::Prober;
use crate::rtc::id::server_of;
use crate::rtc::probe_answer::ProbeAnswer;
use crate::rtc::server_check::{ServerAnswers, SfuAnswers};
use crate::rtc::support::Support;
use crate::rtc::time::DAY_MS;
use crate::store::ingest::probes::{
    self, AnswerState, CheckResult, OwnResult, RequestResult, ServerResult, SfuResult,
    SupportResult,
};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use url::Url;

/// Servers seen in a call within this time, ms, are asked. Results that are three times as old are
/// deleted.
const SEEN_MS: i64 = 30 * DAY_MS;
/// Minimum time between two probes of the same server, ms.
const AGAIN_MS: i64 = 3_600_000;
/// Maximum time for all questions to one server, so that slow ones do not keep the others waiting.
const SERVER_LONGEST: Duration = Duration::from_mins(1);
/// Pause between two probes.
const BREATH: Duration = Duration::from_millis(250);
/// Pause after a round in which nothing was asked.
const SOON: Duration = Duration::from_mins(10);
/// Pause after a round whose results could not be stored.
const UNSTORED: Duration = Duration::from_secs(5);
/// Maximum per round.
const SERVERS_MAX: i64 = 300;
const SFUS_MAX: usize = 200;
/// Maximum addresses considered, of which a few of each host are asked.
const SFUS_SEEN_MAX: i64 = 5000;
const PER_HOST_MAX: usize = 4;

/// The settings of probing.
#[derive(Debug, Clone)]
pub struct ProbeSettings {
    /// Cron expression with seconds.
    pub schedule: String,
    pub prober: Prober,
}

impl Observer {
    /// Probes servers and SFUs at the start and by the schedule, for ever; never if it is disabled.
    pub(super) async fn probes(&self) {
        let Some(probe) = &self.settings.probe else {
            return;
        };

        loop {
            let asked = self.probe_once(&probe.prober).await;
            match &asked {
                Ok(_) => self.succeeded(Work::Probe).await,
                Err(error) => {
                    self.failed(Work::Probe, "asking servers and SFUs", error)
                        .await;
                }
            }

            self.changes.announce(Change::Observer);
            let is_unstored = matches!(&asked, Err(Error::Store(_)));
            if asked.is_ok_and(|asked| asked > 0) {
                self.probe_due.notified().await;
            } else {
                // There is nobody to ask yet, or it failed: try sooner than the schedule says. A
                // failed write is tried again soon, because until then every page says that nothing
                // can be stored.
                let pause = if is_unstored { UNSTORED } else { SOON };
                let _ = tokio::time::timeout(pause, self.probe_due.notified()).await;
            }
        }
    }

    /// Runs one round of probes, and stores each result. Returns how many were asked.
    async fn probe_once(&self, prober: &Prober) -> Result<usize, Error> {
        let now = self.clock.now_ms();
        // Seen in a call since then, and not asked since then.
        let (seen, asked) = (now - SEEN_MS, now - AGAIN_MS);
        let servers = probes::list_due_servers(&self.store, seen, asked, SERVERS_MAX).await?;
        let mut sfus =
            few_of_each_host(probes::list_due_sfus(&self.store, seen, asked, SFUS_SEEN_MAX).await?);
        let mut count = servers.len();
        let mut answers_of_sfus = self.recent_answers_of_sfus(asked).await?;
        let mut round = ProbeRound::default();
        for name in servers {
            let result = self
                .check_server(prober, &name, &mut answers_of_sfus)
                .await?;
            probes::record_result(&self.store, &name, &result, self.clock.now_ms()).await?;
            round.add_server(&name, &result);
            for url in result.sfus {
                if !sfus.contains(&url) && !probes::was_asked(&self.store, &url, asked).await? {
                    sfus.push(url);
                }
            }

            tokio::time::sleep(BREATH).await;
        }

        // The SFUs that our own homeserver offers come first.
        let own = probes::newest_results::<OwnResult>(&self.store).await?;
        for url in own.into_values().flat_map(|own| own.result.sfus) {
            if !sfus.contains(&url) && !probes::was_asked(&self.store, &url, asked).await? {
                sfus.insert(0, url);
            }
        }

        let own_id = self.client.user_id();
        let own_name = own_id.as_deref().map(server_of);
        let sfus = few_of_each_host(sfus);
        let mut held: Vec<HeldResult> = Vec::new();
        for url in sfus.into_iter().take(SFUS_MAX) {
            let result = match answers_of_sfus.get(&url) {
                Some(answers) => SfuResult {
                    cors: answers.cors,
                    ..sfu_result(answers.health.clone(), answers.delegates_leave)
                },
                None => ask_sfu(prober, &url).await,
            };
            round.add_sfu(&url, &result);
            held.push(HeldResult {
                url,
                result,
                asked_ms: self.clock.now_ms(),
            });
            if round.has_answer(own_name) {
                self.store_held(&mut held).await?;
            }

            count += 1;
            tokio::time::sleep(BREATH).await;
        }

        let is_sync_failing = self.is_failing(Work::Sync).await;
        if round.is_own_network_down(own_name, is_sync_failing) {
            tracing::warn!(
                count,
                "no other host answered, so our own network may be down: nothing is stored about \
                 SFUs"
            );
        } else {
            self.store_held(&mut held).await?;
        }

        probes::delete_old_results(&self.store, now - 3 * SEEN_MS).await?;
        if count > 0 {
            tracing::info!(count, "asked servers and SFUs whether they are ready");
        }

        Ok(count)
    }
}

impl Observer {
    /// Stores the results of SFUs that waited, and empties the list.
    async fn store_held(&self, held: &mut Vec<HeldResult>) -> Result<(), Error> {
        for one in held.drain(..) {
            probes::record_result(&self.store, &one.url, &one.result, one.asked_ms).await?;
        }

        Ok(())
    }

    /// The answers of the SFUs that were asked after `asked`, ms, by address: they are not asked
    /// again for each server that names them.
    async fn recent_answers_of_sfus(
        &self,
        asked: i64,
    ) -> Result<BTreeMap<String, SfuAnswers>, Error> {
        let stored = probes::newest_results::<SfuResult>(&self.store).await?;
        let recent = stored.into_iter().filter(|(_, sfu)| sfu.asked_ms > asked);

        Ok(recent
            .map(|(url, sfu)| (url.clone(), answers_of_result(url, &sfu.result)))
            .collect())
    }

    /// Checks a server from its name to its SFU, as everybody may, and stores the report; our own
    /// server is checked apart from the others, with our account.
    async fn check_server(
        &self,
        prober: &Prober,
        name: &str,
        sfus: &mut BTreeMap<String, SfuAnswers>,
    ) -> Result<ServerResult, Error> {
        let now = || self.clock.now_ms();
        let asked = prober.ask_server(name, None, None, sfus, &now);
        let Ok(answers) = tokio::time::timeout(SERVER_LONGEST, asked).await else {
            return Ok(silent_server());
        };

        let is_own = self
            .client
            .user_id()
            .is_some_and(|user_id| server_of(&user_id) == name);
        if !(is_own && self.settings.check_own_server) {
            let result = CheckResult {
                is_own: false,
                lines: answers.check_lines(),
            };
            probes::record_result(&self.store, name, &result, now()).await?;
            let asked = prober.ask_support(name, None);
            if let Ok(support) = tokio::time::timeout(SERVER_LONGEST, asked).await {
                self.record_support(name, support).await?;
            }
        }

        Ok(server_result(&answers))
    }
}

impl Observer {
    /// Stores whom to tell about a server.
    pub(super) async fn record_support(
        &self,
        server: &str,
        answer: ProbeAnswer<Support>,
    ) -> Result<(), Error> {
        let result = SupportResult {
            said: answer.said().cloned().unwrap_or_default(),
            answer: probe_answer(answer),
        };
        probes::record_result(&self.store, server, &result, self.clock.now_ms()).await?;

        Ok(())
    }
}

/// The result of a server that took too long.
fn silent_server() -> ServerResult {
    let too_slow = || RequestResult {
        state: AnswerState::Failed,
        why: Some("it took too long".to_owned()),
    };

    ServerResult {
        well_known: too_slow(),
        versions: too_slow(),
        homeserver_url: None,
        sfus: Vec::new(),
        delayed_events: None,
        sticky_events: None,
        rtc_transports: None,
    }
}

/// The addresses, at most [`PER_HOST_MAX`] of one host: a stranger who names a thousand addresses
/// of one host must not cause a thousand requests to it.
fn few_of_each_host(urls: Vec<String>) -> Vec<String> {
    let mut hosts: HashMap<String, usize> = HashMap::new();
    let host = |url: &String| {
        Url::parse(url)
            .ok()
            .and_then(|url| url.host_str().map(ToOwned::to_owned))
    };

    let mut is_one_of_few = |url: &String| {
        let known = hosts.entry(host(url).unwrap_or_default()).or_default();
        *known += 1;
        *known <= PER_HOST_MAX
    };

    urls.into_iter().filter(|url| is_one_of_few(url)).collect()
}

/// The result of probing a server as it is stored. A feature is `None` if the versions are not
/// known.
fn server_result(server: &ServerAnswers) -> ServerResult {
    let published = server.published.answer.said().cloned().unwrap_or_default();
    let features = server.versions.answer.said();

    ServerResult {
        well_known: probe_answer(server.published.answer.clone()),
        versions: probe_answer(server.versions.answer.clone()),
        homeserver_url: published.homeserver_url,
        sfus: published.sfus,
        delayed_events: features.map(|features| features.delayed_events),
        sticky_events: features.map(|features| features.sticky_events),
        rtc_transports: features.map(|features| features.rtc_transports),
    }
}

/// Asks an SFU.
async fn ask_sfu(prober: &Prober, url: &str) -> SfuResult {
    let health = prober.sfu(url).await.health;
    let delegates_leave = match &health {
        ProbeAnswer::Said(_) => prober.delegates(url).await,
        _ => None,
    };

    sfu_result(health, delegates_leave)
}

/// The result of probing an SFU as it is stored.
fn sfu_result(health: ProbeAnswer<u64>, delegates_leave: Option<bool>) -> SfuResult {
    let took_ms = health.said().and_then(|ms| i64::try_from(*ms).ok());

    SfuResult {
        health: probe_answer(health),
        took_ms,
        delegates_leave,
        cors: None,
    }
}

/// What is stored of an SFU, as an answer.
fn answers_of_result(service_url: String, stored: &SfuResult) -> SfuAnswers {
    let not_asked = || "only an account of the server may ask".to_owned();
    let why = stored.health.why.clone().unwrap_or_default();
    let health = match stored.health.state {
        AnswerState::Ok => {
            let took_ms = stored.took_ms.and_then(|ms| u64::try_from(ms).ok());
            ProbeAnswer::Said(took_ms.unwrap_or_default())
        }
        AnswerState::Missing => ProbeAnswer::Missing,
        AnswerState::Failed => ProbeAnswer::Failed(why),
        AnswerState::Refused => ProbeAnswer::Refused(why),
    };

    SfuAnswers {
        service_url,
        health,
        cors: stored.cors,
        token: ProbeAnswer::Refused(not_asked()),
        socket: ProbeAnswer::Refused(not_asked()),
        delegates_leave: stored.delegates_leave,
    }
}

/// How a request of a probe ended, and why it failed, without the answer itself.
fn probe_answer<T>(asked: ProbeAnswer<T>) -> RequestResult {
    let (state, why) = match asked {
        ProbeAnswer::Said(_) => (AnswerState::Ok, None),
        ProbeAnswer::Missing => (AnswerState::Missing, None),
        ProbeAnswer::Failed(why) => (AnswerState::Failed, Some(why)),
        ProbeAnswer::Refused(why) => (AnswerState::Refused, Some(why)),
    };

    RequestResult { state, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_not_asked_a_thousand_times() {
        let urls =
            (0..1000).map(|index| format!("https://victim.example:{}/{index}", 8000 + index % 7));
        let urls: Vec<String> = urls.chain(["https://other.example".to_owned()]).collect();
        let few = few_of_each_host(urls);
        assert_eq!(few.len(), PER_HOST_MAX + 1);
        assert_eq!(few.last().unwrap(), "https://other.example");
    }
}
