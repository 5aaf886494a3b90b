//! `callscope alert`: lists the rules, and sends a test by each channel of one.

use super::account::sign_in;
use super::look::say;
use crate::alerting::channels::{Channel, ChannelKind, Delivery, http};
use crate::alerting::test_message;
use crate::app::build_client;
use crate::clock::Clock;
use crate::config::Config;
use crate::matrix::{Client, Settings};
use crate::rtc::alert::AlertRule;
use crate::rtc::id::hash;
use clap::Subcommand;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// How long a channel may take.
const ATTEMPT_MOST: Duration = Duration::from_secs(30);

/// What is done with alerts.
#[derive(Debug, Subcommand)]
pub(super) enum AlertCommand {
    /// List the rules with what they are about and where they go.
    List,
    /// Send a marked test message by each channel of a rule, and say what came back. Exit code 1
    /// when one was not taken.
    Test {
        /// The name of a rule, as `callscope alert list` shows it.
        name: String,
    },
}

/// Runs one of the commands.
pub(super) async fn run(
    config: &Config,
    command: &AlertCommand,
) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        AlertCommand::List => {
            list_rules(config);
            Ok(ExitCode::SUCCESS)
        }
        AlertCommand::Test { name } => test_rule(config, name).await,
    }
}

fn list_rules(config: &Config) {
    if config.alerts.rules.is_empty() {
        say!("Nothing is told to anybody: there is no [[channel]] in the configuration.");
    }

    for rule in &config.alerts.rules {
        let kinds: Vec<&str> = rule.on.iter().map(|kind| kind.as_str()).collect();
        say!(
            "{}: {}; to {}",
            rule.name,
            kinds.join(", "),
            rule.channels.join(", ")
        );
    }

    for channel in &config.alerts.channels {
        let hears = if matches!(channel.kind, ChannelKind::Ping { .. }) {
            "is asked as long as all is well".to_owned()
        } else if channel.scope.is_operator {
            "hears of everything".to_owned()
        } else {
            format!("hears of {}", channel.scope.rooms.join(", "))
        };
        say!(
            "channel {} ({}) {hears}",
            channel.scope.name,
            channel.kind.as_str()
        );
    }
}

fn find_rule<'a>(config: &'a Config, name: &str) -> Result<&'a AlertRule, Box<dyn Error>> {
    let rules = &config.alerts.rules;
    if let Some(rule) = rules.iter().find(|rule| rule.name == name) {
        return Ok(rule);
    }

    let known: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    if known.is_empty() {
        return Err("there is no rule: add a [[channel]] to the configuration".into());
    }

    Err(format!("there is no rule {name:?}; there are: {}", known.join(", ")).into())
}

async fn test_rule(config: &Config, name: &str) -> Result<ExitCode, Box<dyn Error>> {
    let rule = find_rule(config, name)?;
    let named = config
        .alerts
        .channels
        .iter()
        .filter(|channel| rule.channels.contains(&channel.scope.name));
    let named: Vec<_> = named.collect();
    let is_matrix = |kind: &ChannelKind| matches!(kind, ChannelKind::Matrix { .. });
    let (client, has_new_device) = if named.iter().any(|channel| is_matrix(&channel.kind)) {
        client_of_account(config).await?
    } else {
        // No channel uses it.
        let nowhere = "http://localhost".parse()?;
        (Client::new(Settings::new(nowhere))?, false)
    };

    let http = http::build_client()?;
    let now = Clock::System.now_ms();
    let mut all_taken = true;
    for settings in named {
        let channel = &settings.scope.name;
        let delivery = Delivery {
            key: hash(&["test", name, channel, &now.to_string()], 16),
            first_receipt: None,
            message: test_message(name, now),
            public_url: config.public_url.as_ref().map(ToString::to_string),
            at_ms: now,
        };
        let sent = match Channel::new(settings, &http, &client) {
            Ok(one) => match tokio::time::timeout(ATTEMPT_MOST, one.send(&delivery)).await {
                Ok(sent) => sent.map_err(|error| error.why),
                Err(_) => Err("there was no answer in time".to_owned()),
            },
            Err(error) => Err(error.to_string()),
        };
        let kind = settings.kind.as_str();
        match sent {
            Ok(Some(receipt)) => say!("{channel} ({kind}): sent, as {receipt}"),
            Ok(None) => say!("{channel} ({kind}): sent"),
            Err(why) => {
                all_taken = false;
                say!("{channel} ({kind}): not sent: {why}");
            }
        }
    }

    if has_new_device {
        client.logout().await?;
    }

    Ok(if all_taken {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A client that is signed in to the configured account, and whether that made a new device.
async fn client_of_account(config: &Config) -> Result<(Client, bool), Box<dyn Error>> {
    let account = config
        .account
        .as_ref()
        .ok_or("a channel of Matrix needs an account: set homeserver_url and a login")?;
    let client = build_client(account, config.max_response_bytes)?;
    let signed_in = sign_in(config, account, &client).await?;

    Ok((client, signed_in.has_new_device))
}
