//! The features of a homeserver: versions, unstable features, its software, the transports it
//! offers.

use super::Client;
use super::error::Result;
use super::wire::one_line;
use serde_json::Value;
use std::time::Duration;

/// Timeout for name and version of the software, which are not essential.
const SOFTWARE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a homeserver says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Versions of the client-server API, for example `v1.11`.
    pub versions: Vec<String>,
    /// Delayed events (MSC4140): they let clients leave a call even after a crash.
    pub delayed_events: bool,
    /// Sticky events (MSC4354).
    pub sticky_events: bool,
    /// The endpoint of RTC transports (MSC4143).
    pub rtc_transports: bool,
    /// Name and version of the software, for example `Synapse 1.163.2`, if the homeserver's
    /// federation API answers here.
    pub software: Option<String>,
}

/// The limits of delayed events in `/capabilities` (MSC4140); `None` where it has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DelayedLimits {
    /// Maximum delay, ms.
    pub max_delay_ms: Option<i64>,
    /// Maximum number of scheduled events per user.
    pub max_scheduled: Option<i64>,
}

impl Client {
    /// The features of the homeserver. Unstable features may depend on the user, so the token is
    /// sent.
    ///
    /// # Errors
    /// As every request; an unknown software is no error.
    pub async fn versions(&self) -> Result<Capabilities> {
        let mut answer = self.get(&["_matrix", "client", "versions"]).send().await?;
        let versions = answer.take_list("versions")?;
        let feature = |msc: &str| {
            let features = answer.value.get("unstable_features");
            ["", ".stable"].iter().any(|suffix| {
                let flag =
                    features.and_then(|features| features.get(format!("org.matrix.{msc}{suffix}")));
                flag == Some(&Value::Bool(true))
            })
        };

        Ok(Capabilities {
            versions: versions
                .iter()
                .filter_map(Value::as_str)
                .map(|text| one_line(text, 40))
                .take(100)
                .collect(),
            delayed_events: feature("msc4140"),
            sticky_events: feature("msc4354"),
            rtc_transports: feature("msc4143"),
            software: self.software().await,
        })
    }

    /// The name and version of the homeserver's software. The federation API returns it; on many
    /// homeservers it is at the same address. `None` if it does not answer here.
    async fn software(&self) -> Option<String> {
        let parts = ["_matrix", "federation", "v1", "version"];
        let timeout = SOFTWARE_TIMEOUT.min(self.settings().request_timeout);
        let answer = self
            .get(&parts)
            .without_token()
            .within(timeout)
            .send()
            .await
            .ok()?;
        let text = |key: &str| {
            answer
                .value
                .get("server")?
                .get(key)?
                .as_str()
                .map(|text| one_line(text, 80))
        };

        let name = text("name")?;

        Some(text("version").map_or_else(|| name.clone(), |version| format!("{name} {version}")))
    }

    /// The limits of delayed events for our account, as the homeserver reports them.
    ///
    /// # Errors
    /// As every request; `is_unsupported` if it does not know the endpoint.
    pub async fn delayed_limits(&self) -> Result<DelayedLimits> {
        let parts = ["_matrix", "client", "v3", "capabilities"];
        let answer = self.get(&parts).send().await?;
        let capabilities = answer.value.get("capabilities");
        let number = |key: &str| {
            ["m.delayed_events", "org.matrix.msc4140.delayed_events"]
                .iter()
                .find_map(|name| capabilities?.get(*name)?.get(key)?.as_i64())
        };

        Ok(DelayedLimits {
            max_delay_ms: number("max_delay_ms"),
            max_scheduled: number("max_scheduled"),
        })
    }

    /// The RTC transports that our homeserver offers, raw, in order of preference. Empty when it
    /// has none or does not know the endpoint.
    ///
    /// # Errors
    /// As every request.
    pub async fn transports(&self) -> Result<Vec<Value>> {
        Ok(self.offered_transports().await?.unwrap_or_default())
    }

