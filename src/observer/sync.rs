//! Live following: the long poll, its position, and what to do when it breaks.

use super::backoff::Backoff;
use super::error_state::Work;
use super::ingest::add_events;
use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix::{self, HeardTime, JoinedRoom, LeftRoom, SyncPart, SyncParts, SyncRequest};
use crate::rtc::id::server_of;
use crate::rtc::reading::time_by_age;
use crate::rtc::words::JobKind;
use crate::rtc::words::{Source, Watch};
use crate::store::ingest::batch::{Batch, RoomBatch};
use crate::store::ingest::{rooms, vantages};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Timeout of the long poll at the homeserver, ms.
const WAIT_MS: u64 = 30_000;
/// A long poll that returns nothing sooner than this was not held: some proxies answer at once.
const EARLY_ANSWER: Duration = Duration::from_secs(1);
/// The pause after such an answer, so that the proxy causes no busy loop.
const PAUSE_AFTER_EARLY_ANSWER: Duration = Duration::from_millis(500);
/// Maximum pause, if a homeserver returns the same position again and again.
const BREATH_MAX: Duration = Duration::from_secs(10);
/// Answers with the same position before that is logged.
const STILL_SAID: u32 = 3;
/// A large answer is written in pieces of about this many bytes, and its position with the last
/// piece.
pub(super) const PIECE: usize = 4 * 1024 * 1024;
/// Maximum rooms in a piece, however small they are.
pub(super) const ROOMS_OF_PIECE: usize = 500;
/// Failures of the first answer before the rooms are read one by one.
const FAILURES_MAX: u32 = 6;

/// What is remembered from one sync request to the next.
#[derive(Debug)]
struct SyncMemory {
    /// The filter of the requests: the id of a stored one, or its text.
    filter: Option<String>,
    /// No answer has come yet in this process. [`Observer::follow`] clears it after the first
    /// answer that is stored.
    first: bool,
    /// The timeout of a first request, ms: at the start 0, since its answer should come at once. It
    /// stays the same for each attempt: when the connection breaks, a homeserver goes on preparing
    /// its answer, and returns it to the same request. It changes only so that the request is
    /// another one, when the homeserver does not know our position.
    first_timeout_ms: u64,
    /// Answers in a row that brought rooms but the same position.
    repeats: u32,
    /// Failures in a row. A read of the rooms one by one begins the count anew.
    failures: u32,
}

/// The result of an answer.
struct AnswerOutcome {
    /// It contained no room: the wait ended without news.
    nothing: bool,
    /// Its position is another than the one that we asked with.
    moved: bool,
}

impl Observer {
    /// Follows the sync stream, for ever.
    pub(super) async fn follow(&self) {
        let mut backoff = Backoff::new();
        let mut memory = SyncMemory {
            filter: None,
            first: true,
            first_timeout_ms: 0,
            repeats: 0,
            failures: 0,
        };

        loop {
            match self.follow_once(&mut memory).await {
                Ok(breath) => {
                    backoff = Backoff::new();
                    memory.failures = 0;
                    self.succeeded(Work::Sync).await;
                    tokio::time::sleep(breath).await;
                    if std::mem::take(&mut memory.first) {
                        self.changes.announce(Change::Observer);
                    }
                }
                Err(error) => {
                    memory.failures += 1;
                    if self.renewed(&error).await {
                        continue;
                    }

                    // Signing in again ends a problem with the token. If it fails, it reports what
                    // is needed.
                    let revoked = matches!(&error, Error::Matrix(error) if error.is_revoked());
                    let work = if revoked { Work::SignIn } else { Work::Sync };
                    self.failed(work, failed_work_words(&error), &error).await;
                    self.mend(&error, &mut memory).await;
                    let pause = Self::pause(&error, &mut backoff);
                    self.rest_after(&error, pause).await;
                }
            }
        }
    }

    /// Does what an error needs besides waiting: signs in again, drops the stored filter or the
    /// position, or reads the rooms one by one.
    async fn mend(&self, error: &Error, memory: &mut SyncMemory) {
        let Error::Matrix(error) = error else { return };
        if error.is_revoked() {
            self.sign_in().await;
        } else if error.is_unknown_filter() {
            memory.filter = None;
        } else if error.is_unknown_position() {
            // The homeserver may have cached the answer with this position. A different request
            // brings another answer.
            memory.first_timeout_ms = 1 + self.clock.now_ms().unsigned_abs() % 98;
            if let Err(error) = vantages::delete_position(&self.store, &self.vantage_id).await {
                self.cannot_store("forgetting the position", &error).await;
            }
        } else if self.is_too_much(error, memory).await
            && let Err(error) = self.read_in_parts(error).await
        {
            self.failed(Work::Sync, "reading the rooms one by one", &error)
                .await;
        }
    }

