-- Accounts that this process does not look from, since when: what they saw stays, how they fare says nothing any more.
alter table vantages add column retired_ms bigint;
