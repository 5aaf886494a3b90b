-- What a day (UTC, days since the Unix epoch) came to, for sums over long spans; derived, may be thrown away. A day is
-- taken out by whoever changes something of it; facts is empty while it is being counted.
create table days (
    day bigint primary key not null,
    facts text not null
);
