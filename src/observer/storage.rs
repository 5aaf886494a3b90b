//! Can anything be stored? A few bytes are written regularly, so that the answer is known even
//! while nothing else happens.

use super::error_state::Work;
use super::{Error, Observer};
use crate::changes::Change;
use crate::store::db::health::{self, TroubleKind};
use std::time::Duration;

/// Interval of these writes.
const EVERY: Duration = Duration::from_secs(2);
/// The interval while there is a problem, so that its end is noticed soon.
const EVERY_IN_TROUBLE: Duration = Duration::from_secs(1);
/// Interval of checks for a change, also while a write waits.
const LOOK: Duration = Duration::from_millis(250);

impl Observer {
    /// Writes to the database, for ever, and reports when that stops or begins to work. While a
    /// write hangs, it goes on looking, so that the trouble is told then.
    pub(super) async fn watch_storage(&self) {
        let mut was: Option<TroubleKind> = None;
        let mut look = tokio::time::interval(LOOK);

        loop {
            let beat = self.beat();
            tokio::pin!(beat);
            loop {
                tokio::select! {
                    () = &mut beat => break,
                    _ = look.tick() => self.tell_of_storage(&mut was),
                }
            }

            self.tell_of_storage(&mut was);
        }
    }

    /// Writes once, and waits until the next time: a second while there is a problem, else two.
    async fn beat(&self) {
        let written = health::write_heartbeat(&self.store, self.clock.now_ms()).await;
        let wait = match written {
            Ok(()) => {
                self.succeeded(Work::Storage).await;
                self.notice_forgotten().await;
                EVERY
            }
            Err(error) => {
                self.cannot_store("writing to the database", &error).await;
                EVERY_IN_TROUBLE
            }
        };

        tokio::time::sleep(wait).await;
    }

    /// Looks whether a command made the program forget somebody; then open pages are told, since
    /// they may show a name.
    async fn notice_forgotten(&self) {
        match self.store.notice_forgotten().await {
            Ok(true) => self.changes.announce(Change::Observer),
            Ok(false) => {}
            Err(error) => self.cannot_store("reading who is forgotten", &error).await,
        }
    }

    /// Announces to pages and the log if the trouble with storing is another than at the last check
    /// (`was`).
    fn tell_of_storage(&self, was: &mut Option<TroubleKind>) {
        let trouble = self.store.trouble(self.clock.now_ms());
        let kind = trouble.as_ref().map(|trouble| trouble.kind);
        if kind == *was {
            return;
        }

        *was = kind;
        if let Some(trouble) = trouble {
            tracing::error!(
                kind = trouble.kind.as_str(),
                error = %trouble.error,
                "nothing can be stored; what happens meanwhile is read when it is over"
            );
        } else {
            tracing::info!("the database can be written again; observing goes on");
            self.storage_again.notify_waiters();
        }

        self.changes.announce(Change::Observer);
    }

    /// Notes that a write failed that is not tried again: the next successful write ends the
    /// trouble.
    pub(super) async fn cannot_store(&self, doing: &str, error: &crate::store::Error) {
        self.not_stored(Work::Storage, doing, error).await;
    }

    /// Waits after an error, for `pause`. If the error was that nothing can be stored, the wait
    /// ends as soon as storing works again.
    pub(super) async fn rest_after(&self, error: &Error, pause: Duration) {
        if !error.is_of_storage() {
            return tokio::time::sleep(pause).await;
        }

        let again = self.storage_again.notified();
        let _ = tokio::time::timeout(pause, again).await;
    }
}
