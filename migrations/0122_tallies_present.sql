-- How many devices and users were present at the last join of a large call. From there on the next
-- join is counted, so that a join reads those who came and went since, and not all who are there.
create table tallies_present (
    tally bigint primary key,
    at_ms bigint not null,
    devices bigint not null,
    users bigint not null
);
