//! `callscope check`: is the configuration right, can everything that it names be reached, and what
//! would the next start do?

use super::account::sign_in;
use super::check_rooms::check_all_rooms;
use super::check_upgrade::print_next_start;
use super::look::say;
use crate::app::{self, OPEN_TO_OTHERS};
use crate::config::{Config, ConfiguredAccount, Login};
use crate::matrix::{Capabilities, Client, Whoami};
use crate::store;
use crate::web::view::storage_words;
use std::error::Error;
use std::process::ExitCode;

/// The number of faults.
#[derive(Debug, Default)]
pub(super) struct FaultCount(usize);

impl FaultCount {
    /// Prints what is wrong and what to do, and counts it.
    pub(super) fn add(&mut self, what: &str) {
        self.0 += 1;
        say!("  FAILS: {what}");
    }
}

/// Runs `callscope check`: prints each thing that was tried, and what to do where it fails. The
/// exit code is 1 if something fails.
pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let mut faults = FaultCount::default();
    say!("Configuration: no faults.");
    check_database(config, &mut faults).await;
    print_page_access(config, &mut faults);
    if let Some(account) = &config.account {
        check_homeserver(config, account, &mut faults).await?;
    } else {
        faults.add("no homeserver account is configured");
    }

    if faults.0 == 0 {
        say!("Everything that the configuration names can be had.");
        return Ok(ExitCode::SUCCESS);
    }

    eprintln!(
        "callscope: {} to be mended; each stands above after FAILS",
        if faults.0 == 1 {
            "one thing is".to_owned()
        } else {
            format!("{} things are", faults.0)
        }
    );

    Ok(ExitCode::FAILURE)
}

/// Tries to open and write the database. One that does not exist yet is no fault: the server makes
/// it.
async fn check_database(config: &Config, faults: &mut FaultCount) {
    match store::check_database(config.database_url.expose()).await {
        Ok((name, true)) => {
            say!("Database: {name} can be opened and written.");
            print_next_start(config, faults).await;
        }
        Ok((name, false)) => say!("Database: {name} is not there yet; the server makes it."),
        // Continue: problems with the homeserver are worth knowing, too.
        Err(error) => {
            say!("Database:");
            let words = storage_words(error.kind());
            faults.add(&format!("{error}. {}", words.to_do));
        }
    }
}

/// Prints who may see the pages. An address that other machines reach is a fault if nothing says
/// who may.
fn print_page_access(config: &Config, faults: &mut FaultCount) {
    let (bind, access) = (config.bind, &config.access);
    if let Err(found) = access.check_exposure(bind) {
        say!("Pages: served on {bind}.");
        for fault in found.0 {
            faults.add(&fault.to_string());
        }
    } else if access.open_to_everybody {
        say!("Pages: served on {bind}.\n  WARNING: {OPEN_TO_OTHERS}.");
    } else if access.is_set() {
        say!("Pages: served on {bind}, to those who sign in, and public rooms to everybody.");
    } else {
        say!("Pages: served on {bind}, which only this machine reaches.");
    }
}

/// Signs in, asks the homeserver what it can do, and tries the rooms. A device that had to be made
/// for that is removed again.
async fn check_homeserver(
    config: &Config,
    account: &ConfiguredAccount,
    faults: &mut FaultCount,
) -> Result<(), Box<dyn Error>> {
    let client = app::build_client(account, config.max_response_bytes)?;
    let signed_in = match sign_in(config, account, &client).await {
        Ok(signed_in) => signed_in,
        Err(error) => {
            say!("Homeserver: {}", account.homeserver_url);
            faults.add(&format!(
                "signing in: {error}. {}",
                remedy_for_account(account)
            ));
            return Ok(());
        }
    };

    let asked = ask_homeserver(config, account, &client, &signed_in.who, faults).await;
    if signed_in.has_new_device
        && let Err(error) = client.logout().await
    {
        faults.add(&format!(
            "the check could not log out again ({error}); its device is in the account's list and \
             may be removed"
        ));
    }

    asked
}

/// What to look at in the configuration if the account is refused.
fn remedy_for_account(account: &ConfiguredAccount) -> &'static str {
    match &account.login {
        Login::Token(_) => "See that CALLSCOPE_HOMESERVER_URL and CALLSCOPE_ACCESS_TOKEN are right",
        Login::Password { .. } => {
            "See that CALLSCOPE_HOMESERVER_URL, CALLSCOPE_USER_ID and CALLSCOPE_PASSWORD are right"
        }
    }
}

/// Prints who we are and what the homeserver can do, tries the rooms, and prints its transports.
async fn ask_homeserver(
    config: &Config,
    account: &ConfiguredAccount,
    client: &Client,
    who: &Whoami,
    faults: &mut FaultCount,
) -> Result<(), Box<dyn Error>> {
    say!(
        "Signed in: {} (device {}) on {}",
        who.user_id,
        who.device_id.as_deref().unwrap_or("none"),
        account.homeserver_url
    );
    match client.versions().await {
        Ok(can) => print_capabilities(&can),
        Err(error) => say!("Homeserver: what it can do is not told ({error})."),
    }

    check_all_rooms(config, client, &who.user_id, faults).await;
    match client.transports().await {
        Ok(list) if !list.is_empty() => say!("Transports: the homeserver offers {}.", list.len()),
        Ok(_) => say!(
            "Transports: the homeserver offers none; clients use what they are configured with."
        ),
        Err(error) => say!("Transports: not told ({error})."),
    }

    Ok(())
}

/// Prints the software of the homeserver, and which of two features it has; where one is missing,
/// what follows from that.
fn print_capabilities(can: &Capabilities) {
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
