-- Codes that were asked for by people who sign in by Matrix. Each is good for ten minutes, once.
create table sign_in_codes (
    -- SHA-256 of what the browser has in its cookie, in hex.
    browser_hash text not null primary key,
    -- Whom it is for.
    user_id text not null,
    -- SHA-256 of the code and of what the browser has, in hex. Neither is kept.
    code_hash text not null,
    asked_ms bigint not null,
    -- When it was sent. Before (null) it is not good.
    sent_ms bigint,
    -- How often a code was entered.
    tries bigint not null
);
-- The direct rooms in which people get their codes. They are not watched, also when another one
-- took their place.
create table direct_rooms (
    room_id text not null primary key,
    -- Who gets codes there now; null if nobody does.
    user_id text unique,
    made_ms bigint not null,
    -- When that person left it or declined the invitation, as far as known; null if not.
    left_ms bigint
);
