-- Rings by time, of all rooms: few among many events.
create index events_rings on events (origin_server_ts) where chain is null
    and kind in ('org.matrix.msc4075.rtc.notification', 'm.rtc.notification', 'org.matrix.msc4075.call.notify', 'm.call.notify');
