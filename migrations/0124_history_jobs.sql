-- What is still to be read of the past of rooms, and what was read: one row for each job. A job can
-- go on after a stop. backfill: a room's whole history; gap: events that were left out; recheck: a
-- gap that is read again, since a homeserver that lags may have fetched more; event: one that
-- another one replaced unseen.
create table history_jobs (
    kind text not null check (kind in ('backfill', 'gap', 'recheck', 'event')),
    room_id text not null,
    -- 0 for a recheck, of which a room has one, and for an event.
    opened_ms bigint not null,
    -- Empty but for an event.
    event_id text not null,
    -- When to work on it next; null = never again.
    due_ms bigint,
    -- When it was done, and by what. A backfill or a gap that ended too early is due again.
    done_ms bigint,
    ended_by text,
    -- How often it was tried again, or in vain.
    tries bigint not null default 0,
    -- Where to continue; where it began; with what the last page was asked for, or the first of
    -- those at the end of which something was cut off as too old (cut = 1).
    token text,
    first_token text,
    last_token text,
    cut bigint not null default 0,
    -- Pages and new events; of a recheck, those of this round. pages_max, round: of a recheck.
    pages bigint not null default 0,
    pages_max bigint not null default 0,
    found bigint not null default 0,
    round bigint not null default 0,
    -- How many events, each replaced unseen by the next, lead to this one.
    depth bigint not null default 0,
    -- Events stored before it was opened have at most this number.
    before_stream bigint not null default 0,
    -- The oldest time reached; the last answer of the sync stream before a limited timeline; what
    -- is older than the horizon is not wanted; time spent reading, without stops.
    reached_ms bigint,
    since_ms bigint,
    horizon_ms bigint,
    spent_ms bigint not null default 0,
    -- The opening of the job that this one goes on from.
    continues_ms bigint,
    primary key (kind, room_id, opened_ms, event_id)
);
create index history_jobs_open on history_jobs (kind, room_id) where done_ms is null;
create index history_jobs_due on history_jobs (kind, due_ms) where due_ms is not null;

insert into history_jobs (kind, room_id, opened_ms, event_id, due_ms, done_ms, ended_by, tries,
    token, first_token, last_token, cut, pages, found, before_stream, reached_ms, since_ms,
    horizon_ms, spent_ms, continues_ms)
select case when reason = 'history' then 'backfill' else 'gap' end, room_id, opened_ms, '',
    case when done_ms is null then 0 else again_ms end, done_ms, ended_by, tries,
    token, first_token, last_token, cut, pages, found, before_stream, reached_ms, since_ms,
    horizon_ms, spent_ms, continues_ms
from walks;

insert into history_jobs (kind, room_id, opened_ms, event_id, due_ms, done_ms, ended_by, tries,
    depth)
select 'event', room_id, 0, event_id, due_ms, case when due_ms is null then asked_ms end,
    case when due_ms is null then outcome end, tries, depth
from holes;

insert into history_jobs (kind, room_id, opened_ms, event_id, due_ms, tries, token, first_token,
    pages, pages_max, found, round, horizon_ms)
select 'recheck', room_id, 0, '', due_ms, tries, token, first_token, page, pages, found, round,
    horizon_ms
from late;

update scans set name = 'missing_events' where name = 'holes';
drop table walks;
drop table holes;
drop table late;
