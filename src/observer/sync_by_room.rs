//! A homeserver whose answer never comes completely, because it is too large or breaks off each
//! time. Its rooms are read one by one, each by all available ways, and a room that cannot be read
//! does not block the others.

use super::sync::{PIECE, ROOMS_OF_PIECE};
use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix::{self, SyncRequest};
use crate::rtc::words::JobKind;
use crate::rtc::words::{Source, Watch};
use crate::store::ingest::batch::{Batch, RoomBatch};
use crate::store::ingest::rooms;
use std::collections::{BTreeSet, HashMap};

/// The state that is requested piece by piece if the whole state of a room is not available.
const FEW: [&str; 7] = [
    "m.room.create",
    "m.room.name",
    "m.room.canonical_alias",
    "m.room.encryption",
    "m.room.history_visibility",
    "m.room.join_rules",
    "org.callscope.visibility",
];

impl Observer {
    /// Reads each room separately, and moves the position to before that: later events come by
    /// sync. What timelines left out is read later, as history. `why` is logged.
    pub(super) async fn read_in_parts(&self, why: &matrix::Error) -> Result<(), Error> {
        tracing::warn!(%why, "the rooms are read one by one");
        let known: HashMap<String, Watch> = rooms::list_watched_rooms(&self.store)
            .await?
            .into_iter()
            .collect();
        let mut last = self.empty_batch();
        let (position, room_ids) = self.find_rooms_and_position(&mut last, &known).await?;
        let mut read = BTreeSet::new();
        let mut unread = 0;
        for room_id in &room_ids {
            if read.contains(room_id) {
                continue;
            }

            if !self.read_room(room_id, &known, &mut read).await? {
                unread += 1;
            }
        }

        last.position = Some(position);
        self.ingest(&last).await?;
        tracing::info!(
            rooms = room_ids.len(),
            unread,
            "the rooms were read one by one"
        );

        Ok(())
    }

    /// The position at which sync continues afterwards, and the rooms to read. Invitations are
    /// added to the batch.
    async fn find_rooms_and_position(
        &self,
        batch: &mut Batch,
        known: &HashMap<String, Watch>,
    ) -> Result<(String, BTreeSet<String>), Error> {
        let names = matrix::filter_of_names().to_string();
        let answer = match self.client.sync(first_sync_request(&names)).await {
            Ok(answer) => answer,
            Err(error) if error.is_revoked() => return Err(error.into()),
            Err(_) => {
                let nothing = matrix::filter_of_nothing().to_string();
                let answer = self.client.sync(first_sync_request(&nothing)).await?;
                let joined = self.joined_now().await?;
                return Ok((answer.next_batch, joined.into_iter().collect()));
            }
        };

        for invite in &answer.invited {
            batch.invitations.push(self.invitation_by_policy(invite));
        }

        let told = answer.joined.iter().map(|room| room.room_id.clone());
        let joined = known.iter().filter(|(_, watch)| **watch == Watch::Joined);
        let mut room_ids: BTreeSet<String> = told.collect();
        if room_ids.is_empty() {
            room_ids.extend(joined.map(|(room_id, _)| room_id.clone()));
        }

        Ok((answer.next_batch, room_ids))
    }

    /// Reads one room, by sync and by a poll; `read` collects the rooms that came by sync. Returns
    /// false if it could not be read completely, which is recorded on the room.
    async fn read_room(
        &self,
        room_id: &str,
        known: &HashMap<String, Watch>,
        read: &mut BTreeSet<String>,
    ) -> Result<bool, Error> {
        for sparing in [false, true] {
            match self.sync_room(room_id, sparing, known, read).await {
                // A homeserver may leave out a room that has nothing new.
                Ok(()) if read.contains(room_id) => break,
                Ok(()) => {}
                Err(Error::Matrix(error)) if !error.is_revoked() => {
                    tracing::info!(%room_id, %error, "a room does not come by sync");
                }
                Err(error) => return Err(error),
            }
        }

        let by_sync = read.contains(room_id);
        // The full state also shows who is there. A poll records on the room what went wrong.
        if self.poll(room_id, Watch::Joined).await? {
            return Ok(true);
        }

        if !by_sync {
            self.read_few_state_events(room_id).await?;
        }

        Ok(false)
    }

    /// Reads one room by a first sync of its own, and adds it to `read` if it came completely; so
    /// is any other room that came with it. `sparing`: without the people of the room, and with a
    /// short timeline.
    async fn sync_room(
        &self,
        room_id: &str,
        sparing: bool,
        known: &HashMap<String, Watch>,
        read: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        let filter = matrix::filter_of_room(room_id, sparing).to_string();
        let mut answer = self.client.sync_parts(first_sync_request(&filter)).await?;
        let mut written = 0;
        let mut batch = self.empty_batch();
        while let Some(part) = answer.next().await? {
            if let matrix::SyncPart::Joined(room) = &part
                && !room.goes_on
            {
                read.insert(room.room_id.clone());
            }

            self.hear_time(&part, answer.elapsed());
            self.add_part(&mut batch, &part, known);
            let is_large = answer.bytes() - written > PIECE;
            if is_large || batch.rooms.len() >= ROOMS_OF_PIECE {
                written = answer.bytes();
                self.ingest(&batch).await?;
                batch.rooms.clear();
            }
        }

        let end = answer.end()?;
        self.say_malformed(&end.malformed).await;
        self.ingest(&batch).await?;

        Ok(())
    }

    /// Reads the minimum that is needed to show a room whose state is not available, one event at a
    /// time.
    async fn read_few_state_events(&self, room_id: &str) -> Result<(), Error> {
        let mut room = RoomBatch::new(room_id, Source::Poll);
        room.watch = Some(Watch::Joined);
        if self.settings.backfill {
            room.note_unread(JobKind::Backfill, None);
        }

        let mut events = Vec::new();
        for kind in FEW {
            match self.client.state_event(room_id, kind, "").await {
                Ok(event) => events.extend(event),
                Err(error) if error.is_revoked() => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(%room_id, kind, %error, "a state event could not be read");
                }
            }
        }

        super::ingest::add_events(&mut room, &events, false, self.clock.now_ms());
        self.ingest(&self.batch_of_room(room)).await?;
        self.changes.announce(Change::Room {
            room_id: room_id.to_owned(),
        });

        Ok(())
    }
}

/// A first sync with this filter, answered at once.
fn first_sync_request(filter: &str) -> SyncRequest<'_> {
    SyncRequest {
        since: None,
        timeout_ms: 0,
        filter,
        full_state: false,
    }
}
