-- By which rules (version and settings) the stays and calls of a room were derived; where that is not how it is done
-- now, they are derived again. target and place: towards which rules that is under way, and how far it has come.
create table derivations (
    room_id text primary key not null,
    stamp text not null,
    target text,
    place text
);
-- What older versions derived bears no stamp.
insert into derivations (room_id, stamp) select room_id, '' from rooms;