    /// Is it an answer that never comes completely, however often it is requested: too large, or a
    /// first answer that failed [`FAILURES_MAX`] times? After such failures they are counted anew.
    async fn is_too_much(&self, error: &matrix::Error, memory: &mut SyncMemory) -> bool {
        if matches!(error, matrix::Error::TooLarge { .. }) {
            return true;
        }

        let position = vantages::sync_position(&self.store, &self.vantage_id).await;
        let is_first = position.is_ok_and(|position| position.is_none());
        let is_answer = error.status().is_some() || matches!(error, matrix::Error::Timeout { .. });
        let is_too_much = is_first
            && is_answer
            && error.is_transient()
            && error.retry_after().is_none()
            && memory.failures >= FAILURES_MAX;
        if is_too_much {
            memory.failures = 0;
        }

        is_too_much
    }

    /// Sends one request and stores its answer. Returns the pause before the next request: none
    /// after an ordinary answer, since the homeserver holds the next request until there is news.
    async fn follow_once(&self, memory: &mut SyncMemory) -> Result<Duration, Error> {
        let filter = match memory.filter.take() {
            Some(filter) => filter,
            None => self.filter().await?,
        };

        let filter: &str = memory.filter.insert(filter);
        let since = vantages::sync_position(&self.store, &self.vantage_id).await?;
        // The homeserver may have to prepare this answer for long; it has nothing to wait for.
        let prepares = memory.first || since.is_none();
        let timeout_ms = if prepares {
            memory.first_timeout_ms
        } else {
            WAIT_MS
        };

        if prepares {
            self.note_preparing().await?;
        }

        let ask = SyncRequest {
            since: since.as_deref(),
            timeout_ms,
            filter,
            full_state: false,
        };

        let asked = Instant::now();
        let answer = self.client.sync_parts(ask).await?;
        let stored = self
            .store_answer(answer, since.as_deref(), memory.repeats)
            .await?;
        let is_early = timeout_ms == WAIT_MS && asked.elapsed() < EARLY_ANSWER;
        if stored.moved || stored.nothing {
            memory.repeats = 0;
            // An early answer with news is what we waited for. One without was not held.
            return Ok(if is_early && stored.nothing {
                PAUSE_AFTER_EARLY_ANSWER
            } else {
                Duration::ZERO
            });
        }

        memory.repeats += 1;
        if memory.repeats == STILL_SAID {
            let text = "the homeserver answers with the same position again and again, so that \
                        everything comes again, too";
            tracing::warn!("{text}");
            self.trouble(Work::Sync, text).await;
        }

        Ok(PAUSE_AFTER_EARLY_ANSWER
            .saturating_mul(1 << memory.repeats.min(8))
            .min(BREATH_MAX))
    }

    /// The id of the filter at the homeserver; or its text, if the homeserver does not store
    /// filters.
    async fn filter(&self) -> Result<String, Error> {
        let inline = || matrix::filter_json().to_string();
        let Some(user_id) = self.client.user_id().filter(|user_id| !user_id.is_empty()) else {
            return Ok(inline());
        };

        match self
            .client
            .upload_filter(&user_id, matrix::filter_json())
            .await
        {
            Ok(filter) => Ok(filter),
            Err(error)
                if error.is_revoked()
                    || error.retry_after().is_some()
                    || error.status().is_none() =>
            {
                Err(error.into())
            }

            Err(error) => {
                tracing::info!(
                    %error,
                    "the homeserver does not store the filter, so it is sent each time"
                );
                Ok(inline())
            }
        }
    }

    /// Notes since when the homeserver prepares its first answer, for the status page: that may
    /// take minutes.
    async fn note_preparing(&self) -> Result<(), Error> {
        let mut since = self.preparing.lock().await;
        if since.is_none() {
            let now = self.clock.now_ms();
            vantages::set_preparing_since(&self.store, &self.vantage_id, Some(now)).await?;
            *since = Some(now);
            self.changes.announce(Change::Observer);
        }

        Ok(())
    }

    /// Stores one answer, a large one in pieces as it comes. The position moves with the last
    /// piece. `since` is the position that we asked with; `repeats` counts the answers before that
    /// did not move it: if there are any, this one repeats their gaps, which are not noted again.
    async fn store_answer(
        &self,
        mut answer: SyncParts<'_>,
        since: Option<&str>,
        repeats: u32,
    ) -> Result<AnswerOutcome, Error> {
        let known = rooms::list_watched_rooms(&self.store).await?;
        let known: HashMap<String, Watch> = known.into_iter().collect();
        let mut batch = self.empty_batch();
        let (mut written, mut parts) = (0, 0_usize);
        while let Some(part) = answer.next().await? {
            parts += 1;
            self.hear_time(&part, answer.elapsed());
            self.add_part(&mut batch, &part, &known);
            if answer.bytes() - written > PIECE || batch.rooms.len() >= ROOMS_OF_PIECE {
                written = answer.bytes();
                self.ingest(&batch).await?;
                batch.rooms.clear();
                batch.invitations.clear();
            }
        }

        let end = answer.end()?;
        self.say_malformed(&end.malformed).await;
        let moved = since != Some(end.next_batch.as_str());
        if !moved && repeats > 0 {
            // The answer before noted these gaps.
            batch.rooms.iter_mut().for_each(|room| room.unread = None);
        }

        batch.position = Some(end.next_batch);
        self.ingest(&batch).await?;
        *self.preparing.lock().await = None;

        Ok(AnswerOutcome {
            nothing: parts == 0,
            moved,
        })
    }

