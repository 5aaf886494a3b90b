//! Rings of a span of time and their outcomes: of all rooms, of one room, or by the people of one
//! homeserver.
//!
//! They are computed when asked, from the events and the stays around each ring: at most a number
//! of the newest, with a few reads for each.

use crate::rtc::coverage::Span;
use crate::rtc::related::{Related, RelatedKind, parse_related};
use crate::rtc::ring::{
    NearCall, OFF_MS, RingOutcome, answer_span_ms, answerable_until_ms, attachable_span_ms,
    call_of_ring, is_rung, outcome_of_ring,
};
use crate::store::db::multi_row::MultiRow;
use crate::store::stats::scope::Scope;
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Reader, escape_for_like};
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeSet, HashMap};
use utoipa::ToSchema;

/// Rings of a span of time and their outcomes. The first that applies: a person who was rung joined
/// the call; somebody declined; the caller withdrew it; nobody did anything while it rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
#[schema(as = RingFacts)]
pub struct RingCounts {
    pub sent: i64,
    pub answered: i64,
    pub declined: i64,
    /// Taken back by the caller before anybody came.
    pub withdrawn: i64,
    pub missed: i64,
    /// Not over yet.
    pub ringing: i64,
    /// Notifications that do not ring.
    pub silent: i64,
    /// Half of the answered ones were answered within this time.
    pub usual_answer_ms: Option<i64>,
    /// False where there were more: then these are the newest.
    pub whole: bool,
}

/// Rings, declines and slot changes, whose times are in an index of the room. `SQLite` uses that
/// index only if a statement has exactly the list of kinds of the index. SQL over an event.
macro_rules! is_related {
    ($event:literal) => {
        concat!(
            $event,
            ".chain is null and ",
            $event,
            ".kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification',
                'org.matrix.msc4075.call.notify',
                'm.call.notify', 'org.matrix.msc4310.rtc.decline', 'm.rtc.decline',
                'org.matrix.msc4143.rtc.slot',
                'm.rtc.slot')"
        )
    };
}
pub(super) use is_related;

// This list of kinds is that of the index over all rooms.
macro_rules! rings {
    ($filter:expr) => {
        concat!(
            "select e.* from events e where e.chain is null
                and e.kind in ('org.matrix.msc4075.rtc.notification',
                'm.rtc.notification', 'org.matrix.msc4075.call.notify', 'm.call.notify')
            and e.origin_server_ts >= $1 and e.origin_server_ts < $2",
            $filter,
            " order by e.origin_server_ts desc limit $3"
        )
    };
}
pub(super) const RINGS: [&str; 3] = [
    rings!(""),
    rings!(concat!(" and e.room_id = $4 and ", is_related!("e"))),
    rings!(" and e.sender like $4 escape '!'"),
];

