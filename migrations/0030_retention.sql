-- Events of a chain before cut_ms count no more and may be gone: what they gave stays as it is.
create table seals (
    room_id text not null,
    chain text not null,
    cut_ms bigint not null,
    primary key (room_id, chain)
);
-- What was deleted by age since the beginning, and when it was last looked for.
create table removed (
    what text primary key not null,
    total bigint not null,
    last_ms bigint not null
);