    /// Adds a part of an answer to a batch. `known` is how rooms are watched so far, by room id.
    pub(super) fn add_part(
        &self,
        batch: &mut Batch,
        part: &SyncPart,
        known: &HashMap<String, Watch>,
    ) {
        let seen_ms = batch.seen_ms;
        match part {
            SyncPart::Joined(room) => {
                let known = known.get(&room.room_id).copied();
                batch
                    .rooms
                    .push(self.batch_of_joined_room(room, known, seen_ms));
            }
            // An invitation that we declined ourselves makes no room.
            SyncPart::Left(room) if self.was_declined(&room.room_id) => {}
            SyncPart::Left(room) => {
                let known = known.get(&room.room_id).copied();
                batch.rooms.push(batch_of_left_room(room, known, seen_ms));
            }
            SyncPart::Invited(invite) => batch.invitations.push(self.invitation_by_policy(invite)),
        }
    }

    /// Logs what was skipped in an answer because it was not Matrix, and counts the first as an
    /// error.
    pub(super) async fn say_malformed(&self, malformed: &[String]) {
        for complaint in malformed {
            tracing::warn!(
                %complaint,
                "the homeserver sent something that is not Matrix; it was skipped"
            );
        }

        if let Some(complaint) = malformed.first() {
            let text =
                format!("a part of a sync answer was not Matrix and was skipped: {complaint}");
            // The error is counted and shown. It is over with this answer, which counts as success.
            self.trouble(Work::Sync, &text).await;
        }
    }

    /// Tells our clock the homeserver's time by the age of its own new events, if its answers have
    /// no date. The homeserver computed that age at some time since the request was sent, which is
    /// `elapsed` ago. Only a part of a joined room has such events.
    pub(super) fn hear_time(&self, part: &SyncPart, elapsed: Duration) {
        let SyncPart::Joined(room) = part else {
            return;
        };

        if self.client.has_dates() {
            return;
        }

        let user_id = self.client.user_id().unwrap_or_default();

        if let Some(date_ms) = time_by_age(&room.timeline, server_of(&user_id)) {
            self.client.heard_time(HeardTime { date_ms, elapsed });
        }
    }

    /// What an answer says of a room that we are in. A room that is new to us gets a read of its
    /// history; a limited timeline of a known one leaves a gap. `known` is how it is watched so
    /// far. If the room goes on in further parts of the answer, the last part says what is unread.
    fn batch_of_joined_room(
        &self,
        room: &JoinedRoom,
        known: Option<Watch>,
        seen_ms: i64,
    ) -> RoomBatch {
        // A room that was only requested so far counts as new.
        let is_new = matches!(known, None | Some(Watch::Blind));
        let mut batch = RoomBatch::new(&room.room_id, Source::Sync);
        batch.is_first_answer = is_new;
        batch.watch = Some(Watch::Joined);
        // `true`: in the order of the timeline.
        add_events(&mut batch, &room.state, false, seen_ms);
        add_events(&mut batch, &room.timeline, true, seen_ms);
        add_events(&mut batch, &room.sticky, false, seen_ms);
        if room.goes_on {
            return batch;
        }

        if is_new && self.settings.backfill {
            batch.note_unread(JobKind::Backfill, room.prev_batch.clone());
        } else if !is_new && room.limited && room.prev_batch.is_some() {
            batch.note_unread(JobKind::Gap, room.prev_batch.clone());
        }

        batch
    }
}

/// The words of the status page before the error itself.
fn failed_work_words(error: &Error) -> &'static str {
    match error {
        Error::Matrix(error) if error.is_unknown_position() => {
            "the homeserver no longer knows our position; starting again from the rooms' present \
             state"
        }
        _ => "following by sync",
    }
}

/// What an answer says of a room that we left. `known` is how it is watched so far; only of a room
/// that we were in, a limited timeline leaves a gap to read.
fn batch_of_left_room(room: &LeftRoom, known: Option<Watch>, seen_ms: i64) -> RoomBatch {
    let mut batch = RoomBatch::new(&room.room_id, Source::Sync);
    batch.is_first_answer = known.is_none();
    batch.watch = Some(Watch::Left);
    // `true`: in the order of the timeline.
    add_events(&mut batch, &room.state, false, seen_ms);
    add_events(&mut batch, &room.timeline, true, seen_ms);
    if matches!(known, Some(Watch::Joined | Watch::Left))
        && !room.goes_on
        && room.limited
        && room.prev_batch.is_some()
    {
        // A user who left a room may still read it up to the moment of leaving.
        batch.note_unread(JobKind::Gap, room.prev_batch.clone());
    }

    batch
}