// The call of the last stay that had begun under the member key when the event was sent.
static REFERRED: MultiRow = MultiRow::new(
    "select e.event_id, s.id, s.slot_id, s.started_ms, s.until_ms from events e
        join sessions s on s.id =
        (select m.session_id from memberships m where m.room_id = e.room_id and m.chain = e.chain
            and m.opened_ms <= e.time_ms order by m.opened_ms desc limit 1)
    where e.event_id in (",
    "?",
    ")",
);

/// By the id of a member event: its call.
pub(super) type ReferredCalls = HashMap<String, NearCall>;

/// The calls of the member events that these rings refer to, by event id. Events of `rings` that
/// are no notifications are skipped.
pub(super) async fn calls_referred_to(
    store: &Reader,
    rings: impl Iterator<Item = &Related>,
) -> Result<ReferredCalls, Error> {
    let ids: BTreeSet<&str> = rings
        .filter(|ring| matches!(ring.what, RelatedKind::Ring | RelatedKind::Notification))
        .filter_map(|ring| ring.relates_to.as_deref())
        .collect();
    let ids: Vec<&str> = ids.into_iter().collect();
    let mut connection = store.read.acquire().await?;
    let mut found = ReferredCalls::new();
    for row in REFERRED.read_by_ids(&mut connection, &ids).await? {
        found.insert(row.try_get("event_id")?, near_call_from_row(&row)?);
    }

    Ok(found)
}

const NEAR: &str = "select id, slot_id, started_ms, until_ms from sessions where room_id = $1
    and started_ms <= $2 order by started_ms desc, id desc limit 20";
const BEGUN: &str = "select id, slot_id, started_ms, until_ms from sessions where room_id = $1
    and started_ms > $2 and started_ms <= $3 order by started_ms desc, id desc limit $4";
/// Maximum calls looked at for one ring, and maximum calls read for all rings together.
const NEAR_MOST: usize = 20;
const BEGUN_MOST: usize = 2000;

pub(super) fn near_call_from_row(row: &AnyRow) -> Result<NearCall, Error> {
    Ok(NearCall {
        id: row.try_get("id")?,
        slot_id: row.try_get("slot_id")?,
        started_ms: row.try_get("started_ms")?,
        until_ms: row.try_get("until_ms")?,
    })
}

/// The calls of a room around rings, read once for all of them.
#[derive(Debug, Default)]
pub(super) struct NearCalls {
    /// The last to begin first.
    calls: Vec<NearCall>,
    /// Not all calls were read, because too many began: earlier rings are looked up one by one.
    is_cut: bool,
}

impl NearCalls {
    /// Reads the calls around these rings, which must be of this room. Events that are no
    /// notifications are skipped.
    pub(in crate::store) async fn read<'a>(
        store: &Reader,
        room_id: &str,
        rings: impl Iterator<Item = &'a Related>,
    ) -> Result<Self, Error> {
        let is_ring =
            |ring: &&Related| matches!(ring.what, RelatedKind::Ring | RelatedKind::Notification);
        let times: Vec<i64> = rings
            .filter(is_ring)
            .map(|ring| attachable_span_ms(ring).0)
            .collect();
        let (Some(first_ms), Some(last_ms)) = (times.iter().min(), times.iter().max()) else {
            return Ok(Self::default());
        };

        let begun = sqlx::query(BEGUN)
            .bind(room_id)
            .bind(first_ms)
            .bind(last_ms)
            .bind(crate::store::to_i64(BEGUN_MOST));
        let mut rows = begun.fetch_all(&store.read).await?;
        let is_cut = rows.len() >= BEGUN_MOST;
        if !is_cut {
            rows.extend(rows_before(store, room_id, *first_ms).await?);
        }

        let calls: Result<Vec<NearCall>, Error> = rows.iter().map(near_call_from_row).collect();

        Ok(Self {
            calls: calls?,
            is_cut,
        })
    }

    /// The last calls that had begun by this time, ms, the last one first, at most [`NEAR_MOST`].
    /// The time must be that of one of the rings that these were read for. `None` if not all of
    /// them were read, so that they must be asked for.
    fn begun_by(&self, begun_by_ms: i64) -> Option<&[NearCall]> {
        let later = |call: &NearCall| call.started_ms > begun_by_ms;
        let first = self.calls.partition_point(later);
        let rest = self.calls.get(first..).unwrap_or_default();
        let near = rest.get(..NEAR_MOST);

        match near {
            Some(near) => Some(near),
            None if self.is_cut => None,
            None => Some(rest),
        }
    }
}

/// The rows of the last calls of a room that had begun by this time, ms, the last one first, at
/// most [`NEAR_MOST`].
async fn rows_before(
    store: &Reader,
    room_id: &str,
    begun_by_ms: i64,
) -> Result<Vec<AnyRow>, Error> {
    let query = sqlx::query(NEAR).bind(room_id).bind(begun_by_ms);
    Ok(query.fetch_all(&store.read).await?)
}

