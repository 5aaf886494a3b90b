//! SQL for a span of time: over the stays and calls that touch it, by indexes, and over their parts
//! within it.

// The stays or calls that touch [$1, $2), found by their end: it is within the span, or within a
// day after it, or they are long (there are few of those). `+ 0` and `|| ''` keep other indexes
// out.
macro_rules! touching {
    ($table:literal, $begin:literal) => {
        concat!(
            "(select * from ",
            $table,
            " where until_ms > $1 and until_ms <= $2 + 86400000 and ",
            $begin,
            " + 0 < $2 union all select * from ",
            $table,
            " where until_ms - ",
            $begin,
            " > 86400000 and until_ms > $2 + 86400000 and ",
            $begin,
            " + 0 < $2)"
        )
    };
    ($table:literal, $begin:literal, $column:literal, $is:literal) => {
        concat!(
            "(select * from ",
            $table,
            " where ",
            $column,
            " = ",
            $is,
            " and until_ms > $1 and until_ms <= $2 + 86400000 and ",
            $begin,
            " + 0 < $2 union all select * from ",
            $table,
            " where ",
            $column,
            " || '' = ",
            $is,
            " and until_ms - ",
            $begin,
            " > 86400000 and until_ms > $2 + 86400000 and ",
            $begin,
            " + 0 < $2)"
        )
    };
}

/// Is an event that the homeserver names as the predecessor of this one impossible to get? SQL over
/// an event.
macro_rules! is_predecessor_lost {
    ($event:literal) => {
        concat!(
            "(",
            $event,
            ".replaces_state is not null and not exists (select 1 from events p
                where p.event_id = ",
            $event,
            ".replaces_state and p.room_id = ",
            $event,
            ".room_id) and exists (select 1 from events k where k.room_id = ",
            $event,
            ".room_id and k.chain = ",
            $event,
            ".chain and k.time_ms < ",
            $event,
            ".time_ms))"
        )
    };
}

/// Did this event come long after its stamp, although we were listening? SQL over an event.
macro_rules! is_late {
    ($event:literal) => {
        concat!(
            "(",
            $event,
            ".source = 'sync' and ",
            $event,
            ".received_ms >= ",
            $event,
            ".origin_server_ts + 10000 and exists (select 1 from coverage c where c.room_id = ''
                and c.kind = 'live'
                and c.from_ms <= ",
            $event,
            ".origin_server_ts and c.to_ms >= ",
            $event,
            ".received_ms))"
        )
    };
}

/// Did this event come while our own clock was not believed? SQL over an event.
macro_rules! is_doubted {
    ($event:literal) => {
        concat!(
            "coalesce((select d.to_stream from clock_doubts d where d.from_stream <= ",
            $event,
            ".stream order by d.from_stream desc limit 1) >= ",
            $event,
            ".stream and ",
            $event,
            ".received_ms is null and ",
            $event,
            ".source <> 'backfill', false)"
        )
    };
}

/// Do the neighbours of this event in history show that its stamp is impossible? SQL over an event.
macro_rules! is_moved {
    ($event:literal) => {
        concat!(
            "(",
            $event,
            ".source = 'backfill' and ",
            $event,
            ".received_ms is not null and (",
            $event,
            ".received_ms > ",
            $event,
            ".origin_server_ts + 3600000 or ",
            $event,
            ".received_ms < ",
            $event,
            ".origin_server_ts - 3600000))"
        )
    };
}

/// Is the start that this stay claims impossible? No event of its key came before its first event:
/// the homeserver names no predecessor, though it does for other events (the newest are checked),
/// and history was read to the beginning. SQL over a membership `m`.
macro_rules! is_claim_refuted {
    () => {
        "(m.claimed = 1 and m.resumed = 0
            and exists (select 1 from events b where b.event_id = m.join_event_id
            and b.room_id = m.room_id
                and b.state_key is not null and b.replaces_state is null)
            and exists (select 1 from history_jobs j where j.kind = 'backfill'
                and j.room_id = m.room_id and j.ended_by = 'beginning')
            and exists (select 1 from (select o.replaces_state from events o
            where o.room_id = m.room_id
                order by o.origin_server_ts desc limit 200) as named
                where named.replaces_state is not null))"
    };
}

/// Until when a stay was really seen, as known at a time. If the stay ran out and nobody was there
/// any more, it is the time of its last sign. This is decided only here; devices that still count
/// though they are gone are in [`super::ghost_time`]. SQL over a membership `m`.
macro_rules! seen_until {
    ($now:literal) => {
        concat!(
            "(case when m.until_ms <= ",
            $now,
            " and m.outlived_ms is null and ",
            crate::store::stats::last_seen::unsaid!(),
            " then coalesce((select g.to_ms from signs g
                    where g.membership_id = m.id and g.joined_ms = m.joined_ms
                    and g.until_ms = m.until_ms
                    and g.updates = m.updates), ",
            crate::store::stats::last_seen::last_sign!(),
            ") else m.until_ms end)"
        )
    };
}

