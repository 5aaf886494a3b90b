-- Walks that ended before the room's beginning go on later. last_token: with what the last page was asked for, or the first of
-- those at the end of which something was cut off as too old (cut = 1); again_ms: when to ask for it again, null = never; tries: how often that was done; continues_ms: the opening of the walk that this one goes on from.
alter table walks add column last_token text;
alter table walks add column cut bigint not null default 0;
alter table walks add column again_ms bigint;
alter table walks add column tries bigint not null default 0;
alter table walks add column continues_ms bigint;
update walks set again_ms = 0 where ended_by = 'circle' and reason = 'history';
create index walks_again on walks (again_ms) where again_ms is not null;
