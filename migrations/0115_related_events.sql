-- Rings, declines and slot changes of one room by time: few among many events.
create index events_related on events (room_id, origin_server_ts) where chain is null
    and kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification', 'org.matrix.msc4075.call.notify', 'm.call.notify',
        'org.matrix.msc4310.rtc.decline', 'm.rtc.decline', 'org.matrix.msc4143.rtc.slot', 'm.rtc.slot');
