//! `callscope check`: is the configuration right, and what can the homeserver do?

use super::look::say;
use crate::app;
use crate::config::{Config, Login};
use crate::matrix::Capabilities;
use crate::store;
use std::error::Error;
use std::process::ExitCode;

pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    say!("Configuration: no faults.");
    let database = store::check(config.database_url.expose()).await;
    match &database {
        Ok((name, true)) => say!("Database: {name} can be opened."),
        Ok((name, false)) => say!("Database: {name} is not there yet; the server makes it."),
        // Not the end: what is wrong with the homeserver is worth knowing, too.
        Err(error) => say!("Database: {error}"),
    }
    let watches = homeserver(config).await?;
    Ok(if database.is_ok() && watches {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Asks the homeserver, and says what it can do; false where no account is named.
async fn homeserver(config: &Config) -> Result<bool, Box<dyn Error>> {
    let Some(account) = &config.account else {
        return Ok(false);
    };
    let client = app::client(account, config.max_response_bytes)?;
    match &account.login {
        Login::Token(token) => client.set_token(Some(token.clone())),
        // As the server does, so that a check makes no second device.
        Login::Password { user_id, password } => {
            client
                .sign_in(user_id, password, &config.credentials_file)
                .await?;
        }
    }
    let who = client.whoami().await?;
    let device = who.device_id.as_deref().unwrap_or("none");
    say!(
        "Signed in: {} (device {device}) on {}",
        who.user_id,
        account.homeserver_url
    );
    capabilities(&client.versions().await?);
    let rooms = client.joined_rooms().await?.len();
    say!("Rooms: the account is in {rooms}; all of them are watched.");
    if rooms == 0 && config.rooms.is_empty() {
        say!("       Nothing to watch yet: invite the account, or name rooms in CALLSCOPE_ROOMS.");
    }
    match client.transports().await {
        Ok(list) if !list.is_empty() => say!("Transports: the homeserver offers {}.", list.len()),
        Ok(_) => say!(
            "Transports: the homeserver offers none; clients use what they are configured with."
        ),
        Err(error) => say!("Transports: not told ({error})."),
    }
    Ok(true)
}

fn capabilities(can: &Capabilities) {
    say!(
        "Homeserver: {}",
        can.software
            .as_deref()
            .unwrap_or("does not tell its software")
    );
    let says = |has: bool, yes: &'static str, no: &'static str| if has { yes } else { no };
    say!(
        "  delayed events (MSC4140): {}",
        says(
            can.delayed_events,
            "yes",
            "no: people who lose their connection stay listed until their membership expires"
        )
    );
    say!(
        "  sticky events (MSC4354): {}",
        says(
            can.sticky_events,
            "yes",
            "no: clients here can only use room state, which is the usual way today"
        )
    );
}
