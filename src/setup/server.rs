//! The server of the set-up pages. It listens on the socket of the pages that come after it, so
//! that no request between the two is refused.

use super::entrance::Entrance;
use super::pages;
use super::progress::Progress;
use super::rooms::AccountRooms;
use super::steps::{self, SetUpAccount, StepFault};
use crate::clock::Clock;
use crate::config::Config;
use crate::web::PAGE_POLICY;
use crate::web::http::base_path::{BasePath, serve_below_path};
use crate::web::http::host::AllowedHosts;
use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::web::{self as http, Data, PayloadConfig};
use actix_web::{App, HttpServer};
use secrecy::{ExposeSecret, SecretString};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Maximum number of open connections.
const CONNECTIONS_MAX: usize = 128;
/// Seconds that requests being processed are given at the end.
const SHUTDOWN_S: u64 = 1;
/// How long a sign-in may still take at the end.
const SIGN_IN_LONGEST: Duration = Duration::from_secs(5);

/// What the set-up begins with.
#[derive(Debug, Clone)]
pub struct SetUpSettings {
    /// What is configured already; it has no account.
    pub config: Config,
    /// The file that is written.
    pub file: PathBuf,
    /// The file as it was named to the program, to read the configuration again.
    pub named_file: Option<PathBuf>,
    /// The environment that the configuration was read from.
    pub environment: Vec<(String, String)>,
    pub clock: Clock,
}

/// The variables about what is watched, in the order of the fields of the page.
pub(super) const ROOM_VARIABLES: [&str; 4] = [
    "CALLSCOPE_ROOMS",
    "CALLSCOPE_SPACES",
    "CALLSCOPE_INVITES_ALLOW_SERVERS",
    "CALLSCOPE_INVITES_ALLOW_USERS",
];

impl SetUpSettings {
    /// Those of [`ROOM_VARIABLES`] that are set: they go before the file.
    pub(super) fn room_variables(&self) -> Vec<&'static str> {
        let is_set = |wanted: &&str| {
            let environment = self.environment.iter();
            environment
                .filter(|(_, value)| !value.is_empty())
                .any(|(name, _)| name == wanted)
        };

        ROOM_VARIABLES.into_iter().filter(is_set).collect()
    }
}

/// The wish to start with the configuration that was written.
#[derive(Debug)]
pub struct StartWish {
    pub config: Config,
    /// Takes what came of it; as an error, in words, why it did not start.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// The running server.
#[derive(Debug)]
pub struct SetUpServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The address to open, with its token.
    pub link: SecretString,
    handle: ServerHandle,
    running: JoinHandle<io::Result<()>>,
    wishes: mpsc::Receiver<StartWish>,
    set_up: Data<SetUp>,
}

/// What all requests share.
#[derive(Debug)]
pub(super) struct SetUp {
    pub settings: SetUpSettings,
    /// Where the pages are served.
    pub address: SocketAddr,
    pub entrance: Entrance,
    pub hosts: AllowedHosts,
    pub base: BasePath,
    pub wishes: mpsc::Sender<StartWish>,
    /// Held while the file is written and Callscope starts: no answer is changed then.
    pub finishing: tokio::sync::Mutex<()>,
    /// Held while an account is signed in whose device is not kept yet.
    pub signing_in: tokio::sync::Mutex<()>,
    is_done: AtomicBool,
    progress: Mutex<Progress>,
}

impl SetUp {
    /// What was answered so far.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what was answered.
    ///
    /// # Errors
    /// Callscope starts with the answers, or has started.
    pub fn change_progress<T>(
        &self,
        change: impl FnOnce(&mut Progress) -> T,
    ) -> Result<T, StepFault> {
        let mut progress = self.progress();
        let not_finishing = self.finishing.try_lock();
        if not_finishing.is_err() || self.is_done() {
            return Err(StepFault::new(
                "Callscope starts with the answers just now, so nothing was changed. Wait, and open \
                 the page again.",
            ));
        }

        Ok(change(&mut progress))
    }

    /// Keeps the rooms that were read for an account, if it is the present one still.
    pub fn keep_rooms(&self, read_for: &Progress, rooms: AccountRooms) {
        let mut progress = self.progress();
        if progress.has_account_of(read_for)
            && let Some(step) = &mut progress.account
        {
            step.rooms = rooms;
        }
    }

    /// Has Callscope started, so that these pages are over?
    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// Removes the device of an account that is not used after all.
    pub fn give_up(account: Option<SetUpAccount>) {
        if let Some(account) = account.filter(|account| account.has_new_device) {
            tokio::spawn(async move { steps::log_out(&account.client).await });
        }
    }
}

impl SetUpServer {
    /// Serves the set-up on a bound socket.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn start(listener: TcpListener, settings: SetUpSettings) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let public_url = settings.config.public_url.as_ref().map(ToString::to_string);
        let names = public_url.iter().chain(&settings.config.public_names);
        let hosts = AllowedHosts::new(address, names);
        let base = BasePath::from_public_url(public_url.as_deref());
        let (sender, wishes) = mpsc::channel(1);
        let entrance = Entrance::new();
        let link = link_to_open(public_url.as_deref(), address, &entrance.address_token());
        let set_up = Data::new(SetUp {
            settings,
            address,
            entrance,
            hosts,
            base: base.clone(),
            wishes: sender,
            finishing: tokio::sync::Mutex::default(),
            signing_in: tokio::sync::Mutex::default(),
            is_done: AtomicBool::new(false),
            progress: Mutex::default(),
        });

