-- Times at which the clock of this machine was wrong, as they were counted: from when to when (null while it goes on), by
-- how much, and how that was found.
create table clock_offs (
    from_ms bigint not null,
    to_ms bigint,
    off_ms bigint not null,
    found_by text not null,
    primary key (from_ms, found_by)
);

-- How far the clock was off when these events came, where that is known.
alter table clock_doubts add column off_ms bigint;
