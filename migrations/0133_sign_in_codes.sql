-- Codes that were asked for by people who sign in by Matrix. Each is good for ten minutes, once.
create table sign_in_codes (
    -- SHA-256 of what the browser has in its cookie, in hex.
    browser_hash text not null primary key,
    -- Whom it is for.
    user_id text not null,
    -- SHA-256 of the code and of what the browser has, in hex. Neither is kept.
    code_hash text not null,
    asked_ms bigint not null,
    -- How often a code was entered.
    tries bigint not null
);
-- The direct rooms in which people get their codes, one for each person. They are not watched.
create table direct_rooms (
    user_id text not null primary key,
    room_id text not null unique,
    made_ms bigint not null
);
