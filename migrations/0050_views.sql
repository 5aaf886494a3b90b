-- What people who open the database with their own tool may rely on: docs/database.md says what the columns mean.
create view view_calls as
select s.id as call_id, s.room_id, r.name as room_name, r.alias as room_alias, s.slot_id, s.application,
    s.started_ms, s.until_ms, s.until_ms - s.started_ms as length_ms, s.users as people, s.devices,
    s.memberships as stays, s.peak, s.peak_users, s.servers, s.intent
from sessions s join rooms r on r.room_id = s.room_id;

create view view_stays as
select m.id as stay_id, m.session_id as call_id, m.room_id, m.slot_id, m.user_id, p.name as display_name, m.device_id,
    m.server, m.kind, m.joined_ms, m.until_ms, m.until_ms - m.joined_ms as length_ms, m.end_reason, m.updates, m.claimed,
    m.resumed, m.intent, m.transport_type, m.transport_url, m.join_event_id, m.end_event_id
from memberships m left join people p on p.room_id = m.room_id and p.user_id = m.user_id
where m.session_id is not null;

create view view_rooms as
select room_id, name, alias, version, encrypted, watch, history_visibility, replaced_by, first_seen_ms, polled_ms, error
from rooms;

create view view_events as
select event_id, room_id, kind as type, sender, state_key, origin_server_ts, received_ms, source, rejected, redacted_ms, json
from events;
