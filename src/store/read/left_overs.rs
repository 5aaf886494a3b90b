//! What became of the state events of stays whose people left the room. Only those stays are read.

use super::ghosts::CurrentEvent;
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::Rules;
use crate::rtc::left_over::{LeftOver, expiry_of_event, is_ended_by_room};
use crate::rtc::words::Format;
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::MultiRow;
use crate::store::{Error, Reader, model};
use std::collections::HashMap;

/// Maximum number of such stays of one call whose events are read. Of further ones it is not known.
const STAYS_MAX: usize = 100;

/// The last state event of a stay whose person left the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOverEvent {
    pub left_over: LeftOver,
    pub event: CurrentEvent,
}

json_row! {
    /// A stay `o`, and its last event `l`.
    struct LeftOverRow {
        id: String = "o.id",
        device_id: Option<String> = "o.device_id",
        next_ms: Option<i64> = "o.next_ms",
        back_ms: Option<i64> = "o.back_ms",
        event_id: Option<String> = "l.event_id",
        // The time of a redaction is its own; that of a ban stands in the event.
        redaction_ms: Option<i64> = "(select min(r.time_ms) from events r
            where r.redacts = l.event_id and r.room_id = l.room_id)",
        redacted_ms: Option<i64> = "l.redacted_ms",
        received_ms: Option<i64> = "l.received_ms",
        kept: Option<String> = "l.kept",
        json: Option<String> = "case when octet_length(l.json) <= 16384 then l.json end",
    }
}

// The events of a key are found by the key. What comes to it later takes the place of the event,
// whatever it says; a stay that begins later goes on with the same one.
static LEFT: MultiRow = MultiRow::new(
    sql!(
        "select ",
        LeftOverRow::LIST,
        " from (select m.id, m.room_id, m.device_id,
            (select min(n.time_ms) from events n where n.room_id = m.room_id
                and n.chain = m.chain and n.time_ms >= m.until_ms) as next_ms,
            (select min(b.opened_ms) from memberships b where b.room_id = m.room_id
                and b.chain = m.chain and b.opened_ms >= m.until_ms and b.id <> m.id) as back_ms,
            (select e.event_id from events e where e.room_id = m.room_id and e.chain = m.chain
                and e.time_ms < m.until_ms
                order by e.time_ms desc, e.event_id desc limit 1) as last_id
        from memberships m where m.id in ("
    ),
    "?",
    ")) as o left join events l on l.event_id = o.last_id and l.room_id = o.room_id",
);

/// The last state events of those of these stays that ended by `now`, ms, since their people left
/// the room; by membership id. One that is not known is left out.
///
/// # Errors
/// When the database fails.
pub(crate) async fn read_left_overs(
    store: &Reader,
    members: &[model::Member],
    now: i64,
) -> Result<HashMap<String, LeftOverEvent>, Error> {
    let is_out = |member: &&model::Member| {
        let stay = &member.stay;
        let is_state = stay.format != Format::Sticky;
        is_state && is_ended_by_room(stay.end_reason) && stay.until_ms <= now
    };
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut ids: Vec<&str> = Vec::new();
    for member in members.iter().filter(is_out) {
        let count = counts.entry(member.session_id.as_str()).or_default();
        if *count < STAYS_MAX {
            ids.push(&member.stay.id);
        }

        *count += 1;
    }

    if ids.is_empty() {
        return Ok(HashMap::new());
    }

    let mut connection = store.read.acquire().await?;
    let rows = LEFT.read_by_ids(&mut connection, &ids).await?;
    let read = read_rows(&rows, left_over_from_row)?;

    Ok(read.into_iter().flatten().collect())
}

/// The event of a stay, after the id of the stay; `None` if it is not known.
fn left_over_from_row(row: LeftOverRow) -> Option<(String, LeftOverEvent)> {
    let json = serde_json::from_str(&row.json?).ok()?;
    let mut event = RoomEvent::from_json(&json, row.received_ms).ok()?;
    // What a redaction took out of the event is kept beside it.
    if let Some(kept) = &row.kept {
        event = event.with_text(kept).ok()?;
    }

    let expires_ms = expiry_of_event(&event, row.device_id.as_deref(), &Rules::default())?;
    let changes = [row.next_ms, row.back_ms, row.redaction_ms, row.redacted_ms];
    let left_over = LeftOver {
        expires_ms,
        gone_ms: changes.into_iter().flatten().min(),
    };
    let event = CurrentEvent {
        event_id: row.event_id?,
        kind: event.kind,
        state_key: event.state_key,
    };

    Some((row.id, LeftOverEvent { left_over, event }))
}
