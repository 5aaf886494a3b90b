-- What can happen is a closed set in the program, and grows with it: here it is any word.
create table audit_entries (
    number bigint not null primary key,
    at_ms bigint not null,
    kind text not null,
    -- operator, a Matrix id, the id of a key, or what stands for who is forgotten; null if it is not
    -- known.
    identity text,
    -- The name of a key, or the id of a room and what was decided about it.
    detail text,
    -- Where the request came from; null if it was a command on this machine.
    address text
);
insert into audit_entries (number, at_ms, kind, identity, detail, address)
select number, at_ms, kind, identity, detail, address from audit_log;
drop table audit_log;
alter table audit_entries rename to audit_log;
create index audit_log_at on audit_log (at_ms);
