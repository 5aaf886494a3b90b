//! `/sync`: the long poll, its filter, and the sections of its answer as raw events.

use super::error::Result;
use super::events::{Events, Full};
use super::json::{Fields, fields, text};
use super::wire::{Page, one_line};
use super::{Client, Request, TYPES};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::Duration;

/// A long poll may take this much longer than it was asked to wait.
const GRACE: Duration = Duration::from_secs(30);
/// No more complaints than this are kept of one answer.
const MALFORMED_MAX: usize = 100;

/// What to ask `/sync` for.
#[derive(Debug, Clone, Copy)]
pub struct SyncRequest<'a> {
    /// The position to go on from; `None` for a first sync.
    pub since: Option<&'a str>,
    /// How long the homeserver may wait for news, ms. Synapse answers a repeated first sync from a cache of
    /// two minutes: another number here asks anew.
    pub timeout_ms: u64,
    /// A filter id of [`Client::upload_filter`], or [`filter_json`] as text.
    pub filter: &'a str,
    /// Ask for the whole state of every room, not only for what changed.
    pub full_state: bool,
}

/// The filter of a first sync that tells which invitations are open, and of rooms that we are in as little as can be.
#[must_use]
pub fn invitations_filter() -> String {
    let nothing = json!({"types": []});
    let filter = json!({
        "presence": nothing,
        "account_data": nothing,
        "room": {
            "account_data": nothing,
            "ephemeral": nothing,
            "state": {"types": [], "lazy_load_members": true},
            "timeline": {"types": [], "limit": 1},
        },
    });
    filter.to_string()
}

/// One answer of `/sync`. Events are raw and may be any JSON; of one that is too large only what tells it apart is
/// there, with the content `too_large`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SyncBatch {
    /// The position after this batch, never empty.
    pub next_batch: String,
    pub joined: Vec<JoinedRoom>,
    pub invited: Vec<Invite>,
    pub left: Vec<LeftRoom>,
    /// What had to be skipped because it was not of the right shape, in words.
    pub malformed: Vec<String>,
}

/// News of a room we are in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JoinedRoom {
    pub room_id: String,
    pub timeline: Vec<Value>,
    /// State before the timeline, or after it: see `state_is_after`.
    pub state: Vec<Value>,
    /// `state` is how the state changed up to the end of the timeline (MSC4222): current state is to be
    /// taken only from it. Otherwise the timeline's state events come after it.
    pub state_is_after: bool,
    /// Sticky events (MSC4354) that are not in the timeline.
    pub sticky: Vec<Value>,
    /// There is a gap before the timeline; `prev_batch` is where to page back from.
    pub limited: bool,
    pub prev_batch: Option<String>,
}

/// A room that we were asked to join.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Invite {
    pub room_id: String,
    /// Who invited us, as our own homeserver says; `None` when it did not.
    pub inviter: Option<String>,
    /// The room's name as the inviter's server tells it: a claim.
    pub name: Option<String>,
    /// The room's main alias, a claim too.
    pub alias: Option<String>,
    /// Is the room a space? A claim.
    pub is_space: bool,
}

/// A room that we left, or were removed from, since the last sync.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LeftRoom {
    pub room_id: String,
    pub timeline: Vec<Value>,
    pub state: Vec<Value>,
    pub state_is_after: bool,
    /// The timeline leaves events out; those before `prev_batch`.
    pub limited: bool,
    pub prev_batch: Option<String>,
}

/// The filter for `/sync`: the types of [`TYPES`], no presence, no account data, no receipts.
#[must_use]
pub fn filter_json() -> Value {
    let nothing = json!({"not_types": ["*"]});
    json!({
        "presence": nothing,
        "account_data": nothing,
        "room": {
            "include_leave": true,
            "account_data": nothing,
            "ephemeral": nothing,
            "state": {"lazy_load_members": false, "types": TYPES},
            "timeline": {"limit": 100, "types": TYPES},
        },
    })
}

impl Client {
    /// Stores [`filter_json`] on the homeserver for `user_id` (which must be ours) and returns its id.
    ///
    /// # Errors
    /// As every request.
    pub async fn upload_filter(&self, user_id: &str) -> Result<String> {
        let parts = ["_matrix", "client", "v3", "user", user_id, "filter"];
        self.post(&parts, filter_json())
            .send()
            .await?
            .text("filter_id")
    }

