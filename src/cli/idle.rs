//! `callscope idle`: may a homeserver be restarted now? For scripts, by the exit code: 0 it may, 1
//! a call would be interrupted, 2 unknown. If something is not known, the code is never 0.

use super::ask::{self, RunningServer};
use super::idle_look::{PollResults, poll_rooms_now};
use super::look::{entries_of, list_troubles, one_line_text, print_text, room_name};
use crate::config::Config;
use crate::rtc::id::server_of;
use crate::web::view::format as f;
use serde_json::Value;
use std::collections::BTreeSet;
use std::error::Error;
use std::process::ExitCode;

/// A call would be interrupted.
const BUSY: u8 = 1;
/// It is not known, so the server does not count as idle.
const UNKNOWN: u8 = 2;

/// The options of the command.
#[derive(Debug, Clone, Default)]
pub(super) struct IdleOptions {
    /// The homeserver's name; without it the account's own homeserver.
    pub server: Option<String>,
    /// Hosts of its SFUs, if their names do not end with the server's.
    pub sfu: Vec<String>,
    /// Calls that can be seen are enough.
    pub visible_only: bool,
    /// Devices that are probably gone do not count.
    pub ignore_ghosts: bool,
}

/// The homeserver in question.
#[derive(Debug, Clone)]
struct Subject {
    server: String,
    sfu: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum IdleVerdict {
    Idle,
    /// The calls, one per line.
    Busy(Vec<String>),
    /// Calls in which the server has only devices that are probably gone.
    Ghosts(Vec<String>),
    /// Why it is unknown.
    Unknown(Vec<String>),
}

/// What is known of the present, as the API returns it.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownPresent {
    /// Calls that run.
    pub calls: Vec<Value>,
    pub status: Value,
    /// Rooms that are only polled by schedule and could not be polled now, and why.
    pub unlooked: Vec<String>,
    /// Rooms that were polled now, whatever the server knows of them.
    pub looked: BTreeSet<String>,
    /// Was the server ever seen, in a call or as the name of an SFU?
    pub is_seen: bool,
}

/// Runs `callscope idle`: prints whether the homeserver may be restarted. The exit code is 0 if it
/// may, 1 if a call would be interrupted, 2 if that is not known.
pub(super) async fn run(
    config: &Config,
    url: Option<&str>,
    asked: &IdleOptions,
) -> Result<ExitCode, Box<dyn Error>> {
    let (subject, known) = match read_present(config, url, asked).await {
        Ok(answers) => answers,
        Err(error) => {
            eprintln!("callscope: cannot tell: {error}");
            return Ok(ExitCode::from(UNKNOWN));
        }
    };

    let name = f::sanitize_line(&subject.server);

    match judge_idleness(&known, &subject, asked.visible_only) {
        IdleVerdict::Idle => print_text(&format!(
            "idle: no call with a member of {name} or on an SFU of it\n"
        )),
        IdleVerdict::Ghosts(calls) if asked.ignore_ghosts => print_text(&format!(
            "idle: only devices that are probably gone are left in a call:\n{}\n",
            calls.join("\n")
        )),
        IdleVerdict::Ghosts(calls) => {
            print_text(&format!(
                "busy: {name}, but only with devices that are probably gone; --ignore-ghosts does \
                 not count them\n{}\n",
                calls.join("\n")
            ))?;
            Ok(ExitCode::from(BUSY))
        }
        IdleVerdict::Busy(calls) => {
            print_text(&format!("busy: {name}\n{}\n", calls.join("\n")))?;
            Ok(ExitCode::from(BUSY))
        }
        IdleVerdict::Unknown(reasons) => {
            eprintln!(
                "callscope: cannot tell whether {name} is idle:\n{}",
                reasons.join("\n")
            );
            Ok(ExitCode::from(UNKNOWN))
        }
    }
}

