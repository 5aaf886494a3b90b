//! Who may come in, by the configuration, and how it is found out of a request.

use super::attempts::{Attempts, TooMany};
use super::client_address::{find_client, find_client_for_limits, is_near, is_trusted};
use super::codes::{Codes, hash_code, signs_of_code};
use super::cookie::CookieKind;
use super::form_token::FormKey;
use super::openid::{BegunOpenId, OpenId, OpenIdError, OpenIdSettings, Returned, SignedIn};
use super::password::PasswordHash;
use super::proxy::{NamedUser, TrustedProxies};
use super::secret_text::{KEY_PREFIX, hash_secret, new_secret};
use super::widget::{
    self, TokenAnswer, TokenChecker, UsedTokens, WIDGET_PREFIX, WidgetToken, new_widget_secret,
};
use super::{Asker, Entrance, Frame, Identity, SignInLink};
use crate::rtc::words::words;
use crate::store::sign_in::api_keys::{self, ApiKey};
use crate::store::sign_in::audit_log::{self, AuditEntry, AuditKind};
use crate::store::sign_in::codes::{self, CodeCheck, CodeOutbox};
use crate::store::sign_in::feed_keys;
use crate::store::sign_in::sessions::{self, Session, SessionIdentity, SignInWay};
use crate::store::sign_in::share_links;
use crate::store::{self, SignIns};
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::block;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Maximum number of passwords that are checked at the same time: each takes a processor and much
/// memory.
const CHECKS_MOST: usize = 2;
/// Maximum time that a sign-in waits for its turn.
const CHECK_WAIT: Duration = Duration::from_secs(10);

/// Who may come in.
#[derive(Debug, Clone, Default)]
pub struct AccessSettings {
    /// The operator's password; `None` if nobody can sign in with one.
    pub password: Option<PasswordHash>,
    /// Everybody sees everything.
    pub open_to_everybody: bool,
    pub proxies: TrustedProxies,
    /// The provider at which people sign in; `None` if there is none.
    pub openid: Option<OpenIdSettings>,
    /// Where codes by Matrix are handed in; `None` if nobody can sign in by them.
    pub codes: Option<CodeOutbox>,
    /// Asks homeservers for those who use a widget; `None` if there are no widgets.
    pub widgets: Option<TokenChecker>,
    /// The Matrix ids of people who are operators.
    pub operators: Vec<String>,
    /// Clients reach us by TLS, as the public URL says.
    pub is_https: bool,
}

words! {
    /// For whom the pages are.
    pub enum Audience {
        /// Whoever reaches them sees everything.
        Everybody = "everybody",
        /// The same, but no setting says so: only this machine reaches them, and whom a proxy on it
        /// lets through.
        ThisMachine = "this_machine",
        /// Each sees what is theirs.
        ByRights = "by_rights",
    }
}

/// Decides who comes in. Cheap to clone: all clones are one.
#[derive(Debug, Clone)]
pub struct Access(Arc<Gatekeeper>);

#[derive(Debug)]
struct Gatekeeper {
    settings: AccessSettings,
    /// Where sessions, keys and the log are; `None` where everybody is the operator and nothing is
    /// written.
    sign_ins: Option<SignIns>,
    form_key: FormKey,
    openid: Option<OpenId>,
    codes: Option<Codes>,
    /// Tokens of widgets that were not good, so that nobody makes us ask many servers.
    widget_attempts: Attempts,
    used_tokens: UsedTokens,
    attempts: Attempts,
    /// Refusals that were noted in the log, so that nobody can fill it; those of codes apart, so
    /// that no other hides them.
    noted_refusals: Attempts,
    noted_code_refusals: Attempts,
    checks: Semaphore,
    counts: Counts,
}

/// What was refused since the start.
#[derive(Debug, Default)]
struct Counts {
    refused_keys: AtomicU64,
    ignored_proxy_users: AtomicU64,
    refused_passwords: AtomicU64,
    refused_openid_sign_ins: AtomicU64,
    refused_codes: AtomicU64,
    refused_widget_tokens: AtomicU64,
    limited_sign_ins: AtomicU64,
    refused_share_links: AtomicU64,
}

