-- The only room that a session shows; null if it shows all that its owner may see.
alter table web_sessions add column room_id text;
