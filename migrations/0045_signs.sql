-- Between which times a stay was really seen whose start is the member's own word or whose end is from expiry.
-- A row holds while joined_ms, until_ms and updates are those of the stay; else it is of an older version of it.
create table signs (
    membership_id text primary key not null,
    joined_ms bigint not null,
    until_ms bigint not null,
    updates bigint not null,
    from_ms bigint not null,
    to_ms bigint not null
);
-- The stays that need one: few.
create index memberships_unsure on memberships (until_ms)
    where claimed = 1 or (end_event_id is null and end_reason in ('expired', 'sticky_expired'));
-- Sums of one room, or of the people of one homeserver, over a span of time.
create index memberships_room on memberships (room_id, until_ms);
create index memberships_server on memberships (server, until_ms);
