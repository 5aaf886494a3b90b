-- The alerts that are open, and those that happened once lately: one for each rule and subject.
create table alerts (
    rule text not null,
    kind text not null,
    subject text not null,
    -- Empty if it concerns no room.
    room_id text not null,
    state text not null,
    opened_ms bigint not null,
    seen_ms bigint not null,
    told_ms bigint,
    -- How many messages there were of it.
    sequence bigint not null,
    -- 1: something of it is not told yet because it is quiet.
    held bigint not null,
    ended_ms bigint,
    -- What is known of it, as JSON.
    condition text not null,
    primary key (rule, kind, subject)
);
-- When each rule was first there with each kind: what happened before is not told.
create table alert_sights (
    rule text not null,
    kind text not null,
    since_ms bigint not null,
    primary key (rule, kind)
);
