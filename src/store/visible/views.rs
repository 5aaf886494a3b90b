//! Temporary views that stand in the place of the tables, on the connections of one viewer. The
//! names of temporary views go before those of tables, in both databases. A view shows the rows of
//! the rooms that are visible; a table that tells of all rooms together is empty.

use super::pseudonyms;
use super::rooms::VisibleRooms;
use crate::store::db::connect::SetupStatement;
use crate::store::db::dialect::Dialect;
use serde_json::json;

/// Which rows of a table are visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Rows {
    /// Those of every room that is visible, wholly or in part.
    OfRooms,
    /// Those of rooms, and those that concern no room, whose `room_id` is empty.
    OfRoomsOrNone,
    /// Those of rooms that are visible wholly. They bear no time, or one that says too little.
    OfWholeRooms,
    /// Those of rooms that are visible wholly; and of the others, those for which this condition
    /// holds with a visible span, `v`, of their room.
    OfSpans(&'static str),
    /// None: they tell of all rooms together.
    None,
    /// All, but each tells of many rooms: the one function that reads them keeps the visible rooms.
    ByReader,
    /// All: they tell nothing of rooms, or are only found through rows that are visible.
    All,
}

/// Every table of the database, and which rows of it are visible. In conditions `t` is the table,
/// and `{main}` their schema.
pub(in crate::store) const TABLES: &[(&str, Rows)] = &[
    ("rooms", Rows::OfRooms),
    ("people", Rows::OfRooms),
    // Read with the room of the space, which must be visible, too.
    ("space_rooms", Rows::OfRooms),
    ("room_rules", Rows::OfWholeRooms),
    ("room_members", Rows::OfWholeRooms),
    // The people in the title are those of now.
    ("room_titles", Rows::OfWholeRooms),
    ("call_types", Rows::OfWholeRooms),
    ("derivations", Rows::OfWholeRooms),
    ("history_jobs", Rows::OfWholeRooms),
    ("coverage", Rows::OfRoomsOrNone),
    // A call that ran while its room was visible is visible, with the stays of that time.
    (
        "sessions",
        Rows::OfSpans("t.started_ms < v.to_ms and t.until_ms > v.from_ms"),
    ),
    (
        "memberships",
        Rows::OfSpans(
            "t.joined_ms < v.to_ms and t.until_ms > v.from_ms
                and exists (select 1 from {main}sessions s where s.id = t.session_id
                    and s.started_ms < v.to_ms and s.until_ms > v.from_ms)",
        ),
    ),
    // Those that rest on the room's own state or on its members are only for who sees all of it.
    (
        "findings",
        Rows::OfSpans(
            "t.from_ms >= v.from_ms and t.until_ms <= v.to_ms
                and t.kind not in ('room_replaced', 'nobody_could_come', 'server_denied',
                    'lost_power', 'left_over')
                and exists (select 1 from {main}sessions s where s.id = t.call_id
                    and s.started_ms < v.to_ms and s.until_ms > v.from_ms)",
        ),
    ),
    // Read by the id of a finding.
    ("finding_people", Rows::OfRooms),
    (
        "former_calls",
        Rows::OfSpans("t.started_ms >= v.from_ms and t.started_ms < v.to_ms"),
    ),
    (
        "events",
        Rows::OfSpans("t.origin_server_ts >= v.from_ms and t.origin_server_ts < v.to_ms"),
    ),
    (
        "slots",
        Rows::OfSpans("t.time_ms >= v.from_ms and t.time_ms < v.to_ms"),
    ),
    (
        "state_resets",
        Rows::OfSpans("t.noticed_ms >= v.from_ms and t.noticed_ms < v.to_ms"),
    ),
    ("sightings", Rows::OfWholeRooms),
    ("snapshots", Rows::OfWholeRooms),
    ("chains", Rows::OfWholeRooms),
    ("checkpoints", Rows::OfWholeRooms),
    ("heads", Rows::OfWholeRooms),
    ("seals", Rows::OfWholeRooms),
    ("redacting_bans", Rows::OfWholeRooms),
    ("set_aside", Rows::OfWholeRooms),
    ("invitations", Rows::OfWholeRooms),
    ("days", Rows::ByReader),
    ("removed", Rows::None),
    ("unasked", Rows::None),
    ("scans", Rows::None),
    // Read by the id of a membership, or by the tally of a call.
    ("signs", Rows::All),
    ("tallies", Rows::All),
    ("tallies_present", Rows::All),
    // What we know of ourselves, of our clock, and of servers by their names.
    ("vantages", Rows::All),
    ("probes", Rows::All),
    ("probe_flips", Rows::All),
    ("versions", Rows::All),
    ("pulse", Rows::All),
    ("pseudonyms", Rows::None),
    ("own_keys", Rows::None),
    ("visibility_version", Rows::None),
    ("forgotten", Rows::None),
    // Read and written through connections of their own.
    ("web_sessions", Rows::None),
    ("api_keys", Rows::None),
    ("audit_log", Rows::None),
    ("share_links", Rows::None),
    ("feed_keys", Rows::None),
    ("sign_in_codes", Rows::None),
    ("operator_secrets", Rows::None),
    // Only the observer reads them.
    ("direct_rooms", Rows::None),
    ("opt_outs", Rows::None),
    // Who administers Callscope reads them; what they tell is of many rooms.
    ("alerts", Rows::None),
    ("alert_sights", Rows::None),
    ("outbox", Rows::None),
    ("clock", Rows::All),
    ("clock_doubts", Rows::All),
    ("clock_offs", Rows::All),
];