    /// Like [`Self::transports`]; `None` if it does not know the endpoint.
    ///
    /// # Errors
    /// As every request.
    pub async fn offered_transports(&self) -> Result<Option<Vec<Value>>> {
        let stable = ["_matrix", "client", "v1", "rtc", "transports"].as_slice();
        let unstable = [
            "_matrix",
            "client",
            "unstable",
            "org.matrix.msc4143",
            "rtc",
            "transports",
        ]
        .as_slice();
        for parts in [unstable, stable] {
            match self.get(parts).send().await {
                Err(error) if error.is_unsupported() => {}
                Err(error) => return Err(error),
                // Synapse leaves the list out if it has nothing to offer.
                Ok(mut answer) => {
                    let list = answer.take_list("rtc_transports");
                    return Ok(Some(list.unwrap_or_default()));
                }
            }
        }

        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Stub, json_reply, reply_of_type};
    use serde_json::json;

    #[tokio::test]
    async fn features_are_read_under_both_names_and_the_software_is_optional() {
        let features = json!({"org.matrix.msc4140": true, "org.matrix.msc4354.stable": true,
            "org.matrix.msc4143": "yes"});
        let versions = json!({"versions": ["v1.11", 3], "unstable_features": features});
        let stub = Stub::start(vec![
            json_reply(200, &versions),
            json_reply(
                200,
                &json!({"server": {"name": "Synapse", "version": "1.2\n3"}}),
            ),
            json_reply(200, &versions),
            reply_of_type(404, "text/html", "<h1>nothing here</h1>"),
            json_reply(200, &json!({})),
        ]);
        let client = stub.client();
        let found = client.versions().await.unwrap();
        assert_eq!(found.versions, ["v1.11"]);
        assert_eq!(
            (
                found.delayed_events,
                found.sticky_events,
                found.rtc_transports
            ),
            (true, true, false)
        );
        assert_eq!(found.software.as_deref(), Some("Synapse 1.2 3"));
        assert_eq!(client.versions().await.unwrap().software, None);
        assert!(client.versions().await.unwrap_err().is_transient());
    }

    #[tokio::test]
    async fn limits_of_delayed_events_are_read_under_both_names() {
        let stable = json!({"m.delayed_events": {"max_delay_ms": 600_000, "max_scheduled": 10},
            "org.matrix.msc4140.delayed_events": {"max_scheduled": 5}});
        let unstable =
            json!({"org.matrix.msc4140.delayed_events": {"max_scheduled": 100}, "m.other": 3});
        let stub = Stub::start(vec![
            json_reply(200, &json!({"capabilities": stable})),
            json_reply(200, &json!({"capabilities": unstable})),
            json_reply(200, &json!({})),
            json_reply(404, &json!({"errcode": "M_UNRECOGNIZED", "error": "x"})),
        ]);
        let client = stub.client();
        let limits = async || client.delayed_limits().await.unwrap();
        let of = |max_delay_ms, max_scheduled| super::DelayedLimits {
            max_delay_ms,
            max_scheduled,
        };

        assert_eq!(limits().await, of(Some(600_000), Some(10)));
        assert_eq!(limits().await, of(None, Some(100)));
        assert_eq!(limits().await, of(None, None));
        assert!(client.delayed_limits().await.unwrap_err().is_unsupported());
    }

    #[tokio::test]
    async fn no_transports_is_an_answer_in_every_form() {
        let unknown = json!({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"});
        let stub = Stub::start(vec![
            json_reply(200, &json!({})),
            json_reply(404, &unknown),
            reply_of_type(404, "text/plain", "no"),
            json_reply(404, &unknown),
            json_reply(200, &json!({"rtc_transports": [{"type": "livekit"}]})),
            json_reply(401, &json!({"errcode": "M_UNKNOWN_TOKEN", "error": "x"})),
        ]);
        let client = stub.client();
        assert!(client.transports().await.unwrap().is_empty());
        assert!(client.transports().await.unwrap().is_empty());
        assert_eq!(client.transports().await.unwrap().len(), 1);
        assert!(client.transports().await.unwrap_err().is_revoked());
    }
}
