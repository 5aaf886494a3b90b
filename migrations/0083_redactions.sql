-- Of an event that was redacted json is what Matrix leaves of it; what its stays follow from is kept beside it, without
-- anything that somebody wrote, named or chose.
alter table events add column kept text;

-- Whose events a ban took back, all that were sent until then (MSC4293): what comes later from history is taken back, too.
create table redacting_bans (
    room_id text not null,
    user_id text not null,
    at_ms bigint not null,
    primary key (room_id, user_id, at_ms)
);
