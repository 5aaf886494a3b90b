-- Events of one sender in one room that were not stored because there were too many at once, by hour (since 1970).
create table set_aside (
    room_id text not null,
    sender text not null,
    hour bigint not null,
    events bigint not null,
    primary key (room_id, sender, hour)
);
create index set_aside_hour on set_aside (hour);
