//! The observer: observes from one vantage, by sync and by polls, and is the only writer of the
//! store.
//!
//! Each loop owns its retries. An error is returned up to its loop, logged there once with context,
//! counted, and kept as the current trouble of that loop until its next success; then the loop
//! backs off. No error ends a loop. A loop that panics is restarted (`watchdog`). The store itself
//! knows what the database refuses to store (`storage`).

mod backoff;
mod code_queue;
mod daily_rollup;
mod direct_messages;
mod error_state;
mod expire;
mod flood_polls;
mod history;
mod ingest;
mod invitations;
mod opt_outs;
mod own_homeserver;
mod own_server_check;
mod pending_joins;
mod poll;
mod poll_schedule;
mod probe;
mod probe_round;
mod redactions;
mod rederive;
mod retention;
mod rooms;
mod sign_in;
mod sign_in_codes;
mod spaces;
mod storage;
mod successors;
mod sync;
mod sync_by_room;
mod watchdog;

pub use crate::observer::history::foreground::BackfillPlan;
pub use crate::observer::history::schedule::BackfillScope;
pub use probe::ProbeSettings;
pub use retention::RetentionSettings;
pub(crate) use watchdog::panic_words;

use crate::changes::Changes;
use crate::clock::Clock;
use crate::matrix::{self, Client, Secret};
use crate::observer::error_state::Work;
use crate::rtc::fold::Rules;
use crate::rtc::words::Mode;
use crate::store::ingest::{receive_times, vantages};
use crate::store::sign_in::codes::CodeInbox;
use crate::store::{self, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, OnceCell, RwLock};

/// Who we are on the homeserver.
#[derive(Debug, Clone)]
pub enum AccountLogin {
    Token(Secret),
    /// The device and its token are stored in the file, so that every start uses the same device.
    Password {
        user_id: String,
        password: Secret,
        file: PathBuf,
    },
}

/// A room to join or to peek into, by id or alias, and servers to reach it through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomWish {
    pub room: String,
    pub via: Vec<String>,
}

/// The operator's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    pub account: AccountLogin,
    pub mode: Mode,
    /// Cron expression with seconds.
    pub poll_schedule: String,
    pub rooms: Vec<RoomWish>,
    /// World-readable rooms to poll without joining.
    pub peek_rooms: Vec<RoomWish>,
    /// Spaces to join, with their rooms.
    pub spaces: Vec<RoomWish>,
    /// Whose invitations are accepted: servers, and users by full id.
    pub invite_servers: Vec<String>,
    pub invite_users: Vec<String>,
    /// Whoever writes to us in their direct room that they opt out is forgotten.
    pub opt_out_by_message: bool,
    /// Read the history of rooms.
    pub backfill: bool,
    /// How far back, days; `None` = to the beginning.
    pub backfill_days: Option<u32>,
    /// Events per page of history.
    pub backfill_page: u32,
    pub retention: RetentionSettings,
    /// Other servers and SFUs are probed; `None` = none is.
    pub probe: Option<ProbeSettings>,
    /// Our own homeserver is checked, from its name to its SFU.
    pub check_own_server: bool,
    pub rules: Rules,
    /// A call whose people are back in the next one within this time broke, ms.
    pub rejoin_grace_ms: i64,
}

