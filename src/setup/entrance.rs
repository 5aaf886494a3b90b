//! Who may come to the set-up: whoever has the address that was printed. A browser that came by it
//! has a cookie from then on, so that the token stays in no address.

use crate::web::sign_in::cookie::CookieKind;
use crate::web::sign_in::form_token::FormKey;
use crate::web::sign_in::secret_text::{hash_secret, new_secret};
use actix_web::http::header::HeaderMap;
use secrecy::SecretString;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the token of the address is made for.
const ADDRESS: &str = "address";
/// Maximum number of browsers; of more, the one that came first has to come anew.
const BROWSERS_MAX: usize = 32;

/// Lets browsers in. Tokens are good for this process.
#[derive(Debug)]
pub(super) struct Entrance {
    /// Makes the token of the address.
    address_key: FormKey,
    /// Makes the tokens of forms.
    form_key: FormKey,
    /// Hashes of the cookies of the browsers that were let in.
    browsers: Mutex<VecDeque<String>>,
}

impl Entrance {
    pub fn new() -> Self {
        Self {
            address_key: FormKey::random(),
            form_key: FormKey::random(),
            browsers: Mutex::default(),
        }
    }

    /// The token in the address that is printed: 256 bits.
    pub fn address_token(&self) -> SecretString {
        self.address_key.token_for(ADDRESS).into()
    }

    /// Lets a browser in that came with this token, and returns what its cookie says. `None` if it
    /// is not the token. The time that takes tells nothing.
    pub fn let_in(&self, token: &str) -> Option<String> {
        if !self.address_key.is_valid(ADDRESS, token) {
            return None;
        }

        let secret = new_secret();
        let mut browsers = self.browsers();
        browsers.push_back(hash_secret(&secret));
        if browsers.len() > BROWSERS_MAX {
            browsers.pop_front();
        }

        Some(secret)
    }

    /// What the cookie of a browser says that was let in; `None` if it was not.
    pub fn find_browser(&self, headers: &HeaderMap, is_https: bool) -> Option<String> {
        let secret = CookieKind::SetUp.read(headers, is_https)?;
        // Hashes are compared, so the time tells nothing of the secret.
        let is_known = self.browsers().contains(&hash_secret(&secret));

        is_known.then_some(secret)
    }

    /// The token for the forms of a browser.
    pub fn form_token(&self, browser: &str) -> String {
        self.form_key.token_for(browser)
    }

    /// Is it the token for the forms of this browser?
    pub fn is_form_token(&self, browser: &str, token: &str) -> bool {
        self.form_key.is_valid(browser, token)
    }

    fn browsers(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.browsers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header;
    use actix_web::test::TestRequest;
    use secrecy::ExposeSecret;

    fn is_known(entrance: &Entrance, secret: &str) -> bool {
        let cookie = format!("callscope-set-up={secret}");
        let request = TestRequest::default().insert_header((header::COOKIE, cookie));
        let request = request.to_http_request();

        entrance.find_browser(request.headers(), false).is_some()
    }

    #[test]
    fn only_the_token_lets_in() {
        let entrance = Entrance::new();
        let token = entrance.address_token();
        assert_eq!(token.expose_secret().len(), 64, "256 bits in hex");
        let other = Entrance::new().address_token();
        for wrong in ["", "0", other.expose_secret(), &"0".repeat(64)] {
            assert_eq!(entrance.let_in(wrong), None);
        }

        let browser = entrance.let_in(token.expose_secret()).unwrap();
        assert!(is_known(&entrance, &browser));
        assert!(!is_known(&entrance, &new_secret()));
    }

    #[test]
    fn forms_are_those_of_one_browser_and_browsers_are_bounded() {
        let entrance = Entrance::new();
        let token = entrance.address_token();
        let let_in = || entrance.let_in(token.expose_secret()).unwrap();
        let (one, other) = (let_in(), let_in());
        let form = entrance.form_token(&one);
        assert!(entrance.is_form_token(&one, &form));
        assert!(!entrance.is_form_token(&other, &form));
        for _ in 0..BROWSERS_MAX - 1 {
            let_in();
        }

        assert!(!is_known(&entrance, &one) && is_known(&entrance, &other));
    }
}
