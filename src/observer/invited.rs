//! Invitations that the sync stream does not tell of: those of before versions that kept them, and
//! without a stream all of them, whether or not they are accepted: the status page says what one
//! that waits needs.

use super::{Error, Mode, Observer};
use crate::matrix::{SyncRequest, invitations_filter};
use crate::store::{invitations, vantages};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Without a stream the homeserver is asked for invitations this often where none is accepted, ms.
const ASKED_EVERY_MS: i64 = 3_600_000;

/// Such a question is given up after this.
const ASKED_AT_MOST: Duration = Duration::from_mins(1);

impl Observer {
    /// Asks for the invitations that are open where there is no stream, or where some were refused
    /// and none is kept: versions before this one only counted them, and the stream does not tell
    /// of them again.
    pub(super) async fn look_for_forgotten_invitations(&self) {
        let wanted = async {
            if self.settings.mode == Mode::Poll {
                return Ok::<_, Error>(true);
            }

            let kept = invitations::open(&self.store, &self.vantage_id).await?;
            let refused = vantages::list(&self.store)
                .await?
                .into_iter()
                .any(|vantage| vantage.id == self.vantage_id && vantage.invites_refused > 0);
            Ok(kept.is_empty() && refused)
        };

        match wanted.await {
            Ok(true) => self.look_for_invitations().await,
            Ok(false) => {}
            Err(Error::Store(error)) => {
                self.cannot_store("reading which invitations are kept", &error)
                    .await;
            }
            Err(error) => tracing::warn!("reading which invitations are kept: {error}"),
        }
    }

    /// Asks for the invitations that are open after each poll where somebody's are accepted, else
    /// once an hour: the question is dear for the homeserver.
    pub(super) async fn look_for_invitations_now_and_then(&self) {
        let now_ms = self.clock.now_ms();
        let last_ms = self.invitations_asked_ms.load(Ordering::Relaxed);
        let is_due = now_ms.saturating_sub(last_ms) >= ASKED_EVERY_MS;
        if !is_due && !self.accepts_anybody() {
            return;
        }

        self.invitations_asked_ms.store(now_ms, Ordering::Relaxed);
        let asked = tokio::time::timeout(ASKED_AT_MOST, self.look_for_invitations());
        if asked.await.is_err() {
            tracing::warn!(
                seconds = ASKED_AT_MOST.as_secs(),
                "the homeserver did not say in time which invitations are open"
            );
        }
    }

    fn accepts_anybody(&self) -> bool {
        !self.settings.invite_users.is_empty() || !self.settings.invite_servers.is_empty()
    }

    /// Asks for the invitations that are open. That it fails is no trouble: the rooms that are
    /// followed are followed.
    pub(super) async fn look_for_invitations(&self) {
        if let Err(error) = self.try_look_for_invitations().await {
            tracing::warn!("asking which invitations are open: {error}");
        }
    }

    async fn try_look_for_invitations(&self) -> Result<(), Error> {
        let filter = invitations_filter();
        let ask = SyncRequest {
            since: None,
            timeout_ms: 0,
            filter: &filter,
            full_state: false,
        };

        let kept = invitations::open(&self.store, &self.vantage_id).await?;
        let answer = self.client.sync(ask).await?;
        let is_open = |room_id: &str| {
            answer
                .invited
                .iter()
                .any(|invite| invite.room_id == room_id)
        };

        for pending in kept {
            let room_id = &pending.room.room_id;
            if !is_open(room_id) {
                invitations::close(&self.store, &self.vantage_id, room_id).await?;
            }
        }

        let mut batch = self.empty_batch();
        batch.invitations = answer
            .invited
            .iter()
            .map(|invite| self.answered(invite))
            .collect();
        if !batch.invitations.is_empty() {
            self.ingest(&batch).await?;
        }

        Ok(())
    }
}
