//! The funnel's fold: the chains that new events touch, from stored events to stored memberships. Each is folded from
//! the checkpoint before the change to the one after it that comes out as it was, so the cost follows the change.

use super::append::Touched;
use super::events::event;
use super::marks::Marks;
use super::memberships::{self, Change};
use super::rows::{self, IDS};
use super::{Error, Grain, Tx, checkpoints};
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::{Rules, State, cuts, resume};
use crate::rtc::order::in_order;
use crate::rtc::room::Room;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const WHOLE: (i64, i64) = (i64::MIN, i64::MAX);

/// What holds in one room, as far as the chains at hand need it.
pub(super) struct Conditions {
    whole_room: Vec<RoomEvent>,
    presence: HashMap<String, Vec<RoomEvent>>,
}

/// Folds every touched chain again and returns the memberships that changed.
pub(super) async fn refold(
    tx: &mut Tx,
    (rules, grain): (&Rules, Grain),
    room_id: &str,
    touched: &Touched,
) -> Result<Vec<Change>, Error> {
    let mut conditions = Conditions { whole_room: Vec::new(), presence: HashMap::new() };
    let chains = chains(tx, room_id, touched, &mut conditions).await?;
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    conditions.read(tx, room_id).await?;
    let mut changes = Vec::new();
    for (chain, span) in chains {
        let mut fold = Fold { rules, grain, room_id, chain: &chain, changes: BTreeMap::new(), marks: Marks::default() };
        fold.run(tx, &mut conditions, span).await?;
        changes.extend(fold.changes.into_values().filter(Change::is_one));
    }
    memberships::write(tx, &changes).await?;
    Ok(changes)
}

const OF_SENDER: &str = "select chain from chains where room_id = $1 and sender = $2";
const STICKY: &str = "select distinct chain from chains where room_id = $1 and chain like 'k%'";
const ALL: &str = "select distinct chain from chains where room_id = $1";

/// The chains that can have changed, and when.
async fn chains(
    tx: &mut Tx,
    room_id: &str,
    touched: &Touched,
    conditions: &mut Conditions,
) -> Result<BTreeMap<String, (i64, i64)>, Error> {
    let mut wider = Touched { chains: touched.chains.clone(), ..Touched::default() };
    for (sql, all) in [(ALL, touched.everything), (STICKY, touched.slots)] {
        if all {
            for chain in sqlx::query_scalar::<_, String>(sql).bind(room_id).fetch_all(&mut **tx).await? {
                wider.chain(&chain, WHOLE.0, WHOLE.1);
            }
        }
    }
    for (user, since) in &touched.users {
        let query = sqlx::query_scalar::<_, String>(OF_SENDER).bind(room_id).bind(user);
        let chains = query.fetch_all(&mut **tx).await?;
        if chains.is_empty() {
            continue;
        }
        // By a link a change can reach back to an event whose own time is earlier.
        let presence = conditions.presence(tx, room_id, user).await?;
        let moved = in_order(presence).into_iter().filter(|(time, _)| time >= since);
        let since = moved.map(|(_, event)| event.time()).min().unwrap_or(*since).min(*since);
        for chain in chains {
            wider.chain(&chain, since, WHOLE.1);
        }
    }
    Ok(wider.chains)
}

const ROOM_EVENTS: &str = "select * from events where room_id = $1
    and kind in ('m.room.create', 'org.matrix.msc4143.rtc.slot', 'm.rtc.slot')";
// `cross join`: SQLite then keeps this order. It would read the whole room for redactions, a room has few slots.
const SLOT_REDACTIONS: &str =
    "select r.* from events s cross join events r where r.redacts = s.event_id and r.room_id = s.room_id
    and s.room_id = $1 and s.kind in ('org.matrix.msc4143.rtc.slot', 'm.rtc.slot')";
const PRESENCE: &str = "select * from events where room_id = $1 and kind = 'm.room.member' and state_key = $2";

impl Conditions {
    /// Reads what holds for the whole room.
    async fn read(&mut self, tx: &mut Tx, room_id: &str) -> Result<(), Error> {
        for sql in [ROOM_EVENTS, SLOT_REDACTIONS] {
            for row in sqlx::query(sql).bind(room_id).fetch_all(&mut **tx).await? {
                self.whole_room.push(event(&row)?);
            }
        }
        Ok(())
    }

