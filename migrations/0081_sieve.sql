-- What homeservers sent that nobody had asked for, by type: it was thrown away, only the numbers are kept.
create table unasked (
    vantage_id text not null,
    kind text not null,
    events bigint not null,
    first_ms bigint not null,
    last_ms bigint not null,
    primary key (vantage_id, kind)
);

-- By which version of a rule what is stored was made. What older versions stored is brought up to date by the program.
create table versions (
    name text primary key not null,
    version text not null,
    -- How far the work has come, where it is not done.
    place text
);
