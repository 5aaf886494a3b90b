//! Which rooms are watched: every room the account is in, and by policy those it is invited to.

use super::patience::Patience;
use super::troubles::Work;
use super::{Error, Observer};
use crate::matrix::Invite;
use crate::rtc::session::server_of;
use crate::store::batch::{RoomBatch, Source};
use crate::store::invitations::Invitation;
use crate::store::rooms;
use crate::store::row::{RoomName, Watch};
use std::collections::HashSet;

impl Observer {
    /// Marks the rooms that we are in no more.
    pub(super) async fn settle_rooms(&self) {
        let mut patience = Patience::new();
        while let Err(error) = self.try_settle_rooms().await {
            self.failed(Work::Rooms, "asking which rooms we are in", &error)
                .await;
            let pause = Self::pause(&error, &mut patience);
            self.rest_after(&error, pause).await;
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
                let batch = RoomBatch {
                    watch: Some(Watch::Left),
                    ..RoomBatch::new(&room_id, Source::Poll)
                };
                self.ingest(&self.one(batch)).await?;
            }
        }
        Ok(joined)
    }

    /// What policy says of an invitation; one that it does not allow stays open.
    pub(super) fn answered(&self, invite: &Invite) -> Invitation {
        let inviter = invite.inviter.clone().unwrap_or_default();
        let accepted = self.allows(&inviter);
        if !accepted {
            tracing::warn!(
                room = %invite.room_id,
                inviter = %inviter,
                "an invitation waits: neither invites.allow_users nor invites.allow_servers allows it; the status page says \
                 what to set"
            );
        }
        Invitation {
            room: RoomName {
                room_id: invite.room_id.clone(),
                name: invite.name.clone(),
                alias: invite.alias.clone(),
            },
            inviter,
            accepted,
        }
    }

    /// May this user, by full id, invite us?
    pub(super) fn allows(&self, inviter: &str) -> bool {
        let server = server_of(inviter);
        !inviter.is_empty()
            && (self
                .settings
                .invite_users
                .iter()
                .any(|user| user == inviter)
                || self
                    .settings
                    .invite_servers
                    .iter()
                    .any(|name| name == server))
    }
}
