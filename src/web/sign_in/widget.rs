//! Sign-in as a widget in a room: the client gives us a token by which its homeserver tells us who
//! it is. The session that follows shows that room only.

use super::secret_text::{hash_secret, new_secret};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// What every secret of such a session begins with.
pub const WIDGET_PREFIX: &str = "csw_";
/// How long tokens are remembered that were used, ms: as long as they are good at a homeserver.
const REMEMBERED_MS: i64 = 60 * 60 * 1000;
/// Maximum tokens that are remembered.
const TOKENS_MOST: usize = 20_000;
/// Maximum length of a token, bytes.
const TOKEN_MAX: usize = 1000;

/// A token of the widget API, and the homeserver that gave it.
#[derive(Clone)]
pub struct WidgetToken {
    pub server: String,
    pub token: String,
}

impl fmt::Debug for WidgetToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WidgetToken")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// What the homeserver says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenAnswer {
    /// It is that of this Matrix id.
    User(String),
    /// It is not good, or the server must not be asked; in words.
    Refused(String),
    /// The server does not answer; in words.
    Unreachable(String),
}

type Answering = Pin<Box<dyn Future<Output = TokenAnswer> + Send>>;
type Ask = dyn Fn(WidgetToken) -> Answering + Send + Sync;

/// Asks homeservers for the owners of tokens. Cheap to clone.
#[derive(Clone)]
pub struct TokenChecker(Arc<Ask>);

impl fmt::Debug for TokenChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenChecker")
    }
}

impl TokenChecker {
    /// A checker that asks in this way.
    #[must_use]
    pub fn new<F>(ask: impl Fn(WidgetToken) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = TokenAnswer> + Send + 'static,
    {
        Self(Arc::new(move |token| Box::pin(ask(token))))
    }

    /// Whose token it is, as its homeserver says.
    pub async fn ask(&self, token: WidgetToken) -> TokenAnswer {
        let answer = (self.0)(token.clone()).await;
        let TokenAnswer::User(user_id) = &answer else {
            return answer;
        };

        // A server may only speak of its own users.
        let is_own = ruma::UserId::parse(&**user_id)
            .is_ok_and(|user_id| user_id.server_name().as_str() == token.server);

        if is_own {
            answer
        } else {
            TokenAnswer::Refused("the server spoke of a user of another server".to_owned())
        }
    }
}

/// Is it something that can be a token of a server?
#[must_use]
pub fn is_possible(token: &WidgetToken) -> bool {
    let text = &token.token;
    let is_text = !text.is_empty() && text.chars().all(|sign| sign.is_ascii_graphic());

    is_text && text.len() <= TOKEN_MAX && ruma::ServerName::parse(&*token.server).is_ok()
}

/// The secret of a new session.
#[must_use]
pub fn new_widget_secret() -> String {
    format!("{WIDGET_PREFIX}{}", new_secret())
}

/// The tokens that were used lately, so that each is good once.
#[derive(Debug, Default)]
pub struct UsedTokens(Mutex<VecDeque<UsedToken>>);

#[derive(Debug)]
struct UsedToken {
    hash: String,
    at_ms: i64,
}

impl UsedTokens {
    /// Notes that a token is used at `now`, ms. Returns false if it was used before.
    #[must_use]
    pub fn use_once(&self, token: &WidgetToken, now: i64) -> bool {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |token: &UsedToken| token.at_ms.saturating_add(REMEMBERED_MS) <= now;
        while used.front().is_some_and(is_over) || used.len() >= TOKENS_MOST {
            used.pop_front();
        }

        let hash = hash_secret(&format!("{} {}", token.server, token.token));
        if used.iter().any(|token| token.hash == hash) {
            return false;
        }

        used.push_back(UsedToken { hash, at_ms: now });

        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(server: &str, token: &str) -> WidgetToken {
        WidgetToken {
            server: server.to_owned(),
            token: token.to_owned(),
        }
    }

    #[test]
    fn a_token_is_good_once_in_an_hour() {
        let used = UsedTokens::default();
        assert!(used.use_once(&token("a.example", "t"), 0));
        assert!(!used.use_once(&token("a.example", "t"), 1));
        assert!(used.use_once(&token("b.example", "t"), 1));
        assert!(used.use_once(&token("a.example", "t"), REMEMBERED_MS));
    }

    #[test]
    fn only_texts_for_servers_are_tokens() {
        assert!(is_possible(&token("a.example:8448", "abc-_")));
        for (server, text) in [
            ("", "t"),
            ("a b", "t"),
            ("a.example/x", "t"),
            ("a.example", ""),
            ("a.example", "a b"),
            ("a.example", &"t".repeat(2000)),
        ] {
            assert!(!is_possible(&token(server, text)), "{server} {text}");
        }

        assert!(!format!("{:?}", token("a.example", "hidden")).contains("hidden"));
    }

    #[tokio::test]
    async fn a_server_speaks_of_its_own_users_only() {
        let checker =
            TokenChecker::new(|token: WidgetToken| async move { TokenAnswer::User(token.token) });
        let own = checker.ask(token("a.example", "@u:a.example")).await;
        assert_eq!(own, TokenAnswer::User("@u:a.example".to_owned()));
        for foreign in ["@u:b.example", "@u:a.example.evil", "u", "@u:A.example", ""] {
            let answer = checker.ask(token("a.example", foreign)).await;
            assert!(matches!(answer, TokenAnswer::Refused(_)), "{foreign}");
        }
    }
}
