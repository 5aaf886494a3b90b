//! `callscope`: observe and serve until told to stop. With nothing configured it serves the set-up
//! first.

use super::upgrade_bar::UpgradeBar;
use crate::app::{self, App, StartOptions, listen_at, wait_for_stop_signal};
use crate::clock::Clock;
use crate::config::{Config, process_environment};
use crate::matrix::probe::Prober;
use crate::setup::server::{SetUpServer, SetUpSettings};
use crate::store::db::upgrade_progress::UpgradeProgress;
use crate::telemetry;
use crate::web::sign_in::operator_token;
use secrecy::ExposeSecret;
use std::error::Error;
use std::io::IsTerminal;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the server until it is told to stop, or a part of it fails. The exit code is 2 if nothing
/// says who may see the pages and strangers could.
pub(super) async fn run(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let progress = UpgradeProgress::default();
    let bar = if std::io::stderr().is_terminal() {
        let bar = UpgradeBar::new(&progress)?;
        telemetry::start_log_to(&config.log, bar.log_writer())?;
        Some(bar)
    } else {
        telemetry::start_log(&config.log)?;
        None
    };

    telemetry::log_panics();
    let options = StartOptions {
        listener: None,
        progress,
    };
    let app = match App::start_on(options, config, Clock::watched(), Prober::new).await {
        Err(app::Error::Config(faults)) => return Ok(super::report_faults(&faults)),
        started => started?,
    };
    drop(bar);

    run_app(app).await
}

/// Shows the operator's token if it is new, and runs until it is told to stop.
async fn run_app(app: App) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(new) = &app.new_operator_token {
        // It is stored after it was shown, so that nobody is locked out by a start that ends here.
        eprintln!(
            "The operator's token, shown only now: {}\nEnter it at /sign-in. `callscope token` \
             makes another one.",
            new.token.expose_secret()
        );
        operator_token::store_token(&app.store.sign_ins(), new).await?;
    }

    app.run_until_stopped().await?;

    Ok(ExitCode::SUCCESS)
}

/// Serves the set-up until it is done, and then goes on as [`run`] without a restart.
pub(super) async fn run_set_up(
    config: Config,
    named_file: Option<&Path>,
) -> Result<ExitCode, Box<dyn Error>> {
    telemetry::start_log(&config.log)?;
    telemetry::log_panics();
    let listener = listen_at(config.bind)?;
    let kept = listener.try_clone()?;
    let settings = SetUpSettings {
        config,
        file: Config::file_path(named_file, process_environment()),
        named_file: named_file.map(PathBuf::from),
        environment: process_environment().collect(),
        clock: Clock::System,
    };
    let mut server = SetUpServer::start(listener, settings)?;
    tracing::info!("not set up yet, listening on http://{}", server.address);
    eprintln!(
        "Callscope is not configured yet. Open this address to set it up; it is good until this \
         process ends:\n\n  {}\n\nOr set it up in a terminal (callscope init), or look at made-up \
         calls (callscope demo).",
        server.link.expose_secret()
    );

    let mut stopped = std::pin::pin!(wait_for_stop_signal());
    loop {
        let wish = tokio::select! {
            () = &mut stopped => {
                server.stop().await;
                return Ok(ExitCode::SUCCESS);
            }
            wish = server.next_wish() => wish,
        };
        let Some(wish) = wish else {
            return Err("the set-up pages ended by themselves".into());
        };

        server.pause().await;
        let started = tokio::select! {
            () = &mut stopped => None,
            started = start_app(&kept, &wish.config) => Some(started),
        };
        let Some(started) = started else {
            // Whoever waits for the start learns that it does not come, and takes the file back.
            drop(wish);
            server.stop().await;
            return Ok(ExitCode::SUCCESS);
        };
        match started {
            Ok(app) => {
                server.set_done();
                let _ = wish.answer.send(Ok(()));
                server.stop().await;
                return run_app(app).await;
            }
            Err(error) => {
                tracing::error!(%error, "the start after the set-up failed");
                let _ = wish.answer.send(Err(error.to_string()));
                server.resume().await;
            }
        }
    }
}

/// Starts on the socket of the set-up.
async fn start_app(listener: &TcpListener, config: &Config) -> Result<App, Box<dyn Error>> {
    let listener = listener.try_clone()?;

    let options = StartOptions {
        listener: Some(listener),
        progress: UpgradeProgress::default(),
    };

    Ok(App::start_on(options, config, Clock::watched(), Prober::new).await?)
}
