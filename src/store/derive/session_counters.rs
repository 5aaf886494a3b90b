//! Tallies: a large call is not recounted with each change. Changes are added to its counts or
//! subtracted from them. Its peak and its end are checked from the first change on, and only for
//! the users who came, went or changed since.

use super::membership_rows::{MembershipChange, SessionAssignments};
use super::sessions::{StayRow, stay_from_row};
use crate::rtc::id::server_of;
use crate::rtc::membership::Membership;
use crate::rtc::session::{CountedStay, PresentCount, Session, SessionCounter, peak_within};
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::{Error, Tx, to_i64};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};

/// What is counted, and its name: `u` a user, `d` a device, `s` a server, `i` an intent.
type CounterKey = (&'static str, String);

/// Maximum users whose stays are read for one update, and maximum stays of theirs. Beyond these the
/// call is counted again, portion by portion.
const MOST_USERS: usize = 1024;
const MOST_STAYS: usize = 32_768;

/// Changes of one large call.
pub(super) struct TallyUpdate<'a> {
    pub session: &'a Session,
    pub tally: i64,
    /// Each membership at most once.
    pub changes: Vec<&'a MembershipChange>,
    /// Nothing changed before this time, ms.
    pub from: i64,
}

/// The stays of some users, before and after the changes.
struct StaysBeforeAfter {
    before: Vec<CountedStay>,
    /// The row ids of the stays that change.
    changed: BTreeSet<String>,
    /// The changed stays as they are afterwards.
    new: Vec<CountedStay>,
}

impl StaysBeforeAfter {
    /// The stays of these users as they are stored.
    fn before(&self) -> impl Iterator<Item = &CountedStay> + Clone {
        self.before.iter()
    }

    /// The stays of these users with the changes made.
    fn after(&self) -> impl Iterator<Item = &CountedStay> + Clone {
        self.before()
            .filter(|stay| !self.changed.contains(&stay.id))
            .chain(&self.new)
    }
}

/// The peaks after an update.
struct Peaks {
    peak: usize,
    peak_users: usize,
    present: PresentCount,
}

