//! The rules of the rooms in which people of a server were in calls: may usual members join calls
//! there, and does the room take events of the server?

use crate::rtc::power::{JoinType, PowerLevels};
use crate::rtc::server_check::{PowerlessRoom, RoomAnswers};
use crate::store::ingest::access::knowledge_of_rooms;
use crate::store::stats::distributions::room_names;
use crate::store::{Error, Reader};
use std::collections::BTreeSet;

/// Maximum rooms whose rules are read.
const ROOMS_MAX: i64 = 200;

const ROOMS: &str = "select room_id from memberships where server = $1 and until_ms > $2
    group by room_id order by max(until_ms) desc, room_id limit $3";

/// What the rules of rooms say, at `now`, ms, for calls of people of a server; of the rooms in
/// which one of them was in a call after `since`, ms, the newest first. `None` if there is no such
/// room, or its rules are not known.
///
/// # Errors
/// When the database fails.
pub async fn rules_against_server(
    store: &Reader,
    server: &str,
    since: i64,
    now: i64,
) -> Result<Option<RoomAnswers>, Error> {
    let query = sqlx::query_scalar(ROOMS)
        .bind(server)
        .bind(since)
        .bind(ROOMS_MAX);
    let rooms: Vec<String> = query.fetch_all(&store.read).await?;
    let known = knowledge_of_rooms(store, &rooms.iter().cloned().collect()).await?;
    if known.is_empty() {
        return Ok(None);
    }

    let names = room_names(store, &rooms).await?;
    let name = |room_id: &str| {
        let known = names.get(room_id);
        let name = known.and_then(|room| room.name.clone().or_else(|| room.alias.clone()));
        name.unwrap_or_else(|| room_id.to_owned())
    };
    let mut answers = RoomAnswers {
        checked: known.len(),
        ..RoomAnswers::default()
    };
    for room_id in rooms.iter().collect::<BTreeSet<_>>() {
        let Some(room) = known.get(room_id) else {
            continue;
        };

        if room.rules.denied_since(server, now).is_some() {
            answers.denying.push(name(room_id));
        }

        let levels = room.rules.levels();
        let needed = levels.and_then(|levels| {
            let needed = |one: &JoinType| levels.needed(&one.event_type, one.is_state);
            room.types.iter().map(needed).min()
        });
        let usual = levels.map_or(0, PowerLevels::of_others);
        if let Some(needed) = needed.filter(|needed| *needed > usual) {
            answers.powerless.push(PowerlessRoom {
                name: name(room_id),
                needed,
            });
        }
    }

    Ok(Some(answers))
}
