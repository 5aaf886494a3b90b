-- What stands for a person, or for a device of one, where names are not shown: a keyed hash, another
-- one in each room. device_id is empty for the person. Derived, may be made again with another key.
create table pseudonyms (
    room_id text not null,
    user_id text not null,
    device_id text not null,
    pseudonym text not null,
    primary key (room_id, user_id, device_id)
);

-- Keys that this installation made for itself.
create table own_keys (
    name text primary key not null,
    value text not null
);
