-- Who asked on the pages not to be recorded. A row goes when it is done.
create table opt_outs (
    user_id text primary key not null,
    asked_ms bigint not null
);
