//! `callscope idle --server NAME`: may this homeserver be restarted now? For scripts, by the exit code.

use super::ask::Server;
use super::look::{entries, print, room, text, troubles};
use crate::config::Config;
use crate::web::format as f;
use serde_json::Value;
use std::error::Error;
use std::process::ExitCode;

/// A call would be hit.
const BUSY: u8 = 1;
/// What is not known is not idle.
const UNKNOWN: u8 = 2;
/// Where nothing was heard from the homeserver for so long, the stream is not trusted, ms.
const SILENT_MS: i64 = 5 * 60 * 1000;

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The homeserver's name.
    pub server: String,
    /// Hosts of its SFUs, where their names do not end with the server's.
    pub sfu: Vec<String>,
    /// What can be seen is enough.
    pub visible_only: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Idle,
    /// The calls, one a line.
    Busy(Vec<String>),
    /// Why it cannot be told.
    Unknown(Vec<String>),
}

pub(super) async fn run(
    config: &Config,
    url: Option<&str>,
    asked: &Asked,
) -> Result<ExitCode, Box<dyn Error>> {
    let answers = async {
        let server = Server::new(config, url)?;
        // The status comes last: a trouble that begins meanwhile is in it.
        let calls = server.get("/api/v1/calls/active").await?;
        Ok::<_, Box<dyn Error>>((calls, server.get("/api/v1/status").await?))
    };
    let (calls, status) = match answers.await {
        Ok(answers) => answers,
        Err(error) => {
            eprintln!("callscope: cannot tell: {error}");
            return Ok(ExitCode::from(UNKNOWN));
        }
    };
    let name = f::tidy(&asked.server);
    match judge(&calls, &status, asked) {
        Verdict::Idle => print(&format!(
            "idle: no call with a member of {name} or on an SFU of it\n"
        )),
        Verdict::Busy(calls) => {
            print(&format!("busy: {name}\n{}\n", calls.join("\n")))?;
            Ok(ExitCode::from(BUSY))
        }
        Verdict::Unknown(reasons) => {
            eprintln!(
                "callscope: cannot tell whether {name} is idle:\n{}",
                reasons.join("\n")
            );
            Ok(ExitCode::from(UNKNOWN))
        }
    }
}

fn judge(calls: &Value, status: &Value, asked: &Asked) -> Verdict {
    let busy: Vec<String> = entries(&calls["data"])
        .iter()
        .filter_map(|call| touched(call, asked))
        .collect();
    if !busy.is_empty() {
        return Verdict::Busy(busy);
    }
    let mut reasons = troubles(status);
    reasons.extend(silent(status));
    for call in entries(&calls["data"])
        .iter()
        .filter(|call| !call["unknown_since_ms"].is_null())
    {
        reasons.push(format!(
            "nobody watches the call in {} since {}",
            room(&call["room"]),
            text(&call["unknown_since_at"])
        ));
    }
    if !asked.visible_only {
        reasons.extend(
            entries(&status["troubled"])
                .iter()
                .map(|one| format!("the room {} cannot be read", room(one))),
        );
        let encrypted = entries(&status["encrypted"]).iter();
        reasons.extend(encrypted.map(|one| format!("memberships in {} are encrypted", room(one))));
    }
    if reasons.is_empty() {
        Verdict::Idle
    } else {
        Verdict::Unknown(reasons)
    }
}

/// Accounts that follow live and heard nothing for long, though no error says so.
fn silent(status: &Value) -> Vec<String> {
    let now = status["now_ms"].as_i64().unwrap_or(i64::MAX);
    let old = |one: &Value| {
        let why = match one["last_sync_ms"]
            .as_i64()
            .max(one["last_poll_ms"].as_i64())
        {
            None => "has heard nothing yet",
            Some(heard) if now.saturating_sub(heard) > SILENT_MS => {
                "heard nothing for more than five minutes"
            }
            Some(_) => return None,
        };
        (one["mode"] == "follow").then(|| format!("{} {why}", text(&one["user_id"])))
    };
    entries(&status["vantages"])
        .iter()
        .filter_map(old)
        .collect()
}

