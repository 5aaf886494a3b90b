-- Where a walk over a gap began: what comes late to a homeserver stands behind it.
alter table walks add column first_token text;

-- Gaps that are looked at again, for a homeserver that lags fetches events by itself and never says so. One for each room:
-- where it begins, where it stands, how many pages of how many, how often it was done, what this time found,
-- how often it could not be read.
create table late (
    room_id text primary key not null,
    first_token text,
    token text,
    page bigint not null,
    pages bigint not null,
    round bigint not null,
    found bigint not null,
    tries bigint not null default 0,
    horizon_ms bigint,
    due_ms bigint not null
);
