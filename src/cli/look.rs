//! `callscope calls`, `callscope rooms`, `callscope status`: the facts of the pages in a terminal.

use super::ask::RunningServer;
use crate::rtc::present::SILENT_MS;
use crate::store::db::health::TroubleKind;
use crate::web::view::format as f;
use crate::web::view::storage_words;
use serde_json::Value;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

/// Maximum width of a column, in characters.
const WIDE: usize = 48;

/// The options of `callscope calls`.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallsOptions {
    pub active: bool,
    pub limit: u16,
    pub json: bool,
}

/// Prints calls, newest first. The exit code is 1 if it is not known of all rooms which calls run
/// now.
pub(super) async fn list_calls(
    server: &RunningServer,
    asked: CallsOptions,
) -> Result<ExitCode, Box<dyn Error>> {
    let path = if asked.active {
        "/api/v1/calls/active".to_owned()
    } else {
        format!("/api/v1/calls?limit={}", asked.limit)
    };

    let list = server.get(&path).await?;
    if asked.json {
        return print_text(&pretty_json(&list));
    }

    let calls = entries_of(&list["data"]);
    let head = [
        "STARTED (UTC)",
        "LASTED",
        "NOW",
        "PEOPLE",
        "ROOM",
        "SERVERS",
        "STATE",
        "ID",
    ];
    let said = match calls {
        [] if asked.active && list["unknown"] == true => String::new(),
        [] if asked.active => "No call runs now.\n".to_owned(),
        [] => "No call is known.\n".to_owned(),
        _ => format_table(&head, calls.iter().map(call_row).collect()),
    };

    print_text(&said)?;
    if list["unknown"] != true {
        return Ok(ExitCode::SUCCESS);
    }

    let since = list["unknown_since_at"]
        .as_str()
        .map(|_| format!(" since {}", short_time(&list["unknown_since_at"])));
    let since = since.unwrap_or_default();
    let why = list["unknown_why"].as_str().unwrap_or("not_heard");
    let rooms = list["unknown_rooms"].as_i64().unwrap_or(0);
    if matches!(why, "not_heard" | "not_read" | "not_stored") {
        eprintln!(
            "callscope: which calls run now cannot be told: the homeserver is not heard{since}; \
             callscope status says why"
        );
    } else {
        eprintln!(
            "callscope: not all of now is known: in {} it is unknown who is in a call ({}); \
             callscope rooms says in which",
            f::count_with_noun(rooms, "room", "rooms"),
            f::sanitize_line(why)
        );
    }

    Ok(ExitCode::FAILURE)
}

/// The cells of a call in the table.
fn call_row(call: &Value) -> Vec<String> {
    let ms = call["duration_ms"].as_i64().unwrap_or(0);
    let state = match (call["active"].as_bool(), call["unknown_since_at"].as_str()) {
        (_, Some(_)) => "unknown",
        (Some(true), None) if call["state"] == "stuck" => "stuck",
        (Some(true), None) => "running",
        _ => "ended",
    };

    let lasted = if state == "running" {
        f::running_duration(ms)
    } else {
        f::ended_duration(ms)
    };

    let people_now = match state {
        "unknown" => "?".to_owned(),
        "running" | "stuck" => people_cell(call),
        _ => "-".to_owned(),
    };

    vec![
        short_time(&call["started_at"]),
        lasted,
        people_now,
        one_line_text(&call["people"]),
        room_name(&call["room"]),
        servers_cell(call),
        state.to_owned(),
        one_line_text(&call["id"]),
    ]
}

/// How many people are in the call now, with `+?` if there may be more, and how many devices are
/// probably gone.
fn people_cell(call: &Value) -> String {
    let (people, others) = (
        one_line_text(&call["people_now"]),
        call["others_unknown"] == true,
    );
    let people = if others {
        format!("{people}+?")
    } else {
        people
    };

    match call["ghosts_now"].as_i64().unwrap_or(0) {
        0 => people,
        ghosts => format!(
            "{people}, {}",
            f::count_with_noun(ghosts, "ghost", "ghosts")
        ),
    }
}

