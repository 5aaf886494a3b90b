//! The second fold: from changed memberships to the sessions of their slots. The cost follows the
//! sessions that the changes touch. Many are read at once. A large session keeps a tally and is not
//! recounted from its stays.

use super::membership_rows::{self, MembershipChange, SessionAssignments};
use super::session_counters::{self, TallyUpdate};
use crate::rtc::membership::Membership;
use crate::rtc::session::{CountedStay, Session, SessionCounter};
use crate::store::db::dialect::Dialect;
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::derive::session_rows::{SessionRow, session_from_row};
use crate::store::{Error, Tuning, Tx, to_i64};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum stays in memory at once; it may be a few more.
const PORTION: usize = 2048;

/// Changes of one slot whose spans of time overlap: from the first begin to the last end, ms. A
/// change of a stay that moved has two spans, its old and its new one, and may be listed twice.
struct Cluster<'a> {
    slot: &'a str,
    from: i64,
    to: i64,
    changes: Vec<&'a MembershipChange>,
}

/// A span of time of a slot, ms, that is recounted as a whole: one or more clusters, widened to the
/// stored sessions that they touch. No session outside of it changes.
struct Window<'a> {
    slot: &'a str,
    low: i64,
    high: i64,
    /// The stored sessions in the window, by id, each with the number of its tally if it has one.
    stored: BTreeMap<String, (Session, Option<i64>)>,
    clusters: Vec<Cluster<'a>>,
}

/// The result, which the caller writes: sessions to write, each with the number of its tally if it
/// has one; sessions to delete; and memberships whose session changes.
#[derive(Default)]
pub(in crate::store) struct SessionChanges {
    pub sessions: Vec<(Session, Option<i64>)>,
    pub deleted: Vec<Session>,
    pub assigned: SessionAssignments,
}

/// Updates the sessions from changed memberships that are not written yet. Returns the slots
/// concerned, and the memberships whose session changes. Small windows are recounted together, so
/// that few statements are needed; a large one is recounted alone, portion by portion.
pub(in crate::store) async fn update_sessions(
    tx: &mut Tx,
    tuning: Tuning,
    room_id: &str,
    changes: &[MembershipChange],
) -> Result<(BTreeSet<String>, SessionAssignments), Error> {
    let clusters = cluster_changes(changes);
    let slots = clusters
        .iter()
        .map(|cluster| cluster.slot.to_owned())
        .collect();
    let mut outcome = SessionChanges::default();
    let mut few: Vec<Window> = Vec::new();
    let mut stays = 0;
    for window in find_windows(tx, room_id, clusters).await? {
        if window.update_tally(tx, tuning, &mut outcome).await? {
            continue;
        }

        let size = window.size();
        if size > PORTION {
            Recount::new(room_id, tuning, &window)
                .recount_in_portions(tx, &mut outcome)
                .await?;
            continue;
        }

        if stays + size > PORTION {
            recount_windows(tx, tuning, room_id, &std::mem::take(&mut few), &mut outcome).await?;
            stays = 0;
        }

        stays += size;
        few.push(window);
    }

    recount_windows(tx, tuning, room_id, &few, &mut outcome).await?;
    crate::store::derive::session_rows::delete_sessions(tx, room_id, &outcome.deleted).await?;
    crate::store::derive::session_rows::write_sessions(tx, room_id, &outcome.sessions).await?;

    Ok((slots, outcome.assigned))
}

/// The changes in clusters, in order of slot and time. The changes need no order. Spans that only
/// meet are in one cluster, since then one session goes on into the other.
fn cluster_changes(changes: &[MembershipChange]) -> Vec<Cluster<'_>> {
    let spans = changes
        .iter()
        .flat_map(|change| change.spans().map(move |span| (span, change)));
    let mut spans: Vec<((&str, i64, i64), &MembershipChange)> = spans.collect();
    spans.sort_unstable_by_key(|(span, change)| (*span, change.id()));
    let mut clusters: Vec<Cluster> = Vec::new();
    for ((slot, from, to), change) in spans {
        match clusters.last_mut() {
            Some(last) if last.slot == slot && from <= last.to => {
                last.to = last.to.max(to);
                last.changes.push(change);
            }
            _ => clusters.push(Cluster {
                slot,
                from,
                to,
                changes: vec![change],
            }),
        }
    }

    clusters
}

