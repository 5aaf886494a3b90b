//! Slots: when each of a room was opened and closed. This is derived from its events and stored,
//! because there may be many events and most folds need only the last change.

use crate::rtc::event::RoomEvent;
use crate::rtc::room::RoomConditions;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::stored_event::event_from_row;
use crate::store::{Error, Tx};
use sqlx::Row;
use std::collections::BTreeMap;

/// Changes of a slot, in order: the time, ms, and whether it is open from then on.
pub(super) type SlotChanges = Vec<(i64, bool)>;

const KEPT: &str =
    "select time_ms, is_open from slots where room_id = $1 and slot_id = $2 order by time_ms";
const FORGET: &str =
    "delete from slots where room_id = $1 and slot_id = $2 and time_ms >= $3 and time_ms < $4";
static KEEP: MultiRow = MultiRow::new(
    "insert into slots (room_id, slot_id, time_ms, is_open) values ",
    "($1, $2, ?, ?)",
    "",
);

/// Computes the changes of a slot from its events and stores them. Returns the span of time, ms, in
/// which they differ from what was stored, the end excluded; `None` if they do not differ.
pub(super) async fn update_slots(
    tx: &mut Tx,
    room_id: &str,
    slot_id: &str,
) -> Result<Option<(i64, i64)>, Error> {
    let kept: Vec<(i64, i64)> = sqlx::query_as(KEPT)
        .bind(room_id)
        .bind(slot_id)
        .fetch_all(&mut **tx)
        .await?;
    let before: SlotChanges = kept
        .into_iter()
        .map(|(time, open)| (time, open != 0))
        .collect();
    let now = compute_slot_changes(tx, room_id, slot_id).await?;
    let span = differing_span(&before, &now);
    if let Some((from, to)) = span {
        sqlx::query(FORGET)
            .bind(room_id)
            .bind(slot_id)
            .bind(from)
            .bind(to)
            .execute(&mut **tx)
            .await?;
        let new = &now[now.partition_point(|(time, _)| *time < from)
            ..now.partition_point(|(time, _)| *time < to)];
        let shared = |query: Statement| query.bind(room_id.to_owned()).bind(slot_id.to_owned());
        let bind =
            |query: Statement, (time, open): &(i64, bool)| query.bind(*time).bind(i64::from(*open));
        KEEP.write(tx, new, shared, bind).await?;
    }

    Ok(span)
}

/// The first time, ms, at which two histories of a slot differ, and the time from which on they are
/// equal again (`i64::MAX` if they never are); `None` if they are the same. Both must be in order
/// of time.
fn differing_span(a: &[(i64, bool)], b: &[(i64, bool)]) -> Option<(i64, i64)> {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    let from = a
        .first()
        .into_iter()
        .chain(b.first())
        .map(|(time, _)| *time)
        .min()?;
    let again = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .last();

    Some((from, again.map_or(i64::MAX, |((time, _), _)| *time)))
}

const EVENTS: &str = "select * from events where room_id = $1 and chain is null
    and kind in ('org.matrix.msc4143.rtc.slot', 'm.rtc.slot') and state_key = $2";
// `cross join` keeps this order in SQLite, so that it does not read the whole room for redactions.
const REDACTIONS: &str = "select r.* from events s cross join events r where r.redacts = s.event_id
        and r.room_id = s.room_id
    and s.room_id = $1 and s.chain is null and s.kind in ('org.matrix.msc4143.rtc.slot',
    'm.rtc.slot')
    and s.state_key = $2";

/// The changes of a slot, computed from all its events.
async fn compute_slot_changes(
    connection: &mut sqlx::AnyConnection,
    room_id: &str,
    slot_id: &str,
) -> Result<SlotChanges, Error> {
    let mut events: Vec<RoomEvent> = Vec::new();
    for sql in [EVENTS, REDACTIONS] {
        for row in sqlx::query(sql)
            .bind(room_id)
            .bind(slot_id)
            .fetch_all(&mut *connection)
            .await?
        {
            events.push(event_from_row(&row)?);
        }
    }

    Ok(RoomConditions::from_events(&events)
        .slot_changes(slot_id)
        .collect())
}

