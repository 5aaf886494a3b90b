-- The latest reading of our own clock that is believed: one row.
create table clock (
    one bigint primary key not null,
    high_ms bigint not null
);

-- Readings that are not believed: of which stored events, what our clock said, and the last good reading before.
create table clock_doubts (
    from_stream bigint not null,
    to_stream bigint not null,
    seen_ms bigint not null,
    high_ms bigint,
    primary key (from_stream)
);
