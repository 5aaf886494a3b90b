-- The rooms of the spaces that the configuration names, also those of spaces within them. A room
-- that the space does not name any more goes.
create table space_rooms (
    space_id text not null,
    room_id text not null,
    primary key (space_id, room_id)
);
create index space_rooms_room on space_rooms (room_id);
