-- Who is signed in to the pages: one row for each browser.
create table web_sessions (
    -- SHA-256 of the id in the browser's cookie, in hex. The id itself is not kept.
    id_hash text not null primary key,
    -- operator, or a Matrix id.
    identity text not null,
    -- The address of the sign-in.
    address text not null,
    created_ms bigint not null,
    -- Written once a minute at most.
    last_seen_ms bigint not null,
    -- When it ends, however much it is used.
    expires_ms bigint not null
);
