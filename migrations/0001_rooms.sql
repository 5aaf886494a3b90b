-- A room we watch, or were asked to watch.
create table rooms (
    room_id text primary key not null,
    name text,
    alias text,
    version text,
    encrypted bigint not null default 0,
    watch text not null,
    history_visibility text,
    replaced_by text,
    first_seen_ms bigint not null,
    polled_ms bigint,
    error text
);

-- The display name of a user in a room, from the newest m.room.member seen.
create table people (
    room_id text not null,
    user_id text not null,
    name text,
    event_ms bigint not null,
    event_id text not null,
    primary key (room_id, user_id)
);
