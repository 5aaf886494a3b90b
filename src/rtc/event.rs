//! `RoomEvent`: an event of a room as it was stored, with unparsed content; and the kinds of events
//! that we use.

use super::time::{LATEST_MS, millis_of_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Events whose JSON text is larger than this are not kept whole, bytes. The specification allows
/// 64 KiB for an event.
const EVENT_MAX: usize = 256 * 1024;

/// Maximum length of ids, types and keys, bytes. The specification allows 255, which old servers
/// counted in characters. They are keys in the database, and `PostgreSQL` accepts keys of at most
/// 2704 bytes.
const ID_MAX: usize = 4 * 255;

/// Why an event says nothing about a call, or is invalid. The words are stored, counted and shown.
pub type Reason = &'static str;

/// An event of one room. [`RoomEvent::absorb`] merges two copies of the same event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomEvent {
    pub event_id: String,
    /// The wire type, for example `org.matrix.msc3401.call.member`.
    pub kind: String,
    /// `None` for an event that is not state. The seed revision's array key is kept as its compact
    /// JSON text.
    pub state_key: Option<String>,
    pub sender: String,
    /// The timestamp of the sender's server, ms since the Unix epoch. It can be wrong.
    pub origin_server_ts: i64,
    /// Our clock when the first live copy arrived, ms; `None` if the event came only by back-fill.
    pub received_ts: Option<i64>,
    pub content: Value,
    /// Requested stickiness in ms (MSC4354), not clamped; `None` = not sticky.
    pub sticky_ms: Option<i64>,
    /// The state event this one replaced, where the server said so (`unsigned.replaces_state`).
    pub replaces_state: Option<String>,
    /// For a redaction: the event it redacts.
    pub redacts: Option<String>,
    /// This copy came with its content, or the event has none to hide. `false` if every copy was
    /// already redacted when it arrived, so that we never saw what was redacted. A redaction that
    /// comes later leaves this `true`: what was seen before it still counts.
    pub readable: bool,
    /// Set if the event was already redacted when it arrived: the redaction's `origin_server_ts`,
    /// or `LATEST_MS` if that is unknown.
    pub redacted_ts: Option<i64>,
}

impl RoomEvent {
    /// Reads an event in client format. It is tolerant: only the fields that identify an event are
    /// required. `received_ts` is our clock when a live copy arrived, ms; `None` for history.
    ///
    /// # Errors
    /// The reason why this is not an event.
    pub fn from_json(json: &Value, received_ts: Option<i64>) -> Result<Self, Reason> {
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let id = |key: &str, missing: Reason| check_id_length(text(key).ok_or(missing)?);
        let unsigned = |key: &str| json.pointer(&format!("/unsigned/{key}"));
        let stamp = |value: &Value| millis_of_json(value).map(|ms| ms.clamp(0, LATEST_MS));
        let content = json.get("content").cloned().unwrap_or(Value::Null);
        let because = unsigned("redacted_because");

        Ok(Self {
            event_id: Some(id("event_id", "no_event_id")?)
                .filter(|id| !id.is_empty())
                .ok_or("no_event_id")?,
            kind: id("type", "no_type")?,
            state_key: parse_state_key(json.get("state_key"))?,
            sender: id("sender", "no_sender")?,
            origin_server_ts: json
                .get("origin_server_ts")
                .and_then(stamp)
                .ok_or("no_origin_server_ts")?,
            received_ts,
            sticky_ms: parse_sticky_ms(json),
            replaces_state: unsigned("replaces_state").and_then(referenced_event_id),
            readable: because.is_none(),
            redacts: redaction_target(json, &content),
            redacted_ts: because.map(|event| {
                event
                    .get("origin_server_ts")
                    .and_then(stamp)
                    .unwrap_or(LATEST_MS)
            }),
            content,
        })
    }

    /// Reads an event of a file. It differs from [`Self::from_json`] in one point: our receive time
    /// is read from `_received_ts`, if present. Never use it for events from a homeserver: a
    /// stranger could set that key.
    ///
    /// # Errors
    /// The reason why this is not an event.
    pub fn from_recorded(json: &Value) -> Result<Self, Reason> {
        let received = json
            .get("_received_ts")
            .and_then(millis_of_json)
            .map(|ms| ms.clamp(0, LATEST_MS));

        Self::from_json(json, received)
    }

    /// This event with the fields that only its JSON text has: content, stickiness, and whether it
    /// came unredacted (`readable`). It parses nothing else, so it is fast.
    ///
    /// # Errors
    /// If the text is not a JSON object.
    pub fn with_text(self, text: &str) -> Result<Self, serde_json::Error> {
        let body: JsonOnlyParts = serde_json::from_str(text)?;
        let sticky_ms = [body.msc4354_sticky, body.sticky]
            .iter()
            .flatten()
            .find_map(parse_duration_ms);
        let readable = body
            .unsigned
            .is_none_or(|unsigned| unsigned.get("redacted_because").is_none());

        Ok(Self {
            content: body.content,
            sticky_ms,
            readable,
            ..self
        })
    }

    /// When the event happened, ms, as far as we can know: the server's timestamp, or our receive
    /// time if that is earlier (docs/matrixrtc.md section 5, rule 1).
    #[must_use]
    pub fn time(&self) -> i64 {
        self.received_ts.map_or(self.origin_server_ts, |received| {
            received.min(self.origin_server_ts)
        })
    }

