//! `/sync`: the long poll, its filter, and the sections of its answer as raw events.

use super::error::Result;
use super::events::EventBuilder;
use super::id::{POSITION_MAX, is_position, is_room_id};
use super::json::text_of_bytes;
use super::split::{Found, Taker, Want};
use super::stream::{EVENT_TEXT_MAX, Stream, event_of};
use super::wire::one_line;
use super::{Client, Request, TYPES};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time that a long poll may take in addition to its requested wait.
const GRACE: Duration = Duration::from_secs(30);
/// Time for an answer that has to be prepared, because it is of many rooms or covers a long time.
const PREPARING: Duration = Duration::from_mins(30);
/// With a wait shorter than this, ms, the homeserver does not hold the request: if it takes time,
/// it prepares the answer.
const SHORT_MS: u64 = 1000;
/// Once the events of a room take more memory than this, bytes, they are returned before the room's
/// end.
const PIECE: usize = 8 * 1024 * 1024;
/// Maximum memory of a batch that is kept whole, bytes.
const BATCH_MAX: usize = 96 * 1024 * 1024;
/// Maximum complaints kept of one answer.
const MALFORMED_MAX: usize = 100;

/// The parameters of a `/sync` request.
#[derive(Debug, Clone, Copy)]
pub struct SyncRequest<'a> {
    /// The position to continue from; `None` for a first sync.
    pub since: Option<&'a str>,
    /// How long the homeserver may wait for news, ms; 0 requests an answer at once, though the
    /// homeserver may need minutes to prepare it. Synapse answers a repeated request from a cache
    /// of two minutes: another number here avoids the cache.
    pub timeout_ms: u64,
    /// A filter id of [`Client::upload_filter`], or [`filter_json`] as text.
    pub filter: &'a str,
    /// Ask for the whole state of every room, not only for what changed.
    pub full_state: bool,
}

/// The filter of a first sync that returns open invitations, and as little as possible of joined
/// rooms.
fn invitations_filter() -> String {
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

/// One answer of `/sync`. Events are raw and may be any JSON. If an event is too large, only its
/// identifying fields are there, with the content `too_large`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SyncBatch {
    /// The position after this batch, never empty.
    pub next_batch: String,
    pub joined: Vec<JoinedRoom>,
    pub invited: Vec<Invite>,
    pub left: Vec<LeftRoom>,
    /// Descriptions of what had to be skipped because it had the wrong form.
    pub malformed: Vec<String>,
}

/// News of a room we are in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JoinedRoom {
    pub room_id: String,
    pub timeline: Vec<Value>,
    /// The state before the timeline, or after it: see `state_is_after`.
    pub state: Vec<Value>,
    /// `state` is how the state changed up to the end of the timeline (MSC4222), and only it gives
    /// the current state. Otherwise the timeline's state events come after it.
    pub state_is_after: bool,
    /// Sticky events (MSC4354) that are not in the timeline.
    pub sticky: Vec<Value>,
    /// There is a gap before the timeline; `prev_batch` is where to page back from.
    pub limited: bool,
    pub prev_batch: Option<String>,
    /// More of this room follows in the next part; `limited` and `prev_batch` come with the last.
    pub goes_on: bool,
}

/// A part of an answer, as it comes.
#[derive(Debug, Clone, PartialEq)]
pub enum SyncPart {
    Joined(JoinedRoom),
    Invited(Invite),
    Left(LeftRoom),
}

/// What is known at the end of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncEnd {
    /// The position after this answer, never empty.
    pub next_batch: String,
    /// Descriptions of what had to be skipped because it had the wrong form.
    pub malformed: Vec<String>,
}

/// A room that we were asked to join.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Invite {
    pub room_id: String,
    /// Who invited us, as our own homeserver says; `None` if it did not say.
    pub inviter: Option<String>,
    /// The room's name as the inviter's server says: a claim.
    pub name: Option<String>,
    /// The room's main alias, a claim too.
    pub alias: Option<String>,
    /// Is the room a space? A claim.
    pub is_space: bool,
    /// Is it a room for us and the inviter alone? The inviter's claim.
    pub is_direct: bool,
}

