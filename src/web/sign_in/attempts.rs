//! Limits wrong passwords, by address and in all, so that nobody can try many. A right password
//! does not count. Time is an argument, so no limiter with a clock of its own is used.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum wrong passwords of one address, and of all addresses, within the time.
const ADDRESS_MOST: usize = 6;
const ALL_MOST: usize = 60;
/// The time within which they count, ms.
const WITHIN_MS: i64 = 10 * 60 * 1000;

/// The passwords that were tried lately and were not right, or are being checked.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<VecDeque<Attempt>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    at_ms: i64,
    from: IpAddr,
}

/// How long nobody from there may try again, s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany(pub u64);

impl Attempts {
    fn lately(&self, now: i64) -> MutexGuard<'_, VecDeque<Attempt>> {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |attempt: &Attempt| attempt.at_ms.saturating_add(WITHIN_MS) <= now;
        while tried.front().is_some_and(is_over) {
            tried.pop_front();
        }

        tried
    }

    /// Counts an attempt before it is checked, so that many at once are counted, too.
    ///
    /// # Errors
    /// There were too many.
    pub fn begin(&self, address: IpAddr, now: i64) -> Result<(), TooMany> {
        let from = network_of(address);
        let mut tried = self.lately(now);
        let of_address = tried.iter().filter(|attempt| attempt.from == from);
        let oldest = if of_address.clone().count() >= ADDRESS_MOST {
            of_address.map(|attempt| attempt.at_ms).next()
        } else if tried.len() >= ALL_MOST {
            tried.front().map(|attempt| attempt.at_ms)
        } else {
            None
        };

        if let Some(oldest_ms) = oldest {
            let wait_ms = oldest_ms.saturating_add(WITHIN_MS).saturating_sub(now);
            return Err(TooMany(wait_ms.unsigned_abs().div_ceil(1000).max(1)));
        }

        tried.push_back(Attempt { at_ms: now, from });

        Ok(())
    }

    /// Takes back an attempt that began at `at_ms`: the password was right, or was not checked.
    pub fn take_back(&self, address: IpAddr, at_ms: i64) {
        let attempt = Attempt {
            at_ms,
            from: network_of(address),
        };
        let mut tried = self.lately(at_ms);
        if let Some(place) = tried.iter().rposition(|other| *other == attempt) {
            tried.remove(place);
        }
    }
}

/// The address; of an IPv6 address the network of 64 bits, because one customer has all of it.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn six_wrong_ones_are_enough_for_ten_minutes() {
        let attempts = Attempts::default();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for at in 0..6 {
            assert_eq!(attempts.begin(one, NOW + at * 1000), Ok(()));
        }

        assert_eq!(attempts.begin(one, NOW + 60_000), Err(TooMany(540)));
        assert_eq!(attempts.begin(other, NOW + 60_000), Ok(()));
        assert!(attempts.begin(one, NOW + WITHIN_MS - 1).is_err());
        assert_eq!(attempts.begin(one, NOW + WITHIN_MS), Ok(()));
        assert!(
            attempts.begin(one, NOW + WITHIN_MS).is_err(),
            "one is free again"
        );
    }

    #[test]
    fn a_right_one_does_not_count() {
        let attempts = Attempts::default();
        let one = address("192.0.2.1");
        for at in 0..20 {
            assert_eq!(attempts.begin(one, NOW + at), Ok(()));
            attempts.take_back(one, NOW + at);
        }
    }

    #[test]
    fn all_together_have_a_limit_and_a_network_is_one() {
        let attempts = Attempts::default();
        for number in 0..60 {
            let from = address(&format!("192.0.2.{number}"));
            assert_eq!(attempts.begin(from, NOW), Ok(()));
        }

        assert_eq!(
            attempts.begin(address("192.0.2.99"), NOW),
            Err(TooMany(600))
        );

        let attempts = Attempts::default();
        for number in 0..6 {
            let from = address(&format!("2001:db8::{number}"));
            assert_eq!(attempts.begin(from, NOW), Ok(()));
        }

        assert!(attempts.begin(address("2001:db8::ffff"), NOW).is_err());
        assert_eq!(attempts.begin(address("2001:db8:0:1::1"), NOW), Ok(()));
    }
}
