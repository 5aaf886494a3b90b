//! The observer: looks from one vantage, by sync and by polls, and is the only writer of the store.
//!
//! Each loop owns its retries. An error is returned up to its loop, logged once there with context, counted
//! and kept as the vantage's last error, then comes a back-off. No loop ends by an error.

mod backfill;
mod expire;
mod follow;
mod holes;
mod ingest;
mod patience;
mod poll;
mod rooms;
mod schedule;
mod sign_in;

use crate::changes::{Change, Changes};
use crate::clock::Clock;
use crate::matrix::{self, Client, Secret};
use crate::rtc::fold::Rules;
use crate::store::{self, Store, vantages};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How the observer learns of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Long-poll sync, and polls as a check.
    Follow,
    /// Polls only.
    Poll,
}

/// Who we are on the homeserver.
#[derive(Debug, Clone)]
pub enum Account {
    Token(Secret),
    /// The device and its token are kept in the file, so that every start is the same device.
    Password {
        user_id: String,
        password: Secret,
        file: PathBuf,
    },
}

/// A room to be in or to look into, by id or alias, and servers to reach it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomWish {
    pub room: String,
    pub via: Vec<String>,
}

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct Settings {
    pub account: Account,
    pub mode: Mode,
    /// Cron expression with seconds.
    pub poll_schedule: String,
    pub rooms: Vec<RoomWish>,
    /// World-readable rooms to poll without joining.
    pub peek_rooms: Vec<RoomWish>,
    /// Whose invitations are accepted: servers, and users by full id.
    pub invite_servers: Vec<String>,
    pub invite_users: Vec<String>,
    /// Read the history of rooms.
    pub backfill: bool,
    /// How far back, days; `None` = to the beginning.
    pub backfill_days: Option<u32>,
    pub rules: Rules,
}

/// What can go wrong in a loop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Matrix(#[from] matrix::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the poll schedule cannot be used: {0}")]
    Schedule(#[from] tokio_cron_scheduler::JobSchedulerError),
}

/// The observer of one vantage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Observer {
    client: Client,
    store: Store,
    changes: Changes,
    clock: Clock,
    settings: Arc<Settings>,
    /// Natural key of the vantage: a hash of the homeserver's address.
    vantage_id: String,
    /// Rings when there is history to walk.
    history: Arc<Notify>,
    /// Rings when a poll of all rooms is due.
    poll_due: Arc<Notify>,
}

impl Observer {
    /// An observer that has not begun.
    #[must_use]
    pub fn new(client: Client, store: Store, changes: Changes, clock: Clock, settings: Settings) -> Self {
        let vantage_id = crate::rtc::id::hash(&[client.settings().homeserver_url.as_str()], 8);
        let (history, poll_due) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        Self { client, store, changes, clock, settings: Arc::new(settings), vantage_id, history, poll_due }
    }

    /// Looks until it is dropped. Ends only when the schedule cannot be set up.
    ///
    /// # Errors
    /// When the poll schedule cannot be used.
    pub async fn run(self) -> Result<(), Error> {
        self.sign_in().await;
        self.settle_rooms().await;
        let mut scheduler = self.schedule().await?;
        tokio::join!(self.look(), self.polls(), self.walk_history(), self.watch_expiry(), self.keep_joining());
        Ok(scheduler.shutdown().await?)
    }

    /// The first poll comes after the first sync; or at once, when polls are all there is.
    async fn look(&self) {
        match self.settings.mode {
            Mode::Follow => self.follow().await,
            Mode::Poll => self.poll_due.notify_one(),
        }
    }

    /// Logs an error once, counts it and keeps it for the status page.
    async fn failed(&self, doing: &str, error: &Error) {
        tracing::warn!("{doing}: {error}");
        let text = format!("{doing}: {error}");
        if let Err(error) = vantages::failed(&self.store, &self.vantage_id, &text, self.clock.now_ms()).await {
            tracing::error!("the error could not be kept for the status page: {error}");
        }
        self.changes.announce(Change::Observer);
    }

    /// All is well again.
    async fn recovered(&self) {
        if let Err(error) = vantages::recovered(&self.store, &self.vantage_id).await {
            tracing::error!("the recovery could not be noted: {error}");
        }
        tracing::info!("the homeserver answers again");
        self.changes.announce(Change::Observer);
    }

    /// How long to wait after this error: what the homeserver says, else what patience says.
    fn pause(error: &Error, patience: &mut patience::Patience) -> Duration {
        let own = patience.next();
        match error {
            Error::Matrix(error) => error.retry_after().map_or(own, |asked| asked.max(Duration::from_millis(100))),
            _ => own,
        }
    }
}