/// A room that we left, or were removed from, since the last sync.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LeftRoom {
    pub room_id: String,
    pub timeline: Vec<Value>,
    pub state: Vec<Value>,
    pub state_is_after: bool,
    /// The timeline left out events, which are before `prev_batch`.
    pub limited: bool,
    pub prev_batch: Option<String>,
    /// As for a joined room.
    pub goes_on: bool,
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

/// The filter for a `/sync` that only names the rooms we are in.
#[must_use]
pub fn filter_of_names() -> Value {
    let mut filter = filter_json();
    filter["room"]["include_leave"] = false.into();
    filter["room"]["state"] = json!({"lazy_load_members": true, "types": ["m.room.create"]});
    filter["room"]["timeline"] = json!({"limit": 1, "types": ["m.room.create"]});

    filter
}

/// The filter for a `/sync` that only returns the position.
#[must_use]
pub fn filter_of_nothing() -> Value {
    let mut filter = filter_json();
    filter["room"]["include_leave"] = false.into();
    filter["room"]["rooms"] = json!([]);
    filter["room"]["state"] = json!({"lazy_load_members": true, "types": []});
    filter["room"]["timeline"] = json!({"limit": 1, "types": []});

    filter
}

/// The filter for a `/sync` of one room. `sparing`: without the people of the room, and with a
/// short timeline.
#[must_use]
pub fn filter_of_room(room_id: &str, sparing: bool) -> Value {
    let mut filter = filter_json();
    filter["room"]["rooms"] = json!([room_id]);
    if sparing {
        let few: Vec<&str> = TYPES
            .iter()
            .copied()
            .filter(|kind| *kind != "m.room.member")
            .collect();
        filter["room"]["state"] = json!({"lazy_load_members": true, "types": few});
        filter["room"]["timeline"] = json!({"limit": 10, "types": few});
    }

    filter
}

/// The filter for a `/sync` of the texts of these rooms. With many rooms it is too long for an
/// address.
#[must_use]
pub fn filter_of_texts(room_ids: &[String]) -> Value {
    let mut filter = filter_of_nothing();
    filter["room"]["rooms"] = json!(room_ids);
    filter["room"]["timeline"] = json!({"limit": 10, "types": ["m.room.message"]});

    filter
}

/// A text that somebody wrote in a direct room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectText {
    pub room_id: String,
    pub event_id: String,
    pub sender: String,
    pub body: String,
    /// When it was sent, ms, as the sender's server says; 0 if it says nothing.
    pub sent_ms: i64,
}

/// The texts of some rooms, and the position after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectTexts {
    pub next_batch: String,
    pub texts: Vec<DirectText>,
}

/// The text of an event of this room; `None` if it is none.
fn read_direct_text(room_id: &str, event: &Value) -> Option<DirectText> {
    let text = |path: &str| event.pointer(path)?.as_str().map(ToOwned::to_owned);
    if text("/type")? != "m.room.message" || text("/content/msgtype")? != "m.text" {
        return None;
    }

    Some(DirectText {
        room_id: room_id.to_owned(),
        event_id: text("/event_id")?,
        sender: text("/sender")?,
        body: text("/content/body")?,
        sent_ms: event
            .get("origin_server_ts")
            .and_then(Value::as_i64)
            .unwrap_or(0),
    })
}

