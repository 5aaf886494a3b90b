//! Limits how much one sender may add to one room in a span of time. No ordinary client comes near
//! the limit. If somebody floods a room, events up to the limit are stored; the others are counted
//! and not stored, so that other rooms are not delayed and the disk does not fill up.
//!
//! A sender may send [`BURST`] live events at once and [`A_SECOND`] per second after that. History
//! comes in portions of any size, so its limit is [`BURST`] events for each minute of the events'
//! own time. If one answer has more, the newest event of each state key comes first. A poll of the
//! whole state has no limit: it shows in the end who is there, and it is as large as the room's
//! state. So only intermediate states during a flood are lost.

use super::batch::RoomBatch;
use crate::rtc::event::{EventKind, RoomEvent};
use crate::rtc::words::Source;
use crate::store::derive::room_titles::room_name;
use crate::store::model::RoomName;
use crate::store::{Error, Reader, Tx, to_i64};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum events of one sender in one room that are stored at once, live or for one minute of
/// history.
pub const BURST: i64 = 3000;
/// Events that are allowed in addition per second.
pub const A_SECOND: i64 = 20;
/// Maximum number of senders and minutes in memory. Beyond it, those that used least are dropped.
const KNOWN_MOST: usize = 50_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// The sender whose events are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct LimitedSender {
    /// The responsible user. For a member event of the room it is the user that the event is about,
    /// because a moderator may remove thousands.
    user_id: String,
    /// Redactions count separately: a flood is no reason to keep content that was redacted.
    redacts: bool,
    /// The minute of history; `None` for live events.
    minute: Option<i64>,
}

impl LimitedSender {
    /// The sender as whose event this one counts.
    fn account_of_event(event: &RoomEvent, source: Source) -> Self {
        let is_member = event.kind == "m.room.member";
        let about = event.state_key.as_ref().filter(|_| is_member);
        let is_history = source == Source::Backfill;

        Self {
            user_id: about.unwrap_or(&event.sender).clone(),
            redacts: EventKind::of_event_type(&event.kind) == EventKind::Redaction,
            minute: is_history.then(|| event.origin_server_ts.div_euclid(MINUTE)),
        }
    }
}

/// How much of its limit an account has used, in thousandths of an event. It decreases with time.
#[derive(Debug, Clone, Copy, Default)]
struct UsedLimit {
    thousandths: i64,
    at_ms: i64,
}

impl UsedLimit {
    /// How much is used at `now`, ms, in thousandths of an event.
    fn at(self, now: i64) -> i64 {
        let since = (now - self.at_ms).max(0);
        (self.thousandths - since.saturating_mul(A_SECOND)).max(0)
    }
}

/// How much of their limits senders have used. It is in memory of the process that writes, and
/// starts empty. Cheap to clone: all clones share it.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct SenderLimits(
    Arc<Mutex<HashMap<String, HashMap<LimitedSender, UsedLimit>>>>,
);

impl SenderLimits {
    /// How many more events an account may add at `now`, ms. Negative if it has used more than its
    /// limit. A minute of history is in the past, so what was used of it does not decrease.
    fn left(&self, room_id: &str, account: &LimitedSender, now: i64) -> i64 {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = known.get(room_id).and_then(|room| room.get(account));
        let used = match (used, account.minute) {
            (Some(used), None) => used.at(now),
            (Some(used), Some(_)) => used.thousandths,
            (None, _) => 0,
        };

        BURST - used.div_euclid(1000)
    }

    /// Counts stored events as used at `now`, ms; the caller has committed them. If there are too
    /// many accounts in memory, all are dropped but those of live events that still have something
    /// used.
    fn count(&self, stored: StoredCounts, now: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (room_id, accounts) in stored.0 {
            let room = known.entry(room_id).or_default();
            for (account, events) in accounts {
                let used = room.entry(account.clone()).or_default();
                let before = if account.minute.is_none() {
                    used.at(now)
                } else {
                    used.thousandths
                };

                *used = UsedLimit {
                    thousandths: before.saturating_add(events.saturating_mul(1000)),
                    at_ms: now,
                };
            }
        }

        if known.values().map(HashMap::len).sum::<usize>() > KNOWN_MOST {
            for room in known.values_mut() {
                room.retain(|account, used| account.minute.is_none() && used.at(now) > 0);
            }

            known.retain(|_, room| !room.is_empty());
        }
    }
}

