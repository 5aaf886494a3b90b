//! Snapshots: the set of member events in a room's state as one poll saw it, and what they repair.

use super::append::{Touched, append};
use super::batch::{Arrival, Batch, RoomBatch, Source};
use super::events::event;
use super::{Error, Tx};
use crate::rtc::event::{Kind, RoomEvent};
use crate::rtc::id::hash;
use crate::rtc::member;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One look at the full state of a room.
#[derive(Debug, Clone)]
pub struct Look {
    /// Our clock when the question was sent, ms: what we learned since may be newer than the answer.
    pub asked_ms: i64,
    /// The ids of the member events in the state.
    pub members: BTreeSet<String>,
}

const NEWEST: &str = "select taken_ms, members from snapshots where room_id = $1 and vantage_id = $2
    order by taken_ms desc limit 1";
const SEEN_AGAIN: &str = "update snapshots set last_seen_ms = $4
    where room_id = $1 and vantage_id = $2 and taken_ms = $3";
const TAKE: &str = "insert into snapshots (room_id, vantage_id, taken_ms, last_seen_ms, members)
    values ($1, $2, $3, $3, $4) on conflict (room_id, vantage_id, taken_ms) do update
    set members = excluded.members, last_seen_ms = excluded.last_seen_ms";

/// Records a snapshot: a new row only when the set changed. Members that are in the state no more,
/// without an event that says so, are ended.
pub(super) async fn record(
    tx: &mut Tx,
    batch: &Batch,
    room_id: &str,
    look: &Look,
    touched: &mut Touched,
) -> Result<(), Error> {
    let members = look.members.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let query = sqlx::query_as(NEWEST).bind(room_id).bind(&batch.vantage_id);
    let newest: Option<(i64, String)> = query.fetch_optional(&mut **tx).await?;
    let again = newest.filter(|(_, known)| *known == members).map(|(taken, _)| taken);
    let query = sqlx::query(if again.is_some() { SEEN_AGAIN } else { TAKE }).bind(room_id).bind(&batch.vantage_id);
    let query = query.bind(again.unwrap_or(batch.seen_ms));
    let query = if again.is_some() { query.bind(batch.seen_ms) } else { query.bind(&members) };
    query.execute(&mut **tx).await?;
    vanished(tx, batch, room_id, look, touched).await
}

// The newest event of each chain that holds an open membership, and when we first knew it.
const OPEN: &str = "select e.* from events e
    where e.room_id = $1 and e.state_key is not null and e.event_id not like '~%'
    and e.chain in (select chain from memberships where room_id = $1 and until_ms > $2)";

/// State keys that vanished (a state reset, MATRIXRTC.md section 8, pitfall 3): a leave is appended, marked
/// as ours, so that derivation stays a matter of events alone.
async fn vanished(tx: &mut Tx, batch: &Batch, room_id: &str, look: &Look, touched: &mut Touched) -> Result<(), Error> {
    let rows = sqlx::query(OPEN).bind(room_id).bind(batch.seen_ms).fetch_all(&mut **tx).await?;
    let mut chains: std::collections::BTreeMap<String, Vec<RoomEvent>> = std::collections::BTreeMap::new();
    for row in &rows {
        let event = event(row)?;
        if let Ok(Some(chain)) = member::chain(&event) {
            chains.entry(chain).or_default().push(event);
        }
    }
    let mut room = RoomBatch::new(room_id, Source::Poll);
    for (chain, events) in chains {
        let in_state = events.iter().any(|event| look.members.contains(&event.event_id));
        // The answer may be older than what sync brought while we waited for it.
        let settled = events.iter().all(|event| event.received_ts.is_none_or(|received| received < look.asked_ms));
        let last = events.iter().max_by_key(|event| (event.time(), event.event_id.clone()));
        if let (false, true, Some(last)) = (in_state, settled, last) {
            room.arrivals.push(leave(&chain, last, batch.seen_ms));
        }
    }
    append(tx, batch, &room, touched).await
}

fn leave(chain: &str, last: &RoomEvent, seen_ms: i64) -> Arrival {
    let json: Value = json!({
        "event_id": format!("~{}", hash(&[chain, &seen_ms.to_string()], 12)),
        "type": last.kind, "state_key": last.state_key, "sender": last.sender, "origin_server_ts": seen_ms,
        "content": {}, "unsigned": {"callscope": "made by Callscope: this state key was gone from the room's state"},
    });
    let mut event = last.clone();
    json["event_id"].as_str().unwrap_or_default().clone_into(&mut event.event_id);
    event.content = json!({});
    event.origin_server_ts = seen_ms;
    event.received_ts = Some(seen_ms);
    event.replaces_state = None;
    event.redacted_ts = None;
    debug_assert_eq!(Kind::of(&event.kind), Kind::Member);
    Arrival { event, json: json.to_string(), in_timeline: false }
}
