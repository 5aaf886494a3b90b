-- Names as a search compares them, where they have letters that lower() of SQLite does not know: written by the program.
alter table rooms add column folded text;
alter table people add column folded text;