    /// The events that tell of a user's standing in the room.
    async fn presence(&mut self, tx: &mut Tx, room_id: &str, user: &str) -> Result<&[RoomEvent], Error> {
        if !self.presence.contains_key(user) {
            let rows = sqlx::query(PRESENCE).bind(room_id).bind(user).fetch_all(&mut **tx).await?;
            let events = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
            self.presence.insert(user.to_owned(), events);
        }
        Ok(self.presence.get(user).map_or(&[], Vec::as_slice))
    }

    /// What holds for these events.
    async fn room(&mut self, tx: &mut Tx, fold: &Fold<'_>, page: &Page, carried: &[&RoomEvent]) -> Result<Room, Error> {
        let events = || page.events.iter().chain(carried.iter().copied());
        let senders: BTreeSet<&str> = events().map(|event| event.sender.as_str()).collect();
        for sender in &senders {
            self.presence(tx, fold.room_id, sender).await?;
        }
        let redactions = fold.redactions(tx, page, carried).await?;
        let presence = senders.iter().filter_map(|sender| self.presence.get(*sender)).flatten();
        Ok(Room::from_events(self.whole_room.iter().chain(presence).chain(&redactions).chain(events())))
    }
}

/// Some events of a chain, ascending by their own time.
struct Page {
    events: Vec<RoomEvent>,
    /// More follow that are not in it.
    is_cut: bool,
}

/// The fold of one chain.
struct Fold<'a> {
    rules: &'a Rules,
    grain: Grain,
    room_id: &'a str,
    chain: &'a str,
    /// By row id: what was stored and what is to be.
    changes: BTreeMap<String, Change>,
    marks: Marks,
}

