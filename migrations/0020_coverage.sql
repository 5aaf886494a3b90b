-- Spans of time in which we watched. Rows without a room tell when a vantage heard the sync stream, which goes
-- for every room it is in; a room has rows of its own only where it is polled, or where we are not in it.
-- The last row is extended; a new one begins after each break, so the spaces between rows are the gaps.
create table coverage (
    vantage_id text not null,
    room_id text not null,
    kind text not null,
    from_ms bigint not null,
    to_ms bigint not null,
    primary key (vantage_id, room_id, kind, from_ms)
);
create index coverage_room on coverage (room_id, from_ms);
