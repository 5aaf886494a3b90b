//! The totals of days (UTC) that are counted already, as sums over a span use them.

use crate::rtc::coverage::Span;
use crate::rtc::time::{DAY_MS, day_of_time};
use crate::store::{Error, Reader};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The totals of a day. Times in ms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct DayTotals {
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
pub(in crate::store) struct CountedDays(BTreeMap<i64, DayTotals>);

pub(in crate::store) const READ: &str =
    "select day, facts from days where day >= $1 and day < $2 and facts <> ''";

impl CountedDays {
    /// Reads the totals of the counted days that lie wholly within a span.
    pub async fn read_days(store: &Reader, span: Span) -> Result<Self, Error> {
        let Some((first, end)) = whole_days(span) else {
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

    /// How many people were in calls on the day that is this span; `None` if the span is no whole
    /// day, or the day is not counted.
    pub fn people(&self, span: Span) -> Option<i64> {
        let is_day = span.from.rem_euclid(DAY_MS) == 0 && span.to - span.from == DAY_MS;
        is_day
            .then(|| self.0.get(&day_of_time(span.from)))
            .flatten()
            .map(|day| day.people)
    }

    /// The counted days that lie wholly within a span, in order, each with its totals, and the rest
    /// of the span in parts, which must be counted from stays and calls. Only days within the span
    /// that these were read for are known.
    pub fn split(&self, span: Span) -> (Vec<(i64, &DayTotals)>, Vec<Span>) {
        // `at`: up to where the span is dealt with, ms.
        let (mut days, mut rest, mut at) = (Vec::new(), Vec::new(), span.from);
        if let Some((first, end)) = whole_days(span) {
            for (day, facts) in self.0.range(first..end) {
                rest.extend((day * DAY_MS > at).then_some(Span {
                    from: at,
                    to: day * DAY_MS,
                }));
                days.push((*day, facts));
                at = (day + 1) * DAY_MS;
            }
        }

        rest.extend((span.to > at).then_some(Span {
            from: at,
            to: span.to,
        }));

        (days, rest)
    }
}

/// The first whole day of a span and the day after the last one, as days since the Unix epoch;
/// `None` if no whole day is in it.
fn whole_days(span: Span) -> Option<(i64, i64)> {
    let (first, end) = (-(-span.from).div_euclid(DAY_MS), span.to.div_euclid(DAY_MS));
    (first < end).then_some((first, end))
}
