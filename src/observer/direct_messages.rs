//! Direct messages to our account: whoever writes "opt out" in the direct room that we opened for
//! them is forgotten. Nothing else is read, and no text is stored. Whoever asks us into a direct
//! room of their own, which is usually encrypted, is asked into ours instead.

use super::backoff::Backoff;
use super::error_state::Work;
use super::{Error, Observer};
use crate::matrix::{self, DirectText, Secret};
use crate::rtc::id::hash;
use crate::rtc::time::DAY_MS;
use crate::rtc::words::Mode;
use crate::store::ingest::direct_rooms::{self, RoomOfPerson};
use crate::store::ingest::invitations::{self, PendingInvitation};
use crate::store::sign_in::audit_log::{self, AuditEntry, AuditKind};
use crate::store::sign_in::opt_outs;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// How long the homeserver may wait for a text, ms.
const WAIT_MS: u64 = 30_000;
/// A text that is older than this, ms, is not obeyed any more.
const TEXT_AGE_MAX_MS: i64 = 7 * DAY_MS;
/// How much the clocks of two servers may differ, ms.
const CLOCKS_DIFFER_MS: i64 = 60_000;
/// Maximum direct rooms that are heard, the newest.
const ROOMS_MOST: usize = 1000;
/// How often invitations that were not answered are looked at again.
const AGAIN: Duration = Duration::from_mins(1);
/// Maximum greetings of one person and of all, and answers in one room, within a day.
const GREETINGS_OF_PERSON: u32 = 3;
const GREETINGS_MOST: usize = 600;
const ANSWERS_MOST: u32 = 20;
/// Maximum people whom policy lets in and who wait for a greeting.
const WAITING_MOST: usize = 100;
/// Maximum ids of declined rooms that are remembered.
const DECLINED_MOST: usize = 1000;

const FORGOTTEN: &str = "You are being forgotten. What was recorded of you becomes nobody’s in a \
    moment, and what comes later is recorded without your id. It cannot be undone.";
const HELP: &str = "I record who is in the calls of the rooms that I am in, and show it on web \
    pages. To be forgotten, and not recorded any more, write here: opt out\nIt cannot be undone. I \
    read no messages but those in this room, and store none of them.";

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

/// What was answered on one day, so that nobody makes us write without end.
#[derive(Debug, Default)]
struct AnswersOfDay {
    day: i64,
    by_name: BTreeMap<String, u32>,
}

impl AnswersOfDay {
    /// How often this room or person was answered on the day of `now`, ms.
    fn count_answers(&mut self, name: &str, now: i64) -> u32 {
        let day = now.div_euclid(DAY_MS);
        if day != self.day {
            self.day = day;
            self.by_name.clear();
        }

        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// Counts one more on the day of `now`, ms.
    fn add_answer(&mut self, name: &str, now: i64) {
        let answers = self.count_answers(name, now);
        self.by_name.insert(name.to_owned(), answers + 1);
    }
}

/// Who is to be greeted though policy lets them in, and the rooms that we declined.
#[derive(Debug, Default)]
pub(super) struct Greetings {
    waiting: BTreeSet<String>,
    declined: BTreeSet<String>,
}

/// What became of a greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Sent,
    /// They are in no watched room.
    NotMet,
    /// They were greeted often enough for a day, or are banned from their direct room.
    NotNow,
}

/// Where hearing goes on.
#[derive(Debug, Default)]
struct DirectStream {
    /// The rooms of the stored filter, and its id.
    room_ids: Vec<String>,
    filter: String,
    since: Option<String>,
    /// When texts were last heard, ms; 0 if none were yet.
    heard_ms: i64,
}

impl Observer {
    fn hears_direct_messages(&self) -> bool {
        self.settings.mode == Mode::Follow && self.settings.opt_out_by_message
    }

    /// Notices that somebody asks us into a direct room. Where policy lets them in we join it, and
    /// open ours beside it; an invitation that waits is found in the store.
    pub(super) fn note_direct_invitation(&self, inviter: &str, accepted: bool) {
        if !self.hears_direct_messages() {
            return;
        }

        if accepted {
            self.note_waiting(inviter);
        }
        self.asked_directly.notify_one();
    }

    fn lock_greetings(&self) -> MutexGuard<'_, Greetings> {
        self.greetings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note_waiting(&self, user_id: &str) {
        let mut greetings = self.lock_greetings();
        if greetings.waiting.len() < WAITING_MOST {
            greetings.waiting.insert(user_id.to_owned());
        }
    }

    /// Did we decline the invitation to this room? It is asked once.
    pub(super) fn was_declined(&self, room_id: &str) -> bool {
        let mut greetings = self.lock_greetings();

        greetings.declined.remove(room_id)
    }