/// The call in a line, where the server is in it or carries it.
fn touched(call: &Value, asked: &Asked) -> Option<String> {
    let present = entries(&call["members"])
        .iter()
        .filter(|member| member["left_ms"].is_null());
    let (mut own, mut carried, mut all) = (0, false, 0);
    for member in present {
        all += 1;
        own += i32::from(
            member["server"]
                .as_str()
                .is_some_and(|server| server.eq_ignore_ascii_case(&asked.server)),
        );
        carried |= ["service_url", "url", "sfu"]
            .iter()
            .filter_map(|key| member["transport"][key].as_str())
            .any(|url| is_own(f::host(url), asked));
    }
    let sfu = if carried { ", on its SFU" } else { "" };
    let words = || {
        format!(
            "{}  {}: {own} of {all} devices{sfu}",
            text(&call["id"]),
            room(&call["room"])
        )
    };
    (own > 0 || carried).then(words)
}

/// Is this host one of the server's SFUs: its own name, a name below it, or one that was named?
fn is_own(host: &str, asked: &Asked) -> bool {
    let bare = |name: &str| {
        name.rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map_or(name, |(name, _)| name)
            .to_lowercase()
    };
    let (host, server) = (bare(host), bare(&asked.server));
    host == server
        || host.ends_with(&format!(".{server}"))
        || asked.sfu.iter().any(|sfu| bare(f::host(sfu)) == host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(server: &str) -> Asked {
        Asked {
            server: server.to_owned(),
            sfu: Vec::new(),
            visible_only: false,
        }
    }

    fn well() -> Value {
        json!({ "ready": true, "now_ms": 1_000_000, "full_since_ms": null, "troubled": [], "encrypted": [],
            "vantages": [{ "user_id": "@b:h", "mode": "follow", "error": null, "last_sync_ms": 990_000, "last_poll_ms": null }] })
    }

    fn running(server: &str, sfu: &str) -> Value {
        let gone = json!({ "server": "gone.example", "left_ms": 5, "transport": null });
        let here = json!({ "server": server, "left_ms": null, "transport": { "service_url": format!("https://{sfu}/jwt") } });
        json!({ "data": [{ "id": "c1", "room": { "room_id": "!a" }, "unknown_since_ms": null, "members": [gone, here] }] })
    }

    #[test]
    fn a_member_or_an_sfu_makes_a_server_busy() {
        let calls = running("a.example", "sfu.b.example:8443");
        for busy in ["a.example", "A.example", "b.example", "sfu.b.example"] {
            assert!(
                matches!(judge(&calls, &well(), &asked(busy)), Verdict::Busy(_)),
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
            assert_eq!(
                judge(&calls, &well(), &asked(idle)),
                Verdict::Idle,
                "{idle}"
            );
        }
        let named = Asked {
            sfu: vec!["https://sfu.b.example".to_owned()],
            ..asked("c.example")
        };
        assert!(matches!(judge(&calls, &well(), &named), Verdict::Busy(_)));
    }

    #[test]
    fn what_is_not_known_is_not_idle() {
        let none = json!({ "data": [] });
        assert_eq!(judge(&none, &well(), &asked("a.example")), Verdict::Idle);
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
            ("vantages", json!([{ "mode": "poll", "error": "down" }])),
            ("vantages", old),
            ("troubled", json!([{ "room_id": "!b" }])),
            ("encrypted", json!([{ "room_id": "!b" }])),
        ] {
            let mut status = with(key, value);
            status["now_ms"] = json!(400_000);
            assert!(
                matches!(
                    judge(&none, &status, &asked("a.example")),
                    Verdict::Unknown(_)
                ),
                "{key}"
            );
        }
        let visible = Asked {
            visible_only: true,
            ..asked("a.example")
        };
        assert_eq!(
            judge(
                &none,
                &with("troubled", json!([{ "room_id": "!b" }])),
                &visible
            ),
            Verdict::Idle
        );
        let mut lost = running("a.example", "b.example");
        lost["data"][0]["unknown_since_ms"] = json!(1);
        assert!(matches!(
            judge(&lost, &well(), &asked("c.example")),
            Verdict::Unknown(_)
        ));
        assert!(matches!(
            judge(&none, &json!({}), &asked("a.example")),
            Verdict::Unknown(_)
        ));
    }
}
