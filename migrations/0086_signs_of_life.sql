-- A stay whose first event speaks of one that had ended: since when it may be back, ms.
alter table memberships add column back_since_ms bigint;
-- A stay that ran out while its device was still there: when the device said goodbye or renewed it, ms.
alter table memberships add column outlived_ms bigint;
