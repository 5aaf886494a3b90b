//! The number of changes that may change which rooms a viewer sees. Triggers of the database count
//! them, so that no write can be forgotten, whichever program makes it.

use crate::store::db::dialect::Dialect;
use crate::store::{Error, Reader, Writer};

const NUMBER: &str = "select number from visibility_version";

/// The number of changes so far. While it stays the same, each viewer sees the same rooms.
pub(super) async fn read_visibility_version(store: &Reader) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(NUMBER).fetch_one(&store.read).await?)
}

/// Makes the triggers that count, unless they are there.
///
/// # Errors
/// When the database fails.
pub(in crate::store) async fn make_triggers(store: &Writer) -> Result<(), Error> {
    let text = match store.dialect() {
        Dialect::Sqlite => IN_SQLITE,
        Dialect::Postgres => IN_POSTGRES,
    };
    let mut tx = store.writing().await?;
    sqlx::raw_sql(text).execute(&mut *tx).await?;
    tx.commit().await?;

    Ok(())
}

// They name what `find_visible_rooms` reads: columns of rooms, who is in a room, and the events of
// history visibility and of membership.
const IN_SQLITE: &str = "
create trigger if not exists visibility_room_added after insert on rooms
begin update visibility_version set number = number + 1; end;

create trigger if not exists visibility_room_deleted after delete on rooms
begin update visibility_version set number = number + 1; end;

create trigger if not exists visibility_room_changed
after update of history_visibility, join_rule, shown_by_room, shown_by_operator on rooms
when old.history_visibility is not new.history_visibility
    or old.join_rule is not new.join_rule
    or old.shown_by_room is not new.shown_by_room
    or old.shown_by_operator is not new.shown_by_operator
begin update visibility_version set number = number + 1; end;

create trigger if not exists visibility_member_added after insert on room_members
begin update visibility_version set number = number + 1; end;

create trigger if not exists visibility_member_deleted after delete on room_members
begin update visibility_version set number = number + 1; end;

create trigger if not exists visibility_member_changed
after update on room_members
when old.user_id is not new.user_id
    or old.joined is not new.joined
    or old.event_ms is not new.event_ms
begin update visibility_version set number = number + 1; end;

create trigger if not exists visibility_event_added after insert on events
when new.kind in ('m.room.history_visibility', 'm.room.member')
begin update visibility_version set number = number + 1; end;

create trigger if not exists visibility_event_deleted after delete on events
when old.kind in ('m.room.history_visibility', 'm.room.member')
begin update visibility_version set number = number + 1; end;

create trigger if not exists visibility_event_changed
after update of kind, state_key, sender, chain, json on events
when new.kind in ('m.room.history_visibility', 'm.room.member')
    or old.kind in ('m.room.history_visibility', 'm.room.member')
begin update visibility_version set number = number + 1; end;
";

// One for each statement: to change the same row for each of many rows is slow.
const IN_POSTGRES: &str = "
create or replace function count_visibility_change() returns trigger language plpgsql as $$
begin
    update visibility_version set number = number + 1;
    return null;
end $$;

create or replace function count_visibility_of_rooms() returns trigger language plpgsql as $$
begin
    if exists (select 1 from earlier e join later l on l.room_id = e.room_id
        where (e.history_visibility, e.join_rule, e.shown_by_room, e.shown_by_operator)
            is distinct from
            (l.history_visibility, l.join_rule, l.shown_by_room, l.shown_by_operator)) then
        update visibility_version set number = number + 1;
    end if;
    return null;
end $$;

create or replace function count_visibility_of_events() returns trigger language plpgsql as $$
begin
    if exists (select 1 from touched where kind in ('m.room.history_visibility', 'm.room.member'))
    then
        update visibility_version set number = number + 1;
    end if;
    return null;
end $$;

do $$
begin
    if exists (select 1 from pg_trigger where tgname = 'visibility_room_added'
        and tgrelid = 'rooms'::regclass) then
        return;
    end if;

    create trigger visibility_room_added after insert or delete on rooms
    for each statement execute function count_visibility_change();

    create trigger visibility_room_changed after update on rooms
    referencing old table as earlier new table as later
    for each statement execute function count_visibility_of_rooms();

    create trigger visibility_member_changed after insert or update or delete on room_members
    for each statement execute function count_visibility_change();

    create trigger visibility_event_added after insert on events
    referencing new table as touched
    for each statement execute function count_visibility_of_events();

    create trigger visibility_event_changed after update on events
    referencing new table as touched
    for each statement execute function count_visibility_of_events();

    create trigger visibility_event_deleted after delete on events
    referencing old table as touched
    for each statement execute function count_visibility_of_events();
end $$;
";
