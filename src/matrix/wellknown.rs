//! The information that a server publishes for clients: `/.well-known/matrix/client`.

use super::Client;
use super::error::Result;
use serde_json::Value;

/// The published names of the list of transports, the specified one first (MSC4158 and its drafts).
const FOCI: [&str; 3] = [
    "m.rtc_foci",
    "org.matrix.msc4158.rtc_foci",
    "org.matrix.msc4143.rtc_foci",
];

/// A client well-known document; everything in it is a claim.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WellKnown {
    /// `m.homeserver.base_url`.
    pub homeserver_url: Option<String>,
    /// The transports a server offers, raw, in order of preference.
    pub rtc_foci: Vec<Value>,
}

impl Client {
    /// The well-known document at the homeserver's own address. `None` if there is none: most
    /// homeservers publish it at their server name instead.
    ///
    /// # Errors
    /// As every request.
    pub async fn well_known(&self) -> Result<Option<WellKnown>> {
        let parts = [".well-known", "matrix", "client"];
        let answer = match self.get(&parts).without_token().send().await {
            Err(error) if error.status() == Some(404) => return Ok(None),
            other => other?,
        };

        let document = answer.object()?;
        let foci = FOCI.iter().find_map(|name| document.get(*name)?.as_array());
        let base = answer
            .value
            .pointer("/m.homeserver/base_url")
            .and_then(Value::as_str);

        Ok(Some(WellKnown {
            homeserver_url: base.map(ToOwned::to_owned),
            rtc_foci: foci.cloned().unwrap_or_default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Stub, json_reply, reply_of_type};
    use serde_json::json;

    #[tokio::test]
    async fn all_names_of_the_foci_are_read_and_no_token_is_sent() {
        let document = json!({
            "m.homeserver": {"base_url": "https://a.example"},
            "m.rtc_foci": "not a list",
            "org.matrix.msc4143.rtc_foci": [{"type": "livekit"}],
        });
        let stub = Stub::start(vec![
            json_reply(200, &document),
            reply_of_type(404, "text/html", "<h1>no</h1>"),
        ]);
        let client = stub.client();
        let found = client.well_known().await.unwrap().unwrap();
        assert_eq!(found.homeserver_url.as_deref(), Some("https://a.example"));
        assert_eq!(found.rtc_foci, [json!({"type": "livekit"})]);
        assert_eq!(client.well_known().await.unwrap(), None);
        assert!(!stub.requests()[0].to_lowercase().contains("authorization"));
    }
}