impl Client {
    /// The texts that a stored filter ([`filter_of_texts`]) lets through since a position; without
    /// one, the newest of each room. The homeserver may wait for one for `timeout_ms`.
    ///
    /// # Errors
    /// As every request.
    pub async fn direct_texts(
        &self,
        filter: &str,
        since: Option<&str>,
        timeout_ms: u64,
    ) -> Result<DirectTexts> {
        let ask = SyncRequest {
            since,
            timeout_ms: if since.is_some() { timeout_ms } else { 0 },
            filter,
            full_state: false,
        };
        // Not room by room as it comes: that keeps no texts.
        let answer = self.sync_request(ask).send().await?;
        let next_batch = answer.text("next_batch")?;
        let joined = answer.value.pointer("/rooms/join");
        let joined = joined.and_then(Value::as_object);
        let texts = joined.into_iter().flatten().flat_map(|(room_id, room)| {
            let timeline = room.pointer("/timeline/events").and_then(Value::as_array);
            let events = timeline.into_iter().flatten();
            events.filter_map(|event| read_direct_text(room_id, event))
        });

        Ok(DirectTexts {
            texts: texts.collect(),
            next_batch,
        })
    }

    /// Stores a filter on the homeserver for `user_id` (which must be ours) and returns its id.
    ///
    /// # Errors
    /// As every request.
    pub async fn upload_filter(&self, user_id: &str, filter: Value) -> Result<String> {
        let parts = ["_matrix", "client", "v3", "user", user_id, "filter"];
        self.post(&parts, filter).send().await?.text("filter_id")
    }

    /// Requests what happened since a position, all at once. Sections of the wrong form are skipped
    /// and named in `malformed`; `limited` and a later poll repair the gap.
    ///
    /// # Errors
    /// As every request; also when the answer has no `next_batch`, or is too much to be kept whole.
    pub async fn sync(&self, sync: SyncRequest<'_>) -> Result<SyncBatch> {
        let mut parts = self.sync_parts(sync).await?;
        let mut batch = SyncBatch::default();
        while let Some(part) = parts.next().await? {
            if parts.reader.handed_over > BATCH_MAX {
                return Err(parts
                    .stream
                    .not_matrix("more small events than fit into memory"));
            }

            batch.add(part);
        }

        let end = parts.end()?;
        (batch.next_batch, batch.malformed) = (end.next_batch, end.malformed);

        Ok(batch)
    }

    /// The invitations that are open.
    ///
    /// # Errors
    /// As every request.
    pub async fn open_invitations(&self) -> Result<Vec<Invite>> {
        let filter = invitations_filter();
        let ask = SyncRequest {
            since: None,
            timeout_ms: 0,
            filter: &filter,
            full_state: false,
        };

        Ok(self.sync(ask).await?.invited)
    }

    /// Like [`Self::sync`], room by room as the answer comes, however large it is.
    ///
    /// # Errors
    /// As every request.
    pub async fn sync_parts(&self, sync: SyncRequest<'_>) -> Result<SyncParts<'_>> {
        let begun = Instant::now();
        let body = self.sync_request(sync).open().await?;
        Ok(SyncParts {
            begun,
            stream: Stream::new(body),
            reader: SyncReader::new(self.user_id()),
        })
    }

    /// The request for `/sync`. Its time-out is the wait that was asked for and some more: much
    /// more if the homeserver has to prepare the answer. It asks for `state_after` (MSC4222) under
    /// both names.
    fn sync_request(&self, sync: SyncRequest<'_>) -> Request<'_> {
        let wait = Duration::from_millis(sync.timeout_ms);
        let more = if sync.timeout_ms < SHORT_MS {
            PREPARING
        } else {
            GRACE
        };

        let mut request = self
            .get(&["_matrix", "client", "v3", "sync"])
            .within(wait.saturating_add(more.max(self.settings().request_timeout)))
            .query("timeout", &sync.timeout_ms.to_string())
            .query("filter", sync.filter)
            .query("set_presence", "offline")
            .query("use_state_after", "true")
            // Synapse reads only this unstable name.
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

/// An answer of `/sync` as it comes.
pub struct SyncParts<'a> {
    begun: Instant,
    stream: Stream<'a>,
    reader: SyncReader,
}

impl std::fmt::Debug for SyncParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncParts").finish_non_exhaustive()
    }
}

impl SyncParts<'_> {
    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// The answer breaks off, is no JSON, or is larger than anything.
    pub async fn next(&mut self) -> Result<Option<SyncPart>> {
        loop {
            if let Some(part) = self.reader.parts.pop_front() {
                return Ok(Some(part));
            }

            if !self.stream.next(&mut self.reader).await? {
                return Ok(None);
            }
        }
    }

