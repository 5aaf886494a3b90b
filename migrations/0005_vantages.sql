-- A homeserver account we look from, its place in the sync stream and how it fares.
create table vantages (
    id text primary key not null,
    user_id text not null,
    homeserver text not null,
    device_id text,
    mode text not null,
    software text,
    delayed_events bigint not null default 0,
    sticky_events bigint not null default 0,
    started_ms bigint not null,
    position text,
    first_sync_ms bigint,
    last_sync_ms bigint,
    last_poll_ms bigint,
    error text,
    error_since_ms bigint,
    last_error text,
    last_error_ms bigint,
    errors bigint not null default 0,
    invites_refused bigint not null default 0
);
