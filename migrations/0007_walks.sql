-- A walk back through a room's history by /messages, resumable at its token.
create table walks (
    room_id text not null,
    opened_ms bigint not null,
    reason text not null,
    token text,
    before_stream bigint not null,
    pages bigint not null default 0,
    found bigint not null default 0,
    done_ms bigint,
    ended_by text,
    primary key (room_id, opened_ms, reason)
);
create index walks_open on walks (opened_ms) where done_ms is null;
