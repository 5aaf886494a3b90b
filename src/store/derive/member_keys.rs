//! The member keys that new events touch, and from when on; and the conditions in the room for the
//! users who write to them.

use super::slots::{self, SlotChanges};
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::Rules;
use crate::rtc::member::parse_member_event;
use crate::rtc::room::{Presence, RoomConditions};
use crate::store::db::multi_row::MultiRow;
use crate::store::derive::dirty::Dirty;
use crate::store::stored_event::{event_from_row, key_event_from_row};
use crate::store::{Error, Tx};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The span of a whole member key, from its beginning to its end.
const WHOLE: (i64, i64) = (i64::MIN, i64::MAX);

/// For each member key the first and the last time, ms, at which something changed.
pub(super) type TouchedSpans = BTreeMap<String, (i64, i64)>;

const ALL: &str = "select distinct chain from chains where room_id = $1";
const CREATIONS: &str =
    "select count(*) from events where room_id = $1 and chain is null and kind = 'm.room.create'";
// The creation of the room affects only member keys that claim a join before the room existed, or
// whose event is stamped before it.
const CLAIMED: &str = "select distinct chain from memberships where room_id = $1
    and (claimed <> 0 and joined_ms < $2 or opened_ms < $2)";

/// The member keys that the new events can have changed, each with the first and the last time, ms,
/// of the change: those of the events themselves, and those that depend on the room's creation, on
/// slots, or on a user's membership of the room. The changes of those slots are stored on the way.
/// What is read of users stays in `conditions`, for the fold.
pub(super) async fn find_touched_keys(
    tx: &mut Tx,
    room_id: &str,
    dirty: &Dirty,
    rules: &Rules,
    conditions: &mut FoldConditions,
) -> Result<TouchedSpans, Error> {
    // Only its member keys are used.
    let mut wider = Dirty {
        member_keys: dirty.member_keys.clone(),
        ..Dirty::default()
    };

    let mut everything = dirty.everything;
    if let (Some(created_ms), false) = (dirty.created_ms, everything) {
        let creations: i64 = sqlx::query_scalar(CREATIONS)
            .bind(room_id)
            .fetch_one(&mut **tx)
            .await?;
        // With several creations, another one than before may count now.
        everything = creations > 1;
        let query = sqlx::query_scalar::<_, String>(CLAIMED)
            .bind(room_id)
            .bind(created_ms);
        for member_key in query.fetch_all(&mut **tx).await? {
            wider.add_member_key(&member_key, WHOLE.0, WHOLE.1);
        }
    }

    if everything {
        for member_key in sqlx::query_scalar::<_, String>(ALL)
            .bind(room_id)
            .fetch_all(&mut **tx)
            .await?
        {
            wider.add_member_key(&member_key, WHOLE.0, WHOLE.1);
        }
    }

    for slot_id in &dirty.slots {
        let Some((from, to)) = slots::update_slots(tx, room_id, slot_id).await? else {
            continue;
        };

        for member_key in
            slots::sticky_keys_of_slot(tx, room_id, from, to, rules.sticky_max_ms).await?
        {
            wider.add_member_key(&member_key, from, to);
        }
    }

    keys_of_changed_members(tx, room_id, dirty, conditions, &mut wider).await?;

    Ok(wider.member_keys)
}

static OF_SENDERS: MultiRow = MultiRow::new(
    "select sender, chain from chains where room_id = $1 and sender in (",
    "?",
    ")",
);

/// Adds to `wider` the member keys of users whose membership of the room changed, from the first
/// difference on. Most events of this kind are new names or avatars and make no difference, and
/// most users are in no call.
async fn keys_of_changed_members(
    tx: &mut Tx,
    room_id: &str,
    dirty: &Dirty,
    conditions: &mut FoldConditions,
    wider: &mut Dirty,
) -> Result<(), Error> {
    let users: Vec<&str> = dirty.presence.keys().map(String::as_str).collect();
    let mut member_keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in OF_SENDERS.look_up(tx, room_id, &users).await? {
        member_keys
            .entry(row.try_get("sender")?)
            .or_default()
            .push(row.try_get("chain")?);
    }

    conditions
        .know(tx, room_id, member_keys.keys().map(String::as_str))
        .await?;
    for (user, member_keys) in member_keys {
        let Some(news) = dirty.presence.get(&user) else {
            continue;
        };

        let now = conditions
            .presence
            .get(&user)
            .map_or(&[][..], Vec::as_slice);
        let same = now
            .iter()
            .filter(|event| !news.contains_key(&event.event_id));
        let before = RoomConditions::from_events(same.chain(news.values().flatten()));
        let now = RoomConditions::from_events(now);
        let joins = [before.first_join(&user), now.first_join(&user)];
        if joins[0] != joins[1] {
            // Stays that begin before the creation of the room are bounded by it.
            let latest = joins.iter().flatten().map(|join| join.at_ms).max();
            let early: Vec<String> = sqlx::query_scalar(EARLY)
                .bind(room_id)
                .bind(&user)
                .bind(latest)
                .fetch_all(&mut **tx)
                .await?;
            for member_key in early {
                wider.add_member_key(&member_key, WHOLE.0, WHOLE.1);
            }
        }

        if let Some(since) =
            first_difference(before.presence_changes(&user), now.presence_changes(&user))
        {
            for member_key in member_keys {
                wider.add_member_key(&member_key, since, WHOLE.1);
            }
        }
    }

    Ok(())
}

