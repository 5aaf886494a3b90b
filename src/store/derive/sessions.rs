//! The second fold: from changed memberships to the sessions of their slots. The cost follows the
//! sessions that the changes touch. Many are read at once. A large session keeps a tally and is not
//! recounted from its stays.

use super::membership_rows::{self, MembershipChange, SessionAssignments};
use super::session_counters::{self, TallyUpdate};
use crate::rtc::membership::Membership;
use crate::rtc::session::{CountedStay, Session, SessionCounter};
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::db::packed::{Fields, unpack};
use crate::store::derive::session_rows::session_columns;
use crate::store::{Error, Tuning, Tx, to_i64};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum stays in memory at once; it may be a few more.
const PORTION: usize = 2048;

/// Changes of one slot that overlap in time, and their span of time, ms.
struct Cluster<'a> {
    slot: &'a str,
    from: i64,
    to: i64,
    changes: Vec<&'a MembershipChange>,
}

/// The clusters between two gaps of a slot: a span of time, ms, outside of which nothing changes,
/// and the sessions that were in it, by id.
struct Window<'a> {
    slot: &'a str,
    low: i64,
    high: i64,
    old: BTreeMap<String, (Session, Option<i64>)>,
    clusters: Vec<Cluster<'a>>,
}

/// The result: sessions to write with their tallies, sessions to delete, and memberships to assign.
#[derive(Default)]
pub(in crate::store) struct SessionChanges {
    pub sessions: Vec<(Session, Option<i64>)>,
    pub gone: Vec<Session>,
    pub assigned: SessionAssignments,
}

/// Updates the sessions from changed memberships that are not written yet. Returns the slots
/// concerned, and which session each membership belongs to now.
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
                .stream(tx, &mut outcome)
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
    crate::store::derive::session_rows::delete_sessions(tx, room_id, &outcome.gone).await?;
    crate::store::derive::session_rows::write_sessions(tx, room_id, &outcome.sessions).await?;

    Ok((slots, outcome.assigned))
}

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
    concat!(
        ") select ",
        session_columns!(),
        " from asked a cross join sessions s
        where s.room_id = $1 and s.slot_id = a.slot_id and s.started_ms <= a.to_ms
        and s.started_ms >= coalesce(
            (select max(b.started_ms) from sessions b
                where b.room_id = $1 and b.slot_id = a.slot_id and b.started_ms <= a.from_ms),
                a.from_ms)"
    ),
);

/// The windows of these clusters, which are in order. Sessions do not overlap, so a cluster can
/// change only the sessions that it touches.
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
    for (session, tally) in unpack(
        &rows,
        crate::store::derive::session_rows::session_from_fields,
    )? {
        stored.insert(
            (session.slot_id.clone(), session.started_ms),
            (session, tally),
        );
    }

    let mut windows: Vec<Window> = Vec::new();
    for cluster in clusters {
        let (slot, mut low, mut high) = (cluster.slot, cluster.from, cluster.to);
        let mut old = BTreeMap::new();
        // Only the last of the sessions that began before the cluster can reach it.
        let begun = stored
            .range((slot.to_owned(), i64::MIN)..=(slot.to_owned(), cluster.to))
            .rev();
        for (_, (session, tally)) in
            begun.take_while(|(_, (session, _))| session.until_ms >= cluster.from)
        {
            (low, high) = (low.min(session.started_ms), high.max(session.until_ms));
            old.insert(session.id.clone(), (session.clone(), *tally));
        }

        match windows.last_mut() {
            Some(last) if last.slot == slot && low <= last.high => {
                last.high = last.high.max(high);
                last.old.append(&mut old);
                last.clusters.push(cluster);
            }
            _ => windows.push(Window {
                slot,
                low,
                high,
                old,
                clusters: vec![cluster],
            }),
        }
    }

    Ok(windows)
}

impl Window<'_> {
    /// How many stays a recount reads.
    fn size(&self) -> usize {
        let changes: usize = self
            .clusters
            .iter()
            .map(|cluster| cluster.changes.len())
            .sum();

        self.old
            .values()
            .map(|(session, _)| session.memberships)
            .sum::<usize>()
            + changes
    }

    /// Do all changes stay within the window? A stay that changes its slot or moves out of the
    /// window is rare; then the window is recounted.
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

    /// The one session of the window, if it is large and began before the changes.
    fn large(&self, tuning: Tuning) -> Option<(&Session, Option<i64>)> {
        let (session, tally) = self.old.values().next().filter(|_| self.old.len() == 1)?;
        let later = self
            .clusters
            .first()
            .is_some_and(|cluster| session.started_ms < cluster.from);

        (session.memberships >= tuning.tally && later).then_some((session, *tally))
    }

    /// Adds the changes to a tally. Returns false if the window must be recounted.
    async fn update_tally(
        &self,
        tx: &mut Tx,
        tuning: Tuning,
        outcome: &mut SessionChanges,
    ) -> Result<bool, Error> {
        let Some((session, Some(tally))) = self.large(tuning) else {
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
        let Some(now) = update.apply(tx, &mut assigned).await? else {
            return Ok(false);
        };

        outcome.assigned.append(&mut assigned);
        if now != *session {
            outcome.sessions.push((now, Some(tally)));
        }

        Ok(true)
    }
}

