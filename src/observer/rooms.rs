//! Which rooms are watched: every room the account is in, those it is asked to join, and invitations by policy.

use super::patience::Patience;
use super::{Error, Observer, RoomWish};
use crate::changes::Change;
use crate::matrix::Invite;
use crate::store::batch::{RoomBatch, Source};
use crate::store::row::Watch;
use crate::store::{rooms, vantages};
use std::collections::HashSet;
use std::time::Duration;

/// A wish that failed is tried again after this time.
const AGAIN: Duration = Duration::from_mins(1);

impl Observer {
    /// Makes every joined room known, and marks those that we are in no more.
    pub(super) async fn settle_rooms(&self) {
        let mut patience = Patience::new();
        while let Err(error) = self.try_settle_rooms().await {
            self.failed("asking which rooms we are in", &error).await;
            tokio::time::sleep(Self::pause(&error, &mut patience)).await;
        }
    }

    async fn try_settle_rooms(&self) -> Result<(), Error> {
        rooms::forget_blind(&self.store).await?;
        let joined: HashSet<String> = self.client.joined_rooms().await?.into_iter().collect();
        for (room_id, watch) in rooms::watched(&self.store).await? {
            if watch == Watch::Joined && !joined.contains(&room_id) {
                let batch = RoomBatch { watch: Some(Watch::Left), ..RoomBatch::new(&room_id, Source::Poll) };
                self.ingest(&self.one(batch)).await?;
            }
        }
        self.recovered_quietly().await
    }

    pub(super) async fn recovered_quietly(&self) -> Result<(), Error> {
        Ok(vantages::recovered(&self.store, &self.vantage_id).await?)
    }

    /// Joins the rooms that the configuration names, and looks into those it names for that, until all are there.
    pub(super) async fn keep_joining(&self) {
        let mut join = self.settings.rooms.clone();
        let mut peek = self.settings.peek_rooms.clone();
        loop {
            join = self.join_each(join).await;
            peek = self.peek_each(peek).await;
            if join.is_empty() && peek.is_empty() {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn join_each(&self, wishes: Vec<RoomWish>) -> Vec<RoomWish> {
        let mut left = Vec::new();
        for wish in wishes {
            match self.client.join(&wish.room, &wish.via).await {
                Ok(room_id) => {
                    tracing::info!("watching {} ({room_id})", wish.room);
                    self.came_true(&wish).await;
                }
                Err(error) => {
                    self.not_there(&wish, &error).await;
                    left.push(wish);
                }
            }
        }
        left
    }

    async fn peek_each(&self, wishes: Vec<RoomWish>) -> Vec<RoomWish> {
        let mut left = Vec::new();
        for wish in wishes {
            match self.peek(&wish).await {
                Ok(true) => {
                    tracing::info!("looking into {} without joining", wish.room);
                    self.came_true(&wish).await;
                }
                Ok(false) => left.push(wish),
                Err(error) => {
                    self.failed(&format!("looking into {}", wish.room), &error).await;
                    left.push(wish);
                }
            }
        }
        left
    }

    async fn peek(&self, wish: &RoomWish) -> Result<bool, Error> {
        let room_id = if wish.room.starts_with('#') {
            self.client.resolve_alias(&wish.room).await?.room_id
        } else {
            wish.room.clone()
        };
        self.poll(&room_id, Watch::Peeked).await
    }

    /// A room that was known only by its alias, as blind, is there now under its id.
    async fn came_true(&self, wish: &RoomWish) {
        if !wish.room.starts_with('#') {
            return;
        }
        if let Err(error) = rooms::forget_wish(&self.store, &wish.room).await {
            tracing::error!("the wish for {} could not be forgotten: {error}", wish.room);
        }
    }

    async fn not_there(&self, wish: &RoomWish, error: &crate::matrix::Error) {
        tracing::warn!("joining {}: {error}; it is tried again every minute", wish.room);
        let now = self.clock.now_ms();
        if let Err(error) = rooms::trouble(&self.store, &wish.room, Some(Watch::Blind), &error.to_string(), now).await {
            tracing::error!("the trouble with {} could not be noted: {error}", wish.room);
        }
        self.changes.announce(Change::Room { room_id: wish.room.clone() });
    }

    /// Accepts invitations that policy allows; counts the others and leaves them open.
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
            if let Err(error) = self.client.join(&invite.room_id, &[server.to_owned()]).await {
                tracing::warn!("accepting the invitation to {}: {error}", invite.room_id);
            }
        }
        if refused > 0 {
            vantages::refused(&self.store, &self.vantage_id, refused).await?;
        }
        Ok(())
    }
}
