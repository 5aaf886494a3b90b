-- How a chain stood after its last event: the next event is folded from there, and what came before
-- is not read again. Only chains with several events since their last checkpoint have one. Derived,
-- may be thrown away.
create table heads (
    room_id text not null,
    chain text not null,
    at_ms bigint not null,
    -- Events since the last checkpoint.
    events bigint not null,
    state text not null,
    primary key (room_id, chain)
);
