//! Rings, declines and slot changes around a call.

use super::rings::{self, NearCalls, is_related};
use crate::rtc::related::{Related, RelatedKind, parse_related};
use crate::rtc::ring::{NearCall, RingOutcome, answerable_until_ms, is_rung, outcome_of_ring};
use crate::store::db::multi_row::MultiRow;
use crate::store::model::Call;
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Reader};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A ring is sent with the first join; tolerance for clocks, ms.
const BEFORE_MS: i64 = 60_000;
/// A decline may come a little after everybody has left, ms.
const AFTER_MS: i64 = 120_000;
const LIMIT: i64 = 500;

pub(in crate::store) const AROUND: &str = concat!(
    "select e.* from events e where e.room_id = $1 and ",
    is_related!("e"),
    " and e.origin_server_ts >= $2 and e.origin_server_ts <= $3
    order by e.origin_server_ts, e.event_id limit $4"
);

/// The events around one call, oldest first: the notifications that belong to it, their declines
/// and withdrawals, and the changes of the call's slot.
///
/// # Errors
/// When the database fails.
pub async fn related_of_call(store: &Reader, call: &Call) -> Result<Vec<Related>, Error> {
    read_related_around(
        store,
        &NearCall {
            id: call.id.clone(),
            slot_id: call.slot_id.clone(),
            started_ms: call.started_ms,
            until_ms: call.until_ms,
        },
        &call.room.room_id,
    )
    .await
}

/// The events around this call, oldest first: the notifications that belong to it, their declines
/// and withdrawals, and the changes of its slot. Only the first [`LIMIT`] events of that time are
/// looked at.
async fn read_related_around(
    store: &Reader,
    call: &NearCall,
    room_id: &str,
) -> Result<Vec<Related>, Error> {
    let query = sqlx::query(AROUND)
        .bind(room_id)
        .bind(call.started_ms.saturating_sub(BEFORE_MS))
        .bind(call.until_ms.saturating_add(AFTER_MS))
        .bind(LIMIT);
    let mut all: Vec<Related> = Vec::new();
    for row in query.fetch_all(&store.read).await? {
        all.extend(parse_related(&event_from_row(&row)?));
    }

    let referred = rings::calls_referred_to(store, all.iter()).await?;
    let near = NearCalls::read(store, room_id, all.iter()).await?;
    let mut found: Vec<Related> = Vec::new();
    for related in all {
        let is_ours = match related.what {
            RelatedKind::Ring | RelatedKind::Notification => {
                let its =
                    rings::find_call_of_ring(store, room_id, &related, &referred, &near).await?;
                its.is_some_and(|its| its.id == call.id)
            }
            // They are read in order, so a notification comes before its declines.
            RelatedKind::Decline => found
                .iter()
                .any(|known| Some(&known.event_id) == related.relates_to.as_ref()),
            RelatedKind::Withdrawal => found
                .iter()
                .any(|known| known.who == related.who && known.sticky_key == related.sticky_key),
            RelatedKind::SlotOpened | RelatedKind::SlotClosed => {
                related.slot_id.as_deref() == Some(&call.slot_id)
            }
        };

        if is_ours {
            found.push(related);
        }
    }

    Ok(found)
}

/// A ring of a call: who rang, and until when a join counts as an answer, ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingOfCall {
    pub who: String,
    pub answerable_until_ms: i64,
}

/// Rings are looked for until so long after the begin of a call, ms: who waits alone for longer has
/// rung before.
const RINGS_WITHIN_MS: i64 = 3_600_000;

// The notifications about the begin of each of these calls.
static BEGIN_RINGS: MultiRow = MultiRow::new(
    concat!(
        "select e.* from sessions s join events e on e.room_id = s.room_id
            and e.origin_server_ts >= s.started_ms - $1 and e.origin_server_ts <= s.started_ms + $2
            and ",
        is_related!("e"),
        " where s.id in ("
    ),
    "?",
    ") order by s.id, e.origin_server_ts limit 500",
);

/// The rings about the begin of these calls, by the id of their call: calls that did not ring are
/// missing.
///
/// # Errors
/// When the database fails.
pub async fn rings_of_calls(
    store: &Reader,
    ids: &[&str],
) -> Result<HashMap<String, Vec<RingOfCall>>, Error> {
    let mut by_room: BTreeMap<String, BTreeMap<String, Related>> = BTreeMap::new();
    let mut connection = store.read.acquire().await?;
    let rows = BEGIN_RINGS.read(
        &mut connection,
        ids,
        |query| query.bind(BEFORE_MS).bind(RINGS_WITHIN_MS),
        |query, id| query.bind(id.map(|id| (*id).to_owned())),
    );
    for row in rows.await? {
        let room_id: String = row.try_get("room_id")?;
        let event = event_from_row(&row)?;
        let rings = parse_related(&event)
            .into_iter()
            .filter(|one| one.what == RelatedKind::Ring);
        // The same event may be about the begin of two calls.
        let of_room = by_room.entry(room_id).or_default();
        of_room.extend(rings.map(|ring| (ring.event_id.clone(), ring)));
    }

    drop(connection);
    let asked: BTreeSet<&str> = ids.iter().copied().collect();
    let mut found: HashMap<String, Vec<RingOfCall>> = HashMap::new();
    for (room_id, rings) in by_room.iter().filter(|(_, rings)| !rings.is_empty()) {
        let referred = rings::calls_referred_to(store, rings.values()).await?;
        let near = NearCalls::read(store, room_id, rings.values()).await?;
        for ring in rings.values() {
            let its = rings::find_call_of_ring(store, room_id, ring, &referred, &near).await?;
            let Some(its) = its.filter(|its| asked.contains(its.id.as_str())) else {
                continue;
            };

            found.entry(its.id).or_default().push(RingOfCall {
                who: ring.who.clone(),
                answerable_until_ms: answerable_until_ms(ring),
            });
        }
    }

    Ok(found)
}