static SINCE: MultiRow = MultiRow::new(
    "with asked(slot_id) as (values ",
    "(cast(? as text))",
    ") select s.slot_id, s.time_ms, s.is_open from asked a cross join slots s
    where s.room_id = $1 and s.slot_id = a.slot_id and s.time_ms >= coalesce((select max(b.time_ms)
    from slots b
        where b.room_id = $1 and b.slot_id = a.slot_id and b.time_ms <= $2), $2)
    order by s.slot_id, s.time_ms",
);
static HAVE_EVENTS: MultiRow = MultiRow::new(
    "select distinct state_key from events where room_id = $1 and chain is null
    and kind in ('org.matrix.msc4143.rtc.slot', 'm.rtc.slot') and state_key in (",
    "?",
    ")",
);

/// Whether each of these slots is open at `from`, ms, as its last change until then, and every
/// change since. A slot of which nothing is stored is computed from its events, if it has any.
pub(super) async fn slot_changes_since(
    tx: &mut Tx,
    room_id: &str,
    slot_ids: &[&str],
    from: i64,
) -> Result<BTreeMap<String, SlotChanges>, Error> {
    let mut found: BTreeMap<String, SlotChanges> = BTreeMap::new();
    let shared = |query: Statement| query.bind(room_id.to_owned()).bind(from);
    let bind =
        |query: Statement, slot: Option<&&str>| query.bind(slot.map(|slot| (*slot).to_owned()));
    for row in SINCE.read(tx, slot_ids, shared, bind).await? {
        let open = row.try_get::<i64, _>("is_open")? != 0;
        found
            .entry(row.try_get("slot_id")?)
            .or_default()
            .push((row.try_get("time_ms")?, open));
    }

    let rest: Vec<&str> = slot_ids
        .iter()
        .copied()
        .filter(|slot| !found.contains_key(*slot))
        .collect();
    for row in HAVE_EVENTS.look_up(tx, room_id, &rest).await? {
        let slot: String = row.try_get("state_key")?;
        let course = compute_slot_changes(tx, room_id, &slot).await?;
        found.insert(slot, course);
    }

    Ok(found)
}

const FORGET_ALL: &str = "delete from slots where room_id = $1";
const ALL: &str = "select distinct state_key from events where room_id = $1 and chain is null
    and kind in ('org.matrix.msc4143.rtc.slot', 'm.rtc.slot') and state_key is not null";

/// Derives all slots of a room again.
pub(super) async fn rebuild_slots(tx: &mut Tx, room_id: &str) -> Result<(), Error> {
    sqlx::query(FORGET_ALL)
        .bind(room_id)
        .execute(&mut **tx)
        .await?;
    for slot_id in sqlx::query_scalar::<_, String>(ALL)
        .bind(room_id)
        .fetch_all(&mut **tx)
        .await?
    {
        update_slots(tx, room_id, &slot_id).await?;
    }

    Ok(())
}

const CONCERNED: &str =
    "select distinct chain from events where room_id = $1 and substr(chain, 1, 1) = 'k'
    and time_ms >= $2 and time_ms < $3";

/// The member keys of the room's sticky events that may have counted from `from` (included) to `to`
/// (excluded), ms.
/// No sticky event counts longer than `longest`, ms, so older ones are left out. They need not be
/// of one slot.
pub(super) async fn sticky_keys_of_slot(
    tx: &mut Tx,
    room_id: &str,
    from: i64,
    to: i64,
    longest: i64,
) -> Result<Vec<String>, Error> {
    let query = sqlx::query_scalar(CONCERNED)
        .bind(room_id)
        .bind(from.saturating_sub(longest))
        .bind(to);

    Ok(query.fetch_all(&mut **tx).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courses_differ_from_the_first_other_change_to_where_they_agree_for_good() {
        let course = |text: &str| -> SlotChanges {
            text.split_whitespace()
                .map(|word| (word[1..].parse().unwrap(), word.starts_with('o')))
                .collect()
        };

        for (before, after, span) in [
            ("", "", None),
            ("o1 c2", "o1 c2", None),
            ("", "o5", Some((5, i64::MAX))),
            ("o1", "o1 c7", Some((7, i64::MAX))),
            ("o10 c20", "c5 o10 c20", Some((5, 10))),
            ("o1 c20 o30", "o1 c10 o12 c20 o30", Some((10, 20))),
            ("o1 c2 o3", "o1", Some((2, i64::MAX))),
            ("o1 c2 o3 c4", "c1 o3 c4", Some((1, 3))),
        ] {
            assert_eq!(
                differing_span(&course(before), &course(after)),
                span,
                "{before} / {after}"
            );
            assert_eq!(
                differing_span(&course(after), &course(before)),
                span,
                "{after} / {before}"
            );
        }
    }
}
