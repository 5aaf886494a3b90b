//! Forms that people send: their fields, and whether they come from a page of ours.

use super::error::Error;
use crate::web::Web;
use crate::web::sign_in::cookie::CookieKind;
use crate::web::sign_in::secret_text::new_secret;
use crate::web::sign_in::{Asker, Entrance};
use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::Bytes;
use url::{Url, form_urlencoded};

/// Maximum size of a form, bytes.
pub const FORM_MAX: usize = 8 * 1024;
/// The field of the token.
pub const TOKEN: &str = "token";

const FOREIGN: Error =
    Error::Forbidden("this form was not sent by a page of this Callscope; open the page again");
const OLD: Error = Error::Forbidden("this form is too old; open the page again and repeat it");

/// The fields of a form.
#[derive(Debug)]
pub struct Form(Vec<(String, String)>);

/// Whose page sent a request, by what the browser says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A page of ours.
    Ours,
    /// It is not said.
    Unknown,
}

/// What the forms of a page are bound to: a session, or else a cookie for this purpose.
#[derive(Debug, Clone)]
pub struct FormBinding {
    bound_to: String,
    /// The cookie that the browser does not have yet.
    pub cookie: Option<HeaderValue>,
}

impl Form {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// It is too long, or did not come whole.
    pub fn read(body: Result<Bytes, actix_web::Error>) -> Result<Self, Error> {
        Self::read_up_to(body, FORM_MAX)
    }

    /// The same, where bodies of up to `max` bytes are taken.
    ///
    /// # Errors
    /// It is too long, or did not come whole.
    pub fn read_up_to(body: Result<Bytes, actix_web::Error>, max: usize) -> Result<Self, Error> {
        let body = body.map_err(|error| {
            if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE {
                Error::TooLarge(max)
            } else {
                Error::Invalid("the form did not come whole".to_owned())
            }
        })?;

        let fields = form_urlencoded::parse(&body).into_owned();

        Ok(Self(fields.collect()))
    }

    /// All values of a field, such as those of boxes with a tick.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        let fields = self.0.iter().filter(move |(other, _)| other == name);
        fields.map(|(_, value)| value.clone())
    }

    /// The value of a field; empty if it was not sent.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(other, _)| other == name);
        field.map_or("", |(_, value)| value.as_str())
    }
}

/// Whose page sent the request. What browsers say of it no page can change.
///
/// # Errors
/// It was somebody else's.
pub fn check_sender(headers: &HeaderMap, public_url: Option<&str>) -> Result<Sender, Error> {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &HeaderValue| value.to_str().unwrap_or("?"))
    };

    match text(header::HeaderName::from_static("sec-fetch-site")) {
        Some("same-origin") => return Ok(Sender::Ours),
        Some(_) => return Err(FOREIGN),
        None => (),
    }

    let Some(origin) = text(header::ORIGIN) else {
        return Ok(Sender::Unknown);
    };

    // A proxy may pass on another name and another port than the browser uses.
    let host_of = |url: &str| Url::parse(url).ok()?.host_str().map(str::to_owned);
    let asked = text(header::HOST).and_then(|host| host_of(&format!("http://{host}")));
    let own = [asked, public_url.and_then(host_of)];
    let origin = host_of(origin);
    let is_own = origin.is_some() && own.contains(&origin);

    is_own.then_some(Sender::Ours).ok_or(FOREIGN)
}

impl FormBinding {
    /// What the forms of a page are bound to. The answer must carry [`Self::cookie`].
    #[must_use]
    pub fn for_page(asker: &Asker, headers: &HeaderMap) -> Self {
        if let Some(bound_to) = known_binding(asker, headers) {
            return Self {
                bound_to,
                cookie: None,
            };
        }

        let secret = new_secret();

        Self {
            cookie: CookieKind::Form.set(&secret, asker.is_https),
            bound_to: bound_to_cookie(&secret),
        }
    }

    /// The token for the forms of the page.
    #[must_use]
    pub fn token(&self, web: &Web) -> String {
        web.access.form_token(&self.bound_to)
    }
}

/// What the browser's forms are bound to; `None` if it has opened none.
fn known_binding(asker: &Asker, headers: &HeaderMap) -> Option<String> {
    match &asker.entrance {
        Entrance::Session { id_hash } => Some(format!("session {id_hash}")),
        _ => CookieKind::Form
            .read(headers, asker.is_https)
            .map(|secret| bound_to_cookie(&secret)),
    }
}

fn bound_to_cookie(secret: &str) -> String {
    format!("form {secret}")
}

/// Checks that a form was sent by a page of ours to this browser.
///
/// # Errors
/// It was not, or is too old.
pub fn check_form(web: &Web, asker: &Asker, headers: &HeaderMap, form: &Form) -> Result<(), Error> {
    check_sender(headers, web.public_url.as_deref())?;
    let is_bound = known_binding(asker, headers)
        .is_some_and(|bound_to| web.access.is_form_token(&bound_to, form.get(TOKEN)));

    if is_bound { Ok(()) } else { Err(OLD) }
}

/// Reads the form that who asks sent from a page of ours.
///
/// # Errors
/// It cannot be read, no page of ours sent it, or it is too old.
pub fn read_form(
    req: &HttpRequest,
    web: &Web,
    asker: &Asker,
    body: Result<Bytes, actix_web::Error>,
) -> Result<Form, Error> {
    let form = Form::read(body)?;
    check_form(web, asker, req.headers(), &form)?;

    Ok(form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn sender(headers: &[(&str, &str)]) -> Option<Sender> {
        let request = TestRequest::default().insert_header(("host", "calls.example:8080"));
        let request = headers
            .iter()
            .fold(request, |request, header| request.insert_header(*header));
        let request = request.to_http_request();

        check_sender(request.headers(), Some("https://public.example/")).ok()
    }

    #[test]
    fn a_form_of_another_page_is_refused() {
        let ours = Some(Sender::Ours);
        assert_eq!(sender(&[]), Some(Sender::Unknown));
        assert_eq!(sender(&[("sec-fetch-site", "same-origin")]), ours);
        assert_eq!(sender(&[("origin", "http://calls.example:8080")]), ours);
        assert_eq!(sender(&[("origin", "https://public.example")]), ours);

        for foreign in ["cross-site", "same-site", "none", ""] {
            let own = ("origin", "https://public.example");
            assert_eq!(
                sender(&[("sec-fetch-site", foreign), own]),
                None,
                "{foreign}"
            );
        }

        for foreign in [
            "https://evil.example",
            "null",
            "",
            "https://calls.example.evil",
        ] {
            assert_eq!(sender(&[("origin", foreign)]), None, "{foreign}");
        }
    }
}
