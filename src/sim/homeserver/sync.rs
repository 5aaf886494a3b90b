//! `/sync`: what changed for an account since a position, as Synapse answers it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::filter::SyncFilter;
use super::ledger::Ledger;
use super::room::SimRoom;
use super::view::EventView;

/// Maximum number of sticky events in a response (as in Synapse).
const STICKY_LIMIT: usize = 100;

/// A position in the stream of events, and a separate one in the stream of sticky events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyncPosition {
    pub pos: u64,
    pub sticky: u64,
}

impl SyncPosition {
    /// The position in a token such as `s12_7`; `None` for a token that this server cannot have
    /// issued. `newest` is the position of the server's newest event.
    pub fn read(token: &str, newest: u64) -> Option<Self> {
        let (pos, sticky) = token.strip_prefix('s')?.split_once('_')?;
        let since = Self {
            pos: pos.parse().ok()?,
            sticky: sticky.parse().ok()?,
        };

        (since.pos <= newest && since.sticky <= newest).then_some(since)
    }

    /// The token of this position.
    fn write(self) -> String {
        format!("s{}_{}", self.pos, self.sticky)
    }
}

/// One sync request.
#[derive(Debug)]
pub(super) struct SyncQuestion<'a> {
    pub viewer: &'a str,
    pub since: Option<SyncPosition>,
    pub filter: &'a SyncFilter,
    pub full_state: bool,
    pub state_after: bool,
    pub now_ms: i64,
}

/// A response, and whether a long poll should continue to wait instead.
pub(super) struct SyncResponse {
    pub body: Value,
    pub is_empty: bool,
}

/// The time-line part of one room.
struct TimelinePart {
    events: Vec<usize>,
    limited: bool,
    /// Position just before the first event.
    start: u64,
}

/// The answer to a sync request from the current data.
pub(super) fn answer_sync(ledger: &Ledger, question: &SyncQuestion<'_>) -> SyncResponse {
    let mut join = Map::new();
    let mut invite = Map::new();
    let mut leave = Map::new();
    let mut shown = HashMap::new();
    for at in ledger.rooms_of(question.viewer) {
        let room = &ledger.rooms[*at];
        if !question.filter.room.takes_room(&room.id) {
            continue;
        }

        match room.membership(question.viewer) {
            Some("join") => {
                if let Some((body, events)) = joined_section(ledger, room, question) {
                    join.insert(room.id.clone(), body);
                    shown.insert(*at, events);
                }
            }
            Some("invite") if is_membership_new(room, question) => {
                invite.insert(room.id.clone(), invited_section(room, question.viewer));
            }
            Some("leave" | "ban") if is_left_shown(room, question) => {
                leave.insert(room.id.clone(), left_section(ledger, room, question));
            }
            _ => {}
        }
    }

    let sticky = add_sticky(ledger, question, &mut join, &shown);
    let is_empty = join.is_empty() && invite.is_empty() && leave.is_empty();
    let next = SyncPosition {
        pos: ledger.pos,
        sticky,
    };

    let mut body = json!({"next_batch": next.write(),
        "device_one_time_keys_count": {"signed_curve25519": 0},
                          "device_unused_fallback_key_types": []});
    let sections = [("join", join), ("invite", invite), ("leave", leave)];
    for (name, rooms) in sections.into_iter().filter(|(_, rooms)| !rooms.is_empty()) {
        body["rooms"][name] = Value::Object(rooms);
    }

    SyncResponse { body, is_empty }
}

/// Did the current membership begin after the requested position? Always, in a first sync.
fn is_membership_new(room: &SimRoom, question: &SyncQuestion<'_>) -> bool {
    let Some(since) = question.since else {
        return true;
    };

    room.membership_since(question.viewer)
        .is_none_or(|pos| pos > since.pos)
}

