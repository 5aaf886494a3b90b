-- One stay of one device; derived from events, may be rebuilt. Active is until_ms > now.
create table memberships (
    id text primary key not null,
    room_id text not null,
    chain text not null,
    slot_id text not null,
    user_id text not null,
    device_id text,
    server text not null,
    kind text not null,
    joined_ms bigint not null,
    until_ms bigint not null,
    end_reason text not null,
    updates bigint not null,
    join_event_id text not null,
    end_event_id text,
    resumed bigint not null,
    claimed bigint not null,
    intent text,
    transport_type text,
    transport_url text,
    selection text not null,
    session_id text
);
create index memberships_chain on memberships (room_id, chain);
create index memberships_session on memberships (session_id, joined_ms);
create index memberships_slot on memberships (room_id, slot_id, joined_ms);
create index memberships_until on memberships (until_ms, joined_ms);
