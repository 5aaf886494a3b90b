//! Rooms, servers and SFUs as CSV and NDJSON: the complete list behind a page, in its order.

use super::export::{FileFormat, csv_cell};
use crate::web::Web;
use crate::web::http::cost_cache::CostCache;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use crate::web::pages::rooms;
use crate::web::pages::servers::{self, Servers};
use crate::web::pages::transports::{self, Transports};
use actix_web::{HttpRequest, HttpResponse, web as http};
use serde::Serialize;
use serde_json::Value;

/// Parameters of the files: those of the list, without paging.
pub const ROOMS: &[&str] = &["q", "space", "sort"];
pub const SERVERS: &[&str] = &["period", "q", "sort"];
pub const OF_PERIOD: &[&str] = &["period", "sort"];

/// The columns, named as in the JSON; a dot is for a key of a nested object.
const ROOM_COLUMNS: &[&str] = &[
    "room_id",
    "name",
    "alias",
    "watch",
    "encrypted",
    "version",
    "history_visibility",
    "replaced_by",
    "calls",
    "active_calls",
    "last_call_at",
    "last_call_ms",
    "oldest_event_at",
    "first_seen_at",
    "polled_at",
    "error",
    "unreadable",
    "rejected",
    "history_open",
    "stuck_calls",
    "people_now",
    "ghosts_now",
    "unknown",
    "unknown_why",
];
const SERVER_COLUMNS: &[&str] = &[
    "server",
    "people",
    "calls",
    "together_ms",
    "together_seen_ms",
    "ended",
    "expired",
    "people_now",
    "calls_now",
    "clock.behind_ms",
    "clock.usual_behind_ms",
    "clock.live_events",
    "probe.asked_at",
    "probe.well_known.state",
    "probe.versions.state",
    "probe.sfus",
    "probe.delayed_events",
    "ghosts_now",
];
const SFU_COLUMNS: &[&str] = &[
    "type",
    "service_url",
    "calls",
    "people",
    "devices",
    "together_ms",
    "servers",
    "devices_now",
    "last_at",
    "last_ms",
    "probe.asked_at",
    "probe.health.state",
    "probe.took_ms",
];

/// `GET /api/v1/rooms.csv` and `.ndjson`: the rooms that match, as a file.
pub async fn get_rooms_file(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let rows = async {
        Ok(
            rooms::list_all_rooms(&web, &ask, &Query::read(&ask.query, ROOMS)?)
                .await?
                .list
                .data,
        )
    };

    send_rows(&req, &ask, "rooms", ROOM_COLUMNS, rows.await)
}

/// `GET /api/v1/servers.csv` and `.ndjson`: the servers that match, as a file. `kept` holds
/// expensive lists of earlier requests.
pub async fn get_servers_file(
    req: HttpRequest,
    web: Web,
    kept: http::Data<CostCache<Servers>>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let rows = async {
        Ok(
            servers::list_all_servers(&web, &ask, &kept, &Query::read(&ask.query, SERVERS)?)
                .await?
                .data,
        )
    };

    send_rows(&req, &ask, "servers", SERVER_COLUMNS, rows.await)
}

/// `GET /api/v1/transports.csv` and `.ndjson`: the SFUs that match, as a file. `kept` holds
/// expensive lists of earlier requests.
pub async fn get_transports_file(
    req: HttpRequest,
    web: Web,
    kept: http::Data<CostCache<Transports>>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let rows =
        async {
            Ok(transports::list_all_transports(
                &web,
                &ask,
                &kept,
                &Query::read(&ask.query, OF_PERIOD)?,
            )
            .await?
            .data)
        };

    send_rows(&req, &ask, "transports", SFU_COLUMNS, rows.await)
}

/// Answers with the rows as a file of this name. The end of the path says whether it is CSV, with
/// these columns, or NDJSON with everything.
fn send_rows<T: Serialize>(
    req: &HttpRequest,
    ask: &PageRequest,
    name: &str,
    columns: &[&str],
    rows: Result<Vec<T>, Error>,
) -> HttpResponse {
    let form = match req.path().strip_suffix(".csv") {
        Some(_) => FileFormat::Csv,
        None => FileFormat::Ndjson,
    };

    let text = rows.and_then(|rows| match form {
        FileFormat::Csv => csv_text(columns, &rows),
        FileFormat::Ndjson => ndjson_text(&rows),
    });

    match text {
        Ok(text) => form.begin_file(name).body(text),
        Err(error) => response::send_error(ask, &error),
    }
}

/// The rows as NDJSON: a line of JSON for each.
fn ndjson_text<T: Serialize>(rows: &[T]) -> Result<String, Error> {
    let line = |row: &T| Ok(serde_json::to_string(row)? + "\n");
    rows.iter().map(line).collect()
}

/// The rows as CSV with these columns, the names of the columns first.
fn csv_text<T: Serialize>(columns: &[&str], rows: &[T]) -> Result<String, Error> {
    let mut text = columns.join(",") + "\r\n";
    for row in rows {
        let row = serde_json::to_value(row)?;
        let cells: Vec<String> = columns
            .iter()
            .map(|column| cell_of_column(&row, column))
            .collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }

    Ok(text)
}

/// The value of a column as a cell: a dot in `column` goes into a nested object, a missing value is
/// empty, and the values of a list are separated by spaces.
fn cell_of_column(row: &Value, column: &str) -> String {
    match row.pointer(&format!("/{}", column.replace('.', "/"))) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => csv_cell(text),
        Some(Value::Array(list)) => csv_cell(
            &list
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" "),
        ),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_is_a_line_and_nothing_in_it_is_a_formula() {
        let rows = [
            json!({ "name": "=1+1", "list": ["a", "b,c"], "clock": { "ms": -5 }, "none": null,
                "is": true }),
        ];
        let table = csv_text(
            &["name", "list", "clock.ms", "none", "gone.too", "is"],
            &rows,
        )
        .unwrap();
        assert_eq!(
            table,
            "name,list,clock.ms,none,gone.too,is\r\n\"'=1+1\",\"a b,c\",-5,,,true\r\n"
        );
    }
}