/// The servers of a call: two by name, and how many more there are.
fn servers_cell(call: &Value) -> String {
    let names: Vec<String> = entries_of(&call["servers"])
        .iter()
        .map(one_line_text)
        .collect();
    match names.as_slice() {
        [one, two, rest @ ..] if !rest.is_empty() => format!("{one} {two} +{}", rest.len()),
        _ => names.join(" "),
    }
}

/// Prints the watched rooms; with `json`, as the API's JSON.
pub(super) async fn list_rooms(
    server: &RunningServer,
    json: bool,
) -> Result<ExitCode, Box<dyn Error>> {
    let list = server.all("/api/v1/rooms?limit=500").await?;
    if json {
        return print_text(&pretty_json(&list));
    }

    let rows: Vec<Vec<String>> = entries_of(&list["data"]).iter().map(room_row).collect();
    if rows.is_empty() {
        return print_text("No room is watched yet.\n");
    }

    print_text(&format_table(
        &[
            "ROOM",
            "NOW",
            "CALLS",
            "LAST CALL (UTC)",
            "STATE",
            "TROUBLE",
            "ID",
        ],
        rows,
    ))
}

/// The cells of a room in the table. If it is not known who is in a call in it, it shows `unknown`,
/// not that no call runs.
fn room_row(one: &Value) -> Vec<String> {
    let has_any = |key: &str| one[key].as_i64().unwrap_or(0) > 0;
    let now = match (has_any("active_calls"), has_any("stuck_calls")) {
        (true, _) if one["unknown"] == true => "call?",
        (true, _) => "call",
        _ if one["unknown"] == true => "unknown",
        (false, true) => "stuck",
        (false, false) => "-",
    };

    let (last, trouble) = (
        short_time(&one["last_call_at"]),
        one_line_text(&one["error"]),
    );

    vec![
        room_name(one),
        now.to_owned(),
        one_line_text(&one["calls"]),
        last,
        one_line_text(&one["watch"]),
        trouble,
        one_line_text(&one["room_id"]),
    ]
}

/// Prints the state of the observer. The exit code is 1 if there is a problem.
pub(super) async fn print_status(
    server: &RunningServer,
    json: bool,
) -> Result<ExitCode, Box<dyn Error>> {
    let status = server.get("/api/v1/status").await?;
    let troubles = list_troubles(&status);
    let code = if troubles.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };

    let said = if json {
        pretty_json(&status)
    } else {
        status_in_words(&status, &troubles)
    };

    print_text(&said)?;

    Ok(code)
}

/// The reasons why the present state may be wrong, one line each; empty if all is well.
pub(super) fn list_troubles(status: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let stored = &status["storage_trouble"];
    if let Some(kind) = stored["kind"].as_str() {
        let words = storage_words(TroubleKind::from_word(kind));
        found.push(format!(
            "nothing is stored since {}. {} ({}). {}",
            short_time(&stored["since_at"]),
            words.what,
            one_line_text(&stored["error"]),
            words.to_do
        ));
    } else if !status["full_since_ms"].is_null() {
        // The form of an earlier version's answer.
        found.push("the disk is full: nothing is stored".to_owned());
    }

    for vantage in entries_of(&status["vantages"]) {
        if let Some(error) = vantage["error"].as_str() {
            found.push(format!(
                "{} since {}: {}",
                account_name(vantage),
                short_time(&vantage["error_since_at"]),
                f::sanitize_message(error)
            ));
        }
    }

    // An error that says what to do comes before its consequences.
    if status["ready"] != true {
        found.push("no homeserver account has been read for the first time yet".to_owned());
    }

    found.extend(silent_accounts(status));

    found
}

/// An account by its user id, or "the account" before that is known.
fn account_name(vantage: &Value) -> String {
    match vantage["user_id"].as_str() {
        None | Some("") => "the account".to_owned(),
        Some(user_id) => f::sanitize_line(user_id),
    }
}