/// The homeserver in question, and what is known of its calls now. The running Callscope is asked,
/// and the homeserver about rooms that are only polled by schedule.
async fn read_present(
    config: &Config,
    url: Option<&str>,
    asked: &IdleOptions,
) -> Result<(Subject, KnownPresent), Box<dyn Error>> {
    let server = RunningServer::new(config, url)?;
    let status_before = server.get("/api/v1/status").await?;
    let own = own_server(&status_before);
    let subject = Subject {
        server: asked.server.clone().or_else(|| own.clone()).ok_or(
            "the account has not signed in yet, so the name of its homeserver is not known; name \
             one with --server",
        )?,
        sfu: asked.sfu.clone(),
    };

    let is_own = own.is_some_and(|own| own.eq_ignore_ascii_case(&subject.server));
    let is_seen = is_own || has_been_seen(&server, &subject).await?;
    let rooms = server.all("/api/v1/rooms?limit=500").await?;
    let polled = polled_rooms(&status_before, &rooms);
    let looked = poll_rooms_now(config, &polled).await;
    let calls = server.get("/api/v1/calls/active").await?;
    let known = KnownPresent {
        calls: calls_of_now(entries_of(&calls["data"]).to_vec(), &looked),
        // The status comes last, so that it contains a trouble that begins meanwhile.
        status: server.get("/api/v1/status").await?,
        unlooked: looked.failed,
        looked: looked.rooms,
        is_seen,
    };

    Ok((subject, known))
}

/// The running calls, from the server's answer (`listed`) and from the polls just now. In rooms
/// that were polled now, the new poll counts, not the server's last one.
fn calls_of_now(listed: Vec<Value>, looked: &PollResults) -> Vec<Value> {
    let ghosts = ghosts_in(&listed);
    let silent = silent_devices_in(&listed);
    let is_looked = |call: &Value| {
        let room_id = call["room"]["room_id"].as_str();
        room_id.is_some_and(|room_id| looked.rooms.contains(room_id))
    };

    let seen_now = looked.calls.iter().cloned();
    let seen_now = seen_now.map(|call| mark_silent(mark_ghosts(call, &ghosts), &silent));

    // The state holds no sticky memberships, so for these the server's answer counts.
    listed
        .into_iter()
        .filter(|call| !is_looked(call) || has_sticky_member(call))
        .chain(seen_now)
        .collect()
}

/// The devices that are probably gone, as the server says: room, person and device of each. A poll
/// of the state cannot show that.
fn ghosts_in(calls: &[Value]) -> Vec<[Value; 3]> {
    let of_call = |call: &Value| -> Vec<[Value; 3]> {
        entries_of(&call["members"])
            .iter()
            .filter(|member| member["left_ms"].is_null() && is_ghost(call, member))
            .map(|member| device_in_room(call, member))
            .collect()
    };

    calls.iter().flat_map(of_call).collect()
}

/// A device that is silent.
struct SilentDevice {
    /// Room, person and device.
    device: [Value; 3],
    since_ms: Value,
}

/// The devices whose renewal is overdue, as the server says.
fn silent_devices_in(calls: &[Value]) -> Vec<SilentDevice> {
    let of_call = |call: &Value| -> Vec<SilentDevice> {
        entries_of(&call["members"])
            .iter()
            .filter(|member| member["left_ms"].is_null() && member["silent_since_ms"].is_i64())
            .map(|member| SilentDevice {
                device: device_in_room(call, member),
                since_ms: member["silent_since_ms"].clone(),
            })
            .collect()
    };

    calls.iter().flat_map(of_call).collect()
}

/// The call, with since when its devices are silent, where that is known.
fn mark_silent(mut call: Value, silent: &[SilentDevice]) -> Value {
    let unchanged = call.clone();
    for member in call["members"].as_array_mut().into_iter().flatten() {
        let device = device_in_room(&unchanged, member);
        if let Some(known) = silent.iter().find(|known| known.device == device) {
            member["silent_since_ms"] = known.since_ms.clone();
        }
    }

    call
}

/// What identifies a device of a call: its room, its person and its id.
fn device_in_room(call: &Value, member: &Value) -> [Value; 3] {
    [
        call["room"]["room_id"].clone(),
        member["user_id"].clone(),
        member["device_id"].clone(),
    ]
}