/// What was refused since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalCounts {
    /// Requests with a key that is unknown, expired or revoked.
    pub refused_keys: u64,
    /// Requests that named a user without coming from a trusted proxy, or named no possible one.
    pub ignored_proxy_users: u64,
    pub refused_passwords: u64,
    /// Sign-ins by the provider that were late, repeated, forged or denied, or named no Matrix id.
    pub refused_openid_sign_ins: u64,
    /// Codes by Matrix that were wrong, late or used, or were entered in another browser.
    pub refused_codes: u64,
    /// Tokens of widgets that were not good, or used, or were for a room that shows nothing.
    pub refused_widget_tokens: u64,
    /// Sign-ins that were refused unseen, because there were too many wrong ones, and codes that
    /// were not made, because too many were asked for.
    pub limited_sign_ins: u64,
    /// Requests for a shared call at an address that is unknown, expired or revoked.
    pub refused_share_links: u64,
}

/// Why it cannot be told who asks.
#[derive(Debug)]
pub enum AskerError {
    /// The key is unknown, expired or revoked.
    BadKey,
    Store(store::Error),
}

impl From<store::Error> for AskerError {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// What the log says of a way to sign in; the password is the usual one.
fn detail_of_way(way: SignInWay) -> Option<&'static str> {
    match way {
        SignInWay::Password => None,
        SignInWay::OpenId => Some("OpenID Connect"),
        SignInWay::Code => Some("a code by Matrix"),
        SignInWay::Widget => Some("a widget"),
    }
}

/// What became of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordCheck {
    Right,
    Wrong,
    TooMany(TooMany),
    /// Too many passwords are being checked.
    Busy,
}

/// What became of a token of a widget.
#[derive(Clone, PartialEq, Eq)]
pub enum WidgetEntry {
    /// A session began; its secret.
    Begun(String),
    Refused,
    Unreachable,
    TooMany,
}

/// What became of a code by Matrix that was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeEntry {
    Right {
        user_id: String,
    },
    Wrong {
        tries_left: i64,
    },
    /// None is good in this browser.
    NotGood,
}

impl Access {
    /// Decides by these settings, with the sessions and keys of this store.
    #[must_use]
    pub fn new(settings: AccessSettings, sign_ins: SignIns) -> Self {
        Self::with(settings, Some(sign_ins))
    }

    /// Everybody is the operator, and there are neither sessions nor keys.
    #[must_use]
    pub fn open() -> Self {
        Self::with(AccessSettings::default(), None)
    }

    fn with(settings: AccessSettings, sign_ins: Option<SignIns>) -> Self {
        let openid = settings.openid.clone().map(OpenId::new);
        let codes = settings.codes.clone().map(Codes::new);

        Self(Arc::new(Gatekeeper {
            settings,
            sign_ins,
            form_key: FormKey::random(),
            openid,
            codes,
            widget_attempts: Attempts::default(),
            used_tokens: UsedTokens::default(),
            attempts: Attempts::default(),
            noted_refusals: Attempts::default(),
            noted_code_refusals: Attempts::default(),
            checks: Semaphore::new(CHECKS_MOST),
            counts: Counts::default(),
        }))
    }

    /// Where sessions, keys and the log are; `None` where there are none.
    #[must_use]
    pub fn sign_ins(&self) -> Option<&SignIns> {
        self.0.sign_ins.as_ref()
    }