/// The accounts that follow live and were not heard for more than five minutes ([`SILENT_MS`]),
/// with an error or without; one line each. If the answer has no time, none counts as heard lately.
fn silent_accounts(status: &Value) -> Vec<String> {
    let now = status["now_ms"].as_i64().unwrap_or(i64::MAX);
    let silence_of = |one: &Value| {
        let heard = one["last_sync_ms"]
            .as_i64()
            .max(one["last_poll_ms"].as_i64());
        let why = match heard {
            None => "has heard nothing yet",
            Some(heard) if now.saturating_sub(heard) > SILENT_MS => {
                "heard nothing for more than five minutes"
            }
            Some(_) => return None,
        };

        (one["mode"] == "follow").then(|| format!("{} {why}", account_name(one)))
    };

    entries_of(&status["vantages"])
        .iter()
        .filter_map(silence_of)
        .collect()
}

/// The status as text: its troubles, or that all is well; the accounts; the sums; and what waits
/// for somebody.
fn status_in_words(status: &Value, troubles: &[String]) -> String {
    let totals = &status["totals"];
    let mut said = match troubles {
        [] => well_words(status),
        _ => format!("TROUBLE: {}\n", troubles.join("\nTROUBLE: ")),
    };

    let rows = entries_of(&status["vantages"]);
    let rows = rows.iter().map(|one| {
        vec![
            account_name(one),
            one_line_text(&one["mode"]),
            short_time(&one["last_sync_at"]),
            short_time(&one["last_poll_at"]),
            one_line_text(&one["errors"]),
        ]
    });
    said += &format_table(
        &[
            "ACCOUNT",
            "MODE",
            "LAST SYNC (UTC)",
            "LAST POLL (UTC)",
            "ERRORS",
        ],
        rows.collect(),
    );
    let open = status["history_open"].as_i64().unwrap_or(0);
    let bytes = f::byte_size(totals["database_bytes"].as_i64().unwrap_or(0));
    let _ = writeln!(
        said,
        "{}, {}, {} ({} not used), database {bytes}; history still being read: {}",
        rooms_words(status),
        value_with_noun(&totals["calls"], "call", "calls"),
        value_with_noun(&totals["events"], "event", "events"),
        one_line_text(&totals["rejected"]),
        f::count_with_noun(open, "room", "rooms"),
    );
    for one in entries_of(&status["invitations"]) {
        let _ = writeln!(said, "{}", invitation_line(one));
    }

    for one in entries_of(&status["rooms_to_look_at"]) {
        said += &lines_of_needs(one);
    }

    said
}

/// Why a room needs attention and what to do, one line for each need.
fn lines_of_needs(one: &Value) -> String {
    let line = |need: &Value| {
        let (remedy, why) = (long_text(&need["remedy"]), long_text(&need["why"]));
        format!("{}: what to do: {remedy} Why: {why}\n", room_name(one))
    };

    match entries_of(&one["needs"]) {
        // The form of an earlier version's answer.
        [] => format!(
            "{}: {} {}\n",
            room_name(one),
            one_line_text(&one["watch"]),
            long_text(&one["error"])
        ),
        needs => needs.iter().map(line).collect(),
    }
}

