//! Takes messages out of the outbox and sends them, for each channel by itself: in order for each
//! subject, at least once, with growing pauses after failures. What is too much for a minute becomes
//! one message.

use super::channels::{Delivery, SendError};
use super::{Alerting, Error, RunningChannel};
use crate::rtc::alert::message::{Message, SummaryMessage};
use crate::rtc::id::hash;
use crate::store::alerts::outbox::{self, Attempt, NewMessage, OutboxMessage};
use std::collections::BTreeSet;
use std::time::Duration;

/// Maximum time of one attempt.
pub(super) const ATTEMPT_MOST: Duration = Duration::from_secs(30);
/// How often the outbox is looked at though nobody says that something is there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest pause between two attempts at one message, ms.
const PAUSE_MOST_MS: i64 = 60 * 60 * 1000;
/// The longest pause of a channel after failures, ms, if its receiver asks for none.
const REST_MOST_MS: i64 = 60 * 1000;
/// A receiver that asks for a longer pause than this, ms, is asked after it all the same.
const ASKED_PAUSE_MOST_MS: i64 = 24 * 60 * 60 * 1000;
const MINUTE_MS: i64 = 60_000;
/// Maximum messages that are read at once.
const READ_MOST: i64 = 2000;

/// What a sender does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nothing is due.
    Wait,
    /// The minute is full for so long, ms.
    Rest(i64),
    /// This one is sent.
    Send(usize),
    /// The messages from here on are told in one.
    TellInOne(Vec<usize>),
}

/// What to do with the messages that wait, oldest first. `sent` is when messages were sent within
/// the last minute, ms.
fn choose_next(waiting: &[OutboxMessage], sent: &[i64], per_minute: usize, now: i64) -> Next {
    // A message whose subject waits for a further attempt waits behind it.
    let mut held: BTreeSet<&str> = BTreeSet::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut due: Vec<usize> = Vec::new();
    let mut first_of_subjects: Vec<usize> = Vec::new();
    for (index, one) in waiting.iter().enumerate() {
        let subject = one.message.subject.as_str();
        let is_first = seen.insert(subject);
        if !is_due(one, now) || held.contains(subject) {
            held.insert(subject);
            continue;
        }

        due.push(index);
        if is_first {
            first_of_subjects.push(index);
        }
    }

    // One that is refused again and again must not keep off those of other subjects.
    let attempts = |index: &usize| waiting.get(*index).map_or(0, |one| one.attempts);
    let Some(first) = first_of_subjects
        .into_iter()
        .min_by_key(|index| (attempts(index), *index))
    else {
        return Next::Wait;
    };
    let left = per_minute.max(1).saturating_sub(sent.len());
    if left == 0 {
        let oldest_ms = sent.first().copied().unwrap_or(now);
        return Next::Rest((oldest_ms.saturating_add(MINUTE_MS) - now).clamp(100, MINUTE_MS));
    }

    // What was tried already keeps its key, and its subject its order; the last of a minute tells all
    // that is left.
    let due = due
        .into_iter()
        .filter_map(|index| Some((index, waiting.get(index)?)));
    let due: Vec<(usize, &OutboxMessage)> = due.collect();
    let tried: BTreeSet<&str> = due
        .iter()
        .filter(|(_, one)| one.attempts > 0)
        .map(|(_, one)| one.message.subject.as_str())
        .collect();
    let new: Vec<usize> = due
        .iter()
        .filter(|(_, one)| !tried.contains(one.message.subject.as_str()))
        .map(|(index, _)| *index)
        .collect();
    if left == 1 && new.len() > 1 {
        return Next::TellInOne(new);
    }

    Next::Send(first)
}

/// May this message be sent at `now`, ms? By a clock that was set back, what was not tried is still
/// due, and no pause is longer than it can be.
fn is_due(one: &OutboxMessage, now: i64) -> bool {
    one.attempts == 0 || one.due_ms <= now || one.due_ms > now.saturating_add(ASKED_PAUSE_MOST_MS)
}

/// The pause after so many failed attempts, ms: it doubles, up to an hour.
fn pause_ms(first_ms: i64, attempts: i64) -> i64 {
    let doublings = u32::try_from(attempts.clamp(0, 20)).unwrap_or(0);

    first_ms
        .saturating_mul(2_i64.saturating_pow(doublings))
        .min(PAUSE_MOST_MS)
}

