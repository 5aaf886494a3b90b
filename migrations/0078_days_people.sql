-- What a day came to tells its people, too: the days are counted anew.
delete from days;
