//! The simulated homeserver: a handle to start it, fill it, break it and stop it.

mod accounts;
mod endpoints;
mod event;
mod exchange;
mod faults;
mod filter;
mod history;
mod http;
mod ledger;
mod odd;
mod room;
mod room_endpoints;
mod rooms;
mod rules;
mod sync;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::dev::ServerHandle;
use serde_json::Value;
use tokio::sync::watch;

pub use faults::{Fault, FaultKind};
use ledger::Ledger;
pub use odd::MessagesMode;
use odd::Misbehaviour;
pub use rooms::NewRoom;

type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// A running simulated homeserver. Clones are handles of the same server, which runs until
/// [`Homeserver::stop`].
#[derive(Clone)]
pub struct Homeserver {
    inner: Arc<Inner>,
}

struct Inner {
    url: String,
    ledger: Mutex<Ledger>,
    /// The number of changes so far; waiting syncs are woken by it.
    news: watch::Sender<u64>,
    clock: Mutex<Clock>,
    faults: Mutex<Vec<Fault>>,
    odd: Mutex<Misbehaviour>,
    /// Do requests wait? See [`Homeserver::hold_requests`].
    are_held: watch::Sender<bool>,
    /// Method and target of all requests so far.
    requests: Mutex<Vec<(String, String)>>,
    /// `None` once it was stopped.
    server: Mutex<Option<ServerHandle>>,
}

impl std::fmt::Debug for Homeserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Homeserver")
            .field("url", &self.inner.url)
            .finish_non_exhaustive()
    }
}

impl Homeserver {
    /// Stops the server; requests under way are cut off. The port is free afterwards.
    pub async fn stop(&self) {
        let server = lock_ignoring_poison(&self.inner.server).take();
        if let Some(server) = server {
            server.stop(false).await;
        }
    }