/// The limits while a batch is written: stored events count only after the commit.
#[derive(Debug)]
pub(in crate::store) struct Senders<'l> {
    limits: &'l SenderLimits,
    stored: StoredCounts,
}

impl<'l> Senders<'l> {
    /// The limits for one batch, of which nothing is stored yet.
    pub fn new(limits: &'l SenderLimits) -> Self {
        let stored = StoredCounts::default();
        Self { limits, stored }
    }

    /// Which arrivals of a batch are stored within the limits: see [`choose_arrivals`].
    pub fn choose(&self, room: &RoomBatch, now: i64) -> Option<(HashSet<usize>, SetAside)> {
        choose_arrivals(self.limits, room, now)
    }

    /// Counts events of a room that were stored.
    pub fn record_batch<'a>(
        &mut self,
        room: &RoomBatch,
        events: impl Iterator<Item = &'a RoomEvent>,
    ) {
        self.stored.record_events(room, events);
    }

    /// Counts what was stored as used, because the batch was committed.
    pub fn committed(self, now: i64) {
        self.limits.count(self.stored, now);
    }
}

/// The number of stored events, by room and account.
#[derive(Debug, Clone, Default)]
struct StoredCounts(BTreeMap<String, BTreeMap<LimitedSender, i64>>);

impl StoredCounts {
    /// Counts events of a room that were stored, each for its account, unless the batch has no
    /// limit.
    fn record_events<'a>(&mut self, room: &RoomBatch, events: impl Iterator<Item = &'a RoomEvent>) {
        if has_no_limit(room) {
            return;
        }

        let accounts = self.0.entry(room.room_id.clone()).or_default();

        for event in events {
            *accounts
                .entry(LimitedSender::account_of_event(event, room.source))
                .or_default() += 1;
        }
    }
}

/// Is it a poll of the whole state? It has no limit, because it is as large as the room's state.
fn has_no_limit(room: &RoomBatch) -> bool {
    room.snapshot.is_some()
}

/// The events of a batch that are not stored: their number by sender and by the hour in which they
/// came or, for history, happened.
pub(super) type SetAside = BTreeMap<(String, i64), i64>;

/// Which arrivals of the batch are stored at `now`, ms, as indices into `room.arrivals`, and the
/// counts of those that are not. `None` if all are stored. Nothing is counted as used yet.
fn choose_arrivals(
    limits: &SenderLimits,
    room: &RoomBatch,
    now: i64,
) -> Option<(HashSet<usize>, SetAside)> {
    if has_no_limit(room) {
        return None;
    }

    let mut by_account: HashMap<LimitedSender, Vec<usize>> = HashMap::new();
    for (at, arrival) in room.arrivals.iter().enumerate() {
        by_account
            .entry(LimitedSender::account_of_event(&arrival.event, room.source))
            .or_default()
            .push(at);
    }

    // Only the accounts whose events do not all fit.
    let left = |account: &LimitedSender| limits.left(&room.room_id, account, now).max(0);
    by_account.retain(|account, indices| to_i64(indices.len()) > left(account));
    if by_account.is_empty() {
        return None;
    }

    let mut stored: HashSet<usize> = (0..room.arrivals.len()).collect();
    let mut aside = SetAside::new();
    for (account, indices) in by_account {
        let hour = account
            .minute
            .map_or(now.div_euclid(HOUR), |minute| minute.div_euclid(60));
        let most = usize::try_from(left(&account)).unwrap_or(0);
        let dropped = newest_first(room, indices).split_off(most);
        *aside.entry((account.user_id, hour)).or_default() += to_i64(dropped.len());
        for at in dropped {
            stored.remove(&at);
        }
    }

    Some((stored, aside))
}

