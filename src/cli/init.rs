//! `callscope init`: sets Callscope up in the terminal, as the pages of the set-up do in a browser.
//! Flags answer for scripts; what no flag says is asked, if there is somebody to ask.

use super::look::say;
use super::{MISUSED, report_faults};
use crate::app::wait_for_stop_signal;
use crate::clock::Clock;
use crate::config::new_file::{FilePlace, NewFile, SecretText, check_place, write_new_file};
use crate::config::{Config, ConfigFaults, process_environment};
use crate::matrix::{Client, FoundHomeserver, Secret};
use crate::setup::answers::{
    RoomChoice, check_same_password, link_to_user, parse_inviters, parse_rooms,
};
use crate::setup::rooms::{AccountRooms, check_aliases, read_rooms};
use crate::setup::steps::{
    self, Finding, LoginAnswer, SetUpAccount, StepFault, describe_homeserver, describe_storage,
    look_up_homeserver, read_login, save_credentials, token_advice,
};
use crate::web::sign_in::password::hash_password;
use crate::web::view::format as f;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The flags that sign in.
const LOGIN_FLAGS: &str = "--user and --password-file, or --token-file";
/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: i32 = 130;
/// How often a question is asked that is not answered well.
const ASKED_MAX: usize = 5;

/// The answers that flags give.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct InitOptions {
    /// The homeserver, by its name as in user ids or by its address.
    #[arg(long, value_name = "NAME")]
    homeserver: Option<String>,
    /// The account that watches, by its id; needs its password.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A file with the password of the account.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// A file with an access token of the account, instead of user and password.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "password_file"])]
    token_file: Option<PathBuf>,
    /// A room to join and watch, by id or alias; may be given several times.
    #[arg(long, value_name = "ROOM")]
    room: Vec<String>,
    /// A space whose rooms are joined and watched; may be given several times.
    #[arg(long, value_name = "SPACE")]
    space: Vec<String>,
    /// Accept invitations of this person (@admin:example.org), or of this server's people
    /// (example.org); may be given several times.
    #[arg(long, value_name = "WHO")]
    accept_from: Vec<String>,
    /// A file with the operator's password for the pages, of which the hash is written.
    #[arg(long, value_name = "FILE")]
    operator_password_file: Option<PathBuf>,
    /// Ask nothing, and write what follows from the flags.
    #[arg(long)]
    yes: bool,
}

/// Why nothing was written.
#[derive(Debug)]
enum InitFault {
    /// What was said to the program is wrong or missing.
    Misused(String),
    Failed(String),
}

impl From<StepFault> for InitFault {
    fn from(fault: StepFault) -> Self {
        Self::Failed(fault.to_string())
    }
}