    /// Hears who writes to us, for ever.
    pub(super) async fn hear_direct_messages(&self) {
        if !self.hears_direct_messages() {
            return;
        }

        let (mut stream, mut answered) = (DirectStream::default(), AnswersOfDay::default());
        let mut backoff = Backoff::new();
        loop {
            match self.hear_texts(&mut stream, &mut answered).await {
                Ok(()) => {
                    backoff = Backoff::new();
                    self.succeeded(Work::DirectMessages).await;
                }
                Err(error) => {
                    // The homeserver may know the filter no longer, or the position.
                    stream.room_ids.clear();
                    if matches!(&error, Error::Matrix(error) if error.is_unknown_position()) {
                        stream.since = None;
                    }
                    let doing = "hearing direct messages";
                    self.failed(Work::DirectMessages, doing, &error).await;
                    tokio::time::sleep(Self::pause(&error, &mut backoff)).await;
                }
            }
        }
    }

    /// Waits for texts and answers them. It ends when one came, when the time is over, or when
    /// there is another direct room.
    async fn hear_texts(
        &self,
        stream: &mut DirectStream,
        answered: &mut AnswersOfDay,
    ) -> Result<(), Error> {
        let rooms = direct_rooms::list_rooms_of_people(&self.store, ROOMS_MOST).await?;
        let own = self.client.user_id();
        let Some(own) = own.filter(|_| !rooms.is_empty()) else {
            self.direct_changed.notified().await;
            return Ok(());
        };

        let room_ids: Vec<String> = rooms.iter().map(|room| room.room_id.clone()).collect();
        if stream.room_ids != room_ids {
            let filter = matrix::filter_of_texts(&room_ids);
            stream.filter = self.client.upload_filter(&own, filter).await?;
            stream.room_ids = room_ids;
        }

        let (since, begun_ms) = (stream.since.as_deref(), self.clock.now_ms());
        let heard = self.client.direct_texts(&stream.filter, since, WAIT_MS);
        let heard = tokio::select! {
            heard = heard => heard?,
            () = self.direct_changed.notified() => return Ok(()),
        };

        for text in &heard.texts {
            let is_owner =
                |room: &&RoomOfPerson| room.room_id == text.room_id && room.user_id == text.sender;
            if let Some(room) = rooms.iter().find(is_owner) {
                self.answer_text(room, text, stream.heard_ms, answered)
                    .await?;
            }
        }

        stream.since = Some(heard.next_batch);
        stream.heard_ms = begun_ms;

        Ok(())
    }

    /// Does what a text asks for. A text from before our start, or from before others were heard
    /// last (`heard_ms`), is answered only if it asks for something, and was written lately.
    async fn answer_text(
        &self,
        room: &RoomOfPerson,
        text: &DirectText,
        heard_ms: i64,
        answered: &mut AnswersOfDay,
    ) -> Result<(), Error> {
        let now = self.clock.now_ms();
        let wish = wish_of_text(&text.body);
        let oldest_ms = match wish {
            DirectWish::OptOut => now.saturating_sub(TEXT_AGE_MAX_MS),
            // Clocks of two servers differ a little.
            DirectWish::Other => self.started_ms.max(heard_ms - CLOCKS_DIFFER_MS),
        };
        if text.sent_ms < oldest_ms {
            return Ok(());
        }

        let words = match wish {
            DirectWish::OptOut => {
                self.opt_out(&room.user_id, now).await?;
                FORGOTTEN
            }
            DirectWish::Other => HELP,
        };
        if answered.count_answers(&room.room_id, now) < ANSWERS_MOST {
            answered.add_answer(&room.room_id, now);
            // What was asked for is done, whether it is answered or not.
            if let Err(error) = self
                .write_directly(&room.room_id, &text.event_id, words)
                .await
            {
                tracing::warn!(%error, "a direct message could not be answered");
            }
        }

        Ok(())
    }

    /// Notes that a person is to be forgotten.
    async fn opt_out(&self, user_id: &str, now: i64) -> Result<(), Error> {
        let sign_ins = self.store.sign_ins();
        if opt_outs::is_opting_out(&sign_ins, user_id).await? {
            return Ok(());
        }

        let entry = AuditEntry {
            at_ms: now,
            kind: AuditKind::OptedOut,
            identity: Some(user_id.to_owned()),
            detail: Some("by a message to the account".to_owned()),
            address: None,
        };
        // First, so that the entry loses its name with all else.
        audit_log::record_entry(&sign_ins, &entry).await?;
        opt_outs::record_opt_out(&sign_ins, user_id, now).await?;
        tracing::info!("somebody asked by a message not to be recorded");

        Ok(())
    }

