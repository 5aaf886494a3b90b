-- Messages to other programs and rooms, written in the same transaction as what they tell of.
create table outbox (
    -- In this order they are sent.
    number bigint primary key not null,
    -- The same at each attempt, by which a receiver knows a second copy.
    key text not null unique,
    channel text not null,
    -- Messages of one subject are sent in order.
    subject text not null,
    -- The same for all messages of one alert.
    thread text not null,
    -- Empty if it tells of no room, or of several.
    room_id text not null,
    payload text not null,
    created_ms bigint not null,
    due_ms bigint not null,
    attempts bigint not null,
    -- waiting, sent or failed; told if it is part of another message, which has the key told_in.
    state text not null,
    settled_ms bigint,
    -- What the last attempt failed at.
    why text,
    -- The receiver's id of it, such as that of an event.
    receipt text,
    told_in text
);
create index outbox_channel on outbox (channel, state, number);
create index outbox_thread on outbox (channel, thread, number);
create index outbox_settled on outbox (state, settled_ms);
