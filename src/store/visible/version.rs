//! The number of changes that may change which rooms a viewer sees. Triggers of the database count
//! them, so that no write can be forgotten, whichever program makes it. Only `SQLite` has them: in
//! `PostgreSQL` transactions that write at the same time would wait for each other's count.

use crate::store::db::dialect::Dialect;
use crate::store::{Error, Reader, Writer};
use sqlx::AssertSqlSafe;

const NUMBER: &str = "select number from visibility_version";
const TRIGGERS: &str = "select name from sqlite_master where type = 'trigger'
    and name like 'visibility!_%' escape '!'";

/// The number of changes so far. While it stays the same, each viewer sees the same rooms. `None`
/// if nobody counts.
pub(super) async fn read_visibility_version(store: &Reader) -> Result<Option<i64>, Error> {
    if store.dialect() == Dialect::Postgres {
        return Ok(None);
    }

    let number = sqlx::query_scalar(NUMBER).fetch_one(&store.read).await?;

    Ok(Some(number))
}

/// Makes the triggers that count, in the place of those of an older version.
///
/// # Errors
/// When the database fails.
pub(in crate::store) async fn make_triggers(store: &Writer) -> Result<(), Error> {
    if store.dialect() == Dialect::Postgres {
        return Ok(());
    }

    let mut tx = store.writing().await?;
    let old: Vec<String> = sqlx::query_scalar(TRIGGERS).fetch_all(&mut *tx).await?;
    for name in old {
        let drop = format!("drop trigger {name}");
        sqlx::query(AssertSqlSafe(drop)).execute(&mut *tx).await?;
    }

    sqlx::raw_sql(COUNT_CHANGES).execute(&mut *tx).await?;
    tx.commit().await?;

    Ok(())
}

// They name what `find_visible_rooms` reads: columns of rooms, who is in a room, and the events of
// history visibility and of membership.
const COUNT_CHANGES: &str = "
create trigger visibility_room_added after insert on rooms
begin update visibility_version set number = number + 1; end;

create trigger visibility_room_deleted after delete on rooms
begin update visibility_version set number = number + 1; end;

create trigger visibility_room_changed
after update of history_visibility, join_rule, shown_by_room, shown_by_operator on rooms
when old.history_visibility is not new.history_visibility
    or old.join_rule is not new.join_rule
    or old.shown_by_room is not new.shown_by_room
    or old.shown_by_operator is not new.shown_by_operator
begin update visibility_version set number = number + 1; end;

create trigger visibility_member_added after insert on room_members
begin update visibility_version set number = number + 1; end;

create trigger visibility_member_deleted after delete on room_members
begin update visibility_version set number = number + 1; end;

create trigger visibility_member_changed
after update on room_members
when old.user_id is not new.user_id
    or old.joined is not new.joined
    or old.event_ms is not new.event_ms
begin update visibility_version set number = number + 1; end;

create trigger visibility_event_added after insert on events
when new.kind in ('m.room.history_visibility', 'm.room.member')
begin update visibility_version set number = number + 1; end;

create trigger visibility_event_deleted after delete on events
when old.kind in ('m.room.history_visibility', 'm.room.member')
begin update visibility_version set number = number + 1; end;

create trigger visibility_event_changed after update on events
when new.kind in ('m.room.history_visibility', 'm.room.member')
    or old.kind in ('m.room.history_visibility', 'm.room.member')
begin update visibility_version set number = number + 1; end;
";
