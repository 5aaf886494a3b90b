//! The command line: what can be asked of the program, and the words it answers with.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help that the program prints"
)]

mod account;
mod alert;
mod animation;
mod ask;
mod backfill;
mod backup;
mod check;
mod check_rooms;
mod check_upgrade;
mod chromium;
mod demo;
mod demo_checks;
mod demo_record;
mod derive;
mod doctor;
mod export;
mod forget;
mod health;
mod idle;
mod idle_look;
mod init;
mod key;
mod look;
mod migrate_store;
mod passwd;
mod rebuild;
mod serve;
mod token;
mod upgrade_bar;
mod visibility;

use crate::config::{Config, ConfigFaults, process_environment};
use crate::matrix::Secret;
use crate::rtc::slot::SlotPolicy;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Wrong configuration or wrong arguments.
const MISUSED: u8 = 2;

const NOTHING_CONFIGURED: &str = "Callscope is not configured yet. There are four ways on:
1. Set it up in a browser:             callscope (it prints the address to open)
2. Set it up in this terminal:         callscope init
3. Look at it with made-up calls:      callscope demo
4. Set these three, then start again:
   CALLSCOPE_HOMESERVER_URL=https://matrix.example.org
   CALLSCOPE_USER_ID=@callscope:example.org   CALLSCOPE_PASSWORD=...   (or CALLSCOPE_ACCESS_TOKEN instead of both)";

const DOCUMENTATION: &str =
    "Documentation: /docs on the pages of a running Callscope, also of `callscope demo`.";

