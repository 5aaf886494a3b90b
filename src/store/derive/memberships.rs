//! The first fold: from the stored events of touched member keys to memberships. Each key is folded
//! from the checkpoint before the change to the first later one that did not change, so the cost
//! follows the change. Many keys are folded at once, page by page, so the number of statements does
//! not grow with the number of keys.

use super::checkpoints::{self, Head};
use super::member_keys::{self, FoldConditions};
use super::membership_rows::{self, MembershipChange};
use super::rejections::RejectionMarks;
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::{KeyState, Rules, find_cut_after, find_cuts, fold_between_cuts};
use crate::rtc::room::RoomConditions;
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::derive::dirty::Dirty;
use crate::store::ingest::new_events::NewEvents;
use crate::store::stored_event::{KEY_EVENTS, KeyEvent, KeyEventRow, key_event_from_json};
use crate::store::{Derivation, Error, Tuning, Tx};
use serde_json::value::RawValue;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Maximum member keys folded at once.
pub(super) const GROUP: usize = 64;

/// Folds every touched member key again and returns the memberships that changed. They are not
/// written yet; checkpoints, heads and marks of rejection are.
pub(in crate::store) async fn fold_touched_keys(
    tx: &mut Tx,
    derivation: Derivation<'_>,
    room_id: &str,
    dirty: &mut Dirty,
) -> Result<Vec<MembershipChange>, Error> {
    let mut conditions = FoldConditions::default();
    let spans =
        member_keys::find_touched_keys(tx, room_id, dirty, derivation.rules, &mut conditions)
            .await?;
    if spans.is_empty() {
        return Ok(Vec::new());
    }

    conditions.read(tx, room_id).await?;
    let mut changes = Vec::new();
    let spans: Vec<(String, (i64, i64))> = spans.into_iter().collect();
    for group in spans.chunks(GROUP) {
        let mut work = FoldGroup::new(derivation, room_id, &mut conditions, &dirty.fresh);
        let mut tasks = work.begin(tx, group).await?;
        while !tasks.is_empty() {
            tasks = work.fold_next_page(tx, tasks).await?;
        }

        changes.extend(work.done(tx).await?);
    }

    Ok(changes)
}

/// The progress of the fold of one member key.
pub(super) struct KeyFold {
    member_key: String,
    /// The first and the last time, ms, at which something changed; `i64::MIN` = from the first
    /// event on, `i64::MAX` = to the last one.
    span: (i64, i64),
    /// The folded state so far: of all events before its cut.
    from: KeyState,
    /// The first checkpoint after the change, where the fold may end; `None` if there is none.
    next: Option<KeyState>,
    /// Events before this time, ms, do not count.
    seal: i64,
    /// Events between the last checkpoint and `from`.
    events: usize,
    /// A head of the member key is stored.
    has_head: bool,
}

impl KeyFold {
    pub fn member_key(&self) -> &str {
        &self.member_key
    }

    /// Up to where it was folded, ms.
    pub fn reached(&self) -> i64 {
        self.begins()
    }

    /// Up to where it was folded, ms: the fold goes on from there. `i64::MIN` at the beginning.
    fn begins(&self) -> i64 {
        self.from.at_ms.unwrap_or(i64::MIN)
    }

    /// The time, ms, from which on the fold must know which slots are open: where it goes on, or
    /// the first event of the page at the beginning of a member key. `None` if it needs no slots,
    /// because there is no event. Only the fold of a sticky key needs them.
    fn slots_needed_from(&self, page: Option<&EventPage>) -> Option<i64> {
        let events = || page.into_iter().flat_map(|page| &page.events);
        // A link can move an event. Sticky events have no links.
        let own = |event: &Arc<RoomEvent>| {
            if event.replaces_state.is_some() {
                i64::MIN
            } else {
                event.time()
            }
        };

        self.from.at_ms.or_else(|| events().map(own).min())
    }

