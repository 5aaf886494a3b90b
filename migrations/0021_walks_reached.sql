-- How far back a walk has come: the time of the oldest event of its last page with events.
alter table walks add column reached_ms bigint;
