//! `callscope forget`: takes a person or a homeserver out of what is stored, and of what comes
//! later; also beside a running server.

use super::key::open_store;
use super::look::{number_with_noun, say};
use crate::app::record_forgotten;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::check::parse_forgotten_server;
use crate::rtc::fold::Rules;
use crate::rtc::forgotten::ForgottenKind;
use crate::store::Writer;
use crate::store::db::backup;
use crate::store::rights::forget::{
    self, ForgetCounts, Forgot, KnownName, NameToForget, look_up_name,
};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// When a server goes on with what this command began and did not end, ms.
const TAKEN_OVER_MS: i64 = 60 * 60 * 1000;

/// Runs `callscope forget`. Without `yes` it asks back first.
pub(super) async fn run(
    config: &Config,
    name: &str,
    yes: bool,
) -> Result<ExitCode, Box<dyn Error>> {
    let wish = parse_name(name)?;
    let store = open_store(config).await?;
    let done = forget_name(&store, config, &wish, yes).await;
    store.close().await;

    done
}

/// The name that is to be forgotten: a user id, or the name of a homeserver.
pub(super) fn parse_name(name: &str) -> Result<NameToForget, String> {
    if !name.starts_with('@') {
        let server = parse_forgotten_server(name).map_err(|why| {
            format!("{name} is neither a user id (@user:example.org) nor a homeserver: {why}")
        })?;
        let kind = ForgottenKind::Server;
        return Ok(NameToForget { kind, name: server });
    }

    let is_user_id = name
        .split_once(':')
        .is_some_and(|(user, server)| user.len() > 1 && !server.is_empty());
    if !is_user_id || name.len() > 255 {
        return Err(format!(
            "{name} is no user id; write it in full: @user:example.org"
        ));
    }

    Ok(NameToForget {
        kind: ForgottenKind::Person,
        name: name.to_owned(),
    })
}

async fn forget_name(
    store: &Writer,
    config: &Config,
    wish: &NameToForget,
    yes: bool,
) -> Result<ExitCode, Box<dyn Error>> {
    let name = &wish.name;
    match look_up_name(store, wish).await? {
        KnownName::No => {
            return Err(format!(
                "nothing is stored about {name}, so nothing was done; look for a slip in the name"
            )
            .into());
        }
        KnownName::Own => {
            return Err(format!(
                "{name} is the account by which Callscope watches; without it nothing can be \
                 watched, so nothing was done"
            )
            .into());
        }
        KnownName::Forgotten => {
            say!("{name} is forgotten already; nothing was done.");
            return Ok(ExitCode::SUCCESS);
        }
        KnownName::Stored if !yes && !confirm(wish)? => {
            say!("Nothing was done.");
            return Ok(ExitCode::FAILURE);
        }
        KnownName::Stored => {}
    }

    let rules = Rules {
        slot_policy: config.slot_policy,
        ..Rules::default()
    };
    let now = Clock::System.now_ms();
    forget::remember_wish(store, wish, now.saturating_add(TAKEN_OVER_MS)).await?;
    match forget::forget_name(store, &rules, wish, now, rand::random()).await? {
        Forgot::Done(counts) => say!("{}", words_of_counts(counts)),
        Forgot::Before => {}
    }

    if !store.erase_deleted().await? {
        say!(
            "A part of the write-ahead log could not be emptied, since the server reads it; \
             restart the server."
        );
    }

    forget::finish_forgetting(store, wish, now).await?;
    record_forgotten(store, wish, now).await?;

    say!(
        "What comes later is stored without the name. A running server shows it no more within a \
         few seconds."
    );
    warn_of_copies(config)?;

    Ok(ExitCode::SUCCESS)
}

/// Asks whether it is meant. Only `yes` is.
fn confirm(wish: &NameToForget) -> Result<bool, std::io::Error> {
    let what = match wish.kind {
        ForgottenKind::Person => "is forgotten: calls and numbers stay, the person goes",
        ForgottenKind::Server => "and all of its people are forgotten: calls and numbers stay",
    };
    let mut out = std::io::stdout();
    write!(
        out,
        "{} {what}. This cannot be undone. Write yes to go on: ",
        wish.name
    )?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;

    Ok(matches!(answer.trim(), "yes" | "y"))
}

fn words_of_counts(counts: ForgetCounts) -> String {
    format!(
        "Forgotten in {}: {} and {} have a pseudonym now, and {} were deleted or changed.",
        number_with_noun(counts.rooms, "room", "rooms"),
        number_with_noun(counts.events, "event", "events"),
        number_with_noun(counts.stays, "stay", "stays"),
        number_with_noun(counts.others, "further row", "further rows")
    )
}

/// Says which copies of the database still have the name.
fn warn_of_copies(config: &Config) -> Result<(), Box<dyn Error>> {
    let copies = backup::list_set_aside(config.database_url.expose())?;
    for copy in &copies {
        say!(
            "This older copy still has it; delete it: {}",
            copy.display()
        );
    }

    say!("Backups that were made before still have it; delete them, and make a new one.");

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_person_or_a_server() {
        let person = parse_name("@ann:example.org").unwrap();
        assert_eq!(person.kind, ForgottenKind::Person);
        let server = parse_name("example.org").unwrap();
        assert_eq!(server.kind, ForgottenKind::Server);
        for wrong in ["@ann", "@:example.org", "@ann:", "no server", "org", ""] {
            assert!(parse_name(wrong).is_err(), "{wrong}");
        }
    }
}
