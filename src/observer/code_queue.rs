//! The codes that wait to be sent, and how many may be: for one id, of one server and in all. Only
//! ids in watched rooms come here. Time is an argument.

use crate::rtc::id::server_of;
use crate::rtc::time::DAY_MS;
use crate::store::sign_in::codes::CodeWish;
use std::collections::VecDeque;

/// Maximum codes within ten minutes for one id, for one server and in all, and within a day for one
/// id.
const ID_MOST: usize = 3;
const SERVER_MOST: usize = 60;
const ALL_MOST: usize = 600;
const ID_DAY_MOST: usize = 10;
const SHORT_MS: i64 = 10 * 60 * 1000;
/// Maximum codes that are sent at the same time, and of one server: one that is slow must not delay
/// all others.
const SENDING_MOST: usize = 32;
const SENDING_SERVER_MOST: usize = 2;

/// The codes that wait to be sent, those that are being sent, and those of the last day.
#[derive(Debug, Default)]
pub(super) struct CodeQueue {
    waiting: VecDeque<CodeWish>,
    /// To whom codes are being sent, by id.
    sending: Vec<String>,
    /// The codes of the last day, oldest first.
    lately: VecDeque<Admitted>,
}

#[derive(Debug)]
struct Admitted {
    at_ms: i64,
    user_id: String,
}

impl CodeQueue {
    /// Adds a code at `now`, ms. Returns false, and drops it, if there were too many.
    pub fn admit(&mut self, wish: CodeWish, now: i64) -> bool {
        let is_over = |one: &Admitted| one.at_ms.saturating_add(DAY_MS) <= now;
        while self.lately.front().is_some_and(is_over) {
            self.lately.pop_front();
        }

        let is_short = |one: &&Admitted| one.at_ms.saturating_add(SHORT_MS) > now;
        let short = || self.lately.iter().filter(is_short);
        let is_same = |one: &&Admitted| one.user_id == wish.user_id;
        let server = server_of(&wish.user_id);
        let of_server = short().filter(|one| server_of(&one.user_id) == server);
        let is_full = short().filter(is_same).count() >= ID_MOST
            || self.lately.iter().filter(is_same).count() >= ID_DAY_MOST
            || of_server.count() >= SERVER_MOST
            || short().count() >= ALL_MOST;
        if is_full {
            return false;
        }

        self.lately.push_back(Admitted {
            at_ms: now,
            user_id: wish.user_id.clone(),
        });
        self.waiting.push_back(wish);

        true
    }

    /// The next code that may be sent now, oldest first. Never two of one id at a time, so that
    /// nobody gets two rooms.
    pub fn take_next(&mut self) -> Option<CodeWish> {
        if self.sending.len() >= SENDING_MOST {
            return None;
        }

        let may_begin = |wish: &CodeWish| {
            let server = server_of(&wish.user_id);
            let of_server = self.sending.iter().filter(|id| server_of(id) == server);
            of_server.count() < SENDING_SERVER_MOST && !self.sending.contains(&wish.user_id)
        };
        let place = self.waiting.iter().position(may_begin)?;
        let wish = self.waiting.remove(place)?;
        self.sending.push(wish.user_id.clone());

        Some(wish)
    }

    /// Notes that the sending to this id has ended.
    pub fn end_sending(&mut self, user_id: &str) {
        self.sending.retain(|id| id != user_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn wish(user_id: &str) -> CodeWish {
        CodeWish {
            browser_hash: String::new(),
            user_id: user_id.to_owned(),
            code: "ABCDE23456".to_owned(),
            site: None,
            asked_ms: NOW,
        }
    }

    #[test]
    fn an_id_gets_three_codes_in_ten_minutes_and_ten_in_a_day() {
        let mut queue = CodeQueue::default();
        let mut admit = |at_ms| queue.admit(wish("@a:x"), at_ms);
        assert!(admit(NOW) && admit(NOW) && admit(NOW) && !admit(NOW));

        let mut later = NOW;
        for _ in 0..7 {
            later += SHORT_MS;
            assert!(admit(later));
        }

        assert!(!admit(later + SHORT_MS));
        assert!(admit(NOW + DAY_MS));
    }

    #[test]
    fn a_server_and_all_have_limits() {
        let mut queue = CodeQueue::default();
        for number in 0..60 {
            assert!(queue.admit(wish(&format!("@a{number}:x")), NOW));
        }

        assert!(!queue.admit(wish("@new:x"), NOW));
        for number in 0..540 {
            assert!(queue.admit(wish(&format!("@a:x{number}")), NOW));
        }

        assert!(!queue.admit(wish("@new:y"), NOW));
        assert!(queue.admit(wish("@new:y"), NOW + SHORT_MS));
    }

    #[test]
    fn a_slow_server_holds_up_nobody_else_and_an_id_has_one_at_a_time() {
        let mut queue = CodeQueue::default();
        for id in ["@a:slow", "@a:slow", "@b:slow", "@c:slow", "@d:other"] {
            assert!(queue.admit(wish(id), NOW));
        }

        let mut next = || queue.take_next().map(|wish| wish.user_id);
        assert_eq!(next().as_deref(), Some("@a:slow"));
        assert_eq!(next().as_deref(), Some("@b:slow"));
        assert_eq!(next().as_deref(), Some("@d:other"));
        assert_eq!(next(), None);

        queue.end_sending("@b:slow");
        let next = queue.take_next().map(|wish| wish.user_id);
        assert_eq!(next.as_deref(), Some("@c:slow"));
        queue.end_sending("@a:slow");
        let next = queue.take_next().map(|wish| wish.user_id);
        assert_eq!(next.as_deref(), Some("@a:slow"));
    }
}
