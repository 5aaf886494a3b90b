//! The rooms that a viewer may see, and which time of each.

use super::viewer::{PeopleShown, Viewer, VisibilityPolicy};
use crate::rtc::coverage::Span;
use crate::rtc::event::RoomEvent;
use crate::rtc::room_visibility::{
    RoomVisibility, Standing, VisibilityFacts, spans_visible_to_everybody, spans_visible_to_member,
    visibility_of_room,
};
use crate::store::db::multi_row::MultiRow;
use crate::store::db::word_column::maybe_word_from_row;
use crate::store::read::calls::find_call;
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Reader};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};

/// The rooms that a viewer may see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct VisibleRooms {
    /// Rooms of which all time is visible.
    pub whole: BTreeSet<String>,
    /// Rooms of which only these spans are visible, in order and disjoint.
    pub in_part: BTreeMap<String, Vec<Span>>,
    /// The only call that is visible; `None` if calls are visible by their rooms.
    pub only_call: Option<String>,
    /// What is visible of people.
    pub people: PeopleShown,
    /// The number of rooms that we know, visible or not. Only the way in which rows are looked up
    /// depends on it.
    pub(super) known: RoomCount,
}

/// A rough number of rooms: the number of its binary digits, so that a new room rarely changes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct RoomCount(u32);

impl RoomCount {
    fn from_count(rooms: usize) -> Self {
        Self(usize::BITS - rooms.leading_zeros())
    }

    #[cfg(test)]
    pub(super) fn from_digits(digits: u32) -> Self {
        Self(digits)
    }
}

const HOUR_MS: i64 = 60 * 60 * 1000;

/// A room counts as one of few if it is one of at most a share of 1 to this of all rooms.
const FEW: usize = 32;

impl VisibleRooms {
    /// Adds spans of a room to those that are visible.
    fn add_spans(&mut self, room_id: &str, spans: Vec<Span>) {
        let mut all = self.in_part.remove(room_id).unwrap_or_default();
        all.extend(spans);
        all.sort();
        let mut joined: Vec<Span> = Vec::new();
        for span in all {
            match joined.last_mut().filter(|last| last.to >= span.from) {
                Some(last) => last.to = last.to.max(span.to),
                None => joined.push(span),
            }
        }

        if let [
            Span {
                from: 0,
                to: i64::MAX,
            },
        ] = joined[..]
        {
            self.whole.insert(room_id.to_owned());
        } else if !joined.is_empty() {
            self.in_part.insert(room_id.to_owned(), joined);
        }
    }

    /// What is visible of these rooms alone.
    pub(super) fn within(&self, room_ids: &BTreeSet<String>) -> Self {
        let mut within = self.clone();
        within.whole.retain(|room_id| room_ids.contains(room_id));
        within
            .in_part
            .retain(|room_id, _| room_ids.contains(room_id));

        within
    }

    /// Is anything of this room visible?
    #[must_use]
    pub fn has_room(&self, room_id: &str) -> bool {
        self.whole.contains(room_id) || self.in_part.contains_key(room_id)
    }

    /// Is visible what happens in this room now?
    #[must_use]
    pub fn shows_present_of(&self, room_id: &str) -> bool {
        let last = self.in_part.get(room_id).and_then(|spans| spans.last());

        self.whole.contains(room_id) || last.is_some_and(|span| span.to == i64::MAX)
    }

    /// Are these so few of all rooms that rows are best looked up room by room?
    pub(in crate::store) fn are_few(&self) -> bool {
        if self.only_call.is_some() {
            return true;
        }

        let known = 1usize.checked_shl(self.known.0).unwrap_or(usize::MAX);

        (self.whole.len() + self.in_part.len()) * FEW <= known
    }
}

// Of a room that is public, it is counted how often its history was not readable by everybody.
const ROOMS: &str = "select r.room_id, r.history_visibility, r.join_rule, r.shown_by_room,
    r.shown_by_operator,
    case when r.history_visibility = 'world_readable' or r.join_rule = 'public'
        or r.shown_by_room = 'public'
        then (select count(*) from events e where e.room_id = r.room_id and e.chain is null
            and e.kind = 'm.room.history_visibility' and e.state_key = ''
            and e.json not like '%\"world_readable\"%') else 0 end as not_readable
    from rooms r";
// Whoever is in a room whose history was never closed to members sees all of it.
const ROOMS_OF_ACCOUNT: &str = "select m.room_id, m.joined, m.event_ms,
    (select count(*) from events e where e.room_id = m.room_id and e.chain is null
        and e.kind = 'm.room.history_visibility' and e.state_key = ''
        and (e.json like '%\"joined\"%' or e.json like '%\"invited\"%')) as closed
    from room_members m where m.user_id = $1";
static DECIDING_EVENTS: MultiRow = MultiRow::new(
    "select e.* from events e where e.chain is null and ((e.kind = 'm.room.member'
        and e.state_key = $1) or (e.kind = 'm.room.history_visibility' and e.state_key = ''))
        and e.room_id in (",
    "?",
    ")",
);

