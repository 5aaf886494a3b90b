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
/// The signs of a code: none looks like another.
const SIGNS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Number of signs of a code.
const LENGTH: usize = 10;
/// Maximum codes that are asked for within the time from one network, and from there for one id.
/// They count whether there is such an account or not. What counts for an id from everywhere, or
/// for a server, the observer alone knows, so that nobody can lock others out here.
const NETWORK_MOST: usize = 6;
const ID_MOST: usize = 3;
/// The time within which they count, ms.
const WITHIN_MS: i64 = 10 * 60 * 1000;
/// Maximum that are remembered; then the oldest is forgotten.
const REMEMBERED_MOST: usize = 20_000;

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
        let browser_hash = hash_secret(&browser);
        let asked = AskedCode {
            browser_hash: browser_hash.clone(),
            user_id: user_id.to_owned(),
            code_hash: hash_code(&browser, &code),
            asked_ms: now,
        };

        Ok(NewCode {
            browser,
            asked,
            wish: CodeWish {
                browser_hash,
                user_id: user_id.to_owned(),
                code,
                site: site.map(ToOwned::to_owned),
                asked_ms: now,
            },
        })
    }
}

/// Ten random signs: 50 bits.
fn random_code() -> String {
    let mut random = rand::rng();
    let sign = |_| char::from(SIGNS[random.random_range(0..SIGNS.len())]);

    (0..LENGTH).map(sign).collect()
}

/// What is stored of a code. Without what the browser has, it cannot be found by trying all codes.
#[must_use]
pub fn hash_code(browser: &str, code: &str) -> String {
    hash_secret(&format!("{browser} {code}"))
}

/// The code that somebody entered, in capitals, without what people write between its signs.
#[must_use]
pub fn signs_of_code(text: &str) -> String {
    let is_sign = |sign: &char| !sign.is_whitespace() && *sign != '-';
    let signs = text.chars().filter(is_sign).take(LENGTH + 1);

    signs.map(|sign| sign.to_ascii_uppercase()).collect()
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

        let from = network_of(address);
        let oldest_of = |most: usize, is_same: &dyn Fn(&Ask) -> bool| {
            let mut same = lately.iter().filter(|ask| is_same(ask));
            let oldest = same.next().map(|ask| ask.at_ms);
            oldest.filter(|_| same.count() + 1 >= most)
        };
        let full = [
            oldest_of(NETWORK_MOST, &|ask| ask.from == from),
            oldest_of(ID_MOST, &|ask| ask.from == from && ask.user_id == user_id),
        ];

        if let Some(oldest_ms) = full.into_iter().flatten().max() {
            let wait_ms = oldest_ms.saturating_add(WITHIN_MS).saturating_sub(now);
            return Err(TooMany(wait_ms.unsigned_abs().div_ceil(1000).max(1)));
        }

        if lately.len() >= REMEMBERED_MOST {
            lately.pop_front();
        }

        lately.push_back(Ask {
            at_ms: now,
            user_id: user_id.to_owned(),
            from,
        });

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[test]
    fn a_network_gets_three_codes_for_an_id_in_ten_minutes_and_locks_nobody_else_out() {
        let limits = CodeLimits::default();
        for _ in 0..3 {
            assert_eq!(limits.count("@a:x", address(1), NOW), Ok(()));
        }

        assert_eq!(
            limits.count("@a:x", address(1), NOW + 1000),
            Err(TooMany(599))
        );
        assert_eq!(limits.count("@b:x", address(1), NOW), Ok(()));
        assert_eq!(limits.count("@a:x", address(1), NOW + WITHIN_MS), Ok(()));

        // The id, its server and all together are open to other networks.
        for number in 2..200 {
            assert_eq!(limits.count("@a:x", address(number), NOW), Ok(()));
        }
    }

    #[test]
    fn a_network_has_a_limit_for_all_ids() {
        let limits = CodeLimits::default();
        for number in 0..6 {
            let id = format!("@a{number}:x{number}");
            assert_eq!(limits.count(&id, address(1), NOW), Ok(()));
        }

        assert!(limits.count("@new:y", address(1), NOW).is_err());
        assert_eq!(limits.count("@new:y", address(2), NOW), Ok(()));
    }

    #[test]
    fn a_code_is_ten_signs_in_any_case_and_bound_to_its_browser() {
        let (one, other) = (random_code(), random_code());
        assert!(one.len() == 10 && one.bytes().all(|sign| SIGNS.contains(&sign)));
        assert_ne!(one, other);
        assert_eq!(hash_code("b", &one), hash_code("b", &signs_of_code(&one)));
        assert_ne!(hash_code("b", &one), hash_code("c", &one));
        assert_eq!(signs_of_code(" abcde-23 456\n"), "ABCDE23456");
        assert_eq!(signs_of_code(&"A".repeat(99)).len(), 11);
        assert!(SIGNS.iter().all(|sign| !b"01IO".contains(sign)));
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