    /// Asks for what happened since a position. Sections of the wrong shape are skipped and named in
    /// `malformed`; `limited` and a later poll are how the gap heals.
    ///
    /// # Errors
    /// As every request; also when the answer has no `next_batch`.
    pub async fn sync(&self, sync: SyncRequest<'_>) -> Result<SyncBatch> {
        let page = self.sync_request(sync).send_for_page().await?;
        read(&page, self.user_id().as_deref())
    }

    fn sync_request(&self, sync: SyncRequest<'_>) -> Request<'_> {
        let wait = Duration::from_millis(sync.timeout_ms);
        let mut request = self
            .get(&["_matrix", "client", "v3", "sync"])
            .within(wait.saturating_add(GRACE.max(self.settings().request_timeout)))
            .query("timeout", &sync.timeout_ms.to_string())
            .query("filter", sync.filter)
            .query("set_presence", "offline")
            .query("use_state_after", "true")
            // Synapse reads only this name of it.
            .query("org.matrix.msc4222.use_state_after", "true");
        if sync.full_state {
            request = request.query("full_state", "true");
        }
        match sync.since {
            Some(since) => request.query("since", since),
            None => request,
        }
    }
}

fn read(page: &Page, own_user_id: Option<&str>) -> Result<SyncBatch> {
    let sections = page.fields()?;
    let position = sections
        .get("next_batch")
        .and_then(|position| text(position));
    let next_batch = position.filter(|position| !position.is_empty());
    let next_batch = next_batch.ok_or_else(|| page.not_matrix("`next_batch` is missing"))?;
    let mut reader = Reader {
        malformed: Vec::new(),
        budget: Events::of(page.text.len()),
        full: None,
    };
    if page.repaired {
        reader.complain("the answer", "not JSON in places, which were replaced");
    }
    let mut rooms = reader.object("rooms", sections.get("rooms").copied());
    let joined = reader.rooms("rooms.join", rooms.remove("join"), Reader::joined);
    let invited = reader.rooms(
        "rooms.invite",
        rooms.remove("invite"),
        |reader, room_id, room| reader.invite(room_id, room, own_user_id),
    );
    let left = reader.rooms("rooms.leave", rooms.remove("leave"), Reader::left);
    reader.budget.tell(&page.asked);
    if let Some(full) = reader.full {
        return Err(page.full(full));
    }
    Ok(SyncBatch {
        next_batch,
        joined,
        invited,
        left,
        malformed: reader.malformed,
    })
}

/// Takes an answer apart and notes what does not fit.
struct Reader {
    malformed: Vec<String>,
    /// Builds the events of all rooms, and knows when they are too much.
    budget: Events,
    full: Option<Full>,
}

impl Reader {
    fn complain(&mut self, place: &str, what: &str) {
        if self.malformed.len() < MALFORMED_MAX {
            self.malformed
                .push(format!("{} is {what}", one_line(place, 300)));
        }
    }

