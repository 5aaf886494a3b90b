//! Forgets who asked on the pages, or by a message, not to be recorded.

use super::backoff::Backoff;
use super::error_state::Work;
use super::{Error, Observer};
use crate::changes::Change;
use crate::store::rights::forget::{self, OpenWish};
use std::time::Duration;

/// Interval of looks for somebody who asked.
const EVERY: Duration = Duration::from_secs(2);

impl Observer {
    /// Forgets who asked for it, for ever. A stop loses nothing: what is not done is asked again.
    pub(super) async fn forget_who_asked(&self) {
        let mut backoff = Backoff::new();
        loop {
            match self.fulfil_open_wishes().await {
                Ok(()) => {
                    backoff = Backoff::new();
                    self.succeeded(Work::Forgetting).await;
                    tokio::time::sleep(EVERY).await;
                }
                Err(error) => {
                    let doing = "forgetting somebody who asked for it";
                    self.failed(Work::Forgetting, doing, &error).await;
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    /// Forgets all who asked by now. One that fails does not keep off the others; its error is
    /// returned when all were tried.
    async fn fulfil_open_wishes(&self) -> Result<(), Error> {
        let mut failed = None;
        for wish in forget::list_open_wishes(&self.store, self.clock.now_ms()).await? {
            if let Err(error) = self.fulfil_wish(&wish).await {
                failed = Some(error);
            }
        }

        failed.map_or(Ok(()), Err)
    }

    async fn fulfil_wish(&self, wish: &OpenWish) -> Result<(), Error> {
        let now = self.clock.now_ms();
        match wish {
            OpenWish::Forget(wish) => {
                if forget::is_own_name(&self.store, wish).await? {
                    tracing::warn!("our own account cannot be forgotten, so its wish is dropped");
                    return Ok(forget::drop_wish(&self.store, wish).await?);
                }

                let rules = &self.settings.rules;
                forget::forget_name(&self.store, rules, wish, now, rand::random()).await?;
                self.erase().await?;
                forget::finish_forgetting(&self.store, wish, self.clock.now_ms()).await?;
            }
            OpenWish::Erase { hash } => {
                self.erase().await?;
                forget::finish_erasing(&self.store, hash, self.clock.now_ms()).await?;
            }
        }

        tracing::info!("somebody who asked for it is forgotten");
        self.changes.announce(Change::Observer);

        Ok(())
    }

    async fn erase(&self) -> Result<(), Error> {
        if !self.store.erase_deleted().await? {
            tracing::warn!(
                "somebody was forgotten, but readers keep a part of the write-ahead log; it is \
                 emptied when the program stops"
            );
        }

        Ok(())
    }
}