/// Watches MatrixRTC calls: who was in which call and when. Without a command it observes and
/// serves its pages.
#[derive(Debug, Parser)]
#[command(version, after_help = DOCUMENTATION)]
struct Arguments {
    /// The configuration file (TOML); else CALLSCOPE_CONFIG, else callscope.toml where there is
    /// one.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Observe the configured homeserver and serve the pages (the default). With nothing
    /// configured, serve pages to set it up; their address is printed.
    Serve,
    /// Set Callscope up: find the homeserver, sign in, choose rooms, and write the configuration
    /// file. Asks in the terminal for what no flag says. The same is done in a browser by
    /// `callscope` with nothing configured.
    Init(init::InitOptions),
    /// Show the pages with made-up calls: a simulated homeserver, nothing real is contacted.
    Demo(demo::DemoOptions),
    /// Say what happened in a room: reads its events, prints memberships and calls as JSON.
    Derive {
        /// Events of one room in client format: a JSON array, one event a line, or a /messages
        /// answer; "-" = standard input.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// The time for which to answer, ms since 1970 (default: now).
        #[arg(long, value_name = "MS")]
        now: Option<i64>,
        /// What slot events mean: if_present, required or ignore.
        #[arg(long, default_value = "if_present")]
        slot_policy: SlotPolicy,
    },
    /// Read the history of rooms in the foreground, with a progress bar; a running server does it
    /// by itself.
    Backfill {
        /// Rooms by id or alias; without any, all that are watched.
        rooms: Vec<String>,
    },
    /// Write a consistent copy of the database to a file, also while Callscope runs.
    Backup {
        /// A file that is not there yet.
        file: PathBuf,
    },
    /// Make a copy the database again; Callscope must not run. What was there before is kept under
    /// another name.
    Restore {
        /// What `callscope backup` wrote.
        file: PathBuf,
    },
    /// Copy the database into another, empty one, such as from SQLite to PostgreSQL, compare the two,
    /// and say what to put into the configuration. Callscope must not run. No configuration is read.
    MigrateStore {
        /// What is copied: the path of a SQLite file, or an address as in database_url. It stays as
        /// it is.
        #[arg(value_parser = migrate_store::parse_database)]
        from: Secret,
        /// An empty database: postgres://user@host/name (PGPASSWORD or ~/.pgpass may have the
        /// password), or the path of a file that is not there yet.
        #[arg(value_parser = migrate_store::parse_database)]
        to: Secret,
    },
    /// List calls, newest first; asks the Callscope that runs with the same configuration.
    Calls {
        /// Only those that run now.
        #[arg(long)]
        active: bool,
        /// At most so many of all calls, 1 to 500.
        #[arg(
            long,
            default_value_t = 25,
            value_parser = clap::value_parser!(u16).range(1..=500),
            conflicts_with = "active"
        )]
        limit: u16,
        #[command(flatten)]
        how: OutputOptions,
    },
    /// List the watched rooms; asks the Callscope that runs.
    Rooms {
        #[command(flatten)]
        how: OutputOptions,
    },
    /// Say how the observer fares; asks the Callscope that runs. Exit code 1 when it is not in
    /// step.
    Status {
        #[command(flatten)]
        how: OutputOptions,
    },
    /// May a homeserver be restarted now? Exit code 0: no call with a member of it, nor on an SFU
    /// of it; 1: busy, and which calls; 2: cannot be told, and why. Rooms that are only looked at
    /// by schedule are looked at now.
    Idle {
        /// The homeserver's name, as in user ids: example.org; the one of the bot's account where
        /// none is given.
        #[arg(long, value_name = "NAME", value_parser = server_name)]
        server: Option<String>,
        /// The host of an SFU of it, where that is not its name or a name below it; may be given
        /// several times.
        #[arg(long, value_name = "HOST")]
        sfu: Vec<String>,
        /// Be content with what can be seen: rooms that cannot be read do not make the answer 2.
        #[arg(long)]
        visible_only: bool,
        /// Do not count devices that are probably gone without a goodbye; else they make the answer
        /// 1.
        #[arg(long)]
        ignore_ghosts: bool,
        /// Another Callscope than the one of this configuration.
        #[arg(long)]
        url: Option<String>,
    },
    /// Check the configuration: try the database, the account, every room that is named (joining
    /// those that it is not in, as the server would) and every open invitation. Exit code 1 when
    /// something fails, and what to do. No device is left behind. Says, too, what the next start
    /// would do to the database, and changes nothing of it.
    Check,
    /// Say why calls fail on a homeserver: asks it everything that a call needs, from its name to
    /// its SFU. What is broken comes first, with what to set. Exit code 1 if something is broken.
    /// On the bot's own homeserver a token of its SFU is requested, which makes an empty room there
    /// for some minutes.
    Doctor {
        /// The homeserver's name, as in user ids: example.org; the one of the bot's account where
        /// none is given.
        #[arg(value_name = "SERVER", value_parser = server_name)]
        server: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// See to alerts: what is told to whom, and whether it comes. The server may go on running
    /// meanwhile.
    Alert {
        #[command(subcommand)]
        command: alert::AlertCommand,
    },
    /// Derive every call again from the stored events. The server may go on running meanwhile.
    Rebuild {
        /// Only this room, by its id.
        #[arg(long, value_name = "ROOM")]
        room: Option<String>,
    },
    /// Make the hash of the operator's password, for the configuration: reads the password from the
    /// terminal, or a line of standard input.
    Passwd,
    /// Make another token for the operator, and print it this once; for `operator_token = true`.
    /// The former one is good until the next start.
    Token,
    /// Say who may see the calls of a room. The server may go on running meanwhile.
    Visibility {
        /// The room, by id or alias.
        room: String,
        /// public, members, hidden, or default: what the room itself says.
        #[arg(value_parser = visibility::parse_choice)]
        who: visibility::Choice,
    },
    /// Forget a person (@user:example.org) or a homeserver (example.org): what is stored becomes
    /// nobody's, and what comes later is stored without the name. It cannot be undone. The server
    /// may go on running meanwhile.
    Forget {
        /// A full user id, or the name of a homeserver.
        name: String,
        /// Do not ask back.
        #[arg(long)]
        yes: bool,
    },
    /// Write all that is stored about a person to standard output, as one JSON document. The server
    /// may go on running meanwhile.
    Export {
        /// The full user id.
        user: String,
    },
    /// See to the pseudonyms that stand for people where names are not shown. The server may go on
    /// running meanwhile.
    Pseudonyms {
        #[command(subcommand)]
        command: visibility::PseudonymCommand,
    },
    /// See to the keys of programs. The server may go on running meanwhile.
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
    },
    /// Ask the running server whether it is well; for a container's health check.
    Health,
}

/// Whom to ask, and how to print.
#[derive(Debug, Clone, clap::Args)]
struct OutputOptions {
    /// Print the API's JSON.
    #[arg(long)]
    json: bool,
    /// Another Callscope than the one of this configuration.
    #[arg(long)]
    url: Option<String>,
}

