-- What a look at a room's state showed and no event told: memberships of calls and of the room that vanished or came back.
create table state_resets (
    room_id text not null,
    made_event_id text not null,
    kind text not null,
    user_id text not null,
    holds_event_id text,
    newest_event_id text not null,
    noticed_ms bigint not null,
    primary key (room_id, made_event_id)
);
create index state_resets_time on state_resets (room_id, noticed_ms);
create index state_resets_noticed on state_resets (noticed_ms);
insert into state_resets (room_id, made_event_id, kind, user_id, holds_event_id, newest_event_id, noticed_ms)
    select room_id, made_event_id, 'call_member_back', user_id, event_id, newer_event_id, noticed_ms from zombies;
