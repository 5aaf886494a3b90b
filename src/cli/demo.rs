//! `callscope demo`: the very same observer, store and pages, against a simulated homeserver with made-up calls.

use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::sim::{Homeserver, World};
use crate::telemetry;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) async fn run(bind: SocketAddr, seed: u64) -> Result<ExitCode, Box<dyn Error>> {
    telemetry::start("info")?;
    let homeserver = Homeserver::start(0).await?;
    let clock = Clock::System;
    let world = World::build(&homeserver, clock.now_ms(), seed);
    let folder = Folder::make()?;
    let config = config(&homeserver, &world, bind, &folder)?;
    let app = App::start(&config, clock.clone()).await?;
    tracing::info!("made-up calls on a simulated homeserver; open http://{} in a browser, Ctrl-C ends it", app.address);
    let players = homeserver.clone();
    let play = tokio::spawn(async move { world.play(players, move || clock.now_ms()).await });
    let result = app.run_until_stopped().await;
    play.abort();
    homeserver.stop().await;
    drop(folder);
    result?;
    Ok(ExitCode::SUCCESS)
}

fn config(homeserver: &Homeserver, world: &World, bind: SocketAddr, folder: &Folder) -> Result<Config, Box<dyn Error>> {
    let settings = [
        ("CALLSCOPE_HOMESERVER_URL", homeserver.url()),
        ("CALLSCOPE_ACCESS_TOKEN", world.bot_token.clone()),
        ("CALLSCOPE_DATABASE_URL", format!("sqlite://{}", folder.0.join("demo.db").display())),
        ("CALLSCOPE_BIND", bind.to_string()),
        ("CALLSCOPE_PEEK_ROOMS", world.outside_room.clone()),
    ];
    Ok(Config::load(None, settings.into_iter().map(|(key, value)| (key.to_owned(), value)))?)
}

/// The demo's own folder; it goes when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn make() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("callscope-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
