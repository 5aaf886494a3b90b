//! Entity tags: a client that already has the answer gets 304 without a body.

use super::cost_cache::DataVersion;
use actix_web::HttpRequest;
use actix_web::http::header;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How long an answer may keep its tag, s, although times and durations in it follow the clock.
const SECONDS_MAX: i64 = 60;

/// The entity tag of an answer that shows this state of the data. It changes with every announced
/// change, and each minute. It is a weak one, because within the minute durations of running calls
/// grow. Changes are counted from the start of the process, so its start is a part of the tag.
#[must_use]
pub fn tag_of_state(run: i64, version: DataVersion, address: &str) -> String {
    let minute = version.second.div_euclid(SECONDS_MAX);

    tag_of(&(run, version.generation, minute, address))
}

/// The entity tag of a body that only changes with the data.
#[must_use]
pub fn tag_of_body(body: &[u8]) -> String {
    tag_of(body)
}

fn tag_of(what: &(impl Hash + ?Sized)) -> String {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);

    format!("W/\"{:016x}\"", hasher.finish())
}

/// The entity tags that the client sent.
#[must_use]
pub fn tags_in_request(req: &HttpRequest) -> Option<String> {
    let mut lines = req
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .filter_map(|line| line.to_str().ok());
    let first = lines.next()?.to_owned();

    Some(lines.fold(first, |all, line| all + "," + line))
}

/// Is this tag among those, or will any do? Weak and strong tags count as equal here (RFC 9110,
/// 13.1.2).
#[must_use]
pub fn is_known(tag: &str, known: Option<&str>) -> bool {
    known.is_some_and(|known| known.trim() == "*") || is_named(tag, known)
}

/// Is this very tag among those?
#[must_use]
pub fn is_named(tag: &str, known: Option<&str>) -> bool {
    let tag = without_weakness(tag);
    known.is_some_and(|known| known.split(',').any(|known| without_weakness(known) == tag))
}

/// The tag without the sign that it is a weak one.
fn without_weakness(tag: &str) -> &str {
    tag.trim().trim_start_matches("W/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_that_of_a_state_for_a_minute() {
        let tag = |run, generation, second| {
            tag_of_state(run, DataVersion { generation, second }, "/api/v1/calls")
        };
        let first = tag(1, 7, 120);
        assert_eq!(first, tag(1, 7, 179));
        assert_ne!(first, tag(1, 7, 180), "the next minute");
        assert_ne!(first, tag(1, 8, 120), "a change");
        assert_ne!(first, tag(2, 7, 120), "another run");
        let version = DataVersion {
            generation: 7,
            second: 120,
        };
        assert_ne!(first, tag_of_state(1, version, "/api/v1/rooms"));
    }

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        let tag = tag_of_body(b"{}");
        let strong = tag.trim_start_matches("W/").to_owned();
        for known in [
            tag.clone(),
            strong.clone(),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ] {
            assert!(is_known(&tag, Some(&known)), "{known}");
        }

        assert!(
            !is_known(&tag, Some("\"x\"")) && !is_known(&tag, None) && !is_known(&tag, Some(""))
        );
    }
}
