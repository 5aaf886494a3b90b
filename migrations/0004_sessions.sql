-- The longest span in which one slot has a member; derived, may be rebuilt. Pages call it a call.
create table sessions (
    id text primary key not null,
    room_id text not null,
    slot_id text not null,
    application text not null,
    started_ms bigint not null,
    until_ms bigint not null,
    memberships bigint not null,
    users bigint not null,
    devices bigint not null,
    peak bigint not null,
    peak_users bigint not null,
    servers text not null,
    intent text,
    first_event_id text not null
);
create index sessions_started on sessions (started_ms, id);
create index sessions_room on sessions (room_id, started_ms, id);
create index sessions_slot on sessions (room_id, slot_id, started_ms);
create index sessions_until on sessions (until_ms, started_ms);