    /// Can somebody sign in with a password?
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.0.settings.password.is_some()
    }

    /// Do proxies sign people in?
    #[must_use]
    pub fn has_proxies(&self) -> bool {
        let proxies = &self.0.settings.proxies;

        !proxies.networks.is_empty() && !proxies.user_header.is_empty()
    }

    /// For whom the pages are, by the settings.
    #[must_use]
    pub fn audience(&self) -> Audience {
        if self.0.settings.open_to_everybody {
            Audience::Everybody
        } else if self.is_unguarded() {
            Audience::ThisMachine
        } else {
            Audience::ByRights
        }
    }

    /// The name of the provider at which people sign in; `None` if there is none.
    #[must_use]
    pub fn provider_name(&self) -> Option<&str> {
        self.0.openid.as_ref().map(OpenId::name)
    }

    /// Is this the address of a trusted proxy, or one at which a proxy of ours may be?
    #[must_use]
    pub fn may_be_proxy(&self, address: IpAddr) -> bool {
        is_near(address) || is_trusted(&self.0.settings.proxies.networks, address)
    }

    /// Can somebody sign in on our page?
    #[must_use]
    pub fn has_sign_in(&self) -> bool {
        self.has_password() || self.provider_name().is_some() || self.offers_codes()
    }

    /// Can rooms be shown in widgets?
    #[must_use]
    pub fn has_widgets(&self) -> bool {
        self.0.settings.widgets.is_some()
    }

    /// Can a code by Matrix be asked for now?
    #[must_use]
    pub fn offers_codes(&self) -> bool {
        let codes = self.0.codes.as_ref();
        codes.is_some_and(|codes| codes.outbox.is_open())
    }

    /// Is nothing said of who may come in? Only this machine reaches us then.
    fn is_unguarded(&self) -> bool {
        let says_who_comes = self.has_password()
            || self.has_proxies()
            || self.provider_name().is_some()
            || self.0.codes.is_some()
            || self.has_widgets();

        !self.0.settings.open_to_everybody && !says_who_comes
    }

    /// Does everybody see everything?
    fn is_open(&self) -> bool {
        self.0.settings.open_to_everybody || self.is_unguarded()
    }

    /// The numbers of what was refused; `None` where nothing is written.
    #[must_use]
    pub fn refusals(&self) -> Option<RefusalCounts> {
        self.sign_ins()?;
        let counts = &self.0.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);

        Some(RefusalCounts {
            refused_keys: read(&counts.refused_keys),
            ignored_proxy_users: read(&counts.ignored_proxy_users),
            refused_passwords: read(&counts.refused_passwords),
            refused_openid_sign_ins: read(&counts.refused_openid_sign_ins),
            refused_codes: read(&counts.refused_codes),
            refused_widget_tokens: read(&counts.refused_widget_tokens),
            limited_sign_ins: read(&counts.limited_sign_ins),
            refused_share_links: read(&counts.refused_share_links),
        })
    }

    /// Does the client speak TLS with us, or with a proxy of ours?
    fn is_https(&self, headers: &HeaderMap, peer: IpAddr) -> bool {
        let says_https = || {
            headers
                .get("x-forwarded-proto")
                .and_then(|value| value.to_str().ok())
                .is_some_and(|value| value.trim().eq_ignore_ascii_case("https"))
        };

        self.0.settings.is_https || self.0.settings.proxies.are_at(peer) && says_https()
    }

    /// The client of a request for limits, by its headers and the other end of its connection;
    /// `None` if it is a program on this machine.
    #[must_use]
    pub fn client_for_limits(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Option<IpAddr> {
        find_client_for_limits(&self.0.settings.proxies.networks, ip_of_peer(peer), headers)
    }

    /// Who asks, by the headers of a request, the other end of its connection and the time, ms. A
    /// key counts before a session, and a session before what a proxy says.
    ///
    /// # Errors
    /// The key is not good, or the database fails.
    pub async fn find_asker(
        &self,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
        now: i64,
    ) -> Result<Asker, AskerError> {
        let peer = ip_of_peer(peer);
        let address = find_client(&self.0.settings.proxies.networks, peer, headers);
        let unknown = Asker {
            identity: Identity::Anonymous,
            entrance: Entrance::None,
            is_admin: false,
            address,
            is_https: self.is_https(headers, peer),
        };

        let key = presented_key(headers);
        if let Some(key) = key.as_deref().filter(|key| key.starts_with(KEY_PREFIX)) {
            return Ok(Asker {
                identity: self.identity_of_key(key, address, now).await?,
                entrance: Entrance::Key,
                ..unknown
            });
        }

        if let Some(secret) = key.as_deref().filter(|key| key.starts_with(WIDGET_PREFIX)) {
            let session = self.session_of_secret(secret, now).await?;
            return match session.and_then(identity_of_widget) {
                Some(identity) if self.has_widgets() => Ok(Asker {
                    identity,
                    entrance: Entrance::Key,
                    ..unknown
                }),
                _ => Err(self.refuse_key()),
            };
        }

        if let Some(session) = self.find_session(headers, unknown.is_https, now).await? {
            return Ok(self.asker_of_session(unknown, session));
        }

        if let Some(user_id) = self.user_of_proxy(headers, peer) {
            let unknown = Asker {
                entrance: Entrance::Proxy,
                ..unknown
            };
            return Ok(self.asker_of_user(unknown, user_id));
        }

        if self.is_open() {
            return Ok(Asker {
                identity: Identity::Operator,
                // A proxy on this machine may let strangers through.
                is_admin: false,
                ..unknown
            });
        }

        // A proxy before us may pass on a token that is meant for it, so this is only an error
        // where nothing else says who asks.
        if key.is_some() {
            return Err(self.refuse_key());
        }

        Ok(unknown)
    }

    /// The same client, as whoever has this key for feeds. Its use is noted.
    ///
    /// # Errors
    /// The key is not known, or the database fails.
    pub async fn with_feed_key(
        &self,
        asker: Asker,
        key: &str,
        now: i64,
    ) -> Result<Asker, AskerError> {
        let Some(sign_ins) = self.sign_ins() else {
            return Err(self.refuse_key());
        };

        let found = feed_keys::find_key(sign_ins, &hash_secret(key)).await?;
        // Where nobody can be an operator any more, their key opens nothing.
        let has_operators = self.has_password() || !self.0.settings.operators.is_empty();
        let found = found.filter(|key| has_operators || key.owner != SessionIdentity::Operator);
        let Some(found) = found else {
            return Err(self.refuse_key());
        };

        if found.is_use_due(now) {
            note_feed_use(sign_ins.clone(), found.owner.clone(), now);
        }

        Ok(Asker {
            identity: match found.owner {
                SessionIdentity::Operator => Identity::Operator,
                SessionIdentity::User(user_id) => Identity::User { user_id },
            },
            entrance: Entrance::Key,
            is_admin: false,
            ..asker
        })
    }

    /// The same client, as whoever has the address with this secret. Its use is noted. An unknown
    /// address, or one that is not good any more, changes nothing.
    ///
    /// # Errors
    /// The database fails.
    pub async fn with_share(
        &self,
        asker: Asker,
        secret: &str,
        now: i64,
    ) -> Result<Asker, AskerError> {
        let Some(sign_ins) = self.sign_ins() else {
            return Ok(asker);
        };

        let found = share_links::find_link(sign_ins, &hash_secret(secret)).await?;
        let Some(link) = found.filter(|link| link.is_good(now)) else {
            let count = &self.0.counts.refused_share_links;
            count.fetch_add(1, Ordering::Relaxed);
            return Ok(asker);
        };

        if link.is_use_due(now) {
            note_share_use(sign_ins.clone(), link.id.clone(), now);
        }

        Ok(Asker {
            identity: Identity::Share { link },
            is_admin: false,
            ..asker
        })
    }

    /// The client as the owner of this session.
    fn asker_of_session(&self, client: Asker, session: Session) -> Asker {
        let client = Asker {
            entrance: Entrance::Session {
                id_hash: session.id_hash,
            },
            ..client
        };

        match session.identity {
            SessionIdentity::Operator => Asker {
                identity: Identity::Operator,
                is_admin: true,
                ..client
            },
            SessionIdentity::User(user_id) => self.asker_of_user(client, user_id),
        }
    }

    /// The client as a person by Matrix id, who may be an operator.
    fn asker_of_user(&self, client: Asker, user_id: String) -> Asker {
        let is_admin = self.0.settings.operators.contains(&user_id);

        Asker {
            identity: if is_admin || self.is_open() {
                Identity::Operator
            } else {
                Identity::User { user_id }
            },
            is_admin,
            ..client
        }
    }

    /// Counts a key that is not good.
    fn refuse_key(&self) -> AskerError {
        self.0.counts.refused_keys.fetch_add(1, Ordering::Relaxed);
        AskerError::BadKey
    }

    /// Who has this key. Its use is noted.
    async fn identity_of_key(
        &self,
        key: &str,
        address: IpAddr,
        now: i64,
    ) -> Result<Identity, AskerError> {
        let Some(sign_ins) = self.sign_ins() else {
            return Err(self.refuse_key());
        };

        let found = api_keys::find_key(sign_ins, &hash_secret(key)).await?;
        let Some(found) = found.filter(|found| found.is_good(now)) else {
            return Err(self.refuse_key());
        };

        let identity = Identity::Key {
            id: found.id.clone(),
            name: found.name.clone(),
            scope: found.scope,
        };

        if api_keys::is_use_due(&found, now) {
            note_key_use(sign_ins.clone(), found, now, address);
        }

        Ok(identity)
    }

    /// The session of the browser's cookie, if it has not ended.
    async fn find_session(
        &self,
        headers: &HeaderMap,
        is_https: bool,
        now: i64,
    ) -> Result<Option<Session>, AskerError> {
        let Some(cookie) = CookieKind::Session.read(headers, is_https) else {
            return Ok(None);
        };

        let found = self.session_of_secret(&cookie, now).await?;

        // A way that is closed now lets nobody in who came by it.
        Ok(found.filter(|found| found.room_id.is_none() && self.has_way(found.way)))
    }

    /// Can somebody sign in by this way, by the settings?
    fn has_way(&self, way: SignInWay) -> bool {
        match way {
            SignInWay::Password => self.has_password(),
            SignInWay::OpenId => self.0.openid.is_some(),
            SignInWay::Code => self.0.codes.is_some(),
            SignInWay::Widget => self.has_widgets(),
        }
    }

    /// The session with this secret, if it has not ended. That it was used is noted.
    async fn session_of_secret(
        &self,
        secret: &str,
        now: i64,
    ) -> Result<Option<Session>, AskerError> {
        let Some(sign_ins) = self.sign_ins() else {
            return Ok(None);
        };

        let found = sessions::find_session(sign_ins, &hash_secret(secret), now).await?;
        if let Some(session) = &found
            && session.last_seen_ms <= now.saturating_sub(sessions::SEEN_EVERY_MS)
        {
            note_request(sign_ins.clone(), session.id_hash.clone(), now);
        }

        Ok(found)
    }

    /// The user that a trusted proxy names. What others say is counted.
    fn user_of_proxy(&self, headers: &HeaderMap, peer: IpAddr) -> Option<String> {
        match self.0.settings.proxies.named_user(peer, headers) {
            NamedUser::User(user_id) => Some(user_id),
            NamedUser::None => None,
            NamedUser::Ignored => {
                let count = &self.0.counts.ignored_proxy_users;
                count.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// What the frame of a page shows to this asker; `None` if it is not known who asks.
    #[must_use]
    pub fn frame_for(&self, asker: Option<&Asker>) -> Frame {
        let (entrance, sees_all) = match asker {
            Some(asker) => (&asker.entrance, asker.identity.sees_all()),
            None => (&Entrance::None, self.is_open()),
        };

        let link = match entrance {
            Entrance::Session { .. } => SignInLink::SignOut,
            Entrance::None if self.has_sign_in() => SignInLink::SignIn,
            Entrance::Proxy if self.has_sign_in() && !sees_all => SignInLink::SignIn,
            Entrance::None | Entrance::Proxy | Entrance::Key => SignInLink::None,
        };

        Frame {
            link,
            has_admin_page: asker.is_some_and(|asker| asker.is_admin),
        }
    }

    /// Checks the operator's password for a client. A wrong one is counted against its address.
    pub async fn check_password(
        &self,
        password: String,
        address: IpAddr,
        now: i64,
    ) -> PasswordCheck {
        let Some(hash) = self.0.settings.password.clone() else {
            return PasswordCheck::Wrong;
        };

        if let Err(too_many) = self.0.attempts.begin(address, now) {
            let count = &self.0.counts.limited_sign_ins;
            count.fetch_add(1, Ordering::Relaxed);
            return PasswordCheck::TooMany(too_many);
        }

        let Ok(Ok(_turn)) = timeout(CHECK_WAIT, self.0.checks.acquire()).await else {
            self.0.attempts.take_back(address, now);
            return PasswordCheck::Busy;
        };

        let is_right = block(move || hash.fits(&password)).await;
        if matches!(is_right, Ok(true)) {
            self.0.attempts.take_back(address, now);
            return PasswordCheck::Right;
        }

        let count = &self.0.counts.refused_passwords;
        count.fetch_add(1, Ordering::Relaxed);

        PasswordCheck::Wrong
    }

    /// Begins a sign-in at the provider; `None` if there is none.
    pub async fn begin_openid(
        &self,
        next: &str,
        address: IpAddr,
        now: i64,
    ) -> Option<Result<BegunOpenId, OpenIdError>> {
        let openid = self.0.openid.as_ref()?;
        Some(openid.begin_sign_in(next, address, now).await)
    }

    /// Ends a sign-in at the provider; `None` if there is none. One that is refused is counted, and
    /// recorded if it was begun here: what is only made up would hide it.
    pub async fn end_openid(
        &self,
        returned: Returned,
        address: IpAddr,
        now: i64,
    ) -> Option<Result<SignedIn, OpenIdError>> {
        let ended = self.0.openid.as_ref()?.end_sign_in(returned, now).await;
        if let Err(error) = &ended
            && !error.is_unreachable()
        {
            let count = &self.0.counts.refused_openid_sign_ins;
            count.fetch_add(1, Ordering::Relaxed);
            if !error.is_made_up() {
                let (words, noted) = (format!("OpenID Connect, {error}"), &self.0.noted_refusals);
                self.record_refusal(noted, None, &words, address, now).await;
            }
        }

        Some(ended)
    }

    /// Makes a code by Matrix for this id, and hands it in to be sent. Returns what the browser has
    /// to keep. What is done here is the same whether there is such an account or not.
    ///
    /// # Errors
    /// The database fails.
    pub async fn ask_for_code(
        &self,
        user_id: &str,
        site: Option<&str>,
        address: IpAddr,
        now: i64,
    ) -> Result<Result<String, TooMany>, store::Error> {
        let limited = &self.0.counts.limited_sign_ins;
        let (Some(codes), Some(sign_ins)) = (&self.0.codes, self.sign_ins()) else {
            return Ok(Err(TooMany(1)));
        };

        let made = match codes.make_code(user_id, site, address, now) {
            Ok(made) => made,
            Err(too_many) => {
                limited.fetch_add(1, Ordering::Relaxed);
                return Ok(Err(too_many));
            }
        };

        codes::add_code(sign_ins, &made.asked).await?;
        if !codes.outbox.hand_in(made.wish) {
            tracing::warn!("too many codes wait to be sent; one was dropped");
            limited.fetch_add(1, Ordering::Relaxed);
        }

        Ok(Ok(made.browser))
    }

    /// Checks a code by Matrix that was entered in the browser with this cookie. How many can be
    /// tried follows from how many are made, and how often each may be entered.
    ///
    /// # Errors
    /// The database fails.
    pub async fn check_code(
        &self,
        browser: Option<String>,
        entered: &str,
        address: IpAddr,
        now: i64,
    ) -> Result<CodeEntry, store::Error> {
        let counts = &self.0.counts;
        let (Some(browser), Some(sign_ins)) = (browser, self.sign_ins()) else {
            counts.refused_codes.fetch_add(1, Ordering::Relaxed);
            return Ok(CodeEntry::NotGood);
        };

        let code_hash = hash_code(&browser, &signs_of_code(entered));
        let checked = codes::try_code(sign_ins, &hash_secret(&browser), &code_hash, now).await?;
        if let CodeCheck::Right { user_id } = checked {
            return Ok(CodeEntry::Right { user_id });
        }

        counts.refused_codes.fetch_add(1, Ordering::Relaxed);
        let noted = &self.0.noted_code_refusals;
        if let CodeCheck::Wrong {
            user_id,
            tries_left,
        } = checked
        {
            let why = "a code by Matrix, it was wrong";
            self.record_refusal(noted, Some(&user_id), why, address, now)
                .await;
            return Ok(CodeEntry::Wrong { tries_left });
        }

        let why = "a code by Matrix, it was late, used, or not asked for in this browser";
        self.record_refusal(noted, None, why, address, now).await;

        Ok(CodeEntry::NotGood)
    }

    /// Begins a session of a widget for this room, if the token's homeserver says who it is and
    /// `may_see` says that this user sees the room. A token is good once.
    ///
    /// # Errors
    /// The database fails.
    pub async fn begin_widget_session(
        &self,
        token: WidgetToken,
        room_id: &str,
        may_see: impl AsyncFnOnce(&str) -> Result<bool, store::Error>,
        address: IpAddr,
        now: i64,
    ) -> Result<WidgetEntry, store::Error> {
        let counts = &self.0.counts;
        let (Some(checker), Some(sign_ins)) = (&self.0.settings.widgets, self.sign_ins()) else {
            return Ok(WidgetEntry::Refused);
        };

        if self.0.widget_attempts.begin(address, now).is_err() {
            counts.limited_sign_ins.fetch_add(1, Ordering::Relaxed);
            return Ok(WidgetEntry::TooMany);
        }

        let answer = if !widget::is_possible(&token) {
            TokenAnswer::Refused("it is no token".to_owned())
        } else if !self.0.used_tokens.use_once(&token, now) {
            TokenAnswer::Refused("its token was used before".to_owned())
        } else {
            checker.ask(token).await
        };

        let refused = match answer {
            TokenAnswer::User(user_id) if may_see(&user_id).await? => {
                self.0.widget_attempts.take_back(address, now);
                let secret = new_widget_secret();
                let session = Session {
                    id_hash: hash_secret(&secret),
                    identity: SessionIdentity::User(user_id),
                    way: SignInWay::Widget,
                    address: address.to_string(),
                    created_ms: now,
                    last_seen_ms: now,
                    room_id: Some(room_id.to_owned()),
                };
                add_session(sign_ins, &session, address, now).await?;
                return Ok(WidgetEntry::Begun(secret));
            }
            TokenAnswer::Unreachable(why) => {
                tracing::debug!(why, "the homeserver of a widget's user does not answer");
                return Ok(WidgetEntry::Unreachable);
            }
            TokenAnswer::User(_) => "its room shows nothing to its user".to_owned(),
            TokenAnswer::Refused(why) => why,
        };

        counts.refused_widget_tokens.fetch_add(1, Ordering::Relaxed);
        let why = format!("a widget, {refused}");
        let noted = &self.0.noted_refusals;
        self.record_refusal(noted, None, &why, address, now).await;

        Ok(WidgetEntry::Refused)
    }

    /// Records a sign-in that was refused, but not more often than wrong passwords could be. Where
    /// that fails, nobody is let in either, so it is no error.
    async fn record_refusal(
        &self,
        noted: &Attempts,
        who: Option<&str>,
        why: &str,
        address: IpAddr,
        now: i64,
    ) {
        if noted.begin(address, now).is_err() {
            return;
        }

        tracing::warn!(%address, why, "a sign-in was refused");
        let Some(sign_ins) = self.sign_ins() else {
            return;
        };

        let kind = AuditKind::SignInRefused;
        if let Err(error) = record(sign_ins, kind, who, Some(why), address, now).await {
            tracing::warn!(%error, "a refused sign-in could not be recorded");
        }
    }

    /// The token for forms of the browser that this is bound to.
    #[must_use]
    pub fn form_token(&self, bound_to: &str) -> String {
        self.0.form_key.token_for(bound_to)
    }

    /// Is it the token for forms of that browser?
    #[must_use]
    pub fn is_form_token(&self, bound_to: &str, token: &str) -> bool {
        self.0.form_key.is_valid(bound_to, token)
    }
}

/// Begins a session for somebody who signed in from this address in this way. Returns its id, which
/// only the browser keeps. It is always a new one, so that nobody can know it before.
///
/// # Errors
/// When the database fails.
pub async fn begin_session(
    sign_ins: &SignIns,
    identity: SessionIdentity,
    way: SignInWay,
    address: IpAddr,
    now: i64,
) -> Result<String, store::Error> {
    let id = new_secret();
    let session = Session {
        id_hash: hash_secret(&id),
        identity,
        way,
        address: address.to_string(),
        created_ms: now,
        last_seen_ms: now,
        room_id: None,
    };
    add_session(sign_ins, &session, address, now).await?;

    Ok(id)
}

/// Adds a session, and records that.
async fn add_session(
    sign_ins: &SignIns,
    session: &Session,
    address: IpAddr,
    now: i64,
) -> Result<(), store::Error> {
    sessions::delete_ended_sessions(sign_ins, now).await?;
    sessions::add_session(sign_ins, session).await?;
    let who = Some(session.identity.as_str());
    let detail = detail_of_way(session.way);

    record(sign_ins, AuditKind::SignIn, who, detail, address, now).await
}

/// Who has this session of a widget. Nobody is an operator by one.
fn identity_of_widget(session: Session) -> Option<Identity> {
    match (session.identity, session.room_id) {
        (SessionIdentity::User(user_id), Some(room_id)) => {
            Some(Identity::WidgetUser { user_id, room_id })
        }
        _ => None,
    }
}

/// Records in the log what somebody did from this address. `detail` says more of it.
///
/// # Errors
/// When the database fails.
pub async fn record(
    sign_ins: &SignIns,
    kind: AuditKind,
    who: Option<&str>,
    detail: Option<&str>,
    address: IpAddr,
    now: i64,
) -> Result<(), store::Error> {
    let entry = AuditEntry {
        at_ms: now,
        kind,
        identity: who.map(ToOwned::to_owned),
        detail: detail.map(ToOwned::to_owned),
        address: Some(address.to_string()),
    };

    audit_log::record_entry(sign_ins, &entry).await
}

/// The address of the other end of a connection; the unspecified one if it is not known.
fn ip_of_peer(peer: Option<SocketAddr>) -> IpAddr {
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}

/// The key or token in a request, by either header.
fn presented_key(headers: &HeaderMap) -> Option<String> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &header::HeaderValue| value.to_str().ok())
    };
    let bearer = || {
        let (kind, token) = text(header::AUTHORIZATION)?.trim().split_once(' ')?;
        kind.eq_ignore_ascii_case("bearer").then_some(token)
    };

    text(header::HeaderName::from_static("x-api-key"))
        .or_else(bearer)
        .map(|key| key.trim().to_owned())
}

