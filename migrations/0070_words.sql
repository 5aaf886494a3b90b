-- The calls of a person, and when they were in them, without a look at each stay: for searches and for counts of people.
drop index memberships_user;
create index memberships_user on memberships (user_id, until_ms, joined_ms, session_id);
