//! Deletion by age, once a day and in small batches, between which others write.

use super::error_state::Work;
use super::{Error, Observer};
use crate::changes::Change;
use crate::rtc::time::DAY_MS;
use crate::store::derive::pseudonyms;
use crate::store::stats::last_seen;
use crate::store::upkeep::retention::{self, BATCH};
use std::time::Duration;

const EVERY: Duration = Duration::from_hours(24);
/// Pause after a failure, and before rooms whose history was still being read are tried again.
const AGAIN: Duration = Duration::from_hours(1);
const SOON: Duration = Duration::from_mins(1);
/// Pause between two batches, so that others get to write.
const BREATH: Duration = Duration::from_millis(20);

/// The ages after which things are deleted, days; `None` = never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Raw events. What is derived from them is kept.
    pub events: Option<u32>,
    /// Calls, and the events behind them.
    pub calls: Option<u32>,
}

impl RetentionSettings {
    /// The time, ms, before which events are deleted; `None` = never. The events of a deleted call
    /// always are deleted.
    pub(super) fn events_before(&self, now: i64) -> Option<i64> {
        self.events
            .into_iter()
            .chain(self.calls)
            .min()
            .map(|days| deletion_cutoff(now, days))
    }

    /// The time, ms, before which calls are deleted; `None` = never.
    pub(super) fn calls_before(&self, now: i64) -> Option<i64> {
        self.calls.map(|days| deletion_cutoff(now, days))
    }
}

/// The time this many days before `now`, ms.
fn deletion_cutoff(now: i64, days: u32) -> i64 {
    now.saturating_sub(i64::from(days) * DAY_MS)
}

impl Observer {
    /// Deletes what is too old, at the start and then every day, for ever. It ends at once if
    /// nothing is to be deleted.
    pub(super) async fn delete_by_age_daily(&self) {
        if self.settings.retention == RetentionSettings::default() {
            return;
        }

        loop {
            let done = self.delete_old_once().await;
            match &done {
                Ok(_) => self.succeeded(Work::Retention).await,
                Err(error) => {
                    self.failed(Work::Retention, "deleting what is too old", error)
                        .await;
                }
            }

            let wait = match done {
                Ok(true) => EVERY,
                // Deletion is what frees space, so it is tried again soon.
                Err(error) if error.is_of_storage() => SOON,
                _ => AGAIN,
            };

            self.changes.announce(Change::Observer);
            tokio::time::sleep(wait).await;
        }
    }

    /// Deletes what is too old, once. Returns false if some rooms had to wait because their history
    /// is still being read.
    async fn delete_old_once(&self) -> Result<bool, Error> {
        let now = self.clock.now_ms();
        let Some(events_before) = self.settings.retention.events_before(now) else {
            return Ok(true);
        };

        self.note_signs().await?;
        let settled = retention::rooms_without_open_read(&self.store).await?;
        for room_id in &settled {
            self.delete_old_events(room_id, events_before, now).await?;
            if let Some(before) = self.settings.retention.calls_before(now) {
                while retention::delete_calls(&self.store, room_id, before, now).await? {
                    tokio::time::sleep(BREATH).await;
                }
            }
        }

        while retention::delete_snapshots(&self.store, events_before, now).await? {
            tokio::time::sleep(BREATH).await;
        }

        while retention::delete_side_records(&self.store, events_before).await? {
            tokio::time::sleep(BREATH).await;
        }

        while last_seen::delete_orphaned_last_seen(&self.store).await? {
            tokio::time::sleep(BREATH).await;
        }

        pseudonyms::delete_orphaned_pseudonyms(&self.store).await?;
        while retention::release_free_pages(&self.store).await? {
            tokio::time::sleep(BREATH).await;
        }

        let all = crate::store::ingest::rooms::list_watched_rooms(&self.store)
            .await?
            .len();
        tracing::info!(rooms = settled.len(), of = all, "deleted what is too old");

        Ok(settled.len() == all)
    }

    /// Deletes the events of a room from before the time `before`, ms, at `now`, ms. Member events
    /// go only up to the seal of their key, so that what they gave stays. Events that are in the
    /// room's present state are kept.
    async fn delete_old_events(&self, room_id: &str, before: i64, now: i64) -> Result<(), Error> {
        let (store, rules) = (&self.store, &self.settings.rules);
        let in_state = retention::events_in_state(store, room_id).await?;
        for member_key in retention::list_old_keys(store, room_id, before).await? {
            if !retention::raise_cutoff(store, rules, room_id, &member_key, before).await? {
                tracing::debug!(%room_id, %member_key, "a member key keeps its old events for now");
            }

            let old = retention::events_before_cutoff(store, room_id, &member_key).await?;
            self.delete_events(room_id, &old, |id| in_state.contains(id), now)
                .await?;
        }

        let old = retention::old_events_without_key(store, room_id, before).await?;

        self.delete_events(room_id, &old, |id| in_state.contains(id), now)
            .await
    }

    /// Deletes these events in batches, except those that `keep` names.
    async fn delete_events(
        &self,
        room_id: &str,
        event_ids: &[String],
        keep: impl Fn(&String) -> bool,
        now: i64,
    ) -> Result<(), Error> {
        let old: Vec<&String> = event_ids.iter().filter(|id| !keep(id)).collect();
        for some in old.chunks(BATCH) {
            retention::delete_stored_events(&self.store, room_id, some, now).await?;
            tokio::time::sleep(BREATH).await;
        }

        Ok(())
    }
}
