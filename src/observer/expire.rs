//! Expiry writes nothing. This only notifies open pages that a membership has run out.

use super::Observer;
use super::error_state::Work;
use crate::changes::Change;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);

impl Observer {
    /// Tells open pages every second which slots had a stay that ran out, for ever. Nothing is
    /// written.
    pub(super) async fn watch_expiry(&self) {
        let mut from = self.clock.now_ms();
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.clock.now_ms();
            match crate::store::read::memberships::ended_between(&self.store, from, now).await {
                Ok(slots) => {
                    from = now;
                    self.succeeded(Work::Expiry).await;
                    for (room_id, slot_id) in slots {
                        self.changes.announce(Change::Slot { room_id, slot_id });
                    }
                }
                // It only waited too long for a reading connection. That is no problem of storing.
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
