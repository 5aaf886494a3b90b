-- The title that a room without name and alias has of its people, as clients show it. Derived:
-- written when its members or their names change. `folded` is for the search.
create table room_titles (
    room_id text primary key not null,
    title text not null,
    folded text not null
);
