//! Events that this transaction stores: what they say is at hand, so it is not read back to be folded.

use crate::rtc::event::RoomEvent;
use serde_json::Value;
use std::collections::HashMap;

/// What only the text of an event tells.
#[derive(Debug, Clone)]
struct Told {
    content: Value,
    sticky_ms: Option<i64>,
    readable: bool,
}

/// The texts of events stored after a certain one, by event id.
#[derive(Debug, Clone)]
pub(super) struct Fresh {
    before: i64,
    told: HashMap<String, Told>,
}

impl Default for Fresh {
    /// Nothing is at hand.
    fn default() -> Self {
        Self::since(i64::MAX)
    }
}

impl Fresh {
    /// Those stored with a higher number than this.
    pub fn since(before: i64) -> Self {
        Self { before, told: HashMap::new() }
    }

    /// Texts of events with a higher number need not be read.
    pub fn before(&self) -> i64 {
        self.before
    }

    /// An event as it is stored now.
    pub fn note(&mut self, event: &RoomEvent) {
        let told = Told { content: event.content.clone(), sticky_ms: event.sticky_ms, readable: event.readable };
        self.told.insert(event.event_id.clone(), told);
    }

    /// The event with what its text tells, once; `None` when it is not at hand.
    pub fn complete(&mut self, event: RoomEvent) -> Option<RoomEvent> {
        let Told { content, sticky_ms, readable } = self.told.remove(&event.event_id)?;
        Some(RoomEvent { content, sticky_ms, readable, ..event })
    }
}
