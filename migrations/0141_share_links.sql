-- Addresses at which one call is shown to whoever has them.
create table share_links (
    id text not null primary key,
    -- SHA-256 of the secret part of the address, in hex. The address itself is not kept.
    hash text not null unique,
    call_id text not null,
    room_id text not null,
    -- 1 = people are shown by their names, 0 = by pseudonyms.
    with_names bigint not null,
    created_ms bigint not null,
    expires_ms bigint not null,
    revoked_ms bigint,
    -- Written once a minute at most.
    last_used_ms bigint
);