const EARLY: &str =
    "select distinct chain from memberships where room_id = $1 and user_id = $2 and opened_ms < $3";

/// The first time, ms, at which two histories of a membership of the room differ; `None` if they
/// are the same. Both must be in order of time.
fn first_difference(
    mut a: impl Iterator<Item = (i64, Presence)>,
    mut b: impl Iterator<Item = (i64, Presence)>,
) -> Option<i64> {
    loop {
        match (a.next(), b.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => return a.into_iter().chain(b).map(|(time, _)| time).min(),
        }
    }
}

/// The conditions in one room, as far as the member keys at hand need them.
#[derive(Debug, Default)]
pub(super) struct FoldConditions {
    whole_room: Vec<RoomEvent>,
    /// For each user who was asked for: the events of the user's membership of the room.
    presence: HashMap<String, Vec<RoomEvent>>,
    /// For each slot that was asked for: the time from which on it is known, ms, and its changes.
    slots: HashMap<String, (i64, SlotChanges)>,
}

const CREATION: &str = "select * from events where room_id = $1
    and chain is null and kind = 'm.room.create' order by event_id";
static PRESENCE: MultiRow = MultiRow::new(
    "select * from events where room_id = $1 and chain is null and kind = 'm.room.member'
        and state_key in (",
    "?",
    ")",
);

impl FoldConditions {
    /// Reads the conditions of the whole room: its events of creation.
    pub async fn read(&mut self, tx: &mut Tx, room_id: &str) -> Result<(), Error> {
        for row in sqlx::query(CREATION)
            .bind(room_id)
            .fetch_all(&mut **tx)
            .await?
        {
            self.whole_room.push(event_from_row(&row)?);
        }

        Ok(())
    }

    /// Reads, for each slot that these sticky events name, whether it is open at `from`, ms, and
    /// its changes since then. A slot that is known from that time on is not read again.
    pub async fn know_slots<'e>(
        &mut self,
        tx: &mut Tx,
        room_id: &str,
        events: impl Iterator<Item = &'e RoomEvent>,
        from: i64,
    ) -> Result<(), Error> {
        let joins = events
            .filter(|event| event.state_key.is_none())
            .flat_map(|event| parse_member_event(event).joins);
        let mut slots: BTreeSet<String> = joins
            .map(|(_, join)| join.slot.as_str().to_owned())
            .collect();
        slots.retain(|slot| self.slots.get(slot).is_none_or(|(known, _)| *known > from));
        let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
        let mut courses = slots::slot_changes_since(tx, room_id, &slots, from).await?;
        for slot in slots {
            self.slots.insert(
                slot.to_owned(),
                (from, courses.remove(slot).unwrap_or_default()),
            );
        }

        Ok(())
    }

    /// Reads the events of these users' membership of the room, except for users who were read
    /// before.
    pub async fn know<'u>(
        &mut self,
        tx: &mut Tx,
        room_id: &str,
        users: impl Iterator<Item = &'u str>,
    ) -> Result<(), Error> {
        let users: BTreeSet<&str> = users
            .filter(|user| !self.presence.contains_key(*user))
            .collect();
        let users: Vec<&str> = users.into_iter().collect();
        for row in PRESENCE.look_up(tx, room_id, &users).await? {
            let event = event_from_row(&row)?;
            self.presence
                .entry(event.state_key.clone().unwrap_or_default())
                .or_default()
                .push(event);
        }

        for user in users {
            self.presence.entry(user.to_owned()).or_default();
        }

        Ok(())
    }

    /// The conditions under which these events of member keys are folded. The memberships of all
    /// their senders must have been read with [`Self::know`], and their slots with
    /// [`Self::know_slots`].
    pub fn room(&self, events: &[&RoomEvent]) -> RoomConditions {
        let senders: BTreeSet<&str> = events.iter().map(|event| event.sender.as_str()).collect();
        let presence = senders
            .into_iter()
            .filter_map(|sender| self.presence.get(sender))
            .flatten();
        let mut room = RoomConditions::from_events(
            self.whole_room
                .iter()
                .chain(presence)
                .chain(events.iter().copied()),
        );
        for (slot, (_, course)) in &self.slots {
            room.set_slot(slot, course.clone());
        }

        room
    }
}

const CHAIN: &str = "select e.*, (select min(r.time_ms) from events r where r.redacts = e.event_id
        and r.room_id = e.room_id) as redaction_ms
    from events e where e.room_id = $1 and e.chain = $2 and e.time_ms >= $3";

/// All that is needed to fold one member key by itself: its stored events from `cut` (included),
/// ms, on, in any order, and the conditions of the room.
pub(in crate::store) async fn read_fold_input(
    tx: &mut Tx,
    room_id: &str,
    member_key: &str,
    cut: i64,
) -> Result<(Vec<RoomEvent>, RoomConditions), Error> {
    let mut events = Vec::new();
    for row in sqlx::query(CHAIN)
        .bind(room_id)
        .bind(member_key)
        .bind(cut)
        .fetch_all(&mut **tx)
        .await?
    {
        events.push(key_event_from_row(&row)?);
    }

    let mut conditions = FoldConditions::default();
    conditions.read(tx, room_id).await?;
    conditions
        .know(
            tx,
            room_id,
            events.iter().map(|event| event.sender.as_str()),
        )
        .await?;
    conditions
        .know_slots(tx, room_id, events.iter(), i64::MIN)
        .await?;
    let room = conditions.room(&events.iter().collect::<Vec<_>>());

    Ok((events, room))
}