/// The call, with those of its devices marked that are probably gone.
fn mark_ghosts(mut call: Value, ghosts: &[[Value; 3]]) -> Value {
    let unchanged = call.clone();
    let members = call["members"].as_array_mut();
    for member in members.into_iter().flatten() {
        if ghosts.contains(&device_in_room(&unchanged, member)) {
            member["ghost"] = true.into();
        }
    }

    call
}

/// Is somebody in this call by a sticky event? A poll of the state does not show that.
fn has_sticky_member(call: &Value) -> bool {
    entries_of(&call["members"])
        .iter()
        .any(|member| member["kind"] == "sticky" && member["left_ms"].is_null())
}

/// The account's own homeserver, by its user id; `None` before it has signed in for the first time.
fn own_server(status: &Value) -> Option<String> {
    entries_of(&status["vantages"])
        .iter()
        .filter_map(|vantage| vantage["user_id"].as_str())
        .map(server_of)
        .find(|server| !server.is_empty())
        .map(ToOwned::to_owned)
}

/// Was this server ever seen in a call, or named as an SFU? If not, an empty result means nothing:
/// its name may be wrong.
async fn has_been_seen(server: &RunningServer, subject: &Subject) -> Result<bool, ask::Error> {
    for name in BTreeSet::from([subject.server.clone(), subject.server.to_lowercase()]) {
        let path = format!("/api/v1/servers/{}", f::path_segment(&name));
        match server.get(&path).await {
            Ok(_) => return Ok(true),
            Err(ask::Error::Refused(_, 404, _)) => {}
            Err(error) => return Err(error),
        }
    }

    let sfus = server.get("/api/v1/transports?period=365d").await?;

    Ok(entries_of(&sfus["data"])
        .iter()
        .filter_map(|sfu| sfu["service_url"].as_str())
        .any(|url| is_own(f::host_of_url(url), subject)))
}

/// The rooms that are not followed live: those that are only peeked into, and all joined rooms if
/// no account follows. `rooms` is the whole list of the API.
fn polled_rooms(status: &Value, rooms: &Value) -> Vec<Value> {
    let vantages = entries_of(&status["vantages"]);
    let follows = vantages.iter().any(|vantage| vantage["mode"] == "follow");
    let is_polled = |room: &&Value| match room["watch"].as_str() {
        Some("peeked") => true,
        Some("joined") => !follows,
        _ => false,
    };

    entries_of(&rooms["data"])
        .iter()
        .filter(is_polled)
        .cloned()
        .collect()
}

/// May the server be restarted? A call with somebody who is there makes it busy, whatever else is
/// not known. `visible_only`: rooms that cannot be read do not matter.
fn judge_idleness(known: &KnownPresent, subject: &Subject, visible_only: bool) -> IdleVerdict {
    let mut ghosts = Vec::new();
    let mut busy = Vec::new();
    let now = known.status["now_ms"].as_i64().unwrap_or(0);
    for call in &known.calls {
        match concern_of_call(call, subject, now) {
            Some(concern) if concern.is_real => busy.push(concern.words),
            Some(concern) => ghosts.push(concern.words),
            None => {}
        }
    }

    if !busy.is_empty() {
        return IdleVerdict::Busy(busy);
    }

    let reasons = reasons_for_doubt(known, subject, visible_only);
    if !reasons.is_empty() {
        return IdleVerdict::Unknown(reasons);
    }

    if ghosts.is_empty() {
        IdleVerdict::Idle
    } else {
        IdleVerdict::Ghosts(ghosts)
    }
}

