//! Spaces that the configuration names. Their rooms are joined and watched, also those that come
//! later and those of spaces within them. A room that a space names no more is not left.

use super::error_state::Work;
use super::{Error, Observer, RoomWish};
use crate::changes::Change;
use crate::matrix::{SpaceChild, SpaceState};
use crate::rtc::words::Watch;
use crate::store::ingest::{rooms, spaces};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// How deep spaces within spaces are followed: the rooms of the named space are at 1.
const DEPTH_MAX: usize = 3;
/// Maximum number of rooms of one space with all spaces within it.
const ROOMS_MAX: usize = 1000;
/// Maximum number of joins that are tried in one look, and in all since the start: whoever may
/// write into a space must not make us join rooms without end.
const JOINS_OF_LOOK_MAX: usize = 50;
const JOINS_MAX: usize = 2000;
/// Pause before a room that refused us is tried again.
const LATER: Duration = Duration::from_hours(1);

/// What is remembered from one look at the spaces to the next.
#[derive(Debug, Default)]
struct SpaceMemory {
    /// Rooms that could not be joined, and when they are tried again.
    refused: HashMap<String, Instant>,
    /// Whether a room is a space itself; that never changes.
    are_spaces: HashMap<String, bool>,
    /// How many joins were tried in this look, and since the start.
    tried_in_look: usize,
    tried: usize,
    /// Until when our homeserver wants no more joins.
    paused_until: Option<Instant>,
}

impl SpaceMemory {
    /// Begins another look: what is no longer needed goes.
    fn begin_look(&mut self, now: Instant) {
        self.refused.retain(|_, due| *due > now);
        if self.are_spaces.len() > 10 * ROOMS_MAX {
            self.are_spaces.clear();
        }

        self.tried_in_look = 0;
    }

    /// May another room be joined now?
    fn may_join(&self, now: Instant) -> bool {
        self.tried_in_look < JOINS_OF_LOOK_MAX
            && self.tried < JOINS_MAX
            && self.paused_until.is_none_or(|until| until <= now)
    }
}

/// The rooms of a space, as far as they are known.
#[derive(Debug, Default)]
struct FoundRooms {
    room_ids: BTreeSet<String>,
    /// There may be more: a space within it could not be read, or one has too many.
    is_cut: bool,
}

impl Observer {
    /// Looks at the spaces now and whenever polls are due, for ever. Ends if there are none.
    pub(super) async fn follow_spaces(&self) {
        let mut memory = SpaceMemory::default();
        let mut known = BTreeSet::new();
        loop {
            let mut are_all_known = true;
            memory.begin_look(Instant::now());
            for space in &self.settings.spaces {
                match self.follow_space(space, &mut memory).await {
                    Ok(space_id) => {
                        known.insert(space_id);
                    }
                    Err(error) => {
                        are_all_known = false;
                        let doing = format!("following the space {}", space.room);
                        self.failed(Work::Spaces, &doing, &error).await;
                    }
                }
            }

            if are_all_known {
                self.succeeded(Work::Spaces).await;
                if let Err(error) = spaces::delete_other_spaces(&self.store, &known).await {
                    self.cannot_store("forgetting earlier spaces", &error).await;
                }
            }

            if self.settings.spaces.is_empty() {
                return;
            }

            self.spaces_due.notified().await;
        }
    }

    /// Joins a space and its rooms, and stores which rooms they are. Returns the id of the space.
    async fn follow_space(
        &self,
        space: &RoomWish,
        memory: &mut SpaceMemory,
    ) -> Result<String, Error> {
        let space_id = self.client.join(&space.room, &space.via).await?;
        let mut found = FoundRooms::default();
        let mut open = VecDeque::from([(space_id.clone(), 1)]);
        let mut seen = BTreeSet::from([space_id.clone()]);
        while let Some((at, depth)) = open.pop_front() {
            let state = match self.client.space_state(&at).await {
                Ok(state) => state,
                Err(error) if at == space_id => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(space = %at, %error, "a space within another cannot be read");
                    found.is_cut = true;
                    continue;
                }
            };

            found.is_cut |= state.is_cut;
            let inner = self.join_rooms_of(&state, memory, &mut found).await?;
            if depth < DEPTH_MAX {
                let new = inner.into_iter().filter(|id| seen.insert(id.clone()));
                open.extend(new.map(|id| (id, depth + 1)));
            }
        }