/// A stay as it is stored, and its session.
pub(in crate::store) type StoredStay = (CountedStay, Option<String>);

/// The columns of [`stay_from_fields`].
macro_rules! stay_columns {
    () => {
        packed!(text "m.id", text "m.slot_id", text "m.chain", text "m.user_id", text "m.device_id",
            number "m.joined_ms", number "m.until_ms", text "m.join_event_id", number "m.resumed",
            text "m.intent", text "m.session_id")
    };
}
pub(super) use stay_columns;

/// The part of a stored membership from which a session is counted, and its slot.
pub(in crate::store) fn stay_from_fields(
    fields: &mut Fields<'_>,
) -> Result<(String, StoredStay), Error> {
    let (id, slot, member_key) = (
        fields.some_text()?,
        fields.some_text()?,
        fields.some_text()?,
    );
    let stay = CountedStay {
        id,
        user: fields.some_text()?,
        device: fields.maybe_text()?.unwrap_or(member_key),
        joined_ms: fields.some_number()?,
        until_ms: fields.some_number()?,
        join_event_id: fields.some_text()?,
        resumed: fields.some_number()? != 0,
        intent: fields.maybe_text()?,
    };

    Ok((slot, (stay, fields.maybe_text()?)))
}

static MEMBERS: MultiRow = MultiRow::new(
    "with asked(slot_id, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    concat!(
        ") select ",
        stay_columns!(),
        " from asked a cross join memberships m
        where m.room_id = $1 and m.slot_id = a.slot_id and m.joined_ms >= a.from_ms
        and m.joined_ms <= a.to_ms"
    ),
);

/// Recounts these windows, which are in order.
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
    let mut stored = unpack(
        &MEMBERS
            .read(tx, &asked, shared, super::checkpoints::bind_key_span)
            .await?,
        stay_from_fields,
    )?;
    stored.sort_unstable_by(|(slot, (a, _)), (other, (b, _))| {
        (slot, a.place()).cmp(&(other, b.place()))
    });
    let mut stored = stored.into_iter().peekable();
    for window in windows {
        let mut recount = Recount::new(room_id, tuning, window);
        while let Some((_, row)) =
            stored.next_if(|(slot, (stay, _))| slot == window.slot && stay.joined_ms <= window.high)
        {
            recount.row(tx, row, outcome).await?;
        }

        recount.end(tx, outcome).await?;
    }

    Ok(())
}

/// The recount of one window, from stored stays in order and the changed stays.
struct Recount<'w> {
    room_id: &'w str,
    tuning: Tuning,
    window: &'w Window<'w>,
    count: SessionCounter,
    /// These ids have changed, so their stored stays do not count, ...
    changed: BTreeSet<&'w str>,
    /// ... but these stays do, in order.
    new: std::iter::Peekable<std::vec::IntoIter<CountedStay>>,
    old: BTreeMap<String, (Session, Option<i64>)>,
}

const PORTION_ENDS: &str =
    "select joined_ms from memberships where room_id = $1 and slot_id = $2 and joined_ms >= $3
    and joined_ms <= $4 order by joined_ms limit 1 offset $5";
const BETWEEN: &str = concat!(
    "select ",
    stay_columns!(),
    " from memberships m where m.room_id = $1 and m.slot_id = $2 and m.joined_ms >= $3
        and m.joined_ms <= $4"
);

/// The next stored stays of a slot from a time on and up to `high`, ms, in order; and from when on
/// there may be more. Stays of the same instant are not split between portions, because we order
/// them, not the database.
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
    let query = sqlx::query(BETWEEN)
        .bind(room_id)
        .bind(slot)
        .bind(from)
        .bind(to);
    let mut stays = unpack(&query.fetch_all(connection).await?, |fields| {
        Ok(stay_from_fields(fields)?.1)
    })?;
    stays.sort_unstable_by(|(a, _), (b, _)| a.place().cmp(&b.place()));

    Ok((stays, end.map(|_| to + 1)))
}

