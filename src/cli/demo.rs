//! `callscope demo`: the same observer, store and pages as in production, with a simulated
//! homeserver and made-up calls.

use super::chromium::{ChromiumError, find_chromium};
use super::demo_checks::store_made_up_checks;
use super::demo_record::record_demo;
use crate::app::{App, wait_for_stop_signal};
use crate::clock::Clock;
use crate::config::Config;
use crate::sim::{Homeserver, World, WorldSettings};
use crate::telemetry;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempfile::TempDir;

/// The options of `callscope demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoOptions {
    /// Where to serve the pages; else CALLSCOPE_BIND, else 127.0.0.1:8080.
    #[arg(long)]
    bind: Option<SocketAddr>,
    /// Another number makes another world.
    #[arg(long, default_value_t = 30)]
    seed: u64,
    /// With rooms and events that no honest people have: very long names, markup, what cannot be
    /// read.
    #[arg(long)]
    hostile: bool,
    /// Take pictures of the pages and end: PNG, and one that moves (APNG), into this folder.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// The Chromium that takes them; else the one on PATH.
    #[arg(long, value_name = "PATH", requires = "record")]
    chromium: Option<PathBuf>,
}

impl DemoOptions {
    /// The world that they ask for.
    fn world(&self) -> WorldSettings {
        WorldSettings {
            is_hostile: self.hostile,
            ..WorldSettings::for_demo(self.seed)
        }
    }

    /// Where to serve the pages, if that is said. Whoever records looks at them elsewhere.
    fn bind_address(&self) -> Option<SocketAddr> {
        let anywhere = self
            .record
            .as_ref()
            .map(|_| SocketAddr::from(([127, 0, 0, 1], 0)));

        self.bind.or(anywhere)
    }

    /// The browser that takes the pictures, if any are asked for.
    fn chromium_to_record(&self) -> Result<Option<PathBuf>, ChromiumError> {
        match &self.record {
            None => Ok(None),
            Some(_) => find_chromium(self.chromium.as_deref()).map(Some),
        }
    }
}

/// Runs `callscope demo` until it is stopped, or until the pictures are taken: a simulated
/// homeserver with made-up calls, and everything else as in production.
pub(super) async fn run(options: DemoOptions) -> Result<ExitCode, Box<dyn Error>> {
    let chromium = options.chromium_to_record()?;
    // What happens in made-up rooms is no news. The address is to stand last, and alone.
    let log = std::env::var("CALLSCOPE_LOG").unwrap_or_default();
    let log = if log.is_empty() { "error" } else { &log };
    telemetry::start_log(log)?;
    telemetry::log_panics();
    let clock = Clock::System;
    let homeserver = Homeserver::start(0).await?;
    let world = World::found(&homeserver, &options.world());
    let folder = make_demo_folder()?;
    // With a password, it can be tried what whom is shown; pictures show what an operator sees.
    let password_hash = match options.record {
        Some(_) => String::new(),
        None => std::env::var("CALLSCOPE_OPERATOR_PASSWORD_HASH").unwrap_or_default(),
    };
    let bind = options.bind_address();
    let config = demo_config(&homeserver, &world, bind, password_hash, &folder)?;

    // The pages come first. Until years of calls are written, the homeserver does not answer, and
    // the pages say so.
    homeserver.hold_requests(true);
    let app = App::start(&config, clock.clone()).await?;
    store_made_up_checks(&app.store, &world.bot_user, clock.now_ms()).await?;
    let life = tokio::spawn(live_on(world, homeserver.clone(), clock));

    let recording = options.record.as_deref().zip(chromium);
    let result: Result<(), Box<dyn Error>> = if let Some((pictures, chromium)) = recording {
        // Stopped before the end, it deletes its folder and ends Chromium, too.
        let recorded = tokio::select! {
            recorded = record_demo(app.address, &chromium, pictures) => recorded.map_err(Into::into),
            () = wait_for_stop_signal() => Err("stopped before all pictures were made".into()),
        };
        app.stop().await;
        recorded
    } else {
        println!("Made-up calls on a simulated homeserver. Ctrl-C ends it. Open in a browser:");
        println!("http://{}", app.address);
        app.run_until_stopped().await.map_err(Into::into)
    };
    life.abort();
    homeserver.stop().await;
    drop(folder);
    result?;

    Ok(ExitCode::SUCCESS)
}

/// Fills the homeserver, lets it answer from then on, and plays what happens next, without end.
async fn live_on(mut world: World, homeserver: Homeserver, clock: Clock) {
    let (filled, now_ms) = (homeserver.clone(), clock.now_ms());
    let filling = tokio::task::spawn_blocking(move || {
        world.fill(&filled, now_ms);
        world
    });
    // It panics or is stopped with the program: then nothing is left to be shown.
    let Ok(world) = filling.await else { return };
    homeserver.hold_requests(false);
    world.play(homeserver, move || clock.now_ms()).await;
}

/// The configuration of the demo: the simulated homeserver, a database in its own folder, and the
/// address for the pages.
fn demo_config(
    homeserver: &Homeserver,
    world: &World,
    bind: Option<SocketAddr>,
    password_hash: String,
    folder: &TempDir,
) -> Result<Config, Box<dyn Error>> {
    let settings = [
        ("CALLSCOPE_HOMESERVER_URL", homeserver.url()),
        ("CALLSCOPE_ACCESS_TOKEN", world.bot_token.clone()),
        (
            "CALLSCOPE_DATABASE_URL",
            format!("sqlite://{}", folder.path().join("demo.db").display()),
        ),
        // An empty value counts as not set, so the default is used.
        (
            "CALLSCOPE_BIND",
            bind.map_or_else(
                || std::env::var("CALLSCOPE_BIND").unwrap_or_default(),
                |bind| bind.to_string(),
            ),
        ),
        ("CALLSCOPE_PEEK_ROOMS", world.outside_room.clone()),
        // Its names lead nowhere.
        ("CALLSCOPE_PROBE_OWN_SERVER", "false".to_owned()),
        // Nobody's data is shown, so nobody has to sign in.
        (
            "CALLSCOPE_OPEN_TO_EVERYBODY",
            password_hash.is_empty().to_string(),
        ),
        ("CALLSCOPE_OPERATOR_PASSWORD_HASH", password_hash),
    ];

    let settings = settings
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));

    Ok(Config {
        is_made_up: true,
        // A configuration of the folder is about something real.
        ..Config::from_text(Path::new("the demonstration"), "", settings)?
    })
}

/// The demo's own folder, under a random name, with access for this user only. It is deleted when
/// the demo ends.
fn make_demo_folder() -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("callscope-demo-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));

    builder.tempdir()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_folder_is_new_private_and_goes() {
        let (one, two) = (
            super::make_demo_folder().unwrap(),
            super::make_demo_folder().unwrap(),
        );
        assert_ne!(one.path(), two.path());
        assert_eq!(
            one.path().metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
    }
}
