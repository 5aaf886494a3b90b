-- The member events in a room's state as one poll saw it. A new row only when the set changed,
-- else last_seen_ms of the newest row moves.
create table snapshots (
    room_id text not null,
    vantage_id text not null,
    taken_ms bigint not null,
    last_seen_ms bigint not null,
    members text not null,
    primary key (room_id, vantage_id, taken_ms)
);
