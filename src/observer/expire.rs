//! Expiry writes nothing; this only tells open pages that a membership's time has come.

use super::Observer;
use super::troubles::Work;
use crate::changes::Change;
use crate::store::memberships;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);

impl Observer {
    /// Announces the slots whose memberships ran out since the last look, for ever.
    pub(super) async fn watch_expiry(&self) {
        let mut from = self.clock.now_ms();
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.clock.now_ms();
            match memberships::ended_between(&self.store, from, now).await {
                Ok(slots) => {
                    from = now;
                    self.succeeded(Work::Expiry).await;
                    for (room_id, slot_id) in slots {
                        self.changes.announce(Change::Slot { room_id, slot_id });
                    }
                }
                // It only waited too long for a connection to read with: that says nothing of what
                // can be stored.
                Err(error) if error.is_busy() => {
                    tracing::warn!(%error, "looking for memberships that ran out takes long");
                }
                Err(error) => {
                    let doing = "looking for memberships that ran out";
                    self.not_stored(Work::Expiry, doing, &error).await;
                }
            }
        }
    }
}
