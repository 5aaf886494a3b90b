-- preparing_ms: since when the homeserver prepares its first answer. needs_action: the account was refused, and nothing is
-- tried again until somebody changes something. capabilities_ms: when the homeserver last told what it can do.
alter table vantages add column preparing_ms bigint;
alter table vantages add column needs_action bigint not null default 0;
alter table vantages add column capabilities_ms bigint;
update vantages set capabilities_ms = started_ms where user_id <> '';
