//! Rings, declines and slot changes around a call.

use super::events::event;
use super::row::{Call, Viewer};
use super::{Error, Store};
use crate::rtc::related::{Related, What, read};

/// A ring comes with the first join, give or take clocks, ms.
const BEFORE_MS: i64 = 60_000;
/// A decline may come a little after all have gone, ms.
const AFTER_MS: i64 = 120_000;
const LIMIT: i64 = 500;

const AROUND: &str = "select * from events where room_id = $1 and origin_server_ts >= $2 and origin_server_ts <= $3
    and kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification', 'org.matrix.msc4075.call.notify',
        'm.call.notify', 'org.matrix.msc4310.rtc.decline', 'm.rtc.decline', 'org.matrix.msc4143.rtc.slot', 'm.rtc.slot')
    order by origin_server_ts, event_id limit $4";

/// What was sent about one call, oldest first: of notifications those that refer to one of `joins` (or to nothing) and
/// lie within the call, the declines of those, and the changes of the call's slot.
///
/// # Errors
/// When the database fails.
pub async fn of(
    store: &Store,
    viewer: Viewer,
    call: &Call,
    joins: &[String],
) -> Result<Vec<Related>, Error> {
    let Viewer::Operator = viewer;
    let (from, to) = (
        call.started_ms.saturating_sub(BEFORE_MS),
        call.until_ms.saturating_add(AFTER_MS),
    );
    let query = sqlx::query(AROUND)
        .bind(&call.room.room_id)
        .bind(from)
        .bind(to)
        .bind(LIMIT);
    let mut found: Vec<Related> = Vec::new();
    for row in query.fetch_all(&store.read).await? {
        let Some(related) = read(&event(&row)?) else {
            continue;
        };
        let refers = related.relates_to.as_ref();
        let is_ours = match related.what {
            What::Ring | What::Notification => match refers {
                Some(target) => joins.contains(target),
                None => related.at_ms <= call.until_ms,
            },
            What::Decline => found.iter().any(|known| Some(&known.event_id) == refers),
            What::SlotOpened | What::SlotClosed => {
                related.slot_id.as_deref() == Some(&call.slot_id)
            }
        };
        if is_ours {
            found.push(related);
        }
    }
    Ok(found)
}
