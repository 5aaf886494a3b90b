-- Invitations that policy does not allow are kept, too: they are looked at again when the policy changes, and shown until
-- then. Those kept so far were all accepted.
alter table invitations add column accepted bigint not null default 1;
-- What the inviter's server says of the room.
alter table invitations add column name text;
alter table invitations add column alias text;