    /// Time since the request was sent.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Bytes of the answer received so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.stream.read()
    }

    /// What is known at the end: the position, and what was skipped.
    ///
    /// # Errors
    /// The answer names no position.
    pub fn end(self) -> Result<SyncEnd> {
        if self.reader.is_other {
            return Err(self.stream.not_matrix("an object was expected"));
        }

        let Some(next_batch) = self.reader.next_batch else {
            return Err(self.stream.not_matrix("`next_batch` is missing"));
        };

        Ok(SyncEnd {
            next_batch,
            malformed: self.reader.malformed,
        })
    }
}

impl SyncBatch {
    /// Adds a part. A part of a room that goes on is added to the room before; the parts of a room
    /// follow one another.
    fn add(&mut self, part: SyncPart) {
        match part {
            SyncPart::Joined(room) => match self.joined.last_mut().filter(|last| last.goes_on) {
                Some(last) => {
                    last.state.extend(room.state);
                    last.sticky.extend(room.sticky);
                    last.timeline.extend(room.timeline);
                    last.state_is_after |= room.state_is_after;
                    (last.limited, last.prev_batch) = (room.limited, room.prev_batch);
                    last.goes_on = room.goes_on;
                }
                None => self.joined.push(room),
            },
            SyncPart::Left(room) => match self.left.last_mut().filter(|last| last.goes_on) {
                Some(last) => {
                    last.state.extend(room.state);
                    last.timeline.extend(room.timeline);
                    last.state_is_after |= room.state_is_after;
                    (last.limited, last.prev_batch) = (room.limited, room.prev_batch);
                    last.goes_on = room.goes_on;
                }
                None => self.left.push(room),
            },
            SyncPart::Invited(invite) => self.invited.push(invite),
        }
    }
}

/// Splits an answer and notes what has the wrong form.
struct SyncReader {
    /// Our own user id, to find our invitation among others.
    own_user_id: Option<String>,
    next_batch: Option<String>,
    malformed: Vec<String>,
    /// Something was replaced; this is reported once.
    repaired: bool,
    /// The answer is no object.
    is_other: bool,
    /// The room that is being read. For an invitation, its events are the state.
    room: JoinedRoom,
    /// Complete parts that the caller has not taken yet.
    parts: VecDeque<SyncPart>,
    events: EventBuilder,
    /// Memory of all parts returned so far, bytes.
    handed_over: usize,
}

const AFTER: [&str; 2] = ["state_after", "org.matrix.msc4222.state_after"];
const STICKY: [&str; 2] = ["sticky", "msc4354_sticky"];