/// The call that a ring belongs to; `None` if there is none. `referred` has the calls of the events
/// that rings refer to, `near` the calls of the room around its rings.
pub(super) async fn find_call_of_ring(
    store: &Reader,
    room_id: &str,
    ring: &Related,
    referred: &ReferredCalls,
    near: &NearCalls,
) -> Result<Option<NearCall>, Error> {
    let refers_to = ring.relates_to.as_ref();
    let its = refers_to.and_then(|id| referred.get(id));
    if let Some(call) = call_of_ring(ring, its, &[]) {
        return Ok(Some(call.clone()));
    }

    // A ring that refers to something else, or to an unknown event, belongs to no call here.
    if refers_to.is_some() && ring.slot_id.is_none() {
        return Ok(None);
    }

    let (begun_by, ended_after) = attachable_span_ms(ring);
    let own: Vec<NearCall>;
    let near = if let Some(near) = near.begun_by(begun_by) {
        near
    } else {
        let rows = rows_before(store, room_id, begun_by).await?;
        own = rows
            .iter()
            .map(near_call_from_row)
            .collect::<Result<_, _>>()?;
        &own
    };

    let is_near = |call: &&NearCall| call.until_ms >= ended_after;
    let near: Vec<NearCall> = near.iter().filter(is_near).cloned().collect();

    Ok(call_of_ring(ring, None, &near).cloned())
}

// Users who came to the call while it rang. The caller is left out: a caller does not answer the
// own ring.
const CAME: &str = "select m.user_id, m.joined_ms, m.until_ms from memberships m
    where m.session_id = $1 and m.joined_ms >= $2 and m.joined_ms < $3 and m.until_ms > m.joined_ms
    and m.user_id <> $4 order by m.joined_ms limit $5";
/// Maximum stays of one call that are read for all rings of a group. If there are more, each ring
/// is looked up separately.
const CAME_MOST: usize = 5000;
// Declines, and notifications that withdraw another one.
pub(super) const ANSWERS: &str = concat!(
    "select e.* from events e where e.room_id = $1 and ",
    is_related!("e"),
    " and e.kind in ('org.matrix.msc4310.rtc.decline', 'm.rtc.decline',
        'org.matrix.msc4075.rtc.notification',
        'm.rtc.notification')
    and e.origin_server_ts >= $2 and e.origin_server_ts < $3 order by e.origin_server_ts,
    e.event_id limit $4"
);
/// Maximum answers looked at for one ring, and for a group of rings that may share answers.
const ANSWERS_MOST: usize = 500;
const ANSWERS_TOGETHER_MOST: usize = 10_000;

/// Rings of one room whose spans for answers overlap, because each may have been answered while the
/// next rang. Their answers are read once, not for each ring.
struct RingGroup<'a> {
    room_id: &'a str,
    /// The span in which answers are looked for, ms.
    from_ms: i64,
    to_ms: i64,
    rings: Vec<&'a Related>,
}

/// The span of time in which answers to a ring can have been sent.
fn answer_span(ring: &Related) -> Span {
    Span {
        from: ring.at_ms.saturating_sub(OFF_MS),
        to: answerable_until_ms(ring).saturating_add(OFF_MS),
    }
}

/// The rings of each room (its id is the first of each pair) in groups whose spans for answers
/// overlap. The rings need no order. Notifications that do not ring are left out.
fn group_rings(rings: &[(String, Related)]) -> Vec<RingGroup<'_>> {
    let mut in_order: Vec<&(String, Related)> = rings
        .iter()
        .filter(|(_, ring)| ring.what == RelatedKind::Ring)
        .collect();
    in_order.sort_by_key(|(room_id, ring)| (room_id, ring.at_ms));
    let mut groups: Vec<RingGroup<'_>> = Vec::new();
    for (room_id, ring) in in_order {
        let span = answer_span(ring);
        let last = groups
            .last_mut()
            .filter(|last| last.room_id == room_id && last.to_ms >= span.from);
        match last {
            Some(last) => {
                last.to_ms = last.to_ms.max(span.to);
                last.rings.push(ring);
            }
            None => groups.push(RingGroup {
                room_id,
                from_ms: span.from,
                to_ms: span.to,
                rings: vec![ring],
            }),
        }
    }

    groups
}

