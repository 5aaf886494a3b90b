//! The last step: writes the file, and lets Callscope start with what the next start would read.

use super::progress::AccessChoice;
use super::server::{SetUp, StartWish};
use super::steps::{SetUpAccount, StepFault, describe_storage};
use crate::config::new_file::{NewFile, SecretText, write_new_file};
use crate::config::{Config, ConfigFaults};
use crate::web::sign_in::secret_text::hash_secret;
use std::io;
use tokio::sync::oneshot;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finished {
    /// Callscope runs; this is the page to go to.
    Started { path: &'static str },
}

/// Writes the file and starts. `shown` is the digest of the text that was shown: nothing else is
/// written.
///
/// # Errors
/// Why nothing started, and what to do. What was written is taken back then.
pub(super) async fn write_and_start(set_up: &SetUp, shown: &str) -> Result<Finished, StepFault> {
    let Ok(_one_at_a_time) = set_up.finishing.try_lock() else {
        return Err(StepFault::new(
            "Another browser has started it a moment ago. Wait, and open the page again.",
        ));
    };
    let progress = set_up.progress().clone();
    let (Some(file), Some(step)) = (progress.new_file(), &progress.account) else {
        return Err(StepFault::new(CHANGED));
    };

    if hash_secret(&file.text(SecretText::Written)) != shown {
        return Err(StepFault::new(CHANGED));
    }

    let is_written = write_file(set_up, &file)?;
    let started = start_callscope(set_up, &step.account).await;
    if started.is_err()
        && is_written
        && let Err(error) = std::fs::remove_file(&set_up.settings.file)
    {
        tracing::warn!(%error, "the configuration file could not be removed again");
    }

    started.map(|has_sign_in| {
        let path = if has_sign_in { "/sign-in" } else { "/" };

        Finished::Started { path }
    })
}

const CHANGED: &str = "The answers were changed in another window. This is what would be written now; \
                       read it again.";

/// Writes the file if there is none. Returns whether it was written.
fn write_file(set_up: &SetUp, file: &NewFile) -> Result<bool, StepFault> {
    let settings = &set_up.settings;
    let text = file.text(SecretText::Written);
    let environment = settings.environment.iter().cloned();
    let config = Config::from_text(&settings.file, &text, environment);
    check_config(config).map_err(|faults| faults_to_show(&faults))?;

    match write_new_file(&settings.file, &text) {
        Ok(()) => Ok(true),
        // Somebody may have put the text there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StepFault {
            what: "The file could not be written. See below what to do.".to_owned(),
            details: vec![error.to_string()],
        }),
    }
}

/// The configuration, if it may be started with.
fn check_config(config: Result<Config, ConfigFaults>) -> Result<Config, ConfigFaults> {
    let config = config?;
    config.access.check_exposure(config.bind)?;

    Ok(config)
}

fn faults_to_show(faults: &ConfigFaults) -> StepFault {
    StepFault {
        what: "With what is configured already, this does not work. Correct these settings, and \
               restart."
            .to_owned(),
        details: faults.0.iter().map(ToString::to_string).collect(),
    }
}

/// Reads the configuration as the next start would, and asks to start with it. Returns whether people
/// have to sign in.
async fn start_callscope(set_up: &SetUp, account: &SetUpAccount) -> Result<bool, StepFault> {
    let settings = &set_up.settings;
    let environment = settings.environment.iter().cloned();
    let config = Config::load(settings.named_file.as_deref(), environment);
    let config = check_config(config).map_err(|faults| faults_to_show(&faults))?;
    if config.is_empty() {
        return Err(StepFault::new(
            "The file that is there names no homeserver yet. Nothing was changed in it.",
        ));
    }

    if let Some(credentials) = &account.credentials {
        let saved = credentials.save(&config.credentials_file);
        saved.map_err(|error| StepFault::new(error.to_string()))?;
    }

    let has_sign_in = config.access.is_set() && !config.access.open_to_everybody;
    let (answer, answered) = oneshot::channel();
    let lost = || StepFault::new("Callscope is ending. Start it again.");
    set_up
        .wishes
        .send(StartWish { config, answer })
        .await
        .map_err(|_| lost())?;
    let started = answered.await.map_err(|_| lost())?;
    started.map_err(|why| StepFault {
        what: "Callscope could not start with this, so the file was taken back.".to_owned(),
        details: vec![why],
    })?;

    Ok(has_sign_in)
}

/// What is kept, and where, in sentences.
pub(super) fn describe_kept(
    account: &SetUpAccount,
    access: Option<&AccessChoice>,
    config: &Config,
) -> Vec<String> {
    let mut kept = describe_storage(account, config);
    match access {
        Some(AccessChoice::Password(_)) => kept.push(
            "Of the operator's password only a hash (argon2id) is kept, in the configuration file."
                .to_owned(),
        ),
        Some(AccessChoice::ThisMachine) => kept.push(format!(
            "Nobody has to sign in; the pages are served on {} only.",
            config.bind
        )),
        Some(AccessChoice::Configured) | None => {}
    }

    kept
}
