//! `callscope doctor`: why calls fail on a homeserver, from its name to its SFU, with what to set.

use super::account::sign_in;
use super::look::say;
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, ConfiguredAccount, Login};
use crate::matrix::probe::Prober;
use crate::matrix::server_check::OwnAccount;
use crate::matrix::{Client, Error};
use crate::rtc::acl::ServerAcl;
use crate::rtc::id::server_of;
use crate::rtc::power::{PowerLevels, RoomCreation};
use crate::rtc::server_check::{
    CheckLine, PowerlessRoom, RoomAnswers, ServerAnswers, StepState, gravest_first,
};
use crate::web::view::format as f;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// The state event by which most clients join a call.
const MEMBER_TYPE: &str = "org.matrix.msc3401.call.member";
/// Maximum rooms whose rules are read, and number read in parallel.
const ROOMS_MAX: usize = 300;
const AT_A_TIME: usize = 4;

/// Runs `callscope doctor`. The exit code is 1 if something is broken.
pub(super) async fn run(
    config: &Config,
    server: Option<&str>,
    as_json: bool,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Some(account) = &config.account else {
        return Err("no homeserver account is configured".into());
    };

    let client = app::build_client(account, config.max_response_bytes)?;
    let signed_in = match sign_in(config, account, &client).await {
        Ok(signed_in) => Some(signed_in),
        // The homeserver may be the very thing that is broken.
        Err(error) => {
            eprintln!(
                "callscope: signing in failed ({error}), so only what everybody may ask is asked"
            );
            None
        }
    };
    let user_id = signed_in.as_ref().map(|signed| signed.who.user_id.clone());
    let user_id = user_id.or_else(|| configured_user(account));
    let Some(server) = server.or_else(|| user_id.as_deref().map(server_of)) else {
        return Err("name the homeserver: callscope doctor example.org".into());
    };

    let own = user_id
        .as_deref()
        .filter(|_| signed_in.is_some())
        .map(|user_id| OwnAccount {
            client: &client,
            user_id,
        });
    let is_ours = user_id.as_deref().map(server_of) == Some(server);
    let answers = ask_server(&client, own, server, is_ours).await?;
    if signed_in.is_some_and(|signed| signed.has_new_device)
        && let Err(error) = client.logout().await
    {
        eprintln!("callscope: the device of this check could not be removed: {error}");
    }

    let lines = answers.check_lines();
    if as_json {
        say!("{:#}", report_json(&answers, &lines));
    } else {
        print_report(&answers, &lines);
    }

    let is_broken = lines.iter().any(|line| line.state == StepState::Broken);

    Ok(ExitCode::from(u8::from(is_broken)))
}

/// The user id in the configuration; a token names none.
fn configured_user(account: &ConfiguredAccount) -> Option<String> {
    match &account.login {
        Login::Token(_) => None,
        Login::Password { user_id, .. } => Some(user_id.clone()),
    }
}

/// Asks the server: with our account if it is ours, else as everybody may. `own` is `None` if our
/// account cannot be used.
async fn ask_server(
    client: &Client,
    own: Option<OwnAccount<'_>>,
    server: &str,
    is_ours: bool,
) -> Result<ServerAnswers, Error> {
    let now = || Clock::System.now_ms();
    let rooms = match own {
        Some(_) => read_rules_of_rooms(client, server).await.ok(),
        None => None,
    };
    // The address of our own homeserver may be a private one; those of others may not.
    let prober = if is_ours {
        Prober::for_own_server(&client.settings().homeserver_url).await?
    } else {
        Prober::new()?
    };
    let mut sfus = BTreeMap::new();

    Ok(prober
        .ask_server(server, own.filter(|_| is_ours), rooms, &mut sfus, &now)
        .await)
}

/// In which of the rooms of the account members may not join a call, or the server is shut out.
async fn read_rules_of_rooms(client: &Client, server: &str) -> Result<RoomAnswers, Error> {
    let joined = client.joined_rooms().await?;
    let read = joined
        .iter()
        .take(ROOMS_MAX)
        .map(|room_id| read_rules(client, room_id, server));
    let mut read = stream::iter(read).buffered(AT_A_TIME);
    let mut answers = RoomAnswers::default();
    while let Some(rules) = read.next().await {
        // A room that cannot be read says nothing.
        let Ok(rules) = rules else { continue };

        answers.checked += 1;
        if let Some(needed) = rules.needed {
            answers.powerless.push(PowerlessRoom {
                name: rules.name.clone(),
                needed,
            });
        }

        if rules.is_denied {
            answers.denying.push(rules.name);
        }
    }

    Ok(answers)
}

