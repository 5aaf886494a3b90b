//! Rooms we are not in yet: those that the configuration wants to join or peek into, and accepted
//! invitations. Each is tried until it works, in parallel to everything else, because a join over
//! federation can take minutes.

use super::error_state::Work;
use super::{Error, Observer, RoomWish};
use crate::changes::Change;
use crate::matrix;
use crate::rtc::id::server_of;
use crate::rtc::words::Watch;
use crate::store::ingest::{invitations, rooms};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Pause before a failed wish is tried again, unless the homeserver named another.
const AGAIN: Duration = Duration::from_mins(1);

/// How we want to get into a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinWay {
    Join,
    /// A join by invitation. The wish ends when the homeserver says that we are not allowed.
    Accept,
    Peek,
}

/// A room to get into, how, and when it is tried next.
#[derive(Debug)]
struct PendingJoin {
    room: RoomWish,
    way: JoinWay,
    due: Instant,
}

impl PendingJoin {
    /// A wish that is due at once.
    fn new(room: RoomWish, way: JoinWay) -> Self {
        Self {
            room,
            way,
            due: Instant::now(),
        }
    }
}

impl Observer {
    /// Tries each wish when it is due, for ever: an invitation may come at any time.
    pub(super) async fn keep_joining(&self) {
        let join = self
            .settings
            .rooms
            .iter()
            .map(|room| PendingJoin::new(room.clone(), JoinWay::Join));
        let peek = self
            .settings
            .peek_rooms
            .iter()
            .map(|room| PendingJoin::new(room.clone(), JoinWay::Peek));
        let mut wishes: Vec<PendingJoin> = join.chain(peek).collect();
        self.look_for_forgotten_invitations().await;

        loop {
            let again = self.add_accepted(&mut wishes).await;
            wishes = self.try_due(wishes).await;
            let next = wishes.iter().map(|wish| wish.due).chain(again).min();
            let due = async {
                match next {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };

            tokio::select! {
                () = due => {}
                () = self.accepted.notified() => {}
            }
        }
    }

    /// Adds the invitations that the current policy allows and that are not among the wishes yet,
    /// also those from before the last stop. Returns when to ask again if reading them failed.
    async fn add_accepted(&self, wishes: &mut Vec<PendingJoin>) -> Option<Instant> {
        let open = match invitations::list_invitations(&self.store, &self.vantage_id).await {
            Ok(open) => open,
            Err(error) => {
                let doing = "reading which invitations are open";
                self.cannot_store(doing, &error).await;
                return Some(Instant::now() + AGAIN);
            }
        };

        for pending in open {
            let room = pending.room.room_id;
            if wishes.iter().any(|wish| wish.room.room == room) {
                continue;
            }

            let allowed = self.allows(&pending.inviter);
            if allowed != pending.accepted {
                let inviter = self.store.name_for_log(&pending.inviter);
                tracing::info!(%room, %inviter, allowed, "the policy for an invitation has \
                                                          changed");
                self.judge_invitation(&room, allowed).await;
            }

            if allowed {
                let via = vec![server_of(&pending.inviter).to_owned()];
                wishes.push(PendingJoin::new(RoomWish { room, via }, JoinWay::Accept));
            }
        }

        None
    }

    /// Stores whether policy allows this invitation.
    async fn judge_invitation(&self, room_id: &str, allowed: bool) {
        let noted =
            invitations::set_accepted(&self.store, &self.vantage_id, room_id, allowed).await;
        if let Err(error) = noted {
            let doing = format!("noting what policy says of the invitation to {room_id}");
            self.cannot_store(&doing, &error).await;
        }

        self.changes.announce(Change::Observer);
    }

    /// Tries the wishes that are due. Returns the others: not due yet, or to be tried again.
    async fn try_due(&self, wishes: Vec<PendingJoin>) -> Vec<PendingJoin> {
        let mut open = Vec::new();
        for mut wish in wishes {
            let again = if wish.due > Instant::now() {
                None
            } else {
                Some(self.try_one(&wish).await)
            };

            match again {
                None => open.push(wish),
                Some(Some(after)) => {
                    wish.due = Instant::now() + after;
                    open.push(wish);
                }
                // It is fulfilled, or in vain for good.
                Some(None) => {}
            }
        }

        open
    }

    /// Tries one wish. Returns after what time to try it again; `None` if it worked, or there is
    /// nothing more to try.
    async fn try_one(&self, wish: &PendingJoin) -> Option<Duration> {
        let room = &wish.room;
        if wish.way == JoinWay::Peek {
            return self.try_peek(room).await;
        }

        match self.client.join(&room.room, &room.via).await {
            Ok(room_id) => {
                tracing::info!(room = %room.room, %room_id, "watching a room");
                self.clear_join_error(room).await;
                self.close_invitation(&room.room).await;
                self.succeeded(Work::Wishes).await;
                None
            }
            Err(error)
                if wish.way == JoinWay::Accept
                    && (error.is_forbidden() || error.is_not_found()) =>
            {
                tracing::warn!(room = %room.room, %error, "an invitation is no longer valid");
                self.finish_pending_join(room).await;
                self.close_invitation(&room.room).await;
                self.succeeded(Work::Wishes).await;
                None
            }

            Err(error) => {
                self.record_not_watched(room, &error).await;
                Some(error.retry_after().unwrap_or(AGAIN))
            }
        }
    }

    /// Tries to peek into a room. Returns after what time to try it again; `None` if it worked.
    async fn try_peek(&self, wish: &RoomWish) -> Option<Duration> {
        let error = match self.peek(wish).await {
            Ok(there) => {
                self.succeeded(Work::Wishes).await;
                if !there {
                    return Some(AGAIN);
                }

                tracing::info!(room = %wish.room, "looking into a room without joining");
                self.clear_join_error(wish).await;
                return None;
            }
            Err(Error::Matrix(error)) => error,
            Err(error) => {
                self.failed(Work::Wishes, &format!("looking into {}", wish.room), &error)
                    .await;
                return Some(AGAIN);
            }
        };

        self.record_not_watched(wish, &error).await;

        Some(error.retry_after().unwrap_or(AGAIN))
    }

    /// Reads a room without joining it. Returns false if it could not be read, which is then
    /// recorded on the room.
    pub(super) async fn peek(&self, wish: &RoomWish) -> Result<bool, Error> {
        let room_id = if wish.room.starts_with('#') {
            self.client.resolve_alias(&wish.room).await?.room_id
        } else {
            wish.room.clone()
        };

        self.poll(&room_id, Watch::Peeked).await
    }

    /// Removes the room that stood for an alias, as blind: it is now known by its id.
    async fn clear_join_error(&self, wish: &RoomWish) {
        if wish.room.starts_with('#') {
            self.finish_pending_join(wish).await;
        }
    }

    /// Removes the room that stood for a wish while it could not be watched.
    async fn finish_pending_join(&self, wish: &RoomWish) {
        if let Err(error) = rooms::delete_pending_room(&self.store, &wish.room).await {
            let doing = format!("forgetting that {} is not there", wish.room);
            self.cannot_store(&doing, &error).await;
        }
    }

    /// Forgets an invitation: it was accepted, or is no longer valid.
    async fn close_invitation(&self, room_id: &str) {
        if let Err(error) =
            invitations::close_invitation(&self.store, &self.vantage_id, room_id).await
        {
            let doing = format!("forgetting the invitation to {room_id}");
            self.cannot_store(&doing, &error).await;
        }

        self.changes.announce(Change::Observer);
    }

    /// Records and shows that a room cannot be watched yet, and why.
    async fn record_not_watched(&self, wish: &RoomWish, error: &matrix::Error) {
        tracing::warn!(
            room = %wish.room,
            %error,
            "a room cannot be watched yet; it is tried again"
        );
        let now = self.clock.now_ms();
        match rooms::record_failed_join(&self.store, &wish.room, &error.to_string(), now).await {
            Ok(()) => self.succeeded(Work::Wishes).await,
            Err(error) => {
                self.failed(
                    Work::Wishes,
                    &format!("noting the trouble with {}", wish.room),
                    &error.into(),
                )
                .await;
            }
        }

        self.changes.announce(Change::Room {
            room_id: wish.room.clone(),
        });
    }
}
