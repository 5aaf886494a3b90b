//! Our cookies: the session, the browser that fills in a form without one, that has a code,
//! that sets Callscope up, and that is at a provider of sign-ins. With TLS their names begin with
//! `__Host-`, so that no neighbouring host name can set them.

use actix_web::http::header::{self, HeaderMap, HeaderValue};

/// A cookie of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieKind {
    /// The id of a session.
    Session,
    /// A random text that the tokens of forms are bound to where there is no session.
    Form,
    /// A random text by which a browser is known that comes back from the provider of sign-ins.
    OpenId,
    /// A random text by which a browser is known that asked for a code.
    Code,
    /// A random text by which a browser is known that came by the address of the set-up.
    SetUp,
}

impl CookieKind {
    /// The name of the cookie, by whether the client speaks TLS.
    #[must_use]
    pub fn name(self, is_https: bool) -> &'static str {
        match (self, is_https) {
            (Self::Session, true) => "__Host-callscope",
            (Self::Session, false) => "callscope",
            (Self::Form, true) => "__Host-callscope-form",
            (Self::Form, false) => "callscope-form",
            (Self::OpenId, true) => "__Host-callscope-openid",
            (Self::OpenId, false) => "callscope-openid",
            (Self::Code, true) => "__Host-callscope-code",
            (Self::Code, false) => "callscope-code",
            (Self::SetUp, true) => "__Host-callscope-set-up",
            (Self::SetUp, false) => "callscope-set-up",
        }
    }

    /// How long the browser keeps it, s.
    fn max_age_s(self) -> i64 {
        match self {
            Self::Session => crate::store::sign_in::sessions::LENGTH_MAX_MS / 1000,
            Self::Form | Self::SetUp => 24 * 60 * 60,
            Self::OpenId | Self::Code => 10 * 60,
        }
    }

    /// The value of this cookie in a request; `None` if it is not there, or cannot be ours.
    #[must_use]
    pub fn read(self, headers: &HeaderMap, is_https: bool) -> Option<String> {
        let name = self.name(is_https);
        let pairs = headers
            .get_all(header::COOKIE)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        let values = pairs.filter_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='));

        values.map(str::to_owned).find(|value| is_possible(value))
    }

    /// The header that gives the cookie to the browser.
    #[must_use]
    pub fn set(self, value: &str, is_https: bool) -> Option<HeaderValue> {
        self.header(value, self.max_age_s(), is_https)
    }

    /// The header that takes the cookie from the browser.
    #[must_use]
    pub fn clear(self, is_https: bool) -> Option<HeaderValue> {
        self.header("", 0, is_https)
    }

    fn header(self, value: &str, max_age_s: i64, is_https: bool) -> Option<HeaderValue> {
        let name = self.name(is_https);
        let secure = if is_https { "; Secure" } else { "" };
        let text =
            format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");

        HeaderValue::from_str(&text).ok()
    }
}

/// Has the value the form of our random texts?
fn is_possible(value: &str) -> bool {
    let is_ours = |sign: char| sign.is_ascii_alphanumeric() || sign == '-' || sign == '_';
    value.len() == 43 && value.chars().all(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn read(cookies: &str, is_https: bool) -> Option<String> {
        let request = TestRequest::default().insert_header((header::COOKIE, cookies));
        CookieKind::Session.read(request.to_http_request().headers(), is_https)
    }

    #[test]
    fn with_tls_only_the_name_that_no_neighbour_can_set_is_read() {
        let (own, others) = ("a".repeat(43), "b".repeat(43));
        let both = format!("x=1; callscope={others}; __Host-callscope={own}");
        assert_eq!(read(&both, true), Some(own));
        assert_eq!(read(&both, false), Some(others.clone()));
        assert_eq!(read(&format!("callscope={others}"), true), None);
        for bad in [
            "callscope=",
            "callscope=short",
            "callscopes=x",
            "callscope",
            "",
        ] {
            assert_eq!(read(bad, false), None, "{bad}");
        }

        assert_eq!(read(&format!("callscope={}", "'".repeat(43)), false), None);
    }

    #[test]
    fn no_script_and_no_other_site_gets_it() {
        let text = |header: Option<HeaderValue>| header.unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            text(CookieKind::Session.set("v", true)),
            "__Host-callscope=v; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            text(CookieKind::Session.clear(false)),
            "callscope=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        );
    }
}