impl Taker for SyncReader {
    /// Which parts of the answer are wanted: the position, and of each room its events, whether its
    /// timeline is limited, and where history goes on. Notes the room that is being read.
    fn wants(&mut self, path: &[String]) -> Want {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            []
            | ["rooms"]
            | ["rooms", "join" | "invite" | "leave"]
            | ["rooms", "invite", _, "invite_state"] => Want::Object,
            ["rooms", "join" | "invite" | "leave", room_id] => {
                (*room_id).clone_into(&mut self.room.room_id);
                Want::Object
            }
            ["rooms", "join" | "leave", _, section] if is_section(section) => Want::Object,
            ["next_batch"] | ["rooms", _, _, "timeline", "limited" | "prev_batch"] => {
                Want::Text(POSITION_MAX)
            }
            ["rooms", _, _, _, "events"] => Want::List,
            ["rooms", _, _, _, "events", ""] => Want::Text(EVENT_TEXT_MAX),
            _ => Want::Nothing,
        }
    }

    /// Takes a part: the position, an event, a flag of a timeline, or the end of a room, which is
    /// then passed on. A part of the wrong form is noted and left out.
    fn takes(&mut self, path: &[String], found: Found<'_>) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Found::Other(byte) = found {
            self.complain_of(&path, byte);
        }

        match (path.as_slice(), found) {
            (["next_batch"], Found::Text(text)) => {
                self.next_batch = text_of_bytes(text).filter(|text| is_position(text));
            }
            (["rooms", section, _], Found::End | Found::Other(_)) => self.hand_over(section, false),
            (["rooms", _, _, "timeline", "limited"], Found::Text(text)) => {
                self.room.limited = text == b"true";
            }
            (["rooms", _, _, "timeline", "prev_batch"], Found::Text(text)) => {
                self.room.prev_batch = text_of_bytes(text).filter(|text| is_position(text));
            }
            (["rooms", section, _, part, "events", _], Found::Text(text)) => {
                self.add_event(section, part, text);
            }
            (["rooms", _, room_id, part, "events", _], Found::TooLong) => {
                let place = format!("an event in {part} of {room_id}");
                self.complain(&place, "too large, and is left out");
            }
            (["rooms", _, _, part], Found::End) if AFTER.contains(part) => {
                self.room.state_is_after = true;
            }
            _ => {}
        }
    }
}

/// Is this a section of a room that has events of use to us?
fn is_section(name: &str) -> bool {
    name == "timeline" || name == "state" || AFTER.contains(&name) || STICKY.contains(&name)
}

impl SyncReader {
    /// A reader before the first byte; each part may take [`PIECE`] bytes of memory.
    fn new(own_user_id: Option<String>) -> Self {
        Self {
            own_user_id,
            next_batch: None,
            malformed: Vec::new(),
            repaired: false,
            is_other: false,
            room: JoinedRoom::default(),
            parts: VecDeque::new(),
            events: EventBuilder::within_bytes(PIECE),
            handed_over: 0,
        }
    }

    /// Notes what is wrong with a part of the answer; up to [`MALFORMED_MAX`] such notes are kept.
    fn complain(&mut self, place: &str, what: &str) {
        if self.malformed.len() < MALFORMED_MAX {
            self.malformed
                .push(format!("{} is {what}", one_line(place, 300)));
        }
    }

    /// Notes that the value at this path has the wrong form; `byte` is its first byte. A null is
    /// accepted.
    fn complain_of(&mut self, path: &[&str], byte: u8) {
        let (place, wanted) = match path {
            [] => {
                self.is_other = true;
                return;
            }
            ["rooms", _, room_id, section] => (format!("{section} of {room_id}"), "an object"),
            ["rooms", _, room_id, section, "events"] => {
                (format!("{section}.events of {room_id}"), "a list")
            }
            path => (path.join("."), "an object"),
        };

        if byte != b'n' {
            self.complain(
                &place,
                &format!("{}, not {wanted}", json_kind_of_byte(byte)),
            );
        }
    }

    /// Adds an event to the room that is being read. Once the room's events take too much memory,
    /// they are passed on before the room's end.
    fn add_event(&mut self, section: &str, part: &str, text: &[u8]) {
        if section == "invite" && self.events.used() > PIECE {
            // The first events of an invitation are enough.
            return;
        }

        let Some(streamed) = event_of(&mut self.events, text) else {
            let place = format!("an event in {part} of {}", self.room.room_id);
            self.complain(&place, "broken JSON, and is left out");
            return;
        };

        // Reported once for each answer.
        if streamed.repaired && !std::mem::replace(&mut self.repaired, true) {
            self.complain("the answer", "not JSON in places, which were replaced");
        }

        let events = match part {
            "timeline" => &mut self.room.timeline,
            part if STICKY.contains(&part) => &mut self.room.sticky,
            _ => &mut self.room.state,
        };

        events.push(streamed.event);

        if section != "invite" && self.events.used() > PIECE {
            self.hand_over(section, true);
        }
    }

