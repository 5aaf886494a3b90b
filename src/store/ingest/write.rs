//! One batch from a homeserver: events, position and everything that follows from them, in one
//! commit.

use super::batch::{Batch, Changed, RoomBatch};
use super::events;
use super::history_jobs::backfill;
use super::invitations;
use super::new_events::Fresh;
use super::sender_limit::Senders;
use super::unrequested;
use super::{access, receive_times, redactions, rooms, snapshots, vantages};
use crate::rtc::fold::Rules;
use crate::rtc::reading::OurClock;
use crate::rtc::words::Source;
use crate::store::derive::dirty::Dirty;
use crate::store::derive::{memberships, rederive, sessions};
use crate::store::{Derivation, Error, Writer};
use std::sync::atomic::Ordering;

/// Writes a batch. **One commit**: position and effect move together, so a crash repeats work and
/// never loses it.
///
/// # Errors
/// When the database fails; then nothing of the batch was written.
pub async fn write(store: &Writer, rules: &Rules, batch: &Batch) -> Result<Changed, Error> {
    write_seen(store, rules, batch, OurClock::default()).await
}

/// Like [`write()`], with what is known of our own clock. While our clock is off, its receive times
/// are not believed.
///
/// # Errors
/// When the database fails; then nothing of the batch was written.
pub async fn write_seen(
    store: &Writer,
    rules: &Rules,
    batch: &Batch,
    clock: OurClock,
) -> Result<Changed, Error> {
    let mut tx = store.writing().await?;
    let mut changed = Changed::default();
    let before = events::last_stream(&mut tx).await?;
    let judged = receive_times::judged(&mut tx, batch, before, clock).await?;
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
        let last = events::last_stream(&mut tx).await?;
        receive_times::end_doubt(&mut tx, before, last).await?;
    }

    invitations::record_invitations(
        &mut tx,
        &batch.vantage_id,
        &batch.invitations,
        batch.seen_ms,
    )
    .await?;
    unrequested::record_unasked(&mut tx, batch).await?;
    if let Some(position) = &batch.position {
        changed.heard_anew = crate::store::ingest::coverage_log::record_stream_heard(
            &mut tx,
            &batch.vantage_id,
            batch.seen_ms,
        )
        .await?;
        vantages::set_position(&mut tx, &batch.vantage_id, position, batch.seen_ms).await?;
    }

    tx.commit().await?;
    changed.committed(store);
    senders.committed(batch.seen_ms);

    Ok(changed)
}

impl Changed {
    /// Updates what is kept in memory after the commit.
    fn committed(&self, store: &Writer) {
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
pub async fn take_back_more(store: &Writer, rules: &Rules) -> Result<Option<Changed>, Error> {
    let mut tx = store.writing().await?;
    let Some(ban) = redactions::open_ban(&mut tx).await? else {
        return Ok(None);
    };

    let room_id = ban.room_id.clone();
    rooms::count_write(&mut tx, &room_id).await?;
    let mut touched = Dirty {
        fresh: Fresh::since(events::last_stream(&mut tx).await?),
        ..Dirty::default()
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
    tx: &mut crate::store::Tx,
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
    let before = events::last_stream(tx).await?;
    let mut touched = Dirty {
        fresh: Fresh::since(before),
        ..Dirty::default()
    };

    // The first answer about a room holds its state, which may be of any size. So does a poll of
    // the state, of which only the last part has the snapshot.
    let is_of_state = is_new || room.is_first_answer || room.source == Source::Poll;
    let limits = (!is_of_state).then_some(senders);
    events::append(tx, batch, room, &mut touched, limits).await?;
    if touched.set_aside {
        changed.set_aside.insert(room_id.clone());
    }

    if let Some(look) = &room.snapshot {
        snapshots::record(tx, batch, room, look, &mut touched).await?;
        if crate::store::ingest::coverage_log::polled(tx, &batch.vantage_id, room_id, batch.seen_ms)
            .await?
            && room.gap.is_some()
        {
            backfill::open(tx, room_id, "gap", None, before, batch.seen_ms).await?;
        }

        rooms::polled(tx, room_id, batch.seen_ms).await?;
    }

    if let Some((reason, token)) = &room.gap {
        backfill::open(tx, room_id, reason, token.as_deref(), before, batch.seen_ms).await?;
    }

    if let Some(step) = &room.step {
        backfill::step(tx, room_id, step, touched.new_events, batch.seen_ms).await?;
    }

    if let Some(on) = &room.goes_on {
        backfill::go_on(tx, room_id, on, before, batch.seen_ms).await?;
    }

    if room.step.is_some() || room.gap.is_some() || room.goes_on.is_some() {
        backfill::reached(tx, room, batch.seen_ms).await?;
    }

    changed.new_events += touched.new_events;
    if is_new || room.watch.is_some() {
        changed.rooms.insert(room_id.clone());
    }

    follow(tx, derivation, room_id, &mut touched, changed).await
}

/// Updates everything that is derived from the new or redacted events of a room.
async fn follow(
    tx: &mut crate::store::Tx,
    derivation: Derivation<'_>,
    room_id: &str,
    touched: &mut Dirty,
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

    let stays = memberships::refold(tx, derivation, room_id, touched).await?;
    changed.slots.extend(
        sessions::settle(tx, derivation.tuning, room_id, &stays)
            .await?
            .into_iter()
            .map(|slot| (room_id.to_owned(), slot)),
    );

    Ok(())
}
