-- Findings of calls that are over; derived from stays and the rooms' own state, may be thrown away.
-- Whoever changes something of a call deletes its findings in the same commit.
create table findings (
    id text primary key not null,
    room_id text not null,
    call_id text not null,
    kind text not null,
    -- 0 is the gravest.
    severity bigint not null,
    certainty text not null,
    from_ms bigint not null,
    until_ms bigint not null,
    -- The homeserver whose admin can say most about it; may be empty.
    server text not null,
    -- The host of the SFU that it is about.
    sfu text
);
create index findings_from on findings (from_ms, id);
create index findings_call on findings (call_id, kind, certainty);
create index findings_room on findings (room_id, from_ms, id);
create index findings_kind on findings (kind, from_ms, id);
create index findings_sfu on findings (sfu, from_ms, id);
-- Whom a finding is about.
create table finding_people (
    finding_id text not null,
    room_id text not null,
    user_id text not null,
    server text not null,
    primary key (finding_id, user_id)
);
create index finding_people_user on finding_people (user_id);
create index finding_people_server on finding_people (server);
-- By which version of the rules the findings of a call were derived; null if not yet, empty while
-- they are being derived.
alter table sessions add column findings text;
create index sessions_findings on sessions (findings, until_ms);
