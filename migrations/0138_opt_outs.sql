-- Who asked on the pages not to be recorded. A row goes when it is done.
create table opt_outs (
    user_id text primary key not null,
    asked_ms bigint not null
);

-- The log has further kinds. A check cannot be changed in place.
create table audit_log_anew (
    number bigint not null primary key,
    at_ms bigint not null,
    kind text not null check (kind in ('sign_in', 'sign_in_refused', 'sign_out', 'session_ended',
        'all_sessions_ended', 'key_used', 'key_added', 'key_revoked', 'exported', 'opted_out',
        'forgotten')),
    -- operator, a Matrix id, the id of a key, or what stands for who is forgotten; null if it is
    -- not known.
    identity text,
    -- The name of a key.
    detail text,
    -- Where the request came from; null if it was a command on this machine.
    address text
);
insert into audit_log_anew (number, at_ms, kind, identity, detail, address)
    select number, at_ms, kind, identity, detail, address from audit_log;
drop table audit_log;
alter table audit_log_anew rename to audit_log;
create index audit_log_at on audit_log (at_ms);
