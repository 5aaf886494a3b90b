//! Sign-ins that were begun at the provider and have not come back: each is good once, for ten
//! minutes, and only for the browser that began it.

use crate::web::sign_in::attempts::network_of;
use crate::web::sign_in::secret_text::hash_secret;
use openidconnect::{Nonce, PkceCodeVerifier};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// The time within which a sign-in has to come back, ms.
const WITHIN_MS: i64 = 10 * 60 * 1000;
/// How long it is remembered, so that a late one is told that it is late, ms.
const REMEMBERED_MS: i64 = 60 * 60 * 1000;
/// Maximum sign-ins that one address, and all together, have begun. A new one takes the place of
/// the oldest, first of those from the same address, so that a flood only hurts itself.
const ADDRESS_MOST: usize = 20;
const ALL_MOST: usize = 5000;

/// The sign-ins that have not come back, oldest first.
#[derive(Debug, Default)]
pub struct PendingSignIns(Mutex<VecDeque<PendingSignIn>>);

/// A sign-in that was begun. Of what comes back, only hashes are kept.
#[derive(Debug)]
pub struct PendingSignIn {
    /// The hash of the text that the provider hands back.
    pub state_hash: String,
    /// The hash of what the browser has in its cookie.
    pub browser_hash: String,
    /// What the provider's token must repeat.
    pub nonce: Nonce,
    /// Only who has it gets the token for the code.
    pub verifier: PkceCodeVerifier,
    /// The path of ours to go to afterwards.
    pub next: String,
    /// The address that began it.
    pub address: IpAddr,
    /// When it was begun, ms.
    pub begun_ms: i64,
}

/// Why there is no such sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPending {
    /// It was never begun, or has come back already.
    Unknown,
    /// It was begun too long ago.
    Late,
    /// Another browser began it.
    OtherBrowser,
}

impl PendingSignIns {
    /// Adds a sign-in that was just begun.
    pub fn add(&self, sign_in: PendingSignIn) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = sign_in.begun_ms.saturating_sub(REMEMBERED_MS);
        pending.retain(|other| other.begun_ms > forgotten);

        let from = network_of(sign_in.address);
        let is_same = |other: &PendingSignIn| network_of(other.address) == from;
        if pending.iter().filter(|other| is_same(other)).count() >= ADDRESS_MOST {
            let oldest = pending.iter().position(is_same);
            oldest.and_then(|place| pending.remove(place));
        } else if pending.len() >= ALL_MOST {
            pending.pop_front();
        }

        pending.push_back(sign_in);
    }

    /// Takes out the sign-in that comes back with this state to the browser with this cookie. It is
    /// gone then, whether it was good or not.
    ///
    /// # Errors
    /// There is none that is good.
    pub fn take(
        &self,
        state: &str,
        browser: Option<&str>,
        now: i64,
    ) -> Result<PendingSignIn, NotPending> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state_hash = hash_secret(state);
        let place = pending
            .iter()
            .position(|sign_in| sign_in.state_hash == state_hash);
        let taken = place.and_then(|place| pending.remove(place));
        let sign_in = taken.ok_or(NotPending::Unknown)?;

        if sign_in.begun_ms.saturating_add(WITHIN_MS) <= now {
            return Err(NotPending::Late);
        }

        let is_same_browser = browser.is_some_and(|id| hash_secret(id) == sign_in.browser_hash);

        is_same_browser
            .then_some(sign_in)
            .ok_or(NotPending::OtherBrowser)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    fn begun(state: &str, address: &str, begun_ms: i64) -> PendingSignIn {
        PendingSignIn {
            state_hash: hash_secret(state),
            browser_hash: hash_secret("browser"),
            nonce: Nonce::new("n".to_owned()),
            verifier: PkceCodeVerifier::new("v".repeat(43)),
            next: "/calls".to_owned(),
            address: address.parse().unwrap(),
            begun_ms,
        }
    }

    fn take(pending: &PendingSignIns, state: &str, browser: &str, now: i64) -> Option<NotPending> {
        pending.take(state, Some(browser), now).err()
    }

    #[test]
    fn each_is_good_once_and_for_its_browser_alone() {
        let pending = PendingSignIns::default();
        for state in ["a", "b", "c"] {
            pending.add(begun(state, "192.0.2.1", NOW));
        }

        assert_eq!(
            take(&pending, "x", "browser", NOW),
            Some(NotPending::Unknown)
        );
        assert_eq!(take(&pending, "a", "browser", NOW), None);
        assert_eq!(
            take(&pending, "a", "browser", NOW),
            Some(NotPending::Unknown)
        );
        let other = Some(NotPending::OtherBrowser);
        assert_eq!(take(&pending, "b", "another", NOW), other);
        assert_eq!(
            take(&pending, "b", "browser", NOW),
            Some(NotPending::Unknown)
        );
        assert_eq!(pending.take("c", None, NOW).err(), other);
    }

    #[test]
    fn after_ten_minutes_it_is_late() {
        let pending = PendingSignIns::default();
        for state in ["a", "b"] {
            pending.add(begun(state, "192.0.2.1", NOW));
        }

        let end = NOW + WITHIN_MS;
        assert_eq!(take(&pending, "a", "browser", end - 1), None);
        assert_eq!(take(&pending, "b", "browser", end), Some(NotPending::Late));
    }

    #[test]
    fn a_flood_only_hurts_itself() {
        let pending = PendingSignIns::default();
        pending.add(begun("quiet", "192.0.2.1", NOW));
        for number in 0..100 {
            pending.add(begun(&format!("flood {number}"), "192.0.2.2", NOW));
        }

        assert_eq!(pending.0.lock().unwrap().len(), ADDRESS_MOST + 1);
        assert_eq!(take(&pending, "quiet", "browser", NOW), None);
        assert_eq!(take(&pending, "flood 99", "browser", NOW), None);
    }
}
