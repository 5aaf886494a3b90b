//! Sign-in by Matrix itself: whoever is in a watched room gets a code in a direct room. What is
//! answered does not depend on whether anybody gets one. Time is an argument.

use super::attempts::{TooMany, network_of};
use super::secret_text::{hash_secret, new_secret};
use crate::store::sign_in::codes::{AskedCode, CodeOutbox, CodeWish};
use rand::RngExt;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Maximum length of a Matrix id, bytes.
const ID_MAX: usize = 255;
/// Number of digits of a code.
const DIGITS: usize = 8;
/// Maximum codes that are asked for within the time: for one id, of one server, from one address,
/// and in all. They count whether there is such an account or not.
const ID_MOST: usize = 3;
const SERVER_MOST: usize = 60;
const ADDRESS_MOST: usize = 6;
const ALL_MOST: usize = 600;
/// The time within which they count, ms.
const WITHIN_MS: i64 = 10 * 60 * 1000;

/// Hands out codes.
#[derive(Debug)]
pub struct Codes {
    pub outbox: CodeOutbox,
    limits: CodeLimits,
}

/// A code that was made, and what belongs to it.
#[derive(Debug)]
pub struct NewCode {
    /// What the browser has to keep.
    pub browser: String,
    /// What is stored.
    pub asked: AskedCode,
    /// What is sent.
    pub wish: CodeWish,
}

impl Codes {
    #[must_use]
    pub fn new(outbox: CodeOutbox) -> Self {
        Self {
            outbox,
            limits: CodeLimits::default(),
        }
    }

    /// Makes a code for this id, asked for from this address at `now`, ms. `site` is our address,
    /// for people.
    ///
    /// # Errors
    /// Too many were asked for.
    pub fn make_code(
        &self,
        user_id: &str,
        site: Option<&str>,
        address: IpAddr,
        now: i64,
    ) -> Result<NewCode, TooMany> {
        self.limits.count(user_id, address, now)?;
        let (browser, code) = (new_secret(), random_code());
        let asked = AskedCode {
            browser_hash: hash_secret(&browser),
            user_id: user_id.to_owned(),
            code_hash: hash_code(&browser, &code),
            asked_ms: now,
        };

        Ok(NewCode {
            browser,
            asked,
            wish: CodeWish {
                user_id: user_id.to_owned(),
                code,
                site: site.map(ToOwned::to_owned),
                asked_ms: now,
            },
        })
    }
}

/// Eight random digits.
fn random_code() -> String {
    let mut random = rand::rng();
    let digit = |_| char::from(b'0' + random.random_range(0..10u8));

    (0..DIGITS).map(digit).collect()
}

/// What is stored of a code. Without what the browser has, it cannot be found by trying all codes.
#[must_use]
pub fn hash_code(browser: &str, code: &str) -> String {
    hash_secret(&format!("{browser} {code}"))
}

/// The code that somebody entered, without what people write between its digits.
#[must_use]
pub fn digits_of(text: &str) -> String {
    let is_between = |sign: &char| !sign.is_whitespace() && *sign != '-';
    text.chars().filter(is_between).take(DIGITS + 1).collect()
}

/// The Matrix id that somebody entered; `None` if it is none.
#[must_use]
pub fn parse_entered_id(text: &str) -> Option<String> {
    let id = text.trim();
    let is_id = id.len() <= ID_MAX && ruma::UserId::parse(id).is_ok();

    is_id.then(|| id.to_owned())
}

/// The codes that were asked for lately, oldest first.
#[derive(Debug, Default)]
struct CodeLimits(Mutex<VecDeque<Ask>>);

#[derive(Debug)]
struct Ask {
    at_ms: i64,
    user_id: String,
    from: IpAddr,
}

