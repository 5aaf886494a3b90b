//! Sign-in by a provider of OpenID Connect, such as the homeserver's own login: the browser goes
//! there and comes back with a code, for which the provider tells us who it is.

mod pending;
mod provider;

use super::secret_text::{hash_secret, new_secret};
use super::user_id::fill_user_id;
use crate::rtc::id::server_of;
use pending::{NotPending, PendingSignIn, PendingSignIns};
use provider::{Provider, ProviderError};
use serde_json::Value;
use std::net::IpAddr;
use url::Url;

pub use openidconnect::ClientSecret;

/// Maximum length of what comes back from a provider, bytes.
const RETURNED_MAX: usize = 4096;

/// The provider, and how people are named by it.
#[derive(Debug, Clone)]
pub struct OpenIdSettings {
    /// The name by which people know it.
    pub name: String,
    /// Its address, exactly as it gives it itself.
    pub issuer: String,
    pub client_id: String,
    /// `None` where the provider asks for none.
    pub client_secret: Option<ClientSecret>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that names a person.
    pub claim: String,
    /// The Matrix id of that person, with the claim in braces where its value goes.
    pub user_id: String,
    /// The servers whose people may sign in; if there are none, that of `user_id`, which then names
    /// one.
    pub servers: Vec<String>,
    /// Our address that browsers come back to.
    pub redirect_url: String,
}

/// Signs people in by the provider.
#[derive(Debug)]
pub struct OpenId {
    settings: OpenIdSettings,
    provider: Provider,
    pending: PendingSignIns,
}

/// A sign-in that begins.
#[derive(Debug)]
pub struct BegunOpenId {
    /// Where the browser has to go.
    pub url: Url,
    /// What the browser has to keep in a cookie until it comes back.
    pub browser: String,
}

/// What a browser brings back from the provider.
#[derive(Debug, Clone, Default)]
pub struct Returned {
    pub state: String,
    pub code: Option<String>,
    /// The provider's word for why there is no code.
    pub error: Option<String>,
    /// Who the provider says it is.
    pub issuer: Option<String>,
    /// What the browser has in its cookie.
    pub browser: Option<String>,
}

/// Somebody who signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    pub user_id: String,
    /// The path of ours to go to.
    pub next: String,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum OpenIdError {
    #[error("{0}")]
    Provider(#[from] ProviderError),
    /// What came back belongs to no sign-in that this browser began and that is still good.
    #[error("{}", words_of_not_pending(*.0))]
    NotPending(NotPending),
    /// The provider sent the browser back without a code.
    #[error("the provider signed nobody in: {0}")]
    Denied(String),
    #[error("it came back from another provider")]
    OtherIssuer,
    /// The claim is not there, or is no name that makes a Matrix id.
    #[error("the claim {claim} makes no Matrix id")]
    NoUserId { claim: String },
}

fn words_of_not_pending(why: NotPending) -> &'static str {
    match why {
        NotPending::Unknown => "it was not begun here, or has ended already",
        NotPending::Late => "it came back too late",
        NotPending::OtherBrowser => "another browser began it",
    }
}

impl OpenIdError {
    /// Is it only that the provider does not answer?
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Provider(ProviderError::Unreachable(_)))
    }

    /// Was it never begun here? Then anybody may have made it up.
    #[must_use]
    pub fn is_made_up(&self) -> bool {
        matches!(self, Self::NotPending(NotPending::Unknown))
    }

    /// What the person is told.
    #[must_use]
    pub fn words_for_reader(&self) -> &'static str {
        match self {
            Self::Provider(ProviderError::Unreachable(_)) => {
                "The provider of sign-ins does not answer now. Try again in a moment."
            }
            Self::NotPending(NotPending::Late) => {
                "This sign-in took more than ten minutes. Begin again."
            }
            Self::NotPending(NotPending::Unknown | NotPending::OtherBrowser) => {
                "This sign-in was not begun in this browser, or has ended already. Begin again."
            }
            Self::Denied(_) => "The provider of sign-ins signed nobody in.",
            Self::Provider(ProviderError::Refused(_)) | Self::OtherIssuer => {
                "What the provider of sign-ins said is not valid. Begin again."
            }
            Self::NoUserId { .. } => {
                "You signed in at the provider, but it does not say which Matrix account is yours."
            }
        }
    }
}

impl OpenId {
    #[must_use]
    pub fn new(settings: OpenIdSettings) -> Self {
        Self {
            provider: Provider::new(settings.clone()),
            settings,
            pending: PendingSignIns::default(),
        }
    }

    /// The name by which people know the provider.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Begins a sign-in from this address at `now`, ms, which leads to a path of ours afterwards.
    ///
    /// # Errors
    /// The provider cannot be asked.
    pub async fn begin_sign_in(
        &self,
        next: &str,
        address: IpAddr,
        now: i64,
    ) -> Result<BegunOpenId, OpenIdError> {
        let begun = self.provider.begin_sign_in(now).await?;
        let browser = new_secret();
        self.pending.add(PendingSignIn {
            state_hash: hash_secret(&begun.state),
            browser_hash: hash_secret(&browser),
            nonce: begun.nonce,
            verifier: begun.verifier,
            next: next.to_owned(),
            address,
            begun_ms: now,
        });

        Ok(BegunOpenId {
            url: begun.url,
            browser,
        })
    }