    /// Writes a text into a direct room, once for each `cause`.
    async fn write_directly(&self, room_id: &str, cause: &str, words: &str) -> Result<(), Error> {
        let transaction = hash(&[room_id, cause], 16);
        let words = Secret::new(words);

        Ok(self.client.send_text(room_id, &transaction, &words).await?)
    }

    /// Answers who asks us into a direct room, for ever.
    pub(super) async fn greet_who_asks(&self) {
        if !self.hears_direct_messages() {
            return;
        }

        let mut greeted = AnswersOfDay::default();
        loop {
            match self.answer_direct_invitations(&mut greeted).await {
                Ok(()) => self.succeeded(Work::Greetings).await,
                Err(error) => {
                    let doing = "reading who asked the account into a direct room";
                    self.failed(Work::Greetings, doing, &error).await;
                }
            }

            // A person may come into a watched room after asking.
            let asked = self.asked_directly.notified();
            let _ = tokio::time::timeout(AGAIN, asked).await;
        }
    }

    /// Answers all direct invitations. What fails for one is only logged, and tried again later.
    async fn answer_direct_invitations(&self, greeted: &mut AnswersOfDay) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.lock_greetings().waiting);
        for user_id in waiting {
            let done = self.greet(&user_id, &user_id, greeted).await;
            // Their room may not be joined yet.
            if matches!(done, Ok(Greeting::NotMet) | Err(_)) {
                self.note_waiting(&user_id);
            }
            log_unanswered(done);
        }

        let open = invitations::list_invitations(&self.store, &self.vantage_id).await?;
        for invitation in open {
            if invitation.is_direct && !invitation.accepted {
                let done = self.answer_direct_invitation(&invitation, greeted).await;
                log_unanswered(done);
            }
        }

        Ok(())
    }

    /// Asks who asked us into a direct room into ours, and declines theirs. Whoever is in no
    /// watched room is not answered: the invitation waits for the operator as all others, and so
    /// does one to a room that the operator names.
    async fn answer_direct_invitation(
        &self,
        invitation: &PendingInvitation,
        greeted: &mut AnswersOfDay,
    ) -> Result<(), Error> {
        let room_id = &invitation.room.room_id;
        let alias = invitation.room.alias.as_ref();
        let is_wanted = |wish: &super::RoomWish| {
            wish.room == *room_id || alias.is_some_and(|alias| *alias == wish.room)
        };
        if self.settings.rooms.iter().any(is_wanted) {
            return Ok(());
        }

        let greeting = self.greet(&invitation.inviter, room_id, greeted).await?;
        if greeting != Greeting::Sent {
            return Ok(());
        }

        let open = invitations::list_invitations(&self.store, &self.vantage_id).await?;
        if !open.contains(invitation) {
            return Ok(());
        }

        {
            let mut greetings = self.lock_greetings();
            if greetings.declined.len() >= DECLINED_MOST {
                greetings.declined.pop_first();
            }
            greetings.declined.insert(room_id.clone());
        }
        match self.client.leave(room_id).await {
            // It was withdrawn.
            Err(error) if error.is_forbidden() || error.is_not_found() => {}
            left => left?,
        }

        Ok(invitations::close_invitation(&self.store, &self.vantage_id, room_id).await?)
    }

    /// Opens the direct room of a person and says there what can be written, once for each `cause`.
    async fn greet(
        &self,
        user_id: &str,
        cause: &str,
        greeted: &mut AnswersOfDay,
    ) -> Result<Greeting, Error> {
        if !direct_rooms::shares_watched_room(&self.store, user_id).await? {
            return Ok(Greeting::NotMet);
        }

        let now = self.clock.now_ms();
        let often = greeted.count_answers(user_id, now);
        if often >= GREETINGS_OF_PERSON || greeted.by_name.len() >= GREETINGS_MOST {
            return Ok(Greeting::NotNow);
        }

        // Also what fails counts: a server that refuses is not asked all day.
        greeted.add_answer(user_id, now);
        let Some(room_id) = self.open_direct_room(user_id, 0).await? else {
            return Ok(Greeting::NotNow);
        };
        let cause = format!("{cause} {often}");
        self.write_directly(&room_id, &cause, HELP).await?;

        Ok(Greeting::Sent)
    }
}

fn log_unanswered<T>(done: Result<T, Error>) {
    if let Err(error) = done {
        tracing::warn!(%error, "who asked the account into a direct room could not be answered");
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
    fn answers_are_counted_by_name_and_day() {
        let mut answered = AnswersOfDay::default();
        answered.add_answer("!a:x", 1);
        answered.add_answer("!a:x", 2);
        assert_eq!(answered.count_answers("!a:x", 3), 2);
        assert_eq!(answered.count_answers("!b:x", 3), 0);
        assert_eq!(answered.count_answers("!a:x", DAY_MS), 0);
    }
}
