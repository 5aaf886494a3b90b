//! Live following: the long poll, its position, and what to do when it breaks.

use super::ingest::add;
use super::patience::Patience;
use super::troubles::Work;
use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix::{JoinedRoom, LeftRoom, SyncBatch, SyncRequest};
use crate::store::batch::{Batch, RoomBatch, Source};
use crate::store::row::Watch;
use crate::store::{rooms, vantages};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long the homeserver may hold the long poll, ms.
const WAIT_MS: u64 = 30_000;
/// A long poll that brings nothing sooner than this was not held: some proxies answer at once.
const HASTY: Duration = Duration::from_secs(1);
/// The pause after it, so that such a proxy makes no hot loop.
const BREATH: Duration = Duration::from_millis(500);

impl Observer {
    /// Follows for ever.
    pub(super) async fn follow(&self) {
        let mut patience = Patience::new();
        let mut filter: Option<String> = None;
        let mut first = true;
        loop {
            match self.follow_once(&mut filter, first).await {
                Ok(breath) => {
                    patience = Patience::new();
                    self.succeeded(Work::Sync).await;
                    tokio::time::sleep(breath).await;
                    if std::mem::take(&mut first) {
                        self.changes.announce(Change::Observer);
                    }
                }
                Err(error) => {
                    // Signing in again ends a trouble with the token, and tells what it takes if it cannot.
                    let revoked = matches!(&error, Error::Matrix(error) if error.is_revoked());
                    let work = if revoked { Work::SignIn } else { Work::Sync };
                    self.failed(work, doing(&error), &error).await;
                    self.mend(&error, &mut filter).await;
                    let pause = Self::pause(&error, &mut patience);
                    self.rest_after(&error, pause).await;
                }
            }
        }
    }

    /// What an error asks for besides waiting.
    async fn mend(&self, error: &Error, filter: &mut Option<String>) {
        let Error::Matrix(error) = error else { return };
        if error.is_revoked() {
            self.sign_in().await;
        } else if error.is_unknown_filter() {
            *filter = None;
        } else if error.is_unknown_position()
            && let Err(error) = vantages::forget_position(&self.store, &self.vantage_id).await
        {
            self.cannot_store("forgetting the position", &error).await;
        }
    }

    /// One question and its answer; how long to breathe before the next.
    async fn follow_once(
        &self,
        filter: &mut Option<String>,
        first: bool,
    ) -> Result<Duration, Error> {
        let filter = match filter {
            Some(known) => known,
            none => none.insert(
                self.client
                    .upload_filter(&self.client.user_id().unwrap_or_default())
                    .await?,
            ),
        };
        let since = vantages::position(&self.store, &self.vantage_id).await?;
        // The first answer should come at once. Synapse caches answers by their parameters for two minutes,
        // so a repeated first sync asks with another time-out.
        let now = self.clock.now_ms();
        let timeout_ms = if first || since.is_none() {
            now.unsigned_abs() % 100
        } else {
            WAIT_MS
        };
        let ask = SyncRequest {
            since: since.as_deref(),
            timeout_ms,
            filter,
            full_state: false,
        };
        let asked = Instant::now();
        let answer = self.client.sync(ask).await?;
        let nothing =
            answer.joined.is_empty() && answer.left.is_empty() && answer.invited.is_empty();
        let nothing = nothing || since.as_ref() == Some(&answer.next_batch);
        let hasty = nothing && timeout_ms == WAIT_MS && asked.elapsed() < HASTY;
        self.take(answer).await?;
        Ok(if hasty { BREATH } else { Duration::ZERO })
    }

    /// Brings one answer into the store.
    async fn take(&self, answer: SyncBatch) -> Result<(), Error> {
        for complaint in &answer.malformed {
            tracing::warn!(
                "the homeserver sent something that is not Matrix, it was skipped: {complaint}"
            );
        }
        if let Some(complaint) = answer.malformed.first() {
            let text =
                format!("a part of a sync answer was not Matrix and was skipped: {complaint}");
            // Counted and told; it is over with this answer, which is in step all the same.
            self.trouble(Work::Sync, &text).await;
        }
        let known = rooms::watched(&self.store).await?;
        let known: HashMap<String, Watch> = known.into_iter().collect();
        let seen_ms = self.clock.now_ms();
        let mut batch = Batch {
            vantage_id: self.vantage_id.clone(),
            seen_ms,
            position: Some(answer.next_batch),
            rooms: Vec::new(),
            invitations: answer
                .invited
                .iter()
                .map(|invite| self.answered(invite))
                .collect(),
        };
        for room in &answer.joined {
            batch
                .rooms
                .push(self.joined(room, known.get(&room.room_id).copied(), seen_ms));
        }
        batch.rooms.extend(
            answer
                .left
                .iter()
                .map(|room| left(room, known.get(&room.room_id).copied(), seen_ms)),
        );
        self.ingest(&batch).await?;
        Ok(())
    }

    fn joined(&self, room: &JoinedRoom, known: Option<Watch>, seen_ms: i64) -> RoomBatch {
        // A room that was only asked for so far is as new as one never heard of.
        let is_new = matches!(known, None | Some(Watch::Blind));
        let mut batch = RoomBatch::new(&room.room_id, Source::Sync);
        batch.watch = Some(Watch::Joined);
        add(&mut batch, &room.state, false, seen_ms);
        add(&mut batch, &room.timeline, true, seen_ms);
        add(&mut batch, &room.sticky, false, seen_ms);
        if is_new && self.settings.backfill {
            batch.gap = Some(("history", room.prev_batch.clone()));
        } else if !is_new && room.limited && room.prev_batch.is_some() {
            batch.gap = Some(("gap", room.prev_batch.clone()));
        }
        batch
    }
}

/// What the status page says before the error itself.
fn doing(error: &Error) -> &'static str {
    match error {
        Error::Matrix(error) if error.is_unknown_position() => {
            "the homeserver no longer knows our position; starting again from the rooms' present state"
        }
        _ => "following by sync",
    }
}

fn left(room: &LeftRoom, known: Option<Watch>, seen_ms: i64) -> RoomBatch {
    let mut batch = RoomBatch::new(&room.room_id, Source::Sync);
    batch.watch = Some(Watch::Left);
    add(&mut batch, &room.state, false, seen_ms);
    add(&mut batch, &room.timeline, true, seen_ms);
    if matches!(known, Some(Watch::Joined | Watch::Left))
        && room.limited
        && room.prev_batch.is_some()
    {
        // Who was in a room may still read it up to the moment of leaving.
        batch.gap = Some(("gap", room.prev_batch.clone()));
    }
    batch
}