        let is_whole = !found.is_cut;
        if spaces::store_space_rooms(&self.store, &space_id, &found.room_ids, is_whole).await? {
            let rooms = found.room_ids.len();
            tracing::info!(space = %space.room, rooms, "the rooms of a space");
            self.changes.announce(Change::Observer);
        }

        Ok(space_id)
    }

    /// Joins the rooms that a space names, as far as we are not in them. Returns those of them that
    /// are spaces themselves.
    async fn join_rooms_of(
        &self,
        state: &SpaceState,
        memory: &mut SpaceMemory,
        found: &mut FoundRooms,
    ) -> Result<Vec<String>, Error> {
        let watched = rooms::list_watched_rooms(&self.store).await?;
        let watched: BTreeMap<String, Watch> = watched.into_iter().collect();
        let direct = self.direct_rooms().await?.read().await.clone();
        let mut inner = Vec::new();
        for child in &state.children {
            let room_id = &child.room_id;
            if direct.contains(room_id) {
                continue;
            }

            if found.room_ids.len() >= ROOMS_MAX {
                found.is_cut = true;
                break;
            }

            found.room_ids.insert(room_id.clone());
            let is_in = match watched.get(room_id) {
                Some(Watch::Joined | Watch::Peeked) => true,
                // Whoever took us out of a room does not want us there.
                Some(Watch::Left) => false,
                Some(Watch::Blind) | None => self.join_child(child, memory).await?,
            };
            if is_in && self.is_space(room_id, memory).await {
                inner.push(room_id.clone());
            }
        }

        Ok(inner)
    }

    /// Tries to join a room of a space, unless it refused us a short time ago. Returns whether we
    /// are in it.
    async fn join_child(
        &self,
        child: &SpaceChild,
        memory: &mut SpaceMemory,
    ) -> Result<bool, Error> {
        let room_id = &child.room_id;
        let now = Instant::now();
        let is_refused = memory.refused.get(room_id).is_some_and(|due| *due > now);
        if is_refused || !memory.may_join(now) {
            return Ok(false);
        }

        memory.tried_in_look += 1;
        memory.tried += 1;

        let Err(error) = self.client.join(room_id, &child.via).await else {
            tracing::info!(%room_id, "watching a room of a space");
            memory.refused.remove(room_id);
            return Ok(true);
        };

        if error.is_revoked() {
            return Err(error.into());
        }

        if let Some(pause) = error.retry_after() {
            tracing::warn!(%error, "our homeserver wants no more joins now");
            memory.paused_until = now.checked_add(pause.min(LATER));
            return Ok(false);
        }

        tracing::warn!(%room_id, %error, "a room of a space cannot be joined yet");
        memory.refused.insert(room_id.clone(), now + LATER);
        let now_ms = self.clock.now_ms();
        rooms::record_failed_join(&self.store, room_id, &error.to_string(), now_ms).await?;
        self.changes.announce(Change::Room {
            room_id: room_id.clone(),
        });

        Ok(false)
    }

    /// Is this room a space? If it does not say, it is asked again the next time.
    async fn is_space(&self, room_id: &str, memory: &mut SpaceMemory) -> bool {
        if let Some(is_space) = memory.are_spaces.get(room_id) {
            return *is_space;
        }

        let Ok(creation) = self.client.state_content(room_id, "m.room.create").await else {
            return false;
        };
        let is_space = creation.get("type").is_some_and(|kind| kind == "m.space");
        memory.are_spaces.insert(room_id.to_owned(), is_space);

        is_space
    }
}