/// Is a room that the user left shown? Later only once, when that is news.
fn is_left_shown(room: &SimRoom, question: &SyncQuestion<'_>) -> bool {
    if question.since.is_some() {
        return is_membership_new(room, question);
    }

    // A first sync always includes kicks and bans, but own leaves only if requested.
    let by_other = |sender: &str| sender != question.viewer;
    let forced = room
        .member_event(question.viewer)
        .is_some_and(|e| by_other(&e.sender));

    question.filter.include_leave || forced
}

/// How the user sees events; `timeline` is that of [`EventView`].
fn event_view<'a>(
    ledger: &'a Ledger,
    question: &SyncQuestion<'a>,
    timeline: bool,
) -> EventView<'a> {
    EventView {
        viewer: question.viewer,
        server_name: &ledger.server_name,
        now_ms: question.now_ms,
        names_room: false,
        timeline,
    }
}

/// The section of a joined room and the indices of the events in its timeline; `None` if nothing is
/// new.
fn joined_section(
    ledger: &Ledger,
    room: &SimRoom,
    question: &SyncQuestion<'_>,
) -> Option<(Value, Vec<usize>)> {
    let since = match question.since {
        // A room that was just joined is sent from its beginning.
        Some(since) if !is_membership_new(room, question) => Some(since.pos),
        _ => None,
    };

    if let (Some(pos), false) = (since, question.full_state) {
        // This keeps an idle sync cheap, whatever the number of rooms and events.
        if room.last_pos <= pos {
            return None;
        }
    }

    let timeline = select_timeline(room, question, since, u64::MAX);
    let state = select_state(room, question, since, &timeline);
    if timeline.events.is_empty() && state.is_empty() {
        return None;
    }

    let key = if question.state_after {
        "org.matrix.msc4222.state_after"
    } else {
        "state"
    };

    let body = json!({
        "timeline": show_timeline(ledger, room, question, &timeline),
        key: {"events": event_view(ledger, question, false).show_all(room, &state)},
        "account_data": {"events": []}, "ephemeral": {"events": []}, "summary": {},
        "unread_notifications": {"notification_count": 0, "highlight_count": 0},
    });

    Some((body, timeline.events))
}

/// The timeline as JSON.
fn show_timeline(
    ledger: &Ledger,
    room: &SimRoom,
    question: &SyncQuestion<'_>,
    part: &TimelinePart,
) -> Value {
    json!({"events": event_view(ledger, question, true).show_all(room, &part.events),
           "prev_batch": format!("t{}", part.start), "limited": part.limited})
}

/// The newest matching events that the viewer may see, after the position `since` up to and
/// including `until`, at most the filter's limit, oldest first.
fn select_timeline(
    room: &SimRoom,
    question: &SyncQuestion<'_>,
    since: Option<u64>,
    until: u64,
) -> TimelinePart {
    let filter = &question.filter.timeline;
    let mut events = Vec::new();
    let mut limited = false;
    for at in room.span(since.unwrap_or(0), until).rev() {
        let event = &room.events[at];
        if event.silent || !filter.takes(event) || !room.may_see(question.viewer, event) {
            continue;
        }

        if events.len() == filter.limit {
            limited = true;
            break;
        }

        events.push(at);
    }

    events.reverse();
    let first = events.first().map(|at| room.events[*at].pos - 1);
    let newest = room.last_pos.min(until);

    TimelinePart {
        events,
        limited,
        start: first.unwrap_or(newest),
    }
}

/// The indices of the state section: complete without a position `since` or if that is requested,
/// else the changes after it. It is the state before the timeline, or after it if requested
/// (MSC4222).
fn select_state(
    room: &SimRoom,
    question: &SyncQuestion<'_>,
    since: Option<u64>,
    timeline: &TimelinePart,
) -> Vec<usize> {
    let whole = since.is_none() || question.full_state;
    let from = since.unwrap_or(0);
    let mut state = match (whole, question.state_after) {
        (true, true) => room.current_state(),
        (true, false) => room.state_at(timeline.start),
        (false, true) => room.state_changes(from, u64::MAX),
        (false, false) => room.state_changes(from, timeline.start),
    };

    let filter = &question.filter.state;
    if filter.lazy_members {
        let speaks = |user: &str| {
            timeline
                .events
                .iter()
                .any(|at| room.events[*at].sender == user)
        };

        state.retain(|at| {
            let event = &room.events[*at];
            let member = event
                .state_key
                .as_deref()
                .filter(|_| event.kind == "m.room.member");
            member.is_none_or(|user| user == question.viewer || speaks(user))
        });
    }

    state.retain(|at| filter.takes(&room.events[*at]));

    state
}