static TOUCHING: MultiRow = MultiRow::new(
    "with asked(slot_id, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    sql!(
        ") select ",
        SessionRow::LIST,
        " from asked a cross join sessions s
        where s.room_id = $1 and s.slot_id = a.slot_id and s.started_ms <= a.to_ms
        and s.started_ms >= coalesce(
            (select max(b.started_ms) from sessions b
                where b.room_id = $1 and b.slot_id = a.slot_id and b.started_ms <= a.from_ms),
                a.from_ms)"
    ),
);

/// The windows around these clusters, which must be in order of slot and time; so are the windows.
/// Sessions of a slot do not overlap, so a cluster can change only the sessions that it touches, be
/// it only at an end. Clusters that touch the same session come into one window.
async fn find_windows<'a>(
    tx: &mut Tx,
    room_id: &str,
    clusters: Vec<Cluster<'a>>,
) -> Result<Vec<Window<'a>>, Error> {
    let asked: Vec<(&str, i64, i64)> = clusters
        .iter()
        .map(|cluster| (cluster.slot, cluster.from, cluster.to))
        .collect();
    let mut stored: BTreeMap<(String, i64), (Session, Option<i64>)> = BTreeMap::new();
    let rows = TOUCHING
        .read(
            tx,
            &asked,
            |query| query.bind(room_id.to_owned()),
            super::checkpoints::bind_key_span,
        )
        .await?;
    for (session, tally) in read_rows(&rows, session_from_row)? {
        stored.insert(
            (session.slot_id.clone(), session.started_ms),
            (session, tally),
        );
    }

    let mut windows: Vec<Window> = Vec::new();
    for cluster in clusters {
        let (slot, mut low, mut high) = (cluster.slot, cluster.from, cluster.to);
        let mut touched = BTreeMap::new();
        // From the last one backwards: of the sessions that began before the cluster, only the last
        // can reach it.
        let begun = stored
            .range((slot.to_owned(), i64::MIN)..=(slot.to_owned(), cluster.to))
            .rev();
        for (_, (session, tally)) in
            begun.take_while(|(_, (session, _))| session.until_ms >= cluster.from)
        {
            (low, high) = (low.min(session.started_ms), high.max(session.until_ms));
            touched.insert(session.id.clone(), (session.clone(), *tally));
        }

        match windows.last_mut() {
            Some(last) if last.slot == slot && low <= last.high => {
                last.high = last.high.max(high);
                last.stored.append(&mut touched);
                last.clusters.push(cluster);
            }
            _ => windows.push(Window {
                slot,
                low,
                high,
                stored: touched,
                clusters: vec![cluster],
            }),
        }
    }

    Ok(windows)
}

impl Window<'_> {
    /// How many stays a recount of this window takes into memory at most: those of its stored
    /// sessions, and those that change.
    fn size(&self) -> usize {
        let changes: usize = self
            .clusters
            .iter()
            .map(|cluster| cluster.changes.len())
            .sum();

        self.stored
            .values()
            .map(|(session, _)| session.memberships)
            .sum::<usize>()
            + changes
    }

    /// Do all changed stays begin in the window, before and after the change? A stay that changes
    /// its slot or moves out of the window is rare; then the window is recounted. So it is if one
    /// change is listed twice (see [`Cluster`]), which a tally would count twice.
    fn is_moved_only_inside(&self, changes: &[&MembershipChange]) -> bool {
        let ids: BTreeSet<&str> = changes.iter().map(|change| change.id()).collect();

        ids.len() == changes.len()
            && changes
                .iter()
                .flat_map(|change| change.old.iter().chain(&change.new))
                .all(|member| self.contains(member))
    }

    /// Does this stay begin in the window?
    fn contains(&self, member: &Membership) -> bool {
        let joined_ms = member.joined_ms;
        member.slot.as_str() == self.slot && joined_ms >= self.low && joined_ms <= self.high
    }

    /// The only stored session of the window and the number of its tally, if the session has enough
    /// stays for a tally and began before the first change. `None` otherwise.
    fn large_session(&self, tuning: Tuning) -> Option<(&Session, Option<i64>)> {
        let (session, tally) = self
            .stored
            .values()
            .next()
            .filter(|_| self.stored.len() == 1)?;
        let began_before = self
            .clusters
            .first()
            .is_some_and(|cluster| session.started_ms < cluster.from);

        (session.memberships >= tuning.tally && began_before).then_some((session, *tally))
    }

    /// Adds the changes to the tally of the window's large session, if it has one. Returns true if
    /// the window is done, and false if it must be recounted from its stays.
    async fn update_tally(
        &self,
        tx: &mut Tx,
        tuning: Tuning,
        outcome: &mut SessionChanges,
    ) -> Result<bool, Error> {
        let Some((session, Some(tally))) = self.large_session(tuning) else {
            return Ok(false);
        };

        let changes: Vec<&MembershipChange> = self
            .clusters
            .iter()
            .flat_map(|cluster| cluster.changes.iter().copied())
            .collect();
        if !self.is_moved_only_inside(&changes) {
            return Ok(false);
        }

        let Some(from) = self.clusters.first().map(|cluster| cluster.from) else {
            return Ok(false);
        };

        let update = TallyUpdate {
            session,
            tally,
            changes,
            from,
        };

        let mut assigned = SessionAssignments::new();
        let Some(updated) = update.apply(tx, &mut assigned).await? else {
            return Ok(false);
        };

        outcome.assigned.append(&mut assigned);
        if updated != *session {
            outcome.sessions.push((updated, Some(tally)));
        }

        Ok(true)
    }
}