/// Answers in the order in which they were sent, and the time of each, ms.
#[derive(Debug, Default)]
struct Answers {
    sent_ms: Vec<i64>,
    related: Vec<Related>,
    /// If too many were sent: only those before this time were read, ms. For rings that may have
    /// been answered later, the answers are read ring by ring.
    read_to_ms: Option<i64>,
}

/// The possible answers to the rings of a group, at most `together_most`, and at most
/// [`ANSWERS_MOST`] for each ring on average.
async fn read_answers_of_group(
    store: &Reader,
    together: &RingGroup<'_>,
    together_most: usize,
) -> Result<Answers, Error> {
    let most = ANSWERS_MOST.saturating_mul(together.rings.len());
    let span = Span {
        from: together.from_ms,
        to: together.to_ms,
    };

    read_answers(store, together.room_id, span, most.min(together_most)).await
}

/// The declines and withdrawals that were sent in a room within a span, the first ones, of at most
/// `most` events.
async fn read_answers(
    store: &Reader,
    room_id: &str,
    span: Span,
    most: usize,
) -> Result<Answers, Error> {
    let query = sqlx::query(ANSWERS)
        .bind(room_id)
        .bind(span.from)
        .bind(span.to)
        .bind(crate::store::to_i64(most));
    let rows = query.fetch_all(&store.read).await?;
    let mut found = Answers::default();
    if rows.len() >= most
        && let Some(last) = rows.last()
    {
        found.read_to_ms = Some(event_from_row(last)?.origin_server_ts);
    }

    for row in rows {
        let event = event_from_row(&row)?;
        let is_answer =
            |one: &Related| matches!(one.what, RelatedKind::Decline | RelatedKind::Withdrawal);
        if let Some(answer) = parse_related(&event).filter(is_answer) {
            found.sent_ms.push(event.origin_server_ts);
            found.related.push(answer);
        }
    }

    Ok(found)
}

impl Answers {
    /// The possible answers to this ring; `None` if not all of them were read.
    fn of_ring(&self, ring: &Related) -> Option<&[Related]> {
        let span = answer_span(ring);
        if self
            .read_to_ms
            .is_some_and(|read_to_ms| span.to > read_to_ms)
        {
            return None;
        }

        Some(self.within(span))
    }

    /// The answers that were sent within this span, at most as many as are looked at for one ring.
    fn within(&self, span: Span) -> &[Related] {
        let first = self.sent_ms.partition_point(|ms| *ms < span.from);
        let upto = self.sent_ms.partition_point(|ms| *ms < span.to);
        let most = upto.min(first.saturating_add(ANSWERS_MOST));

        self.related.get(first..most).unwrap_or_default()
    }
}

/// Counts the newest `limit` notifications of a span by their outcome, as known at `now`, ms. Those
/// of a server are the ones that its people sent.
///
/// # Errors
/// When the database fails.
pub async fn rings_within(
    store: &Reader,
    scope: Scope<'_>,
    span: Span,
    now: i64,
    limit: i64,
) -> Result<RingCounts, Error> {
    let (sql, whose) = match scope {
        Scope::All => (RINGS[0], None),
        Scope::Room(room_id) => (RINGS[1], Some(room_id.to_owned())),
        Scope::Server(server) => (RINGS[2], Some(format!("%:{}", escape_for_like(server)))),
    };

    let query = sqlx::query(sql).bind(span.from).bind(span.to).bind(limit);
    let query = if let Some(whose) = whose {
        query.bind(whose)
    } else {
        query
    };

    let rows = query.fetch_all(&store.read).await?;
    let mut found = RingCounts {
        whole: crate::store::to_i64(rows.len()) < limit,
        ..RingCounts::default()
    };

    let mut waits: Vec<i64> = Vec::new();
    let mut rings = rings_from_rows(&rows)?;

    if let Scope::Server(server) = scope {
        rings.retain(|(_, ring)| crate::rtc::id::server_of(&ring.who) == server);
    }

    let is_silent = |ring: &&(String, Related)| ring.1.what == RelatedKind::Notification;
    found.silent = crate::store::to_i64(rings.iter().filter(is_silent).count());
    for one in outcomes_of_rings(store, &rings, now).await? {
        found.sent += 1;
        waits.extend(one.answered_ms.map(|ms| ms - one.ring.at_ms));
        *match one.outcome {
            RingOutcome::Answered => &mut found.answered,
            RingOutcome::Declined => &mut found.declined,
            RingOutcome::Withdrawn => &mut found.withdrawn,
            RingOutcome::Missed => &mut found.missed,
            RingOutcome::Ringing => &mut found.ringing,
        } += 1;
    }

    waits.sort_unstable();
    found.usual_answer_ms = waits.get(waits.len() / 2).copied();

    Ok(found)
}

