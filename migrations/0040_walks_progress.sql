-- What a walk through history tells of its progress. since_ms: the last answer of the sync stream before a limited
-- timeline, where the gap begins; horizon_ms: what is older is not wanted; spent_ms: time spent reading, without stops.
alter table walks add column since_ms bigint;
alter table walks add column horizon_ms bigint;
alter table walks add column spent_ms bigint not null default 0;
