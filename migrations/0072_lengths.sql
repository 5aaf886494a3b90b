-- The usual length of a call, and how many began when, without a look at each call.
drop index sessions_started;
create index sessions_started on sessions (started_ms, id, until_ms);
