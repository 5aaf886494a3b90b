//! Current troubles: one for each kind of work, ended by the next success of that work. The status
//! page shows the oldest.

use super::{Error, Observer};
use crate::changes::Change;
use crate::store;
use crate::store::ingest::vantages;
use std::collections::{BTreeMap, BTreeSet};

/// A kind of work that can have a trouble of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    SignIn,
    Rooms,
    Sync,
    Polls,
    History,
    Retention,
    /// Redacting the events of a banned user, if there are many.
    TakingBack,
    /// Forgetting who asked for it.
    Forgetting,
    Wishes,
    Probe,
    /// Reading which rooms the spaces name.
    Spaces,
    /// Following to the rooms that replaced others.
    Successors,
    Rederive,
    /// Small writes that only show whether the database can be written.
    Storage,
    Expiry,
    /// Sending codes for signing in.
    Codes,
    /// Hearing who writes to us.
    DirectMessages,
    /// Answering who asks us into a direct room.
    Greetings,
    /// Data that sums over long spans need.
    Signs,
}

impl Work {
    /// Does this work tell the present state of rooms? If only other work fails, the present is
    /// known all the same.
    fn tells_of_now(self) -> bool {
        matches!(
            self,
            Self::SignIn | Self::Rooms | Self::Sync | Self::Polls | Self::Storage
        )
    }
}

/// The current troubles.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// The error in plain words, and since when by our clock, ms.
    standing: BTreeMap<Work, (String, i64)>,
    /// Works that could not write to the database and did not succeed since. A small write of
    /// another work may still succeed; that says nothing about these.
    unwritten: BTreeSet<Work>,
}

/// What the operator can do if the homeserver does not answer, or fails; pages show it before the
/// error. `None` for other errors.
fn remedy_of_error(error: &Error) -> Option<&'static str> {
    let Error::Matrix(error) = error else {
        return None;
    };

    if error.is_unreachable() {
        return Some("See that the homeserver runs and that CALLSCOPE_HOMESERVER_URL is right");
    }

    let fails = error.status().is_some_and(|status| status >= 500);

    fails.then_some("See in the homeserver’s log what is wrong with it")
}

impl Observer {
    /// Logs an error of this work and keeps it for the status page until the work succeeds. `doing`
    /// says in words what failed. An error of the database goes to [`Self::not_stored`], since it
    /// could not be kept there.
    pub(super) async fn failed(&self, work: Work, doing: &str, error: &Error) {
        if let Error::Store(error) = error {
            return self.not_stored(work, doing, error).await;
        }

        tracing::warn!(%error, "{doing} failed");
        let what = format!("{doing}: {error}");
        let told = match remedy_of_error(error).filter(|_| work.tells_of_now()) {
            Some(advice) => format!("{advice}. {what}"),
            None => what,
        };

        self.trouble(work, &told).await;
    }

    /// Keeps an error of this work for the status page until the work succeeds. The caller has
    /// logged it.
    pub(super) async fn trouble(&self, work: Work, text: &str) {
        let now = self.clock.now_ms();
        // The lock is held until the database is written, so that another loop's news cannot
        // overtake it.
        let mut troubles = self.troubles.lock().await;
        // A trouble that goes on keeps the time at which it began.
        let since = troubles
            .standing
            .get(&work)
            .map_or(now, |(_, since)| *since);
        troubles.standing.insert(work, (text.to_owned(), since));
        let noted = async {
            vantages::record_error(&self.store, &self.vantage_id, text, now).await?;
            self.write_oldest_trouble(&troubles).await
        };

        if let Err(error) = noted.await {
            self.record_storage_failure(&mut troubles, Work::Storage, "keeping an error", &error);
        }

        self.changes.announce(Change::Observer);
    }

    /// Does this work fail now?
    pub(super) async fn is_failing(&self, work: Work) -> bool {
        self.troubles.lock().await.standing.contains_key(&work)
    }

    /// Ends the trouble of this work, if it had one.
    pub(super) async fn succeeded(&self, work: Work) {
        let mut troubles = self.troubles.lock().await;
        if troubles.unwritten.remove(&work)
            && troubles.unwritten.is_empty()
            && self.store.health().note_success()
        {
            self.changes.announce(Change::Observer);
        }

        let Some(was) = troubles.standing.remove(&work) else {
            return;
        };

        if let Err(error) = self.write_oldest_trouble(&troubles).await {
            // The next success writes it.
            troubles.standing.insert(work, was);
            return self.record_storage_failure(
                &mut troubles,
                Work::Storage,
                "noting a recovery",
                &error,
            );
        }

        tracing::info!(trouble = %was.0, "a trouble is over");
        self.changes.announce(Change::Observer);
    }

    /// Notes that this work could not store something. Each loop pauses and tries again, and the
    /// position does not move, so nothing is lost. The trouble cannot be stored either, so pages
    /// get it from the store itself.
    pub(super) async fn not_stored(&self, work: Work, doing: &str, error: &store::Error) {
        let mut troubles = self.troubles.lock().await;
        self.record_storage_failure(&mut troubles, work, doing, error);
    }

    /// Logs that nothing could be stored, and tells the store's health. The work counts as
    /// unwritten until [`Self::succeeded`] is called for it, except after a lock.
    fn record_storage_failure(
        &self,
        troubles: &mut Troubles,
        work: Work,
        doing: &str,
        error: &store::Error,
    ) {
        // A lock ends when its holder releases it, whatever was waiting for it.
        if !error.is_locked() {
            troubles.unwritten.insert(work);
        }

        tracing::warn!(%error, "{doing} failed: nothing could be stored");

        if self.store.health().note_failure(error, self.clock.now_ms()) {
            self.changes.announce(Change::Observer);
        }
    }

    /// Stores the trouble that the status page shows: that of signing in, since without a valid
    /// token everything fails; else the oldest. Also stores since when the present is not known.
    async fn write_oldest_trouble(&self, troubles: &Troubles) -> Result<(), store::Error> {
        let oldest = troubles.standing.values().min_by_key(|(_, since)| *since);
        let told = troubles
            .standing
            .get(&Work::SignIn)
            .or(oldest)
            .map(|(text, since)| (text.as_str(), *since));
        let unheard = troubles
            .standing
            .iter()
            .filter(|(work, _)| work.tells_of_now());
        let unheard_since_ms = unheard.map(|(_, (_, since))| *since).min();

        vantages::set_standing(&self.store, &self.vantage_id, told, unheard_since_ms).await
    }
}
