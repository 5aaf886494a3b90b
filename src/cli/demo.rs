//! `callscope demo`: the same observer, store and pages as in production, with a simulated
//! homeserver and made-up calls.

use super::demo_checks::store_made_up_checks;
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::sim::{Homeserver, World};
use crate::telemetry;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use tempfile::TempDir;

/// Runs `callscope demo` until it is stopped: a simulated homeserver with made-up calls, and
/// everything else as in production. Another `seed` makes other calls.
pub(super) async fn run(bind: Option<SocketAddr>, seed: u64) -> Result<ExitCode, Box<dyn Error>> {
    // What happens in made-up rooms is no news. The address is to stand last, and alone.
    let log = std::env::var("CALLSCOPE_LOG").unwrap_or_default();
    let log = if log.is_empty() { "error" } else { &log };
    telemetry::start_log(log)?;
    telemetry::log_panics();
    let homeserver = Homeserver::start(0).await?;
    let clock = Clock::System;
    let world = World::build(&homeserver, clock.now_ms(), seed);
    let folder = make_demo_folder()?;
    let config = demo_config(&homeserver, &world, bind, &folder)?;
    let app = App::start(&config, clock.clone()).await?;
    store_made_up_checks(&app.store, &world.bot_user, clock.now_ms()).await?;
    println!("Made-up calls on a simulated homeserver. Ctrl-C ends it. Open in a browser:");
    println!("http://{}", app.address);
    let players = homeserver.clone();
    let play = tokio::spawn(async move { world.play(players, move || clock.now_ms()).await });
    let result = app.run_until_stopped().await;
    play.abort();
    homeserver.stop().await;
    drop(folder);
    result?;

    Ok(ExitCode::SUCCESS)
}

/// The configuration of the demo: the simulated homeserver, a database in its own folder, and the
/// address for the pages.
fn demo_config(
    homeserver: &Homeserver,
    world: &World,
    bind: Option<SocketAddr>,
    folder: &TempDir,
) -> Result<Config, Box<dyn Error>> {
    // With a password, it can be tried what whom is shown.
    let password_hash = std::env::var("CALLSCOPE_OPERATOR_PASSWORD_HASH").unwrap_or_default();
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
