//! One batch from a homeserver: events, position and everything that follows from them, in one
//! commit.

use super::batch::{Batch, Changed, RoomBatch};
use super::history_jobs::reads;
use super::new_events::NewEvents;
use super::sender_limit::Senders;
use super::{
    access, events, invitations, receive_times, redactions, rooms, snapshots, unrequested, vantages,
};
use crate::rtc::fold::Rules;
use crate::rtc::reading::OurClock;
use crate::rtc::words::JobKind;
use crate::rtc::words::Source;
use crate::store::derive::dirty::Dirty;
use crate::store::derive::room_titles::{refresh_room_title, refresh_title_by_callers};
use crate::store::derive::{memberships, rederive, sessions, stale_findings};
use crate::store::rights::{forgotten, room_opt_out};
use crate::store::{Derivation, Error, Writer};
use std::sync::atomic::Ordering;

/// Writes a batch and all that follows from it, and returns what changed. **One commit**: position
/// and effect move together, so a crash repeats work and never loses it. Our own clock is believed
/// unless the batch contradicts it.
///
/// # Errors
/// When the database fails; then nothing of the batch was written.
pub async fn write_batch(store: &Writer, rules: &Rules, batch: &Batch) -> Result<Changed, Error> {
    write_batch_by_clock(store, rules, batch, OurClock::default()).await
}

/// Like [`write_batch()`], with what is known of our own clock. While our clock is off, its receive
/// times are not believed.
///
/// # Errors
/// When the database fails; then nothing of the batch was written.
pub async fn write_batch_by_clock(
    store: &Writer,
    rules: &Rules,
    batch: &Batch,
    clock: OurClock,
) -> Result<Changed, Error> {
    let mut tx = store.writing().await?;
    let mut changed = Changed::default();
    let names = forgotten::read_names(&mut tx, &store.forgotten).await?;
    let batch = &*forgotten::nameless_batch(&names, batch);
    let before = events::last_stream(&mut tx).await?;
    let judged = receive_times::judge_batch(&mut tx, batch, before, clock).await?;
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
            invitations::delete_invitation(&mut tx, &batch.vantage_id, &room.room_id).await?;
        }
    }

    if judged.is_noted {
        let last = events::last_stream(&mut tx).await?;
        receive_times::complete_doubt(&mut tx, before, last).await?;
    }

    invitations::record_invitations(
        &mut tx,
        &batch.vantage_id,
        &batch.invitations,
        batch.seen_ms,
    )
    .await?;
    unrequested::record_unrequested(&mut tx, batch).await?;
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
    /// Updates what the process keeps in memory, after the commit: that contents were deleted, and
    /// the names that are no longer known.
    fn committed(&self, store: &Writer) {
        if self.taken_back {
            store.taken_back.store(true, Ordering::Relaxed);
        }

        store.names.forget(&self.unnamed);
    }
}

/// Redacts the next part of the events of a banned user, in one commit with everything derived from
/// them. Returns what changed; `None` if nothing is left to redact. A stop at any point loses
/// nothing.
///
/// # Errors
/// When the database fails; then nothing of this part was written.
pub async fn redact_next_of_ban(store: &Writer, rules: &Rules) -> Result<Option<Changed>, Error> {
    let mut tx = store.writing().await?;
    let Some(ban) = redactions::read_open_ban(&mut tx).await? else {
        return Ok(None);
    };

    let room_id = ban.room_id.clone();
    rooms::count_write(&mut tx, &room_id).await?;
    let mut dirty = Dirty {
        fresh: NewEvents::since(events::last_stream(&mut tx).await?),
        ..Dirty::default()
    };

    redactions::redact_more(&mut tx, ban, &mut dirty).await?;
    let mut changed = Changed::default();
    update_derived(
        &mut tx,
        store.derivation(rules),
        &room_id,
        &mut dirty,
        &mut changed,
    )
    .await?;
    tx.commit().await?;
    changed.committed(store);

    Ok(Some(changed))
}