/// Why it is not known whether the server is idle, one line each; empty if it is known.
/// `visible_only`: rooms that cannot be read are no reason.
fn reasons_for_doubt(known: &KnownPresent, subject: &Subject, visible_only: bool) -> Vec<String> {
    let mut reasons = list_troubles(&without_side_errors(&known.status));
    if !known.is_seen {
        reasons.push(format!(
            "nobody of {} was ever seen in a call, and no SFU of that name: is the name right?",
            f::sanitize_line(&subject.server)
        ));
    }

    let unwatched = known
        .calls
        .iter()
        .filter(|call| !call["unknown_since_ms"].is_null());
    reasons.extend(unwatched.map(|call| {
        format!(
            "nobody watches the call in {} since {}",
            room_name(&call["room"]),
            one_line_text(&call["unknown_since_at"])
        )
    }));
    if visible_only {
        return reasons;
    }

    reasons.extend(known.unlooked.iter().cloned());
    let is_looked = |one: &&Value| {
        let room_id = one["room_id"].as_str();
        room_id.is_some_and(|room_id| known.looked.contains(room_id))
    };

    let unknown = entries_of(&known.status["unknown_in"]).iter();
    reasons.extend(unknown.filter(|one| !is_looked(one)).map(|one| {
        format!(
            "who is in a call in {} is not known ({})",
            room_name(one),
            one_line_text(&one["unknown_why"])
        )
    }));

    reasons
}

/// The status without the errors of accounts that still hear their homeserver: then only other work
/// of theirs fails. An answer that does not say whether the present is known stays as it is.
fn without_side_errors(status: &Value) -> Value {
    let mut status = status.clone();
    let is_unheard = matches!(
        status["unknown_why"].as_str(),
        Some("not_read" | "not_heard")
    );
    if !status["unknown"].is_boolean() || is_unheard {
        return status;
    }

    for vantage in status["vantages"].as_array_mut().into_iter().flatten() {
        vantage["error"] = Value::Null;
    }

    status
}

/// How a call concerns a server.
#[derive(Debug)]
struct CallConcern {
    /// Somebody is in it who is probably not gone.
    is_real: bool,
    /// The call in one line.
    words: String,
}

/// How the call concerns the server: its people are in it, or its SFU carries it. `None` if
/// neither. `now` is the time of the server's answer, ms since the Unix epoch.
fn concern_of_call(call: &Value, subject: &Subject, now: i64) -> Option<CallConcern> {
    let present = entries_of(&call["members"])
        .iter()
        .filter(|member| member["left_ms"].is_null());
    // The devices of the server, those of them that are probably gone, and the devices of all.
    let (mut own, mut own_ghosts, mut all) = (0, 0, 0);
    let mut silent = Vec::new();
    // Whether an SFU of the server carries somebody who is there, or somebody who is probably gone.
    let (mut carried, mut carries_ghosts) = (false, false);
    for member in present {
        all += 1;
        let is_ghost = is_ghost(call, member);
        let is_of_server = member["server"]
            .as_str()
            .is_some_and(|server| server.eq_ignore_ascii_case(&subject.server));
        own += i32::from(is_of_server);
        own_ghosts += i32::from(is_of_server && is_ghost);
        let silent_since = member["silent_since_ms"].as_i64();
        silent.extend(silent_since.filter(|_| is_of_server && !is_ghost));
        let is_carried = ["service_url", "url", "sfu"]
            .iter()
            .filter_map(|key| member["transport"][key].as_str())
            .any(|url| is_own(f::host_of_url(url), subject));
        carried |= is_carried && !is_ghost;
        carries_ghosts |= is_carried && is_ghost;
    }

    if own == 0 && !carried && !carries_ghosts {
        return None;
    }

    let sfu = if carried || carries_ghosts {
        ", on its SFU"
    } else {
        ""
    };

    let ghosts = if own_ghosts > 0 {
        format!(", {own_ghosts} of them probably gone")
    } else {
        String::new()
    };

    let perhaps = words_of_silence(&silent, now);
    let id = call["id"].as_str().map(f::sanitize_line);
    let words = format!(
        "{}  {}: {own} of {all} devices{perhaps}{ghosts}{sfu}",
        id.unwrap_or_else(|| "seen now".to_owned()),
        room_name(&call["room"])
    );

    Some(CallConcern {
        is_real: own > own_ghosts || carried,
        words,
    })
}