/// Is the stamp of the first event of this stay impossible? Then only a bound of its start is
/// known, which lies after the stamp. SQL over a membership `m`.
macro_rules! is_stamp_refuted {
    () => {
        "(m.claimed = 1 and m.opened_ms < m.joined_ms - 3600000 and exists (select 1 from events b
            where b.event_id = m.join_event_id and b.room_id = m.room_id
            and b.source = 'backfill'))"
    };
}

/// Since when a stay was really there. If its claim is impossible, not before its first event; if
/// only a bound of its start is known, never. SQL over a membership `m`.
macro_rules! seen_from {
    () => {
        concat!(
            "(case when ",
            crate::store::stats::spans::is_stamp_refuted!(),
            " then m.until_ms when ",
            crate::store::stats::spans::is_claim_refuted!(),
            " then ",
            crate::store::stats::last_seen::first_sign!(),
            " else m.joined_ms end)"
        )
    };
}

/// Since when there are signs of a stay. Nobody saw the time before, which is only claimed. SQL
/// over a membership `m`.
macro_rules! sign_from {
    () => {
        concat!(
            "(case when m.claimed = 1 and m.resumed = 0 then coalesce((select g.from_ms from signs g
                    where g.membership_id = m.id and g.joined_ms = m.joined_ms
                    and g.until_ms = m.until_ms
                    and g.updates = m.updates), ",
            crate::store::stats::last_seen::first_sign!(),
            ") else m.joined_ms end)"
        )
    };
}

// The stays within [$1, $2) as known at $3, each cut to the span. If stays of one device overlap,
// the later one has only the part after the end of the earlier. `seen_from` to `seen_to` is the
// part that the events prove.
macro_rules! spans {
    ($($filter:literal),*) => {
        concat!(
            "with stays as (select m.room_id, m.user_id, m.server, m.until_ms,
                ",
            crate::store::stats::spans::seen_from!(),
            " as joined_ms,
                ",
            crate::store::stats::spans::sign_from!(),
            " as sign_from,
                ",
            crate::store::stats::spans::seen_until!("$3"),
            " as sign_to,
                coalesce(max(m.until_ms) over (partition by m.room_id, m.user_id,
                coalesce(m.device_id, m.chain)
                    order by m.joined_ms, m.until_ms, m.id rows between unbounded preceding
                    and 1 preceding),
                    m.joined_ms) as told_ms
            from ",
            crate::store::stats::spans::touching!("memberships", "joined_ms" $(, $filter)*),
            " as m where m.until_ms > m.joined_ms), cut as (select room_id, user_id, server,
                sign_from, sign_to,
                case when told_ms > $1 and told_ms > joined_ms then told_ms
                    when joined_ms > $1 then joined_ms else $1 end as start_ms,
                case when until_ms < $2 then until_ms else $2 end as end_ms
            from stays), spans as (select room_id, user_id, server, start_ms, end_ms,
                case when sign_from > start_ms then sign_from else start_ms end as seen_from,
                case when sign_to < end_ms then sign_to else end_ms end as seen_to
            from cut where start_ms < end_ms) "
        )
    };
}

// Is the start or the end of a call `s` inferred?
macro_rules! unsure {
    () => {
        concat!(
            "(exists (select 1 from memberships m where m.session_id = s.id
                and m.joined_ms = s.started_ms
                and ((m.claimed = 1 and m.resumed = 0) or substr(m.join_event_id, 1, 1) = '~'
                    or m.back_since_ms is not null
                    or m.resumed = 0 and exists (select 1 from events e
                    where e.event_id = m.join_event_id
                        and e.room_id = m.room_id and (",
            crate::store::stats::spans::is_late!("e"),
            " or ",
            crate::store::stats::spans::is_doubted!("e"),
            " or ",
            crate::store::stats::spans::is_moved!("e"),
            " or ",
            crate::store::stats::spans::is_predecessor_lost!("e"),
            "))))
            or (s.until_ms <= $3 and exists (select 1 from memberships m where m.session_id = s.id
                and m.until_ms = s.until_ms and (substr(m.end_event_id, 1, 1) = '~' or ",
            crate::store::stats::last_seen::unsaid!(),
            " or exists (select 1 from events e where e.event_id = m.end_event_id
                and e.room_id = m.room_id and (",
            crate::store::stats::spans::is_late!("e"),
            " or ",
            crate::store::stats::spans::is_doubted!("e"),
            " or ",
            crate::store::stats::spans::is_moved!("e"),
            " or ",
            crate::store::stats::spans::is_predecessor_lost!("e"),
            "))))))"
        )
    };
}

pub(in crate::store) use {
    is_claim_refuted, is_doubted, is_late, is_moved, is_predecessor_lost, is_stamp_refuted,
    seen_from, seen_until, sign_from, spans, touching, unsure,
};
