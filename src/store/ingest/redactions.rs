//! Redacted events: their contents are removed from what is stored, whether the event or its
//! redaction came first.

use super::batch::{Arrival, RoomBatch};
use super::rooms;
use crate::rtc::event::{EventKind, RoomEvent};
use crate::rtc::redaction::{
    content_after_redaction, derivation_relevant_content, redacting_ban, reduce_redacted_event,
};
use crate::store::db::multi_row::MultiRow;
use crate::store::derive::dirty::Dirty;
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Tx};
use serde_json::{Map, Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The redacting event, as far as it is shown.
#[derive(Debug, Clone)]
pub(super) struct RedactionCause {
    event_id: String,
    sender: String,
    kind: String,
    at_ms: i64,
    /// The redacting event is a ban or kick that redacts everything that its user sent before
    /// ([`redacting_ban`]). It does not name what it redacts, so the time is stored as well.
    is_ban: bool,
}

impl RedactionCause {
    /// The cause that this event is: a redaction, or a ban, which is a membership event.
    fn from_event(event: &RoomEvent) -> Self {
        Self {
            event_id: event.event_id.clone(),
            sender: event.sender.clone(),
            kind: event.kind.clone(),
            at_ms: event.time(),
            is_ban: EventKind::of_event_type(&event.kind) == EventKind::Presence,
        }
    }

    /// The cause as Matrix puts it into a redacted event, under `redacted_because`.
    fn to_json(&self) -> Value {
        json!({"event_id": self.event_id, "sender": self.sender, "type": self.kind,
            "origin_server_ts": self.at_ms})
    }
}

static TARGETS: MultiRow = MultiRow::new(
    "select redacts, event_id, sender, kind, time_ms from events where room_id || '' = $1
        and redacts in (",
    "?",
    ")",
);
const BANS: &str = "select user_id, at_ms from redacting_bans where room_id = $1";

/// The redactions of some events that are about to be stored.
#[derive(Debug, Default)]
pub(super) struct Redactions {
    /// What redacts an event, by the id of that event.
    targets: HashMap<String, RedactionCause>,
    /// The bans that redact everything that a user sent before, by user.
    bans: HashMap<String, Vec<RedactionCause>>,
}

/// An event whose content was removed.
pub(in crate::store) struct RedactedArrival {
    pub arrival: Arrival,
    /// The part of its content that is kept for derivation.
    pub kept: Option<String>,
}

impl Redactions {
    /// The redactions that concern these arrivals: those that are stored, and those of this batch.
    pub async fn know(tx: &mut Tx, room: &RoomBatch, arrivals: &[&Arrival]) -> Result<Self, Error> {
        let mut known = Self::default();
        let ids: Vec<&str> = arrivals
            .iter()
            .map(|arrival| arrival.event.event_id.as_str())
            .collect();
        for row in TARGETS.look_up(tx, &room.room_id, &ids).await? {
            let because = RedactionCause {
                event_id: row.try_get("event_id")?,
                sender: row.try_get("sender")?,
                kind: row.try_get("kind")?,
                at_ms: row.try_get("time_ms")?,
                is_ban: false,
            };

            known.note_target(row.try_get("redacts")?, because);
        }

        let bans: Vec<(String, i64)> = sqlx::query_as(BANS)
            .bind(&room.room_id)
            .fetch_all(&mut **tx)
            .await?;
        for (user, at_ms) in bans {
            // Who banned is not stored with the ban, and not needed here.
            let because = RedactionCause {
                event_id: String::new(),
                sender: String::new(),
                kind: "m.room.member".to_owned(),
                at_ms,
                is_ban: true,
            };

            known.bans.entry(user).or_default().push(because);
        }

        for arrival in &room.arrivals {
            let event = &arrival.event;
            if let (EventKind::Redaction, Some(target)) =
                (EventKind::of_event_type(&event.kind), &event.redacts)
            {
                known.note_target(target.clone(), RedactionCause::from_event(event));
            }

            if let Some((user, at_ms)) = redacting_ban(event) {
                let bans = known.bans.entry(user.to_owned()).or_default();
                if bans.iter().all(|ban| ban.at_ms != at_ms) {
                    bans.push(RedactionCause::from_event(event));
                }
            }
        }

        Ok(known)
    }

    /// Notes that an event is redacted. Of several redactions of it the earliest counts.
    fn note_target(&mut self, target: String, because: RedactionCause) {
        let is_earlier = self
            .targets
            .get(&target)
            .is_none_or(|known| because.at_ms < known.at_ms);

        if is_earlier {
            self.targets.insert(target, because);
        }
    }

    /// The event that redacts this event, if it is known.
    pub fn because(&self, event: &RoomEvent) -> Option<&RedactionCause> {
        let by_itself = self.targets.get(&event.event_id);
        by_itself.or_else(|| self.ban_of(event))
    }

    /// The first ban that redacts all events of its sender, this event among them.
    fn ban_of(&self, event: &RoomEvent) -> Option<&RedactionCause> {
        let bans = self.bans.get(&event.sender)?.iter();
        bans.filter(|ban| event.time() <= ban.at_ms)
            .min_by_key(|ban| ban.at_ms)
    }

    /// The event as it is to be stored if it is redacted: without its content, but with what
    /// derivation needs of it. `None` if no redaction of it is known.
    pub fn take_back(&self, arrival: &Arrival) -> Option<RedactedArrival> {
        let because = self.because(&arrival.event)?;
        let mut event = RoomEvent::clone(&arrival.event);
        // A ban does not name the events that it redacts, so its time is stored in each of them.
        if let Some(ban) = self.ban_of(&event) {
            event.redacted_ts = Some(earlier_time(event.redacted_ts, ban.at_ms));
        }

        let (mut json, mut kept_text) = (arrival.json.clone(), None);
        if event.readable {
            json = redacted_text(&arrival.json, &event.kind, because);
            reduce_redacted_event(&mut event);
            kept_text = kept_content_text(&event);
            event.readable = kept_text.is_some();
        }

        Some(RedactedArrival {
            arrival: Arrival {
                event: Arc::new(event),
                json,
                in_timeline: arrival.in_timeline,
            },
            kept: kept_text,
        })
    }
}

/// The earlier of two times, ms, of which the first may be unknown.
fn earlier_time(known: Option<i64>, at_ms: i64) -> i64 {
    known.map_or(at_ms, |known| known.min(at_ms))
}

/// The part of a redacted event's content that derivation needs, as a JSON text that is read
/// instead of the event's own; `None` if derivation needs nothing of it.
pub(in crate::store) fn kept_content_text(event: &RoomEvent) -> Option<String> {
    let mut text = Map::new();
    text.insert("content".to_owned(), derivation_relevant_content(event)?);
    if let Some(duration) = event.sticky_ms {
        text.insert("sticky".to_owned(), json!({"duration_ms": duration}));
    }

    Some(Value::Object(text).to_string())
}

/// The text of an event after redaction by the rules of Matrix, with the redacting event.
fn redacted_text(text: &str, kind: &str, because: &RedactionCause) -> String {
    let mut event: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let content = content_after_redaction(kind, event.get("content").unwrap_or(&Value::Null));
    event.insert("content".to_owned(), content);
    event.retain(|key, _| !matches!(key.as_str(), "msc4354_sticky" | "sticky"));
    let mut unsigned = Map::new();
    if let Some(replaces) = event
        .get("unsigned")
        .and_then(|old| old.get("replaces_state"))
    {
        unsigned.insert("replaces_state".to_owned(), replaces.clone());
    }

    unsigned.insert("redacted_because".to_owned(), because.to_json());
    event.insert("unsigned".to_owned(), Value::Object(unsigned));

    Value::Object(event).to_string()
}

/// The JSON text of an event without the content with which it was stored, because it came
/// redacted. `at_ms` is the time of the redaction, of which nothing else is known.
pub(super) fn redacted_text_since(text: &str, kind: &str, at_ms: i64) -> String {
    let because = RedactionCause {
        event_id: String::new(),
        sender: String::new(),
        kind: "m.room.redaction".to_owned(),
        at_ms,
        is_ban: false,
    };

    redacted_text(text, kind, &because)
}

const STORED: &str = "select * from events where event_id = $1 and room_id = $2";
const EMPTY: &str =
    "update events set json = $3, kept = $4, redacted_ms = $5 where event_id = $1 and room_id = $2";
const UNNAME: &str = "update people set name = null, folded = null where room_id = $1
    and event_id = $2 returning user_id";

/// A stored event that is redacted.
pub(super) struct RedactedTarget {
    /// The user whose display name was deleted with it; empty if it gave none.
    pub unnamed: Vec<String>,
    pub kind: String,
    pub state_key: Option<String>,
    pub member_key: Option<String>,
    pub time_ms: i64,
}

/// Removes the content of a stored event and returns what is known of it; `None` if no such event
/// is stored.
pub(super) async fn redact_stored(
    tx: &mut Tx,
    room_id: &str,
    event_id: &str,
    because: &RoomEvent,
) -> Result<Option<RedactedTarget>, Error> {
    let query = sqlx::query(STORED).bind(event_id).bind(room_id);
    let Some(row) = query.fetch_optional(&mut **tx).await? else {
        return Ok(None);
    };

    Ok(Some(RedactedTarget {
        unnamed: redact_event(tx, room_id, &row, &RedactionCause::from_event(because)).await?,
        kind: row.try_get("kind")?,
        state_key: row.try_get("state_key")?,
        member_key: row.try_get("chain")?,
        time_ms: row.try_get("time_ms")?,
    }))
}

/// Removes the content of the stored event in this row of `events`. Returns the users whose display
/// names were deleted with it: one or none, since one event gives one name.
///
/// A redaction names the event, so its time is found by that name. A ban ([`redacting_ban`]) names
/// only the user, so its time is stored in the event, also if the content was removed before.
async fn redact_event(
    tx: &mut Tx,
    room_id: &str,
    row: &AnyRow,
    because: &RedactionCause,
) -> Result<Vec<String>, Error> {
    let mut event = event_from_row(row)?;
    // Of a redacted event a part is kept for derivation; if nothing is, the event counts as one
    // whose content cannot be read.
    let was_taken_back = row.try_get::<Option<&str>, _>("kept")?.is_some() || !event.readable;
    if because.is_ban {
        event.redacted_ts = Some(earlier_time(event.redacted_ts, because.at_ms));
    } else if was_taken_back {
        return Ok(Vec::new());
    }

    reduce_redacted_event(&mut event);
    let (json, kept): (String, Option<String>) = if was_taken_back {
        (row.try_get("json")?, row.try_get("kept")?)
    } else {
        let json = redacted_text(row.try_get("json")?, &event.kind, because);
        (json, kept_content_text(&event))
    };

    sqlx::query(EMPTY)
        .bind(&event.event_id)
        .bind(room_id)
        .bind(json)
        .bind(kept)
        .bind(event.redacted_ts)
        .execute(&mut **tx)
        .await?;

    delete_display_name(tx, room_id, &event.event_id).await
}

/// Deletes the display name that an event gave. Returns the user whose name it was, or nobody; as a
/// list, since callers collect the users of several events.
pub(super) async fn delete_display_name(
    tx: &mut Tx,
    room_id: &str,
    event_id: &str,
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(UNNAME)
        .bind(room_id)
        .bind(event_id)
        .fetch_all(&mut **tx)
        .await?)
}

const BAN: &str =
    "insert into redacting_bans (room_id, user_id, at_ms, reached) values ($1, $2, $3, $4)
    on conflict (room_id, user_id, at_ms) do nothing";
// Events that an earlier ban redacted are left out.
const SENT: &str = "select stream from events where room_id = $1 and sender = $2 and time_ms <= $3
    and (redacted_ms is null or redacted_ms > $3) and stream > $4 order by stream limit $5";
const REACHED: &str =
    "update redacting_bans set reached = $4 where room_id = $1 and user_id = $2 and at_ms = $3";
/// Maximum events redacted in one transaction; somebody may have sent any number of them.
const BAN_PORTION: usize = 500;
/// Before the first event.
const FROM_THE_FIRST: i64 = i64::MIN;
const BY_NUMBER: &str = "select * from events where stream = $1 and room_id = $2";

/// A ban that redacts what was sent before it, and how far that is done.
#[derive(Debug, Clone)]
pub(super) struct OpenBan {
    pub room_id: String,
    user_id: String,
    /// What the user sent until then, ms, is redacted.
    at_ms: i64,
    /// The number of the last event that was looked at.
    reached: i64,
    because: RedactionCause,
}

/// Begins to redact everything that a user sent before a ban that says so. What does not fit into
/// one transaction is left to [`redact_more`].
pub(super) async fn redact_all_of(
    tx: &mut Tx,
    room_id: &str,
    ban: &RoomEvent,
    dirty: &mut Dirty,
) -> Result<(), Error> {
    if let Some(ban) = begin_ban(tx, room_id, ban).await? {
        redact_more(tx, ban, dirty).await?;
    }

    Ok(())
}

/// Stores a ban that redacts everything that the user sent before, with nothing redacted yet.
/// `None` if the event is no such ban.
async fn begin_ban(tx: &mut Tx, room_id: &str, ban: &RoomEvent) -> Result<Option<OpenBan>, Error> {
    let Some((user_id, at_ms)) = redacting_ban(ban) else {
        return Ok(None);
    };

    sqlx::query(BAN)
        .bind(room_id)
        .bind(user_id)
        .bind(at_ms)
        .bind(FROM_THE_FIRST)
        .execute(&mut **tx)
        .await?;

    Ok(Some(OpenBan {
        room_id: room_id.to_owned(),
        user_id: user_id.to_owned(),
        at_ms,
        reached: FROM_THE_FIRST,
        because: RedactionCause::from_event(ban),
    }))
}

/// Redacts the next events of a banned user, stores how far that came, and marks what becomes
/// stale in `dirty`. One call redacts at most [`BAN_PORTION`] events. Returns the ban as it goes
/// on if there may be more; `None` when all is done.
pub(super) async fn redact_more(
    tx: &mut Tx,
    ban: OpenBan,
    dirty: &mut Dirty,
) -> Result<Option<OpenBan>, Error> {
    // Only the numbers of the events are in memory at once, because events may be large.
    let numbers: Vec<i64> = sqlx::query_scalar(SENT)
        .bind(&ban.room_id)
        .bind(&ban.user_id)
        .bind(ban.at_ms)
        .bind(ban.reached)
        .bind(crate::store::to_i64(BAN_PORTION))
        .fetch_all(&mut **tx)
        .await?;
    for number in &numbers {
        let row = sqlx::query(BY_NUMBER)
            .bind(number)
            .bind(&ban.room_id)
            .fetch_one(&mut **tx)
            .await?;
        let unnamed = redact_event(tx, &ban.room_id, &row, &ban.because).await?;
        dirty.unnamed.extend(unnamed);
        if let Some(member_key) = row.try_get::<Option<&str>, _>("chain")? {
            dirty.add_member_key(member_key, row.try_get("time_ms")?, i64::MAX);
        }
    }

    dirty.facts |= !numbers.is_empty();
    dirty.taken_back |= !numbers.is_empty();

    let last = numbers
        .last()
        .copied()
        .filter(|_| numbers.len() == BAN_PORTION);
    dirty.has_open_bans |= last.is_some();
    sqlx::query(REACHED)
        .bind(&ban.room_id)
        .bind(&ban.user_id)
        .bind(ban.at_ms)
        .bind(last)
        .execute(&mut **tx)
        .await?;

    Ok(last.map(|reached| OpenBan { reached, ..ban }))
}

const OPEN_BAN: &str =
    "select room_id, user_id, at_ms, reached from redacting_bans where reached is not null
    order by room_id, user_id, at_ms limit 1";
const BAN_EVENT: &str =
    "select * from events where room_id = $1 and kind = 'm.room.member' and state_key = $2
    and time_ms = $3 order by event_id limit 1";

/// Some ban that is not fully applied yet; `None` if there is none.
pub(super) async fn read_open_ban(tx: &mut Tx) -> Result<Option<OpenBan>, Error> {
    let row: Option<(String, String, i64, i64)> =
        sqlx::query_as(OPEN_BAN).fetch_optional(&mut **tx).await?;
    let Some((room_id, user_id, at_ms, reached)) = row else {
        return Ok(None);
    };

    let row = sqlx::query(BAN_EVENT)
        .bind(&room_id)
        .bind(&user_id)
        .bind(at_ms)
        .fetch_optional(&mut **tx)
        .await?;
    let known = row.as_ref().map(event_from_row).transpose()?;
    let because = known.as_ref().map_or_else(
        || RedactionCause {
            event_id: String::new(),
            sender: String::new(),
            kind: "m.room.member".to_owned(),
            at_ms,
            is_ban: true,
        },
        RedactionCause::from_event,
    );

    Ok(Some(OpenBan {
        room_id,
        user_id,
        at_ms,
        reached,
        because,
    }))
}

const OF_PORTION: &str = "select e.event_id, e.room_id, r.event_id as because from events e
    join events r on r.redacts = e.event_id and r.room_id = e.room_id
    where e.stream > $1 and e.stream <= $2 order by r.time_ms, r.event_id";
const CAME_REDACTED: &str =
    "select event_id, room_id, redacted_ms from events where stream > $1 and stream <= $2
    and redacted_ms is not null and kept is null";
const BANS_OF_PORTION: &str =
    "select event_id, room_id from events where stream > $1 and stream <= $2 and chain is null
    and kind = 'm.room.member' and json like '%redact_events%'";

/// Removes the contents of redacted events that older versions left, in the events with numbers
/// after `from` up to `to`: events whose redaction is stored, events that came redacted, and events
/// of users whose ban redacts them.
pub(super) async fn redact_old_contents(tx: &mut Tx, from: i64, to: i64) -> Result<(), Error> {
    let rows = sqlx::query(OF_PORTION)
        .bind(from)
        .bind(to)
        .fetch_all(&mut **tx)
        .await?;
    let mut rooms_changed: BTreeSet<String> = BTreeSet::new();
    for row in &rows {
        let (room_id, because): (&str, &str) = (row.try_get("room_id")?, row.try_get("because")?);
        rooms_changed.insert(room_id.to_owned());
        if let Some(because) = read_event(tx, room_id, because).await? {
            redact_stored(tx, room_id, row.try_get("event_id")?, &because).await?;
        }
    }

    let rows = sqlx::query(CAME_REDACTED)
        .bind(from)
        .bind(to)
        .fetch_all(&mut **tx)
        .await?;
    for row in &rows {
        let (room_id, event_id): (&str, &str) = (row.try_get("room_id")?, row.try_get("event_id")?);
        let query = sqlx::query(STORED).bind(event_id).bind(room_id);
        let because = RedactionCause {
            event_id: String::new(),
            sender: String::new(),
            kind: "m.room.redaction".to_owned(),
            at_ms: row.try_get("redacted_ms")?,
            is_ban: false,
        };

        let stored = query.fetch_one(&mut **tx).await?;
        redact_event(tx, room_id, &stored, &because).await?;
    }

    let rows = sqlx::query(BANS_OF_PORTION)
        .bind(from)
        .bind(to)
        .fetch_all(&mut **tx)
        .await?;
    for row in &rows {
        let room_id: &str = row.try_get("room_id")?;
        if let Some(ban) = read_event(tx, room_id, row.try_get("event_id")?).await? {
            let mut open = begin_ban(tx, room_id, &ban).await?;
            while let Some(ban) = open {
                open = redact_more(tx, ban, &mut Dirty::default()).await?;
            }

            rooms_changed.insert(room_id.to_owned());
        }
    }

    // The name of a room may come from a deleted content.
    for room_id in &rooms_changed {
        rooms::refresh_room_facts(tx, room_id).await?;
    }

    Ok(())
}

/// A stored event; `None` if there is none with this id.
async fn read_event(
    tx: &mut Tx,
    room_id: &str,
    event_id: &str,
) -> Result<Option<RoomEvent>, Error> {
    let query = sqlx::query(STORED).bind(event_id).bind(room_id);
    let row = query.fetch_optional(&mut **tx).await?;
    row.as_ref().map(event_from_row).transpose()
}
