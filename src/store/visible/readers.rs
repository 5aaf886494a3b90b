//! Readers for viewers who may not see everything.

use super::rooms::{VisibleRooms, find_visible_rooms};
use super::viewer::{PeopleShown, Viewer, VisibilityPolicy};
use super::views::statements_for_views;
use crate::store::read::name_search::NameIndex;
use crate::store::stats::calls_ever::CallCounts;
use crate::store::{Error, Reader};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long the rooms of a viewer are not looked up again.
const ROOMS_KEPT: Duration = Duration::from_secs(1);
/// Maximum viewers whose rooms are kept.
const VIEWERS_MOST: u64 = 10_000;
/// Maximum sets of rooms for which connections are open, and how long an unused one is kept.
const READERS_MOST: u64 = 8;
const READERS_IDLE: Duration = Duration::from_mins(1);

/// The readers of viewers who may not see everything. Viewers who may see the same rooms share one.
#[derive(Clone)]
pub(in crate::store) struct VisibleReaders {
    rooms: Cache<(Viewer, VisibilityPolicy), Arc<VisibleRooms>>,
    readers: Cache<Arc<VisibleRooms>, Reader>,
    /// How many readers were made.
    numbers: Arc<AtomicU64>,
}

impl Default for VisibleReaders {
    fn default() -> Self {
        Self {
            rooms: Cache::builder()
                .max_capacity(VIEWERS_MOST)
                .time_to_live(ROOMS_KEPT)
                .build(),
            readers: Cache::builder()
                .max_capacity(READERS_MOST)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(READERS_IDLE)
                .build(),
            numbers: Arc::default(),
        }
    }
}

impl fmt::Debug for VisibleReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VisibleReaders").finish_non_exhaustive()
    }
}

impl VisibleReaders {
    /// Drops what the readers keep in memory, such as names.
    pub(in crate::store) fn clear(&self) {
        self.readers.invalidate_all();
        self.rooms.invalidate_all();
    }
}

impl Reader {
    /// The same reader, but it shows only what this viewer may see. What the viewer may see is at
    /// most a second old.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn for_viewer(
        &self,
        viewer: &Viewer,
        policy: VisibilityPolicy,
    ) -> Result<Self, Error> {
        if viewer.is_operator() {
            return Ok(self.clone());
        }

        let key = (viewer.clone(), policy);
        let known = self.visible.rooms.get(&key).await;
        let rooms = if let Some(rooms) = known {
            rooms
        } else {
            let rooms = Arc::new(find_visible_rooms(self, viewer, policy).await?);
            self.visible.rooms.insert(key, rooms.clone()).await;
            rooms
        };

        let make = async { self.with_rooms(rooms.clone()) };
        let reader = self.visible.readers.get_with(rooms.clone(), make).await;

        Ok(reader.through(self.kind))
    }

    /// A reader with connections of its own, which show these rooms only.
    fn with_rooms(&self, rooms: Arc<VisibleRooms>) -> Self {
        let setup = statements_for_views(self.dialect(), &rooms);
        let pools = self.pools.set_up_by(setup.into(), &self.space);

        Self {
            read: pools.pages.clone(),
            pools,
            rooms: Some(rooms),
            rooms_number: self.visible.numbers.fetch_add(1, Ordering::Relaxed) + 1,
            counts_in_part: CallCounts::default(),
            names: NameIndex::default(),
            // Those of this reader are itself; they would keep it for ever.
            visible: VisibleReaders::default(),
            ..self.clone()
        }
    }

    /// What this reader shows of people.
    fn people_shown(&self) -> PeopleShown {
        self.rooms
            .as_ref()
            .map_or(PeopleShown::ByName, |rooms| rooms.people)
    }

    /// Does this reader show people by their names?
    #[must_use]
    pub fn shows_names(&self) -> bool {
        self.people_shown() == PeopleShown::ByName
    }

    /// Does this reader show the servers of people?
    #[must_use]
    pub fn shows_servers(&self) -> bool {
        self.people_shown() != PeopleShown::ByPseudonym
    }

    /// Does this reader show everything that happened in this room?
    pub(in crate::store) fn sees_whole_room(&self, room_id: &str) -> bool {
        self.rooms
            .as_ref()
            .is_none_or(|rooms| rooms.only_call.is_none() && rooms.whole.contains(room_id))
    }

    /// A number for the rooms that this reader shows; 0 if it shows all. No two readers with other
    /// rooms have the same.
    #[must_use]
    pub fn rooms_number(&self) -> u64 {
        self.rooms_number
    }

    /// The rooms that this reader shows; `None` if it shows all.
    #[must_use]
    pub fn visible_rooms(&self) -> Option<&VisibleRooms> {
        self.rooms.as_deref()
    }
}
