//! How far the upgrade of a database has come: the store tells it, a terminal and the web show it.

use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeStep {
    /// The backup is written and checked.
    Backup,
    Migration {
        /// Counts from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// What it is about, in a few words.
        name: String,
    },
    /// The rest: the commit, and what the program itself does to older data.
    Finish,
}

/// A step of an upgrade that is under way.
#[derive(Debug, Clone)]
pub struct RunningUpgrade {
    pub step: UpgradeStep,
    /// When the upgrade began.
    pub since: Instant,
}

/// Tells how far an upgrade has come. Cheap to clone: all clones tell the same.
#[derive(Debug, Clone)]
pub struct UpgradeProgress(Arc<watch::Sender<Option<RunningUpgrade>>>);

impl Default for UpgradeProgress {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl UpgradeProgress {
    /// Follows the upgrade. It has `None` as long as nothing is to be done.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Option<RunningUpgrade>> {
        self.0.subscribe()
    }

    /// Tells that this step begins.
    pub(in crate::store) fn begin_step(&self, step: UpgradeStep) {
        self.0.send_modify(|running| {
            let since = running
                .as_ref()
                .map_or_else(Instant::now, |running| running.since);
            *running = Some(RunningUpgrade { step, since });
        });
    }

    /// The same, but only if an upgrade is under way.
    pub(in crate::store) fn begin_step_of_upgrade(&self, step: UpgradeStep) {
        if self.0.borrow().is_some() {
            self.begin_step(step);
        }
    }
}
