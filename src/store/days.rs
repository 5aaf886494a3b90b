//! The totals of each day (UTC), so that sums over a year need not read every stay of it. A day is
//! counted in the background once everything that touches it is over. Whoever changes something of
//! a day deletes its totals in the same commit. A day without totals is counted when somebody asks.
//! Unobserved time is not part of the totals: it changes without any stay.

use super::rows::Rows;
use super::sums::{self, Scope};
use super::{Error, Store, Tx, statistics};
use crate::rtc::coverage::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const DAY: i64 = 86_400_000;
/// Maximum age of the days that are kept, in days: two periods of a year.
const KEPT: i64 = 732;

/// The totals of a day. Times in ms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Day {
    /// By room and server: device time, and the part of it that was seen.
    pub places: BTreeMap<String, BTreeMap<String, (i64, i64)>>,
    /// By room: calls that began, and those whose start or end is inferred.
    pub begun: BTreeMap<String, (i64, i64)>,
    /// Calls that began, by their servers (separated by spaces).
    pub servers: BTreeMap<String, i64>,
    /// By server: stays that ended, and those without an end event.
    pub ends: BTreeMap<String, (i64, i64)>,
    /// Hours since the Unix epoch and their device time.
    pub hours: Vec<(i64, i64)>,
    /// Calls that began, by class: shortest length and fewest people of the class.
    pub classes: Vec<(i64, i64, i64)>,
    /// Different people in calls.
    pub people: i64,
}

/// The days that are counted.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<i64, Day>);

pub(super) const READ: &str =
    "select day, facts from days where day >= $1 and day < $2 and facts <> ''";

impl Known {
    /// The counted days within a span.
    pub async fn read_days(store: &Store, span: Span) -> Result<Self, Error> {
        let Some((first, end)) = whole(span) else {
            return Ok(Self::default());
        };

        let rows: Vec<(i64, String)> = sqlx::query_as(READ)
            .bind(first)
            .bind(end)
            .fetch_all(&store.read)
            .await?;
        let day = |(day, facts): (i64, String)| match serde_json::from_str(&facts) {
            Ok(facts) => Ok((day, facts)),
            Err(error) => Err(Error::Content(format!("what day {day} came to: {error}"))),
        };

        Ok(Self(rows.into_iter().map(day).collect::<Result<_, _>>()?))
    }

    /// How many people were in calls on the day that equals this span, if that day is counted.
    pub fn people(&self, span: Span) -> Option<i64> {
        let is_day = span.from.rem_euclid(DAY) == 0 && span.to - span.from == DAY;
        is_day
            .then(|| self.0.get(&day_of(span.from)))
            .flatten()
            .map(|day| day.people)
    }

    /// The counted days within a span, and the rest of the span.
    pub fn split(&self, span: Span) -> (Vec<(i64, &Day)>, Vec<Span>) {
        let (mut days, mut rest, mut at) = (Vec::new(), Vec::new(), span.from);
        if let Some((first, end)) = whole(span) {
            for (day, facts) in self.0.range(first..end) {
                rest.extend((day * DAY > at).then_some(Span {
                    from: at,
                    to: day * DAY,
                }));
                days.push((*day, facts));
                at = (day + 1) * DAY;
            }
        }

        rest.extend((span.to > at).then_some(Span {
            from: at,
            to: span.to,
        }));

        (days, rest)
    }
}

/// The first whole day of a span, and the day after the last one.
fn whole(span: Span) -> Option<(i64, i64)> {
    let (first, end) = (-(-span.from).div_euclid(DAY), span.to.div_euclid(DAY));
    (first < end).then_some((first, end))
}

/// The day in which a time, ms, lies.
pub(super) fn day_of(ms: i64) -> i64 {
    ms.div_euclid(DAY)
}

const COUNTED: &str = "select day from days where facts <> ''";
const FORGET: &str = "delete from days where day < $1";

