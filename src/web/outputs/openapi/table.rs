//! The list of all addresses for programs, in the order in which the documentation shows them.

use super::{ApiEntry, json_entry, media_entry};
use crate::web::outputs::badge::{self, Badge};
use crate::web::outputs::health::{Alive, Ready};
use crate::web::outputs::version::Version;
use crate::web::outputs::{attendance, export, feed, table};
use crate::web::pages::about::About;
use crate::web::pages::call::{self, CallPage};
use crate::web::pages::calls::{self, Active, Calls};
use crate::web::pages::census::Census;
use crate::web::pages::overview::Overview;
use crate::web::pages::people::{self, People};
use crate::web::pages::period;
use crate::web::pages::person::PersonPage;
use crate::web::pages::problems::{self, ProblemPage, Problems};
use crate::web::pages::rejected::{self, Rejected};
use crate::web::pages::room::{self, RoomPage};
use crate::web::pages::room_at::{self, Flips};
use crate::web::pages::rooms::{self, Rooms};
use crate::web::pages::server::ServerPage;
use crate::web::pages::server_check::ServerCheckPage;
use crate::web::pages::servers::{self, Servers};
use crate::web::pages::statistics::{self, Statistics};
use crate::web::pages::status::Status;
use crate::web::pages::transport::TransportPage;
use crate::web::pages::transports::Transports;
use crate::web::pages::wall::Wall;
use crate::web::view::Moment;

const CALLS: &str = "Calls";
const PROBLEMS: &str = "Problems";
const ROOMS: &str = "Rooms";
const NUMBERS: &str = "Numbers";
const OTHERS: &str = "For other programs";
const OBSERVER: &str = "The observer";

const CSV: &str = "text/csv";
const NDJSON: &str = "application/x-ndjson";

