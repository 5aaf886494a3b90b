-- In which rooms memberships come encrypted lately, without a look at all rejected events.
create index events_encrypted on events (room_id, origin_server_ts) where rejected = 'encrypted';

-- Since when an account does not hear its homeserver. Its error may be of a work that hears nothing, such as a probe.
alter table vantages add column unheard_since_ms bigint;
