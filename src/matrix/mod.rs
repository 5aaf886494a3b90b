//! The client for homeservers: it returns raw JSON events, and loses nothing on the way. It depends
//! only on `rtc`.
//!
//! Only `request` sends; each of the other files knows one kind of endpoint. The loops own retries:
//! they use [`Error::is_transient`] and [`Error::retry_after`].

mod direct;
mod discovery;
mod error;
mod events;
mod guard;
mod id;
mod json;
mod login;
mod messages;
mod notices;
mod openid;
pub mod probe;
mod repair;
mod request;
mod rooms;
mod secret;
mod server;
pub mod server_check;
mod spaces;
mod split;
mod state;
mod stream;
#[cfg(test)]
mod stub;
mod sync;
mod wellknown;
mod wire;

pub use direct::DIRECT_ROOM_TYPE;
pub use discovery::{DiscoveryTry, FoundHomeserver, NamedHomeserver, find_homeserver};
pub use error::{Error, Refusal, Result};
pub use login::{Credentials, LoginFlows, Whoami};
pub use messages::MessagesPage;
pub use openid::TokenOwner;
pub use repair::repair_json;
pub use rooms::{ResolvedAlias, StateParts};
pub use secret::Secret;
pub use server::{Capabilities, DelayedLimits};
pub use spaces::{SpaceChild, SpaceState};
pub use sync::{
    DirectText, DirectTexts, Invite, JoinedRoom, LeftRoom, SyncBatch, SyncEnd, SyncPart, SyncParts,
    SyncRequest, filter_json, filter_of_names, filter_of_nothing, filter_of_room, filter_of_texts,
};
pub use wellknown::{WellKnown, address_for_clients};

pub use crate::rtc::sieve::TYPES;

use crate::tls::{describe_setup_failure, trust_authorities};
use request::Request;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use url::Url;

/// Timeout for making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum redirects that are followed; none from https to http or to another host.
const REDIRECTS_MAX: usize = 3;
/// Interval of keep-alive probes on an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Maximum number of times that timeouts are doubled for a slow homeserver.
const SLOWNESS_MAX: u32 = 4;

/// The settings for one homeserver.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The base URL of the client-server API, `https://matrix.example.org`.
    pub homeserver_url: Url,
    /// Timeout of one request, including its answer. A long poll gets its own time in addition.
    pub request_timeout: Duration,
    /// Maximum size of an answer, bytes, decompressed. A larger one is refused while it is read.
    pub max_body_bytes: usize,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Settings {
    /// The settings for a homeserver: 30 s per request, 64 MiB per answer.
    #[must_use]
    pub fn new(homeserver_url: Url) -> Self {
        Self {
            homeserver_url,
            request_timeout: Duration::from_secs(30),
            max_body_bytes: 64 * 1024 * 1024,
            user_agent: concat!("callscope/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A client of one homeserver. Clones share connections, token and counters.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    http: reqwest::Client,
    token: RwLock<Option<Secret>>,
    user_id: RwLock<Option<String>>,
    /// The number of requests so far.
    requests: AtomicU64,
    /// When to refresh the token, ms since the Unix epoch.
    refresh_due_ms: RwLock<Option<i64>>,
    /// The last token that the homeserver did not accept.
    refused_token: RwLock<Option<Secret>>,
    /// How many times timeouts are doubled now, because the last ones were too short.
    slowness: AtomicU32,
    time: TimeListener,
    /// An answer had a date.
    has_dates: AtomicBool,
}

/// The homeserver's time in an answer. Some homeservers give the time of the request: then the
/// present time is between that and that plus the duration of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardTime {
    /// The second in the answer's date, ms since the Unix epoch.
    pub date_ms: i64,
    /// How long the request took until the answer began.
    pub elapsed: Duration,
}

/// The listener for the homeserver's time, see [`Client::telling_time`].
#[derive(Clone, Default)]
struct TimeListener(Arc<RwLock<Option<Listener>>>);

type Listener = Arc<dyn Fn(HeardTime) + Send + Sync>;

impl std::fmt::Debug for TimeListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TimeListener")
    }
}

impl Client {
    /// A client without a token.
    ///
    /// # Errors
    /// The URL is not an http(s) URL without user and password, or the TLS set-up of this machine
    /// failed.
    pub fn new(settings: Settings) -> Result<Self> {
        let url = &settings.homeserver_url;
        let plain = url.username().is_empty() && url.password().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain {
            let fix = "the homeserver's address must look like https://matrix.example.org";
            return Err(Error::Setup(fix.to_owned()));
        }

        let http = http_client(&settings)?;
        let (token, user_id) = (RwLock::default(), RwLock::default());
        let inner = Inner {
            settings,
            http,
            token,
            user_id,
            requests: AtomicU64::new(0),
            refresh_due_ms: RwLock::default(),
            refused_token: RwLock::default(),
            slowness: AtomicU32::new(0),
            time: TimeListener::default(),
            has_dates: AtomicBool::new(false),
        };

        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The client, which from now on passes the homeserver's time to `listener`, in place of an
    /// earlier listener: the date of each answer that has one, or what [`Self::heard_time`] is
    /// told. The listener is called within the request, so it must not wait. Clones share it.
    #[must_use]
    pub fn telling_time(self, listener: impl Fn(HeardTime) + Send + Sync + 'static) -> Self {
        *self
            .inner
            .time
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(listener));

        self
    }

