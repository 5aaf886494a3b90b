-- The way by which the owner of a session signed in: where it is closed, the session opens nothing.
alter table web_sessions add column way text not null default 'password';
