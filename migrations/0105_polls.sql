-- How often an account polls, as its schedule says: how old a poll may be follows from it.
alter table vantages add column polls_every_ms bigint;
