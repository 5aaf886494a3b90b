//! Announces, after the commit and without data, that something about a slot or room changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast;

/// What changed. The reader fetches the new data in the ordinary way.
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
    /// When this process started, ms: changes are counted anew then.
    pub run_ms: i64,
    sender: broadcast::Sender<Change>,
    announced: Arc<AtomicU64>,
}

impl Default for Changes {
    fn default() -> Self {
        Self::since(0)
    }
}

impl Changes {
    /// The changes of a process that started at this time, ms.
    #[must_use]
    pub fn since(run_ms: i64) -> Self {
        Self {
            run_ms,
            sender: broadcast::Sender::new(1024),
            announced: Arc::default(),
        }
    }

    /// Notifies all listeners, if there are any.
    pub fn announce(&self, change: Change) {
        self.announced.fetch_add(1, Ordering::SeqCst);
        let _ = self.sender.send(change);
    }

    /// Receives everything announced from now on. A slow listener gets a "lagged" error and should
    /// reload everything.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.sender.subscribe()
    }

    /// A counter that grows with each announcement: data read at one value is current as long as
    /// the value is the same.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.announced.load(Ordering::SeqCst)
    }
}
