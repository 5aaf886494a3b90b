-- What changed from one answer of a server or an SFU to the next, step by step.
create table probe_flips (
    -- As in probes: server, sfu, own or check.
    kind text not null,
    name text not null,
    -- What was asked, for example well_known.
    step text not null,
    at_ms bigint not null,
    -- The state before and from then on.
    before text not null,
    state text not null,
    -- What came, in words.
    words text not null,
    primary key (kind, name, step, at_ms)
);
