-- Lists of calls by length, people and most at once: read in their order, a page at a time.
create index sessions_length on sessions ((until_ms - started_ms), started_ms, id);
create index sessions_users on sessions (users, started_ms, id);
create index sessions_peak on sessions (peak, started_ms, id);
