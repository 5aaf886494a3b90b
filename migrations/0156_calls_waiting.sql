-- Calls whose findings wait to be derived: few, and looked for every minute.
create index sessions_waiting on sessions (until_ms) where findings is null;
