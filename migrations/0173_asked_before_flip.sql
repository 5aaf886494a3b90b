-- When the probe before a change was asked, ms: whether a fault was found more than once.
alter table probe_flips add column asked_before_ms bigint;