impl Fold<'_> {
    async fn run(&mut self, tx: &mut Tx, conditions: &mut Conditions, span: (i64, i64)) -> Result<(), Error> {
        let mut state = checkpoints::before(tx, self.room_id, self.chain, span.0).await?;
        checkpoints::forget(tx, self.room_id, self.chain, span.0, span.1).await?;
        self.marks.carry(&state);
        let mut limit = self.grain.page;
        loop {
            let after = span.1.max(state.at_ms.unwrap_or(i64::MIN));
            let next = checkpoints::after(tx, self.room_id, self.chain, after).await?;
            let page = self.page(tx, &state, next.as_ref(), limit).await?;
            let (reached, more) = self.fold_page(tx, conditions, state.clone(), &page, next).await?;
            // Many events at one time, or links that cross all of the page: it takes a larger one.
            limit = if more && reached == state { limit * 4 } else { self.grain.page };
            state = reached;
            self.marks.settle(tx, self.room_id, Some(&state)).await?;
            if !more {
                break;
            }
        }
        self.marks.settle(tx, self.room_id, None).await
    }

    /// Folds one page, cut by cut. Returns where it stopped, and whether the fold must go on from there.
    async fn fold_page(
        &mut self,
        tx: &mut Tx,
        conditions: &mut Conditions,
        mut state: State,
        page: &Page,
        next: Option<State>,
    ) -> Result<(State, bool), Error> {
        let carried: Vec<RoomEvent> = state.carried().cloned().collect();
        let room = conditions.room(tx, self, page, &carried.iter().collect::<Vec<_>>()).await?;
        let mut rest = page.events.as_slice();
        for cut in self.cuts(tx, page).await? {
            let before = rest.partition_point(|event| event.time() < cut);
            if before >= self.grain.checkpoint {
                state = self.part(tx, &state, &rest[..before], Some(cut), &room).await?;
                checkpoints::keep(tx, self.room_id, self.chain, &state).await?;
                rest = &rest[before..];
            }
        }
        if page.is_cut {
            return Ok((state, true));
        }
        let Some(next) = next else {
            self.part(tx, &state, rest, None, &room).await?;
            return Ok((State::default(), false));
        };
        let reached = self.part(tx, &state, rest, next.at_ms, &room).await?;
        if reached == next {
            self.marks.keep(&reached);
            return Ok((reached, false));
        }
        checkpoints::keep(tx, self.room_id, self.chain, &reached).await?;
        Ok((reached, true))
    }

    /// Folds up to one cut or to the end, and notes what follows.
    async fn part(
        &mut self,
        tx: &mut Tx,
        from: &State,
        events: &[RoomEvent],
        until: Option<i64>,
        room: &Room,
    ) -> Result<State, Error> {
        let part = resume(self.chain, from, events, until, room, self.rules);
        let open: BTreeSet<String> = part.state.open_stays().map(|id| memberships::row_id(self.room_id, id)).collect();
        let first = from.at_ms.unwrap_or(i64::MIN);
        for (id, facts) in memberships::opened(tx, self.room_id, self.chain, first, until.unwrap_or(i64::MAX)).await? {
            self.changes.entry(id.clone()).or_insert_with(|| Change::of(&id, Some(facts)));
        }
        for id in from.open_stays().map(|id| memberships::row_id(self.room_id, id)) {
            if !self.changes.contains_key(&id) {
                let facts = memberships::row(tx, self.room_id, &id).await?;
                self.changes.insert(id.clone(), Change::of(&id, facts));
            }
        }
        for member in &part.members {
            let id = memberships::row_id(self.room_id, &member.id);
            self.changes.entry(id.clone()).or_insert_with(|| Change::of(&id, None)).becomes(self.room_id, member);
        }
        // What is open at the cut is a matter of the part after it; if there is none, nothing changed.
        for id in open {
            self.changes.entry(id).and_modify(Change::stays);
        }
        self.marks.note(&part.rejected);
        Ok(part.state)
    }

    /// Where the page may be cut: everything that its events link to is known by then.
    async fn cuts(&self, tx: &mut Tx, page: &Page) -> Result<Vec<i64>, Error> {
        let Some(last) = page.events.last() else { return Ok(Vec::new()) };
        let horizon = if page.is_cut { last.time() } else { last.time() + 1 };
        let mut end = last.clone();
        end.event_id = String::new();
        end.replaces_state = None;
        (end.origin_server_ts, end.received_ts) = (horizon, None);
        let mut beyond = vec![end];
        if page.is_cut {
            let inside: BTreeSet<&str> = page.events.iter().map(|event| event.event_id.as_str()).collect();
            let links = page.events.iter().filter_map(|event| event.replaces_state.as_deref());
            let links: Vec<&str> = links.filter(|id| !inside.contains(id)).collect();
            for ids in links.chunks(IDS) {
                let query = sqlx::query(rows::TIMES).bind(self.room_id);
                let query = (0..IDS).fold(query, |query, at| query.bind(ids.get(at)));
                for row in query.bind(self.chain).bind(last.time()).fetch_all(&mut **tx).await? {
                    let mut later = beyond[0].clone();
                    later.event_id = row.try_get("event_id")?;
                    later.origin_server_ts = row.try_get("time_ms")?;
                    beyond.push(later);
                }
            }
        }
        let cuts = cuts(page.events.iter().chain(&beyond));
        Ok(cuts.into_iter().filter(|cut| *cut <= horizon).collect())
    }

    async fn page(&mut self, tx: &mut Tx, from: &State, next: Option<&State>, limit: usize) -> Result<Page, Error> {
        let until = next.and_then(|next| next.at_ms).unwrap_or(i64::MAX);
        let query = sqlx::query(PAGE_OF).bind(self.room_id).bind(self.chain).bind(from.at_ms.unwrap_or(i64::MIN));
        let rows = query.bind(until).bind(super::int(limit)).fetch_all(&mut **tx).await?;
        let mut page = Page { events: Vec::with_capacity(rows.len()), is_cut: rows.len() == limit };
        for row in &rows {
            let event = event(row)?;
            self.marks.stored(&event, row.try_get("rejected")?);
            page.events.push(event);
        }
        Ok(page)
    }

    /// The redactions of these events.
    async fn redactions(&self, tx: &mut Tx, page: &Page, carried: &[&RoomEvent]) -> Result<Vec<RoomEvent>, Error> {
        let mut redactions = Vec::new();
        let times = page.events.first().zip(page.events.last());
        if let Some((first, last)) = times {
            let query =
                sqlx::query(REDACTIONS).bind(self.room_id).bind(self.chain).bind(first.time()).bind(last.time());
            for row in query.fetch_all(&mut **tx).await? {
                redactions.push(event(&row)?);
            }
        }
        for carried in carried {
            let query = sqlx::query(REDACTIONS_OF).bind(self.room_id).bind(&carried.event_id);
            for row in query.fetch_all(&mut **tx).await? {
                redactions.push(event(&row)?);
            }
        }
        Ok(redactions)
    }
}

const PAGE_OF: &str = "select event_id, received_ms, replaces_state, redacts, redacted_ms, rejected, json from events
    where room_id = $1 and chain = $2 and time_ms >= $3 and time_ms < $4 order by time_ms limit $5";
const REDACTIONS: &str = "select r.* from events e join events r on r.redacts = e.event_id and r.room_id = e.room_id
    where e.room_id = $1 and e.chain = $2 and e.time_ms >= $3 and e.time_ms <= $4";
const REDACTIONS_OF: &str = "select * from events where room_id = $1 and redacts = $2";
