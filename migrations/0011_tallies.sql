-- What a large call is counted by, so that it need not be counted anew: stays by user (u), device (d), server (s)
-- and intent (i). Derived; a call without a tally is counted from its memberships.
create table tallies (
    tally bigint not null,
    what text not null,
    key text not null,
    n bigint not null,
    primary key (tally, what, key)
);
alter table sessions add column tally bigint;
create index memberships_session_until on memberships (session_id, until_ms);
