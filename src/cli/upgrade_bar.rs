//! A bar in the terminal while the database is upgraded. Elsewhere the log has a line for each step.

use crate::app;
use crate::config::Config;
use crate::store::db::upgrade_progress::{RunningUpgrade, UpgradeProgress, UpgradeStep};
use crate::store::{self, Writer};
use crate::telemetry;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::instrument::WithSubscriber;

/// The time since the upgrade began, then what is done.
const BAR: &str = "{bar:20} {elapsed} {wide_msg}";
/// The interval at which the time is drawn anew.
const TICK: Duration = Duration::from_millis(250);

/// Prints lines of the log above a bar.
#[derive(Debug)]
pub(super) struct AboveBar(ProgressBar);

impl AboveBar {
    pub(super) fn new(bar: &ProgressBar) -> Self {
        Self(bar.clone())
    }
}

impl Write for AboveBar {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().write(buffer))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// The bar of an upgrade, which appears when one begins. It goes away when this is dropped.
#[derive(Debug)]
pub(super) struct UpgradeBar {
    bar: ProgressBar,
    drawing: JoinHandle<()>,
}

impl UpgradeBar {
    /// A bar that follows `progress`.
    ///
    /// # Errors
    /// When its template is wrong.
    pub(super) fn new(progress: &UpgradeProgress) -> Result<Self, indicatif::style::TemplateError> {
        let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(BAR)?);
        let (drawn, mut running) = (bar.clone(), progress.follow());
        let drawing = tokio::spawn(async move {
            while running.changed().await.is_ok() {
                if let Some(running) = running.borrow_and_update().as_ref() {
                    draw(&drawn, running);
                }
            }
        });

        Ok(Self { bar, drawing })
    }

    /// Writers of log lines that do not tear the bar.
    pub(super) fn log_writer(&self) -> impl Fn() -> AboveBar + Send + Sync + 'static {
        let bar = self.bar.clone();
        move || AboveBar::new(&bar)
    }
}

impl Drop for UpgradeBar {
    fn drop(&mut self) {
        self.drawing.abort();
        self.bar.finish_and_clear();
    }
}

/// Shows the step. The bar is full when the last step is done.
fn draw(bar: &ProgressBar, running: &RunningUpgrade) {
    let words = match &running.step {
        UpgradeStep::Backup => "backing up the database before the upgrade".to_owned(),
        UpgradeStep::Migration { number, of, name } => {
            bar.set_length(*of as u64);
            bar.set_position(*number as u64 - 1);
            format!("upgrading the database: step {number} of {of}, {name}")
        }
        UpgradeStep::Finish => {
            bar.set_position(bar.length().unwrap_or_default());
            "upgrading the database: finishing".to_owned()
        }
    };
    bar.set_message(words);
    bar.enable_steady_tick(TICK);
}

/// Opens the configured database for a command that has no log, with a bar while it is upgraded. What
/// the upgrade does and warns of is printed on standard error.
pub(super) async fn open_database(config: &Config) -> Result<Writer, store::Error> {
    let progress = UpgradeProgress::default();
    // The bar is only a help.
    let bar = UpgradeBar::new(&progress)
        .ok()
        .filter(|_| std::io::stderr().is_terminal());

    let drawn = bar
        .as_ref()
        .map_or_else(ProgressBar::hidden, |bar| bar.bar.clone());
    let lines = telemetry::lines_of_upgrade(move || AboveBar::new(&drawn));

    app::open_database(config, &progress)
        .with_subscriber(lines)
        .await
}
