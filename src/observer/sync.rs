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
    /// No answer has come yet in this process.
    first: bool,
    /// The timeout of a first request, ms. It stays the same for each attempt: when the connection
    /// breaks, a homeserver goes on preparing its answer, and returns it to the same request.
    first_timeout_ms: u64,
    /// Answers in a row with the same position.
    still: u32,
    /// Failures in a row.
    failures: u32,
}

/// The result of an answer.
struct AnswerOutcome {
    /// It contained no room.
    nothing: bool,
    moved: bool,
}

impl Observer {
    /// Follows the sync stream for ever.
    pub(super) async fn follow(&self) {
        let mut patience = Backoff::new();
        let mut way = SyncMemory {
            filter: None,
            first: true,
            first_timeout_ms: 0,
            still: 0,
            failures: 0,
        };

        loop {
            match self.follow_once(&mut way).await {
                Ok(breath) => {
                    patience = Backoff::new();
                    way.failures = 0;
                    self.succeeded(Work::Sync).await;
                    tokio::time::sleep(breath).await;
                    if std::mem::take(&mut way.first) {
                        self.changes.announce(Change::Observer);
                    }
                }
                Err(error) => {
                    way.failures += 1;
                    if self.renewed(&error).await {
                        continue;
                    }

                    // Signing in again ends a problem with the token. If it fails, it reports what
                    // is needed.
                    let revoked = matches!(&error, Error::Matrix(error) if error.is_revoked());
                    let work = if revoked { Work::SignIn } else { Work::Sync };
                    self.failed(work, failed_work_words(&error), &error).await;
                    self.mend(&error, &mut way).await;
                    let pause = Self::pause(&error, &mut patience);
                    self.rest_after(&error, pause).await;
                }
            }
        }
    }

    /// Does what an error needs besides waiting.
    async fn mend(&self, error: &Error, way: &mut SyncMemory) {
        let Error::Matrix(error) = error else { return };
        if error.is_revoked() {
            self.sign_in().await;
        } else if error.is_unknown_filter() {
            way.filter = None;
        } else if error.is_unknown_position() {
            // The homeserver may have cached the answer with this position. A different request
            // brings another answer.
            way.first_timeout_ms = 1 + self.clock.now_ms().unsigned_abs() % 98;
            if let Err(error) = vantages::delete_position(&self.store, &self.vantage_id).await {
                self.cannot_store("forgetting the position", &error).await;
            }
        } else if self.is_too_much(error, way).await
            && let Err(error) = self.read_in_parts(error).await
        {
            self.failed(Work::Sync, "reading the rooms one by one", &error)
                .await;
        }
    }

    /// Is it an answer that never comes completely, however often it is requested?
    async fn is_too_much(&self, error: &matrix::Error, way: &mut SyncMemory) -> bool {
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
            && way.failures >= FAILURES_MAX;
        if is_too_much {
            way.failures = 0;
        }

        is_too_much
    }

    /// Sends one request and processes its answer. Returns the pause before the next request.
    async fn follow_once(&self, way: &mut SyncMemory) -> Result<Duration, Error> {
        let filter = match way.filter.take() {
            Some(filter) => filter,
            None => self.filter().await?,
        };

        let filter: &str = way.filter.insert(filter);
        let since = vantages::sync_position(&self.store, &self.vantage_id).await?;
        let prepares = way.first || since.is_none();
        // The first answer should come at once.
        let timeout_ms = if prepares {
            way.first_timeout_ms
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
        let taken = self.take(answer, since.as_deref(), way.still).await?;
        let hasty = timeout_ms == WAIT_MS && asked.elapsed() < EARLY_ANSWER;
        if taken.moved || taken.nothing {
            way.still = 0;
            let breathes = hasty && (taken.nothing || !taken.moved);
            return Ok(if breathes {
                PAUSE_AFTER_EARLY_ANSWER
            } else {
                Duration::ZERO
            });
        }

        way.still += 1;
        if way.still == STILL_SAID {
            let text = "the homeserver answers with the same position again and again, so that \
                        everything comes again, too";
            tracing::warn!("{text}");
            self.trouble(Work::Sync, text).await;
        }

        Ok(PAUSE_AFTER_EARLY_ANSWER
            .saturating_mul(1 << way.still.min(8))
            .min(BREATH_MAX))
    }

    /// The filter, stored at the homeserver; or its text, if the homeserver does not store filters.
    async fn filter(&self) -> Result<String, Error> {
        let inline = || matrix::filter_json().to_string();
        let Some(user_id) = self.client.user_id().filter(|user_id| !user_id.is_empty()) else {
            return Ok(inline());
        };

        match self.client.upload_filter(&user_id).await {
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

    /// The homeserver may prepare its first answer for minutes. The status page shows since when.
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

    /// Writes one answer to the store, a large one in pieces as it comes. The position moves with
    /// the last piece.
    async fn take(
        &self,
        mut answer: SyncParts<'_>,
        since: Option<&str>,
        still: u32,
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
        if !moved && still > 0 {
            // The answer repeats the gaps of the answer before.
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

    /// Adds a part of an answer to a batch.
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
                batch.rooms.push(self.joined(room, known, seen_ms));
            }
            SyncPart::Left(room) => {
                let known = known.get(&room.room_id).copied();
                batch.rooms.push(batch_of_left_room(room, known, seen_ms));
            }
            SyncPart::Invited(invite) => batch.invitations.push(self.answered(invite)),
        }
    }

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

    /// If the homeserver's answers have no date, the age of its own new events gives its time. The
    /// homeserver computed that age at some time since the request was sent.
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

    fn joined(&self, room: &JoinedRoom, known: Option<Watch>, seen_ms: i64) -> RoomBatch {
        // A room that was only requested so far counts as new.
        let is_new = matches!(known, None | Some(Watch::Blind));
        let mut batch = RoomBatch::new(&room.room_id, Source::Sync);
        batch.is_first_answer = is_new;
        batch.watch = Some(Watch::Joined);
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

fn batch_of_left_room(room: &LeftRoom, known: Option<Watch>, seen_ms: i64) -> RoomBatch {
    let mut batch = RoomBatch::new(&room.room_id, Source::Sync);
    batch.is_first_answer = known.is_none();
    batch.watch = Some(Watch::Left);
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