/// The rules of one room that calls depend on.
#[derive(Debug)]
struct RoomCallRules {
    name: String,
    /// The power that joining needs, if usual members do not have it.
    needed: Option<i64>,
    /// The room takes no events of the server.
    is_denied: bool,
}

async fn read_rules(client: &Client, room_id: &str, server: &str) -> Result<RoomCallRules, Error> {
    let levels = state_content(client, room_id, "m.room.power_levels").await?;
    let acl = state_content(client, room_id, "m.room.server_acl").await?;
    let name = state_content(client, room_id, "m.room.name").await?;
    let name = name
        .as_ref()
        .and_then(|content| content.get("name")?.as_str())
        .filter(|name| !name.is_empty());
    // A room without levels lets everybody send everything.
    let needed = levels.and_then(|content| {
        let levels = PowerLevels::read(&content, &RoomCreation::default());
        let needed = levels.needed(MEMBER_TYPE, true);
        (needed > levels.of_others()).then_some(needed)
    });

    Ok(RoomCallRules {
        name: f::sanitize_line(name.unwrap_or(room_id)),
        needed,
        is_denied: acl
            .and_then(|content| ServerAcl::read(&content))
            .is_some_and(|acl| acl.denies(server)),
    })
}

/// The content of a state event; `None` if there is no such event.
async fn state_content(
    client: &Client,
    room_id: &str,
    event_type: &str,
) -> Result<Option<Value>, Error> {
    match client.state_content(room_id, event_type).await {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Prints what is broken or weak with what to set, then every step.
fn print_report(answers: &ServerAnswers, lines: &[CheckLine]) {
    say!("{}", summary_of_check(&answers.server, lines));
    let faults = gravest_first(lines.to_vec())
        .into_iter()
        .filter(|line| line.state < StepState::Unknown);
    let faults: Vec<_> = faults.collect();
    // The names of all faults first: who reads three lines knows what is wrong.
    for line in &faults {
        say!("{}", words_of_line(line));
    }

    for line in &faults {
        print_remedies(line);
    }

    say!("\nEvery step:");
    for line in lines {
        say!("{}", words_of_line(line));
    }

    if !answers.is_own {
        say!(
            "\nThis is not the homeserver of the bot's account, so its endpoint of transports, its \
             limits and its SFU's token were not asked for."
        );
    }
}

/// How many steps are broken, weak, well, and cannot be told.
fn summary_of_check(server: &str, lines: &[CheckLine]) -> String {
    let count = |state| lines.iter().filter(|line| line.state == state).count();
    let (broken, weak) = (count(StepState::Broken), count(StepState::Weak));
    let found = match (broken, weak) {
        (0, 0) => "nothing is broken".to_owned(),
        (0, weak) => format!("nothing is broken, {weak} could be better"),
        (broken, 0) => format!("{broken} broken"),
        (broken, weak) => format!("{broken} broken, {weak} could be better"),
    };
    let unknown = match count(StepState::Unknown) {
        0 => String::new(),
        unknown => format!(", {unknown} cannot be told"),
    };

    format!(
        "{}: {found}, {} ok{unknown}",
        f::sanitize_line(server),
        count(StepState::Well)
    )
}

/// One step in one line.
fn words_of_line(line: &CheckLine) -> String {
    let state = match line.state {
        StepState::Broken => "BROKEN",
        StepState::Weak => "weak",
        StepState::Unknown => "unknown",
        StepState::Well => "ok",
    };

    format!(
        "  {state:<8} {}: {} ({})",
        line.step.title(),
        f::sanitize_line(&line.came),
        f::sanitize_line(&line.asked)
    )
}

/// Prints what a fault means, and the lines to set.
fn print_remedies(line: &CheckLine) {
    say!("\n{}: {}", line.step.title(), line.step.meaning());
    for remedy in line.step.remedies() {
        say!("  {}:", remedy.program);
        for text in remedy.lines.lines() {
            say!("      {text}");
        }
    }
}

/// The report for programs.
fn report_json(answers: &ServerAnswers, lines: &[CheckLine]) -> Value {
    let line = |line: &CheckLine| {
        let remedies = line.step.remedies().iter();
        let remedies = remedies.map(|one| json!({"program": one.program, "lines": one.lines}));
        json!({
            "step": line.step,
            "title": line.step.title(),
            "state": line.state,
            "asked": line.asked,
            "came": line.came,
            "meaning": line.step.meaning(),
            "remedies": remedies.collect::<Vec<_>>(),
        })
    };

    json!({
        "server": answers.server,
        "is_own": answers.is_own,
        "steps": lines.iter().map(line).collect::<Vec<_>>(),
    })
}
