-- Whether the inviter says that the room is for the account and the inviter alone.
alter table invitations add column is_direct bigint not null default 0;
