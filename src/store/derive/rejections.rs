//! Marks of rejection. Keeps `events.rejected` equal to what the fold rejects.

use crate::rtc::event::RoomEvent;
use crate::rtc::fold::KeyState;
use crate::rtc::membership::Rejection;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::{Error, Tx};
use std::collections::{BTreeMap, BTreeSet};

/// For each event that was read: the stored mark and the new one.
#[derive(Debug, Default)]
pub(super) struct RejectionMarks(BTreeMap<String, (StoredMark, Option<String>)>);

/// The mark of an event in the database: the reason why it is rejected, or none.
#[derive(Debug, Clone, PartialEq)]
enum StoredMark {
    /// It was not read, so the new mark is always written.
    Unread,
    Mark(Option<String>),
}

static REJECT: MultiRow = MultiRow::new(
    "update events set rejected = $2 where room_id || '' = $1
        and coalesce(rejected, '') <> coalesce($2, '')
    and event_id in (",
    "?",
    ")",
);

impl RejectionMarks {
    /// Adds the events that a fold carries from before its first page: later events can still
    /// change whether they are rejected. Their stored marks are not known.
    pub fn carry(&mut self, state: &KeyState) {
        for event in state.carried().filter(|event| event.state_key.is_none()) {
            let known = state.rejected.get(&event.event_id).cloned();
            self.0
                .insert(event.event_id.clone(), (StoredMark::Unread, known));
        }
    }

    /// Notes the mark with which an event is stored, `None` if it is not rejected.
    pub fn stored(&mut self, event: &RoomEvent, mark: Option<String>) {
        self.0
            .entry(event.event_id.clone())
            .or_insert((StoredMark::Unread, None))
            .0 = StoredMark::Mark(mark);
    }

    /// Notes what a part of the fold rejects. If an event has two reasons, the first by name
    /// counts.
    pub fn record_rejections(&mut self, rejected: &[Rejection]) {
        for (event_id, reason) in rejected {
            if let Some((_, mark)) = self.0.get_mut(event_id)
                && mark.as_deref().is_none_or(|known| *reason < known)
            {
                *mark = Some((*reason).to_owned());
            }
        }
    }

    /// Drops the marks of the events that the fold carries beyond this state. The fold ends here
    /// because it would continue as it did before, so these events keep their stored marks.
    pub fn keep(&mut self, state: &KeyState) {
        for event in state.carried() {
            self.0.remove(&event.event_id);
        }
    }

    /// Writes the marks that changed and forgets them. `states` are the folds that go on: the marks
    /// of events that they carry may still change, and stay.
    pub async fn settle<'s>(
        &mut self,
        tx: &mut Tx,
        room_id: &str,
        states: impl Iterator<Item = &'s KeyState>,
    ) -> Result<(), Error> {
        let carried: BTreeSet<&str> = states
            .flat_map(KeyState::carried)
            .map(|event| event.event_id.as_str())
            .collect();
        let settled: Vec<String> = self
            .0
            .keys()
            .filter(|id| !carried.contains(id.as_str()))
            .cloned()
            .collect();
        let mut changed: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
        for id in settled {
            let Some((stored, mark)) = self.0.remove(&id) else {
                continue;
            };

            if stored != StoredMark::Mark(mark.clone()) {
                changed.entry(mark).or_default().push(id);
            }
        }

        for (mark, ids) in changed {
            let shared = |query: Statement| query.bind(room_id.to_owned()).bind(mark.clone());
            REJECT
                .write(tx, &ids, shared, |query, id| query.bind(id.clone()))
                .await?;
        }

        Ok(())
    }
}
