//! `callscope key`: keys by which programs read the pages and the API.

use super::look::say;
use super::upgrade_bar;
use crate::clock::Clock;
use crate::config::Config;
use crate::store::db::instance_lock::InstanceLock;
use crate::store::sign_in::api_keys::{self, ApiKey, KeyScope};
use crate::store::{self, SignIns, Writer};
use crate::web::sign_in::new_key::{KeyWish, make_key, parse_days};
use clap::Subcommand;
use std::error::Error;
use std::process::ExitCode;

/// What to do with keys.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key, and print it this once.
    Add {
        /// What it is for, so that you know it later.
        name: String,
        /// What it opens: public (what everybody may see), all, or metrics (/metrics alone).
        #[arg(long, value_parser = parse_scope)]
        scope: KeyScope,
        /// How long it is good for, in days: 90d. Without it, for ever.
        #[arg(long, value_name = "DAYS", value_parser = days)]
        expires: Option<i64>,
    },
    /// List all keys. What a key says is not kept, so it is not shown.
    List,
    /// Revoke a key.
    Revoke {
        /// Its id, as the list shows it.
        id: String,
    },
}

fn parse_scope(text: &str) -> Result<KeyScope, String> {
    text.parse()
        .map_err(|_| "write public, all or metrics".to_owned())
}

fn days(text: &str) -> Result<i64, String> {
    parse_days(text).map_err(|error| error.to_string())
}

/// Runs `callscope key`. Beside a running server it opens the database a second time; else it also
/// migrates it.
pub(super) async fn run(config: &Config, command: &KeyCommand) -> Result<ExitCode, Box<dyn Error>> {
    let store = open_store(config).await?;
    let now = Clock::System.now_ms();
    let done = match command {
        KeyCommand::Add {
            name,
            scope,
            expires,
        } => {
            let wish = KeyWish {
                name,
                scope: *scope,
                days: *expires,
            };
            add_key(&store.sign_ins(), &wish, now).await
        }
        KeyCommand::List => list_keys(&store.sign_ins(), now).await,
        KeyCommand::Revoke { id } => revoke_key(&store.sign_ins(), id, now).await,
    };
    store.close().await;

    done
}

/// The database, whether a server has it open or not.
pub(super) async fn open_store(config: &Config) -> Result<Writer, store::Error> {
    let url = config.database_url.expose();
    let who = format!("process {}, which changes settings", std::process::id());

    match InstanceLock::acquire_lock(url, &who).await {
        Ok(hold) => upgrade_bar::open_database(config)
            .await
            .inspect(|_| drop(hold)),
        Err(error) if error.is_shared() => Writer::open_beside_server(url).await,
        Err(error) => Err(error),
    }
}

async fn add_key(
    sign_ins: &SignIns,
    wish: &KeyWish<'_>,
    now: i64,
) -> Result<ExitCode, Box<dyn Error>> {
    let made = make_key(sign_ins, wish, now, None).await?;
    // Alone on standard output, so that a script can take it.
    say!("{}", made.secret);
    eprintln!(
        "This key is shown this once. Its id is {}; `callscope key revoke {}` revokes it. Programs \
         send it as \"Authorization: Bearer KEY\" or \"X-Api-Key: KEY\".",
        made.key.id, made.key.id
    );

    Ok(ExitCode::SUCCESS)
}

async fn list_keys(sign_ins: &SignIns, now: i64) -> Result<ExitCode, Box<dyn Error>> {
    let keys = api_keys::list_keys(sign_ins).await?;
    if keys.is_empty() {
        say!("There are no keys. `callscope key add NAME --scope all` makes one.");
    }

    for key in keys {
        say!("{}", key_line(&key, now));
    }

    Ok(ExitCode::SUCCESS)
}

/// A key in one line: id, scope, state, last use, name.
fn key_line(key: &ApiKey, now: i64) -> String {
    let day = |ms: i64| {
        let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
        time.strftime("%Y-%m-%d").to_string()
    };
    let state = match (key.revoked_ms, key.expires_ms) {
        (Some(ms), _) => format!("revoked {}", day(ms)),
        (None, Some(ms)) if ms <= now => format!("expired {}", day(ms)),
        (None, Some(ms)) => format!("until {}", day(ms)),
        (None, None) => "for ever".to_owned(),
    };
    let used = key
        .last_used_ms
        .map_or_else(|| "never used".to_owned(), |ms| format!("used {}", day(ms)));

    format!(
        "{}  {:7}  {state:18}  {used:15}  {}",
        key.id,
        key.scope.as_str(),
        key.name
    )
}

async fn revoke_key(sign_ins: &SignIns, id: &str, now: i64) -> Result<ExitCode, Box<dyn Error>> {
    match api_keys::revoke_key(sign_ins, id, now, None).await? {
        Some(key) => say!("The key {} ({}) is revoked.", key.id, key.name),
        None => return Err(format!("there is no key {id:?} that could be revoked").into()),
    }

    Ok(ExitCode::SUCCESS)
}