/// The days before `now`, ms, that are not counted, the last first. Days older than pages ask for
/// are deleted.
///
/// # Errors
/// When the database fails.
pub async fn missing(store: &Store, now: i64) -> Result<Vec<i64>, Error> {
    let (first, today) = (day_of(now) - KEPT, day_of(now));
    sqlx::query(FORGET)
        .bind(first)
        .execute(&store.write)
        .await?;
    let counted: Vec<i64> = sqlx::query_scalar(COUNTED).fetch_all(&store.read).await?;
    let counted: std::collections::BTreeSet<i64> = counted.into_iter().collect();

    Ok((first..today)
        .rev()
        .filter(|day| !counted.contains(day))
        .collect())
}

// Something of the day still runs: a stay, or a call that began in it.
pub(super) const OPEN: &str = "select 1 from memberships where until_ms > $1 and joined_ms < $3
    union all select 1 from sessions where until_ms > $1 and started_ms >= $2 and started_ms < $3 limit 1";
const BEGIN: &str = "insert into days (day, facts) values ($1, '') on conflict (day) do nothing";
// If something of the day changed meanwhile, its row was deleted, and this updates nothing.
const NOTE: &str = "update days set facts = $2 where day = $1 and facts = ''";

/// Counts a day, as known at `now`, ms. Returns false if it is not over yet, or changed meanwhile.
///
/// # Errors
/// When the database fails.
pub async fn count(store: &Store, day: i64, now: i64) -> Result<bool, Error> {
    let span = Span {
        from: day * DAY,
        to: (day + 1) * DAY,
    };

    let query = sqlx::query_scalar(OPEN)
        .bind(now)
        .bind(span.from)
        .bind(span.to);
    let open: Option<i64> = query.fetch_optional(&store.read).await?;
    if span.to > now || open.is_some() {
        return Ok(false);
    }

    sqlx::query(BEGIN).bind(day).execute(&store.write).await?;
    let mut facts = Day::default();
    for place in sums::live_places(store, Scope::All, span, now).await? {
        let (together, seen) = (place.together_ms, place.together_seen_ms);
        facts
            .places
            .entry(place.room_id)
            .or_default()
            .insert(place.server, (together, seen));
    }

    facts.begun = sums::live_begun(store, span, now).await?;
    facts.servers = statistics::begun_by_servers(store, span).await?;
    facts.ends = statistics::live_ends(store, span).await?;
    facts.hours = sums::by_hour(&sums::live_hours(store, Scope::All, span, now).await?)
        .into_iter()
        .collect();
    let classes = statistics::live_classes(store, span, now).await?;
    facts.classes = classes
        .into_iter()
        .map(|class| (class.length_ms, class.people, class.calls))
        .collect();
    facts.people = sums::live_people(store, span).await?;
    let facts = serde_json::to_string(&facts).map_err(|error| Error::Content(error.to_string()))?;
    let done = sqlx::query(NOTE)
        .bind(day)
        .bind(facts)
        .execute(&store.write)
        .await?;

    Ok(done.rows_affected() == 1)
}

const BETWEEN: &str = "select day from days where day >= $1 and day <= $2";
static TAKE: Rows = Rows::new("delete from days where day in (", "?", ")");
const TAKE_ALL: &str = "delete from days";

/// Deletes the totals of the days that these spans (from and to, ms) touch: something of them
/// changes.
pub(super) async fn take_out(tx: &mut Tx, spans: &[(i64, i64)]) -> Result<(), Error> {
    let spans: Vec<(i64, i64)> = spans
        .iter()
        .map(|(from, to)| (day_of(*from), day_of(*to)))
        .collect();
    let Some(first) = spans.iter().map(|(from, _)| *from).min() else {
        return Ok(());
    };

    let last = spans.iter().map(|(_, to)| *to).max().unwrap_or(first);
    let mut days: Vec<i64> = sqlx::query_scalar(BETWEEN)
        .bind(first)
        .bind(last)
        .fetch_all(&mut **tx)
        .await?;
    days.retain(|day| spans.iter().any(|(from, to)| (from..=to).contains(&day)));
    TAKE.write(tx, &days, |query| query, |query, day| query.bind(*day))
        .await?;

    Ok(())
}

/// Deletes all totals: everything is derived again.
pub(super) async fn take_out_all(tx: &mut Tx) -> Result<(), Error> {
    sqlx::query(TAKE_ALL).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
#[path = "days_tests.rs"]
mod tests;