        let shared = set_up.clone();
        let app = move || {
            let headers = DefaultHeaders::new()
                .add(("content-security-policy", PAGE_POLICY))
                .add(("x-content-type-options", "nosniff"))
                .add(("x-robots-tag", "noindex, nofollow"))
                .add(("referrer-policy", "same-origin"))
                .add(("cross-origin-opener-policy", "same-origin"))
                .add((CACHE_CONTROL, "no-store"));
            let outer = base.clone();
            let below = from_fn(move |req, next| serve_below_path(outer.clone(), req, next));

            App::new()
                .app_data(PayloadConfig::new(pages::FORM_MAX))
                .app_data(shared.clone())
                .wrap(from_fn(pages::guard_request))
                .wrap(headers)
                .wrap(below)
                .configure(pages::add_routes)
                .default_service(http::to(pages::lead_to_set_up))
        };

        let server = HttpServer::new(app)
            .workers(1)
            // A browser makes a new connection for each request, which Callscope gets once it runs.
            .keep_alive(KeepAlive::Disabled)
            .max_connections(CONNECTIONS_MAX)
            .disable_signals()
            .shutdown_timeout(SHUTDOWN_S)
            .listen(listener)?
            .run();
        let handle = server.handle();

        Ok(Self {
            address,
            link,
            handle,
            running: tokio::spawn(server),
            wishes,
            set_up,
        })
    }

    /// The next wish to start. `None` if the server ended by itself.
    pub async fn next_wish(&mut self) -> Option<StartWish> {
        tokio::select! {
            wish = self.wishes.recv() => wish,
            _ = &mut self.running => None,
        }
    }

    /// Takes no new connections, so that whoever listens on the same socket gets them.
    pub async fn pause(&self) {
        self.handle.pause().await;
    }

    /// Takes connections again.
    pub async fn resume(&self) {
        self.handle.resume().await;
    }

    /// Callscope has started: these pages are over, and the device that was made stays.
    pub fn set_done(&self) {
        self.set_up.is_done.store(true, Ordering::Release);
    }

    /// Ends the server. Requests that are being processed are still answered. If Callscope did not
    /// start, the device that was made is removed.
    pub async fn stop(self) {
        // A device that is being made becomes known, so that it can be removed.
        let no_more = tokio::time::timeout(SIGN_IN_LONGEST, self.set_up.signing_in.lock()).await;
        self.handle.stop(true).await;
        drop(no_more);
        if self.set_up.is_done() {
            return;
        }

        let account = self.set_up.progress().account.take();
        if let Some(step) = account.filter(|step| step.account.has_new_device) {
            steps::log_out(&step.account.client).await;
        }
    }
}

/// The address to open. A server that listens on every interface is reached by this machine's name
/// for itself.
fn link_to_open(
    public_url: Option<&str>,
    address: SocketAddr,
    token: &SecretString,
) -> SecretString {
    let base = match public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if address.ip().is_unspecified() => format!("http://localhost:{}", address.port()),
        None => format!("http://{address}"),
    };

    format!("{base}/set-up?token={}", token.expose_secret()).into()
}

/// Does only this machine reach the address?
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_answer_is_changed_while_callscope_starts_or_after_that() {
        let file = PathBuf::from("callscope.toml");
        let settings = SetUpSettings {
            config: Config::from_text(&file, "", std::iter::empty()).unwrap(),
            file,
            named_file: None,
            environment: vec![],
            clock: Clock::System,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = SetUpServer::start(listener, settings).unwrap();
        let set_up = server.set_up.clone();
        let change = || set_up.change_progress(|progress| progress.rooms = None);
        assert_eq!(change(), Ok(()));
        let finishing = set_up.finishing.lock().await;
        assert!(change().unwrap_err().what.contains("nothing was changed"));
        drop(finishing);
        assert_eq!(change(), Ok(()));
        server.set_done();
        assert!(change().is_err());
        server.stop().await;
    }

    #[test]
    fn the_address_to_open_is_one_that_a_browser_reaches() {
        let link = |public_url: Option<&str>, address: &str| {
            let token = SecretString::from("abc");
            let link = link_to_open(public_url, address.parse().unwrap(), &token);
            link.expose_secret().to_owned()
        };
        assert_eq!(
            link(None, "127.0.0.1:8080"),
            "http://127.0.0.1:8080/set-up?token=abc"
        );
        assert_eq!(
            link(None, "0.0.0.0:8080"),
            "http://localhost:8080/set-up?token=abc"
        );
        assert_eq!(
            link(None, "[::]:80"),
            "http://localhost:80/set-up?token=abc"
        );
        assert_eq!(
            link(Some("https://a.example/calls/"), "0.0.0.0:8080"),
            "https://a.example/calls/set-up?token=abc"
        );
    }
}
