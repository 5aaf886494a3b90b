-- Memberships that a state reset brought back: the state held an older event than the newest known for its key.
create table zombies (
    room_id text not null,
    made_event_id text not null,
    event_id text not null,
    newer_event_id text not null,
    user_id text not null,
    noticed_ms bigint not null,
    primary key (room_id, made_event_id)
);
create index zombies_time on zombies (room_id, noticed_ms);