/// These arrivals in the order in which they are stored while there is room: first the last event
/// of each state key, then all others, each part newest first. The arrivals are indices into
/// `room.arrivals`.
fn newest_first(room: &RoomBatch, mut indices: Vec<usize>) -> Vec<usize> {
    indices.sort_by_key(|&at| std::cmp::Reverse((room.arrivals[at].event.time(), at)));
    let mut known: HashSet<(&str, Option<&str>)> = HashSet::new();
    let (mut last, earlier): (Vec<usize>, Vec<usize>) = indices.into_iter().partition(|&at| {
        let event = &room.arrivals[at].event;
        known.insert((&event.kind, event.state_key.as_deref()))
    });
    last.extend(earlier);

    last
}

const NOTE: &str = "insert into set_aside (room_id, sender, hour, events) values ($1, $2, $3, $4)
    on conflict (room_id, sender, hour) do update set events = set_aside.events + excluded.events";

/// Adds these to the counts of events that were set aside, by sender and hour.
pub(in crate::store) async fn record_set_aside(
    tx: &mut Tx,
    room_id: &str,
    aside: &SetAside,
) -> Result<(), Error> {
    for ((sender, hour), events) in aside {
        sqlx::query(NOTE)
            .bind(room_id)
            .bind(sender)
            .bind(hour)
            .bind(events)
            .execute(&mut **tx)
            .await?;
    }

    Ok(())
}

/// A sender who sent more into a room than is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flood {
    pub room: RoomName,
    pub user_id: String,
    /// Events that were not stored. An event that came twice counts twice, because it cannot be
    /// recognised.
    pub events: i64,
    /// The hours of the flood: from the start of the first to the end of the last, ms.
    pub from_ms: i64,
    pub until_ms: i64,
}

macro_rules! floods {
    ($filter:literal) => {
        concat!(
            "select ",
            room_name!(),
            ", a.sender, cast(sum(a.events) as bigint) as events,
            min(a.hour) as first, max(a.hour) as last
            from set_aside a join rooms r on r.room_id = a.room_id where ",
            $filter,
            " group by r.room_id, r.name, r.alias, a.sender order by max(a.hour) desc,
                sum(a.events) desc, a.sender limit $2"
        )
    };
}
const OF_ROOM: &str = floods!("a.room_id = $1");
const SINCE: &str = floods!("a.hour >= $1");

/// A flood from its row, which has the first and the last hour, counted from 1970.
fn flood_from_row(row: &AnyRow) -> Result<Flood, Error> {
    let (first, last): (i64, i64) = (row.try_get("first")?, row.try_get("last")?);

    Ok(Flood {
        room: RoomName::from_row(row)?,
        user_id: row.try_get("sender")?,
        events: row.try_get("events")?,
        from_ms: first * HOUR,
        until_ms: (last + 1) * HOUR,
    })
}

/// The senders who sent more into a room than is stored, the last first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_floods_of_room(
    store: &Reader,
    room_id: &str,
    limit: i64,
) -> Result<Vec<Flood>, Error> {
    let query = sqlx::query(OF_ROOM).bind(room_id).bind(limit);
    let rows = query.fetch_all(&store.read).await?;

    rows.iter().map(flood_from_row).collect()
}

