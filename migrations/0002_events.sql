-- Raw events: the truth, only appended. Times in ms since the Unix epoch.
create table events (
    event_id text not null,
    room_id text not null,
    kind text not null,
    state_key text,
    sender text not null,
    origin_server_ts bigint not null,
    received_ms bigint,
    chain text,
    replaces_state text,
    redacts text,
    redacted_ms bigint,
    stream bigint not null,
    source text not null,
    in_timeline bigint not null,
    rejected text,
    json text not null,
    primary key (event_id, room_id)
);
create index events_chain on events (room_id, chain, sender) where chain is not null;
create index events_sender on events (room_id, sender, chain) where chain is not null;
create index events_kind on events (room_id, kind, state_key);
create index events_redacts on events (redacts, room_id) where redacts is not null;
create index events_rejected on events (stream) where rejected is not null;
create index events_rejected_room on events (room_id, stream) where rejected is not null;
create index events_time on events (room_id, origin_server_ts);
create unique index events_stream on events (stream);

-- An event seen from a vantage by one way (sync, poll, backfill) for the first time.
create table sightings (
    event_id text not null,
    room_id text not null,
    vantage_id text not null,
    source text not null,
    seen_ms bigint not null,
    primary key (event_id, room_id, vantage_id, source)
);
