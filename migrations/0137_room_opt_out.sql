-- A room may ask that its calls are not recorded: since when that is so (null = they are), and, if
-- it asked for it before, which events are not stored because they are from before this time.
alter table rooms add column opts_out bigint not null default 0;
alter table rooms add column opted_out_ms bigint;
alter table rooms add column recorded_from_ms bigint;