/// How many devices of the server may be gone, in words; empty if none. They count as busy all the
/// same. `silent`: since when each is silent, ms, in any order; the words tell how long the one is
/// that was heard last. `now` in ms.
fn words_of_silence(silent: &[i64], now: i64) -> String {
    let Some(last_ms) = silent.iter().max() else {
        return String::new();
    };

    let for_long = f::ended_duration(now.saturating_sub(*last_ms));
    let more = if silent.len() > 1 { " and more" } else { "" };

    format!(
        ", {} of them perhaps gone, silent for {for_long}{more}",
        silent.len()
    )
}

/// Is this device probably gone? A finding of the call says so, or the member itself.
fn is_ghost(call: &Value, member: &Value) -> bool {
    let tells = |finding: &&Value| {
        finding["kind"] == "silent"
            && finding["sure"] == "probably"
            && finding["until_ms"].is_null()
            && finding["device_id"] == member["device_id"]
            && entries_of(&finding["users"]).contains(&member["user_id"])
    };

    member["ghost"] == true || entries_of(&call["findings"]).iter().any(|one| tells(&one))
}

/// Is this host one of the server's SFUs: its own name, a subdomain of it, or one given as an
/// option?
fn is_own(host: &str, subject: &Subject) -> bool {
    let bare = |name: &str| {
        name.rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map_or(name, |(name, _)| name)
            .to_lowercase()
    };

    let (host, server) = (bare(host), bare(&subject.server));

    host == server
        || host.ends_with(&format!(".{server}"))
        || subject
            .sfu
            .iter()
            .any(|sfu| bare(f::host_of_url(sfu)) == host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn subject(server: &str) -> Subject {
        Subject {
            server: server.to_owned(),
            sfu: Vec::new(),
        }
    }

    fn well() -> Value {
        json!({ "ready": true, "now_ms": 1_000_000, "full_since_ms": null, "troubled": [],
            "encrypted": [],
            "vantages": [{ "user_id": "@b:h", "mode": "follow", "error": null,
            "last_sync_ms": 990_000, "last_poll_ms": null }] })
    }

    fn known(calls: &Value, status: &Value) -> KnownPresent {
        KnownPresent {
            calls: entries_of(&calls["data"]).to_vec(),
            status: status.clone(),
            is_seen: true,
            ..KnownPresent::default()
        }
    }

    fn judged(calls: &Value, status: &Value, server: &str) -> IdleVerdict {
        judge_idleness(&known(calls, status), &subject(server), false)
    }

    fn running(server: &str, sfu: &str) -> Value {
        let gone = json!({ "server": "gone.example", "left_ms": 5, "transport": null });
        let here = json!({ "server": server, "left_ms": null,
            "transport": { "service_url": format!("https://{sfu}/jwt") } });
        json!({ "data": [{ "id": "c1", "room": { "room_id": "!a" }, "unknown_since_ms": null,
            "members": [gone, here] }] })
    }

    #[test]
    fn a_member_or_an_sfu_makes_a_server_busy() {
        let calls = running("a.example", "sfu.b.example:8443");
        for busy in ["a.example", "A.example", "b.example", "sfu.b.example"] {
            assert!(
                matches!(judged(&calls, &well(), busy), IdleVerdict::Busy(_)),
                "{busy}"
            );
        }

        for idle in [
            "gone.example",
            "c.example",
            "xb.example",
            "fu.b.example",
            "example2",
        ] {
            assert_eq!(judged(&calls, &well(), idle), IdleVerdict::Idle, "{idle}");
        }

        let named = Subject {
            sfu: vec!["https://sfu.b.example".to_owned()],
            ..subject("c.example")
        };

        let verdict = judge_idleness(&known(&calls, &well()), &named, false);
        assert!(matches!(verdict, IdleVerdict::Busy(_)));
    }

    #[test]
    fn devices_that_are_probably_gone_are_told_apart() {
        let mut calls = running("a.example", "sfu.b.example");
        calls["data"][0]["members"][1]["ghost"] = json!(true);
        for server in ["a.example", "b.example"] {
            let IdleVerdict::Ghosts(lines) = judged(&calls, &well(), server) else {
                panic!("{server} is held by a ghost only");
            };

            assert_eq!(lines.len(), 1);
        }

        // The same as a finding.
        calls["data"][0]["members"][1]["ghost"] = Value::Null;
        calls["data"][0]["members"][1]["user_id"] = json!("@x:a.example");
        calls["data"][0]["members"][1]["device_id"] = json!("D");
        let finding = json!({ "kind": "silent", "sure": "probably", "until_ms": null,
            "users": ["@x:a.example"],
            "device_id": "D" });
        calls["data"][0]["findings"] = json!([finding]);
        assert!(matches!(
            judged(&calls, &well(), "a.example"),
            IdleVerdict::Ghosts(_)
        ));
        calls["data"][0]["findings"][0]["sure"] = json!("perhaps");
        assert!(matches!(
            judged(&calls, &well(), "a.example"),
            IdleVerdict::Busy(_)
        ));
    }

    fn member(device_id: &str, kind: &str, ghost: bool) -> Value {
        json!({ "user_id": "@x:a.example", "device_id": device_id, "server": "a.example",
            "kind": kind, "left_ms": null,
            "ghost": ghost, "transport": null })
    }

    fn call_in(room_id: &str, members: &[Value]) -> Value {
        json!({ "id": null, "room": { "room_id": room_id }, "members": members })
    }

    #[test]
    fn who_is_probably_gone_stays_so_when_the_state_shows_the_membership_again() {
        let told = vec![
            call_in("!a:h", &[member("GONE", "session", true)]),
            call_in("!b:h", &[member("STICKY", "sticky", false)]),
            call_in("!c:h", &[member("FOLLOWED", "session", false)]),
        ];
        // A poll of the state cannot show a ghost or a sticky membership.
        let looked = |devices: &[&str]| {
            let members: Vec<Value> = devices
                .iter()
                .map(|device_id| member(device_id, "session", false))
                .collect();
            PollResults {
                rooms: ["!a:h".to_owned(), "!b:h".to_owned()].into(),
                calls: vec![call_in("!a:h", &members)],
                failed: Vec::new(),
            }
        };

        let devices = |calls: &[Value]| -> Vec<(String, bool)> {
            let members = calls.iter().flat_map(|call| entries_of(&call["members"]));
            members
                .map(|one| (one_line_text(&one["device_id"]), one["ghost"] == true))
                .collect()
        };

        let owned = |device_id: &str, is_ghost| (device_id.to_owned(), is_ghost);
        let calls = calls_of_now(told.clone(), &looked(&["GONE"]));
        let rest = [owned("STICKY", false), owned("FOLLOWED", false)];
        let want = [rest.to_vec(), vec![owned("GONE", true)]].concat();
        assert_eq!(devices(&calls), want);
        let ghost = calls.last().unwrap().clone();
        assert!(matches!(
            judged(&json!({ "data": [ghost] }), &well(), "a.example"),
            IdleVerdict::Ghosts(_)
        ));
        // Another device of the same person is there.
        let calls = calls_of_now(told, &looked(&["GONE", "NEW"]));
        assert!(devices(&calls).contains(&owned("NEW", false)));
        let both = calls.last().unwrap().clone();
        assert!(matches!(
            judged(&json!({ "data": [both] }), &well(), "a.example"),
            IdleVerdict::Busy(_)
        ));
    }

    #[test]
    fn devices_that_are_perhaps_gone_are_busy_and_said_to_be_silent() {
        let mut calls = running("a.example", "sfu.b.example");
        let mut status = well();
        status["now_ms"] = json!(10_000_000);
        status["vantages"][0]["last_sync_ms"] = json!(9_990_000);
        calls["data"][0]["members"][1]["silent_since_ms"] = json!(10_000_000 - 2 * 3_600_000);
        let IdleVerdict::Busy(lines) = judged(&calls, &status, "a.example") else {
            panic!("it may still be there");
        };

        assert!(
            lines[0].contains("1 of them perhaps gone, silent for 2 h 00"),
            "{lines:?}"
        );
    }

    #[test]
    fn what_is_not_known_is_not_idle() {
        let none = json!({ "data": [] });
        assert_eq!(judged(&none, &well(), "a.example"), IdleVerdict::Idle);
        let with = |key: &str, value: Value| {
            let mut status = well();
            status[key] = value;
            status
        };

        let old =
            json!([{ "mode": "follow", "error": null, "last_sync_ms": 1, "last_poll_ms": null }]);
        for (key, value) in [
            ("ready", json!(false)),
            ("full_since_ms", json!(7)),
            (
                "storage_trouble",
                json!({ "kind": "locked", "since_ms": 7, "error": "database is locked" }),
            ),
            ("vantages", json!([{ "mode": "poll", "error": "down" }])),
            ("vantages", old),
            (
                "unknown_in",
                json!([{ "room_id": "!b", "unknown_why": "unreadable" }]),
            ),
            (
                "unknown_in",
                json!([{ "room_id": "!b", "unknown_why": "encrypted" }]),
            ),
            (
                "unknown_in",
                json!([{ "room_id": "!b", "unknown_why": "old_poll" }]),
            ),
        ] {
            let mut status = with(key, value);
            status["now_ms"] = json!(400_000);
            assert!(
                matches!(judged(&none, &status, "a.example"), IdleVerdict::Unknown(_)),
                "{key}"
            );
        }

        let unread = json!([{ "room_id": "!b", "unknown_why": "unreadable" }]);
        let unread = known(&none, &with("unknown_in", unread));
        assert_eq!(
            judge_idleness(&unread, &subject("a.example"), true),
            IdleVerdict::Idle,
            "what can be seen is enough"
        );
        let mut probe = with(
            "vantages",
            json!([{ "mode": "follow", "error": "probe", "last_sync_ms": 990_000 }]),
        );
        probe["unknown"] = json!(false);
        assert_eq!(judged(&none, &probe, "a.example"), IdleVerdict::Idle);
        probe["unknown_why"] = json!("not_heard");
        assert!(matches!(
            judged(&none, &probe, "a.example"),
            IdleVerdict::Unknown(_)
        ));
        let mut looked = known(
            &none,
            &with(
                "unknown_in",
                json!([{ "room_id": "!b", "unknown_why": "old_poll" }]),
            ),
        );
        looked.looked.insert("!b".to_owned());
        assert_eq!(
            judge_idleness(&looked, &subject("a.example"), false),
            IdleVerdict::Idle,
            "it was looked at now"
        );
        let mut lost = running("a.example", "b.example");
        lost["data"][0]["unknown_since_ms"] = json!(1);
        assert!(matches!(
            judged(&lost, &well(), "c.example"),
            IdleVerdict::Unknown(_)
        ));
        assert!(matches!(
            judged(&none, &json!({}), "a.example"),
            IdleVerdict::Unknown(_)
        ));
        let unseen = KnownPresent {
            is_seen: false,
            ..known(&none, &well())
        };

        let IdleVerdict::Unknown(reasons) = judge_idleness(&unseen, &subject("a.exmaple"), true)
        else {
            panic!("a name that nobody knows is never idle");
        };

        assert!(reasons[0].contains("a.exmaple") && reasons[0].contains("is the name right"));
        let unlooked = KnownPresent {
            unlooked: vec!["no".to_owned()],
            ..known(&none, &well())
        };

        assert!(matches!(
            judge_idleness(&unlooked, &subject("a.example"), false),
            IdleVerdict::Unknown(_)
        ));
    }

    #[test]
    fn rooms_that_nobody_follows_are_looked_at() {
        let rooms = json!({ "data": [{ "room_id": "!a", "watch": "joined" }, { "room_id": "!b",
            "watch": "peeked" },
            { "room_id": "!c", "watch": "left" }] });
        let ids = |mode: &str| -> Vec<String> {
            let status = json!({ "vantages": [{ "mode": mode }] });
            polled_rooms(&status, &rooms)
                .iter()
                .map(|room| one_line_text(&room["room_id"]))
                .collect()
        };

        assert_eq!(ids("follow"), ["!b"]);
        assert_eq!(ids("poll"), ["!a", "!b"]);
        assert_eq!(own_server(&well()).as_deref(), Some("h"));
        let new = json!({ "vantages": [{ "user_id": "" }] });
        assert_eq!(own_server(&new), None);
    }
}
