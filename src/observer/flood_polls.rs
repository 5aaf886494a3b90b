//! Rooms into which somebody sent more than is stored. When the flood is over, or has lasted long,
//! the room's state is polled, so that it is right again who is there.

use super::Observer;
use crate::rtc::words::Watch;
use crate::store::ingest::rooms;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// How often to check whether a poll is due.
const EVERY: Duration = Duration::from_secs(2);
/// A flood is over when none of its events came for this long, ms.
const QUIET_MS: i64 = 8_000;
/// Pause between two polls of one room, ms: at first, and at most. It doubles with each poll.
const PAUSE_FIRST_MS: i64 = 20_000;
const PAUSE_LONGEST_MS: i64 = 15 * 60_000;

/// The rooms that are or were flooded.
#[derive(Debug, Default)]
pub(super) struct Flooded(HashMap<String, Flood>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_field_names, reason = "each says its unit")]
struct Flood {
    /// Since when events have been dropped that no poll has repaired yet, ms.
    since_ms: Option<i64>,
    /// When an event was last dropped, ms.
    last_ms: i64,
    /// When the room was last polled because of a flood, ms.
    looked_ms: i64,
    /// Minimum time between the last poll and the next, ms.
    pause_ms: i64,
}

impl Flooded {
    /// Notes that some events of these rooms were not stored at `now`, ms.
    pub fn record_floods(&mut self, rooms: &BTreeSet<String>, now: i64) {
        for room_id in rooms {
            let flood = self.0.entry(room_id.clone()).or_insert(Flood {
                since_ms: None,
                last_ms: now,
                looked_ms: i64::MIN / 2,
                pause_ms: PAUSE_FIRST_MS,
            });
            flood.since_ms.get_or_insert(now);
            flood.last_ms = now;
        }
    }

    /// The rooms that are to be polled at `now`, ms: their flood is over, or has lasted long, and
    /// the last poll is long enough ago. They count as polled at once, so the caller notes a flood
    /// again if a poll fails; the pause until their next poll doubles.
    fn take_due(&mut self, now: i64) -> Vec<String> {
        let mut due = Vec::new();
        for (room_id, flood) in &mut self.0 {
            let Some(since_ms) = flood.since_ms else {
                continue;
            };

            let is_over = now - flood.last_ms >= QUIET_MS;
            let is_long = now - since_ms >= PAUSE_LONGEST_MS;
            if (is_over || is_long) && now - flood.looked_ms >= flood.pause_ms {
                due.push(room_id.clone());
                flood.since_ms = None;
                flood.looked_ms = now;
                flood.pause_ms = (2 * flood.pause_ms).min(PAUSE_LONGEST_MS);
            }
        }

        // A room that was quiet for long starts with the first pause again.
        self.0.retain(|_, flood| {
            flood.since_ms.is_some() || now - flood.last_ms < 4 * PAUSE_LONGEST_MS
        });

        due
    }
}

impl Observer {
    /// Polls rooms after floods, for ever. A poll that fails is due again, as if events had been
    /// dropped.
    pub(super) async fn repair_flooded(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.clock.now_ms();
            let due = self.flooded.lock().await.take_due(now);
            if due.is_empty() {
                continue;
            }

            let Ok(watched) = rooms::list_watched_rooms(&self.store).await else {
                self.flooded
                    .lock()
                    .await
                    .record_floods(&due.into_iter().collect(), now);
                continue;
            };

            // A room that was left meanwhile cannot be polled.
            let is_joined = |room_id: &String| watched.contains(&(room_id.clone(), Watch::Joined));
            for room_id in due.into_iter().filter(is_joined) {
                tracing::warn!(
                    room_id,
                    "somebody sent more than is stored; the room's state is looked at"
                );
                let looked = self.poll(&room_id, Watch::Joined).await;
                if !matches!(looked, Ok(true)) {
                    self.flooded
                        .lock()
                        .await
                        .record_floods(&[room_id].into(), now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flooded_room_is_looked_at_when_it_is_over_and_not_too_often() {
        let (mut flooded, room) = (Flooded::default(), BTreeSet::from(["!r:h".to_owned()]));
        flooded.record_floods(&room, 0);
        assert!(flooded.take_due(QUIET_MS - 1).is_empty());
        assert_eq!(flooded.take_due(QUIET_MS), ["!r:h"]);
        assert!(
            flooded.take_due(PAUSE_LONGEST_MS).is_empty(),
            "nothing came since"
        );
        flooded.record_floods(&room, QUIET_MS + 1);
        let pause = 2 * PAUSE_FIRST_MS;
        assert!(
            flooded.take_due(QUIET_MS + pause - 1).is_empty(),
            "not so soon again"
        );
        assert_eq!(flooded.take_due(QUIET_MS + pause), ["!r:h"]);
        // A flood that does not end is polled all the same.
        let begins = 10 * PAUSE_LONGEST_MS;
        let times = (0..=PAUSE_LONGEST_MS / 1000).map(|second| begins + second * 1000);
        let looks = times.filter(|now| {
            flooded.record_floods(&room, *now);
            !flooded.take_due(*now).is_empty()
        });
        assert_eq!(looks.count(), 1);
    }
}
