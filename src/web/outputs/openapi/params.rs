//! The parameters of all addresses, each described once.

use crate::rtc::finding_kind::KINDS;
use crate::web::http::request::NUMBER_MAX;
use crate::web::http::sort;
use crate::web::outputs::badge;
use serde_json::{Value, json};
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Schema;

/// Query parameters by name, with a description.
pub const QUERY: &[(&str, &str)] = &[
    ("room", "Only what is in this room: its id, or its alias"),
    (
        "space",
        "Only what is in the rooms of this space: its id, or its alias",
    ),
    ("status", "Only calls that run, or only those that ended"),
    ("from", "Only what lasted until this time or later"),
    (
        "to",
        "Only what began before this time; a day includes that day",
    ),
    (
        "q",
        "Only calls with this word in the name, alias or id of the room, in the name or id of a \
         person, or in the name of a server; or the call of this event id. In lists of rooms and \
         of servers: only those with it in their own name, alias or id",
    ),
    (
        "server",
        "Only calls in which somebody of this homeserver was; only findings about somebody of it",
    ),
    (
        "user",
        "Only calls in which this person was, by the full user id",
    ),
    (
        "application",
        "Only calls of this application, such as m.call",
    ),
    (
        "kind",
        "Only calls in which somebody was alone all the time, or only those with two people or \
         more at once; only findings of this kind",
    ),
    (
        "min_minutes",
        "Only calls that lasted so many minutes or longer",
    ),
    (
        "min_people",
        "Only calls to which so many people or more came",
    ),
    (
        "person",
        "Only findings about this person, by the full user id",
    ),
    ("sfu", "Only findings about the SFU of this host"),
    (
        "open",
        "Only findings that last, or only those that are over",
    ),
    (
        "certainty",
        "Only findings that are so sure; only calls with one",
    ),
    (
        "finding",
        "Only calls with a finding of this kind; any = with some finding",
    ),
    (
        "intent",
        "Only calls of which all who say so intend this: audio, video or another word",
    ),
    ("at", "The moment to look at, at the latest now"),
    ("period", "The period that ends today"),
    (
        "step",
        "What the period is cut into; days where nothing is said. A year has too many days: weeks, \
         as the answer says",
    ),
    (
        "sort",
        "The order. Calls: started, duration, people, peak. Rooms: name, calls, last_call, \
         known_since. Servers: server, people, calls, time, run_out, now. SFUs: sfu, time, calls, \
         people, now. With - before it, the other way round: most or newest first",
    ),
    (
        "members_from",
        "Leave out the first so many of the stays, in order of arrival; of a very large call the \
         next 1000 are given. Of one call; from and to are not looked at then",
    ),
    (
        "events_from",
        "Leave out the first so many of the events behind the call",
    ),
    (
        "fields",
        "Only these keys of each record, with commas between them; what a record is found by stays, \
         and of a list what stands beside its records. Which keys there are, an error says",
    ),
    (
        "members",
        "With false, the members of calls are left out: the list is empty then, and not whole",
    ),
    (
        "label",
        "The words of the left half, instead of ours; at most 60 letters",
    ),
    ("style", "The look, by the name that Shields gives it"),
    ("limit", "At most so many, 1 to 500"),
    ("cursor", "Where to go on: `next` of an earlier answer"),
];

/// Path parameters by name, with a description.
pub const PATH: &[(&str, &str)] = &[
    (
        "id",
        "The id; of a room also its alias, of a call also the id of any of its member events",
    ),
    ("name", "The name of a homeserver"),
    ("host", "The host of an SFU"),
];

/// A parameter of the query.
#[must_use]
pub fn query_parameter(path: &str, name: &str) -> Parameter {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False);

    parameter
        .description(parameter_description(QUERY, name))
        .schema(Some(parse_schema(allowed_values(path, name))))
        .build()
}

/// A name in the path.
#[must_use]
pub fn path_parameter(name: &str) -> Parameter {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True);

    parameter
        .description(parameter_description(PATH, name))
        .schema(Some(parse_schema(
            json!({ "type": "string", "minLength": 1 }),
        )))
        .build()
}

/// The description of a parameter.
#[must_use]
pub fn parameter_description(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, words)| *words)
}

/// No control characters: not every database accepts them in a text.
const NO_CONTROL: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// The JSON schema of the values that a query parameter may have. `path` matters for `sort`, whose
/// words differ from list to list.
fn allowed_values(path: &str, name: &str) -> Value {
    let empty = json!({ "type": "string", "maxLength": 0, "description": "As if it were not there: \
                                                                          so forms send it" });
    match name {
        "sort" => {
            let sorts = sort::ALL.iter().find(|(start, _)| path.starts_with(start));
            let words = sorts.map(|(_, sorts)| sorts.words()).unwrap_or_default();
            json!({ "type": "string",
                "enum": words.into_iter().chain([String::new()]).collect::<Vec<_>>() })
        }
        "status" => json!({ "type": "string", "enum": ["active", "ended", ""] }),
        "period" => json!({ "type": "string", "enum": ["7d", "30d", "90d", "365d", ""] }),
        "step" => json!({ "type": "string", "enum": ["day", "week", "month", ""] }),
        "kind" if path.contains("/problems") => {
            json!({ "type": "string", "enum": words_of_kinds(&[""]) })
        }
        "finding" => json!({ "type": "string", "enum": words_of_kinds(&["any", ""]) }),
        "kind" => json!({ "type": "string", "enum": ["solo", "group", ""] }),
        "label" => {
            json!({ "type": "string", "maxLength": badge::LABEL_MAX, "pattern": NO_CONTROL })
        }
        "style" => json!({ "type": "string",
            "enum": ["flat", "flat-square", "for-the-badge", ""] }),
        "members" => json!({ "type": "string", "enum": ["true", "false", ""] }),
        "open" => json!({ "type": "string", "enum": ["yes", "no", ""] }),
        "certainty" => {
            json!({ "type": "string", "enum": ["computed", "probably", "perhaps", ""] })
        }
        "min_minutes" | "min_people" => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": NUMBER_MAX }, empty] })
        }
        "members_from" => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 1_000_000 }, empty] })
        }
        "events_from" => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 100_000 }, empty] })
        }
        "limit" => json!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 500 }, empty] }),
        "from" | "to" | "at" => json!({ "anyOf": [
            { "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX,
              "description": "Milliseconds since 1970" },
            { "type": "string", "format": "date-time",
              "description": if name == "at" { "RFC 3339; without its offset it is \
                                                UTC" } else { "RFC 3339" } },
            { "type": "string", "format": "date", "description": "A day, in UTC" },
            empty,
        ] }),
        _ => json!({ "type": "string", "maxLength": 1024, "pattern": NO_CONTROL }),
    }
}

/// The words of all kinds of findings, and further ones.
fn words_of_kinds(further: &[&'static str]) -> Vec<&'static str> {
    let kinds = KINDS.iter().map(|entry| entry.kind.as_str());
    kinds.chain(further.iter().copied()).collect()
}

/// The schema that this JSON describes.
fn parse_schema(value: Value) -> Schema {
    // The value is our own text above. A test of the document finds what utoipa cannot read.
    serde_json::from_value(value).unwrap_or_default()
}