    /// Has any of the homeserver's answers had a date?
    #[must_use]
    pub fn has_dates(&self) -> bool {
        self.inner.has_dates.load(Ordering::Relaxed)
    }

    /// Passes a time of the homeserver to the listener, if there is one. Callers outside of
    /// `matrix` use it for a homeserver whose answers have no date.
    pub fn heard_time(&self, heard: HeardTime) {
        let listener = self
            .inner
            .time
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();

        if let Some(listener) = listener {
            listener(heard);
        }
    }

    /// The client with an access token to send.
    #[must_use]
    pub fn with_token(self, token: Secret) -> Self {
        self.set_token(Some(token));
        self
    }

    /// Replaces the access token of this client and of all its clones, for example after a new
    /// login.
    pub fn set_token(&self, token: Option<Secret>) {
        *self
            .inner
            .token
            .write()
            .unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Our own user id, once `whoami` or a login returned it.
    #[must_use]
    pub fn user_id(&self) -> Option<String> {
        self.inner
            .user_id
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many requests were sent so far, by this client and its clones.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.inner.requests.load(Ordering::Relaxed)
    }

    /// The settings that the client was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn token(&self) -> Option<Secret> {
        self.inner
            .token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_user_id(&self, user_id: &str) {
        *self
            .inner
            .user_id
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(user_id.to_owned());
    }

    /// When to refresh the token, ms since the Unix epoch; `None` = this token does not expire, or
    /// there is no refresh token.
    #[must_use]
    pub fn refresh_due_ms(&self) -> Option<i64> {
        *self
            .inner
            .refresh_due_ms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn set_refresh_due(&self, due_ms: Option<i64>) {
        *self
            .inner
            .refresh_due_ms
            .write()
            .unwrap_or_else(PoisonError::into_inner) = due_ms;
    }

    /// Notes the token of a request that was refused as not valid.
    fn note_refused(&self, token: Option<&Secret>) {
        *self
            .inner
            .refused_token
            .write()
            .unwrap_or_else(PoisonError::into_inner) = token.cloned();
    }

    /// Did the homeserver refuse the token that is sent now? Only another token, or another login,
    /// helps.
    #[must_use]
    pub fn is_token_refused(&self) -> bool {
        self.token().is_some_and(|token| self.was_refused(&token))
    }

    /// Is this the last token that was refused as not valid?
    fn was_refused(&self, token: &Secret) -> bool {
        let refused = self
            .inner
            .refused_token
            .read()
            .unwrap_or_else(PoisonError::into_inner);

        refused.as_ref() == Some(token)
    }

    fn http(&self) -> &reqwest::Client {
        &self.inner.http
    }

    fn count_request(&self) {
        self.inner.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// This timeout, doubled up to four times if the last ones were too short for this homeserver
    /// ([`Self::was_too_slow`], [`Self::was_quick`]).
    fn stretched(&self, timeout: Duration) -> Duration {
        timeout.saturating_mul(
            1 << self
                .inner
                .slowness
                .load(Ordering::Relaxed)
                .min(SLOWNESS_MAX),
        )
    }

    /// Notes that a request timed out: the next ones get twice the time.
    fn was_too_slow(&self) {
        let more = |slowness: u32| (slowness < SLOWNESS_MAX).then_some(slowness + 1);
        let _ = self
            .inner
            .slowness
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Notes that a request was answered long before its timeout: the next ones get half the time,
    /// but never less than configured.
    fn was_quick(&self) {
        let less = |slowness: u32| slowness.checked_sub(1);
        let _ = self
            .inner
            .slowness
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// The HTTP client for our homeserver: it follows only redirects that [`may_follow`] allows, and
/// uses no proxy.
fn http_client(settings: &Settings) -> Result<reqwest::Client> {
    let redirect = reqwest::redirect::Policy::custom(|attempt| {
        if may_follow(&attempt) {
            attempt.follow()
        } else {
            attempt.stop()
        }
    });

    trust_authorities(reqwest::Client::builder())
        .user_agent(&settings.user_agent)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEP_ALIVE)
        .redirect(redirect)
        .referer(false)
        // A proxy from the environment must not see tokens.
        .no_proxy()
        .build()
        .map_err(|error| Error::Setup(describe_setup_failure(&error)))
}

/// May this redirect be followed? Only within the same host, and never from https to http: our
/// requests are meant for the configured homeserver.
fn may_follow(attempt: &reqwest::redirect::Attempt<'_>) -> bool {
    let Some(from) = attempt.previous().last() else {
        return false;
    };

    let to = attempt.url();
    let stays_secure = to.scheme() == "https" || from.scheme() == "http";
    let has_same_port = from.port_or_known_default() == to.port_or_known_default();
    // From http to https the usual port changes.
    let have_usual_ports = from.port().is_none() && to.port().is_none();
    let is_same_place = from.host() == to.host() && (has_same_port || have_usual_ports);

    attempt.previous().len() <= REDIRECTS_MAX && stays_secure && is_same_place
}