/// Notes a request of a session, while the request is answered.
fn note_request(sign_ins: SignIns, id_hash: String, now: i64) {
    actix_web::rt::spawn(async move {
        if let Err(error) = sessions::note_request(&sign_ins, &id_hash, now).await {
            tracing::debug!(%error, "the use of a session could not be noted");
        }
    });
}

/// Notes the use of the address of a shared call, while the request is answered.
fn note_share_use(sign_ins: SignIns, id: String, now: i64) {
    actix_web::rt::spawn(async move {
        if let Err(error) = share_links::note_use(&sign_ins, &id, now).await {
            tracing::debug!(%error, "the use of a shared address could not be noted");
        }
    });
}

/// Notes the use of a key for feeds, while the request is answered.
fn note_feed_use(sign_ins: SignIns, owner: SessionIdentity, now: i64) {
    actix_web::rt::spawn(async move {
        if let Err(error) = feed_keys::note_use(&sign_ins, &owner, now).await {
            tracing::debug!(%error, "the use of a key for feeds could not be noted");
        }
    });
}

/// Notes the use of a key, while the request is answered.
fn note_key_use(sign_ins: SignIns, key: ApiKey, now: i64, address: IpAddr) {
    actix_web::rt::spawn(async move {
        let noted = api_keys::note_use(&sign_ins, &key, now, &address.to_string()).await;
        if let Err(error) = noted {
            tracing::debug!(%error, "the use of a key could not be noted");
        }
    });
}
