//! `callscope visibility` and `callscope pseudonyms`: who may see the calls of a room, and what
//! stands for people where names are not shown.

use super::key::open_store;
use super::look::say;
use crate::clock::Clock;
use crate::config::Config;
use crate::rtc::room_visibility::RoomVisibility;
use crate::store::derive::pseudonyms;
use crate::store::ingest::rooms;
use crate::store::sign_in::audit_log::{AuditEntry, AuditKind, record_entry};
use crate::store::sign_in::rooms::decide_visibility;
use clap::Subcommand;
use std::error::Error;
use std::process::ExitCode;

/// What the operator decides about a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// What the room itself says.
    Default,
    Decided(RoomVisibility),
}

/// What to do with pseudonyms.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum PseudonymCommand {
    /// Make new pseudonyms for everybody. Nobody can match them with the old ones.
    Renew,
}

pub(super) fn parse_choice(text: &str) -> Result<Choice, String> {
    if text == "default" {
        return Ok(Choice::Default);
    }

    text.parse()
        .map(Choice::Decided)
        .map_err(|_| "write public, members, hidden or default".to_owned())
}

/// Stores who may see the calls of a room.
pub(super) async fn set_visibility(
    config: &Config,
    room: &str,
    who: Choice,
) -> Result<ExitCode, Box<dyn Error>> {
    let store = open_store(config).await?;
    let Some(found) = rooms::find_room_name(&store, room).await? else {
        store.close().await;
        return Err(format!("no room with the id or alias {room} is known").into());
    };

    let decided = match who {
        Choice::Default => None,
        Choice::Decided(decided) => Some(decided),
    };
    let words = match decided {
        None => "those whom the room itself says",
        Some(RoomVisibility::Public) => "everybody",
        Some(RoomVisibility::Members) => "those who are or were in it",
        Some(RoomVisibility::Hidden) => "operators only",
    };
    let sign_ins = store.sign_ins();
    decide_visibility(&sign_ins, &found.room_id, decided).await?;
    let entry = AuditEntry {
        at_ms: Clock::System.now_ms(),
        kind: AuditKind::RoomShown,
        identity: None,
        detail: Some(format!("{}: {words}", found.room_id)),
        address: None,
    };
    record_entry(&sign_ins, &entry).await?;
    store.close().await;
    say!("The calls of {} are for {words}.", found.room_id);

    Ok(ExitCode::SUCCESS)
}

/// Runs `callscope pseudonyms`.
pub(super) async fn run_pseudonyms(
    config: &Config,
    command: &PseudonymCommand,
) -> Result<ExitCode, Box<dyn Error>> {
    let store = open_store(config).await?;
    match command {
        PseudonymCommand::Renew => {
            pseudonyms::renew_pseudonyms(&store, rand::random()).await?;
        }
    }

    store.close().await;
    say!("All pseudonyms are new.");

    Ok(ExitCode::SUCCESS)
}
