//! Announces, after the commit and without data, that something about a slot or room changed.

use tokio::sync::broadcast;

/// What changed; the reader fetches it again by the one read path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Memberships or sessions of a slot.
    Slot { room_id: String, slot_id: String },
    /// The name or state of a room.
    Room { room_id: String },
    /// The observer itself: an error began or ended, a first sync was done.
    Observer,
}

/// The announcing side and the listening side in one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Changes(broadcast::Sender<Change>);

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::Sender::new(1024))
    }
}

impl Changes {
    /// Tells all who listen. Nobody listening is fine.
    pub fn announce(&self, change: Change) {
        let _ = self.0.send(change);
    }

    /// Everything announced from now on. A slow listener is told that it lagged and should look at everything.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }
}
