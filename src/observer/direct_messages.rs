//! Direct messages to our account: whoever writes "opt out" in the direct room that we opened for
//! them is forgotten. Nothing else is read, and no text is stored. Whoever asks us into a direct
//! room of their own, which is usually encrypted, is asked into ours instead.

use super::backoff::Backoff;
use super::error_state::Work;
use super::{Error, Observer};
use crate::matrix::{DirectText, Invite, Secret};
use crate::rtc::id::hash;
use crate::rtc::time::DAY_MS;
use crate::rtc::words::Mode;
use crate::store::ingest::{direct_rooms, invitations};
use crate::store::sign_in::opt_outs;
use std::collections::{BTreeMap, BTreeSet};

/// How long the homeserver may wait for a text, ms.
const WAIT_MS: u64 = 30_000;
/// Maximum direct rooms that are heard, the newest.
const ROOMS_MOST: usize = 1000;
/// Maximum people who wait for their direct room, and who were greeted within a day.
const ASKING_MOST: usize = 100;
const GREETED_MOST: usize = 600;
/// Maximum answers in one room within a day.
const ANSWERS_MOST: u32 = 20;

const FORGOTTEN: &str = "You are being forgotten. What was recorded of you becomes nobody’s in a \
    moment, and what comes later is recorded without your id. It cannot be undone.";
const HELP: &str = "I record who is in the calls of the rooms that I am in, and show it on web \
    pages. To be forgotten, and not recorded any more, write here: opt out\nIt cannot be undone. I \
    read nothing but this room, and store none of it.";

/// What a text asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DirectWish {
    OptOut,
    Other,
}

/// What a text asks for, in whatever case and punctuation.
fn wish_of_text(text: &str) -> DirectWish {
    let letters = text.chars().filter(|sign| sign.is_alphanumeric());
    let word: String = letters.take(40).flat_map(char::to_lowercase).collect();

    match word.as_str() {
        "optout" | "callsoptout" | "callscopeoptout" | "forgetme" | "donotrecordme" => {
            DirectWish::OptOut
        }
        _ => DirectWish::Other,
    }
}

/// Who asked us into a direct room, and waits for ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DirectRequest {
    user_id: String,
    /// Their room, which we do not join.
    room_id: String,
}

/// What was answered lately, so that nobody makes us write without end. It is counted by day.
#[derive(Debug, Default)]
struct Answered {
    day: i64,
    by_room: BTreeMap<String, u32>,
    greeted: BTreeSet<String>,
}

impl Answered {
    /// Begins to count anew if `now`, ms, is another day.
    fn begin_day(&mut self, now: i64) {
        let day = now.div_euclid(DAY_MS);
        if day != self.day {
            *self = Self {
                day,
                ..Self::default()
            };
        }
    }

    /// May something be answered in this room at `now`, ms? It counts as answered then.
    fn admit_answer(&mut self, room_id: &str, now: i64) -> bool {
        self.begin_day(now);
        let answers = self.by_room.entry(room_id.to_owned()).or_default();
        *answers += 1;

        *answers <= ANSWERS_MOST
    }

    /// May this user be greeted at `now`, ms? Once a day.
    fn admit_greeting(&mut self, user_id: &str, now: i64) -> bool {
        self.begin_day(now);

        self.greeted.len() < GREETED_MOST && self.greeted.insert(user_id.to_owned())
    }
}

impl Observer {
    /// Remembers who asks us into a direct room. Returns false if it is no such invitation, or
    /// nobody is answered.
    pub(super) fn is_asked_directly(&self, invite: &Invite) -> bool {
        if !invite.is_direct || !self.hears_direct_messages() {
            return false;
        }

        let Some(user_id) = &invite.inviter else {
            return false;
        };

        let asking = self.asking_directly.lock();
        let mut asking = asking.unwrap_or_else(std::sync::PoisonError::into_inner);
        if asking.len() < ASKING_MOST {
            asking.insert(DirectRequest {
                user_id: user_id.clone(),
                room_id: invite.room_id.clone(),
            });
            self.direct_changed.notify_one();
        }

        true
    }

    fn hears_direct_messages(&self) -> bool {
        self.settings.mode == Mode::Follow && self.settings.opt_out_by_message
    }

    /// Answers those who write to us or ask us into a direct room, for ever.
    pub(super) async fn answer_direct_messages(&self) {
        if !self.hears_direct_messages() {
            return;
        }

        let (mut since, mut answered) = (None, Answered::default());
        let mut backoff = Backoff::new();
        loop {
            let done = async {
                self.greet_who_asked(&mut answered).await?;
                self.hear_texts(&mut since, &mut answered).await
            };
            match done.await {
                Ok(()) => {
                    backoff = Backoff::new();
                    self.succeeded(Work::DirectMessages).await;
                }
                Err(error) => {
                    let doing = "hearing direct messages";
                    self.failed(Work::DirectMessages, doing, &error).await;
                    tokio::time::sleep(Self::pause(&error, &mut backoff)).await;
                }
            }
        }
    }

