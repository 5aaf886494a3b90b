//! What views show where people are shown by pseudonyms: the tables that name people in other ways
//! are empty, and the columns that name them hold something else.

use super::viewer::PeopleShown;
use super::views::Rows;

/// The name of all servers where servers are not shown. Nobody can have a server of this name
/// (RFC 6761).
pub(in crate::store) const HIDDEN_SERVER: &str = "hidden.invalid";

/// Tables whose rows name people, or hold events as they were sent.
const NAMING: [&str; 20] = [
    "findings",
    "finding_people",
    "people",
    "room_rules",
    "room_members",
    "room_titles",
    "former_calls",
    "state_resets",
    "sightings",
    "snapshots",
    "chains",
    "checkpoints",
    "heads",
    "seals",
    "redacting_bans",
    "set_aside",
    "invitations",
    "probes",
    "probe_flips",
    "unasked",
];

/// The columns of a stay. `{server}` is its server.
const OF_MEMBERSHIPS: &str = "t.id, t.room_id, t.chain, t.slot_id,
    '@' || coalesce((select p.pseudonym from {main}pseudonyms p where p.room_id = t.room_id
        and p.user_id = t.user_id and p.device_id = ''), 'somebody') || ':' || {server} as user_id,
    case when t.device_id is null then null
        else coalesce((select p.pseudonym from {main}pseudonyms p where p.room_id = t.room_id
            and p.user_id = t.user_id and p.device_id = t.device_id), 'device') end as device_id,
    {server} as server, t.kind, t.joined_ms, t.until_ms, t.end_reason, t.updates,
    t.id as join_event_id, case when t.end_event_id is null then null else t.id end
    as end_event_id, t.resumed, t.claimed, t.intent, {transport_type} as transport_type,
    {transport_url} as transport_url, t.selection, t.session_id, t.opened_ms, t.back_since_ms,
    t.outlived_ms, cast(null as text) as transport_alias";

/// The columns of a call. `{servers}` are its servers.
const OF_SESSIONS: &str = "t.id, t.room_id, t.slot_id, t.application, t.started_ms, t.until_ms,
    t.memberships, t.users, t.devices, t.peak, t.peak_users, {servers} as servers, t.intent,
    t.id as first_event_id, t.tally, t.findings";

/// The columns of an event: of its content, its sender and its state key nothing is shown. When it
/// came, and to which member key it belongs, tells who is perhaps gone.
const OF_EVENTS: &str = "t.event_id, t.room_id, t.kind, cast(null as text) as state_key,
    '' as sender, t.origin_server_ts, t.received_ms, t.chain, cast(null as text) as replaces_state,
    cast(null as text) as redacts, t.redacted_ms, t.stream, t.source, t.in_timeline, t.rejected,
    '{}' as json, t.time_ms, t.vantage_id, t.seen_ms, cast(null as text) as kept";

/// Which events are shown: those of member keys, and encrypted ones, which make unknown who is in a
/// call.
const EVENTS_SHOWN: &str = "(t.chain is not null or t.rejected = 'encrypted')";

/// What else must hold for a row of the table `t` to be visible, where people are shown like this.
pub(super) fn further_condition(table: &str, people: PeopleShown) -> Option<&'static str> {
    (people != PeopleShown::ByName && table == "events").then_some(EVENTS_SHOWN)
}

/// Which rows of a table are visible, where people are shown like this.
pub(super) fn rows_shown(table: &str, rows: Rows, people: PeopleShown) -> Rows {
    if people != PeopleShown::ByName && NAMING.contains(&table) {
        Rows::None
    } else {
        rows
    }
}

/// The columns that a view has of the table `t`, where people are shown like this.
pub(super) fn columns_shown(table: &str, people: PeopleShown) -> String {
    let are_servers_shown = match people {
        PeopleShown::ByName => return "t.*".to_owned(),
        PeopleShown::ByPseudonymAndServer => true,
        PeopleShown::ByPseudonym => false,
    };
    let hidden = format!("'{HIDDEN_SERVER}'");
    let shown = |column: &'static str, otherwise: &'static str| {
        if are_servers_shown { column } else { otherwise }
    };

    match table {
        "memberships" => OF_MEMBERSHIPS
            .replace(
                "{server}",
                if are_servers_shown {
                    "t.server"
                } else {
                    &hidden
                },
            )
            // An SFU is somebody's server.
            .replace(
                "{transport_type}",
                shown("t.transport_type", "cast(null as text)"),
            )
            .replace(
                "{transport_url}",
                shown("t.transport_url", "cast(null as text)"),
            ),
        "events" => OF_EVENTS.to_owned(),
        "sessions" => OF_SESSIONS.replace("{servers}", shown("t.servers", "''")),
        _ => "t.*".to_owned(),
    }
}
