-- A hash of the room of its SFU that a member names: who names another one on the same SFU is apart.
alter table memberships add column transport_alias text;
