-- Up to which number of an event a ban has taken back what was sent before it; null where it is done.
alter table redacting_bans add column reached bigint;
create index redacting_bans_open on redacting_bans (room_id, user_id, at_ms) where reached is not null;

-- All display names of one person.
create index people_user on people (user_id);
