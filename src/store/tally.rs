//! Tallies: a large call is not counted anew with each change. What changed is added to its counts
//! or taken from them, and what can have changed in its peak and its length is looked at where it
//! changed.

use super::memberships::{Assigned, Facts};
use super::packed::unpack;
use super::recount::{Cluster, stay, stay_columns};
use super::rows::{Rows, Statement};
use super::{Error, Tx};
use crate::rtc::session::{Count, Session, Stay, peak, server_of};
use std::collections::BTreeMap;

type Key = (&'static str, String);

/// The changes of one span of time in one large call.
pub(super) struct Move<'a> {
    pub session: &'a Session,
    pub tally: i64,
    /// What was taken into the call before, but is not written yet.
    pub before: &'a [Cluster<'a>],
    pub cluster: &'a Cluster<'a>,
}

const PRESENT: &str = concat!(
    "select ",
    stay_columns!(),
    " from memberships m where m.session_id = $1 and m.until_ms >= $2 and m.joined_ms + 0 <= $3"
);

impl Move<'_> {
    /// The call after the changes; `None` when it must be counted anew: its beginning changed, it
    /// fell apart, or its peak was where stays became shorter.
    pub async fn apply(
        &self,
        tx: &mut Tx,
        assigned: &mut Assigned,
    ) -> Result<Option<Session>, Error> {
        let old = self.session;
        if self.cluster.from <= old.started_ms {
            return Ok(None);
        }

        let present = self.present(tx).await?;
        let Some(until_ms) = self.until(&present) else {
            return Ok(None);
        };

        let Some((peak, peak_users)) = self.peaks(&present) else {
            return Ok(None);
        };

        let mut new = Session {
            until_ms,
            peak,
            peak_users,
            ..old.clone()
        };

        self.count(tx, &mut new).await?;
        for change in self
            .cluster
            .changes
            .iter()
            .filter(|change| self.is_in(change.new.as_ref()))
        {
            assigned.insert(change.id().to_owned(), Some(old.id.clone()));
        }

        Ok(Some(new))
    }

    /// Is this stay in the call? The call's other boundary is where its stays end.
    fn is_in(&self, facts: Option<&Facts>) -> bool {
        facts.is_some_and(|facts| {
            facts.until_ms > facts.joined_ms && facts.joined_ms >= self.session.started_ms
        })
    }

    fn was_in(&self, facts: Option<&Facts>) -> bool {
        self.is_in(facts) && facts.is_some_and(|facts| facts.joined_ms <= self.session.until_ms)
    }

    /// The stays of the call that touch the span, as they are now, by row id.
    async fn present(&self, tx: &mut Tx) -> Result<BTreeMap<String, Stay>, Error> {
        let (from, to) = (self.cluster.from - 1, self.cluster.to);
        let query = sqlx::query(PRESENT)
            .bind(&self.session.id)
            .bind(from)
            .bind(to);
        let mut present = BTreeMap::new();
        for (_, (stay, _)) in unpack(&query.fetch_all(&mut **tx).await?, stay)? {
            present.insert(stay.id.clone(), stay);
        }

        for change in self
            .before
            .iter()
            .chain([self.cluster])
            .flat_map(|cluster| &cluster.changes)
        {
            present.remove(change.id());
            let new = change
                .new
                .as_ref()
                .filter(|_| self.is_in(change.new.as_ref()));
            let new = new.and_then(|new| new.stay(change.id()));
            let new = new.filter(|stay| stay.until_ms >= from && stay.joined_ms <= to);
            present.extend(new.map(|stay| (stay.id.clone(), stay)));
        }

        present.retain(|_, stay| stay.until_ms > stay.joined_ms);

        Ok(present)
    }

    /// When the call ends now; `None` when it fell apart. Outside of the span nothing changed.
    fn until(&self, present: &BTreeMap<String, Stay>) -> Option<i64> {
        let mut pieces: Vec<(i64, i64)> = present
            .values()
            .map(|stay| (stay.joined_ms, stay.until_ms))
            .collect();
        pieces.push((self.session.started_ms, self.cluster.from));
        if self.session.until_ms > self.cluster.to {
            pieces.push((self.cluster.to, self.session.until_ms));
        }

        // Nothing but the changed stays may have carried the call up to where the change begins.
        if !present
            .values()
            .any(|stay| stay.joined_ms < self.cluster.from)
        {
            return None;
        }

        pieces.sort_unstable();
        let mut until = pieces.first()?.1;
        for (joined, end) in pieces {
            if joined > until {
                return None;
            }

            until = until.max(end);
        }

        // The piece before the change ends where it begins; the call itself ends with its last
        // stay.
        let last = present.values().map(|stay| stay.until_ms).max()?;

        Some(if self.session.until_ms > self.cluster.to {
            until
        } else {
            last
        })
    }

    fn peaks(&self, present: &BTreeMap<String, Stay>) -> Option<(usize, usize)> {
        let mut before = present.clone();
        for change in &self.cluster.changes {
            before.remove(change.id());
            if let Some(old) = change
                .old
                .as_ref()
                .filter(|_| self.was_in(change.old.as_ref()))
            {
                before.extend(old.stay(change.id()).map(|stay| (stay.id.clone(), stay)));
            }
        }

        let window = (self.cluster.from - 1, self.cluster.to);
        let (old, new) = (
            peak(before.values(), window),
            peak(present.values(), window),
        );
        let settle = |known: usize, old: usize, new: usize| match new {
            new if new >= known => Some(new),
            new if old < known || new >= old => Some(known),
            _ => None,
        };

        Some((
            settle(self.session.peak, old.0, new.0)?,
            settle(self.session.peak_users, old.1, new.1)?,
        ))
    }

    async fn count(&self, tx: &mut Tx, session: &mut Session) -> Result<(), Error> {
        let mut deltas: BTreeMap<Key, i64> = BTreeMap::new();
        let mut stays = 0;
        for change in &self.cluster.changes {
            for (facts, one) in [
                (
                    change
                        .old
                        .as_ref()
                        .filter(|_| self.was_in(change.old.as_ref())),
                    -1,
                ),
                (
                    change
                        .new
                        .as_ref()
                        .filter(|_| self.is_in(change.new.as_ref())),
                    1,
                ),
            ] {
                let Some(facts) = facts else { continue };
                stays += one;
                for key in keys(&facts.user_id, facts.device(), facts.intent.as_deref()) {
                    *deltas.entry(key).or_default() += one;
                }
            }
        }

        session.memberships = add(session.memberships, stays);
        for ((what, key), delta) in deltas.into_iter().filter(|(_, delta)| *delta != 0) {
            let query = sqlx::query_scalar(ADD)
                .bind(self.tally)
                .bind(what)
                .bind(&key)
                .bind(delta);
            let now: i64 = query.fetch_one(&mut **tx).await?;
            let step = i64::from(now > 0) - i64::from(now - delta > 0);
            match (what, step) {
                (_, 0) => {}
                ("u", step) => session.users = add(session.users, step),
                ("d", step) => session.devices = add(session.devices, step),
                ("s", 1) => drop(session.servers.insert(key)),
                ("s", _) => drop(session.servers.remove(&key)),
                _ => {}
            }
        }

        let intents: Vec<String> = sqlx::query_scalar(INTENTS)
            .bind(self.tally)
            .fetch_all(&mut **tx)
            .await?;
        session.intent = if intents.len() == 1 {
            intents.into_iter().next()
        } else {
            None
        };

        Ok(())
    }
}

