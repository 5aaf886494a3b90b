-- Who is forgotten: a person or a homeserver. Only a keyed hash of the name is kept, by which it is
-- recognised when it comes again.
create table forgotten (
    hash text primary key not null,
    kind text not null check (kind in ('person', 'server')),
    since_ms bigint not null,
    -- When what had been stored before was without the name; null while that is under way.
    done_ms bigint
);