    /// Adds what another copy of the same event has and this one lacks. The result does not depend
    /// on which copy came first: a copy with its content wins over a redacted one, and the earliest
    /// receive time counts.
    pub fn absorb(&mut self, other: &Self) {
        if other.readable && !self.readable {
            self.content = other.content.clone();
            self.sticky_ms = other.sticky_ms;
            self.readable = true;
        }

        self.received_ts = [self.received_ts, other.received_ts]
            .into_iter()
            .flatten()
            .min();
        self.redacted_ts = [self.redacted_ts, other.redacted_ts]
            .into_iter()
            .flatten()
            .min();
        // Two servers may name different events, because each reports its own branch of the room.
        let first = |mine: Option<String>, theirs: &Option<String>| {
            mine.into_iter().chain(theirs.clone()).min()
        };

        self.replaces_state = first(self.replaces_state.take(), &other.replaces_state);
        self.redacts = first(self.redacts.take(), &other.redacts);
    }

    /// Was the content removed before we could read it?
    #[must_use]
    pub fn is_unreadable_redaction(&self) -> bool {
        !self.readable
            && self
                .content
                .as_object()
                .is_none_or(serde_json::Map::is_empty)
    }
}

/// Is the text of one event small enough to be kept whole?
#[must_use]
pub fn may_be_kept_whole(json_text: &str) -> bool {
    json_text.len() <= EVENT_MAX
}

/// Replaces NUL: no valid id contains it, and `PostgreSQL` cannot store it in a text.
#[must_use]
pub fn replace_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The id, type or key, with NUL replaced. An error if it is longer than [`ID_MAX`].
fn check_id_length(text: &str) -> Result<String, Reason> {
    if text.len() > ID_MAX {
        return Err("id_too_long");
    }

    Ok(replace_nul(text))
}

/// The id of another event; `None` if it is too long.
fn referenced_event_id(value: &Value) -> Option<String> {
    check_id_length(value.as_str()?).ok()
}

/// The state key as a text; `None` for an event that is not state. The first revision of MSC4143
/// has an array as its key, which becomes its compact JSON text.
fn parse_state_key(value: Option<&Value>) -> Result<Option<String>, Reason> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(check_id_length(text)?)),
        // Only in the first revision of MSC4143; no room version allows it, so nothing depends on
        // it.
        Some(array @ Value::Array(_)) => Ok(Some(check_id_length(&array.to_string())?)),
        Some(_) => Err("bad_state_key"),
    }
}

/// The requested stickiness, ms, under its unstable or its stable name; `None` if there is none.
fn parse_sticky_ms(json: &Value) -> Option<i64> {
    ["msc4354_sticky", "sticky"]
        .iter()
        .find_map(|key| parse_duration_ms(json.get(key)?))
}

/// The `duration_ms` of a stickiness; `None` if it is not a whole number from 0 on. One that is too
/// large for `i64` becomes the largest `i64`.
fn parse_duration_ms(sticky: &Value) -> Option<i64> {
    let duration = sticky.get("duration_ms")?;
    duration
        .as_i64()
        .or_else(|| duration.as_u64().map(|_| i64::MAX))
        .filter(|ms| *ms >= 0)
}

/// The parts of an event that only its JSON text has. A value of an unexpected type counts as
/// absent.
#[derive(Deserialize)]
struct JsonOnlyParts {
    #[serde(default)]
    content: Value,
    msc4354_sticky: Option<Value>,
    sticky: Option<Value>,
    unsigned: Option<Value>,
}

/// The id of the event that this one redacts; `None` if it is no redaction. Room versions 1 to 10
/// name the target at the top level, later ones in the content. The key counts only in redactions:
/// anybody may write it into an event of another type, where it redacts nothing.
fn redaction_target(json: &Value, content: &Value) -> Option<String> {
    json.get("type")
        .filter(|kind| *kind == "m.room.redaction")?;
    let target = json.get("redacts").or_else(|| content.get("redacts"))?;
    referenced_event_id(target)
}

/// What an event is to us, by its type on the wire (docs/matrixrtc.md section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A statement about being in a call.
    Member,
    /// A slot opened or closed.
    Slot,
    /// `m.room.member`: a user's presence in the room.
    Presence,
    Redaction,
    Create,
    /// An encrypted event: unreadable, and of interest only if it is sticky.
    Encrypted,
    /// Ring, notification, decline, legacy `m.call`: stored and shown, but no statement about
    /// membership.
    Related,
    /// All other room state that pages show: name, alias, encryption, tombstone.
    Other,
}

impl EventKind {
    /// The kind of a wire type.
    #[must_use]
    pub fn of_event_type(event_type: &str) -> Self {
        match event_type {
            "org.matrix.msc3401.call.member"
            | "m.call.member"
            | "com.famedly.call.member"
            | "org.matrix.msc4143.rtc.member"
            | "m.rtc.member" => Self::Member,
            "org.matrix.msc4143.rtc.slot" | "m.rtc.slot" => Self::Slot,
            "m.room.member" => Self::Presence,
            "m.room.redaction" => Self::Redaction,
            "m.room.create" => Self::Create,
            "m.room.encrypted" => Self::Encrypted,
            "org.matrix.msc3401.call"
            | "m.call"
            | "org.matrix.msc4075.rtc.notification"
            | "m.rtc.notification"
            | "org.matrix.msc4075.call.notify"
            | "m.call.notify"
            | "org.matrix.msc4310.rtc.decline"
            | "m.rtc.decline" => Self::Related,
            _ => Self::Other,
        }
    }
}
