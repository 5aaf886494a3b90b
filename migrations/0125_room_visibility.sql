-- Who may see the calls of a room follows from these, and from its history visibility.
alter table rooms add column join_rule text;
-- What the room's moderators ask for, by a state event.
alter table rooms add column shown_by_room text;
-- What the operator decided. It goes before all else.
alter table rooms add column shown_by_operator text;

-- The rooms of one account.
create index room_members_user on room_members (user_id);
