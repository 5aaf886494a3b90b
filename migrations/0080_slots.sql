-- When each slot of a room opened and closed, so that an event costs no more where there were many such changes.
-- Derived: what is not here is taken from the slot's events.
create table slots (
    room_id text not null,
    slot_id text not null,
    time_ms bigint not null,
    is_open bigint not null,
    primary key (room_id, slot_id, time_ms)
);
-- Which sticky chains a change of a slot can concern.
create index events_sticky on events (room_id, time_ms, chain) where substr(chain, 1, 1) = 'k';
