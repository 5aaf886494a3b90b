-- While our clock is not believed: what came then came no later than this.
alter table clock_doubts add column latest_ms bigint;

-- A doubt that was withdrawn: what was read then is right, plus so many ms. Null where the doubt stands.
alter table clock_doubts add column back_by_ms bigint;

-- How late it is at the latest, by the time that passed since the last reading that is believed; and the last reading.
alter table clock add column latest_ms bigint;
alter table clock add column read_ms bigint;