/// The words if no problem is known: "all is well" only if everything can be seen and no room needs
/// a look.
fn well_words(status: &Value) -> String {
    let encrypted = entries_of(&status["encrypted"]).len();
    let unread = status["rooms_unread"].as_u64().unwrap_or(0);
    let unknown = status["unknown_rooms"].as_u64().unwrap_or(0);
    let short = status["history_short"].as_i64().unwrap_or(0);
    let to_look_at = entries_of(&status["rooms_to_look_at"]).len();
    if unread == 0 && unknown == 0 && short > 0 {
        return format!(
            "Now is seen, and history only in part: the homeserver is heard; of {} it gave the \
             history only in part, \
             and it is asked again.\n",
            f::count_with_noun(short, "room", "rooms")
        );
    }

    if unread == 0 && unknown == 0 && to_look_at > 0 {
        let need = if to_look_at == 1 { "needs" } else { "need" };
        return format!(
            "Everything is seen: the homeserver is heard. {} {need} a look.\n",
            f::count_with_noun(to_look_at, "room", "rooms")
        );
    }

    if unread == 0 && unknown == 0 {
        return "All is well: the homeserver is heard.\n".to_owned();
    }

    let hidden = match encrypted {
        0 => String::new(),
        rooms => format!(
            "; in {} memberships came encrypted",
            f::count_with_noun(rooms, "room", "rooms")
        ),
    };

    format!(
        "Not everything can be seen: the homeserver is heard, {}{hidden}.\n",
        rooms_words(status)
    )
}

/// An open invitation, and what it waits for, as one line.
pub(super) fn invitation_line(one: &Value) -> String {
    let who = format!(
        "invited to {} by {}",
        room_name(one),
        one_line_text(&one["inviter"])
    );
    if one["allowed"] == true {
        return format!("{who}: joining");
    }

    let settings: Vec<String> = entries_of(&one["allow_with"])
        .iter()
        .map(|setting| {
            format!(
                "{} to {}",
                one_line_text(&setting["value"]),
                one_line_text(&setting["env"])
            )
        })
        .collect();

    format!(
        "{who}, which the configuration does not allow: add {} and restart",
        settings.join(" or ")
    )
}

/// How many rooms are followed, and how many cannot be read. An older server tells only how many
/// there are.
fn rooms_words(status: &Value) -> String {
    let Some(followed) = status["rooms_followed"].as_i64() else {
        return value_with_noun(&status["totals"]["rooms"], "room", "rooms");
    };

    let followed = f::count_with_noun(followed, "room", "rooms");
    match status["rooms_unread"].as_u64().unwrap_or(0) {
        0 => format!("{followed} followed"),
        unread => format!("{followed} followed, {unread} cannot be read"),
    }
}

/// A number of the answer with its noun, in the singular for 1.
fn value_with_noun(number: &Value, one: &str, more: &str) -> String {
    let noun = if *number == 1 { one } else { more };
    format!("{} {noun}", one_line_text(number))
}

/// The entries of a list; none if it is no list.
pub(super) fn entries_of(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// A value as one line without control characters; empty for null.
pub(super) fn one_line_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => f::sanitize_line(text),
        other => other.to_string(),
    }
}

/// Like [`one_line_text`], for an error message, which also says what to do.
fn long_text(value: &Value) -> String {
    value.as_str().map(f::sanitize_message).unwrap_or_default()
}

/// The display name of a room: its name, or else its alias, or else its id.
pub(super) fn room_name(room: &Value) -> String {
    let names = ["title", "name", "alias", "room_id"]
        .iter()
        .filter_map(|key| room[key].as_str());

    names
        .into_iter()
        .find(|name| !name.trim().is_empty())
        .map(f::sanitize_line)
        .unwrap_or_default()
}

/// A timestamp of the API (RFC 3339, UTC) to the minute, `2026-11-22 14:47`; `-` if there is none.
fn short_time(stamp: &Value) -> String {
    let text = stamp.as_str().unwrap_or("-");
    text.get(..16).unwrap_or(text).replace('T', " ")
}

/// The value as indented JSON, with a line break at the end.
fn pretty_json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A table as text: each column as wide as its widest cell, but at most [`WIDE`]; longer cells are
/// cut. The last column is never cut. Each row must have as many cells as `head`, without line
/// breaks.
fn format_table(head: &[&str], mut rows: Vec<Vec<String>>) -> String {
    rows.insert(0, head.iter().map(|word| (*word).to_owned()).collect());
    let last = head.len() - 1;
    let wide = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
            .min(WIDE)
    };

    let widths: Vec<usize> = (0..head.len()).map(wide).collect();
    let mut text = String::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            // The last column is an id, and is not cut.
            let cell: String = if at == last {
                cell.clone()
            } else {
                cell.chars().take(WIDE).collect()
            };

            let gap = if at == last {
                0
            } else {
                widths[at] + 2 - cell.chars().count()
            };

            text.push_str(&cell);
            text.extend(std::iter::repeat_n(' ', gap));
        }

        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }

    text
}