impl<'w> Recount<'w> {
    fn new(room_id: &'w str, tuning: Tuning, window: &'w Window<'w>) -> Self {
        let changes = || {
            window
                .clusters
                .iter()
                .flat_map(|cluster| cluster.changes.iter().copied())
        };

        let mut new: BTreeMap<&str, CountedStay> = BTreeMap::new();
        for change in changes() {
            // A stay that moved out of the window belongs to the window where it is now.
            let member = change.new.as_ref().filter(|member| window.contains(member));
            new.extend(
                member
                    .and_then(CountedStay::of_membership)
                    .map(|stay| (change.id(), stay)),
            );
        }

        let mut new: Vec<CountedStay> = new.into_values().collect();
        new.sort_by(|a, b| a.place().cmp(&b.place()));
        let ids = changes().map(MembershipChange::id).collect();

        Self {
            room_id,
            tuning,
            window,
            count: SessionCounter::default(),
            changed: ids,
            new: new.into_iter().peekable(),
            old: window.old.clone(),
        }
    }

    /// Counts portion by portion.
    async fn stream(mut self, tx: &mut Tx, outcome: &mut SessionChanges) -> Result<(), Error> {
        let (room_id, window) = (self.room_id, self.window);
        let mut from = Some(window.low);
        while let Some(begin) = from {
            let (rows, more) =
                read_next_stays(tx, room_id, window.slot, begin, window.high).await?;
            from = more;
            for row in rows {
                self.row(tx, row, outcome).await?;
            }

            // Assignments of unchanged memberships are written now; the changed ones are written
            // with their changes.
            let (later, now) = std::mem::take(&mut outcome.assigned)
                .into_iter()
                .partition(|(id, _)| self.changed.contains(id.as_str()));
            outcome.assigned = later;
            membership_rows::assign_sessions(tx, now).await?;
        }

        self.end(tx, outcome).await
    }

    async fn row(
        &mut self,
        tx: &mut Tx,
        (stay, session): StoredStay,
        outcome: &mut SessionChanges,
    ) -> Result<(), Error> {
        if self.changed.contains(stay.id.as_str()) {
            return Ok(());
        }

        while let Some(new) = self.new.next_if(|new| new.place() < stay.place()) {
            self.push(tx, &new, None, outcome).await?;
        }

        if stay.until_ms > stay.joined_ms {
            return self.push(tx, &stay, session, outcome).await;
        }

        if session.is_some() {
            outcome.assigned.insert(stay.id, None);
        }

        Ok(())
    }

    async fn push(
        &mut self,
        tx: &mut Tx,
        stay: &CountedStay,
        known: Option<String>,
        outcome: &mut SessionChanges,
    ) -> Result<(), Error> {
        if self.count.is_over(stay) {
            self.close(tx, outcome).await?;
        }

        self.count.push(self.room_id, self.window.slot, stay);
        let session = self.count.session().map(|session| session.id.clone());
        if known != session {
            outcome.assigned.insert(stay.id.clone(), session);
        }

        Ok(())
    }

    async fn close(&mut self, tx: &mut Tx, outcome: &mut SessionChanges) -> Result<(), Error> {
        let stays = self
            .count
            .session()
            .map_or(0, |session| session.memberships);
        // A tally is begun when a large call continues. A call that grows at its beginning has a
        // new id each time.
        let goes_on = self.window.large(self.tuning).is_some();
        let tally = if goes_on && stays >= self.tuning.tally {
            Some(session_counters::create_tally(tx, &self.count).await?)
        } else {
            None
        };

        let Some(session) = self.count.end() else {
            return Ok(());
        };

        let old = self.old.remove(&session.id);
        if let Some((_, Some(tally))) = &old {
            session_counters::delete_tally(tx, *tally).await?;
        }

        if old.as_ref() != Some(&(session.clone(), tally)) {
            outcome.sessions.push((session, tally));
        }

        Ok(())
    }

    /// Counts the remaining stays and deletes sessions that no longer exist.
    async fn end(mut self, tx: &mut Tx, outcome: &mut SessionChanges) -> Result<(), Error> {
        while let Some(new) = self.new.next() {
            self.push(tx, &new, None, outcome).await?;
        }

        self.close(tx, outcome).await?;
        for (session, tally) in self.old.into_values() {
            if let Some(tally) = tally {
                session_counters::delete_tally(tx, tally).await?;
            }

            outcome.gone.push(session);
        }

        Ok(())
    }
}

/// Writes changed memberships and updates the sessions derived from them. Returns the slots
/// concerned.
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
