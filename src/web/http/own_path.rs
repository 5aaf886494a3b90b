//! The way to the page where people sign in, and back.

use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use url::form_urlencoded;

/// Maximum length of an address that signing in leads back to, bytes.
const NEXT_MAX: usize = 800;

/// The page where people sign in, which leads back to where they wanted to go.
#[must_use]
pub fn sign_in_address(req: &HttpRequest) -> String {
    let wanted = req.uri().path_and_query().map_or("/", |path| path.as_str());
    if wanted == "/" || wanted.len() > NEXT_MAX {
        return "/sign-in".to_owned();
    }

    let next: String = form_urlencoded::byte_serialize(wanted.as_bytes()).collect();

    format!("/sign-in?next={next}")
}

/// The path of ours that signing in leads to; `/` if the text is anything else, so that nobody is
/// led to somebody else's page.
#[must_use]
pub fn own_path(text: &str) -> &str {
    let is_plain = |sign: char| sign.is_ascii_graphic() && sign != '\\';
    let is_own = text.starts_with('/') && !text.starts_with("//") && text.chars().all(is_plain);
    let path = text.split(['?', '#']).next().unwrap_or_default();
    // Browsers take `%2e` for a dot, too. They would lead out of the path below which the pages
    // stand.
    let decoded = |name| percent_decode_str(name).decode_utf8_lossy();
    let names: Vec<Cow<'_, str>> = path.split('/').map(decoded).collect();
    let leaves = names.iter().any(|name| [".", ".."].contains(&&**name));

    if is_own && text.len() <= NEXT_MAX && !leaves && !is_sign_in(&names.join("/")) {
        text
    } else {
        "/"
    }
}

/// Would it lead round in a circle?
fn is_sign_in(path: &str) -> bool {
    path == "/sign-in" || path == "/sign-out" || path.starts_with("/sign-in/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_a_path_of_ours_only() {
        for own in [
            "/",
            "/calls",
            "/calls?room=%21a%3Ab&q=x",
            "/rooms/!a:b",
            "/rooms/a%2eb",
            "/rooms/...",
            "/admin",
        ] {
            assert_eq!(own_path(own), own);
        }

        for foreign in [
            "",
            "calls",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/",
            "javascript:alert(1)",
            "/a\r\nlocation: https://evil.example",
            "/a b",
            "/../other",
            "/a/..",
            "/%2e%2E/other",
            "/.%2e/other",
            "/a/%2e",
            "/%2e./sign-out",
            "/sign%2din",
            "/sign-in?next=/",
            "/sign-in/openid",
            "/sign-out",
            &format!("/{}", "a".repeat(2000)),
        ] {
            assert_eq!(own_path(foreign), "/", "{foreign}");
        }
    }
}
