//! One batch from a homeserver: events, position and everything that follows from them, in one
//! commit.

use super::append::{self, Touched};
use super::fresh::Fresh;
use super::invitations::{self, Invitation};
use super::memberships::{self, Change};
use super::row::Watch;
use super::sender_limit::Senders;
use super::unasked::{self, Unasked};
use super::{
    Derivation, Error, Grain, Store, access, coverage, readings, recount, redactions, rederive,
    refold, rooms, snapshots, vantages, walks,
};
use crate::rtc::event::{Reason, RoomEvent};
use crate::rtc::fold::Rules;
use crate::rtc::reading::OurClock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How events came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Sync,
    Poll,
    Backfill,
}

impl Source {
    /// The word as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Poll => "poll",
            Self::Backfill => "backfill",
        }
    }
}

/// One event as it came.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub event: Arc<RoomEvent>,
    /// The raw event as JSON text.
    pub json: String,
    /// It came in a timeline, not in a state section: a walk through history may stop here.
    pub in_timeline: bool,
}

/// What one homeserver answer says of one room.
#[derive(Debug, Clone)]
pub struct RoomBatch {
    pub room_id: String,
    pub source: Source,
    pub arrivals: Vec<Arrival>,
    /// Entries that are not valid events: reason and JSON text.
    pub malformed: Vec<(Reason, String)>,
    /// Events that were discarded because we did not request their type: number by type.
    pub unasked: Unasked,
    /// Our membership of the room now, if this answer states it.
    pub watch: Option<Watch>,
    /// A full state was read.
    pub snapshot: Option<snapshots::Look>,
    /// Events are missing before this token: a walk through history is needed, and why.
    pub gap: Option<(&'static str, Option<String>)>,
    /// A page of a walk through the room's history (back-fill).
    pub step: Option<walks::Step>,
    /// This page is the first of a new walk that continues one that had ended.
    pub goes_on: Option<walks::GoOn>,
    /// This batch belongs to the first answer about the room, which may be written in several
    /// pieces.
    pub is_first_answer: bool,
}

impl RoomBatch {
    /// A batch with nothing in it yet.
    #[must_use]
    pub fn new(room_id: &str, source: Source) -> Self {
        Self {
            room_id: room_id.to_owned(),
            source,
            arrivals: Vec::new(),
            malformed: Vec::new(),
            unasked: Unasked::new(),
            watch: None,
            snapshot: None,
            gap: None,
            step: None,
            goes_on: None,
            is_first_answer: false,
        }
    }

    /// Counts an event that we did not request.
    pub fn count_unasked(&mut self, kind: String) {
        unasked::count(&mut self.unasked, kind, 1);
    }
}

impl RoomBatch {
    /// Does the answer say that an invitation to this room is no longer open? That we are not in
    /// the room says nothing: a user who was removed may be invited again.
    fn answers_invitation(&self) -> bool {
        match self.watch {
            Some(Watch::Joined) => true,
            Some(Watch::Left) => self.source == Source::Sync,
            _ => false,
        }
    }
}

/// Everything one homeserver answer brings.
#[derive(Debug, Clone)]
pub struct Batch {
    pub vantage_id: String,
    /// Our clock when the answer came, ms.
    pub seen_ms: i64,
    /// The next position of the sync stream.
    pub position: Option<String>,
    pub rooms: Vec<RoomBatch>,
    pub invitations: Vec<Invitation>,
}

/// What a commit changed, for [`crate::changes`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Room and slot whose memberships changed.
    pub slots: BTreeSet<(String, String)>,
    /// Rooms whose name or state changed, or that are new.
    pub rooms: BTreeSet<String>,
    /// Events that were not known.
    pub new_events: usize,
    /// The sync stream was heard for the first time after a stop or a break: the state of the rooms
    /// should be polled.
    pub heard_anew: bool,
    /// Contents of redacted events were deleted.
    pub taken_back: bool,
    /// A ban that redacts all events of a user is not fully applied yet: [`take_back_more`]
    /// continues.
    pub has_open_bans: bool,
    /// Users whose display names were deleted with redacted events.
    pub unnamed: BTreeSet<String>,
    /// Rooms into which somebody sent more events than are stored. Their state should be polled
    /// when that is over.
    pub set_aside: BTreeSet<String>,
}

/// Writes a batch. **One commit**: position and effect move together, so a crash repeats work and
/// never loses it.
///
/// # Errors
/// When the database fails; then nothing of the batch was written.
pub async fn write(store: &Store, rules: &Rules, batch: &Batch) -> Result<Changed, Error> {
    write_seen(store, rules, batch, OurClock::default()).await
}

/// Like [`write()`], with what is known of our own clock. While our clock is off, its receive times
/// are not believed.
///
/// # Errors
/// When the database fails; then nothing of the batch was written.
pub async fn write_seen(
    store: &Store,
    rules: &Rules,
    batch: &Batch,
    clock: OurClock,
) -> Result<Changed, Error> {
    let mut tx = store.writing().await?;
    let mut changed = Changed::default();
    let before = append::last_stream(&mut tx).await?;
    let judged = readings::judged(&mut tx, batch, before, clock).await?;
    let batch = judged.batch.as_ref();
    let mut senders = Senders::new(&store.limits);
    for room in &batch.rooms {
        write_room(
            &mut tx,
            store.derivation(rules),
            batch,
            room,
            &mut changed,
            &mut senders,
        )
        .await?;
        if room.answers_invitation() {
            invitations::settle(&mut tx, &batch.vantage_id, &room.room_id).await?;
        }
    }

    if judged.is_noted {
        let last = append::last_stream(&mut tx).await?;
        readings::end_doubt(&mut tx, before, last).await?;
    }

    invitations::record_invitations(
        &mut tx,
        &batch.vantage_id,
        &batch.invitations,
        batch.seen_ms,
    )
    .await?;
    unasked::record_unasked(&mut tx, batch).await?;
    if let Some(position) = &batch.position {
        changed.heard_anew =
            coverage::record_stream_heard(&mut tx, &batch.vantage_id, batch.seen_ms).await?;
        vantages::set_position(&mut tx, &batch.vantage_id, position, batch.seen_ms).await?;
    }

    tx.commit().await?;
    changed.committed(store);
    senders.committed(batch.seen_ms);

    Ok(changed)
}

