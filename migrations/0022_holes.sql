-- State events that another one replaced and that we never saw: to be asked for one by one.
create table holes (
    room_id text not null,
    event_id text not null,
    depth bigint not null,
    asked_ms bigint,
    outcome text,
    primary key (room_id, event_id)
);
create index holes_open on holes (depth, room_id) where asked_ms is null;

-- Up to which stored event each search has come.
create table scans (
    name text primary key not null,
    stream bigint not null
);