/// Prints a line on standard output, like `println!`. A closed pipe is no error.
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = $crate::cli::look::print_text(&(format!($($words)*) + "\n"));
    }};
}
pub(super) use say;

/// Prints a text. A closed pipe, such as with `head`, is no error.
pub(in crate::cli) fn print_text(text: &str) -> Result<ExitCode, Box<dyn Error>> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A number with its noun, in the singular for 1, in digits that other programs can read.
pub(super) fn number_with_noun<N: std::fmt::Display + PartialEq + From<u8> + Copy>(
    number: N,
    one: &str,
    many: &str,
) -> String {
    let noun = if number == N::from(1) { one } else { many };
    format!("{number} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_stand_under_their_heads() {
        let rows = vec![
            vec!["a".to_owned(), "1".to_owned()],
            vec!["longer".to_owned(), String::new()],
        ];
        assert_eq!(
            format_table(&["NAME", "ID"], rows),
            "NAME    ID\na       1\nlonger\n"
        );
        let wide = format_table(&["NAME", "ID"], vec![vec!["x".repeat(90), "y".repeat(90)]]);
        assert_eq!(
            wide.lines().nth(1),
            Some(format!("{}  {}", "x".repeat(WIDE), "y".repeat(90)).as_str())
        );
    }

    #[test]
    fn who_is_there_now_stands_beside_who_ever_was() {
        let mut one =
            json!({ "active": true, "people": 41, "people_now": 29, "unknown_since_at": null });
        assert_eq!(call_row(&one)[2..4], ["29", "41"]);
        one["active"] = json!(false);
        assert_eq!(call_row(&one)[2..4], ["-", "41"]);
        one["unknown_since_at"] = json!("2026-11-22T14:42:16Z");
        assert_eq!(call_row(&one)[2..4], ["?", "41"]);
    }

    #[test]
    fn a_strangers_name_does_not_steer_the_terminal() {
        assert_eq!(
            room_name(&json!({ "name": "\u{1b}[2Jevil\u{202e}", "room_id": "!a" })),
            "[2Jevil"
        );
        assert_eq!(
            room_name(&json!({ "name": " ", "alias": null, "room_id": "!a" })),
            "!a"
        );
    }

    #[test]
    fn all_is_well_only_where_no_room_needs_a_look() {
        let mut status = json!({ "rooms_followed": 1, "rooms_unread": 0, "unknown_rooms": 0,
            "history_short": 0,
            "encrypted": [], "rooms_to_look_at": [], "totals": { "calls": 1, "events": 1000,
            "rejected": 0 } });
        assert!(well_words(&status).starts_with("All is well"));
        let said = status_in_words(&status, &[]);
        assert!(
            said.contains("1 room followed, 1 call, 1000 events"),
            "{said}"
        );
        assert!(said.contains("history still being read: 0 rooms"), "{said}");
        status["rooms_to_look_at"] = json!([{ "room_id": "!r:h", "needs": [] }]);
        let words = well_words(&status);
        assert!(!words.contains("well"), "{words}");
        assert!(words.contains("1 room needs a look"), "{words}");
    }

    #[test]
    fn what_makes_now_unsure_is_named() {
        let well = json!({ "ready": true, "full_since_ms": null, "vantages": [{ "error": null }] });
        assert!(list_troubles(&well).is_empty());
        let ill = json!({ "ready": false, "full_since_ms": 5, "vantages": [{ "user_id": "@b:h",
            "error": "gone" }] });
        assert_eq!(list_troubles(&ill).len(), 3);
    }
}