impl Changed {
    /// Updates what is kept in memory after the commit.
    fn committed(&self, store: &Store) {
        if self.taken_back {
            store.taken_back.store(true, Ordering::Relaxed);
        }

        store.names.forget(&self.unnamed);
    }
}

/// Redacts the next part of the events of a banned user, in one commit with everything derived from
/// them. `None` if nothing is left. A stop at any point loses nothing.
///
/// # Errors
/// When the database fails; then nothing of this part was written.
pub async fn take_back_more(store: &Store, rules: &Rules) -> Result<Option<Changed>, Error> {
    let mut tx = store.writing().await?;
    let Some(ban) = redactions::open_ban(&mut tx).await? else {
        return Ok(None);
    };

    let room_id = ban.room_id.clone();
    rooms::count_write(&mut tx, &room_id).await?;
    let mut touched = Touched {
        fresh: Fresh::since(append::last_stream(&mut tx).await?),
        ..Touched::default()
    };

    redactions::redact_more(&mut tx, ban, &mut touched).await?;
    let mut changed = Changed::default();
    follow(
        &mut tx,
        store.derivation(rules),
        &room_id,
        &mut touched,
        &mut changed,
    )
    .await?;
    tx.commit().await?;
    changed.committed(store);

    Ok(Some(changed))
}

async fn write_room(
    tx: &mut super::Tx,
    derivation: Derivation<'_>,
    batch: &Batch,
    room: &RoomBatch,
    changed: &mut Changed,
    senders: &mut Senders<'_>,
) -> Result<(), Error> {
    let room_id = &room.room_id;
    let is_new = rooms::upsert_room(tx, room_id, room.watch, batch.seen_ms).await?;
    if is_new {
        rederive::begin_room(tx, room_id, derivation.rules).await?;
    }

    rooms::count_write(tx, room_id).await?;
    let before = append::last_stream(tx).await?;
    let mut touched = Touched {
        fresh: Fresh::since(before),
        ..Touched::default()
    };

    // The first answer about a room holds its state, which may be of any size. So does a poll of
    // the state, of which only the last part has the snapshot.
    let is_of_state = is_new || room.is_first_answer || room.source == Source::Poll;
    let limits = (!is_of_state).then_some(senders);
    append::append(tx, batch, room, &mut touched, limits).await?;
    if touched.set_aside {
        changed.set_aside.insert(room_id.clone());
    }

    if let Some(look) = &room.snapshot {
        snapshots::record(tx, batch, room, look, &mut touched).await?;
        if coverage::polled(tx, &batch.vantage_id, room_id, batch.seen_ms).await?
            && room.gap.is_some()
        {
            walks::open(tx, room_id, "gap", None, before, batch.seen_ms).await?;
        }

        rooms::polled(tx, room_id, batch.seen_ms).await?;
    }

    if let Some((reason, token)) = &room.gap {
        walks::open(tx, room_id, reason, token.as_deref(), before, batch.seen_ms).await?;
    }

    if let Some(step) = &room.step {
        walks::step(tx, room_id, step, touched.new_events, batch.seen_ms).await?;
    }

    if let Some(on) = &room.goes_on {
        walks::go_on(tx, room_id, on, before, batch.seen_ms).await?;
    }

    if room.step.is_some() || room.gap.is_some() || room.goes_on.is_some() {
        walks::reached(tx, room, batch.seen_ms).await?;
    }

    changed.new_events += touched.new_events;
    if is_new || room.watch.is_some() {
        changed.rooms.insert(room_id.clone());
    }

    follow(tx, derivation, room_id, &mut touched, changed).await
}

/// Updates everything that is derived from the new or redacted events of a room.
async fn follow(
    tx: &mut super::Tx,
    derivation: Derivation<'_>,
    room_id: &str,
    touched: &mut Touched,
    changed: &mut Changed,
) -> Result<(), Error> {
    changed.taken_back |= touched.taken_back;
    changed.has_open_bans |= touched.has_open_bans;
    changed.unnamed.append(&mut touched.unnamed);
    if touched.facts {
        rooms::refresh(tx, room_id).await?;
    }

    if touched.facts || touched.accounts || !touched.presence.is_empty() {
        touched.facts |= access::refresh(tx, room_id).await?;
    }

    if touched.facts {
        changed.rooms.insert(room_id.to_owned());
    }

    let stays = refold::refold(tx, derivation, room_id, touched).await?;
    changed.slots.extend(
        settle(tx, derivation.grain, room_id, &stays)
            .await?
            .into_iter()
            .map(|slot| (room_id.to_owned(), slot)),
    );

    Ok(())
}

/// Writes changed memberships and updates the sessions derived from them. Returns the slots
/// concerned.
pub(super) async fn settle(
    tx: &mut super::Tx,
    grain: Grain,
    room_id: &str,
    stays: &[Change],
) -> Result<BTreeSet<String>, Error> {
    let (slots, assigned) = recount::update_sessions(tx, grain, room_id, stays).await?;
    memberships::write(tx, stays, assigned).await?;
    Ok(slots)
}