    /// The time, ms, of the next checkpoint, where the fold may end; `i64::MAX` if there is none.
    fn ends(&self) -> i64 {
        self.next
            .as_ref()
            .and_then(|next| next.at_ms)
            .unwrap_or(i64::MAX)
    }
}

/// Some events of a member key, ascending by their own time.
#[derive(Default)]
struct EventPage {
    events: Vec<Arc<RoomEvent>>,
    /// More events follow, from this time on (inclusive), ms; `None` if this is the last page
    /// before the next checkpoint, or before the end.
    end: Option<i64>,
    /// The cuts, ascending: times, ms, at which the fold may stop and go on later, because no event
    /// moves across them. [`FoldGroup::find_page_cuts`] fills it in.
    cuts: Vec<i64>,
    /// A cut after the last event, ms, at which a head may be stored.
    cut_after: Option<i64>,
}

impl EventPage {
    /// The last cut of a page that is not the last one, ms: up to there it can be folded. `None` if
    /// the page has no cut, or if it is the last one and can be folded to its end.
    fn reached(&self) -> Option<i64> {
        self.cuts.last().copied().filter(|_| self.end.is_some())
    }
}

/// The fold of several member keys of a room, in one transaction. The order of use is
/// [`Self::begin`], [`Self::fold_next_page`] until no task is left, [`Self::done`].
pub(super) struct FoldGroup<'a> {
    rules: &'a Rules,
    tuning: Tuning,
    room_id: &'a str,
    conditions: &'a mut FoldConditions,
    /// Maximum events of each member key in the next page; it grows while the fold is stuck.
    limit: usize,
    /// The number of events read so far.
    read: i64,
    /// By row id: the stored membership and the new one.
    changes: BTreeMap<String, MembershipChange>,
    marks: RejectionMarks,
    heads: Vec<Head>,
    /// Member keys whose head is not valid any more.
    without_head: Vec<String>,
    /// The events that this transaction stores: they are in memory and are not read again.
    fresh: &'a NewEvents,
}

impl<'a> FoldGroup<'a> {
    /// A group of which nothing is folded yet.
    pub fn new(
        derivation: Derivation<'a>,
        room_id: &'a str,
        conditions: &'a mut FoldConditions,
        fresh: &'a NewEvents,
    ) -> Self {
        let Derivation { rules, tuning } = derivation;

        Self {
            rules,
            tuning,
            room_id,
            conditions,
            limit: tuning.page,
            read: 0,
            changes: BTreeMap::new(),
            marks: RejectionMarks::default(),
            heads: Vec::new(),
            without_head: Vec::new(),
            fresh,
        }
    }

    /// Must the next pages be larger, because some fold could not go on within its last page?
    pub fn is_stuck(&self) -> bool {
        self.limit > self.tuning.page
    }

    /// How many events were read so far.
    pub fn read(&self) -> i64 {
        self.read
    }

    /// Begins the fold of these member keys, each with the first and the last time, ms, at which
    /// something changed: finds the checkpoint from which it goes on, and deletes those that the
    /// change makes invalid. No member key may be there twice. Returns one task for each.
    pub async fn begin(
        &mut self,
        tx: &mut Tx,
        member_keys: &[(String, (i64, i64))],
    ) -> Result<Vec<KeyFold>, Error> {
        let asked: Vec<checkpoints::KeySpan> = member_keys
            .iter()
            .map(|(member_key, (from, to))| (member_key.as_str(), *from, *to))
            .collect();
        let mut around = checkpoints::checkpoints_around(tx, self.room_id, &asked).await?;
        checkpoints::delete_checkpoints(tx, self.room_id, &asked).await?;
        let mut tasks = Vec::with_capacity(member_keys.len());
        for (member_key, span) in member_keys {
            let around = around.remove(member_key).unwrap_or_default();
            let from = around.before.unwrap_or_default();
            self.marks.carry(&from);
            // A fold from the beginning may end in a later transaction.
            if around.has_head && span.0 == i64::MIN {
                self.without_head.push(member_key.clone());
            }

            tasks.push(KeyFold {
                member_key: member_key.clone(),
                span: *span,
                from,
                next: around.after,
                seal: around.seal.unwrap_or(i64::MIN),
                events: around.events,
                has_head: around.has_head,
            });
        }

        Ok(tasks)
    }