impl TallyUpdate<'_> {
    /// The call after the changes, whose counts are written to its tally. Adds the stays that
    /// belong to it to `assigned`. `None` if the call must be recounted from its stays: its
    /// beginning changed, it fell into several calls, its peak was where stays became shorter, or
    /// too many stays would have to be read.
    pub async fn apply(
        &self,
        tx: &mut Tx,
        assigned: &mut SessionAssignments,
    ) -> Result<Option<Session>, Error> {
        let old = self.session;
        if self.from <= old.started_ms {
            return Ok(None);
        }

        let Some(present) = read_present(tx, self.tally).await? else {
            return Ok(None);
        };

        let Some(peaks) = self.update_peaks(tx, present).await? else {
            return Ok(None);
        };

        let Some(until_ms) = self.last_end(tx).await? else {
            return Ok(None);
        };

        let mut new = Session {
            until_ms,
            peak: peaks.peak,
            peak_users: peaks.peak_users,
            ..old.clone()
        };

        self.update_counts(tx, &mut new).await?;
        if peaks.present != present {
            store_present(tx, self.tally, peaks.present).await?;
        }

        for change in &self.changes {
            if self.is_in(change.new.as_ref()) {
                assigned.insert(change.id().to_owned(), Some(old.id.clone()));
            }
        }

        Ok(Some(new))
    }

    /// Is this stay in the call? Only the start is checked: the call ends where its stays end.
    fn is_in(&self, member: Option<&Membership>) -> bool {
        member.is_some_and(|member| {
            member.has_length() && member.joined_ms >= self.session.started_ms
        })
    }

    /// Was this stay in the call before the changes? It began while the stored call lasted.
    fn was_in(&self, member: Option<&Membership>) -> bool {
        self.is_in(member) && member.is_some_and(|member| member.joined_ms <= self.session.until_ms)
    }

    /// The changed stays as they are now, if they are in the call.
    fn new_stays(&self) -> impl Iterator<Item = CountedStay> {
        self.changes.iter().filter_map(|change| {
            let new = change.new.as_ref().filter(|new| self.is_in(Some(new)))?;

            CountedStay::of_membership(new)
        })
    }

    /// The peaks after the changes, and how many are present at the last join. `present` is how
    /// many were at the last join before the changes. `None` if that cannot be derived from the
    /// changes.
    async fn update_peaks(
        &self,
        tx: &mut Tx,
        present: PresentCount,
    ) -> Result<Option<Peaks>, Error> {
        let last_join = self
            .new_stays()
            .map(|stay| stay.joined_ms)
            .fold(present.at_ms, i64::max);
        // After the last join the number of those present only falls. So a change after it never
        // raises the peak.
        if self.from > last_join {
            return Ok(Some(Peaks {
                peak: self.session.peak,
                peak_users: self.session.peak_users,
                present,
            }));
        }

        // Only the users who come, go or change are read. The others are the same before and after,
        // so how many they are follows from who is present at the stored last join.
        let low = present.at_ms.min(self.from - 1);
        let Some(stays) = self.read_stays_around(tx, low, last_join).await? else {
            return Ok(None);
        };

        // All other users neither come nor go from `low` to the last join.
        let (devices, users) = count_present(stays.before(), present.at_ms);
        let (Some(devices), Some(users)) = (
            present.devices.checked_sub(devices),
            present.users.checked_sub(users),
        ) else {
            return Ok(None);
        };

        // With nobody else in the call, a moment without anybody would split it.
        if devices == 0 && !self.is_unbroken(&stays) {
            return Ok(None);
        }

        let (from, to) = (self.from - 1, last_join + 1);
        let before = peak_within(stays.before(), from, to);
        let after = peak_within(stays.after(), from, to);
        let peaks = (
            updated_peak(self.session.peak, devices + before.0, devices + after.0),
            updated_peak(self.session.peak_users, users + before.1, users + after.1),
        );

        let (Some(peak), Some(peak_users)) = peaks else {
            return Ok(None);
        };

        let now = count_present(stays.after(), last_join);

        Ok(Some(Peaks {
            peak,
            peak_users,
            present: PresentCount {
                at_ms: last_join,
                devices: devices + now.0,
                users: users + now.1,
            },
        }))
    }

    /// Reads the stays that touch the span from `low` to `high`, ms, of the users who come or go
    /// after `low` and up to `high`, or who change. `None` if there are too many users or stays.
    async fn read_stays_around(
        &self,
        tx: &mut Tx,
        low: i64,
        high: i64,
    ) -> Result<Option<StaysBeforeAfter>, Error> {
        let query = sqlx::query_scalar(MOVING)
            .bind(&self.session.id)
            .bind(low)
            .bind(high)
            .bind(to_i64(MOST_USERS + 1));
        let moving: Vec<String> = query.fetch_all(&mut **tx).await?;
        let changed = self
            .changes
            .iter()
            .flat_map(|change| change.old.iter().chain(&change.new))
            .map(|member| member.user_id.clone());
        let users: BTreeSet<String> = moving.into_iter().chain(changed).collect();
        if users.len() > MOST_USERS {
            return Ok(None);
        }

        let users: Vec<String> = users.into_iter().collect();
        if self.has_too_many_stays(tx, &users, low, high).await? {
            return Ok(None);
        }

        let shared = |query: Statement| query.bind(self.session.id.clone()).bind(low).bind(high);
        let bind = |query: Statement, user: Option<&String>| query.bind(user.cloned());
        let rows = OF_USERS.read(tx, &users, shared, bind).await?;
        let before = read_rows(&rows, stay_from_row)?
            .into_iter()
            .map(|(_, (stay, _))| stay)
            .filter(|stay| stay.until_ms > stay.joined_ms);
        let changed = self.changes.iter().map(|change| change.id().to_owned());
        let new = self
            .new_stays()
            .filter(|stay| stay.until_ms > low && stay.joined_ms <= high);

        Ok(Some(StaysBeforeAfter {
            before: before.collect(),
            changed: changed.collect(),
            new: new.collect(),
        }))
    }

    /// Do these users have more stays that touch the span from `low` to `high`, ms, than are read
    /// for one update?
    async fn has_too_many_stays(
        &self,
        tx: &mut Tx,
        users: &[String],
        low: i64,
        high: i64,
    ) -> Result<bool, Error> {
        // No user has more stays in the call than the call has.
        if self.session.memberships <= MOST_STAYS {
            return Ok(false);
        }

        let shared = |query: Statement| query.bind(self.session.id.clone()).bind(low).bind(high);
        let bind = |query: Statement, user: Option<&String>| query.bind(user.cloned());
        let mut stays = 0;
        for row in COUNT_OF_USERS.read(tx, users, shared, bind).await? {
            stays += row.try_get::<i64, _>("n")?;
        }

        Ok(stays > to_i64(MOST_STAYS))
    }

    /// Is somebody present all the time from just before the first change to the last join? The
    /// answer holds for the call only if `stays` are the stays of all users who are in it.
    fn is_unbroken(&self, stays: &StaysBeforeAfter) -> bool {
        let mut spans: Vec<(i64, i64)> = stays
            .after()
            .map(|stay| (stay.joined_ms, stay.until_ms))
            .collect();
        spans.sort_unstable();

        let mut reached = None;
        for (joined, until) in spans {
            if joined > reached.unwrap_or(self.from - 1) {
                return false;
            }

            if until >= self.from {
                reached = reached.max(Some(until));
            }
        }

        reached.is_some()
    }

    /// When the last stay of the call ends after the changes, ms; `None` when none is left. One
    /// more stay is read than change, so that one of those that stay as they are is among them.
    async fn last_end(&self, tx: &mut Tx) -> Result<Option<i64>, Error> {
        let changed: BTreeSet<&str> = self.changes.iter().map(|change| change.id()).collect();
        let query = sqlx::query(LAST_ENDS)
            .bind(&self.session.id)
            .bind(to_i64(changed.len() + 1));
        let mut last = self.new_stays().map(|stay| stay.until_ms).max();
        for row in query.fetch_all(&mut **tx).await? {
            if !changed.contains(row.try_get::<&str, _>("id")?) {
                last = last.max(Some(row.try_get("until_ms")?));
            }
        }

        Ok(last)
    }

    /// Adds the changed stays to the counts of the tally and to those of the session, and writes
    /// the tally.
    async fn update_counts(&self, tx: &mut Tx, session: &mut Session) -> Result<(), Error> {
        let mut steps: BTreeMap<CounterKey, i64> = BTreeMap::new();
        for change in &self.changes {
            let was = change.old.as_ref().filter(|old| self.was_in(Some(old)));
            let is = change.new.as_ref().filter(|new| self.is_in(Some(new)));
            for (member, one) in was
                .map(|old| (old, -1))
                .into_iter()
                .chain(is.map(|new| (new, 1)))
            {
                session.memberships = add_signed(session.memberships, one);
                let (user, device) = member.device_key();
                for key in counter_keys(user, device, member.intent.as_deref()) {
                    *steps.entry(key).or_default() += one;
                }
            }
        }

        steps.retain(|_, step| *step != 0);
        let keys: Vec<&CounterKey> = steps.keys().collect();
        let known = read_counts(tx, self.tally, &keys).await?;
        let mut counts = Vec::with_capacity(steps.len());
        let mut intents_changed = false;
        for (key, step) in steps {
            let before = known.get(&key).copied().unwrap_or(0);
            let now = before + step;
            let came = i64::from(now > 0) - i64::from(before > 0);
            match (key.0, came) {
                ("u", came) => session.users = add_signed(session.users, came),
                ("d", came) => session.devices = add_signed(session.devices, came),
                ("s", 1) => drop(session.servers.insert(key.1.clone())),
                ("s", -1) => drop(session.servers.remove(&key.1)),
                ("i", _) => intents_changed = true,
                _ => {}
            }

            counts.push((key, now));
        }

        write_counts(tx, self.tally, &counts).await?;
        if intents_changed {
            let query = sqlx::query_scalar(INTENTS).bind(self.tally);
            let intents: Vec<String> = query.fetch_all(&mut **tx).await?;
            session.intent = if intents.len() == 1 {
                intents.into_iter().next()
            } else {
                None
            };
        }

        Ok(())
    }
}