/// Every address that is not a page for people.
pub const ENTRIES: &[ApiEntry] = &[
    json_entry::<Overview>(
        CALLS,
        "/api/v1/overview",
        "What runs now, the numbers of today, and what cannot be seen",
    ),
    json_entry::<Active>(
        CALLS,
        "/api/v1/calls/active",
        "The calls that run now, newest first",
    ),
    json_entry::<Calls>(
        CALLS,
        "/api/v1/calls",
        "All calls, newest first or as sort says",
    )
    .takes(calls::KNOWN),
    media_entry(
        CALLS,
        "/api/v1/calls.csv",
        "text/csv",
        "All calls of a filter as a table for spreadsheets, of any length",
    )
    .takes(export::KNOWN),
    media_entry(
        CALLS,
        "/api/v1/calls.ndjson",
        "application/x-ndjson",
        "All calls of a filter, one JSON a line, of any length",
    )
    .takes(export::KNOWN),
    media_entry(
        CALLS,
        "/api/v1/calls/{id}/attendance.csv",
        CSV,
        "Who was in the call, from when to when, as a table",
    ),
    json_entry::<CallPage>(
        CALLS,
        "/api/v1/calls/{id}",
        "One call with its members and the events behind it",
    )
    .takes(call::KNOWN)
    .moves(),
    json_entry::<Problems>(
        PROBLEMS,
        "/api/v1/problems",
        "All findings: open ones, the gravest first, then past ones, newest first",
    )
    .takes(problems::KNOWN),
    media_entry(
        PROBLEMS,
        "/api/v1/problems.csv",
        CSV,
        "All findings of a filter as a table for spreadsheets, of any length",
    )
    .takes(problems::FILTER),
    media_entry(
        PROBLEMS,
        "/api/v1/problems.ndjson",
        NDJSON,
        "All findings of a filter, one JSON a line, of any length",
    )
    .takes(problems::FILTER),
    json_entry::<ProblemPage>(
        PROBLEMS,
        "/api/v1/problems/{id}",
        "One finding: since when, whom it is about, and what to do",
    ),
    media_entry(
        PROBLEMS,
        "/feed/problems.atom",
        "application/atom+xml",
        "The open findings of a filter and the newest past ones, as a feed",
    )
    .takes(problems::FILTER),
    json_entry::<Rooms>(
        ROOMS,
        "/api/v1/rooms",
        "The watched rooms and how well each can be seen",
    )
    .takes(rooms::KNOWN),
    media_entry(
        ROOMS,
        "/api/v1/rooms.csv",
        CSV,
        "All watched rooms as a table for spreadsheets",
    )
    .takes(table::ROOMS),
    media_entry(
        ROOMS,
        "/api/v1/rooms.ndjson",
        NDJSON,
        "All watched rooms, one JSON a line",
    )
    .takes(table::ROOMS),
    json_entry::<RoomPage>(
        ROOMS,
        "/api/v1/rooms/{id}",
        "One room: its last calls, its year, and how it is known",
    )
    .takes(room::KNOWN)
    .moves(),
    json_entry::<Moment>(
        ROOMS,
        "/api/v1/rooms/{id}/members",
        "Who was in which call of the room at a moment",
    )
    .takes(room_at::MEMBERS),
    media_entry(
        ROOMS,
        "/api/v1/rooms/{id}/attendance.csv",
        CSV,
        "Who was in the calls of the room that began within a time",
    )
    .takes(attendance::OF_ROOM),
    json_entry::<Flips>(
        ROOMS,
        "/api/v1/rooms/{id}/flips",
        "When the calls of the room went on and off, newest first",
    )
    .takes(room_at::FLIPS),
    json_entry::<Statistics>(
        NUMBERS,
        "/api/v1/statistics",
        "What happened in a period, against the period before",
    )
    .takes(statistics::KNOWN),
    json_entry::<Servers>(
        NUMBERS,
        "/api/v1/servers",
        "The homeservers seen in calls of a period",
    )
    .takes(servers::KNOWN),
    media_entry(
        NUMBERS,
        "/api/v1/servers.csv",
        CSV,
        "All of them as a table for spreadsheets",
    )
    .takes(table::SERVERS),
    media_entry(
        NUMBERS,
        "/api/v1/servers.ndjson",
        NDJSON,
        "All of them, one JSON a line",
    )
    .takes(table::SERVERS),
    json_entry::<ServerPage>(
        NUMBERS,
        "/api/v1/servers/{name}",
        "One homeserver: whether it is in a call now, and its past",
    )
    .takes(period::KNOWN),
    json_entry::<ServerCheckPage>(
        NUMBERS,
        "/api/v1/servers/{name}/check",
        "Why calls fail on a homeserver: what it answered, step by step, and what to set",
    ),
    media_entry(
        NUMBERS,
        "/api/v1/servers/{name}/rtc-ok",
        "text/plain",
        "Do calls work there: ok, broken or unknown",
    ),
    json_entry::<People>(
        NUMBERS,
        "/api/v1/people",
        "People who were in a call, by display name or id; only for those who see people",
    )
    .takes(people::KNOWN),
    json_entry::<PersonPage>(
        NUMBERS,
        "/api/v1/people/{id}",
        "One person: calls, rings, whom they were with; not for those who see pseudonyms",
    )
    .takes(period::KNOWN),
    json_entry::<Transports>(
        NUMBERS,
        "/api/v1/transports",
        "The SFUs that carried the calls of a period",
    )
    .takes(period::LIST_PARAMETERS),
    media_entry(
        NUMBERS,
        "/api/v1/transports.csv",
        CSV,
        "All of them as a table for spreadsheets",
    )
    .takes(table::OF_PERIOD),
    media_entry(
        NUMBERS,
        "/api/v1/transports.ndjson",
        NDJSON,
        "All of them, one JSON a line",
    )
    .takes(table::OF_PERIOD),
    json_entry::<TransportPage>(
        NUMBERS,
        "/api/v1/transports/{host}",
        "One SFU: people at once, whose people it carries, its probes and findings",
    )
    .takes(period::KNOWN),
    json_entry::<Census>(
        NUMBERS,
        "/api/v1/census",
        "Formats and ways to choose an SFU by week, server and room, and what blocks the switch",
    )
    .takes(period::KNOWN),
    json_entry::<Wall>(
        NUMBERS,
        "/api/v1/wall",
        "What runs now, for a screen on a wall",
    ),
    json_entry::<Status>(
        OBSERVER,
        "/api/v1/status",
        "The accounts that look, how far they are, and what they could not use",
    ),
    json_entry::<Rejected>(
        OBSERVER,
        "/api/v1/rejected",
        "Events that could not be used, newest first",
    )
    .takes(rejected::KNOWN),
    json_entry::<About>(
        OBSERVER,
        "/api/v1/about",
        "What is collected here, and who may see it",
    ),
    json_entry::<Version>(
        OBSERVER,
        "/api/v1/version",
        "The version of the program, of its API, its database and its rules",
    ),
    media_entry(
        OBSERVER,
        "/api/v1/live",
        "text/event-stream",
        "Server-sent events named change: data {\"room_id\", \"slot_id\"} is a call that changed, \
         {\"room_id\"} a room, {} means that anything may have. There are no ids to go on from: \
         after a break, ask again",
    ),
    json_entry::<serde_json::Value>(OBSERVER, "/api/v1/openapi.json", "This document"),
    json_entry::<Alive>(OBSERVER, "/healthz", "Does the program run?"),
    json_entry::<Ready>(OBSERVER, "/readyz", "Does the program know anything yet?")
        .unready("It does not know anything yet"),
    media_entry(OTHERS, "/metrics", "text/plain", "Numbers for Prometheus")
        .in_one_of(&["application/openmetrics-text", "text/plain"]),
    media_entry(
        OTHERS,
        "/badge/rooms/{id}/active.svg",
        "image/svg+xml",
        "How many are in the calls of the room, as a picture",
    )
    .takes(badge::KNOWN),
    json_entry::<Badge>(
        OTHERS,
        "/badge/rooms/{id}/active.json",
        "The same in the form that Shields reads",
    )
    .takes(badge::KNOWN),
    media_entry(
        OTHERS,
        "/badge/servers/{name}/active.svg",
        "image/svg+xml",
        "How many of the homeserver are in calls now",
    )
    .takes(badge::KNOWN),
    json_entry::<Badge>(
        OTHERS,
        "/badge/servers/{name}/active.json",
        "The same in the form that Shields reads",
    )
    .takes(badge::KNOWN),
    media_entry(
        OTHERS,
        "/badge/servers/{name}/rtc.svg",
        "image/svg+xml",
        "Do calls work on the homeserver, as a picture",
    )
    .takes(badge::KNOWN),
    json_entry::<Badge>(
        OTHERS,
        "/badge/servers/{name}/rtc.json",
        "The same in the form that Shields reads",
    )
    .takes(badge::KNOWN),
    media_entry(
        OTHERS,
        "/feed/calls.atom",
        "application/atom+xml",
        "The newest calls that are over, as a feed",
    )
    .takes(feed::KNOWN),
    media_entry(
        OTHERS,
        "/feed/calls.ics",
        "text/calendar",
        "The same for a calendar",
    )
    .takes(feed::KNOWN),
    media_entry(
        OTHERS,
        "/feed/rooms/{id}/calls.atom",
        "application/atom+xml",
        "The newest calls of the room, as a feed",
    )
    .takes(feed::KNOWN),
    media_entry(
        OTHERS,
        "/feed/rooms/{id}/calls.ics",
        "text/calendar",
        "The same for a calendar",
    )
    .takes(feed::KNOWN),
];
