-- The numbers of a day tell the length of each call: the days are counted anew.
delete from days;