/// Somebody answered a ring after its call had ended, and so came into another call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateAnswer {
    pub ring_event_id: String,
    /// The call that had ended, and when, ms.
    pub ended_call_id: String,
    pub ended_ms: i64,
    /// The call of the late user, and when that user came, ms.
    pub late_call_id: String,
    pub user_id: String,
    pub name: Option<String>,
    pub came_ms: i64,
}

/// Maximum duration of a ring including the grace for somebody who answers at the last moment, ms.
const RING_MAX_MS: i64 = 150_000;

const BEFORE: &str =
    "select id, slot_id, started_ms, until_ms from sessions where room_id = $1 and slot_id = $2
    and started_ms < $3 and until_ms >= $4 and until_ms < $3 order by started_ms desc limit 4";
const AFTER: &str =
    "select id, slot_id, started_ms, until_ms from sessions where room_id = $1 and slot_id = $2
    and started_ms > $3 and started_ms <= $4 order by started_ms limit 4";
const FIRST_STAYS: &str = "select m.user_id, p.name, m.joined_ms, m.until_ms from memberships m
    left join people p on p.room_id = m.room_id and p.user_id = m.user_id
    where m.session_id = $1 and m.joined_ms <= $2 order by m.joined_ms, m.user_id limit 50";

/// The users who answered a ring after its call had ended, and so came into another call: of rings
/// of this call, if it is over at `now`, ms, and of earlier calls whose ring somebody in this call
/// answered.
///
/// # Errors
/// When the database fails.
pub async fn late_answers(store: &Reader, call: &Call, now: i64) -> Result<Vec<LateAnswer>, Error> {
    let room_id = &call.room.room_id;
    let own = NearCall {
        id: call.id.clone(),
        slot_id: call.slot_id.clone(),
        started_ms: call.started_ms,
        until_ms: call.until_ms,
    };

    let read = async |sql: &'static str, from: i64, to: i64| -> Result<Vec<NearCall>, Error> {
        let query = sqlx::query(sql)
            .bind(room_id)
            .bind(&call.slot_id)
            .bind(from)
            .bind(to);
        let rows = query.fetch_all(&store.read).await?;
        rows.iter().map(rings::near_call_from_row).collect()
    };

    let begun = call.started_ms;
    let before = read(BEFORE, begun, begun.saturating_sub(RING_MAX_MS)).await?;
    let mut pairs: Vec<(NearCall, NearCall)> = before
        .into_iter()
        .map(|ended| (ended, own.clone()))
        .collect();
    if call.until_ms <= now {
        let after = read(
            AFTER,
            call.until_ms,
            call.until_ms.saturating_add(RING_MAX_MS),
        )
        .await?;
        pairs.extend(after.into_iter().map(|late| (own.clone(), late)));
    }

    let mut found = Vec::new();
    for (ended, late) in pairs {
        found.extend(late_answers_between(store, room_id, &ended, &late).await?);
    }

    Ok(found)
}

/// For each ring of the call `ended` that nobody answered or declined: the first user who came to
/// the call `late` because of it. Rings that were over when `late` began are left out.
async fn late_answers_between(
    store: &Reader,
    room_id: &str,
    ended: &NearCall,
    late: &NearCall,
) -> Result<Vec<LateAnswer>, Error> {
    let related = read_related_around(store, ended, room_id).await?;
    let rings: Vec<&Related> = related
        .iter()
        .filter(|one| one.what == RelatedKind::Ring && answerable_until_ms(one) > late.started_ms)
        .collect();
    if rings.is_empty() {
        return Ok(Vec::new());
    }

    let at_latest = rings
        .iter()
        .map(|ring| answerable_until_ms(ring))
        .max()
        .unwrap_or(0);
    let stays = |id: &str| {
        sqlx::query_as(FIRST_STAYS)
            .bind(id.to_owned())
            .bind(at_latest)
            .fetch_all(&store.read)
    };

    let here: Vec<(String, Option<String>, i64, i64)> = stays(&ended.id).await?;
    let came: Vec<(String, Option<String>, i64, i64)> = stays(&late.id).await?;
    let mut found = Vec::new();
    for ring in rings {
        let stays = here
            .iter()
            .map(|(user, _, from, until)| (user.as_str(), *from, *until));
        let (outcome, _) = outcome_of_ring(ring, stays, &related, i64::MAX);
        if matches!(outcome, RingOutcome::Answered | RingOutcome::Declined) {
            continue;
        }

        let first = came.iter().find(|(user, _, joined_ms, _)| {
            is_rung(ring, user) && *joined_ms < answerable_until_ms(ring)
        });
        found.extend(first.map(|(user_id, name, came_ms, _)| LateAnswer {
            ring_event_id: ring.event_id.clone(),
            ended_call_id: ended.id.clone(),
            ended_ms: ended.until_ms,
            late_call_id: late.id.clone(),
            user_id: user_id.clone(),
            name: name.clone(),
            came_ms: *came_ms,
        }));
    }

    Ok(found)
}