/// The rooms that this viewer may see. `store` reads for the operator.
pub(super) async fn find_visible_rooms(
    store: &Reader,
    viewer: &Viewer,
    policy: VisibilityPolicy,
) -> Result<VisibleRooms, Error> {
    if let Viewer::HasShareLink { call_id, .. } = viewer {
        return find_shared_call(store, call_id, PeopleShown::to_viewer(viewer, policy)).await;
    }

    let rows = sqlx::query(ROOMS).fetch_all(&store.read).await?;
    let mut found = VisibleRooms {
        people: PeopleShown::to_viewer(viewer, policy),
        known: RoomCount::from_count(rows.len()),
        ..VisibleRooms::default()
    };

    let mut for_members = BTreeSet::new();
    // Public rooms whose history was not always readable by everybody; true if they are open.
    let mut public_in_part = BTreeMap::new();
    for row in &rows {
        let facts = VisibilityFacts {
            by_operator: maybe_word_from_row(row, "shown_by_operator")?,
            by_room: maybe_word_from_row(row, "shown_by_room")?,
            history_visibility: row.try_get("history_visibility")?,
            join_rule: row.try_get("join_rule")?,
            open_rooms_are_public: policy.open_rooms_are_public,
        };
        let room_id: String = row.try_get("room_id")?;
        let was_always_readable = row.try_get::<i64, _>("not_readable")? == 0;
        match visibility_of_room(&facts) {
            RoomVisibility::Public if facts.by_operator.is_some() || was_always_readable => {
                found.whole.insert(room_id);
            }
            RoomVisibility::Public => {
                let is_readable = facts.history_visibility == Some("world_readable");
                let is_open = facts.by_room.is_some() || !is_readable;
                for_members.insert(room_id.clone());
                public_in_part.insert(room_id, is_open);
            }
            RoomVisibility::Members => {
                for_members.insert(room_id);
            }
            RoomVisibility::Hidden => {}
        }
    }

    let room_ids: Vec<&str> = public_in_part.keys().map(String::as_str).collect();
    for (room_id, events) in read_deciding_events(store, "", &room_ids).await? {
        let is_open = public_in_part.get(&room_id).copied().unwrap_or(false);
        found.add_spans(&room_id, spans_visible_to_everybody(&events, is_open));
    }

    if let Viewer::Account { user_id } | Viewer::AccountInRoom { user_id, .. } = viewer {
        add_rooms_of_account(store, user_id, &for_members, &mut found).await?;
    }

    if let Viewer::AccountInRoom { room_id, .. } = viewer {
        found.whole.retain(|other| other == room_id);
        found.in_part.retain(|other, _| other == room_id);
    }

    Ok(found)
}

const COUNT_ROOMS: &str = "select count(*) from rooms";

/// All time of these rooms, for who may see everything.
pub(super) async fn whole_rooms(
    store: &Reader,
    room_ids: &BTreeSet<String>,
) -> Result<VisibleRooms, Error> {
    let known: i64 = sqlx::query_scalar(COUNT_ROOMS)
        .fetch_one(&store.read)
        .await?;

    Ok(VisibleRooms {
        whole: room_ids.clone(),
        known: RoomCount::from_count(usize::try_from(known).unwrap_or(usize::MAX)),
        ..VisibleRooms::default()
    })
}

/// The call that this id leads to, in the time of its room in which it ran. Nothing is visible if
/// there is none.
async fn find_shared_call(
    store: &Reader,
    call_id: &str,
    people: PeopleShown,
) -> Result<VisibleRooms, Error> {
    let mut found = VisibleRooms {
        people,
        only_call: Some(call_id.to_owned()),
        ..VisibleRooms::default()
    };

    if let Some(call) = find_call(store, call_id).await? {
        // A call that runs is prolonged again and again. Each time would be another set of rooms.
        let next_hour = call.until_ms.div_euclid(HOUR_MS).saturating_add(1);
        let span = Span {
            from: call.started_ms,
            to: next_hour.saturating_mul(HOUR_MS),
        };
        found.in_part.insert(call.room.room_id, vec![span]);
        found.only_call = Some(call.id);
    }

    Ok(found)
}

/// Adds the rooms that the account is or was in, of those that members may see.
async fn add_rooms_of_account(
    store: &Reader,
    user_id: &str,
    for_members: &BTreeSet<String>,
    found: &mut VisibleRooms,
) -> Result<(), Error> {
    let mut in_part = BTreeMap::new();
    let rows = sqlx::query(ROOMS_OF_ACCOUNT)
        .bind(user_id)
        .fetch_all(&store.read)
        .await?;
    for row in rows {
        let room_id: String = row.try_get("room_id")?;
        let standing = Standing {
            is_joined: row.try_get::<i64, _>("joined")? == 1,
            since_ms: row.try_get("event_ms")?,
        };
        let was_closed = row.try_get::<i64, _>("closed")? > 0;
        if !for_members.contains(&room_id) {
            continue;
        }

        if standing.is_joined && !was_closed {
            found.in_part.remove(&room_id);
            found.whole.insert(room_id);
        } else {
            in_part.insert(room_id, standing);
        }
    }

    let room_ids: Vec<&str> = in_part.keys().map(String::as_str).collect();
    for (room_id, events) in read_deciding_events(store, user_id, &room_ids).await? {
        if let Some(standing) = in_part.get(&room_id) {
            let spans = spans_visible_to_member(&events, user_id, *standing);
            found.add_spans(&room_id, spans);
        }
    }

    Ok(())
}

/// The events that decide what may be seen of these rooms, by room: of their history visibility,
/// and of the account's membership.
async fn read_deciding_events(
    store: &Reader,
    user_id: &str,
    room_ids: &[&str],
) -> Result<BTreeMap<String, Vec<RoomEvent>>, Error> {
    let mut connection = store.read.acquire().await?;
    let mut found: BTreeMap<String, Vec<RoomEvent>> = BTreeMap::new();
    let rows = DECIDING_EVENTS
        .look_up(&mut connection, user_id, room_ids)
        .await?;
    for row in rows {
        found
            .entry(row.try_get("room_id")?)
            .or_default()
            .push(event_from_row(&row)?);
    }

    Ok(found)
}