    /// Waits for texts after `since` and answers them. It ends when one came, when the time is
    /// over, or when there is another direct room.
    async fn hear_texts(
        &self,
        since: &mut Option<String>,
        answered: &mut Answered,
    ) -> Result<(), Error> {
        let rooms = direct_rooms::list_rooms_of_people(&self.store, ROOMS_MOST).await?;
        if rooms.is_empty() {
            self.direct_changed.notified().await;
            return Ok(());
        }

        let room_ids: Vec<&str> = rooms.iter().map(|room| room.room_id.as_str()).collect();
        let heard = self
            .client
            .direct_texts(&room_ids, since.as_deref(), WAIT_MS);
        let heard = tokio::select! {
            heard = heard => heard?,
            () = self.direct_changed.notified() => return Ok(()),
        };

        for text in &heard.texts {
            let is_owner = |room: &&direct_rooms::RoomOfPerson| {
                room.room_id == text.room_id && room.user_id == text.sender
            };
            if let Some(room) = rooms.iter().find(is_owner) {
                self.answer_text(room, text, answered).await?;
            }
        }

        *since = Some(heard.next_batch);

        Ok(())
    }

    /// Does what a text asks for. A text from before our start is answered only if it asks for
    /// something.
    async fn answer_text(
        &self,
        room: &direct_rooms::RoomOfPerson,
        text: &DirectText,
        answered: &mut Answered,
    ) -> Result<(), Error> {
        let now = self.clock.now_ms();
        let wish = wish_of_text(&text.body);
        if wish == DirectWish::Other && text.sent_ms < self.started_ms {
            return Ok(());
        }

        let words = match wish {
            DirectWish::OptOut => {
                let sign_ins = self.store.sign_ins();
                opt_outs::record_opt_out(&sign_ins, &room.user_id, now).await?;
                tracing::info!("somebody asked by a message not to be recorded");
                FORGOTTEN
            }
            DirectWish::Other => HELP,
        };
        if answered.admit_answer(&room.room_id, now) {
            self.write_directly(&room.room_id, &text.event_id, words)
                .await;
        }

        Ok(())
    }

    /// Writes a text into a direct room, once for each `cause`. A failure is only logged: what was
    /// asked for is done all the same.
    async fn write_directly(&self, room_id: &str, cause: &str, words: &str) {
        let transaction = hash(&[room_id, cause], 16);
        let words = Secret::new(words);
        if let Err(error) = self.client.send_text(room_id, &transaction, &words).await {
            tracing::warn!(%error, "a direct message could not be answered");
        }
    }

    /// Asks those who asked us into a direct room into ours, and declines theirs. Who is in no
    /// watched room is not answered: their invitation waits for the operator as all others.
    async fn greet_who_asked(&self, answered: &mut Answered) -> Result<(), Error> {
        loop {
            let request = {
                let asking = self.asking_directly.lock();
                let mut asking = asking.unwrap_or_else(std::sync::PoisonError::into_inner);
                asking.pop_first()
            };
            let Some(request) = request else {
                return Ok(());
            };

            if !direct_rooms::shares_watched_room(&self.store, &request.user_id).await? {
                continue;
            }

            if answered.admit_greeting(&request.user_id, self.clock.now_ms()) {
                self.greet(&request).await?;
            }
            self.client.leave(&request.room_id).await?;
            invitations::close_invitation(&self.store, &self.vantage_id, &request.room_id).await?;
        }
    }

    /// Opens the direct room of a person and says there what can be written.
    async fn greet(&self, request: &DirectRequest) -> Result<(), Error> {
        if let Some(room_id) = self.open_direct_room(&request.user_id).await? {
            self.write_directly(&room_id, &request.room_id, HELP).await;
        }

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opting_out_is_understood_in_whatever_way_it_is_written() {
        for text in [
            "opt out",
            "Opt-out.",
            " OPTOUT\n",
            "!calls optout",
            "“Forget me!”",
        ] {
            assert_eq!(wish_of_text(text), DirectWish::OptOut, "{text}");
        }
        for text in ["", "help", "how do I opt out?", "I do not want to opt out"] {
            assert_eq!(wish_of_text(text), DirectWish::Other, "{text}");
        }
    }

    #[test]
    fn nobody_is_answered_without_end() {
        let mut answered = Answered::default();
        let answers = (0..100).filter(|_| answered.admit_answer("!a:x", 1));
        assert_eq!(answers.count(), 20);
        assert!(answered.admit_answer("!b:x", 1));
        assert!(answered.admit_greeting("@a:x", 1) && !answered.admit_greeting("@a:x", 2));
        assert!(answered.admit_answer("!a:x", DAY_MS) && answered.admit_greeting("@a:x", DAY_MS));
    }
}