    /// Ends a sign-in with what came back at `now`, ms. Whatever comes of it, it cannot be
    /// repeated.
    ///
    /// # Errors
    /// Nobody was signed in.
    pub async fn end_sign_in(&self, returned: Returned, now: i64) -> Result<SignedIn, OpenIdError> {
        let pending = self
            .pending
            .take(&returned.state, returned.browser.as_deref(), now)
            .map_err(OpenIdError::NotPending)?;

        // RFC 9207: a provider that says who it is must be ours.
        let is_ours = |issuer: &String| *issuer == self.settings.issuer;
        if !returned.issuer.as_ref().is_none_or(is_ours) {
            return Err(OpenIdError::OtherIssuer);
        }

        let code = returned.code.filter(|code| code.len() <= RETURNED_MAX);
        let Some(code) = code.filter(|_| returned.error.is_none()) else {
            let why = returned.error.unwrap_or_else(|| "no code".to_owned());
            let is_plain = |sign: &char| sign.is_ascii_graphic();
            let why = why.chars().filter(is_plain).take(60).collect();
            return Err(OpenIdError::Denied(why));
        };

        let claim = &self.settings.claim;
        let claims = self
            .provider
            .claims_of_code(code, pending.verifier, &pending.nonce, claim, now)
            .await?;
        let user_id = user_id_of_claim(&self.settings, claims.get(claim));

        Ok(SignedIn {
            user_id: user_id.ok_or_else(|| OpenIdError::NoUserId {
                claim: claim.clone(),
            })?,
            next: pending.next,
        })
    }
}

/// The Matrix id of a person, by the claim that names them; `None` if it makes none. A name is taken
/// in small letters, as homeservers do.
fn user_id_of_claim(settings: &OpenIdSettings, value: Option<&Value>) -> Option<String> {
    let placeholder = format!("{{{}}}", settings.claim);
    let names_server = settings.user_id != placeholder;
    let mut name = value?.as_str()?.to_owned();
    if names_server {
        name.make_ascii_lowercase();
    }

    let user_id = fill_user_id(&settings.user_id, &placeholder, &name)?;
    let is_allowed = settings.servers.is_empty() && names_server
        || settings
            .servers
            .iter()
            .any(|name| name == server_of(&user_id));

    is_allowed.then_some(user_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(claim: &str, user_id: &str) -> OpenIdSettings {
        OpenIdSettings {
            name: "Example".to_owned(),
            issuer: "http://127.0.0.1:1".to_owned(),
            client_id: "callscope".to_owned(),
            client_secret: Some(ClientSecret::new("hidden".to_owned())),
            scopes: vec!["profile".to_owned()],
            claim: claim.to_owned(),
            user_id: user_id.to_owned(),
            servers: Vec::new(),
            redirect_url: "https://calls.example/sign-in/openid/callback".to_owned(),
        }
    }

    #[test]
    fn a_claim_becomes_a_matrix_id() {
        let by_name = settings("preferred_username", "@{preferred_username}:example.org");
        let id = |settings: &OpenIdSettings, value: Value| user_id_of_claim(settings, Some(&value));
        let alice = Some("@alice:example.org".to_owned());
        assert_eq!(id(&by_name, json!("alice")), alice);
        assert_eq!(id(&by_name, json!("Alice")), alice);
        for odd in [
            json!("alice:evil.example"),
            json!("@alice:example.org"),
            json!(""),
            json!(7),
            json!(["alice"]),
            json!(null),
        ] {
            assert_eq!(id(&by_name, odd.clone()), None, "{odd}");
        }

        let mut by_id = settings("https://example.org/mxid", "{https://example.org/mxid}");
        assert_eq!(id(&by_id, json!("@alice:example.org")), None);
        by_id.servers = vec!["example.org".to_owned()];
        assert_eq!(id(&by_id, json!("@alice:example.org")), alice);
        assert_eq!(id(&by_id, json!("@alice:evil.example")), None);
        assert_eq!(id(&by_id, json!("alice")), None);
        assert_eq!(user_id_of_claim(&by_id, None), None);
    }

    #[test]
    fn the_secret_is_not_shown() {
        let open_id = OpenId::new(settings("sub", "{sub}"));
        assert!(!format!("{open_id:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn a_provider_that_is_down_is_said_and_asked_again() {
        let open_id = OpenId::new(settings("sub", "{sub}"));
        let address = IpAddr::from([192, 0, 2, 1]);
        for now in [0, 1, 60_000] {
            let begun = open_id.begin_sign_in("/", address, now).await;
            assert!(begun.unwrap_err().is_unreachable());
        }

        let unknown = open_id.end_sign_in(Returned::default(), 0).await;
        assert!(matches!(
            unknown.unwrap_err(),
            OpenIdError::NotPending(NotPending::Unknown)
        ));
    }
}
