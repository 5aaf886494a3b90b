//! The information that a server publishes for clients: `/.well-known/matrix/client`.

use super::Client;
use super::error::Result;
use serde_json::Value;
use url::Url;

/// The published names of the list of transports, the specified one first (MSC4158 and its drafts).
const FOCI: [&str; 3] = [
    "m.rtc_foci",
    "org.matrix.msc4158.rtc_foci",
    "org.matrix.msc4143.rtc_foci",
];

/// Maximum length of an address, bytes.
const ADDRESS_MAX: usize = 500;

/// A client well-known document; everything in it is a claim.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WellKnown {
    /// `m.homeserver.base_url`.
    pub homeserver_url: Option<String>,
    /// The transports a server offers, raw, in order of preference.
    pub rtc_foci: Vec<Value>,
}

/// The address of a client API as it can stand in a command for a terminal, without a slash at its
/// end; `None` if it is no web address, carries a user, or has a character with a meaning for a
/// shell.
#[must_use]
pub fn address_for_clients(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    let has_user = !url.username().is_empty() || url.password().is_some();
    let address = url.as_str().trim_end_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]".contains(&byte);

    (is_web && !has_user && address.len() <= ADDRESS_MAX && address.bytes().all(is_plain))
        .then(|| address.to_owned())
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
    use super::address_for_clients;
    use serde_json::json;

    #[test]
    fn an_address_in_a_command_has_no_meaning_for_a_shell() {
        for good in [
            "https://matrix.example.org",
            "http://127.0.0.1:8008",
            "https://[2001:db8::1]:8448/under/a-path",
        ] {
            assert_eq!(address_for_clients(good).as_deref(), Some(good));
            let slash = format!("{good}/");
            assert_eq!(address_for_clients(&slash).as_deref(), Some(good));
        }

        for bad in [
            "",
            "matrix.example.org",
            "ftp://a.example",
            "https://user@a.example",
            "https://a.example/'; rm -rf ~; '",
            "https://a.example/$(id)",
            "https://a.example/?a=b",
            "https://a.example/#b",
        ] {
            assert_eq!(address_for_clients(bad), None, "{bad}");
        }
    }

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