/// The section of an invitation: the state that a server gives to those it invites, then the
/// invitation.
fn invited_section(room: &SimRoom, viewer: &str) -> Value {
    let kinds = [
        "m.room.create",
        "m.room.join_rules",
        "m.room.canonical_alias",
        "m.room.avatar",
        "m.room.encryption",
        "m.room.name",
        "m.room.topic",
    ];
    let state = kinds.iter().filter_map(|kind| room.current(kind, ""));
    let events: Vec<Value> = state
        .chain(room.member_event(viewer))
        .map(super::event::SimEvent::stripped)
        .collect();

    json!({"invite_state": {"events": events}})
}

/// The section of a room that the user left: its timeline and state until then.
fn left_section(ledger: &Ledger, room: &SimRoom, question: &SyncQuestion<'_>) -> Value {
    let until = room.membership_since(question.viewer).unwrap_or(u64::MAX);
    let since = question.since.map(|since| since.pos);
    let timeline = select_timeline(room, question, since, until);
    let mut state = match since {
        Some(pos) => room.state_changes(pos, timeline.start),
        None => room.state_at(timeline.start),
    };

    state.retain(|at| question.filter.state.takes(&room.events[*at]));

    json!({
        "timeline": show_timeline(ledger, room, question, &timeline),
        "state": {"events": event_view(ledger, question, false).show_all(room, &state)},
        "account_data": {"events": []},
    })
}

/// Adds the sticky sections (MSC4354), oldest first, at most 100 events per response. Filters do
/// not apply to them, and events in the timeline (`shown`) are left out. Returns the position up to
/// which they were sent.
fn add_sticky(
    ledger: &Ledger,
    question: &SyncQuestion<'_>,
    join: &mut Map<String, Value>,
    shown: &HashMap<usize, Vec<usize>>,
) -> u64 {
    if !ledger.has("org.matrix.msc4354") {
        return ledger.pos;
    }

    let since = question.since.map_or(0, |since| since.sticky);
    // An account that has just joined also gets older ones, in addition to the limit.
    let is_late = |room: &usize| is_membership_new(&ledger.rooms[*room], question);
    let all = since > 0 && ledger.rooms_of(question.viewer).iter().any(is_late);
    let told = ledger.sticky.partition_point(|(pos, ..)| *pos <= since);
    let mut taken = 0;
    for (pos, room_at, at) in &ledger.sticky[if all { 0 } else { told }..] {
        let room = &ledger.rooms[*room_at];
        let late = *pos <= since;
        let left_out = late && !is_membership_new(room, question);
        if left_out
            || room.membership(question.viewer) != Some("join")
            || !room.events[*at].is_sticky_at(question.now_ms)
        {
            continue;
        }

        if taken == STICKY_LIMIT && !late {
            return pos - 1;
        }

        taken += usize::from(!late);
        if shown
            .get(room_at)
            .is_some_and(|timeline| timeline.contains(at))
        {
            continue;
        }

        let event = event_view(ledger, question, true).show(room, &room.events[*at]);
        let section = join.entry(room.id.clone()).or_insert_with(|| json!({}));
        match section.pointer_mut("/msc4354_sticky/events") {
            Some(Value::Array(events)) => events.push(event),
            _ => section["msc4354_sticky"] = json!({"events": [event]}),
        }
    }

    ledger.pos
}