/// A stay as it is stored, and its session.
pub(in crate::store) type StoredStay = (CountedStay, Option<String>);

json_row! {
    /// The part of a row of `memberships m` from which a session is counted.
    pub(in crate::store) struct StayRow {
        id: String = "m.id",
        slot_id: String = "m.slot_id",
        user_id: String = "m.user_id",
        device: String = "coalesce(m.device_id, m.chain)",
        joined_ms: i64 = "m.joined_ms",
        until_ms: i64 = "m.until_ms",
        join_event_id: String = "m.join_event_id",
        resumed: i64 = "m.resumed",
        intent: Option<String> = "m.intent",
        session_id: Option<String> = "m.session_id",
    }
}

/// A stored stay, after its slot.
pub(in crate::store) fn stay_from_row(row: StayRow) -> (String, StoredStay) {
    let stay = CountedStay {
        id: row.id,
        user: row.user_id,
        device: row.device,
        joined_ms: row.joined_ms,
        until_ms: row.until_ms,
        join_event_id: row.join_event_id,
        resumed: row.resumed != 0,
        intent: row.intent,
    };

    (row.slot_id, (stay, row.session_id))
}

static MEMBERS: MultiRow = MultiRow::new(
    "with asked(slot_id, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    sql!(
        ") select ",
        StayRow::LIST,
        " from asked a cross join memberships m
        where m.room_id = $1 and m.slot_id = a.slot_id and m.joined_ms >= a.from_ms
        and m.joined_ms <= a.to_ms"
    ),
);

/// Recounts these windows, which must be in order of slot and time and must not overlap, from the
/// changed stays and the stored ones. All stored stays are read at once.
async fn recount_windows(
    tx: &mut Tx,
    tuning: Tuning,
    room_id: &str,
    windows: &[Window<'_>],
    outcome: &mut SessionChanges,
) -> Result<(), Error> {
    let asked: Vec<(&str, i64, i64)> = windows
        .iter()
        .map(|window| (window.slot, window.low, window.high))
        .collect();
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let rows = MEMBERS
        .read(tx, &asked, shared, super::checkpoints::bind_key_span)
        .await?;
    let mut stored = read_rows(&rows, stay_from_row)?;
    stored.sort_unstable_by(|(slot, (a, _)), (other, (b, _))| {
        (slot, a.place()).cmp(&(other, b.place()))
    });
    let mut stored = stored.into_iter().peekable();
    for window in windows {
        let mut recount = Recount::new(room_id, tuning, window);
        while let Some((_, row)) =
            stored.next_if(|(slot, (stay, _))| slot == window.slot && stay.joined_ms <= window.high)
        {
            recount.merge_stored_stay(tx, row, outcome).await?;
        }

        recount.finish(tx, outcome).await?;
    }

    Ok(())
}

/// The recount of one window. It merges the stored stays and the changed ones in the order of
/// [`CountedStay::place`], gives each to the counter, and puts each session that is over into the
/// outcome.
struct Recount<'w> {
    room_id: &'w str,
    /// It says from how many stays on a session keeps a tally.
    tuning: Tuning,
    window: &'w Window<'w>,
    count: SessionCounter,
    /// The row ids of the changed stays. What is stored of them does not count any more.
    changed_ids: BTreeSet<&'w str>,
    /// The changed stays as they are now, in order, as far as they begin in this window.
    changed_stays: std::iter::Peekable<std::vec::IntoIter<CountedStay>>,
    /// The stored sessions of the window that were not found again so far, by id, each with the
    /// number of its tally. What is left at the end no longer exists.
    stored_sessions: BTreeMap<String, (Session, Option<i64>)>,
}

