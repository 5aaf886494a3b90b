-- The secret addresses of feeds: one for each who has asked for it.
create table feed_keys (
    -- operator, or a Matrix id.
    owner text not null primary key,
    -- SHA-256 of the key in the address, in hex. The key itself is not kept.
    hash text not null unique,
    created_ms bigint not null,
    -- Written once a minute at most.
    last_used_ms bigint
);
