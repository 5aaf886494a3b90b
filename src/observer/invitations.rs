//! Invitations that the sync stream does not report: those from before the versions that store them
//! and, without a stream, all of them. It does not matter whether policy accepts them: the status
//! page says what a waiting one needs.

use super::{Error, Observer};
use crate::rtc::words::Mode;
use crate::store::ingest::{invitations, vantages};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The pause after such a request is this many times its duration,
const PAUSE_BY_DURATION: i64 = 60;
/// and at most this long, ms.
const PAUSE_MAX_MS: i64 = 3_600_000;

/// Timeout of such a request.
const ASKED_AT_MOST: Duration = Duration::from_mins(1);

impl Observer {
    /// Requests the open invitations if the stream cannot have told of them: there is no stream, or
    /// some were refused and none is stored. Earlier versions only counted refused ones, and the
    /// stream does not report them again.
    pub(super) async fn look_for_forgotten_invitations(&self) {
        let wanted = async {
            if self.settings.mode == Mode::Poll {
                return Ok::<_, Error>(true);
            }

            let kept = invitations::list_invitations(&self.store, &self.vantage_id).await?;
            let refused = vantages::list_vantages(&self.store)
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
            Err(error) => tracing::warn!(%error, "the kept invitations could not be read"),
        }
    }

    /// Requests the open invitations, unless the last request was expensive and recent: the pause
    /// after one is 60 times as long as it took, at most an hour.
    pub(super) async fn look_for_invitations_now_and_then(&self) {
        let begun_ms = self.clock.now_ms();
        if begun_ms < self.invitations_due_ms.load(Ordering::Relaxed) {
            return;
        }

        let asked = tokio::time::timeout(ASKED_AT_MOST, self.look_for_invitations());
        if asked.await.is_err() {
            tracing::warn!(
                seconds = ASKED_AT_MOST.as_secs(),
                "the homeserver did not say in time which invitations are open"
            );
        }

        let now_ms = self.clock.now_ms();
        let took_ms = now_ms.saturating_sub(begun_ms).clamp(0, PAUSE_MAX_MS);
        let pause_ms = took_ms.saturating_mul(PAUSE_BY_DURATION).min(PAUSE_MAX_MS);
        let due_ms = now_ms.saturating_add(pause_ms);
        self.invitations_due_ms.store(due_ms, Ordering::Relaxed);
    }

    /// Requests the open invitations. A failure is only logged: it is no problem for the rooms that
    /// are followed.
    pub(super) async fn look_for_invitations(&self) {
        if let Err(error) = self.try_look_for_invitations().await {
            tracing::warn!(%error, "the homeserver did not say which invitations are open");
        }
    }

    /// Stores the invitations that are open, with what policy says of them, and closes stored ones
    /// that are not.
    async fn try_look_for_invitations(&self) -> Result<(), Error> {
        let kept = invitations::list_invitations(&self.store, &self.vantage_id).await?;
        let open = self.client.open_invitations().await?;
        let is_open = |room_id: &str| open.iter().any(|invite| invite.room_id == room_id);

        for pending in kept {
            let room_id = &pending.room.room_id;
            if !is_open(room_id) {
                invitations::close_invitation(&self.store, &self.vantage_id, room_id).await?;
            }
        }

        let mut batch = self.empty_batch();
        batch.invitations = open
            .iter()
            .map(|invite| self.invitation_by_policy(invite))
            .collect();
        if !batch.invitations.is_empty() {
            self.ingest(&batch).await?;
        }

        Ok(())
    }
}