/// A ring that nobody answered. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissedRing {
    pub event_id: String,
    pub room_id: String,
    pub sender: String,
    pub call_id: Option<String>,
    /// From when on nobody could answer it any more.
    pub missed_ms: i64,
}

/// The rings that were sent from `from` to `now`, ms, and missed, among the newest `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_missed_rings(
    store: &Reader,
    from: i64,
    now: i64,
    limit: i64,
) -> Result<Vec<MissedRing>, Error> {
    let query = sqlx::query(RINGS[0]).bind(from).bind(now).bind(limit);
    let rings = rings_from_rows(&query.fetch_all(&store.read).await?)?;
    let outcomes = outcomes_of_rings(store, &rings, now).await?;
    let missed = outcomes
        .into_iter()
        .filter(|one| one.outcome == RingOutcome::Missed);

    Ok(missed
        .map(|one| MissedRing {
            event_id: one.ring.event_id.clone(),
            room_id: one.room_id.to_owned(),
            sender: one.ring.who.clone(),
            call_id: one.call_id,
            missed_ms: answerable_until_ms(one.ring).min(now),
        })
        .collect())
}

/// The notifications in these rows, each with its room.
fn rings_from_rows(rows: &[AnyRow]) -> Result<Vec<(String, Related)>, Error> {
    let mut rings: Vec<(String, Related)> = Vec::with_capacity(rows.len());
    for row in rows {
        let room_id: String = row.try_get("room_id")?;
        rings.extend(parse_related(&event_from_row(row)?).map(|ring| (room_id, ring)));
    }

    Ok(rings)
}

/// What became of one ring.
struct RingWithOutcome<'a> {
    room_id: &'a str,
    ring: &'a Related,
    /// The id of the call that it rang for, if it is known.
    call_id: Option<String>,
    outcome: RingOutcome,
    answered_ms: Option<i64>,
}

/// What became of each of these rings, as known at `now`, ms; notifications that do not ring are
/// left out.
async fn outcomes_of_rings<'a>(
    store: &Reader,
    rings: &'a [(String, Related)],
    now: i64,
) -> Result<Vec<RingWithOutcome<'a>>, Error> {
    let mut outcomes = Vec::with_capacity(rings.len());
    let referred = calls_referred_to(store, rings.iter().map(|(_, ring)| ring)).await?;
    for together in group_rings(rings) {
        let (room_id, rings) = (together.room_id, &together.rings);
        let near = NearCalls::read(store, room_id, rings.iter().copied()).await?;
        let answers = read_answers_of_group(store, &together, ANSWERS_TOGETHER_MOST).await?;
        let mut with_calls = Vec::with_capacity(rings.len());
        for ring in rings {
            let call = find_call_of_ring(store, room_id, ring, &referred, &near).await?;
            with_calls.push((*ring, call));
        }

        let came = CameByCall::read(store, &with_calls).await?;
        for (ring, call) in &with_calls {
            let own: Answers;
            let answers = if let Some(answers) = answers.of_ring(ring) {
                answers
            } else {
                let span = answer_span(ring);
                own = read_answers(store, room_id, span, ANSWERS_MOST).await?;
                own.within(span)
            };
            let became = came.outcome(store, ring, call.as_ref(), answers, now);
            let (outcome, answered_ms) = became.await?;
            outcomes.push(RingWithOutcome {
                room_id,
                ring,
                call_id: call.as_ref().map(|call| call.id.clone()),
                outcome,
                answered_ms,
            });
        }
    }

    Ok(outcomes)
}

