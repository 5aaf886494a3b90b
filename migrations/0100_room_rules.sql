-- What a room's own state said over time: its creation, power levels, server ACL and tombstone, the newest few of each.
-- The program fills it from the stored events, once they are sifted.
create table room_rules (
    room_id text not null,
    kind text not null,
    time_ms bigint not null,
    event_id text not null,
    sender text not null,
    replaces text,
    json text not null,
    primary key (room_id, kind, time_ms, event_id)
);

-- Every account that a room's membership events name, and whether it is in the room.
create table room_members (
    room_id text not null,
    user_id text not null,
    joined bigint not null,
    event_ms bigint not null,
    event_id text not null,
    replaces text,
    primary key (room_id, user_id)
);
create index room_members_joined on room_members (room_id, user_id) where joined = 1;

-- Types of events by which calls were joined, or their slots opened, in each room, and when last.
create table call_types (
    room_id text not null,
    kind text not null,
    is_state bigint not null,
    last_ms bigint not null,
    primary key (room_id, kind, is_state)
);
insert into call_types (room_id, kind, is_state, last_ms)
    select room_id, kind, case when state_key is null then 0 else 1 end, max(time_ms) from events
    where chain is not null or kind in ('org.matrix.msc4143.rtc.slot', 'm.rtc.slot')
    group by room_id, kind, case when state_key is null then 0 else 1 end;

-- Since when a room is replaced; the room that it replaced; since when all of its accounts are known; who may join a call,
-- where that is not everybody (JSON).
alter table rooms add column replaced_ms bigint;
alter table rooms add column predecessor text;
alter table rooms add column members_ms bigint;
alter table rooms add column access text;
create index rooms_replaced on rooms (replaced_by) where replaced_by is not null;
