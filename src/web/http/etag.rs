//! Entity tags: a client that already has the answer gets 304 without a body.

use crate::web::view::format::DAY;
use actix_web::HttpRequest;
use actix_web::http::header;
use memchr::memmem;
use std::hash::{DefaultHasher, Hasher};

/// The JSON text before the duration of a running call. The duration only follows the clock and
/// `started_ms`, so it is not part of the tag, and the tag is a weak one. Otherwise a list with a
/// running call would never have the same tag twice.
const RUNNING: &[u8] = b"\"active\":true,\"duration_ms\":";

/// The JSON keys for the time when an answer was made. Times that are equal to it, or a whole
/// number of days before it, are not part of the tag: they only follow the time of the request, as
/// ends of periods and starts of charts do.
const MADE: [&[u8]; 2] = [b"\"now_ms\":", b"\"computed_ms\":"];
/// The JSON text before the same times in RFC 3339; each has a twin in milliseconds.
const TWIN: &[u8] = b"_at\":\"";
/// Maximum length of a period, days.
const DAYS_MAX: i64 = 1000;

/// A part of a body that changes only with the clock.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ClockedPart {
    from: usize,
    to: usize,
    /// Days before the time of the answer.
    days: i64,
}

/// The entity tag of a JSON body.
#[must_use]
pub fn tag_of_body(body: &[u8]) -> String {
    let mut parts: Vec<ClockedPart> = memmem::find_iter(body, RUNNING)
        .map(|at| digits_at(body, at + RUNNING.len()))
        .collect();
    let mut is_dated = false;
    for (made, _) in MADE
        .iter()
        .filter_map(|key| number_at(body, memmem::find(body, key)? + key.len()))
    {
        is_dated = true;
        parts.extend(clock_times_in(body, made));
    }

    if is_dated {
        parts.extend(memmem::find_iter(body, TWIN).map(|at| {
            let from = at + TWIN.len();
            let length = memchr::memchr(b'"', body.get(from..).unwrap_or_default()).unwrap_or(0);
            ClockedPart {
                from,
                to: from + length,
                days: 0,
            }
        }));
    }

    parts.sort_unstable();
    let (mut hasher, mut from) = (DefaultHasher::new(), 0);
    for part in parts {
        if part.from < from || part.from == part.to {
            continue;
        }

        hasher.write(body.get(from..part.from).unwrap_or_default());
        hasher.write_i64(part.days);
        from = part.to;
    }

    hasher.write(body.get(from..).unwrap_or_default());

    format!("W/\"{:016x}\"", hasher.finish())
}

/// The run of digits that begins here.
fn digits_at(body: &[u8], from: usize) -> ClockedPart {
    let digits = body
        .get(from..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();

    ClockedPart {
        from,
        to: from + digits,
        days: 0,
    }
}

/// The number that begins here, and where it ends.
fn number_at(body: &[u8], from: usize) -> Option<(i64, usize)> {
    let ClockedPart { to, .. } = digits_at(body, from);
    Some((
        std::str::from_utf8(body.get(from..to)?)
            .ok()?
            .parse()
            .ok()?,
        to,
    ))
}

/// Numbers that are this time, or whole days before it. A day in ms ends in five zeros, so all of
/// them have the same last five digits; those are searched for.
fn clock_times_in(body: &[u8], made: i64) -> impl Iterator<Item = ClockedPart> {
    let last = format!("{:05}", made.rem_euclid(100_000));
    let found: Vec<usize> = memmem::find_iter(body, last.as_bytes()).collect();

    found.into_iter().filter_map(move |at| {
        let before = body
            .get(..at)?
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (ms, to) = number_at(body, at - before)?;
        let ago = made
            .checked_sub(ms)
            .filter(|ago| (0..=DAYS_MAX * DAY).contains(ago) && ago % DAY == 0)?;
        Some(ClockedPart {
            from: at - before,
            to,
            days: ago / DAY,
        })
    })
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

/// Is this tag among those? Weak and strong tags count as equal here (RFC 9110, 13.1.2).
#[must_use]
pub fn is_known(tag: &str, known: Option<&str>) -> bool {
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.is_some_and(|known| {
        known.trim() == "*" || known.split(',').any(|known| plain(known) == plain(tag))
    })
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

        let tag = |active: &str, ms: i64, name: &str| {
            super::tag_of_body(body(active, ms, name).as_bytes())
        };
        assert_eq!(tag("true", 1, "a"), tag("true", 2000, "a"));
        assert_ne!(tag("true", 1, "a"), tag("true", 1, "b"));
        assert_ne!(
            tag("false", 1, "a"),
            tag("false", 2, "a"),
            "an ended call has one length"
        );
        let tricky = r#""active":true,"duration_ms":"#;
        assert_ne!(
            tag("true", 1, &format!("{tricky}1")),
            tag("true", 1, &format!("{tricky}2")),
            "a name is a name"
        );
    }

    #[test]
    fn the_moment_of_the_answer_is_left_out_and_no_other_time() {
        const NOW: i64 = 1_795_358_836_123;
        let body = |now: i64, from: i64, left: i64, at: &str| {
            let week = from - 7 * DAY;
            let spans = format!(
                "\"to_ms\":{now},\"to_at\":\"{at}\",\"old\":{{\"to_ms\":{week}}},\"steps\":[[{now},2]]"
            );
            format!("{{\"now_ms\":{now},\"now_at\":\"{at}\",{spans},\"left_ms\":{left}}}")
        };

        let tag = |now, from, left| {
            super::tag_of_body(body(now, from, left, &format!("at {now}")).as_bytes())
        };
        let first = tag(NOW, NOW, 5);
        assert_eq!(first, tag(NOW + 61_004, NOW + 61_004, 5));
        assert_ne!(first, tag(NOW, NOW, 6));
        assert_ne!(first, tag(NOW, NOW - DAY, 5), "another day is another time");
        assert_ne!(first, tag(NOW, NOW - 1, 5));
        let list = |at: i64| {
            super::tag_of_body(
                format!("{{\"data\":[{{\"left_ms\":{at},\"left_at\":\"{at}\"}}]}}").as_bytes(),
            )
        };

        assert_ne!(list(NOW), list(NOW + 1));
        assert_ne!(
            super::tag_of_body(b"{\"now_ms\":7,\"a_at\":\""),
            super::tag_of_body(b"{\"now_ms\":7,\"b_at\":\"x"),
            "cut short"
        );
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
