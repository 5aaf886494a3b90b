-- What other servers and SFUs said when they were asked, the newest answer of each; well_ms: when all was last well.
create table probes (
    kind text not null,
    name text not null,
    asked_ms bigint not null,
    well_ms bigint,
    result text not null,
    primary key (kind, name)
);
