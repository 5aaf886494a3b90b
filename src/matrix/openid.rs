//! Whose token of the widget API it is: asked of the homeserver that is said to have given it,
//! found by its name, with the guard of the probes. SRV records are not asked for.

use super::Client;
use super::error::Result;
use super::probe::{ProbeAnswer, ProbeFault, Prober};
use ruma::{OwnedServerName, ServerName};
use serde_json::{Value, json};

/// The port of servers that name no other.
const PORT: u16 = 8448;

/// Who owns a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOwner {
    /// This Matrix id, as the server says.
    User(String),
    /// The server does not know the token, or must not be asked; in words.
    NotGood(String),
    /// The server does not answer; in words.
    NoAnswer(String),
}

impl Client {
    /// A token that tells others who we are, as the homeserver gives it (`access_token`,
    /// `token_type`, `matrix_server_name`, `expires_in`).
    ///
    /// # Errors
    /// As every request.
    pub async fn request_openid_token(&self, user_id: &str) -> Result<Value> {
        let parts = [
            "_matrix",
            "client",
            "v3",
            "user",
            user_id,
            "openid",
            "request_token",
        ];

        Ok(self.post(&parts, json!({})).send().await?.value)
    }
}

impl Prober {
    /// The owner of a token, as this homeserver says.
    pub async fn owner_of_token(&self, server: &str, token: &str) -> TokenOwner {
        let Ok(name) = ServerName::parse(server) else {
            return TokenOwner::NotGood("it is not the name of a server".to_owned());
        };

        let base = self.federation_base(&name).await;
        let path = "_matrix/federation/v1/openid/userinfo";
        match self.ask_by_secret(&base, path, "access_token", token).await {
            Ok((status, body)) if status.is_success() => read_owner(&body),
            Ok((status, _)) => TokenOwner::NotGood(format!("its server answered {status}")),
            Err(ProbeFault::Refused(why)) => TokenOwner::NotGood(why),
            Err(ProbeFault::Failed(why)) => TokenOwner::NoAnswer(why),
        }
    }

    /// The address of a server for other servers, by its name.
    async fn federation_base(&self, name: &ServerName) -> String {
        match self.delegated_name(name).await {
            ProbeAnswer::Said(delegated) => base_of(&delegated),
            _ => base_of(name),
        }
    }

    /// The name to which a server delegates its federation API by its well-known document. A name
    /// with a port, or an address, has none.
    pub(super) async fn delegated_name(&self, name: &ServerName) -> ProbeAnswer<OwnedServerName> {
        if name.port().is_some() || name.is_ip_literal() {
            return ProbeAnswer::Missing;
        }

        let root = format!("https://{}", name.host());
        self.get_well_known(&root, ".well-known/matrix/server")
            .await
            .and_then(|json| match read_delegated(&json) {
                Some(name) => ProbeAnswer::Said(name),
                None => ProbeAnswer::Failed("its document names no server".to_owned()),
            })
    }
}

/// The address at this name, with the usual port if it has none.
pub(super) fn base_of(name: &ServerName) -> String {
    format!("https://{}:{}", name.host(), name.port().unwrap_or(PORT))
}

/// The server that a well-known document for servers names.
fn read_delegated(json: &Value) -> Option<OwnedServerName> {
    let name = json.get("m.server")?.as_str()?;
    ServerName::parse(name).ok()
}

/// The owner in an answer.
fn read_owner(body: &[u8]) -> TokenOwner {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    match json.get("sub").and_then(Value::as_str) {
        Some(user_id) if ruma::UserId::parse(user_id).is_ok() => {
            TokenOwner::User(user_id.to_owned())
        }
        _ => TokenOwner::NotGood("its server names no user".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Stub, json_reply};
    use super::*;

    fn towards(stub: &Stub) -> Prober {
        Prober::towards(stub.url.strip_prefix("http://").unwrap().parse().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_server_is_found_by_its_document_and_names_the_owner() {
        let stub = Stub::start(vec![
            json_reply(200, &json!({"m.server": "matrix.a.example:443"})),
            json_reply(200, &json!({"sub": "@u:a.example"})),
            json_reply(200, &json!({"sub": "@u:b.example:8449"})),
            json_reply(401, &json!({"errcode": "M_UNKNOWN_TOKEN"})),
            json_reply(200, &json!({"sub": 7})),
        ]);
        let prober = towards(&stub);
        let owner = prober.owner_of_token("a.example", "se/cr&et").await;
        assert_eq!(owner, TokenOwner::User("@u:a.example".to_owned()));
        let owner = prober.owner_of_token("b.example:8449", "t").await;
        assert_eq!(owner, TokenOwner::User("@u:b.example:8449".to_owned()));
        for _ in 0..2 {
            let owner = prober.owner_of_token("b.example:8449", "t").await;
            assert!(matches!(owner, TokenOwner::NotGood(_)), "{owner:?}");
        }

        let asked = stub.requests();
        assert!(asked[0].starts_with("GET /.well-known/matrix/server HTTP"));
        let path = "GET /_matrix/federation/v1/openid/userinfo?access_token=";
        assert!(
            asked[1].starts_with(&format!("{path}se%2Fcr%26et HTTP")),
            "{}",
            asked[1]
        );
        assert!(
            asked[2].starts_with(&format!("{path}t HTTP")),
            "{}",
            asked[2]
        );
    }

    #[test]
    fn names_lead_to_addresses() {
        for (name, base) in [
            ("a.example", "https://a.example:8448"),
            ("a.example:443", "https://a.example:443"),
            ("1.2.3.4", "https://1.2.3.4:8448"),
            ("[2001:db8::1]", "https://[2001:db8::1]:8448"),
        ] {
            assert_eq!(base_of(&ServerName::parse(name).unwrap()), base);
        }

        assert_eq!(read_delegated(&json!({"m.server": "a b"})), None);
    }

    #[tokio::test]
    async fn what_is_not_public_is_not_asked() {
        let prober = Prober::new().unwrap();
        for name in [
            "localhost:8448",
            "127.0.0.1:8448",
            "10.0.0.1",
            "[::1]",
            "a b",
            "169.254.169.254:80",
        ] {
            let owner = prober.owner_of_token(name, "t").await;
            assert!(matches!(owner, TokenOwner::NotGood(_)), "{name}: {owner:?}");
        }
    }
}