const MAKE_ROOMS: &str = "create temporary table visible_rooms (room_id text primary key not null)";
const MAKE_WHOLE: &str = "create temporary table whole_rooms (room_id text primary key not null)";
const MAKE_SPANS: &str = "create temporary table visible_spans (room_id text not null,
    from_ms bigint not null, to_ms bigint not null, primary key (room_id, from_ms))";

/// The statements that make the views on a new connection, so that it shows these rooms only.
pub(super) fn statements_for_views(
    dialect: Dialect,
    visible: &VisibleRooms,
) -> Vec<SetupStatement> {
    let mut statements = statements_for_rooms(dialect, visible);
    let main = schema_of_tables(dialect);
    for (table, rows) in TABLES {
        let rows = rows_beside_call(table, *rows, visible);
        let shown = pseudonyms::rows_shown(table, rows, visible.people);
        let columns = pseudonyms::columns_shown(table, visible.people);
        if let Some(condition) = condition_of(shown, dialect, visible) {
            let further = pseudonyms::further_condition(table, visible.people);
            let further = further.map(|further| format!(" and {further}"));
            let of_call = condition_for_only_call(table, dialect, visible);
            statements.push(SetupStatement::without_parameter(format!(
                "create temporary view {table} as select {} from {main}{table} t
                where {condition}{}{}",
                columns.replace("{main}", main),
                further.unwrap_or_default(),
                of_call.unwrap_or_default()
            )));
        }
    }

    statements
}

/// What else must hold for a row of the table `t` to be visible, where only one call is. Of the
/// room's events these are those of the call's member keys, and those that say how much of the
/// room's history is visible; none of rings, which may be those of other calls.
fn condition_for_only_call(
    table: &str,
    dialect: Dialect,
    visible: &VisibleRooms,
) -> Option<String> {
    // It stands in the statement, because a view cannot have parameters.
    let id = visible.only_call.as_deref()?.replace('\'', "''");
    let main = schema_of_tables(dialect);
    match table {
        "sessions" => Some(format!(" and t.id = '{id}'")),
        "memberships" => Some(format!(" and t.session_id = '{id}'")),
        // Some are also about another call, which is not visible.
        "findings" => Some(format!(
            " and t.call_id = '{id}' and t.kind not in ('side_by_side', 'broken_call')"
        )),
        "events" => Some(format!(
            " and (t.chain in (select m.chain from {main}memberships m where m.session_id = '{id}')
            or t.chain is null and t.kind = 'm.room.history_visibility')"
        )),
        _ => None,
    }
}