    /// Folds one page of each member key: reads its events and what they need, folds them, and
    /// stores the checkpoints reached. Returns the tasks that are not done.
    pub async fn fold_next_page(
        &mut self,
        tx: &mut Tx,
        tasks: Vec<KeyFold>,
    ) -> Result<Vec<KeyFold>, Error> {
        let mut pages = self.read_next_pages(tx, &tasks).await?;
        let carried = tasks.iter().flat_map(|task| task.from.carried());
        let events: Vec<&RoomEvent> = pages
            .values()
            .flat_map(|page| &page.events)
            .map(AsRef::as_ref)
            .chain(carried)
            .collect();
        self.conditions
            .know(
                tx,
                self.room_id,
                events.iter().map(|event| event.sender.as_str()),
            )
            .await?;
        // Only sticky memberships depend on whether their slot is open.
        let sticky = tasks.iter().filter(|task| task.member_key.starts_with('k'));
        let from = sticky
            .filter_map(|task| task.slots_needed_from(pages.get(&task.member_key)))
            .min()
            .unwrap_or(i64::MIN);
        self.conditions
            .know_slots(tx, self.room_id, events.iter().copied(), from)
            .await?;
        let room = self.conditions.room(&events);
        self.find_page_cuts(tx, &tasks, &mut pages).await?;
        self.read_stored_memberships(tx, &tasks, &pages).await?;
        let mut states = Vec::new();
        let mut rest = Vec::new();
        let mut stuck = false;
        for task in tasks {
            let page = pages.remove(&task.member_key).unwrap_or_default();
            let before = task.begins();
            if let Some(task) = self.fold_page(task, &page, &room, &mut states) {
                // Many events have the same time, or links cross the whole page: read a larger
                // page.
                stuck |= task.begins() == before;
                rest.push(task);
            }
        }

        self.limit = if stuck {
            self.limit * 4
        } else {
            self.tuning.page
        };

        checkpoints::store_checkpoints(tx, self.room_id, &states).await?;
        self.marks
            .settle(tx, self.room_id, rest.iter().map(|task| &task.from))
            .await?;
        self.find_next_checkpoints(tx, &mut rest).await?;

        Ok(rest)
    }

    /// Finds the next checkpoint of each fold that went past the one at which it could have ended.
    /// A fold whose change goes to the end (`i64::MAX`) has none.
    async fn find_next_checkpoints(&self, tx: &mut Tx, tasks: &mut [KeyFold]) -> Result<(), Error> {
        let open = tasks
            .iter()
            .filter(|task| task.span.1 < i64::MAX && task.ends() <= task.begins());
        let asked: Vec<checkpoints::KeySpan> = open
            .map(|task| {
                (
                    task.member_key.as_str(),
                    i64::MIN,
                    task.begins().max(task.span.1),
                )
            })
            .collect();
        let mut around = checkpoints::checkpoints_around(tx, self.room_id, &asked).await?;
        for task in tasks {
            if let Some(around) = around.remove(&task.member_key) {
                task.next = around.after;
            }
        }

        Ok(())
    }

    /// Ends the group: writes the marks of rejection and the heads that are left, and returns all
    /// memberships that changed.
    pub async fn done(mut self, tx: &mut Tx) -> Result<Vec<MembershipChange>, Error> {
        self.marks
            .settle(tx, self.room_id, std::iter::empty())
            .await?;
        checkpoints::delete_heads(tx, self.room_id, &self.without_head).await?;
        checkpoints::store_heads(tx, self.room_id, &self.heads).await?;

        Ok(self
            .changes
            .into_values()
            .filter(MembershipChange::is_one)
            .collect())
    }

