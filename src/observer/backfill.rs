//! Back-fill: walks back through history page by page, over gaps to what is known, in new rooms to the beginning.

use super::ingest::add;
use super::patience::Patience;
use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix::MessagesPage;
use crate::store::batch::{RoomBatch, Source};
use crate::store::walks::{self, Step, Walk};
use std::time::Duration;

/// Events asked for in one page.
const PAGE: u32 = 250;
/// Without a ring, look for work after this time.
const IDLE: Duration = Duration::from_mins(1);
const DAY_MS: i64 = 86_400_000;

impl Observer {
    /// Walks whatever there is to walk, one request at a time, for ever.
    pub(super) async fn walk_history(&self) {
        let mut patience = Patience::new();
        loop {
            match self.walk_round().await {
                Ok(true) => patience = Patience::new(),
                Ok(false) => {
                    let _ = tokio::time::timeout(IDLE, self.history.notified()).await;
                }
                Err(error) => {
                    self.failed("reading history", &error).await;
                    tokio::time::sleep(Self::pause(&error, &mut patience)).await;
                    if let Err(error) = self.recovered_quietly().await {
                        tracing::error!("the recovery could not be noted: {error}");
                    }
                }
            }
        }
    }

    /// One page of each open walk, so that no room waits for another; false when there was none.
    async fn walk_round(&self) -> Result<bool, Error> {
        let todo = walks::todo(&self.store).await?;
        if todo.is_empty() {
            return self.fill_holes(self.horizon()).await;
        }
        for walk in &todo {
            self.walk(walk).await?;
        }
        Ok(true)
    }

    /// What is older is not read, ms; `None` = everything is.
    fn horizon(&self) -> Option<i64> {
        self.settings.backfill_days.map(|days| self.clock.now_ms() - i64::from(days) * DAY_MS)
    }

    async fn walk(&self, walk: &Walk) -> Result<(), Error> {
        let page = match self.client.messages(&walk.room_id, walk.token.as_deref(), PAGE).await {
            Ok(page) => page,
            Err(error) if error.is_forbidden() || error.is_not_found() => {
                return self.stop(walk, "not_visible").await;
            }
            // The server lost the token: from the newest event on, what is known comes again and does no harm.
            Err(error) if error.is_unknown_position() && walk.token.is_some() => {
                let step = Step { token: None, ended_by: None, ..step(walk) };
                return self.write_step(walk, step, &[]).await;
            }
            Err(error) => return Err(error.into()),
        };
        let ended_by = self.ended_by(walk, &page).await?;
        let token = if ended_by.is_some() { None } else { page.end };
        self.write_step(walk, Step { token, ended_by, ..step(walk) }, &page.chunk).await
    }

    async fn ended_by(&self, walk: &Walk, page: &MessagesPage) -> Result<Option<&'static str>, Error> {
        if page.end.is_none() {
            return self.last_page(walk, page).await.map(Some);
        }
        if page.end == walk.token {
            // A server that turns in a circle must not hold us for ever.
            return Ok(Some("circle"));
        }
        if walk.reason == "gap" {
            let ids = page.chunk.iter().filter_map(|event| event.get("event_id")?.as_str());
            return Ok(walks::met(&self.store, walk, ids).await?.then_some("met"));
        }
        let oldest = page.chunk.last().and_then(|event| event.get("origin_server_ts")?.as_i64());
        let beyond = oldest.zip(self.horizon()).is_some_and(|(oldest, horizon)| oldest < horizon);
        Ok(beyond.then_some("horizon"))
    }

    /// There is nothing before this page: the room begins here, or what was before is hidden from us.
    async fn last_page(&self, walk: &Walk, page: &MessagesPage) -> Result<&'static str, Error> {
        let creation = |event: &serde_json::Value| event.get("type").is_some_and(|kind| kind == "m.room.create");
        let begins = page.chunk.iter().any(creation) || walks::saw_creation(&self.store, &walk.room_id).await?;
        // A gap may end at what we may see and be closed: a walk of the whole room tells what is hidden.
        Ok(if begins || walk.reason == "gap" { "beginning" } else { "not_visible" })
    }

    async fn stop(&self, walk: &Walk, why: &'static str) -> Result<(), Error> {
        self.write_step(walk, Step { token: None, ended_by: Some(why), ..step(walk) }, &[]).await
    }

    /// The page's events and the walk's new place, in one commit.
    async fn write_step(&self, walk: &Walk, step: Step, events: &[serde_json::Value]) -> Result<(), Error> {
        let mut room = RoomBatch::new(&walk.room_id, Source::Backfill);
        add(&mut room, events, true, None);
        let done = step.ended_by;
        room.step = Some(step);
        let new = self.ingest(&self.one(room)).await?;
        let (room_id, page) = (&walk.room_id, walk.pages + 1);
        if let Some(why) = done {
            tracing::info!("history of {room_id}: done after {page} pages ({why})");
        } else {
            tracing::debug!("history of {room_id}: page {page}, {new} new events");
        }
        self.changes.announce(Change::Room { room_id: walk.room_id.clone() });
        Ok(())
    }
}

fn step(walk: &Walk) -> Step {
    Step { opened_ms: walk.opened_ms, reason: walk.reason.clone(), token: None, ended_by: None }
}