/// The errors of a loop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Matrix(#[from] matrix::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A requested room is not watched; and what to do.
    #[error("{room} is not watched: {why}")]
    NotWatched { room: String, why: &'static str },
    #[error("the schedule of polls or probes cannot be used: {0}")]
    Schedule(#[from] tokio_cron_scheduler::JobSchedulerError),
}

impl Error {
    /// Is it an error of the database?
    fn is_of_storage(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

/// The observer of one vantage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Observer {
    client: Client,
    store: Writer,
    changes: Changes,
    clock: Clock,
    settings: Arc<Settings>,
    /// Natural key of the vantage: a hash of the homeserver's address.
    vantage_id: String,
    /// Notified when there is history to read.
    history: Arc<Notify>,
    /// Notified when a poll of all rooms is due.
    poll_due: Arc<Notify>,
    /// Notified when it is time to look at the spaces.
    spaces_due: Arc<Notify>,
    /// The interval of the polls.
    rhythm: Arc<poll_schedule::PollInterval>,
    /// Notified when it is time to probe other servers.
    probe_due: Arc<Notify>,
    /// Notified when there is a new invitation to accept.
    accepted: Arc<Notify>,
    /// Notified when the database can be written again.
    storage_again: Arc<Notify>,
    /// Notified when a room was replaced by another one.
    replaced: Arc<Notify>,
    /// Notified when a ban redacts more than was deleted at once.
    ban_open: Arc<Notify>,
    /// The current troubles.
    troubles: Arc<Mutex<error_state::Troubles>>,
    /// Since when the homeserver has been preparing its first answer, ms by our clock.
    preparing: Arc<Mutex<Option<i64>>>,
    /// Allows one sign-in at a time: a second login of the same device ends the token of the first.
    signing_in: Arc<Mutex<()>>,
    /// Rooms into which somebody sent more than is stored.
    flooded: Arc<Mutex<flood_polls::Flooded>>,
    /// The number of the last clock change that was stored.
    clock_changes: Arc<AtomicU64>,
    /// Since when our clock is doubted or was, ms; and the number of the last event that was stored
    /// before.
    doubted_after: Arc<Mutex<BTreeMap<i64, i64>>>,
    /// The number of the last event that was stored before this observer began.
    first_stream: Arc<AtomicI64>,
    /// Our clock when the observer was made, ms.
    started_ms: i64,
    /// When the homeserver may be asked for open invitations again, ms by our clock.
    invitations_due_ms: Arc<AtomicI64>,
    /// The codes that people ask for; `None` if nobody can sign in by Matrix.
    codes: Option<CodeInbox>,
    /// The direct rooms in which codes are sent, which are not watched.
    direct: Arc<OnceCell<RwLock<BTreeSet<String>>>>,
    /// Allows one direct room to be found or made at a time.
    making_direct: Arc<Mutex<()>>,
    /// Notified when there is another direct room.
    direct_changed: Arc<Notify>,
    /// Notified when somebody asked us into a direct room.
    asked_directly: Arc<Notify>,
    /// Who asked us into a direct room and is to be answered.
    greetings: Arc<std::sync::Mutex<direct_messages::Greetings>>,
}

impl Observer {
    /// An observer that has not started. Its vantage is the homeserver's address.
    #[must_use]
    pub fn new(
        client: Client,
        store: Writer,
        changes: Changes,
        clock: Clock,
        settings: Settings,
    ) -> Self {
        let vantage_id = crate::rtc::id::hash(&[client.settings().homeserver_url.as_str()], 8);
        Self {
            started_ms: clock.now_ms(),
            invitations_due_ms: Arc::default(),
            codes: None,
            direct: Arc::default(),
            making_direct: Arc::default(),
            direct_changed: Arc::default(),
            asked_directly: Arc::default(),
            greetings: Arc::default(),
            client,
            store,
            changes,
            clock,
            settings: Arc::new(settings),
            vantage_id,
            history: Arc::default(),
            poll_due: Arc::default(),
            spaces_due: Arc::default(),
            rhythm: Arc::default(),
            probe_due: Arc::default(),
            accepted: Arc::default(),
            storage_again: Arc::default(),
            replaced: Arc::default(),
            ban_open: Arc::default(),
            troubles: Arc::default(),
            preparing: Arc::default(),
            signing_in: Arc::default(),
            flooded: Arc::default(),
            clock_changes: Arc::default(),
            doubted_after: Arc::default(),
            first_stream: Arc::default(),
        }
    }

    /// Makes this the only account that we observe from, before the state of accounts is shown.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retire_others(&self) -> Result<(), Error> {
        Ok(vantages::retire_all_but(&self.store, &self.vantage_id, self.started_ms).await?)
    }

    /// Runs until it is dropped. Returns only if a schedule cannot be set up.
    ///
    /// # Errors
    /// When a schedule cannot be used.
    pub async fn run(self) -> Result<(), Error> {
        // Whether anything can be stored is known from the beginning, however long the homeserver
        // is silent.
        tokio::select! {
            ended = self.observe() => ended,
            () = self.keep(Work::Storage, || self.watch_storage()) => Ok(()),
        }
    }

    /// Clears what an earlier process left in the status, then observes the homeserver and derives
    /// older state again side by side. Ends only if a schedule cannot be set up.
    async fn observe(&self) -> Result<(), Error> {
        // Troubles of the previous process are not ours.
        if let Err(error) = vantages::set_standing(&self.store, &self.vantage_id, None, None).await
        {
            self.cannot_store("clearing the status", &error).await;
        }

        if let Err(error) = vantages::set_preparing_since(&self.store, &self.vantage_id, None).await
        {
            self.cannot_store("clearing the status", &error).await;
        }

        if let Err(error) = receive_times::close_clock_errors(&self.store).await {
            self.cannot_store("clearing the status", &error).await;
        }

        match receive_times::last_stream(&self.store).await {
            Ok(stream) => self.first_stream.store(stream, Ordering::Relaxed),
            Err(error) => self.cannot_store("reading the last event", &error).await,
        }

        self.find_older_rules().await;
        // Deriving again needs no homeserver, and does not wait for a silent one.
        let (ended, (), (), ()) = tokio::join!(
            self.observe_homeserver(),
            self.keep(Work::Rederive, || self.rederive()),
            self.keep(Work::TakingBack, || self.take_back()),
            self.keep(Work::Forgetting, || self.forget_who_asked())
        );

        ended
    }

    /// Signs in, finds the rooms, and runs all loops that need the homeserver, each restarted if it
    /// panics. Ends only if a schedule cannot be set up.
    async fn observe_homeserver(&self) -> Result<(), Error> {
        self.keep(Work::SignIn, || self.sign_in()).await;
        self.keep(Work::Rooms, || self.settle_rooms()).await;
        let mut scheduler = self.schedule().await?;
        tokio::join!(
            self.keep(Work::Sync, || self.run_sync_or_first_poll()),
            self.keep(Work::Polls, || self.polls()),
            self.keep(Work::History, || self.read_history()),
            self.keep(Work::Expiry, || self.watch_expiry()),
            self.keep(Work::Wishes, || self.keep_joining()),
            self.keep(Work::SignIn, || self.keep_token_fresh()),
            self.keep(Work::Codes, || self.send_codes()),
            self.keep(Work::DirectMessages, || self.hear_direct_messages()),
            self.keep(Work::Greetings, || self.greet_who_asks()),
            self.keep(Work::Rooms, || self.keep_asking_our_server()),
            self.keep(Work::Spaces, || self.follow_spaces()),
            self.keep(Work::Successors, || self.follow_successors()),
            self.keep(Work::Retention, || self.delete_by_age_daily()),
            self.keep(Work::Signs, || self.keep_signs()),
            self.keep(Work::Polls, || self.repair_flooded()),
            self.keep(Work::Probe, || self.probes()),
            self.keep(Work::Probe, || self.keep_checking_our_server())
        );

        Ok(scheduler.shutdown().await?)
    }

    /// Follows by sync, for ever; or in poll mode only starts the first poll. With sync, the first
    /// poll comes after the first answer.
    async fn run_sync_or_first_poll(&self) {
        match self.settings.mode {
            Mode::Follow => self.follow().await,
            Mode::Poll => self.poll_due.notify_one(),
        }
    }

    /// How long to wait after this error: as the homeserver says, or else by the back-off.
    fn pause(error: &Error, backoff: &mut backoff::Backoff) -> Duration {
        let own = backoff.next();
        match error {
            Error::Matrix(error) => error
                .retry_after()
                .map_or(own, |asked| asked.max(Duration::from_millis(100))),
            _ => own,
        }
    }
}