    /// Queues the room for the caller, or with `goes_on` the part of it so far. `section` is that
    /// of the room: `join`, `leave` or `invite`.
    fn hand_over(&mut self, section: &str, goes_on: bool) {
        let next = JoinedRoom {
            room_id: self.room.room_id.clone(),
            ..JoinedRoom::default()
        };

        let room = std::mem::replace(&mut self.room, next);
        self.handed_over += self.events.used();
        self.events = EventBuilder::within_bytes(PIECE);
        if !is_room_id(&room.room_id) {
            self.complain(&room.room_id, "no id of a room, and is left out");
            return;
        }

        let part = match section {
            "join" => SyncPart::Joined(JoinedRoom { goes_on, ..room }),
            "leave" => SyncPart::Left(LeftRoom {
                room_id: room.room_id,
                timeline: room.timeline,
                state: room.state,
                state_is_after: room.state_is_after,
                limited: room.limited,
                prev_batch: room.prev_batch,
                goes_on,
            }),
            _ => SyncPart::Invited(read_invite(room, self.own_user_id.as_deref())),
        };

        self.parts.push_back(part);

        if goes_on {
            // The flags belong to the last part.
            let flags = self.parts.back_mut().and_then(|part| match part {
                SyncPart::Joined(room) => Some((&mut room.limited, &mut room.prev_batch)),
                SyncPart::Left(room) => Some((&mut room.limited, &mut room.prev_batch)),
                SyncPart::Invited(_) => None,
            });
            if let Some((limited, prev_batch)) = flags {
                self.room.limited = std::mem::take(limited);
                self.room.prev_batch = prev_batch.take();
            }
        }
    }
}

/// An invitation from its stripped state; `own` is our user id. If a type comes several times, the
/// last one counts.
fn read_invite(room: JoinedRoom, own: Option<&str>) -> Invite {
    let events = room.state;
    let text = |kind: &str, key: &str| {
        let of_kind = events
            .iter()
            .filter(|event| event.get("type").is_some_and(|is| is == kind));
        let mut texts = of_kind.filter_map(|event| event.pointer("/content")?.get(key)?.as_str());
        texts.next_back().map(ToOwned::to_owned)
    };

    Invite {
        inviter: find_inviter(&events, own),
        name: text("m.room.name", "name"),
        alias: text("m.room.canonical_alias", "alias"),
        is_direct: is_direct_invite(&events, own),
        is_space: text("m.room.create", "type").as_deref() == Some("m.space"),
        room_id: room.room_id,
    }
}

/// Who sent our invite; `None` if there is none.
fn find_inviter(events: &[Value], own: Option<&str>) -> Option<String> {
    let sender = find_own_invite(events, own)?.get("sender")?;

    sender.as_str().map(ToOwned::to_owned)
}

/// Does our invite say that the room is direct?
fn is_direct_invite(events: &[Value], own: Option<&str>) -> bool {
    let invite = find_own_invite(events, own);
    let word = invite.and_then(|invite| invite.pointer("/content/is_direct")?.as_bool());

    word == Some(true)
}

/// Our invite; `None` if there is none. All such events but the last come from the inviter's
/// server, and may name somebody whom our policy trusts. The last one is added by our own
/// homeserver.
fn find_own_invite<'e>(events: &'e [Value], own: Option<&str>) -> Option<&'e Value> {
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

    invites.next_back()
}

/// The kind of value that begins with this byte, in words.
fn json_kind_of_byte(byte: u8) -> &'static str {
    match byte {
        b'n' => "null",
        b't' | b'f' => "a boolean",
        b'"' => "a text",
        b'[' => "a list",
        b'{' => "an object",
        _ => "a number",
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
