-- Who came in, who was refused, and what happened to keys; newest last.
create table audit_log (
    number bigint not null primary key,
    at_ms bigint not null,
    kind text not null check (kind in ('sign_in', 'sign_in_refused', 'sign_out', 'session_ended',
        'all_sessions_ended', 'key_used', 'key_added', 'key_revoked')),
    -- operator, a Matrix id, or the id of a key; null if it is not known.
    identity text,
    -- The name of a key.
    detail text,
    -- Where the request came from; null if it was a command on this machine.
    address text
);
create index audit_log_at on audit_log (at_ms);
