-- The numbers of a day are stored by room: the days are counted anew.
delete from days;
