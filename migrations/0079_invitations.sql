-- Invitations that policy accepted, until the room is joined: a join may take longer than this process lives.
create table invitations (
    vantage_id text not null,
    room_id text not null,
    inviter text not null,
    seen_ms bigint not null,
    primary key (vantage_id, room_id)
);