/// Users who join or leave after the first time and up to the second, ms.
const MOVING: &str = "select user_id from memberships
        where session_id = $1 and joined_ms > $2 and joined_ms <= $3
    union select user_id from memberships
        where session_id = $1 and until_ms > $2 and until_ms <= $3
    limit $4";
static OF_USERS: MultiRow = MultiRow::new(
    "with asked(user_id) as (values ",
    "(cast(? as text))",
    sql!(
        ") select ",
        StayRow::LIST,
        " from asked a cross join memberships m
        where m.user_id = a.user_id and m.session_id || '' = $1 and m.until_ms > $2
        and m.joined_ms + 0 <= $3"
    ),
);
static COUNT_OF_USERS: MultiRow = MultiRow::new(
    "with asked(user_id) as (values ",
    "(cast(? as text))",
    ") select count(*) as n from asked a cross join memberships m
        where m.user_id = a.user_id and m.session_id || '' = $1 and m.until_ms > $2
        and m.joined_ms + 0 <= $3",
);
const LAST_ENDS: &str = "select id, until_ms from memberships where session_id = $1
    order by until_ms desc limit $2";

/// How many devices and how many users are present at a time, ms: a stay counts at its start and no
/// longer at its end.
fn count_present<'a>(stays: impl Iterator<Item = &'a CountedStay>, at_ms: i64) -> (usize, usize) {
    let mut devices: BTreeSet<(&str, &str)> = BTreeSet::new();
    for stay in stays {
        if stay.joined_ms <= at_ms && at_ms < stay.until_ms {
            devices.insert((&stay.user, &stay.device));
        }
    }

    let users: BTreeSet<&str> = devices.iter().map(|(user, _)| *user).collect();

    (devices.len(), users.len())
}

