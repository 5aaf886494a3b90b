-- Counts the changes that may change which rooms a viewer sees. Triggers add to it.
create table visibility_version (
    only_row integer primary key,
    number bigint not null
);

insert into visibility_version (only_row, number) values (1, 0);