/// Writes what a batch says of one room: the room, its events, a snapshot of its state, history to
/// be read, and then all that is derived from the events. What changed is added to `changed`.
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
        rederive::record_new_room(tx, room_id, derivation.rules).await?;
    }

    rooms::count_write(tx, room_id).await?;
    let recording = room_opt_out::read_recording(tx, room_id).await?;
    let room = &*recording.keep_recorded(room);
    let before = events::last_stream(tx).await?;
    let mut dirty = Dirty {
        fresh: NewEvents::since(before),
        ..Dirty::default()
    };

    // Limits of senders do not hold for the state of a room, which may be of any size. The first
    // answer about a room holds it. So does a poll, of which only the last part has the snapshot.
    let is_of_state = is_new || room.is_first_answer || room.source == Source::Poll;
    let limits = (!is_of_state).then_some(senders);
    events::append_events(tx, batch, room, &mut dirty, limits).await?;
    if dirty.set_aside {
        changed.set_aside.insert(room_id.clone());
    }

    if let Some(look) = &room.snapshot {
        if !recording.is_off() {
            snapshots::record_snapshot(tx, batch, room, look, &mut dirty).await?;
        }

        if crate::store::ingest::coverage_log::record_poll(
            tx,
            &batch.vantage_id,
            room_id,
            batch.seen_ms,
        )
        .await?
            && room.unread.is_some()
        {
            reads::open_read(tx, room, JobKind::Gap, None, before, batch.seen_ms).await?;
        }

        rooms::set_last_poll(tx, room_id, batch.seen_ms).await?;
    }

    if let Some(unread) = &room.unread {
        let token = unread.token.as_deref();
        reads::open_read(tx, room, unread.kind, token, before, batch.seen_ms).await?;
    }

    if let Some(page) = &room.page {
        reads::record_page(tx, room, page, dirty.new_events, batch.seen_ms).await?;
    }

    if let Some(on) = &room.goes_on {
        reads::continue_ended_read(tx, room, on, before, batch.seen_ms).await?;
    }

    changed.new_events += dirty.new_events;
    if is_new || room.watch.is_some() {
        changed.rooms.insert(room_id.clone());
    }

    update_derived(tx, derivation, room_id, &mut dirty, changed).await?;
    if room_opt_out::apply_opt_out(tx, room_id, &recording, batch.seen_ms).await? {
        changed.rooms.insert(room_id.clone());
        if !recording.is_off() {
            changed.taken_back = true;
            changed.opted_out.insert(room_id.clone());
        }
    }

    Ok(())
}

/// Updates everything that is derived from the new or redacted events of a room.
pub(in crate::store) async fn update_derived(
    tx: &mut crate::store::Tx,
    derivation: Derivation<'_>,
    room_id: &str,
    dirty: &mut Dirty,
    changed: &mut Changed,
) -> Result<(), Error> {
    changed.taken_back |= dirty.taken_back;
    changed.has_open_bans |= dirty.has_open_bans;
    let had_names_deleted = !dirty.unnamed.is_empty();
    changed.unnamed.append(&mut dirty.unnamed);
    let has_members_changed = dirty.accounts || !dirty.presence.is_empty();
    if dirty.facts {
        rooms::refresh_room_facts(tx, room_id).await?;
    } else if has_members_changed || had_names_deleted {
        refresh_room_title(tx, room_id).await?;
    } else if !dirty.member_keys.is_empty() {
        refresh_title_by_callers(tx, room_id).await?;
    }

    if (dirty.facts || has_members_changed) && access::refresh_access(tx, room_id).await? {
        stale_findings::discard_findings_of_lone_calls(tx, room_id).await?;
        dirty.facts = true;
    }

    if dirty.facts {
        changed.rooms.insert(room_id.to_owned());
    }

    // Findings also rest on events that change no stay.
    let touched: Vec<(i64, i64)> = dirty.member_keys.values().copied().collect();
    stale_findings::discard_findings(tx, room_id, &touched).await?;
    let stays = memberships::fold_touched_keys(tx, derivation, room_id, dirty).await?;
    changed.slots.extend(
        sessions::write_memberships_and_sessions(tx, derivation.tuning, room_id, &stays)
            .await?
            .into_iter()
            .map(|slot| (room_id.to_owned(), slot)),
    );

    Ok(())
}
