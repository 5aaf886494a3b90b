-- What brought memberships of calls back stands among the other state resets, since they are kept; it is the same fact.
insert into state_resets (room_id, made_event_id, kind, user_id, holds_event_id, newest_event_id, noticed_ms)
    select room_id, made_event_id, 'call_member_back', user_id, event_id, newer_event_id, noticed_ms from zombies where true
    on conflict (room_id, made_event_id) do nothing;
drop table zombies;
