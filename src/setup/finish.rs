//! The last step: writes the file, and lets Callscope start with what the next start would read.

use super::progress::AccessChoice;
use super::server::{SetUp, StartWish};
use super::steps::{SetUpAccount, StepFault, describe_storage, save_credentials};
use crate::config::new_file::{NewFile, SecretText, is_taken, write_new_file};
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

/// What the browser saw when the button was pressed.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// The digest of the text: nothing else is written.
    pub digest: String,
    /// There was no file yet, and one can be made.
    pub was_free: bool,
}

const CHANGED: &str = "The answers were changed in another window. This is what would be written now; \
                       read it again.";

/// Writes the file and starts. If the file was there when the page was shown, it starts with that.
///
/// # Errors
/// Why nothing started, and what to do. What was written is taken back then.
pub(super) async fn write_and_start(set_up: &SetUp, shown: &Shown) -> Result<Finished, StepFault> {
    let _one_at_a_time = set_up.finishing.lock().await;
    // Whoever pressed the button twice is led on by both.
    if set_up.is_done() {
        return Ok(Finished::Started { path: "/" });
    }

    let progress = set_up.progress().clone();
    let (Some(file), Some(step)) = (progress.new_file(), &progress.account) else {
        return Err(StepFault::new(CHANGED));
    };

    if hash_secret(&file.text(SecretText::Written)) != shown.digest {
        return Err(StepFault::new(CHANGED));
    }

    let is_written = write_file(set_up, &file, shown.was_free)?;
    let started = start_callscope(set_up, &file, &step.account, is_written).await;

    match started {
        Ok(has_sign_in) => {
            let path = if has_sign_in { "/sign-in" } else { "/" };
            Ok(Finished::Started { path })
        }
        Err(fault) if is_written => Err(take_file_back(set_up, fault)),
        Err(fault) => Err(fault),
    }
}

/// Removes the file that was written for a start that failed, and says so.
fn take_file_back(set_up: &SetUp, fault: StepFault) -> StepFault {
    let said = match std::fs::remove_file(&set_up.settings.file) {
        Ok(()) => "The file was taken back.".to_owned(),
        Err(error) => {
            tracing::warn!(%error, "the configuration file could not be removed again");
            format!("The file was written, and could not be removed again: {error}.")
        }
    };

    StepFault {
        what: format!("{} {said}", fault.what),
        ..fault
    }
}

/// Writes the file if there is none. Returns whether it was written.
fn write_file(set_up: &SetUp, file: &NewFile, was_free: bool) -> Result<bool, StepFault> {
    const MEANWHILE: &str = "Somebody else has put a file there meanwhile, and nothing was started. \
                             See whose it is, such as of callscope init in a terminal, and remove \
                             it or go on with it.";
    let settings = &set_up.settings;
    if is_taken(&settings.file) {
        return if was_free {
            Err(StepFault::new(MEANWHILE))
        } else {
            Ok(false)
        };
    }

    let text = file.text(SecretText::Written);
    let environment = settings.environment.iter().cloned();
    let config = Config::from_text(&settings.file, &text, environment);
    let config = config
        .and_then(|config| check_exposure(set_up, config))
        .map_err(|faults| StepFault {
            what:
                "With what is configured already, this does not work. Correct these settings, and \
                   restart."
                    .to_owned(),
            details: describe_faults(&faults),
        })?;
    let changed = file.settings_changed_in(&config);
    if !changed.is_empty() {
        return Err(StepFault {
            what: "The environment says otherwise than what was chosen here, and goes before the \
                   file. Remove its variables and restart, or choose nothing there."
                .to_owned(),
            details: changed.into_iter().map(str::to_owned).collect(),
        });
    }

    match write_new_file(&settings.file, &text) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(StepFault::new(MEANWHILE))
        }
        Err(error) => Err(StepFault {
            what:
                "The file could not be written. Let the user that Callscope runs as write to its \
                   folder, or put the text there yourself."
                    .to_owned(),
            details: vec![error.to_string()],
        }),
    }
}

/// The configuration, if strangers who reach the socket do not see everything unasked.
fn check_exposure(set_up: &SetUp, config: Config) -> Result<Config, ConfigFaults> {
    config.access.check_exposure(set_up.address)?;

    Ok(config)
}

fn describe_faults(faults: &ConfigFaults) -> Vec<String> {
    faults.0.iter().map(ToString::to_string).collect()
}

/// Reads the configuration as the next start would, and asks to start with it. Returns whether
/// people have to sign in.
async fn start_callscope(
    set_up: &SetUp,
    file: &NewFile,
    account: &SetUpAccount,
    is_written: bool,
) -> Result<bool, StepFault> {
    let settings = &set_up.settings;
    let environment = settings.environment.iter().cloned();
    let config = Config::load(settings.named_file.as_deref(), environment);
    let config = config
        .and_then(|config| check_exposure(set_up, config))
        .map_err(|faults| StepFault {
            what: if is_written {
                "Callscope cannot start with the file as it is now.".to_owned()
            } else {
                "Callscope cannot start with the file that is there. Correct it, and go on here."
                    .to_owned()
            },
            details: describe_faults(&faults),
        })?;
    check_own_file(set_up, file, &config).map_err(StepFault::new)?;

    if let Some(credentials) = &account.credentials {
        save_credentials(credentials, &config)?;
    }

    let access = &config.access;
    let has_sign_in = !access.open_to_everybody
        && (access.operator_password_hash.is_some()
            || access.operator_token
            || access.openid.is_some()
            || access.sign_in_by_code);
    let (answer, answered) = oneshot::channel();
    let lost = || StepFault::new("Callscope is ending. Start it again.");
    set_up
        .wishes
        .send(StartWish { config, answer })
        .await
        .map_err(|_| lost())?;
    let started = answered.await.map_err(|_| lost())?;
    started.map_err(|why| StepFault {
        what: "Callscope could not start with this.".to_owned(),
        details: vec![why],
    })?;

    Ok(has_sign_in)
}

/// Checks that the file which was read has what was tried here.
///
/// # Errors
/// What it has otherwise, and what to do.
fn check_own_file(set_up: &SetUp, file: &NewFile, config: &Config) -> Result<(), &'static str> {
    if config.is_empty() {
        return Err("The file that is there names no homeserver yet. Nothing was changed in it.");
    }

    if !file.has_account_of(config) {
        return Err(
            "The file that is there has another account than the one that signed in here, or has \
             not its secrets. Let it have the lines that are shown with their secrets, or restart \
             to run with what it has.",
        );
    }

    if file.operator_password_hash.is_some() && !config.access.is_set() {
        return Err(
            "The file that is there lacks the password that was chosen here. Add the line with \
             operator_password_hash.",
        );
    }

    if config.bind != set_up.settings.config.bind {
        return Err(
            "The file that is there names another address to serve the pages at than the one at \
             which this page is served. Restart to run with it.",
        );
    }

    Ok(())
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
            "Nobody has to sign in: whoever reaches {} sees everything, the people and programs of \
             this machine and whoever comes by a proxy on it.",
            config.bind
        )),
        Some(AccessChoice::Configured) | None => {}
    }

    kept
}
