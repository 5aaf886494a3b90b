//! Lists of attendance as CSV: of one call, or of the calls of a room within a time.

use super::export::{FileFormat, csv_cell};
use crate::rtc::attendance::{Attendance, attendance_of_stays};
use crate::store::ingest::rooms;
use crate::store::read::attendance::{AttendedCalls, stays_for_attendance};
use crate::store::read::calls;
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use crate::web::view::format as f;
use crate::web::view::liveness::no_such_room;
use actix_web::{HttpRequest, HttpResponse, web as http};
use std::collections::{BTreeMap, BTreeSet};

/// Parameters of the list of a room.
pub const OF_ROOM: &[&str] = &["from", "to"];
/// Maximum stays behind one list.
const STAYS_MAX: usize = 100_000;
const HEAD: [&str; 11] = [
    "call_id",
    "call_started_at",
    "user_id",
    "name",
    "came_at",
    "left_at",
    "end_reason",
    "present_s",
    "present",
    "devices",
    "stays",
];

/// `GET /api/v1/calls/{id}/attendance.csv`: who was in the call, from when to when.
pub async fn get_attendance_of_call(
    req: HttpRequest,
    web: Web,
    id: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    send_list(&ask, list_of_call(&web, &ask, &id).await)
}

/// `GET /api/v1/rooms/{id}/attendance.csv`: the same of all calls of a room that began from `from`
/// to `to`.
pub async fn get_attendance_of_room(
    req: HttpRequest,
    web: Web,
    id: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    send_list(&ask, list_of_room(&web, &ask, &id).await)
}

fn send_list(ask: &PageRequest, list: Result<String, Error>) -> HttpResponse {
    match list {
        Ok(text) => FileFormat::Csv.begin_file("attendance").body(text),
        Err(error) => response::send_error(ask, &error),
    }
}

async fn list_of_call(web: &Web, ask: &PageRequest, id: &str) -> Result<String, Error> {
    Query::read(&ask.query, &[])?;
    let Some(call) = calls::find_call(&web.store, id).await? else {
        return Err(Error::NotFound(
            "No call has this id, and no event with this id belongs to a call.".to_owned(),
        ));
    };

    write_list(web, ask, &call.room.room_id, AttendedCalls::One(&call.id)).await
}

async fn list_of_room(web: &Web, ask: &PageRequest, id: &str) -> Result<String, Error> {
    let query = Query::read(&ask.query, OF_ROOM)?;
    let Some(room) = rooms::find_room_name(&web.store, id).await? else {
        return Err(no_such_room(web, ask.now).await);
    };

    let calls = AttendedCalls::OfRoom {
        room_id: &room.room_id,
        from_ms: query.time("from", false)?.unwrap_or(i64::MIN),
        to_ms: query.time("to", true)?.unwrap_or(i64::MAX),
    };

    write_list(web, ask, &room.room_id, calls).await
}

/// The list as CSV, with the names that people have in the room.
async fn write_list(
    web: &Web,
    ask: &PageRequest,
    room_id: &str,
    calls: AttendedCalls<'_>,
) -> Result<String, Error> {
    let most = i64::try_from(STAYS_MAX + 1).unwrap_or(i64::MAX);
    let stays = stays_for_attendance(&web.store, calls, most).await?;
    if stays.len() > STAYS_MAX {
        return Err(Error::Invalid(format!(
            "there are more than {} stays: ask for a shorter time with from and to",
            f::group_digits(STAYS_MAX)
        )));
    }

    let people: BTreeSet<String> = stays.iter().map(|stay| stay.user_id.clone()).collect();
    let names = rooms::display_names(&web.store, room_id, &people).await?;
    let mut text = HEAD.join(",");
    text.push_str("\r\n");
    for one in attendance_of_stays(&stays, ask.now) {
        text.push_str(&csv_line(&one, &names));
    }

    Ok(text)
}

/// One person in one call as a line of CSV, in the order of [`HEAD`].
fn csv_line(one: &Attendance, names: &BTreeMap<String, String>) -> String {
    let name = names.get(&one.user_id).map_or("", String::as_str);
    let cells: [String; HEAD.len()] = [
        csv_cell(&one.call_id),
        f::rfc3339(one.call_started_ms),
        csv_cell(&one.user_id),
        csv_cell(name),
        f::rfc3339(one.came_ms),
        one.left_ms.map(f::rfc3339).unwrap_or_default(),
        one.end_reason
            .map(|reason| reason.to_string())
            .unwrap_or_default(),
        (one.present_ms / 1000).to_string(),
        csv_cell(&f::ended_duration(one.present_ms)),
        one.devices.to_string(),
        one.stays.to_string(),
    ];
    let mut line = cells.join(",");
    line.push_str("\r\n");

    line
}
