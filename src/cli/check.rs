//! `callscope check`: is the configuration right, and what can the homeserver do?

use crate::app;
use crate::config::{Account, Config, Login};
use crate::matrix::{Capabilities, Client, Credentials};
use std::error::Error;
use std::process::ExitCode;

pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    println!("Configuration: no faults.");
    let Some(account) = &config.account else { return Ok(ExitCode::FAILURE) };
    let client = app::client(account, config.max_response_bytes)?;
    sign_in(&client, account, config).await?;
    let who = client.whoami().await?;
    let device = who.device_id.as_deref().unwrap_or("none");
    println!("Signed in: {} (device {device}) on {}", who.user_id, account.homeserver_url);
    capabilities(&client.versions().await?);
    let rooms = client.joined_rooms().await?.len();
    println!("Rooms: the account is in {rooms}; all of them are watched.");
    if rooms == 0 && config.rooms.is_empty() {
        println!("       Nothing to watch yet: invite the account, or name rooms in CALLSCOPE_ROOMS.");
    }
    match client.transports().await {
        Ok(list) if !list.is_empty() => println!("Transports: the homeserver offers {}.", list.len()),
        Ok(_) => println!("Transports: the homeserver offers none; clients use what they are configured with."),
        Err(error) => println!("Transports: not told ({error})."),
    }
    Ok(ExitCode::SUCCESS)
}

/// Signs in as the server would, and keeps what it would keep, so that a check makes no second device.
async fn sign_in(client: &Client, account: &Account, config: &Config) -> Result<(), Box<dyn Error>> {
    let (user_id, password) = match &account.login {
        Login::Token(token) => {
            client.set_token(Some(token.clone()));
            return Ok(());
        }
        Login::Password { user_id, password } => (user_id, password),
    };
    let kept = Credentials::load(&config.credentials_file)?.filter(|kept| kept.user_id == *user_id);
    if let Some(kept) = &kept {
        client.use_credentials(kept);
        match client.whoami().await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_revoked() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let device = kept.map(|kept| kept.device_id);
    client.login(user_id, password, device.as_deref()).await?.save(&config.credentials_file)?;
    Ok(())
}

fn capabilities(can: &Capabilities) {
    println!("Homeserver: {}", can.software.as_deref().unwrap_or("does not tell its software"));
    let says = |has: bool, yes: &'static str, no: &'static str| if has { yes } else { no };
    println!(
        "  delayed events (MSC4140): {}",
        says(
            can.delayed_events,
            "yes",
            "no: people who lose their connection stay listed until their membership expires"
        )
    );
    println!(
        "  sticky events (MSC4354): {}",
        says(can.sticky_events, "yes", "no: clients here can only use room state, which is the usual way today")
    );
}
