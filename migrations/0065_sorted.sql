-- Lists of calls by length, people and most at once: read in their order, a page at a time.
create index sessions_by_length on sessions ((until_ms - started_ms), started_ms, id);
create index sessions_by_people on sessions (users, started_ms, id);
create index sessions_by_peak on sessions (peak, started_ms, id);
