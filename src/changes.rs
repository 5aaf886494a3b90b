//! Announces, after the commit and without data, that something about a slot or room changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
pub struct Changes {
    sender: broadcast::Sender<Change>,
    announced: Arc<AtomicU64>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(1024),
            announced: Arc::default(),
        }
    }
}

impl Changes {
    /// Tells all who listen. Nobody listening is fine.
    pub fn announce(&self, change: Change) {
        self.announced.fetch_add(1, Ordering::SeqCst);
        let _ = self.sender.send(change);
    }

    /// Everything announced from now on. A slow listener is told that it lagged and should look at
    /// everything.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.sender.subscribe()
    }

    /// Grows with each announcement: what was read at one generation holds as long as it is the
    /// same.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.announced.load(Ordering::SeqCst)
    }
}
