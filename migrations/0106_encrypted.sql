-- In which rooms memberships come encrypted, without a look at all rejected events.
create index events_encrypted on events (room_id) where rejected = 'encrypted';