impl Alerting {
    /// Sends the messages of a channel, for ever.
    pub(super) async fn send_forever(&self, running: &RunningChannel) {
        let name = &running.settings.scope.name;
        let mut failures = 0;
        loop {
            match self.send_next(running, &mut failures).await {
                Ok(None) => {}
                Ok(Some(wait)) => {
                    let _ = tokio::time::timeout(wait, running.wake.notified()).await;
                }
                Err(error) => {
                    tracing::warn!(channel = name, %error, "the outbox could not be read");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// Sends one message, or says how long to wait unless something comes.
    async fn send_next(
        &self,
        running: &RunningChannel,
        failures: &mut i64,
    ) -> Result<Option<Duration>, Error> {
        let name = running.settings.scope.name.as_str();
        let waiting = outbox::list_waiting(&self.store, name, READ_MOST).await?;
        if waiting.is_empty() {
            return Ok(Some(LOOK_EVERY));
        }

        let now = self.clock.now_ms();
        let from = now.saturating_sub(MINUTE_MS);
        let sent = outbox::sent_times(&self.store, name, from, now).await?;
        let per_minute = usize::try_from(running.settings.per_minute).unwrap_or(usize::MAX);
        match choose_next(&waiting, &sent, per_minute, now) {
            Next::Wait => Ok(Some(LOOK_EVERY.min(Duration::from_secs(1)))),
            Next::Rest(ms) => {
                tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await;
                Ok(None)
            }
            Next::TellInOne(indices) => {
                self.tell_in_one(name, &waiting, &indices, now).await?;
                Ok(None)
            }
            Next::Send(index) => match waiting.get(index) {
                Some(one) => self.send_message(running, one, failures).await,
                None => Ok(None),
            },
        }
    }

    /// Puts one message in the place of many.
    async fn tell_in_one(
        &self,
        channel: &str,
        waiting: &[OutboxMessage],
        indices: &[usize],
        now: i64,
    ) -> Result<(), Error> {
        let many: Vec<&OutboxMessage> = indices.iter().filter_map(|at| waiting.get(*at)).collect();
        let keys: Vec<String> = many.iter().map(|one| one.message.key.clone()).collect();
        let messages: Vec<Message> = many
            .iter()
            .filter_map(|one| serde_json::from_str(&one.message.payload).ok())
            .collect();
        let mut parts: Vec<&str> = vec![channel];
        parts.extend(keys.iter().map(String::as_str));
        let key = hash(&parts, 16);
        let rooms: BTreeSet<&str> = many
            .iter()
            .map(|one| one.message.room_id.as_str())
            .collect();
        let one = NewMessage {
            thread: key.clone(),
            key,
            channel: channel.to_owned(),
            subject: "flood".to_owned(),
            room_id: match (rooms.first(), rooms.len()) {
                (Some(room_id), 1) => (*room_id).to_owned(),
                _ => String::new(),
            },
            payload: serde_json::to_string(&Message::Summary(SummaryMessage::of_messages(
                &messages,
            )))?,
        };
        outbox::tell_in_one(&self.store, &keys, &one, now).await?;

        Ok(())
    }

    /// Sends a message, and notes what became of it. Returns how long the channel rests.
    async fn send_message(
        &self,
        running: &RunningChannel,
        one: &OutboxMessage,
        failures: &mut i64,
    ) -> Result<Option<Duration>, Error> {
        let settings = &running.settings;
        let name = settings.scope.name.as_str();
        let sent = match self.delivery_of_message(name, one).await? {
            Some(delivery) if !settings.scope.may_hear_message(&delivery.message) => Err(
                SendError::refused("the channel may not hear of it any more"),
            ),
            Some(delivery) => {
                let attempt = running.channel.send(&delivery);
                let timed_out = |_| Err(SendError::again("there was no answer in time"));
                let done = tokio::time::timeout(ATTEMPT_MOST, attempt).await;
                done.unwrap_or_else(timed_out)
            }
            None => Err(SendError::refused(
                "a newer version wrote it in another form",
            )),
        };

        let now = self.clock.now_ms();
        let (attempt, rest) = match sent {
            Ok(receipt) => {
                *failures = 0;
                (Attempt::Sent { receipt }, None)
            }
            Err(error) => {
                let is_too_old = now.saturating_sub(one.created_ms) >= settings.give_up_ms;
                if error.is_final || is_too_old {
                    let why = if error.is_final {
                        error.why
                    } else {
                        format!("given up: {}", error.why)
                    };
                    tracing::warn!(channel = name, why, "a message was not sent");
                    (Attempt::Failed { why }, None)
                } else {
                    let own_ms = pause_ms(settings.retry_ms, *failures).min(REST_MOST_MS);
                    let asked_ms = error.asked_pause_ms.unwrap_or(0).min(ASKED_PAUSE_MOST_MS);
                    if *failures == 0 {
                        let why = &error.why;
                        tracing::warn!(channel = name, why, "a message waits for another attempt");
                    }

                    *failures += 1;
                    let due_ms =
                        now.saturating_add(pause_ms(settings.retry_ms, one.attempts).max(asked_ms));
                    let why = error.why;
                    let rest_ms = own_ms.max(asked_ms).unsigned_abs();
                    (
                        Attempt::Again { due_ms, why },
                        Some(Duration::from_millis(rest_ms)),
                    )
                }
            }
        };
        self.record_surely(&one.message.key, &attempt).await;
        if let Some(rest) = rest {
            tokio::time::sleep(rest).await;
        }

        Ok(None)
    }

    /// Notes what became of an attempt. While the database takes nothing, it waits: what was sent
    /// must not be sent again.
    async fn record_surely(&self, key: &str, attempt: &Attempt) {
        let mut fails = false;
        loop {
            let now = self.clock.now_ms();
            match outbox::record_attempt(&self.store, key, attempt, now).await {
                Ok(()) => return,
                Err(error) if !fails => {
                    fails = true;
                    tracing::warn!(%error, "what became of a message could not be written");
                }
                Err(_) => {}
            }

            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What is handed to the channel; `None` if the message cannot be read.
    async fn delivery_of_message(
        &self,
        channel: &str,
        one: &OutboxMessage,
    ) -> Result<Option<Delivery>, Error> {
        let Ok(message) = serde_json::from_str(&one.message.payload) else {
            return Ok(None);
        };

        Ok(Some(Delivery {
            key: one.message.key.clone(),
            first_receipt: outbox::first_receipt(&self.store, channel, &one.message.thread).await?,
            message,
            public_url: self.settings.public_url.clone(),
            at_ms: one.created_ms,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::alerts::outbox::OutboxState;

    fn waiting(number: i64, subject: &str, due_ms: i64, attempts: i64) -> OutboxMessage {
        OutboxMessage {
            number,
            message: NewMessage {
                key: number.to_string(),
                channel: "c".to_owned(),
                subject: subject.to_owned(),
                thread: String::new(),
                room_id: String::new(),
                payload: String::new(),
            },
            created_ms: 0,
            due_ms,
            attempts,
            state: OutboxState::Waiting,
            settled_ms: None,
            why: None,
            receipt: None,
        }
    }

    #[test]
    fn messages_of_a_subject_wait_behind_the_one_that_failed() {
        let one = [
            waiting(1, "a", 500, 1),
            waiting(2, "a", 0, 0),
            waiting(3, "b", 0, 0),
        ];
        assert_eq!(choose_next(&one, &[], 10, 100), Next::Send(2));
        assert_eq!(choose_next(&one[..2], &[], 10, 100), Next::Wait);
        // It is due again, but what was not tried yet goes first.
        assert_eq!(choose_next(&one, &[], 10, 500), Next::Send(2));
        assert_eq!(choose_next(&one[..2], &[], 10, 500), Next::Send(0));
    }

    #[test]
    fn what_is_too_much_for_a_minute_becomes_one_message() {
        let many: Vec<OutboxMessage> = (0..5)
            .map(|number| waiting(number, &number.to_string(), 0, 0))
            .collect();
        assert_eq!(choose_next(&many, &[1], 3, 100), Next::Send(0));
        let all: Vec<usize> = (0..5).collect();
        assert_eq!(choose_next(&many, &[1, 2], 3, 100), Next::TellInOne(all));
        assert_eq!(choose_next(&many[..1], &[1, 2], 3, 100), Next::Send(0));
        assert_eq!(
            choose_next(&many, &[1, 2, 3], 3, 100),
            Next::Rest(59_901),
            "the first of the minute was sent 99 ms ago"
        );
        // What was tried may have come: it is sent again under its key.
        let mut tried = many.clone();
        tried[0].attempts = 1;
        let new: Vec<usize> = (1..5).collect();
        assert_eq!(choose_next(&tried, &[1, 2], 3, 100), Next::TellInOne(new));
        assert_eq!(choose_next(&tried[..1], &[1, 2], 3, 100), Next::Send(0));
    }

    #[test]
    fn one_that_is_refused_again_and_again_keeps_off_no_other() {
        let one = [
            waiting(1, "a", 0, 7),
            waiting(2, "a", 0, 0),
            waiting(3, "b", 0, 2),
            waiting(4, "c", 0, 2),
        ];
        assert_eq!(choose_next(&one, &[], 10, 100), Next::Send(2));
        assert_eq!(choose_next(&one[..2], &[], 10, 100), Next::Send(0));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_wait_for_days() {
        let days = 3 * ASKED_PAUSE_MOST_MS;
        assert_eq!(
            choose_next(&[waiting(1, "a", days, 1)], &[], 10, 100),
            Next::Send(0)
        );
        let new = waiting(1, "a", ASKED_PAUSE_MOST_MS / 2, 0);
        assert_eq!(choose_next(&[new], &[], 10, 100), Next::Send(0));
    }

    #[test]
    fn pauses_grow_to_an_hour() {
        let pauses: Vec<i64> = (0..4).map(|attempts| pause_ms(5000, attempts)).collect();
        assert_eq!(pauses, [5000, 10_000, 20_000, 40_000]);
        assert_eq!(pause_ms(5000, 10), PAUSE_MOST_MS);
        assert_eq!(pause_ms(5000, i64::MAX), PAUSE_MOST_MS);
    }
}