impl From<io::Error> for InitFault {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs `callscope init`. The exit code is 2 if a flag is missing or wrong or Callscope is
/// configured already, and 1 if something failed.
pub(super) async fn run(
    named_file: Option<&Path>,
    options: InitOptions,
) -> Result<ExitCode, Box<dyn Error>> {
    let path = Config::file_path(named_file, process_environment());
    let config = match read_present_config(&path) {
        Ok(config) => config,
        Err(faults) => return Ok(report_faults(&faults)),
    };
    if !config.is_empty() {
        eprintln!(
            "callscope: a homeserver is configured already, in the environment or in {}; nothing \
             was done. See `callscope check`",
            path.display()
        );
        return Ok(ExitCode::from(MISUSED));
    }

    match check_place(&path) {
        FilePlace::Free => {}
        FilePlace::Taken => {
            eprintln!(
                "callscope: there is {} already, and it is not written over; nothing was done. Put \
                 the settings into it by hand (callscope.sample.toml has them all), or name \
                 another file by --config",
                path.display()
            );
            return Ok(ExitCode::FAILURE);
        }
        FilePlace::Unwritable(why) => {
            eprintln!(
                "callscope: {} cannot be made: {why}; nothing was done. Let this user write to its \
                 folder, or name another file by --config",
                path.display()
            );
            return Ok(ExitCode::FAILURE);
        }
    }

    let terminal = Terminal {
        asks: !options.yes && io::stdin().is_terminal(),
        agrees: options.yes,
    };
    let done = match check_options(&config, &options, terminal) {
        Ok(()) => set_up(&config, &path, &options, terminal).await,
        Err(fault) => Err(fault),
    };
    match done {
        Ok(()) => {
            let named = named_file.map(|file| format!(" --config {}", file.display()));
            say!(
                "{} is written, for its owner only to read. `callscope{}` starts to watch now.",
                path.display(),
                named.unwrap_or_default()
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(InitFault::Misused(what)) => {
            eprintln!("callscope: {what}");
            Ok(ExitCode::from(MISUSED))
        }
        Err(InitFault::Failed(what)) => {
            eprintln!("callscope: {what}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Finds what is wrong or missing before anything is asked of anybody, so that no device is made
/// for nothing.
fn check_options(
    config: &Config,
    options: &InitOptions,
    terminal: Terminal,
) -> Result<(), InitFault> {
    parse_list(&options.room, parse_rooms)?;
    parse_list(&options.space, parse_rooms)?;
    parse_list(&options.accept_from, parse_inviters)?;
    let has_password = options.operator_password_file.is_some();
    if has_password && config.access.is_set() {
        return Err(InitFault::Misused(
            "it is configured already who may see the pages, so --operator-password-file would not \
             count; leave it out, or take those settings out of the environment"
                .to_owned(),
        ));
    }

    if terminal.asks {
        return Ok(());
    }

    for (is_given, flag) in [
        (options.homeserver.is_some(), "--homeserver"),
        (
            options.token_file.is_some() || options.user.is_some(),
            LOGIN_FLAGS,
        ),
        (
            options.user.is_none() || options.password_file.is_some(),
            "--password-file",
        ),
        (terminal.agrees, "--yes"),
    ] {
        if !is_given {
            terminal.check_that_somebody_answers(flag)?;
        }
    }

    if !has_password {
        let checked = config.access.check_exposure(config.bind);
        checked.map_err(|faults| InitFault::Misused(faults.to_string()))?;
    }

    Ok(())
}

/// What is configured now. A file that is not there yet is no fault, even if it is named.
fn read_present_config(path: &Path) -> Result<Config, ConfigFaults> {
    if path.exists() {
        return Config::load(Some(path), process_environment());
    }

    Config::from_text(path, "", process_environment())
}

/// Goes through all steps and writes the file. A device that was made for nothing is removed.
async fn set_up(
    config: &Config,
    path: &Path,
    options: &InitOptions,
    terminal: Terminal,
) -> Result<(), InitFault> {
    let found = find_homeserver(options, terminal).await?;
    let hash = choose_password(config, options, terminal)?;
    let account = sign_in(&found, config, options, terminal).await?;
    let watch = account
        .has_new_device
        .then(|| tokio::spawn(remove_device_at_end(account.client.clone())));
    let chosen = choose_file(&found, &account, hash, path, options, terminal).await;
    // From here on the device is kept.
    if let Some(watch) = watch {
        watch.abort();
    }

    let written = match chosen {
        Ok(chosen) => write_chosen(&chosen, &account, path),
        Err(fault) => Err(fault),
    };
    if written.is_err() && account.has_new_device {
        steps::log_out(&account.client).await;
    }

    written
}

/// Removes the device and ends the program when it is told to stop, such as by Ctrl-C at a
/// question.
async fn remove_device_at_end(client: Client) {
    wait_for_stop_signal().await;
    steps::log_out(&client).await;
    eprintln!("\ncallscope: nothing was written");
    std::process::exit(INTERRUPTED);
}

async fn find_homeserver(
    options: &InitOptions,
    terminal: Terminal,
) -> Result<FoundHomeserver, InitFault> {
    let mut given = options.homeserver.clone();
    for _ in 0..ASKED_MAX {
        let text = match given.take() {
            Some(text) => text,
            None => terminal.ask(
                "Homeserver, by name (example.org) or address",
                "--homeserver",
            )?,
        };
        match look_up_homeserver(&text).await {
            Ok(found) => {
                print_findings(&describe_homeserver(&found));
                return Ok(found);
            }
            Err(fault) => terminal.report(fault)?,
        }
    }

    Err(InitFault::Failed("no homeserver was found".to_owned()))
}

async fn sign_in(
    found: &FoundHomeserver,
    config: &Config,
    options: &InitOptions,
    terminal: Terminal,
) -> Result<SetUpAccount, InitFault> {
    for attempt in 0..ASKED_MAX {
        let options = if attempt == 0 {
            options
        } else {
            &InitOptions::default()
        };
        let signed_in = match read_login_answer(found, options, terminal)? {
            Ok(answer) => steps::sign_in(found, &answer, config, Clock::System.now_ms()).await,
            Err(fault) => Err(fault),
        };
        match signed_in {
            Ok(account) => {
                print_findings(&account.findings);
                return Ok(account);
            }
            Err(fault) => terminal.report(fault)?,
        }
    }

    Err(InitFault::Failed(
        "the account was not signed in".to_owned(),
    ))
}

/// How to sign in, by the flags or by what is asked.
fn read_login_answer(
    found: &FoundHomeserver,
    options: &InitOptions,
    terminal: Terminal,
) -> Result<Result<LoginAnswer, StepFault>, InitFault> {
    if let Some(file) = &options.token_file {
        return Ok(read_login(&read_secret_file(file)?, "", ""));
    }

    if let Some(user) = &options.user {
        let password = match &options.password_file {
            Some(file) => read_secret_file(file)?,
            None => terminal.ask_secret("Password of the account", "--password-file")?,
        };
        return Ok(read_login("", user, &password));
    }

    let flags = LOGIN_FLAGS;
    if !found.may_take_password() {
        terminal.tell(token_advice(found));
        let token = terminal.ask_secret("Access token of the account", flags)?;
        return Ok(read_login(&token, "", ""));
    }

    let user = terminal.ask("User (empty to give an access token)", flags)?;
    if user.is_empty() {
        terminal.tell(token_advice(found));
        let token = terminal.ask_secret("Access token of the account", flags)?;
        return Ok(read_login(&token, "", ""));
    }

    let password = terminal.ask_secret("Password of the account", flags)?;

    Ok(read_login("", &user, &password))
}

/// The text of the file to write, and the configuration that it makes.
struct ChosenFile {
    text: String,
    config: Config,
}

/// The steps after the sign-in: rooms, and whether to write what follows.
async fn choose_file(
    found: &FoundHomeserver,
    account: &SetUpAccount,
    operator_password_hash: Option<Secret>,
    path: &Path,
    options: &InitOptions,
    terminal: Terminal,
) -> Result<ChosenFile, InitFault> {
    let rooms = read_rooms(&account.client).await;
    print_rooms(account, &rooms);
    let choice = choose_rooms(account, &rooms, options, terminal).await?;
    let file = NewFile {
        homeserver_url: found.url.clone(),
        login: account.login.clone(),
        rooms: choice.rooms,
        spaces: choice.spaces,
        invites: choice.invites,
        operator_password_hash,
    };
    let text = file.text(SecretText::Written);
    let read = Config::from_text(path, &text, process_environment());
    let checked = read.and_then(|new| new.access.check_exposure(new.bind).map(|()| new));
    let config = checked.map_err(|faults| InitFault::Misused(faults.to_string()))?;
    let changed = file.settings_changed_in(&config);
    if !changed.is_empty() {
        return Err(InitFault::Misused(format!(
            "the environment says otherwise than what was chosen for {}, and goes before the file; \
             remove its variables, or choose nothing there",
            changed.join(", ")
        )));
    }

    say!("\n{}:\n\n{}", path.display(), file.text(SecretText::Masked));
    for line in describe_storage(account, &config) {
        say!("{line}");
    }

    if !terminal.confirm("Write this file? [y/N]")? {
        return Err(InitFault::Failed("nothing was written".to_owned()));
    }

    Ok(ChosenFile { text, config })
}

/// Writes the file, and beside it the device where that is kept.
fn write_chosen(chosen: &ChosenFile, account: &SetUpAccount, path: &Path) -> Result<(), InitFault> {
    if let Some(credentials) = &account.credentials {
        save_credentials(credentials, &chosen.config)?;
    }

    write_new_file(path, &chosen.text)
        .map_err(|error| InitFault::Failed(format!("{} was not written: {error}", path.display())))
}

fn print_rooms(account: &SetUpAccount, rooms: &AccountRooms) {
    say!(
        "The account is in {}, which are watched.",
        f::count_with_noun(rooms.joined_total, "room", "rooms")
    );
    for room in &rooms.joined {
        let kind = if room.is_space { " (space)" } else { "" };
        say!("  {}{kind}", f::sanitize_line(room.title()));
    }

    for fault in &rooms.faults {
        say!("  {fault}");
    }

    say!(
        "To invite it to others: {} ({})",
        link_to_user(&account.user_id),
        f::sanitize_line(&account.user_id)
    );
}

/// The rooms to watch, by the flags or by what is asked.
async fn choose_rooms(
    account: &SetUpAccount,
    rooms: &AccountRooms,
    options: &InitOptions,
    terminal: Terminal,
) -> Result<RoomChoice, InitFault> {
    let mut choice = RoomChoice {
        rooms: parse_list(&options.room, parse_rooms)?,
        spaces: parse_list(&options.space, parse_rooms)?,
        invites: parse_list(&options.accept_from, parse_inviters)?,
    };
    if terminal.asks {
        for invited in &rooms.invitations {
            let inviter = invited.inviter.as_deref().unwrap_or("somebody");
            let question = format!(
                "Accept the invitation of {} to {}? [y/N]",
                f::sanitize_line(inviter),
                f::sanitize_line(invited.title())
            );
            if terminal.confirm(&question)? {
                let list = if invited.is_space {
                    &mut choice.spaces
                } else {
                    &mut choice.rooms
                };
                list.push(invited.to_spec());
            }
        }

        if options.room.is_empty() {
            let asked = "Rooms to join, by alias or id (empty for none)";
            choice.rooms.extend(terminal.ask_list(asked, parse_rooms)?);
        }

        if options.space.is_empty() {
            let asked = "Spaces whose rooms to join (empty for none)";
            choice.spaces.extend(terminal.ask_list(asked, parse_rooms)?);
        }

        if options.accept_from.is_empty() {
            let asked = "Whose later invitations to accept, people or servers (empty for nobody's)";
            choice.invites = terminal.ask_list(asked, parse_inviters)?;
        }
    }

    check_aliases(&account.client, &choice).await?;

    Ok(choice)
}

/// The hash of the operator's password, by the flag or by what is asked; `None` if there is none.
fn choose_password(
    config: &Config,
    options: &InitOptions,
    terminal: Terminal,
) -> Result<Option<Secret>, InitFault> {
    if config.access.is_set() {
        return Ok(None);
    }

    let hash = |password: &str| hash_password(password).map(Secret::new);
    if let Some(file) = &options.operator_password_file {
        let password = read_secret_file(file)?;
        return hash(&password).map(Some).map_err(InitFault::Misused);
    }

    if !terminal.asks {
        return Ok(None);
    }

    // A proxy on this machine would let others in.
    let is_loopback = config.bind.ip().to_canonical().is_loopback()
        && config.public_url.is_none()
        && config.public_names.is_empty();
    let empty = if is_loopback {
        " (empty: nobody has to sign in, and whoever reaches the address sees all; only without a \
         proxy before it)"
    } else {
        ""
    };
    for _ in 0..ASKED_MAX {
        let question = format!("New password of the operator for the pages{empty}");
        let password = terminal.ask_secret(&question, "--operator-password-file")?;
        if password.is_empty() && is_loopback {
            return Ok(None);
        }

        let again = terminal.ask_secret("The same again", "--operator-password-file")?;
        match check_same_password(&password, &again).and_then(|()| hash(&password)) {
            Ok(hash) => return Ok(Some(hash)),
            Err(why) => eprintln!("{why}"),
        }
    }

    Err(InitFault::Failed("no password was chosen".to_owned()))
}

/// The entries of flags, read.
fn parse_list<T>(
    entries: &[String],
    parse: impl Fn(&str) -> Result<T, Vec<String>>,
) -> Result<T, InitFault> {
    parse(&entries.join("\n")).map_err(|faults| InitFault::Misused(faults.join("\n")))
}

/// The first line of a file that holds a secret.
fn read_secret_file(path: &Path) -> Result<String, InitFault> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        InitFault::Misused(format!("{} cannot be read: {error}", path.display()))
    })?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(InitFault::Misused(format!("{} is empty", path.display())));
    }

    Ok(line.to_owned())
}

fn print_findings(findings: &[Finding]) {
    for finding in findings {
        say!("  {:<15} {}", finding.name, finding.words);
    }
}

/// Whoever sits at the terminal.
#[derive(Debug, Clone, Copy)]
struct Terminal {
    /// Is there somebody to ask?
    asks: bool,
    /// Is everything agreed to?
    agrees: bool,
}

impl Terminal {
    /// Asks for a line. Without anybody to ask, a flag is missing.
    fn ask(self, question: &str, flag: &str) -> Result<String, InitFault> {
        self.check_that_somebody_answers(flag)?;
        eprint!("{question}: ");
        io::stderr().flush()?;
        let mut line = String::new();
        if io::stdin().read_line(&mut line)? == 0 {
            return Err(InitFault::Failed("nothing more was answered".to_owned()));
        }

        Ok(line.trim().to_owned())
    }

    /// Asks for a line that is not shown.
    fn ask_secret(self, question: &str, flag: &str) -> Result<String, InitFault> {
        self.check_that_somebody_answers(flag)?;

        Ok(rpassword::prompt_password(format!("{question}: "))?)
    }

    fn check_that_somebody_answers(self, flag: &str) -> Result<(), InitFault> {
        if self.asks {
            return Ok(());
        }

        Err(InitFault::Misused(format!(
            "there is nobody to ask, so {flag} is needed; `callscope init --help` has all flags"
        )))
    }

    /// Asks for a list until it is understood.
    fn ask_list<T>(
        self,
        question: &str,
        parse: impl Fn(&str) -> Result<T, Vec<String>>,
    ) -> Result<T, InitFault> {
        for _ in 0..ASKED_MAX {
            match parse(&self.ask(question, "--yes")?) {
                Ok(list) => return Ok(list),
                Err(faults) => eprintln!("{}", faults.join("\n")),
            }
        }

        Err(InitFault::Failed("no list was understood".to_owned()))
    }

    /// Asks for a yes, unless everything is agreed to.
    fn confirm(self, question: &str) -> Result<bool, InitFault> {
        if self.agrees {
            return Ok(true);
        }

        let answer = self.ask(question, "--yes")?.to_lowercase();

        Ok(answer == "y" || answer == "yes")
    }

    /// Says something to whoever is asked next.
    fn tell(self, words: &str) {
        if self.asks {
            eprintln!("{words}");
        }
    }

    /// Reports a fault after which it is asked again. With nobody to ask, that is the end.
    fn report(self, fault: StepFault) -> Result<(), InitFault> {
        if self.asks {
            eprintln!("{fault}");
            return Ok(());
        }

        Err(fault.into())
    }
}
