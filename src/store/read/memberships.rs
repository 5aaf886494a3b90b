//! Memberships as pages read them: by call, by id, and those that ended.

use crate::rtc::membership::Membership;
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::MultiRow;
use crate::store::model::Member;
use crate::store::stored_membership::{MembershipRow, membership_from_row};
use crate::store::{Error, Reader};
use sqlx::Row;
use sqlx::any::AnyRow;

/// Is `e` the event of the room, not of the call, that ended the stay `m`: did its user leave the
/// room, or was the user removed?
macro_rules! ended_by_the_room {
    () => {
        "m.end_reason in ('room_left', 'room_kicked', 'room_banned') and e.chain is null
            and e.room_id = m.room_id
            and e.kind = 'm.room.member' and e.state_key = m.user_id and e.time_ms = m.until_ms"
    };
}
pub(in crate::store) use ended_by_the_room;

json_row! {
    /// A stay as pages show it, of `memberships m` and `people p`.
    struct MemberRow {
        stay: MembershipRow = MembershipRow::OBJECT,
        session_id: String = "m.session_id",
        name: Option<String> = "p.name",
        ended_by: Option<String> = "m.ended_by",
    }
}

macro_rules! members {
    ($which:literal) => {
        sql!(
            "select ",
            MemberRow::LIST,
            " from (select m.*, coalesce(m.end_event_id, (select max(e.event_id) from events e
                where ",
            ended_by_the_room!(),
            ")) as ended_by from memberships m where ",
            $which
        )
    };
}

const WITH_NAMES: &str =
    ")) as m left join people p on p.room_id = m.room_id and p.user_id = m.user_id";
pub(in crate::store) static OF_SESSIONS: MultiRow =
    MultiRow::new(members!("m.session_id in ("), "?", WITH_NAMES);
pub(in crate::store) static BY_ID: MultiRow = MultiRow::new(members!("m.id in ("), "?", WITH_NAMES);

/// A stay that ended with a goodbye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedStay {
    pub call_id: String,
    pub ended_ms: i64,
    pub end_event_id: Option<String>,
}

pub(in crate::store) const ENDED_BEFORE: &str = "select p.session_id, p.until_ms, p.end_event_id
    from events e
    join memberships p on p.room_id = e.room_id and p.chain = e.chain
    where e.event_id = $1 and e.room_id = $2 and p.until_ms <= $3 and p.end_reason in ('left',
    'delayed_leave')
    order by p.opened_ms desc limit 1";

/// The stay before this one of the same member key, if it ended with a goodbye. This one began with
/// the event `join_event_id` at `joined_ms`, ms. Of several the last counts; `None` if there is
/// none. A stay that begins with a renewal after a goodbye has no delayed leave behind it.
///
/// # Errors
/// When the database fails.
pub async fn ended_before(
    store: &Reader,
    room_id: &str,
    join_event_id: &str,
    joined_ms: i64,
) -> Result<Option<EndedStay>, Error> {
    let query = sqlx::query(ENDED_BEFORE)
        .bind(join_event_id)
        .bind(room_id)
        .bind(joined_ms);
    let row = query.fetch_optional(&store.read).await?;
    let stay = |row: AnyRow| {
        Ok(EndedStay {
            call_id: row.try_get("session_id")?,
            ended_ms: row.try_get("until_ms")?,
            end_event_id: row.try_get("end_event_id")?,
        })
    };

    row.map(stay).transpose()
}

/// The members of these calls, by call, then by `joined_ms`, user and device.
///
/// # Errors
/// When the database fails.
pub async fn members_of_calls(
    store: &Reader,
    session_ids: &[String],
) -> Result<Vec<Member>, Error> {
    read_members(store, &OF_SESSIONS, session_ids).await
}

/// The members with these row ids, in the order of [`members_of_calls`].
///
/// # Errors
/// When the database fails.
pub async fn members_by_id(store: &Reader, ids: &[String]) -> Result<Vec<Member>, Error> {
    read_members(store, &BY_ID, ids).await
}

/// The members that this statement finds by these ids (of calls or of memberships), sorted by call,
/// then by `joined_ms`, user and device.
async fn read_members(
    store: &Reader,
    statement: &'static MultiRow,
    ids: &[String],
) -> Result<Vec<Member>, Error> {
    let mut connection = store.read.acquire().await?;
    let rows = statement.read_by_ids(&mut connection, ids).await?;
    let mut members = read_rows(&rows, member_from_row)?;
    members.sort_by(|one, other| sort_key(one).cmp(&sort_key(other)));

    Ok(members)
}

/// The key by which members are sorted: call, start, user, device, then the id of the stay, so that
/// the order is always the same.
fn sort_key(member: &Member) -> (&str, i64, &str, Option<&str>, &str) {
    let stay = &member.stay;

    (
        &member.session_id,
        stay.joined_ms,
        &stay.user_id,
        stay.device_id.as_deref(),
        &stay.id,
    )
}

fn member_from_row(row: MemberRow) -> Member {
    Member {
        session_id: row.session_id,
        name: row.name,
        stay: Membership {
            end_event_id: row.ended_by,
            ..membership_from_row(row.stay)
        },
    }
}

const ENDED: &str =
    "select distinct room_id, slot_id from memberships where until_ms > $1 and until_ms <= $2";

/// Rooms and slots in which a membership ended in `(from, to]`, ms; for the announcement of expiry.
///
/// # Errors
/// When the database fails.
pub async fn ended_between(
    store: &Reader,
    from: i64,
    to: i64,
) -> Result<Vec<(String, String)>, Error> {
    Ok(sqlx::query_as(ENDED)
        .bind(from)
        .bind(to)
        .fetch_all(&store.read)
        .await?)
}