impl CodeLimits {
    /// Counts a code that is asked for.
    ///
    /// # Errors
    /// There were too many: how long to wait.
    fn count(&self, user_id: &str, address: IpAddr, now: i64) -> Result<(), TooMany> {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |ask: &Ask| ask.at_ms.saturating_add(WITHIN_MS) <= now;
        while lately.front().is_some_and(is_over) {
            lately.pop_front();
        }

        let (from, server) = (network_of(address), server_of(user_id));
        let oldest_of = |most: usize, is_same: &dyn Fn(&Ask) -> bool| {
            let mut same = lately.iter().filter(|ask| is_same(ask));
            let oldest = same.next().map(|ask| ask.at_ms);
            oldest.filter(|_| same.count() + 1 >= most)
        };
        let full = [
            oldest_of(ID_MOST, &|ask| ask.user_id == user_id),
            oldest_of(ADDRESS_MOST, &|ask| ask.from == from),
            oldest_of(SERVER_MOST, &|ask| server_of(&ask.user_id) == server),
            oldest_of(ALL_MOST, &|_| true),
        ];

        if let Some(oldest_ms) = full.into_iter().flatten().max() {
            let wait_ms = oldest_ms.saturating_add(WITHIN_MS).saturating_sub(now);
            return Err(TooMany(wait_ms.unsigned_abs().div_ceil(1000).max(1)));
        }

        lately.push_back(Ask {
            at_ms: now,
            user_id: user_id.to_owned(),
            from,
        });

        Ok(())
    }
}

/// The server in a Matrix id.
fn server_of(user_id: &str) -> &str {
    user_id.split_once(':').map_or("", |(_, server)| server)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[test]
    fn an_id_gets_three_codes_in_ten_minutes_from_whatever_address() {
        let limits = CodeLimits::default();
        for number in 0..3 {
            assert_eq!(limits.count("@a:x", address(number), NOW), Ok(()));
        }

        assert_eq!(
            limits.count("@a:x", address(9), NOW + 1000),
            Err(TooMany(599))
        );
        assert_eq!(limits.count("@b:x", address(9), NOW), Ok(()));
        assert_eq!(limits.count("@a:x", address(9), NOW + WITHIN_MS), Ok(()));
    }

    #[test]
    fn an_address_and_a_server_have_limits_too() {
        let limits = CodeLimits::default();
        for number in 0..6 {
            let id = format!("@a{number}:x{number}");
            assert_eq!(limits.count(&id, address(1), NOW), Ok(()));
        }

        assert!(limits.count("@new:y", address(1), NOW).is_err());
        assert_eq!(limits.count("@new:y", address(2), NOW), Ok(()));

        let limits = CodeLimits::default();
        for number in 0..60 {
            let id = format!("@a{number}:x");
            assert_eq!(limits.count(&id, address(number), NOW), Ok(()));
        }

        assert!(limits.count("@new:x", address(99), NOW).is_err());
        assert_eq!(limits.count("@new:y", address(99), NOW), Ok(()));
    }

    #[test]
    fn a_code_is_eight_digits_and_bound_to_its_browser() {
        let (one, other) = (random_code(), random_code());
        assert!(one.len() == 8 && one.bytes().all(|sign| sign.is_ascii_digit()));
        assert_ne!(one, other);
        assert_eq!(hash_code("b", &one), hash_code("b", &digits_of(&one)));
        assert_ne!(hash_code("b", &one), hash_code("c", &one));
        assert_eq!(digits_of(" 1234 56-78\n"), "12345678");
        assert_eq!(digits_of(&"1".repeat(99)).len(), 9);
    }

    #[test]
    fn only_whole_ids_are_ids() {
        assert_eq!(
            parse_entered_id(" @a:b.example "),
            Some("@a:b.example".to_owned())
        );
        for wrong in [
            "",
            "a",
            "@a",
            "a:b",
            "#a:b",
            "@a:b c",
            &format!("@{}:b", "a".repeat(300)),
        ] {
            assert_eq!(parse_entered_id(wrong), None, "{wrong}");
        }
    }
}