const PORTION_ENDS: &str =
    "select joined_ms from memberships where room_id = $1 and slot_id = $2 and joined_ms >= $3
    and joined_ms <= $4 order by joined_ms limit 1 offset $5";
const BETWEEN: &str = sql!(
    "select ",
    StayRow::LIST,
    " from memberships m where m.room_id = $1 and m.slot_id = $2 and m.joined_ms >= $3
        and m.joined_ms <= $4"
);

/// Reads the next stored stays of a slot that begin from `from` to `high`, ms, both included, in
/// the order of [`CountedStay::place`], with their sessions. Returns them and the time, ms, from
/// which on the next portion begins; `None` if there are no more. Stays of the same instant are not
/// split between portions, because we order them, not the database.
pub(in crate::store) async fn read_next_stays(
    connection: &mut sqlx::AnyConnection,
    room_id: &str,
    slot: &str,
    from: i64,
    high: i64,
) -> Result<(Vec<StoredStay>, Option<i64>), Error> {
    let query = sqlx::query_scalar(PORTION_ENDS)
        .bind(room_id)
        .bind(slot)
        .bind(from)
        .bind(high);
    let end: Option<i64> = query
        .bind(to_i64(PORTION))
        .fetch_optional(&mut *connection)
        .await?;
    let to = end.map_or(high, |end| (end - 1).max(from));
    let query = Dialect::of_connection(connection)
        .query(BETWEEN)
        .bind(room_id)
        .bind(slot)
        .bind(from)
        .bind(to);
    let rows = query.fetch_all(connection).await?;
    let mut stays = read_rows(&rows, |row| stay_from_row(row).1)?;
    stays.sort_unstable_by(|(a, _), (b, _)| a.place().cmp(&b.place()));

    Ok((stays, end.map(|_| to + 1)))
}

impl<'w> Recount<'w> {
    /// Prepares the recount of a window: nothing is counted yet.
    fn new(room_id: &'w str, tuning: Tuning, window: &'w Window<'w>) -> Self {
        let changes = || {
            window
                .clusters
                .iter()
                .flat_map(|cluster| cluster.changes.iter().copied())
        };

        // By id, because a change that is listed twice must count once.
        let mut stays: BTreeMap<&str, CountedStay> = BTreeMap::new();
        for change in changes() {
            // A stay that moved out of the window belongs to the window where it is now.
            let member = change.new.as_ref().filter(|member| window.contains(member));
            stays.extend(
                member
                    .and_then(CountedStay::of_membership)
                    .map(|stay| (change.id(), stay)),
            );
        }

        let mut stays: Vec<CountedStay> = stays.into_values().collect();
        stays.sort_by(|a, b| a.place().cmp(&b.place()));
        let changed_ids = changes().map(MembershipChange::id).collect();

        Self {
            room_id,
            tuning,
            window,
            count: SessionCounter::default(),
            changed_ids,
            changed_stays: stays.into_iter().peekable(),
            stored_sessions: window.stored.clone(),
        }
    }

    /// Recounts a window of many stays: reads its stored stays portion by portion and counts them.
    async fn recount_in_portions(
        mut self,
        tx: &mut Tx,
        outcome: &mut SessionChanges,
    ) -> Result<(), Error> {
        let (room_id, window) = (self.room_id, self.window);
        let mut from = Some(window.low);
        while let Some(begin) = from {
            let (rows, more) =
                read_next_stays(tx, room_id, window.slot, begin, window.high).await?;
            from = more;
            for row in rows {
                self.merge_stored_stay(tx, row, outcome).await?;
            }

            // Assignments of unchanged memberships are written now, so that they do not pile up in
            // memory; the changed ones are written with their changes.
            let (later, now) = std::mem::take(&mut outcome.assigned)
                .into_iter()
                .partition(|(id, _)| self.changed_ids.contains(id.as_str()));
            outcome.assigned = later;
            membership_rows::assign_sessions(tx, now).await?;
        }

        self.finish(tx, outcome).await
    }

