//! Our own homeserver is asked regularly what it can do and what it offers for calls. The endpoint
//! of transports answers only signed-in users, so it says more than anything that is published.

use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix;
use crate::matrix::address_for_clients;
use crate::rtc::id::server_of;
use crate::rtc::transport::offered_urls;
use crate::store::ingest::probes::{self, AnswerState, OwnResult, RequestResult};
use crate::store::ingest::vantages;
use std::time::Duration;

const EVERY: Duration = Duration::from_hours(1);
/// The pause after a failed request.
const SOON: Duration = Duration::from_mins(2);
/// Maximum SFUs of a homeserver that are stored.
const SFUS_MAX: usize = 16;

impl Observer {
    /// Asks our homeserver at once and then every hour what it can do, for ever; after a failure
    /// sooner.
    pub(super) async fn keep_asking_our_server(&self) {
        loop {
            let wait = match self.ask_our_server().await {
                Ok(true) => EVERY,
                Ok(false) => SOON,
                Err(error) => {
                    tracing::error!(%error, "what our homeserver offers could not be stored");
                    SOON
                }
            };

            tokio::time::sleep(wait).await;
        }
    }

    /// Asks our homeserver for its versions, transports and limits, and stores the answers. Returns
    /// true if it answered everything, or said that it does not know an endpoint.
    async fn ask_our_server(&self) -> Result<bool, Error> {
        let versions = self.client.versions().await;
        let now = self.clock.now_ms();
        if let Ok(can) = &versions {
            let software = can.software.as_deref();
            let (delayed, sticky) = (can.delayed_events, can.sticky_events);
            vantages::set_capabilities(
                &self.store,
                &self.vantage_id,
                delayed,
                sticky,
                software,
                now,
            )
            .await?;
        }

        let (transports, offered) =
            answer_and_body(self.client.offered_transports().await.transpose());
        let (capabilities, limits) = answer_and_body(Some(self.client.delayed_limits().await));
        let limits = limits.unwrap_or_default();
        let is_whole = [&transports, &capabilities]
            .iter()
            .all(|answer| answer.state != AnswerState::Failed);
        let mut sfus = offered_urls(&offered.unwrap_or_default(), false);
        sfus.truncate(SFUS_MAX);
        let result = OwnResult {
            transports,
            sfus,
            capabilities,
            max_delay_ms: limits.max_delay_ms,
            max_scheduled: limits.max_scheduled,
            homeserver_url: self.published_address().await,
        };

        probes::record_result(&self.store, &self.vantage_id, &result, now).await?;
        self.changes.announce(Change::Observer);

        Ok(is_whole && versions.is_ok())
    }

    /// The address of our homeserver for everybody: the one that it publishes, else the one that we
    /// use, if its host is the server's name or below it. Others may be of an inner network.
    async fn published_address(&self) -> Option<String> {
        let published = match self.client.well_known().await {
            Ok(found) => found.and_then(|known| known.homeserver_url),
            Err(error) => {
                tracing::debug!(%error, "the well-known document of our homeserver is not known");
                None
            }
        };
        let own = &self.client.settings().homeserver_url;
        let server = self.client.user_id();
        let server = server.as_deref().map_or("", server_of);
        let is_public = own.host_str().is_some_and(|host| {
            host == server
                || host
                    .strip_suffix(server)
                    .is_some_and(|rest| rest.ends_with('.'))
        });
        let own = Some(own.to_string()).filter(|_| own.scheme() == "https" && is_public);

        published.or(own).as_deref().and_then(address_for_clients)
    }
}

/// The result of a request, and the answer if there is one. `None` instead of a request's result =
/// the homeserver does not know the endpoint.
fn answer_and_body<T>(asked: Option<Result<T, matrix::Error>>) -> (RequestResult, Option<T>) {
    let (state, why, said) = match asked {
        Some(Ok(said)) => (AnswerState::Ok, None, Some(said)),
        None => (AnswerState::Missing, None, None),
        Some(Err(error)) if error.is_unsupported() => (AnswerState::Missing, None, None),
        Some(Err(error)) => (AnswerState::Failed, Some(error.to_string()), None),
    };

    (RequestResult { state, why }, said)
}
