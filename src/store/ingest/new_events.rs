//! Events that this transaction stores. They are in memory, so they are not read back for the fold.

use crate::rtc::event::RoomEvent;
use std::collections::HashMap;
use std::sync::Arc;

/// Events stored after a certain number, by event id.
#[derive(Debug, Clone)]
pub(in crate::store) struct NewEvents {
    before: i64,
    events: HashMap<String, Arc<RoomEvent>>,
}

impl Default for NewEvents {
    /// No event is in memory.
    fn default() -> Self {
        Self::since(i64::MAX)
    }
}

impl NewEvents {
    /// The events stored with a higher number than this.
    pub fn since(before: i64) -> Self {
        Self {
            before,
            events: HashMap::new(),
        }
    }

    /// Events with a higher number need not be read.
    pub fn before(&self) -> i64 {
        self.before
    }

    /// Adds an event as it is stored now.
    pub fn add_event(&mut self, event: &Arc<RoomEvent>) {
        self.events
            .insert(event.event_id.clone(), Arc::clone(event));
    }

    /// The number of events in memory.
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// The event of this id; `None` if it is not in memory.
    pub fn get(&self, event_id: &str) -> Option<Arc<RoomEvent>> {
        self.events.get(event_id).map(Arc::clone)
    }
}
