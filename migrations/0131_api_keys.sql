-- Keys by which programs read the pages and the API.
create table api_keys (
    id text not null primary key,
    name text not null,
    -- SHA-256 of the key, in hex. The key itself is not kept.
    hash text not null unique,
    scope text not null check (scope in ('public', 'all', 'metrics')),
    created_ms bigint not null,
    -- Null = for ever.
    expires_ms bigint,
    revoked_ms bigint,
    -- Written once a minute at most.
    last_used_ms bigint
);
