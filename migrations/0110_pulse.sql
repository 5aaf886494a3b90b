-- One row that is written every few seconds, only to know that the database can be written.
create table pulse (
    one integer primary key check (one = 1),
    at_ms bigint not null
);
insert into pulse (one, at_ms) values (1, 0);
