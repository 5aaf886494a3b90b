-- A server may not have an event yet that another server will give it later: holes are asked for again.
-- due_ms: when to ask; null = never again. What was refused before is asked for once more.
alter table holes add column tries bigint not null default 0;
alter table holes add column due_ms bigint;
update holes set due_ms = 0 where asked_ms is null;
update holes set due_ms = 0, tries = 1 where outcome = 'not_visible';
drop index holes_open;
create index holes_due on holes (due_ms) where due_ms is not null;