/// Which rows of a table are visible where only one call is: those that say how well its room was
/// watched, too.
fn rows_beside_call(table: &str, rows: Rows, visible: &VisibleRooms) -> Rows {
    if visible.only_call.is_some() && table == "history_jobs" {
        Rows::OfRooms
    } else {
        rows
    }
}

/// The schema of the tables, as it stands before their names. `SQLite` finds what a view names when
/// it is read, and would find the view itself; `PostgreSQL` finds it when the view is made.
fn schema_of_tables(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "main.",
        Dialect::Postgres => "",
    }
}

/// The statements that make and fill the tables into which the views look.
fn statements_for_rooms(dialect: Dialect, visible: &VisibleRooms) -> Vec<SetupStatement> {
    let (texts, spans) = match dialect {
        Dialect::Sqlite => (
            "select value from json_each($1)",
            "select json_extract(value, '$[0]'), json_extract(value, '$[1]'),
                json_extract(value, '$[2]') from json_each($1)",
        ),
        Dialect::Postgres => (
            "select * from json_array_elements_text(cast($1 as json))",
            "select s.span ->> 0, cast(s.span ->> 1 as bigint), cast(s.span ->> 2 as bigint)
                from json_array_elements(cast($1 as json)) as s(span)",
        ),
    };
    let whole: Vec<&String> = visible.whole.iter().collect();
    let all: Vec<&String> = visible.whole.iter().chain(visible.in_part.keys()).collect();
    let spans_of_rooms: Vec<(&String, i64, i64)> = visible
        .in_part
        .iter()
        .flat_map(|(room_id, spans)| spans.iter().map(move |span| (room_id, span.from, span.to)))
        .collect();

    let mut statements = vec![
        SetupStatement::without_parameter(MAKE_ROOMS.to_owned()),
        SetupStatement::with_parameter(
            format!("insert into visible_rooms (room_id) {texts}"),
            json!(all).to_string(),
        ),
        SetupStatement::without_parameter(MAKE_WHOLE.to_owned()),
        SetupStatement::with_parameter(
            format!("insert into whole_rooms (room_id) {texts}"),
            json!(whole).to_string(),
        ),
        SetupStatement::without_parameter(MAKE_SPANS.to_owned()),
        SetupStatement::with_parameter(
            format!("insert into visible_spans (room_id, from_ms, to_ms) {spans}"),
            json!(spans_of_rooms).to_string(),
        ),
    ];

    // PostgreSQL plans by the number of rows, which it only knows after this.
    if dialect == Dialect::Postgres {
        for table in ["visible_rooms", "whole_rooms", "visible_spans"] {
            statements.push(SetupStatement::without_parameter(format!(
                "analyze {table}"
            )));
        }
    }

    statements
}

/// The condition for rows of the table `t` to be visible; `None` if all are.
fn condition_of(rows: Rows, dialect: Dialect, visible: &VisibleRooms) -> Option<String> {
    // SQLite takes every list of values for a short one, and would look up the rows of thousands of
    // rooms room by room.
    let room_id = if visible.are_few() {
        "t.room_id".to_owned()
    } else {
        dialect.without_index("t.room_id")
    };
    let is_visible = format!("{room_id} in (select v.room_id from visible_rooms v)");
    let is_whole = format!("{room_id} in (select v.room_id from whole_rooms v)");

    match rows {
        Rows::All | Rows::ByReader => None,
        Rows::None => Some("1 = 0".to_owned()),
        Rows::OfRooms => Some(is_visible),
        Rows::OfRoomsOrNone => Some(format!("(t.room_id = '' or {is_visible})")),
        Rows::OfWholeRooms => Some(is_whole),
        Rows::OfSpans(_) if visible.in_part.is_empty() => Some(is_whole),
        Rows::OfSpans(condition) => {
            let condition = condition.replace("{main}", schema_of_tables(dialect));

            Some(format!(
                "{is_visible} and (t.room_id in (select w.room_id from whole_rooms w)
                or exists (select 1 from visible_spans v where v.room_id = t.room_id
                    and {condition}))"
            ))
        }
    }
}