    /// Folds one page of a member key, cut by cut, and adds the states that become checkpoints to
    /// `states`, each with its member key. What the page can change must be in memory. Returns the
    /// task if it must go on with another page. `None` when it is done: at the last event, or at a
    /// checkpoint that is as it was before.
    fn fold_page(
        &mut self,
        task: KeyFold,
        page: &EventPage,
        room: &RoomConditions,
        states: &mut Vec<(String, KeyState)>,
    ) -> Option<KeyFold> {
        let mut state = task.from.clone();
        let mut events = task.events;
        let mut rest = page.events.as_slice();
        for cut in &page.cuts {
            let before = rest.partition_point(|event| event.time() < *cut);
            if events + before >= self.tuning.checkpoint || Some(*cut) == page.reached() {
                let (now, later) = rest.split_at(before);
                state = self.fold_part(&task, &state, now, Some(*cut), room);
                states.push((task.member_key.clone(), state.clone()));
                rest = later;
                events = 0;
            }
        }

        if page.end.is_some() {
            return Some(KeyFold {
                from: state,
                events,
                ..task
            });
        }

        let Some(next) = &task.next else {
            self.fold_to_end(&task, &state, rest, page, events + rest.len(), room);
            return None;
        };

        let state = self.fold_part(&task, &state, rest, next.at_ms, room);
        if state == *next {
            self.marks.keep(&state);
            return None;
        }

        states.push((task.member_key.clone(), state.clone()));

        Some(KeyFold {
            from: state,
            events: 0,
            ..task
        })
    }

    /// Folds `rest`, the last events of a member key, and notes the head after them if it is worth
    /// it, or that its head is not valid any more. `from` is the state before these events;
    /// `events` is how many events there are since the last checkpoint, these among them.
    fn fold_to_end(
        &mut self,
        task: &KeyFold,
        from: &KeyState,
        rest: &[Arc<RoomEvent>],
        page: &EventPage,
        events: usize,
        room: &RoomConditions,
    ) {
        // The head was read, and no event came after it: it is still valid.
        let is_same_head = task.events > 0 && page.events.is_empty();
        let is_worth_it = events >= self.tuning.head;
        let cut_after = page.cut_after.filter(|_| is_worth_it && !is_same_head);
        let Some(at_ms) = cut_after else {
            self.fold_part(task, from, rest, None, room);
            if task.has_head && !is_same_head {
                self.without_head.push(task.member_key.clone());
            }

            return;
        };

        let state = self.fold_part(task, from, rest, Some(at_ms), room);
        self.fold_part(task, &state, &[], None, room);
        self.heads.push(Head {
            member_key: task.member_key.clone(),
            state,
            events,
        });
    }

    /// Folds some events of a member key, from the state `from` up to `until`, ms, which is a cut;
    /// `None` = to the end. Notes the memberships and the rejections that follow. Returns the state
    /// at the end.
    fn fold_part(
        &mut self,
        task: &KeyFold,
        from: &KeyState,
        events: &[Arc<RoomEvent>],
        until: Option<i64>,
        room: &RoomConditions,
    ) -> KeyState {
        let mut part = fold_between_cuts(
            &task.member_key,
            from,
            events.iter().map(AsRef::as_ref),
            until,
            room,
            self.rules,
        );
        crate::store::upkeep::retention_cutoffs::clamp_to_cutoff(&mut part.members, task.seal);
        for member in &part.members {
            let id = membership_rows::row_id(self.room_id, &member.id);
            self.changes
                .entry(id)
                .or_insert_with_key(|id| MembershipChange::new_change(id, None))
                .replace_with(member);
        }

        // A stay that is open at the cut is decided by the part after it. If there is no such part,
        // the stay did not change.
        for id in part
            .state
            .open_stays()
            .map(|id| membership_rows::row_id(self.room_id, id))
        {
            self.changes.entry(id).and_modify(MembershipChange::keep);
        }

        self.marks.record_rejections(&part.rejected);

        part.state
    }
}

