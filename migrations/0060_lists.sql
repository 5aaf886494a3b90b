-- Lists of calls: by what is rare, so that a page costs the same among a million calls as among ten thousand.
create index sessions_application on sessions (application, started_ms, id);
create index sessions_peak_users on sessions (peak_users);
create index memberships_user on memberships (user_id, until_ms);

-- What touches a span of time ends in it or within a day after it, or is one of these: few.
create index sessions_long on sessions (until_ms) where until_ms - started_ms > 86400000;
create index memberships_long on memberships (until_ms) where until_ms - joined_ms > 86400000;
