//! Entity tags: who has the answer already is told so with 304, and no body.

use actix_web::HttpRequest;
use actix_web::http::header;
use memchr::memmem;
use std::hash::{DefaultHasher, Hasher};

/// How the length of a running call begins in JSON. It moves with the clock alone and follows from `started_ms`, so it
/// is not part of the tag, and the tag is a weak one: else no list with a running call would ever be the same again.
const RUNNING: &[u8] = b"\"active\":true,\"duration_ms\":";

/// The tag of a body of JSON.
#[must_use]
pub fn tag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    let mut from = 0;
    for at in memmem::find_iter(body, RUNNING) {
        let number = at + RUNNING.len();
        hasher.write(body.get(from..number).unwrap_or_default());
        let digits = body.get(number..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
        from = number + digits.count();
    }
    hasher.write(body.get(from..).unwrap_or_default());
    format!("W/\"{:016x}\"", hasher.finish())
}

/// The tags that the asker knows, as it sent them.
#[must_use]
pub fn known(req: &HttpRequest) -> Option<String> {
    let mut lines = req.headers().get_all(header::IF_NONE_MATCH).filter_map(|line| line.to_str().ok());
    let first = lines.next()?.to_owned();
    Some(lines.fold(first, |all, line| all + "," + line))
}

/// Is this tag among those? Weak ones are the same as strong ones here (RFC 9110, 13.1.2).
#[must_use]
pub fn is_known(tag: &str, known: Option<&str>) -> bool {
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.is_some_and(|known| known.trim() == "*" || known.split(',').any(|known| plain(known) == plain(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_clock_moves_is_left_out() {
        let body = |active: &str, ms: i64, name: &str| {
            format!(
                "[{{\"active\":{active},\"duration_ms\":{ms},\"name\":{name:?}}},{{\"active\":true,\"duration_ms\":7}}]"
            )
        };
        let tag = |active: &str, ms: i64, name: &str| super::tag(body(active, ms, name).as_bytes());
        assert_eq!(tag("true", 1, "a"), tag("true", 2000, "a"));
        assert_ne!(tag("true", 1, "a"), tag("true", 1, "b"));
        assert_ne!(tag("false", 1, "a"), tag("false", 2, "a"), "an ended call has one length");
        let tricky = r#""active":true,"duration_ms":"#;
        assert_ne!(tag("true", 1, &format!("{tricky}1")), tag("true", 1, &format!("{tricky}2")), "a name is a name");
    }

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        let tag = tag(b"{}");
        let strong = tag.trim_start_matches("W/").to_owned();
        for known in [tag.clone(), strong.clone(), format!("\"x\", {tag}"), "*".to_owned()] {
            assert!(is_known(&tag, Some(&known)), "{known}");
        }
        assert!(!is_known(&tag, Some("\"x\"")) && !is_known(&tag, None) && !is_known(&tag, Some("")));
    }
}
