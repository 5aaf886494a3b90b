//! What an operator decides about rooms on the admin page: who may see their calls, and that their
//! history is read again.

use super::SignIns;
use crate::rtc::room_visibility::{RoomVisibility, VisibilityFacts, visibility_of_room};
use crate::store::db::json_row::read_rows;
use crate::store::derive::room_titles::people_title;
use crate::store::visible::VisibilityPolicy;
use crate::store::{Error, Reader};

/// A room, and what decides who may see its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminRoom {
    pub room_id: String,
    pub name: Option<String>,
    pub alias: Option<String>,
    /// Its title by its people, if it has neither name nor alias.
    pub people_title: Option<String>,
    /// The operator's decision.
    pub by_operator: Option<RoomVisibility>,
    /// What the room's moderators ask for.
    pub by_room: Option<RoomVisibility>,
    /// The room's history visibility; `None` if unknown.
    pub history_visibility: Option<String>,
    /// The room's join rule; `None` if unknown.
    pub join_rule: Option<String>,
    /// Can the account read the room now?
    pub is_watched: bool,
    /// Is its history being read?
    pub is_being_read: bool,
}

impl AdminRoom {
    /// Who may see its calls.
    #[must_use]
    pub fn visibility(&self, policy: VisibilityPolicy) -> RoomVisibility {
        visibility_of_room(&VisibilityFacts {
            by_operator: self.by_operator,
            by_room: self.by_room,
            history_visibility: self.history_visibility.as_deref(),
            join_rule: self.join_rule.as_deref(),
            open_rooms_are_public: policy.open_rooms_are_public,
        })
    }
}

json_row! {
    struct RoomRow {
        room_id: String = "r.room_id",
        name: Option<String> = "r.name",
        alias: Option<String> = "r.alias",
        people_title: Option<String> = people_title!(),
        by_operator: Option<RoomVisibility> = "r.shown_by_operator",
        by_room: Option<RoomVisibility> = "r.shown_by_room",
        history_visibility: Option<String> = "r.history_visibility",
        join_rule: Option<String> = "r.join_rule",
        watched: i64 = "case when r.watch in ('joined', 'peeked') then 1 else 0 end",
        being_read: i64 = "case when exists (select 1 from history_jobs j
            where j.room_id = r.room_id and j.kind in ('backfill', 'gap')
                and j.done_ms is null) then 1 else 0 end",
    }
}

const LIST: &str = sql!("select ", RoomRow::TEXT, " from rooms r order by r.room_id");

/// All rooms that are known, by their ids.
///
/// # Errors
/// When the database fails.
pub async fn list_rooms(store: &Reader) -> Result<Vec<AdminRoom>, Error> {
    let query = store.dialect().query(LIST);
    let rows = query.fetch_all(&store.read).await?;

    read_rows(&rows, room_from_row)
}

fn room_from_row(row: RoomRow) -> AdminRoom {
    AdminRoom {
        room_id: row.room_id,
        name: row.name,
        alias: row.alias,
        people_title: row.people_title,
        by_operator: row.by_operator,
        by_room: row.by_room,
        history_visibility: row.history_visibility,
        join_rule: row.join_rule,
        is_watched: row.watched == 1,
        is_being_read: row.being_read == 1,
    }
}

const DECIDE: &str = "update rooms set shown_by_operator = $2 where room_id = $1";

/// Stores who may see the calls of a room; with `None` the room itself decides. Returns whether the
/// room is known.
///
/// # Errors
/// When the database fails.
pub async fn decide_visibility(
    sign_ins: &SignIns,
    room_id: &str,
    decided: Option<RoomVisibility>,
) -> Result<bool, Error> {
    let statement = || {
        sqlx::query(DECIDE)
            .bind(room_id)
            .bind(decided.map(RoomVisibility::as_str))
    };

    Ok(sign_ins.write(statement).await? > 0)
}

const READ_AGAIN: &str = "insert into history_jobs (kind, room_id, opened_ms, event_id, due_ms)
    select 'backfill', r.room_id, cast($2 as bigint), '', 0 from rooms r
    where r.room_id = $1 and r.watch in ('joined', 'peeked')
        and not exists (select 1 from history_jobs j where j.room_id = r.room_id
            and j.kind in ('backfill', 'gap') and j.done_ms is null)
    on conflict (kind, room_id, opened_ms, event_id) do nothing";

/// Asks the observer to read the whole history of a room again, from `now`, ms, on. It begins within
/// a minute. Returns whether it will: not if the room cannot be read, or is being read already.
///
/// # Errors
/// When the database fails.
pub async fn request_backfill(sign_ins: &SignIns, room_id: &str, now: i64) -> Result<bool, Error> {
    let statement = || sqlx::query(READ_AGAIN).bind(room_id).bind(now);

    Ok(sign_ins.write(statement).await? > 0)
}