// Rings that the person sent, or that may be for them.
const OF_PERSON: &str = rings!(
    " and (e.sender = $4 or e.room_id in (select r.room_id from room_members r
        where r.user_id = $4 and r.joined = 1)
        or e.room_id in (select m.room_id from memberships m where m.user_id = $4
            and m.until_ms > $1))"
);

/// A ring that a person sent or got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRing {
    pub room_id: String,
    pub at_ms: i64,
    /// Who rang.
    pub sender: String,
    /// The call that it rang for, if it is known.
    pub call_id: Option<String>,
    pub outcome: RingOutcome,
}

/// The rings of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonRings {
    /// The newest first.
    pub rings: Vec<PersonRing>,
    /// False if there were more: then these are among the newest.
    pub is_whole: bool,
}

/// The rings of a span that a person sent, or by which the person was rung, as known at `now`, ms,
/// among the newest `limit` of the person's rooms. Rings for everybody in a room count if the
/// person is in the room, or was in a call of it since the span began.
///
/// # Errors
/// When the database fails.
pub async fn rings_of_person(
    store: &Reader,
    user_id: &str,
    span: Span,
    now: i64,
    limit: i64,
) -> Result<PersonRings, Error> {
    let query = sqlx::query(OF_PERSON)
        .bind(span.from)
        .bind(span.to)
        .bind(limit)
        .bind(user_id);
    let rows = query.fetch_all(&store.read).await?;
    let mut rings = rings_from_rows(&rows)?;
    rings.retain(|(_, ring)| ring.who == user_id || is_rung(ring, user_id));
    let mut found: Vec<PersonRing> = outcomes_of_rings(store, &rings, now)
        .await?
        .into_iter()
        .map(|one| PersonRing {
            room_id: one.room_id.to_owned(),
            at_ms: one.ring.at_ms,
            sender: one.ring.who.clone(),
            call_id: one.call_id,
            outcome: one.outcome,
        })
        .collect();
    found.sort_by_key(|ring| std::cmp::Reverse(ring.at_ms));

    Ok(PersonRings {
        rings: found,
        is_whole: crate::store::to_i64(rows.len()) < limit,
    })
}

/// A stay of somebody who may have answered a ring.
struct AnsweringStay {
    user_id: String,
    from_ms: i64,
    until_ms: i64,
}

/// The users who came to the calls of some rings while they rang, by call in order of arrival;
/// `None` if there were too many.
#[derive(Default)]
struct CameByCall(HashMap<String, Option<Vec<AnsweringStay>>>);

/// The span in which a user who answered a ring can have come, ms.
fn came_span(ring: &Related) -> Span {
    let (from, to) = answer_span_ms(ring);
    Span { from, to }
}

impl CameByCall {
    /// Reads the users who came for these rings, each given with the call that it belongs to.
    async fn read(store: &Reader, rings: &[(&Related, Option<NearCall>)]) -> Result<Self, Error> {
        let mut by_call: HashMap<&str, Vec<&Related>> = HashMap::new();
        for (ring, call) in rings {
            if let Some(call) = call {
                by_call.entry(&call.id).or_default().push(ring);
            }
        }

        let mut found = Self::default();
        for (call_id, rings) in by_call {
            let spans = || rings.iter().map(|ring| came_span(ring));
            let span = Span {
                from: spans().map(|span| span.from).min().unwrap_or(0),
                to: spans().map(|span| span.to).max().unwrap_or(0),
            };

            let callers: BTreeSet<&str> = rings.iter().map(|ring| ring.who.as_str()).collect();
            // With several callers nobody is left out: each may have answered another one's ring.
            let caller = callers.first().filter(|_| callers.len() == 1);
            let caller = caller.copied().unwrap_or_default();
            let stays = came_to(store, call_id, span, caller, CAME_MOST + 1).await?;
            let stays = Some(stays).filter(|stays| stays.len() <= CAME_MOST);
            found.0.insert(call_id.to_owned(), stays);
        }

        Ok(found)
    }