/// The peak of a call whose peak was `known`, if that of a part of it changed from `before` to
/// `after`. `None` if the old peak was in this part and is there no more: then that of the other
/// parts is not known.
fn updated_peak(known: usize, before: usize, after: usize) -> Option<usize> {
    if after >= known {
        Some(after)
    } else if before < known {
        Some(known)
    } else {
        None
    }
}

/// The count plus this step, which may be negative; never below 0.
fn add_signed(count: usize, step: i64) -> usize {
    count.saturating_add_signed(isize::try_from(step).unwrap_or(0))
}

const INTENTS: &str =
    "select key from tallies where tally = $1 and what = 'i' and n > 0 order by key limit 2";

/// The counters to which one stay adds: those of its user, its device, its server, and its intent
/// if there is one.
fn counter_keys(
    user: &str,
    device: &str,
    intent: Option<&str>,
) -> impl Iterator<Item = CounterKey> {
    let all = [
        ("u", user.to_owned()),
        ("d", format!("{user}\n{device}")),
        ("s", server_of(user).to_owned()),
    ];

    all.into_iter()
        .chain(intent.map(|intent| ("i", intent.to_owned())))
}

const NEXT: &str = "select coalesce(max(tally), 0) + 1 from tallies";

static COUNTS: MultiRow = MultiRow::new(
    "with asked(what, key) as (values ",
    "(cast(? as text), cast(? as text))",
    ") select t.what as what, t.key as key, t.n as n
        from asked a cross join tallies t where t.tally = $1 and t.what = a.what and t.key = a.key",
);
static WRITE: MultiRow = MultiRow::new(
    "insert into tallies (tally, what, key, n) values ",
    "($1, ?, ?, ?)",
    " on conflict (tally, what, key) do update set n = excluded.n",
);