    /// Counts a stored stay, and before it the changed stays whose place is before it. The stored
    /// stays must come in the order of [`CountedStay::place`]. One that has changed is left out. A
    /// stay without length belongs to no session.
    async fn merge_stored_stay(
        &mut self,
        tx: &mut Tx,
        (stay, session): StoredStay,
        outcome: &mut SessionChanges,
    ) -> Result<(), Error> {
        if self.changed_ids.contains(stay.id.as_str()) {
            return Ok(());
        }

        while let Some(changed) = self
            .changed_stays
            .next_if(|changed| changed.place() < stay.place())
        {
            self.count_stay(tx, &changed, None, outcome).await?;
        }

        if stay.until_ms > stay.joined_ms {
            return self.count_stay(tx, &stay, session, outcome).await;
        }

        if session.is_some() {
            outcome.assigned.insert(stay.id, None);
        }

        Ok(())
    }

    /// Counts one stay, which must have a length. If the session so far is over before it, that
    /// session is closed first. `known` is the session that the row of the stay names now; if it is
    /// another one, the stay is assigned anew.
    async fn count_stay(
        &mut self,
        tx: &mut Tx,
        stay: &CountedStay,
        known: Option<String>,
        outcome: &mut SessionChanges,
    ) -> Result<(), Error> {
        if self.count.is_over(stay) {
            self.close_session(tx, outcome).await?;
        }

        self.count.push(self.room_id, self.window.slot, stay);
        let session = self.count.session().map(|session| session.id.clone());
        if known != session {
            outcome.assigned.insert(stay.id.clone(), session);
        }

        Ok(())
    }

    /// Ends the session that is being counted, and puts it into the outcome unless it is stored
    /// just so. A session with many stays begins a new tally, and a tally that it had is deleted.
    /// Does nothing if no session was begun.
    async fn close_session(
        &mut self,
        tx: &mut Tx,
        outcome: &mut SessionChanges,
    ) -> Result<(), Error> {
        let stays = self
            .count
            .session()
            .map_or(0, |session| session.memberships);
        // A tally is begun when a large call continues. A call that grows at its beginning has a
        // new id each time.
        let goes_on = self.window.large_session(self.tuning).is_some();
        let tally = if goes_on && stays >= self.tuning.tally {
            Some(session_counters::create_tally(tx, &self.count).await?)
        } else {
            None
        };

        let Some(session) = self.count.end() else {
            return Ok(());
        };

        let stored = self.stored_sessions.remove(&session.id);
        if let Some((_, Some(tally))) = &stored {
            session_counters::delete_tally(tx, *tally).await?;
        }

        if stored.as_ref() != Some(&(session.clone(), tally)) {
            outcome.sessions.push((session, tally));
        }

        Ok(())
    }

    /// Counts the changed stays that are left, closes the last session, and puts the stored
    /// sessions that were not found again into the outcome, to be deleted.
    async fn finish(mut self, tx: &mut Tx, outcome: &mut SessionChanges) -> Result<(), Error> {
        while let Some(changed) = self.changed_stays.next() {
            self.count_stay(tx, &changed, None, outcome).await?;
        }

        self.close_session(tx, outcome).await?;
        for (session, tally) in self.stored_sessions.into_values() {
            if let Some(tally) = tally {
                session_counters::delete_tally(tx, tally).await?;
            }

            outcome.deleted.push(session);
        }

        Ok(())
    }
}

/// Writes the changed memberships of a room and the sessions that follow from them. Returns the ids
/// of the slots concerned.
pub(in crate::store) async fn write_memberships_and_sessions(
    tx: &mut Tx,
    tuning: Tuning,
    room_id: &str,
    stays: &[MembershipChange],
) -> Result<BTreeSet<String>, Error> {
    let (slots, assigned) = update_sessions(tx, tuning, room_id, stays).await?;
    membership_rows::write_memberships(tx, room_id, stays, assigned).await?;
    Ok(slots)
}