    fn object<'a>(&mut self, place: &str, raw: Option<&'a RawValue>) -> Fields<'a> {
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
            return Fields::new();
        };
        fields(raw).unwrap_or_else(|| {
            self.complain(place, &format!("{}, not an object", shape(raw)));
            Fields::new()
        })
    }

    fn rooms<'a, T>(
        &mut self,
        place: &str,
        section: Option<&'a RawValue>,
        read: impl Fn(&mut Self, String, Fields<'a>) -> T,
    ) -> Vec<T> {
        let mut rooms = Vec::new();
        for (room_id, room) in self.object(place, section) {
            if self.full.is_some() {
                break;
            }
            let room = self.object(&format!("{place}.{room_id}"), Some(room));
            rooms.push(read(self, room_id, room));
        }
        rooms
    }

    /// The list `events` of a section.
    fn events(&mut self, room_id: &str, name: &str, section: Option<&RawValue>) -> Vec<Value> {
        let mut section = self.object(&format!("{name} of {room_id}"), section);
        self.list(room_id, name, section.remove("events"))
    }

    fn list(&mut self, room_id: &str, name: &str, events: Option<&RawValue>) -> Vec<Value> {
        let Some(raw) = events.filter(|raw| raw.get() != "null") else {
            return Vec::new();
        };
        match self.budget.list(raw) {
            Ok(Some(events)) => return events,
            Ok(None) => {
                let what = format!("{}, not a list", shape(raw));
                self.complain(&format!("{name}.events of {room_id}"), &what);
            }
            Err(full) => self.full = Some(full),
        }
        Vec::new()
    }

    /// The state section and whether it is the state after the timeline.
    fn state(&mut self, room_id: &str, room: &mut Fields<'_>) -> (Vec<Value>, bool) {
        for name in ["state_after", "org.matrix.msc4222.state_after"] {
            if let Some(section) = room.remove(name).filter(|section| section.get() != "null") {
                return (self.events(room_id, name, Some(section)), true);
            }
        }
        (self.events(room_id, "state", room.remove("state")), false)
    }

    fn joined(&mut self, room_id: String, mut room: Fields<'_>) -> JoinedRoom {
        let (state, state_is_after) = self.state(&room_id, &mut room);
        let mut sticky = Vec::new();
        for name in ["sticky", "msc4354_sticky"] {
            sticky.extend(self.events(&room_id, name, room.remove(name)));
        }
        let (timeline, limited, prev_batch) = self.timeline(&room_id, &mut room);
        JoinedRoom {
            room_id,
            timeline,
            state,
            state_is_after,
            sticky,
            limited,
            prev_batch,
        }
    }

    /// The timeline's events, whether it leaves some out, and where those before it are.
    fn timeline(
        &mut self,
        room_id: &str,
        room: &mut Fields<'_>,
    ) -> (Vec<Value>, bool, Option<String>) {
        let mut timeline = self.object(&format!("timeline of {room_id}"), room.remove("timeline"));
        let limited = timeline
            .get("limited")
            .is_some_and(|limited| limited.get() == "true");
        let prev_batch = timeline
            .get("prev_batch")
            .and_then(|position| text(position));
        (
            self.list(room_id, "timeline", timeline.remove("events")),
            limited,
            prev_batch,
        )
    }

    fn left(&mut self, room_id: String, mut room: Fields<'_>) -> LeftRoom {
        let (state, state_is_after) = self.state(&room_id, &mut room);
        let (timeline, limited, prev_batch) = self.timeline(&room_id, &mut room);
        LeftRoom {
            room_id,
            timeline,
            state,
            state_is_after,
            limited,
            prev_batch,
        }
    }

    fn invite(&mut self, room_id: String, mut room: Fields<'_>, own: Option<&str>) -> Invite {
        let events = self.events(&room_id, "invite_state", room.remove("invite_state"));
        let text = |kind: &str, key: &str| {
            let of_kind = events
                .iter()
                .filter(|event| event.get("type").is_some_and(|is| is == kind));
            let mut texts =
                of_kind.filter_map(|event| event.pointer("/content")?.get(key)?.as_str());
            texts.next_back().map(ToOwned::to_owned)
        };
        Invite {
            inviter: inviter(&events, own),
            name: text("m.room.name", "name"),
            alias: text("m.room.canonical_alias", "alias"),
            is_space: text("m.room.create", "type").as_deref() == Some("m.space"),
            room_id,
        }
    }
}

/// Who sent our invite. Everything but the last such event was told by the inviter's server, and may name
/// somebody whom our policy trusts; the last one is put there by our own homeserver.
fn inviter(events: &[Value], own: Option<&str>) -> Option<String> {
    let mut invites = events.iter().filter(|event| {
        let key = event.get("state_key").and_then(Value::as_str);
        event
            .get("type")
            .is_some_and(|kind| kind == "m.room.member")
            && event
                .pointer("/content/membership")
                .is_some_and(|word| word == "invite")
            && own.is_none_or(|own| key == Some(own))
    });
    invites
        .next_back()?
        .get("sender")?
        .as_str()
        .map(ToOwned::to_owned)
}

fn shape(raw: &RawValue) -> &'static str {
    match raw.get().bytes().next() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a text",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        _ => "a number",
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
