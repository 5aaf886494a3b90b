-- Ids that calls had before more was known: a link to one leads to the call that took its place.
create table former_calls (
    id text primary key not null,
    room_id text not null,
    slot_id text not null,
    started_ms bigint not null,
    first_event_id text not null
);
create index former_calls_room on former_calls (room_id, started_ms);