/// Checks the name of a server for `--server`: a name that no user id can have would always seem
/// idle.
fn server_name(text: &str) -> Result<String, String> {
    crate::config::check::parse_server_name(text)
        .map_err(|why| format!("{why}; write it as in user ids: example.org"))
}

/// Runs the program; the exit code is 2 for wrong configuration, 1 for what went wrong later.
pub async fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Derive {
            file,
            now,
            slot_policy,
        }) => derive::run(&file, now, slot_policy),
        Some(Command::Demo(options)) => demo::run(options).await,
        Some(Command::Passwd) => passwd::run(),
        Some(Command::MigrateStore { from, to }) => Box::pin(migrate_store::run(&from, &to)).await,
        Some(Command::Init(options)) => {
            Box::pin(init::run(arguments.config.as_deref(), options)).await
        }
        command => match Config::load(arguments.config.as_deref(), process_environment()) {
            Err(faults) => return report_faults(&faults),
            Ok(config) => {
                let file = arguments.config.as_deref();
                Box::pin(run_with_config(command, config, file)).await
            }
        },
    };

    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callscope: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command that needs the configuration. The first ones work without an account; if there is
/// none, the server serves the set-up, and the others explain how to configure one.
async fn run_with_config(
    command: Option<Command>,
    config: Config,
    named_file: Option<&Path>,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match &command {
        Some(Command::Health) => return health::run(&config).await,
        Some(Command::Alert { command }) => return alert::run(&config, command).await,
        Some(Command::Token) => return token::run(&config).await,
        Some(Command::Key { command }) => return key::run(&config, command).await,
        Some(Command::Visibility { room, who }) => {
            return visibility::set_visibility(&config, room, *who).await;
        }
        Some(Command::Forget { name, yes }) => {
            return forget::run(&config, name, *yes).await;
        }
        Some(Command::Export { user }) => return export::run(&config, user).await,
        Some(Command::Pseudonyms { command }) => {
            return visibility::run_pseudonyms(&config, command).await;
        }
        Some(Command::Backup { file }) => return backup::back_up_database(&config, file).await,
        Some(Command::Restore { file }) => return backup::restore_database(&config, file).await,
        Some(Command::Idle {
            server,
            sfu,
            visible_only,
            ignore_ghosts,
            url,
        }) => {
            let asked = idle::IdleOptions {
                server: server.clone(),
                sfu: sfu.clone(),
                visible_only: *visible_only,
                ignore_ghosts: *ignore_ghosts,
            };

            return idle::run(&config, url.as_deref(), &asked).await;
        }

        Some(Command::Calls { active, limit, how }) => {
            let asked = look::CallsOptions {
                active: *active,
                limit: *limit,
                json: how.json,
            };

            return look::list_calls(
                &ask::RunningServer::new(&config, how.url.as_deref())?,
                asked,
            )
            .await;
        }
        Some(Command::Rooms { how }) => {
            return look::list_rooms(
                &ask::RunningServer::new(&config, how.url.as_deref())?,
                how.json,
            )
            .await;
        }
        Some(Command::Status { how }) => {
            return look::print_status(
                &ask::RunningServer::new(&config, how.url.as_deref())?,
                how.json,
            )
            .await;
        }
        _ => {}
    }

    if let Some(Command::Rebuild { room }) = &command {
        return rebuild::run(&config, room.as_deref()).await;
    }

    if config.is_empty() && matches!(command, None | Some(Command::Serve)) {
        return serve::run_set_up(config, named_file).await;
    }

    if config.is_empty() {
        eprintln!("{NOTHING_CONFIGURED}");
        return Ok(ExitCode::from(MISUSED));
    }

    match command {
        Some(Command::Check) => check::run(&config).await,
        Some(Command::Doctor { server, json }) => {
            doctor::run(&config, server.as_deref(), json).await
        }
        Some(Command::Backfill { rooms }) => backfill::run(config, &rooms).await,
        _ => serve::run(&config).await,
    }
}

/// Prints what is wrong with the configuration. Returns the exit code for that.
fn report_faults(faults: &ConfigFaults) -> ExitCode {
    eprintln!("{faults}");
    ExitCode::from(MISUSED)
}