    /// The outcome of a ring, and when it was answered, ms, if it was. `call` is the call that it
    /// belongs to, `answers` are the declines and withdrawals of its time. `answers` may also be
    /// those of other rings. The outcome is as of `now`, ms.
    async fn outcome(
        &self,
        store: &Reader,
        ring: &Related,
        call: Option<&NearCall>,
        answers: &[Related],
        now: i64,
    ) -> Result<(RingOutcome, Option<i64>), Error> {
        let span = came_span(ring);
        let own: Vec<AnsweringStay>;
        let stays = match call.and_then(|call| Some((call, self.0.get(&call.id)?))) {
            None => &[][..],
            Some((_, Some(stays))) => {
                let first = stays.partition_point(|stay| stay.from_ms < span.from);
                let upto = stays.partition_point(|stay| stay.from_ms < span.to);
                stays.get(first..upto).unwrap_or_default()
            }
            Some((call, None)) => {
                own = came_to(store, &call.id, span, &ring.who, CAME_MOST).await?;
                &own
            }
        };

        let stays = stays
            .iter()
            .map(|stay| (stay.user_id.as_str(), stay.from_ms, stay.until_ms));

        Ok(outcome_of_ring(ring, stays, answers, now))
    }
}

/// The stays of users who came to a call within a span, without those of the caller, in order of
/// arrival; at most `most`.
async fn came_to(
    store: &Reader,
    call_id: &str,
    span: Span,
    caller: &str,
    most: usize,
) -> Result<Vec<AnsweringStay>, Error> {
    let query = sqlx::query(CAME)
        .bind(call_id)
        .bind(span.from)
        .bind(span.to)
        .bind(caller)
        .bind(crate::store::to_i64(most));
    let stay = |row: &AnyRow| {
        Ok(AnsweringStay {
            user_id: row.try_get("user_id")?,
            from_ms: row.try_get("joined_ms")?,
            until_ms: row.try_get("until_ms")?,
        })
    };

    query
        .fetch_all(&store.read)
        .await?
        .iter()
        .map(stay)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::event::RoomEvent;
    use crate::rtc::fold::Rules;
    use crate::rtc::words::Source;
    use crate::store::ingest::batch::{Arrival, Batch, RoomBatch};
    use crate::store::ingest::write::write_batch;
    use crate::store::read::tests::{Bed, ROOM};

    fn ring(room_id: &str, at_ms: i64) -> (String, Related) {
        let ring = Related {
            what: RelatedKind::Ring,
            event_id: format!("$ring{at_ms}"),
            who: "@a:h".to_owned(),
            whom: Vec::new(),
            room: true,
            at_ms,
            lifetime_ms: Some(30_000),
            intent: None,
            relates_to: None,
            slot_id: None,
            sticky_key: None,
        };

        (room_id.to_owned(), ring)
    }

    #[test]
    fn rings_whose_answers_may_be_the_same_are_read_together() {
        let hour = 3_600_000;
        let mut rings: Vec<(String, Related)> =
            (0..100).rev().map(|at| ring("!r:h", at * 1000)).collect();
        rings.push(ring("!r:h", hour));
        rings.push(ring("!other:h", 1000));
        let groups = group_rings(&rings);
        let sizes: Vec<(&str, usize)> = groups
            .iter()
            .map(|group| (group.room_id, group.rings.len()))
            .collect();
        assert_eq!(sizes, [("!other:h", 1), ("!r:h", 100), ("!r:h", 1)]);
        assert_eq!(
            (groups[1].from_ms, groups[1].to_ms),
            (-OFF_MS, 99_000 + 30_000 + 30_000 + OFF_MS)
        );
    }

    #[tokio::test]
    async fn of_more_answers_than_are_read_together_each_ring_is_asked_for() {
        let bed = Bed::new().await;
        let begin = 1_700_000_000_000;
        let times = (0..10).map(|at| begin + at * 20_000);
        let rings: Vec<(String, Related)> = times.map(|at_ms| ring(ROOM, at_ms)).collect();
        let mut room = RoomBatch::new(ROOM, Source::Sync);
        for (_, ring) in &rings {
            let raw = serde_json::json!({
                "event_id": ring.event_id.replace("ring", "no"),
                "type": "org.matrix.msc4310.rtc.decline",
                "sender": "@b:h", "origin_server_ts": ring.at_ms + 500,
                "content": { "m.relates_to": { "rel_type": "m.reference",
                "event_id": ring.event_id } },
            });
            room.arrivals.push(Arrival {
                event: RoomEvent::from_json(&raw, Some(begin)).unwrap().into(),
                json: raw.to_string(),
                in_timeline: true,
            });
        }

        let batch = Batch {
            vantage_id: "v".to_owned(),
            seen_ms: begin,
            position: None,
            rooms: vec![room],
            invitations: Vec::new(),
        };
        write_batch(&bed.store, &Rules::default(), &batch)
            .await
            .unwrap();

        let together = group_rings(&rings);
        assert_eq!(together.len(), 1);
        let all = read_answers_of_group(&bed.store, &together[0], 1000)
            .await
            .unwrap();
        let cut = read_answers_of_group(&bed.store, &together[0], 7)
            .await
            .unwrap();
        let mut asked = 0;
        for (_, ring) in &rings {
            let span = answer_span(ring);
            let own = read_answers(&bed.store, ROOM, span, 1000).await.unwrap();
            let ids = |answers: &[Related]| -> Vec<String> {
                answers.iter().map(|one| one.event_id.clone()).collect()
            };
            let right = ids(own.within(span));
            assert!(right.contains(&ring.event_id.replace("ring", "no")));
            assert_eq!(all.of_ring(ring).map(ids), Some(right.clone()));
            match cut.of_ring(ring).map(ids) {
                Some(read) => assert_eq!(read, right),
                None => asked += 1,
            }
        }

        assert!((3..10).contains(&asked), "{asked}");
    }

    #[tokio::test]
    async fn the_calls_around_many_rings_are_those_around_each() {
        let bed = Bed::new().await;
        for at in 0..60_i64 {
            let started = at * 10_000;
            bed.call(&format!("c{at}"), started, started + 600_000)
                .await;
        }

        let rings: Vec<(String, Related)> = [0, 200_000, 290_500, 590_000, 5_000_000]
            .map(|at_ms| ring(ROOM, at_ms))
            .into();
        let all = rings.iter().map(|(_, ring)| ring);
        let near = NearCalls::read(&bed.store, ROOM, all).await.unwrap();
        let cut = NearCalls {
            calls: near.calls[..25].to_vec(),
            is_cut: true,
        };

        for (_, ring) in &rings {
            let own = NearCalls::read(&bed.store, ROOM, std::iter::once(ring));
            let own = own.await.unwrap();
            let begun_by = attachable_span_ms(ring).0;
            assert!(own.calls.len() <= NEAR_MOST);
            assert_eq!(near.begun_by(begun_by), Some(&own.calls[..]));
            let none = ReferredCalls::new();
            let mut found = Vec::new();
            for near in [&near, &cut] {
                let call = find_call_of_ring(&bed.store, ROOM, ring, &none, near).await;
                found.push(call.unwrap().map(|call| call.id));
            }

            assert_eq!(found[0], found[1], "beyond what was read each is asked for");
        }

        assert_eq!(cut.begun_by(60_000), None);
    }
}