static PAGE_ENDS: MultiRow = MultiRow::new(
    "with asked(chain, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    ") select a.chain as chain, (select e.time_ms from events e where e.room_id = $1
        and e.chain = a.chain
        and e.time_ms >= a.from_ms and e.time_ms < a.to_ms order by e.time_ms
        limit 1 offset $2) as end_ms
    from asked a where a.chain is not null",
);
static PAGES: MultiRow = MultiRow::new(
    "with asked(chain, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    sql!(
        ") select (select ",
        KEY_EVENTS,
        " from events e where e.room_id = $1 and e.chain = a.chain and e.time_ms >= a.from_ms
            and e.time_ms < a.to_ms)
        from asked a where a.chain is not null"
    ),
);
static TIMES: MultiRow = MultiRow::new(
    "select event_id, time_ms, chain from events where room_id || '' = $1 and chain is not null
        and event_id in (",
    "?",
    ")",
);

impl FoldGroup<'_> {
    /// Reads the next page of each member key, by member key: from where its fold goes on to its
    /// next checkpoint, or at most as many events as the limit allows. The cuts are not in it yet.
    async fn read_next_pages(
        &mut self,
        tx: &mut Tx,
        tasks: &[KeyFold],
    ) -> Result<BTreeMap<String, EventPage>, Error> {
        let span = |task: &KeyFold, end: Option<i64>| {
            (task.begins().max(task.seal), end.unwrap_or(task.ends()))
        };

        let asked: Vec<checkpoints::KeySpan> = tasks
            .iter()
            .map(|task| {
                (
                    task.member_key.as_str(),
                    span(task, None).0,
                    span(task, None).1,
                )
            })
            .collect();
        let limit = crate::store::to_i64(self.limit);
        let shared = |query: Statement| query.bind(self.room_id.to_owned()).bind(limit);
        let mut pages: BTreeMap<String, EventPage> = BTreeMap::new();
        // A fold that goes on from a head has events before it (`events > 0`), and all events after
        // the head are new. If they fit in one page, the page needs no end.
        let is_one_page = self.fresh.count() <= self.limit;
        let (short, long): (Vec<&KeyFold>, Vec<&KeyFold>) = tasks
            .iter()
            .partition(|task| is_one_page && task.events > 0);
        for task in short {
            pages.entry(task.member_key.clone()).or_default();
        }

        let long: Vec<checkpoints::KeySpan> = long
            .into_iter()
            .map(|task| {
                (
                    task.member_key.as_str(),
                    span(task, None).0,
                    span(task, None).1,
                )
            })
            .collect();
        for row in PAGE_ENDS
            .read(tx, &long, shared, checkpoints::bind_key_span)
            .await?
        {
            pages.entry(row.try_get("chain")?).or_default().end = row.try_get("end_ms")?;
        }

        let asked: Vec<checkpoints::KeySpan> = asked
            .iter()
            .map(|(member_key, from, to)| {
                (
                    *member_key,
                    *from,
                    pages
                        .get(*member_key)
                        .and_then(|page| page.end)
                        .unwrap_or(*to),
                )
            })
            .collect();
        for (event, mark, member_key) in self.read_events(tx, &asked).await? {
            self.read += 1;
            self.marks.stored(&event, mark);
            if let Some(page) = pages.get_mut(&member_key) {
                page.events.push(event);
            }
        }

        for page in pages.values_mut() {
            page.events
                .sort_unstable_by(|a, b| (a.time(), &a.event_id).cmp(&(b.time(), &b.event_id)));
        }

        Ok(pages)
    }

    /// The events of member keys in these spans of time (the end excluded), in any order, each with
    /// its mark of rejection and its member key. Of an event that is in memory, the database sends
    /// no content.
    async fn read_events(
        &self,
        tx: &mut Tx,
        asked: &[checkpoints::KeySpan<'_>],
    ) -> Result<Vec<KeyEvent>, Error> {
        let shared = |query: Statement| {
            query
                .bind(self.room_id.to_owned())
                .bind(self.fresh.before())
        };

        let rows = PAGES
            .read(tx, asked, shared, checkpoints::bind_key_span)
            .await?;

        let event =
            |(row, text): (KeyEventRow, &RawValue)| key_event_from_json(row, text, self.fresh);

        read_rows(&rows, event)?.into_iter().collect()
    }

    /// Finds the cuts of each page and writes them into it. The times of the events that its events
    /// replace are needed for that; those outside of the page are read, but not for a last page, at
    /// whose end nothing is cut.
    async fn find_page_cuts(
        &self,
        tx: &mut Tx,
        tasks: &[KeyFold],
        pages: &mut BTreeMap<String, EventPage>,
    ) -> Result<(), Error> {
        let mut times: HashMap<String, HashMap<String, i64>> = HashMap::new();
        let mut beyond: BTreeSet<&str> = BTreeSet::new();
        for (member_key, page) in pages.iter() {
            let times = times.entry(member_key.clone()).or_default();
            times.extend(
                page.events
                    .iter()
                    .map(|event| (event.event_id.clone(), event.time())),
            );
            if page.end.is_some() {
                let links = page
                    .events
                    .iter()
                    .filter_map(|event| event.replaces_state.as_deref());
                beyond.extend(links.filter(|id| !times.contains_key(*id)));
            }
        }

        let beyond: Vec<&str> = beyond.into_iter().collect();
        for row in TIMES.look_up(tx, self.room_id, &beyond).await? {
            if let Some(times) = times.get_mut(row.try_get::<&str, _>("chain")?) {
                times.insert(row.try_get("event_id")?, row.try_get("time_ms")?);
            }
        }

        for task in tasks {
            let Some(page) = pages.get_mut(&task.member_key) else {
                continue;
            };

            let Some(times) = times.get(&task.member_key) else {
                continue;
            };

            let time = |id: &str| times.get(id).copied();
            let events = || page.events.iter().map(AsRef::as_ref);
            let cuts = find_cuts(events(), time, page.end);
            page.cut_after = find_cut_after(events(), time);
            page.cuts = cuts;
        }

        Ok(())
    }

    /// Reads the stored memberships that these pages can change, as the state before the change:
    /// those that began to count in them, and those that were open before. They go into `changes`,
    /// as stays that the fold may find again.
    async fn read_stored_memberships(
        &mut self,
        tx: &mut Tx,
        tasks: &[KeyFold],
        pages: &BTreeMap<String, EventPage>,
    ) -> Result<(), Error> {
        let mut spans: Vec<checkpoints::KeySpan> = Vec::with_capacity(tasks.len());
        let mut open = Vec::new();
        let mut seals = HashMap::new();
        for task in tasks {
            let page = pages.get(&task.member_key);
            let end = page
                .filter(|page| page.end.is_some())
                .map(|page| page.reached().unwrap_or(task.begins()));
            spans.push((&task.member_key, task.begins(), end.unwrap_or(task.ends())));
            let ids = task
                .from
                .open_stays()
                .map(|id| membership_rows::row_id(self.room_id, id));
            open.extend(ids.filter(|id| !self.changes.contains_key(id)));
            seals.insert(task.member_key.as_str(), task.seal);
        }

        let opened = membership_rows::memberships_opened_within(tx, self.room_id, &spans).await?;
        for member in opened
            .into_iter()
            .chain(membership_rows::read_by_row_ids(tx, self.room_id, &open).await?)
        {
            // A stay that began before the seal is final.
            if seals
                .get(member.member_key.as_str())
                .is_none_or(|seal| member.joined_ms >= *seal)
            {
                self.changes
                    .entry(member.id.clone())
                    .or_insert_with_key(|id| MembershipChange::new_change(id, Some(member)));
            }
        }

        for id in open {
            self.changes
                .entry(id.clone())
                .or_insert_with(|| MembershipChange::new_change(&id, None));
        }

        Ok(())
    }
}
