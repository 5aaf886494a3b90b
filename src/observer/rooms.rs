//! Which rooms are watched: every room the account is in, and by policy those it is invited to.

use super::backoff::Backoff;
use super::error_state::Work;
use super::{Error, Observer};
use crate::matrix::{self, Invite, SyncRequest};
use crate::rtc::id::server_of;
use crate::rtc::words::{Source, Watch};
use crate::store::ingest::batch::RoomBatch;
use crate::store::ingest::invitations::Invitation;
use crate::store::ingest::rooms;
use crate::store::model::RoomName;
use std::collections::HashSet;

/// Error answers after which a homeserver is not asked again before the next poll.
const TRIES: u32 = 3;

impl Observer {
    /// Marks the rooms that we are no longer in. If the homeserver answers with errors three times,
    /// we do not wait for it: sync reports later changes, and each poll asks again.
    pub(super) async fn settle_rooms(&self) {
        let mut backoff = Backoff::new();
        let mut answered = 0;
        while let Err(error) = self.try_settle_rooms().await {
            self.failed(Work::Rooms, "asking which rooms we are in", &error)
                .await;
            let is_answer = matches!(&error, Error::Matrix(error) if error.status().is_some()
                && error.retry_after().is_none());
            answered += u32::from(is_answer);
            if answered == TRIES {
                return;
            }

            let pause = Self::pause(&error, &mut backoff);
            self.rest_after(&error, pause).await;
        }

        self.succeeded(Work::Rooms).await;
    }

    /// Removes rooms that were never seen, and asks which rooms we are in.
    async fn try_settle_rooms(&self) -> Result<(), Error> {
        rooms::delete_unseen_rooms(&self.store).await?;
        self.joined_now().await?;
        Ok(())
    }

    /// The rooms we are in, by id, as the homeserver says. Rooms that we were in before are marked
    /// as left. If the homeserver has no such list, a first sync tells, and none is marked.
    pub(super) async fn joined_now(&self) -> Result<HashSet<String>, Error> {
        // Read before the request: a room that we join meanwhile is not in the answer, and must not
        // be marked as left.
        let known = rooms::list_watched_rooms(&self.store).await?;
        let mut joined: HashSet<String> = match self.client.joined_rooms().await {
            Ok(joined) => joined.into_iter().collect(),
            Err(error) if error.is_unsupported() => {
                tracing::debug!(%error, "the homeserver does not say which rooms we are in");
                return self.joined_by_sync(&known).await;
            }
            Err(error) => return Err(error.into()),
        };

        let direct = self.direct_rooms().await?.read().await.clone();
        joined.retain(|room_id| !direct.contains(room_id));
        self.succeeded(Work::Rooms).await;
        for (room_id, watch) in known {
            if watch == Watch::Joined && !joined.contains(&room_id) {
                let batch = RoomBatch {
                    watch: Some(Watch::Left),
                    ..RoomBatch::new(&room_id, Source::Poll)
                };

                self.ingest(&self.batch_of_room(batch)).await?;
            }
        }

        Ok(joined)
    }

    /// The rooms we are in, by a first sync with a minimal filter, for a homeserver that has no
    /// list of them. A room of `known` that is not in the answer may still be ours: it is kept.
    async fn joined_by_sync(&self, known: &[(String, Watch)]) -> Result<HashSet<String>, Error> {
        let filter = matrix::filter_of_names().to_string();
        let ask = SyncRequest {
            since: None,
            timeout_ms: 0,
            filter: &filter,
            full_state: false,
        };

        let answer = self.client.sync(ask).await?;
        let told = answer.joined.into_iter().map(|room| room.room_id);
        let known = known.iter().filter(|(_, watch)| *watch == Watch::Joined);

        let direct = self.direct_rooms().await?.read().await.clone();

        Ok(told
            .chain(known.map(|(room_id, _)| room_id.clone()))
            .filter(|room_id| !direct.contains(room_id))
            .collect())
    }

    /// The invitation, with what policy says of it. One that policy does not allow stays open, and
    /// is logged.
    pub(super) fn invitation_by_policy(&self, invite: &Invite) -> Invitation {
        let inviter = invite.inviter.clone().unwrap_or_default();
        let accepted = self.allows(&inviter);
        if invite.is_direct {
            self.note_direct_invitation(&inviter, accepted);
        }
        if !accepted {
            tracing::warn!(
                room = %invite.room_id,
                inviter = %self.store.name_for_log(&inviter),
                "an invitation waits: neither invites.allow_users nor invites.allow_servers allows \
                 it; the status page says what to set"
            );
        }

        Invitation {
            room: RoomName {
                room_id: invite.room_id.clone(),
                name: invite.name.clone(),
                alias: invite.alias.clone(),
                people_title: None,
            },
            inviter,
            accepted,
            is_direct: invite.is_direct,
        }
    }

    /// May this user, by full id, invite us? The id or its server must be in the settings.
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