    /// Base URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        self.inner.url.clone()
    }

    /// The server part of its users' ids.
    #[must_use]
    pub fn server_name(&self) -> String {
        self.ledger().server_name.clone()
    }

    /// The server's own clock (ms since the Unix epoch), for ages, stickiness and what clients send
    /// over HTTP.
    pub fn set_clock(&self, clock: impl Fn() -> i64 + Send + Sync + 'static) {
        *lock_ignoring_poison(&self.inner.clock) = Box::new(clock);
    }

    /// Switches a feature: `org.matrix.msc4140`, `…msc4143`, `…msc4222`, `…msc4354`; all are on at
    /// first.
    pub fn set_feature(&self, name: &str, on: bool) {
        self.ledger().features.insert(name.to_owned(), on);
    }

    /// Sets the transports that the transports endpoint and the well-known document advertise; none
    /// at first.
    pub fn set_transports(&self, transports: Vec<Value>) {
        self.ledger().transports = transports;
    }

    /// Sets the maximum number of events that a page of `/messages` scans (1000 at first). A small
    /// number gives empty pages with an `end`.
    pub fn set_scan(&self, events: usize) {
        self.ledger().scan = events.max(1);
    }

    /// Sends events of all types, whatever a filter says, as some homeservers do.
    pub fn ignore_filters(&self, ignores: bool) {
        self.ledger().ignores_filters = ignores;
    }

    /// Changes how `/messages` misbehaves from now on.
    pub fn set_pages(&self, pages: MessagesMode) {
        lock_ignoring_poison(&self.inner.odd).pages = pages;
    }

    /// Sets the login flows of `GET /login`, instead of a password.
    pub fn set_flows(&self, flows: Vec<Value>) {
        lock_ignoring_poison(&self.inner.odd).flows = Some(flows);
    }

    /// Access tokens of logins expire after this time, ms, and come with a refresh token.
    pub fn set_token_life(&self, life_ms: i64) {
        lock_ignoring_poison(&self.inner.odd).token_life_ms = Some(life_ms);
    }

    /// Access tokens of logins that ask for no refresh token expire, too, after this time, ms.
    pub fn set_lasting_token_life(&self, life_ms: i64) {
        lock_ignoring_poison(&self.inner.odd).lasting_token_life_ms = Some(life_ms);
    }

    /// Sets the content of `/capabilities`; without it, the endpoint is unknown.
    pub fn set_capabilities(&self, capabilities: Value) {
        lock_ignoring_poison(&self.inner.odd).capabilities = Some(capabilities);
    }

    /// Makes an account, or gives it a new password; returns user id and access token of a new
    /// device.
    pub fn register(&self, localpart: &str, password: &str) -> (String, String) {
        let mut ledger = self.ledger();
        let user_id = ledger.user_id(localpart);
        let caller = ledger.accounts.register(&user_id, password);
        (caller.user_id, caller.token)
    }

    /// Revokes an access token: from then on 401 `M_UNKNOWN_TOKEN`, for waiting syncs too.
    pub fn revoke(&self, token: &str) {
        self.change(|ledger| ledger.accounts.revoke(token));
    }

    /// With `true`, requests wait from now on, until this is called with `false`: while a script
    /// fills the server, nobody sees a part of it.
    pub fn hold_requests(&self, are_held: bool) {
        self.inner.are_held.send_replace(are_held);
    }

    /// Returns once requests are not held.
    async fn wait_while_held(&self) {
        // It fails only without the server, which is not gone while it answers.
        let _ = self.inner.are_held.subscribe().wait_for(|held| !held).await;
    }

    /// Adds a fault. If several match a request, the oldest is used.
    pub fn inject(&self, fault: Fault) {
        lock_ignoring_poison(&self.inner.faults).push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        lock_ignoring_poison(&self.inner.faults).clear();
    }

    /// All requests so far: method, path with query.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, String)> {
        lock_ignoring_poison(&self.inner.requests).clone()
    }

    /// How many requests had this text in path or query.
    #[must_use]
    pub fn count(&self, path_contains: &str) -> usize {
        let requests = lock_ignoring_poison(&self.inner.requests);
        let fit = |target: &str| target.contains(path_contains);
        requests.iter().filter(|(_, target)| fit(target)).count()
    }

    /// Remembers a request: method, and path with query.
    fn note_request(&self, method: &str, target: &str) {
        lock_ignoring_poison(&self.inner.requests).push((method.to_owned(), target.to_owned()));
    }

    /// The oldest fault that matches this path with query, if there is one. It happens once less
    /// from now on.
    fn take_fault(&self, target: &str) -> Option<FaultKind> {
        let mut faults = lock_ignoring_poison(&self.inner.faults);
        let at = faults
            .iter()
            .position(|f| target.contains(&f.path_contains))?;
        let fault = &mut faults[at];
        let kind = fault.kind.clone();
        if fault.times != u32::MAX {
            fault.times = fault.times.saturating_sub(1);
            if fault.times == 0 {
                faults.remove(at);
            }
        }

        Some(kind)
    }

    /// How the server misbehaves now.
    fn odd(&self) -> MutexGuard<'_, Misbehaviour> {
        lock_ignoring_poison(&self.inner.odd)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock_ignoring_poison(&self.inner.ledger)
    }

    /// The time by the server's own clock, ms since the Unix epoch.
    fn now_ms(&self) -> i64 {
        lock_ignoring_poison(&self.inner.clock)()
    }

    /// A receiver that is told of each change of the data.
    fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.subscribe()
    }

    /// Changes the data and wakes waiting syncs. Returns what `change` returned.
    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let outcome = change(&mut self.ledger());
        self.inner.news.send_modify(|count| *count += 1);
        outcome
    }
}

/// Locks, also after a panic elsewhere: a test then fails at the place of the error and not here.
fn lock_ignoring_poison<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time of the machine, ms since the Unix epoch.
fn wall_clock() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