/// The senders who sent more into any room than is stored, since the hour of `from_ms`; the last
/// first, at most `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_floods_since(
    store: &Reader,
    from_ms: i64,
    limit: i64,
) -> Result<Vec<Flood>, Error> {
    let query = sqlx::query(SINCE)
        .bind(from_ms.div_euclid(HOUR))
        .bind(limit);
    let rows = query.fetch_all(&store.read).await?;

    rows.iter().map(flood_from_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ingest::batch::Arrival;
    use serde_json::json;

    const NOW: i64 = 1_700_000_000_000;

    fn arrival(at: i64, sender: &str, kind: &str, key: &str) -> Arrival {
        let json = json!({"event_id": format!("${at}{sender}{key}"), "type": kind, "sender": sender,
            "state_key": key,
            "origin_server_ts": NOW + at, "content": {}});

        Arrival {
            json: json.to_string(),
            event: RoomEvent::from_json(&json, None).unwrap().into(),
            in_timeline: true,
        }
    }

    fn room(source: Source, events: i64, key: impl Fn(i64) -> String) -> RoomBatch {
        let arrivals = (0..events).map(|at| arrival(at, "@a:h", "m.call.member", &key(at)));
        RoomBatch {
            arrivals: arrivals.collect(),
            ..RoomBatch::new("!r:h", source)
        }
    }

    fn store_all(limits: &SenderLimits, room: &RoomBatch, chosen: &HashSet<usize>, now: i64) {
        let mut stored = StoredCounts::default();
        let events = chosen.iter().map(|&at| room.arrivals[at].event.as_ref());
        stored.record_events(room, events);
        limits.count(stored, now);
    }

    #[test]
    fn a_flood_is_stored_up_to_a_limit_and_then_by_the_second() {
        let limits = SenderLimits::default();
        let flood = room(Source::Sync, 2 * BURST, |at| at.to_string());
        let (stored, aside) = choose_arrivals(&limits, &flood, NOW).unwrap();
        let hour = NOW / HOUR;
        assert_eq!(
            (to_i64(stored.len()), aside),
            (BURST, [(("@a:h".to_owned(), hour), BURST)].into())
        );
        assert!(
            choose_arrivals(&limits, &flood, NOW).is_some_and(|(again, _)| again == stored),
            "nothing is used before it is committed"
        );
        store_all(&limits, &flood, &stored, NOW);
        let (stored, _) = choose_arrivals(&limits, &flood, NOW + 10_000).unwrap();
        assert_eq!(to_i64(stored.len()), 10 * A_SECOND);
        let (stored, _) = choose_arrivals(&limits, &flood, NOW + 1_000_000).unwrap();
        assert_eq!(to_i64(stored.len()), BURST, "it is like new after a while");
    }

    #[test]
    fn the_newest_of_each_key_come_first() {
        let limits = SenderLimits::default();
        let flood = room(Source::Sync, 2 * BURST, |at| {
            if at < 5 {
                format!("early {at}")
            } else {
                "same".to_owned()
            }
        });
        let (stored, _) = choose_arrivals(&limits, &flood, NOW).unwrap();
        assert!((0..5).all(|at| stored.contains(&at)));
        let last = usize::try_from(2 * BURST - 1).unwrap();
        assert!(stored.contains(&last) && !stored.contains(&5));
    }

    #[test]
    fn what_a_client_does_and_what_a_moderator_does_is_no_flood() {
        let limits = SenderLimits::default();
        // A client that sends 16 events a second for ten minutes.
        for second in 0..600 {
            let some = room(Source::Sync, 16, |_| "k".to_owned());
            assert!(choose_arrivals(&limits, &some, NOW + second * 1000).is_none());
            let all = (0..16).collect();
            store_all(&limits, &some, &all, NOW + second * 1000);
        }

        let mut kicks = RoomBatch::new("!r:h", Source::Sync);
        let kick = |at| arrival(at, "@mod:h", "m.room.member", &format!("@{at}:h"));
        kicks.arrivals = (0..2 * BURST).map(kick).collect();
        assert!(choose_arrivals(&limits, &kicks, NOW).is_none());
        // A year of history in one answer.
        let mut history = room(Source::Backfill, 2 * BURST, |_| "k".to_owned());
        for (at, arrival) in history.arrivals.iter_mut().enumerate() {
            Arc::make_mut(&mut arrival.event).origin_server_ts = NOW - to_i64(at) * MINUTE;
        }

        assert!(choose_arrivals(&limits, &history, NOW).is_none());
        let minute = room(Source::Backfill, 2 * BURST, |at| at.to_string());
        assert!(choose_arrivals(&limits, &minute, NOW).is_some());
        let mut look = room(Source::Poll, 2 * BURST, |at| at.to_string());
        look.snapshot = Some(crate::store::ingest::batch::StateSnapshot {
            asked_ms: NOW,
            members: std::collections::BTreeSet::new(),
            people: std::collections::BTreeSet::new(),
        });
        assert!(
            choose_arrivals(&limits, &look, NOW).is_none(),
            "what the state holds counts"
        );
    }
}
