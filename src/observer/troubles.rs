//! Standing troubles: one for each kind of work, gone with that work's next success; the status page shows the oldest.

use super::{Error, Observer};
use crate::changes::Change;
use crate::store::{self, vantages};
use std::collections::{BTreeMap, BTreeSet};

/// A kind of work that can be in trouble by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    SignIn,
    Rooms,
    Sync,
    Polls,
    History,
    Retention,
    Wishes,
    Probe,
    Rederive,
}

/// What is wrong now.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Plain words, and since when by our clock, ms.
    standing: BTreeMap<Work, (String, i64)>,
    /// What met a full disk and did not succeed since. A small write of another work may still find space, and says
    /// nothing of theirs.
    full: BTreeSet<Work>,
}

impl Observer {
    /// Logs an error once, counts it and keeps it for the status page until this work succeeds.
    pub(super) async fn failed(&self, work: Work, doing: &str, error: &Error) {
        if error.is_full() {
            return self.no_space(work, doing).await;
        }
        tracing::warn!("{doing}: {error}");
        self.trouble(work, &format!("{doing}: {error}")).await;
    }

    /// Keeps a trouble that was logged already.
    pub(super) async fn trouble(&self, work: Work, text: &str) {
        let now = self.clock.now_ms();
        // Held until the database knows it, so that it cannot be overtaken by another loop's news.
        let mut troubles = self.troubles.lock().await;
        let since = troubles
            .standing
            .get(&work)
            .map_or(now, |(_, since)| *since);
        troubles.standing.insert(work, (text.to_owned(), since));
        let noted = async {
            vantages::failed(&self.store, &self.vantage_id, text, now).await?;
            self.show(&troubles).await
        };
        if let Err(error) = noted.await {
            tracing::error!("the error could not be kept for the status page: {error}");
        }
        self.changes.announce(Change::Observer);
    }

    /// This work succeeded: its trouble is over, if it had one.
    pub(super) async fn succeeded(&self, work: Work) {
        let mut troubles = self.troubles.lock().await;
        if troubles.full.remove(&work) && troubles.full.is_empty() && self.store.note_space() {
            tracing::info!("there is space again; observing goes on");
            self.changes.announce(Change::Observer);
        }
        let Some(was) = troubles.standing.remove(&work) else {
            return;
        };
        if let Err(error) = self.show(&troubles).await {
            // The next success writes it.
            troubles.standing.insert(work, was);
            tracing::error!("the recovery could not be noted: {error}");
            return;
        }
        tracing::info!("over: {}", was.0);
        self.changes.announce(Change::Observer);
    }

    /// The disk is full: each loop pauses and tries again, and the position stays, so nothing is lost. It cannot be
    /// written down either, so the status page learns of it from the store itself.
    async fn no_space(&self, work: Work, doing: &str) {
        self.troubles.lock().await.full.insert(work);
        if self.store.note_full(self.clock.now_ms()) {
            tracing::error!(
                "{doing}: the disk is full, nothing can be stored; it goes on when there is space again"
            );
            self.changes.announce(Change::Observer);
        }
    }

    /// Without a valid token everything fails, so that comes first; else the oldest.
    async fn show(&self, troubles: &Troubles) -> Result<(), store::Error> {
        let oldest = troubles.standing.values().min_by_key(|(_, since)| *since);
        let told = troubles
            .standing
            .get(&Work::SignIn)
            .or(oldest)
            .map(|(text, since)| (text.as_str(), *since));
        vantages::stands(&self.store, &self.vantage_id, told).await
    }
}
