-- An event's own time (the earlier of origin and first receipt): parts of a chain are read by it.
alter table events add column time_ms bigint not null default 0;
update events set time_ms = case when received_ms is not null and received_ms < origin_server_ts
    then received_ms else origin_server_ts end;
drop index events_chain;
create index events_chain on events (room_id, chain, time_ms) where chain is not null;
create index events_replaces on events (replaces_state, room_id) where replaces_state is not null and chain is not null;

-- Who ever wrote on which chain.
create table chains (
    room_id text not null,
    sender text not null,
    chain text not null,
    primary key (room_id, sender, chain)
);
insert into chains (room_id, sender, chain) select distinct room_id, sender, chain from events where chain is not null;
drop index events_sender;

-- How a chain stood at a cut, so that a fold can go on from there; derived, may be thrown away.
create table checkpoints (
    room_id text not null,
    chain text not null,
    at_ms bigint not null,
    state text not null,
    primary key (room_id, chain, at_ms)
);

-- When the event that begins a stay came to count; which part of a fold a stay belongs to.
alter table memberships add column opened_ms bigint not null default 0;
drop index memberships_chain;
create index memberships_chain on memberships (room_id, chain, opened_ms);

-- How many commits could have changed the room's stays; what was read before the last one may be old.
alter table rooms add column writes bigint not null default 0;

-- The first sighting of an event stands in its row; sightings has those from another vantage or by another way.
alter table events add column vantage_id text;
alter table events add column seen_ms bigint;

-- Events of chains are found by their chain.
drop index events_kind;
create index events_kind on events (room_id, kind, state_key) where chain is null;
