//! Which rooms are watched: every room the account is in, and by policy those it is invited to.

use super::patience::Patience;
use super::troubles::Work;
use super::{Error, Observer, RoomWish};
use crate::matrix::Invite;
use crate::store::batch::{RoomBatch, Source};
use crate::store::row::Watch;
use crate::store::{rooms, vantages};
use std::collections::HashSet;

impl Observer {
    /// Marks the rooms that we are in no more.
    pub(super) async fn settle_rooms(&self) {
        let mut patience = Patience::new();
        while let Err(error) = self.try_settle_rooms().await {
            self.failed(Work::Rooms, "asking which rooms we are in", &error).await;
            tokio::time::sleep(Self::pause(&error, &mut patience)).await;
        }
        self.succeeded(Work::Rooms).await;
    }

    async fn try_settle_rooms(&self) -> Result<(), Error> {
        rooms::forget_blind(&self.store).await?;
        self.joined_now().await?;
        Ok(())
    }

    /// The rooms we are in, as the homeserver says; those we were in before are marked as left.
    pub(super) async fn joined_now(&self) -> Result<HashSet<String>, Error> {
        // Read before the question: what we join while it is under way is not in the answer and not left.
        let known = rooms::watched(&self.store).await?;
        let joined: HashSet<String> = self.client.joined_rooms().await?.into_iter().collect();
        for (room_id, watch) in known {
            if watch == Watch::Joined && !joined.contains(&room_id) {
                let batch = RoomBatch { watch: Some(Watch::Left), ..RoomBatch::new(&room_id, Source::Poll) };
                self.ingest(&self.one(batch)).await?;
            }
        }
        Ok(joined)
    }

    /// Passes invitations that policy allows on to be joined; counts the others and leaves them open.
    pub(super) async fn answer_invites(&self, invites: &[Invite]) -> Result<(), Error> {
        let mut refused = 0;
        for invite in invites {
            let by = invite.inviter.as_deref().unwrap_or_default();
            let server = by.split_once(':').map_or("", |(_, server)| server);
            let allowed = self.settings.invite_users.iter().any(|user| user == by)
                || self.settings.invite_servers.iter().any(|name| name == server);
            if !allowed || by.is_empty() {
                refused += 1;
                tracing::info!("an invitation to {} by {by:?} is not accepted: policy", invite.room_id);
                continue;
            }
            let wish = RoomWish { room: invite.room_id.clone(), via: vec![server.to_owned()] };
            self.accepted.lock().await.push(wish);
            self.accepted_more.notify_one();
        }
        if refused > 0 {
            vantages::refused(&self.store, &self.vantage_id, refused).await?;
        }
        Ok(())
    }
}