fn add(count: usize, step: i64) -> usize {
    count.saturating_add_signed(isize::try_from(step).unwrap_or(0))
}

const ADD: &str = "insert into tallies (tally, what, key, n) values ($1, $2, $3, $4)
    on conflict (tally, what, key) do update set n = tallies.n + excluded.n returning n";
const INTENTS: &str =
    "select key from tallies where tally = $1 and what = 'i' and n > 0 order by key limit 2";

fn keys(user: &str, device: &str, intent: Option<&str>) -> impl Iterator<Item = Key> {
    let all = [
        ("u", user.to_owned()),
        ("d", format!("{user}\n{device}")),
        ("s", server_of(user).to_owned()),
    ];

    all.into_iter()
        .chain(intent.map(|intent| ("i", intent.to_owned())))
}

const NEXT: &str = "select coalesce(max(tally), 0) + 1 from tallies";

static BEGIN: Rows = Rows::new(
    "insert into tallies (tally, what, key, n) values ",
    "($1, ?, ?, ?)",
    "",
);

/// Begins the tally of a call that was counted anew.
pub(super) async fn begin(tx: &mut Tx, count: &Count) -> Result<i64, Error> {
    let tally: i64 = sqlx::query_scalar(NEXT).fetch_one(&mut **tx).await?;
    let mut counts: BTreeMap<Key, i64> = BTreeMap::new();
    for ((user, device), n) in &count.devices {
        for key in keys(user, device, None) {
            *counts.entry(key).or_default() += n;
        }
    }

    counts.extend(
        count
            .intents
            .iter()
            .map(|(intent, n)| (("i", intent.clone()), *n)),
    );
    let counts: Vec<(Key, i64)> = counts.into_iter().collect();
    let bind = |query: Statement, ((what, key), n): &(Key, i64)| {
        query.bind(*what).bind(key.clone()).bind(*n)
    };

    BEGIN
        .write(tx, &counts, |query| query.bind(tally), bind)
        .await?;

    Ok(tally)
}

const END: &str = "delete from tallies where tally = $1";

/// Throws a tally away.
pub(super) async fn end(tx: &mut Tx, tally: i64) -> Result<(), Error> {
    sqlx::query(END).bind(tally).execute(&mut **tx).await?;
    Ok(())
}
