//! What a write makes stale: member keys, slots and facts of a room, which are derived again in the
//! same commit; and the totals of days, which are counted again when somebody asks.

use crate::rtc::event::RoomEvent;
use crate::rtc::time::day_of_time;
use crate::store::db::multi_row::MultiRow;
use crate::store::ingest::new_events::NewEvents;
use crate::store::{Error, Tx};
use std::collections::{BTreeMap, BTreeSet};

/// What new events of one room make stale. Times in ms.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each says of one part whether it changed"
)]
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Dirty {
    /// For each member key the first and the last time at which something changed. `i64::MIN` and
    /// `i64::MAX` mean from the beginning and to the end.
    pub member_keys: BTreeMap<String, (i64, i64)>,
    /// For each user the changed events of the user's membership of the room, by id, with the event
    /// as it was before.
    pub presence: BTreeMap<String, BTreeMap<String, Option<RoomEvent>>>,
    /// Slots for which an event or its redaction came.
    pub slots: BTreeSet<String>,
    /// The room's creation event came; its time, ms. Stays that claim to have begun before it
    /// change.
    pub created_ms: Option<i64>,
    /// The room's creation event is not the one we knew: all member keys may change.
    pub everything: bool,
    /// Name, alias or state of the room may have changed.
    pub facts: bool,
    /// Who is in the room, or by which types of events calls are joined, may have changed.
    pub accounts: bool,
    pub new_events: usize,
    /// Contents of redacted events were deleted.
    pub taken_back: bool,
    /// A ban that redacts all events of a user is not fully applied yet.
    pub has_open_bans: bool,
    /// Users whose display names were deleted with redacted events.
    pub unnamed: BTreeSet<String>,
    /// Somebody sent more events than the limits allow to be stored.
    pub set_aside: bool,
    /// What the new events say.
    pub fresh: NewEvents,
}

impl Dirty {
    /// Notes that something changed for a member key between these times, ms, both included. The
    /// span of the key grows so that all of its changes are in it.
    pub fn add_member_key(&mut self, member_key: &str, from: i64, to: i64) {
        let span = self
            .member_keys
            .entry(member_key.to_owned())
            .or_insert((from, to));
        *span = (span.0.min(from), span.1.max(to));
    }
}

const BETWEEN: &str = "select day from days where day >= $1 and day <= $2";
static TAKE: MultiRow = MultiRow::new("delete from days where day in (", "?", ")");
const TAKE_ALL: &str = "delete from days";

/// Deletes the stored totals of every day that one of these spans (from and to, ms) touches,
/// because something of those days changes. They are counted again when somebody asks.
pub(in crate::store) async fn discard_day_totals(
    tx: &mut Tx,
    spans: &[(i64, i64)],
) -> Result<(), Error> {
    let spans: Vec<(i64, i64)> = spans
        .iter()
        .map(|(from, to)| (day_of_time(*from), day_of_time(*to)))
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
pub(in crate::store) async fn discard_all_day_totals(tx: &mut Tx) -> Result<(), Error> {
    sqlx::query(TAKE_ALL).execute(&mut **tx).await?;
    Ok(())
}
