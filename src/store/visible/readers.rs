//! Readers for viewers who may not see everything.

use super::rooms::{VisibleRooms, find_visible_rooms, whole_rooms};
use super::version::read_visibility_version;
use super::viewer::{PeopleShown, Viewer, VisibilityPolicy};
use super::views::statements_for_views;
use crate::store::read::name_search::NameIndex;
use crate::store::stats::calls_ever::CallCounts;
use crate::store::{Error, Reader};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long it is not asked whether the rooms of a viewer changed.
const ROOMS_KEPT: Duration = Duration::from_secs(1);
/// Rooms of viewers that are kept beyond that, of all viewers together, and for how long after the
/// last question.
const ROOMS_KNOWN_MOST: u64 = 200_000;
const ROOMS_KNOWN_IDLE: Duration = Duration::from_mins(10);
/// Maximum viewers whose rooms are kept.
const VIEWERS_MOST: u64 = 10_000;
/// Maximum sets of rooms for which connections are open, and how long an unused one is kept.
const READERS_MOST: u64 = 8;
const READERS_IDLE: Duration = Duration::from_mins(1);

/// The rooms that a viewer sees as long as this is the visibility version.
#[derive(Debug, Clone)]
struct KnownRooms {
    version: i64,
    rooms: Arc<VisibleRooms>,
}

impl KnownRooms {
    /// Roughly how much memory they take, in rooms.
    fn weight(&self) -> u32 {
        let rooms = self.rooms.whole.len() + self.rooms.in_part.len();
        u32::try_from(rooms).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// The readers of viewers who may not see everything. Viewers who may see the same rooms share one.
#[derive(Clone)]
pub(in crate::store) struct VisibleReaders {
    rooms: Cache<(Viewer, VisibilityPolicy), Arc<VisibleRooms>>,
    /// The same with the visibility version for which they hold.
    known: Cache<(Viewer, VisibilityPolicy), KnownRooms>,
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
            known: Cache::builder()
                .weigher(|_, known: &KnownRooms| known.weight())
                .max_capacity(ROOMS_KNOWN_MOST)
                .time_to_idle(ROOMS_KNOWN_IDLE)
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
    /// Has it asked anew, of every viewer, whether something changed.
    #[cfg(test)]
    pub(super) fn forget_fresh_rooms(&self) {
        self.rooms.invalidate_all();
    }

    /// Drops what the readers keep in memory, such as names.
    pub(in crate::store) fn clear(&self) {
        self.readers.invalidate_all();
        self.rooms.invalidate_all();
        self.known.invalidate_all();
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
            let rooms = self.find_rooms_unless_known(&key).await?;
            self.visible.rooms.insert(key, rooms.clone()).await;
            rooms
        };

        Ok(self.showing_rooms(rooms).await)
    }

    /// The rooms of a viewer as they are now. They are only looked up if something changed.
    async fn find_rooms_unless_known(
        &self,
        key: &(Viewer, VisibilityPolicy),
    ) -> Result<Arc<VisibleRooms>, Error> {
        let (viewer, policy) = key;
        // What a link shows depends on the call, and is found at once.
        if matches!(viewer, Viewer::HasShareLink { .. }) {
            return Ok(Arc::new(find_visible_rooms(self, viewer, *policy).await?));
        }

        let Some(mut version) = read_visibility_version(self).await? else {
            return Ok(Arc::new(find_visible_rooms(self, viewer, *policy).await?));
        };
        let known = self.visible.known.get(key).await;
        if let Some(known) = known.filter(|known| known.version == version) {
            return Ok(known.rooms);
        }

        let mut rooms = find_visible_rooms(self, viewer, *policy).await?;
        let after = read_visibility_version(self).await?.unwrap_or(version);
        // Once more is enough: a change that comes now is seen when it is asked again.
        if after != version {
            version = after;
            rooms = find_visible_rooms(self, viewer, *policy).await?;
        }

        let rooms = Arc::new(rooms);
        let known = KnownRooms {
            version,
            rooms: rooms.clone(),
        };
        self.visible.known.insert(key.clone(), known).await;

        Ok(rooms)
    }

    /// The same reader, but of what it shows only what happened in these rooms.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn within_rooms(&self, room_ids: &BTreeSet<String>) -> Result<Self, Error> {
        let rooms = match &self.rooms {
            Some(rooms) => rooms.within(room_ids),
            None => whole_rooms(self, room_ids).await?,
        };

        Ok(self.showing_rooms(Arc::new(rooms)).await)
    }

    /// The reader that shows these rooms only, through connections of this reader's kind.
    async fn showing_rooms(&self, rooms: Arc<VisibleRooms>) -> Self {
        let make = async { self.with_rooms(rooms.clone()) };
        let kept = self.visible.readers.get_with(rooms.clone(), make).await;
        let mut reader = kept.through(self.kind);
        // All readers share the open connections. One that is kept has not this, or it would keep
        // itself for ever.
        reader.visible.readers = self.visible.readers.clone();

        reader
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
            // No two readers may have the same number.
            visible: VisibleReaders {
                numbers: self.visible.numbers.clone(),
                ..VisibleReaders::default()
            },
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