/// How many stays these counters of a tally have. Counters that are not stored are left out.
async fn read_counts(
    tx: &mut Tx,
    tally: i64,
    keys: &[&CounterKey],
) -> Result<BTreeMap<CounterKey, i64>, Error> {
    let shared = |query: Statement| query.bind(tally);
    let bind = |query: Statement, key: Option<&&CounterKey>| {
        query
            .bind(key.map(|key| key.0))
            .bind(key.map(|key| key.1.clone()))
    };

    let mut counts = BTreeMap::new();
    for row in COUNTS.read(tx, keys, shared, bind).await? {
        let what = match row.try_get("what")? {
            "u" => "u",
            "d" => "d",
            "s" => "s",
            _ => "i",
        };

        counts.insert((what, row.try_get("key")?), row.try_get("n")?);
    }

    Ok(counts)
}

/// Stores these counters of a tally, each with its new number of stays.
async fn write_counts(tx: &mut Tx, tally: i64, counts: &[(CounterKey, i64)]) -> Result<(), Error> {
    let shared = |query: Statement| query.bind(tally);
    let bind = |query: Statement, (key, n): &(CounterKey, i64)| {
        query.bind(key.0).bind(key.1.clone()).bind(*n)
    };

    WRITE.write(tx, counts, shared, bind).await?;

    Ok(())
}

const PRESENT: &str = "select at_ms, devices, users from tallies_present where tally = $1";
const STORE_PRESENT: &str = "insert into tallies_present (tally, at_ms, devices, users)
    values ($1, $2, $3, $4)
    on conflict (tally) do update set at_ms = excluded.at_ms, devices = excluded.devices,
        users = excluded.users";

/// The devices and users present at the last join; `None` for a tally of a version that did not
/// store them.
async fn read_present(tx: &mut Tx, tally: i64) -> Result<Option<PresentCount>, Error> {
    let row = sqlx::query(PRESENT)
        .bind(tally)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };

    let count = |column: &str| {
        row.try_get::<i64, _>(column)
            .map(|number| usize::try_from(number).unwrap_or(0))
    };

    Ok(Some(PresentCount {
        at_ms: row.try_get("at_ms")?,
        devices: count("devices")?,
        users: count("users")?,
    }))
}

/// Stores who is present at the last join of a call, in place of what was stored.
async fn store_present(tx: &mut Tx, tally: i64, present: PresentCount) -> Result<(), Error> {
    sqlx::query(STORE_PRESENT)
        .bind(tally)
        .bind(present.at_ms)
        .bind(to_i64(present.devices))
        .bind(to_i64(present.users))
        .execute(&mut **tx)
        .await?;

    Ok(())
}

/// Stores the tally of a call that was just counted from its stays. Returns the number of the
/// tally.
pub(in crate::store) async fn create_tally(
    tx: &mut Tx,
    count: &SessionCounter,
) -> Result<i64, Error> {
    let tally: i64 = sqlx::query_scalar(NEXT).fetch_one(&mut **tx).await?;
    let mut counts: BTreeMap<CounterKey, i64> = BTreeMap::new();
    for ((user, device), n) in &count.devices {
        for key in counter_keys(user, device, None) {
            *counts.entry(key).or_default() += n;
        }
    }

    counts.extend(
        count
            .intents
            .iter()
            .map(|(intent, n)| (("i", intent.clone()), *n)),
    );
    let counts: Vec<(CounterKey, i64)> = counts.into_iter().collect();
    write_counts(tx, tally, &counts).await?;
    store_present(tx, tally, count.present()).await?;

    Ok(tally)
}

const END_PRESENT: &str = "delete from tallies_present where tally = $1";
const END: &str = "delete from tallies where tally = $1";

/// Deletes the tally of this number.
pub(in crate::store) async fn delete_tally(tx: &mut Tx, tally: i64) -> Result<(), Error> {
    sqlx::query(END).bind(tally).execute(&mut **tx).await?;
    sqlx::query(END_PRESENT)
        .bind(tally)
        .execute(&mut **tx)
        .await?;

    Ok(())
}
