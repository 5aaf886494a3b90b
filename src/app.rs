//! Wires the parts: store, observer and pages of one configuration, which start and stop together.

use crate::alerting::channels::ChannelKind;
use crate::alerting::{self, Alerting};
use crate::changes::Changes;
use crate::clock::Clock;
use crate::clock::steady::Word;
use crate::config::{self, Config, ConfigFaults, Login};
use crate::matrix::probe::Prober;
use crate::matrix::{self, Client, TokenOwner};
use crate::observer::{self, Observer, RoomWish};
use crate::rtc::fold::Rules;
use crate::rtc::forgotten::ForgottenKind;
use crate::rtc::time::DAY_MS;
use crate::rtc::words::Mode;
use crate::store::db::instance_lock::InstanceLock;
use crate::store::db::upgrade::UpgradeOptions;
use crate::store::db::upgrade_progress::UpgradeProgress;
use crate::store::rights::forget::{self, KnownName, NameToForget};
use crate::store::sign_in::audit_log::{AuditEntry, AuditKind};
use crate::store::sign_in::codes::{CodeOutbox, code_channel};
use crate::store::sign_in::{audit_log, codes, sessions, share_links};
use crate::store::visible::VisibilityPolicy;
use crate::store::{self, SignIns, Writer};
use crate::web::sign_in::access::{Access, AccessSettings};
use crate::web::sign_in::openid::{ClientSecret, OpenIdSettings};
use crate::web::sign_in::operator_token::{self, NewToken};
use crate::web::sign_in::password::PasswordHash;
use crate::web::sign_in::proxy::TrustedProxies;
use crate::web::sign_in::widget::{TokenAnswer, TokenChecker, WidgetToken};
use crate::web::upgrading::serve_while_upgrading;
use crate::web::{self, Web};
use actix_web::dev::ServerHandle;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

/// How long the end waits for requests that are being answered, and for the database.
const PATIENCE_WITH_REQUESTS: Duration = Duration::from_secs(1);
const PATIENCE_WITH_DATABASE: Duration = Duration::from_millis(500);

/// Why the program could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no homeserver account is configured")]
    NoAccount,
    /// The configuration must not be started with.
    #[error("{0}")]
    Config(#[from] ConfigFaults),
    #[error("{0}")]
    Matrix(#[from] matrix::Error),
    #[error("{0}")]
    Store(#[from] store::Error),
    #[error("{0}")]
    Observer(#[from] observer::Error),
    #[error("{0}")]
    Alerting(#[from] alerting::Error),
    #[error("the operator's token cannot be made: {0}")]
    Token(String),
    #[error("cannot listen on {address}: {source}; choose another with CALLSCOPE_BIND")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("the web server failed: {0}")]
    Web(std::io::Error),
    /// A part of the program ended, by itself or by a panic.
    #[error("{part} stopped by itself ({why}); this is a fault in Callscope, please report it")]
    Stopped { part: &'static str, why: String },
}

/// Maximum tests of alerts that wait.
const TESTS_MOST: usize = 10;

/// How the program is started.
#[derive(Debug, Default)]
pub struct StartOptions {
    /// A socket that listens already, whatever address is configured.
    pub listener: Option<TcpListener>,
    /// Told how far an upgrade of the database is.
    pub progress: UpgradeProgress,
}

/// The running program.
#[derive(Debug)]
pub struct App {
    /// Where the pages are served, with the actual port if it was configured as 0.
    pub address: SocketAddr,
    pub store: Writer,
    server: JoinHandle<std::io::Result<()>>,
    handle: ServerHandle,
    observer: JoinHandle<Result<(), observer::Error>>,
    alerting: JoinHandle<Result<(), alerting::Error>>,
    /// The operator's token, if it was made at this start: to be shown now and then stored, since
    /// only its hash is kept.
    pub new_operator_token: Option<NewToken>,
    /// The lock of the database, which no second process may have. Released last, after the store
    /// was closed.
    hold: InstanceLock,
}

impl App {
    /// Starts everything and returns when the pages are served. The first sync may still be
    /// running.
    ///
    /// # Errors
    /// When another process has the database, it cannot be opened, the address is taken, or other
    /// machines reach it and nothing says who may see the pages. A homeserver that does not answer
    /// is no error: the status page says so, and it is tried again.
    pub async fn start(config: &Config, clock: Clock) -> Result<Self, Error> {
        Self::start_with(config, clock, Prober::new).await
    }

    /// Like [`Self::start`]. If the configuration enables probing, the given prober is used.
    ///
    /// # Errors
    /// As [`Self::start`], and when the prober could not be made.
    pub async fn start_with(
        config: &Config,
        clock: Clock,
        prober: impl FnOnce() -> Result<Prober, matrix::Error>,
    ) -> Result<Self, Error> {
        Self::start_on(StartOptions::default(), config, clock, prober).await
    }

    /// Like [`Self::start_with`], with these options.
    ///
    /// # Errors
    /// As [`Self::start_with`].
    pub async fn start_on(
        options: StartOptions,
        config: &Config,
        clock: Clock,
        prober: impl FnOnce() -> Result<Prober, matrix::Error>,
    ) -> Result<Self, Error> {
        let account = config.account.as_ref().ok_or(Error::NoAccount)?;
        let StartOptions { listener, progress } = options;
        let address = match &listener {
            Some(listener) => address_of(listener, config)?,
            None => config.bind,
        };
        config.access.check_exposure(address)?;
        let hold =
            InstanceLock::acquire_lock(config.database_url.expose(), &describe_process(&clock))
                .await?;

        web::http::connections::raise_open_files_limit();
        let listener = match listener {
            Some(listener) => listener,
            None => listen_at(config.bind)?,
        };
        let address = address_of(&listener, config)?;
        let store = open_while_answering(config, &listener, &progress).await?;
        forget_servers(&store, config, clock.now_ms()).await?;
        let changes = Changes::since(clock.now_ms());
        let sign_ins = store.sign_ins();
        forget_old_sign_ins(&sign_ins, clock.now_ms()).await?;
        let (outbox, inbox) = code_channel();
        let (tests, test_requests) = mpsc::channel(TESTS_MOST);
        let needs_prober = config.probe.enabled || config.access.sign_in_by_widget;
        let prober = if needs_prober { Some(prober()?) } else { None };
        let operator = find_operator_secret(config, &sign_ins).await?;
        let access = AccessSettings {
            widgets: token_checker(config, prober.as_ref()),
            ..access_settings(config, operator.hash, outbox)
        };
        let web = Web {
            store: store.reader(),
            changes: changes.clone(),
            clock: clock.clone(),
            public_url: config.public_url.as_ref().map(ToString::to_string),
            access: Access::new(access, sign_ins),
            options: web::Options {
                is_made_up: config.is_made_up,
                rejoin_grace_ms: config.rejoin_grace * 1000,
                alerts: alert_options(config, tests),
                public_names: config.public_names.clone(),
                cors_origins: config.programs.cors_origins.clone(),
                metrics_room_labels: config.programs.metrics_room_labels,
                probing: config.probe.enabled,
                checks_own_server: config.probe.own_server,
                hears_opt_outs: config.opt_out_by_message && config.mode == Mode::Follow,
                kept: web::KeptTimes {
                    events_days: config.retention.events_days,
                    calls_days: config.retention.calls_days,
                    reads_history: config.backfill,
                    history_days: config.backfill_days,
                },
                visibility: VisibilityPolicy {
                    open_rooms_are_public: config.access.open_rooms_are_public,
                    servers_are_public: config.access.servers_are_public,
                },
            },
            memory: web::SharedMemory::with_rate_limit(config.requests_per_second),
        };

        let server = web::serve(listener, web).map_err(Error::Web)?;
        let handle = server.handle();
        let prober = prober.filter(|_| config.probe.enabled);

        let heard = clock.clone();
        let client = build_client(account, config.max_response_bytes)?
            .telling_time(move |time| heard.told(word_of_homeserver(time)));
        let alerting = Alerting::new(
            store.for_observer(),
            changes.clone(),
            clock.clone(),
            alerting_settings(config),
            &client,
        )?;
        let observer = Observer::new(
            client,
            store.for_observer(),
            changes,
            clock,
            observer_settings(config, account, prober),
        )
        .sending_codes(inbox);
        observer.retire_others().await?;
        tracing::info!("listening on http://{address}");
        if config.access.open_to_everybody && !address.ip().is_loopback() {
            tracing::warn!(%address, "{OPEN_TO_OTHERS}");
        }

        let (server, observer) = (tokio::spawn(server), tokio::spawn(observer.run()));
        let alerting = tokio::spawn(alerting.run(test_requests));

        Ok(Self {
            address,
            store,
            server,
            handle,
            observer,
            alerting,
            hold,
            new_operator_token: operator.new_token,
        })
    }

    /// Runs until SIGTERM, Ctrl-C, or a failure that cannot be recovered.
    ///
    /// # Errors
    /// What failed.
    pub async fn run_until_stopped(mut self) -> Result<(), Error> {
        let failed = tokio::select! {
            () = wait_for_stop_signal() => None,
            lost = self.hold.lost() => Some(Error::Store(lost)),
            ended = &mut self.server => {
                Some(error_of_ended_part("the web server", ended, Error::Web))
            }
            ended = &mut self.observer => {
                Some(error_of_ended_part("the observer", ended, Error::Observer))
            }
            ended = &mut self.alerting => {
                Some(error_of_ended_part("alerting", ended, Error::Alerting))
            }
        };

        self.stop().await;

        failed.map_or(Ok(()), Err)
    }

    /// Stops, within two seconds. The observer stops at once: what it had not committed comes again.
    /// Page requests that are being processed are still answered, if that does not take long.
    pub async fn stop(self) {
        self.observer.abort();
        self.alerting.abort();
        // A connection that nobody reads, or a query that takes long, must not hold up the end:
        // nothing that is committed is lost.
        let _ = timeout(PATIENCE_WITH_REQUESTS, self.handle.stop(true)).await;
        let _ = timeout(PATIENCE_WITH_DATABASE, self.store.close()).await;
    }
}

/// Opens the configured database, and brings it to this version's shape. `progress` is told how far
/// that is.
pub(crate) async fn open_database(
    config: &Config,
    progress: &UpgradeProgress,
) -> Result<Writer, store::Error> {
    let options = UpgradeOptions {
        makes_backup: config.backup_before_upgrade,
        progress: progress.clone(),
    };

    Writer::open_upgrading(config.database_url.expose(), &options).await
}

/// Opens the database. While it is being upgraded, whoever asks at the socket learns that.
async fn open_while_answering(
    config: &Config,
    listener: &TcpListener,
    progress: &UpgradeProgress,
) -> Result<Writer, Error> {
    let mut running = progress.follow();
    let mut opening = std::pin::pin!(open_database(config, progress));
    tokio::select! {
        store = &mut opening => return Ok(store?),
        _ = running.wait_for(Option::is_some) => {}
    }

    let server = listener
        .try_clone()
        .and_then(|listener| serve_while_upgrading(listener, progress.follow()))
        .map_err(Error::Web)?;
    let handle = server.handle();
    tokio::spawn(server);
    let store = opening.await;
    handle.stop(true).await;

    Ok(store?)
}

/// A socket that listens at this address.
///
/// # Errors
/// The address is taken, or is none of this machine.
pub(crate) fn listen_at(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|source| Error::Listen { address, source })
}

/// The error for a part that ended although it should run until it is stopped, whatever it
/// returned. `failed` wraps an error of the part itself.
fn error_of_ended_part<E>(
    part: &'static str,
    ended: Result<Result<(), E>, JoinError>,
    failed: impl Fn(E) -> Error,
) -> Error {
    let why = match ended {
        Ok(Err(error)) => return failed(error),
        Ok(Ok(())) => "it ended".to_owned(),
        Err(lost) => match lost.try_into_panic() {
            Ok(panic) => observer::panic_words(panic.as_ref()),
            Err(lost) => lost.to_string(),
        },
    };

    Error::Stopped { part, why }
}

/// The warning that everybody sees everything.
pub(crate) const OPEN_TO_OTHERS: &str = "the pages are open to everybody who reaches this address, because open_to_everybody is set. \
     To have people sign in, set operator_password_hash or trusted_proxies and remove open_to_everybody";

/// An observer for this account. It is not started, and probes no other servers.
pub(crate) fn build_observer(
    config: &Config,
    account: &config::ConfiguredAccount,
    store: &Writer,
    changes: Changes,
    clock: Clock,
) -> Result<Observer, Error> {
    let client = build_client(account, config.max_response_bytes)?;
    Ok(Observer::new(
        client,
        store.for_observer(),
        changes,
        clock,
        observer_settings(config, account, None),
    ))
}

/// The homeserver's time in the form that the clock takes.
fn word_of_homeserver(heard: matrix::HeardTime) -> Word {
    let elapsed_ms = i64::try_from(heard.elapsed.as_millis());
    Word {
        date_ms: heard.date_ms,
        elapsed_ms: elapsed_ms.unwrap_or(i64::MAX),
    }
}

/// A description of this process, which other processes show if they find the database locked: its
/// number, the machine, and since when it runs.
pub(crate) fn describe_process(clock: &Clock) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() {
        "this machine"
    } else {
        host.trim()
    };

    let since = jiff::Timestamp::from_millisecond(clock.now_ms()).unwrap_or_default();

    format!("process {} on {host} since {since:.0}", std::process::id())
}

/// The client for an account, not signed in yet.
///
/// # Errors
/// When the URL cannot be used.
pub fn build_client(
    account: &config::ConfiguredAccount,
    max_body_bytes: usize,
) -> Result<Client, matrix::Error> {
    Client::new(matrix::Settings {
        max_body_bytes,
        ..matrix::Settings::new(account.homeserver_url.clone())
    })
}

/// Deletes sessions that have ended, codes that are no longer good, and what is too old of the log.
async fn forget_old_sign_ins(sign_ins: &SignIns, now: i64) -> Result<(), store::Error> {
    sessions::delete_ended_sessions(sign_ins, now).await?;
    codes::delete_old_codes(sign_ins, now).await?;
    share_links::delete_old_links(sign_ins, now).await?;
    audit_log::delete_old_entries(sign_ins, now).await
}

/// Forgets the homeservers whose people are not to be recorded, unless that was done before. It
/// goes on where an earlier start was stopped.
async fn forget_servers(store: &Writer, config: &Config, now: i64) -> Result<(), Error> {
    let rules = Rules {
        slot_policy: config.slot_policy,
        ..Rules::default()
    };
    // Whoever is forgotten is known before anybody is answered.
    store.notice_forgotten().await?;
    let mut forgotten = Vec::new();
    for server in &config.opted_out_servers {
        let wish = NameToForget {
            kind: ForgottenKind::Server,
            name: server.clone(),
        };
        match forget::look_up_name(store, &wish).await? {
            KnownName::Forgotten => {}
            KnownName::Own => tracing::warn!(
                "opted_out_servers has the homeserver of our own account, which cannot be left out"
            ),
            KnownName::Stored | KnownName::No => {
                tracing::info!("a server of opted_out_servers is being forgotten");
                forget::forget_name(store, &rules, &wish, now, rand::random()).await?;
                forgotten.push(wish);
            }
        }
    }

    if forgotten.is_empty() {
        return Ok(());
    }

    store.erase_deleted().await?;
    for wish in &forgotten {
        forget::finish_forgetting(store, wish, now).await?;
        record_forgotten(store, wish, now).await?;
    }

    Ok(())
}

/// Where the pages are served, with the actual port.
fn address_of(listener: &TcpListener, config: &Config) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|source| Error::Listen {
        address: config.bind,
        source,
    })
}

/// Writes into the log of sign-ins that somebody was forgotten, under a pseudonym.
///
/// # Errors
/// When the database fails.
pub(crate) async fn record_forgotten(
    store: &Writer,
    wish: &NameToForget,
    now: i64,
) -> Result<(), store::Error> {
    let entry = AuditEntry {
        at_ms: now,
        kind: AuditKind::Forgotten,
        identity: Some(forget::name_in_log(store, wish)),
        detail: None,
        address: None,
    };

    audit_log::record_entry(&store.sign_ins(), &entry).await
}

/// What the operator signs in with; and the token, if it was made just now.
#[derive(Debug, Default)]
struct OperatorSecret {
    hash: Option<PasswordHash>,
    new_token: Option<NewToken>,
}

/// The password of the configuration, or the token, which is made if there is none yet. Sessions of
/// a former password or token end.
async fn find_operator_secret(
    config: &Config,
    sign_ins: &SignIns,
) -> Result<OperatorSecret, Error> {
    let mut found = OperatorSecret::default();
    if config.access.operator_token {
        found.hash = operator_token::find_token(sign_ins).await?;
        if found.hash.is_none() {
            let new = operator_token::make_token().map_err(Error::Token)?;
            found.hash = Some(new.hash.clone());
            found.new_token = Some(new);
        }
    } else if let Some(hash) = &config.access.operator_password_hash {
        found.hash = Some(PasswordHash::new(hash.expose()));
    }

    if let Some(hash) = &found.hash {
        let ended = operator_token::end_former_sessions(sign_ins, hash).await?;
        if ended > 0 {
            tracing::info!(ended, "sessions of the operator's former password ended");
        }
    }

    Ok(found)
}

/// Who may see the pages, by the configuration. `password` is the operator's, and codes are handed
/// in at `outbox`.
fn access_settings(
    config: &Config,
    password: Option<PasswordHash>,
    outbox: CodeOutbox,
) -> AccessSettings {
    let access = &config.access;
    let public_url = config.public_url.as_ref();

    AccessSettings {
        password,
        open_to_everybody: access.open_to_everybody,
        proxies: TrustedProxies {
            networks: access.trusted_proxies.clone(),
            user_header: access.proxy_user_header.clone(),
            user_id: access.proxy_user_id.clone(),
        },
        openid: openid_settings(config),
        codes: access.sign_in_by_code.then_some(outbox),
        widgets: None,
        operators: access.operators.clone(),
        is_https: public_url.is_some_and(|url| url.scheme() == "https"),
    }
}

/// Asks homeservers for those who use a widget, where the configuration allows widgets.
fn token_checker(config: &Config, prober: Option<&Prober>) -> Option<TokenChecker> {
    let prober = prober.filter(|_| config.access.sign_in_by_widget)?.clone();

    Some(TokenChecker::new(move |asked: WidgetToken| {
        let prober = prober.clone();
        async move {
            match prober.owner_of_token(&asked.server, &asked.token).await {
                TokenOwner::User(user_id) => TokenAnswer::User(user_id),
                TokenOwner::NotGood(why) => TokenAnswer::Refused(why),
                TokenOwner::NoAnswer(why) => TokenAnswer::Unreachable(why),
            }
        }
    }))
}

/// The provider at which people sign in, by the configuration.
fn openid_settings(config: &Config) -> Option<OpenIdSettings> {
    let openid = config.access.openid.as_ref()?;
    let public_url = config.public_url.as_ref()?;
    let secret = openid.client_secret.as_ref();

    Some(OpenIdSettings {
        name: openid.name.clone(),
        issuer: openid.issuer.clone(),
        client_id: openid.client_id.clone(),
        client_secret: secret.map(|secret| ClientSecret::new(secret.expose().to_owned())),
        scopes: openid.scopes.clone(),
        claim: openid.user_id.claim.clone(),
        user_id: openid.user_id.text.clone(),
        servers: openid.servers.clone(),
        redirect_url: format!("{public_url}sign-in/openid/callback"),
    })
}

/// What pages of operators tell of alerts.
fn alert_options(config: &Config, tests: mpsc::Sender<String>) -> web::AlertOptions {
    let channels = config.alerts.channels.iter();
    let facts = channels.map(|channel| web::ChannelFacts {
        name: channel.scope.name.clone(),
        kind: channel.kind.as_str(),
        is_ping: matches!(channel.kind, ChannelKind::Ping { .. }),
        is_operator: channel.scope.is_operator,
        rooms: channel.scope.rooms.clone(),
    });

    web::AlertOptions {
        rules: config.alerts.rules.clone(),
        channels: facts.collect(),
        tests: Some(tests),
    }
}

/// What is told and where, by the configuration.
pub(crate) fn alerting_settings(config: &Config) -> alerting::Settings {
    alerting::Settings {
        rules: config.alerts.rules.clone(),
        channels: config.alerts.channels.clone(),
        public_url: config.public_url.as_ref().map(ToString::to_string),
        rejoin_grace_ms: config.rejoin_grace * 1000,
        calls_kept_ms: config
            .retention
            .calls_days
            .map(|days| i64::from(days).saturating_mul(DAY_MS)),
    }
}

/// The settings of the observer, from the configuration. Without a prober, no other server is
/// probed.
fn observer_settings(
    config: &Config,
    account: &config::ConfiguredAccount,
    prober: Option<Prober>,
) -> observer::Settings {
    let wish = |room: &config::RoomSpec| RoomWish {
        room: room.id_or_alias.clone(),
        via: room.via.clone(),
    };

    observer::Settings {
        account: match &account.login {
            Login::Token(token) => observer::AccountLogin::Token(token.clone()),
            Login::Password { user_id, password } => observer::AccountLogin::Password {
                user_id: user_id.clone(),
                password: password.clone(),
                file: config.credentials_file.clone(),
            },
        },
        mode: config.mode,
        poll_schedule: config.poll_schedule.clone(),
        rooms: config.rooms.iter().map(wish).collect(),
        peek_rooms: config.peek_rooms.iter().map(wish).collect(),
        spaces: config.spaces.iter().map(wish).collect(),
        invite_servers: config.invites.allow_servers.clone(),
        invite_users: config.invites.allow_users.clone(),
        opt_out_by_message: config.opt_out_by_message,
        backfill: config.backfill,
        backfill_days: config.backfill_days,
        backfill_page: config.backfill_page,
        retention: observer::RetentionSettings {
            events: config.retention.events_days,
            calls: config.retention.calls_days,
        },
        probe: prober.map(|prober| observer::ProbeSettings {
            schedule: config.probe.schedule.clone(),
            prober,
        }),
        check_own_server: config.probe.own_server,
        rules: Rules {
            slot_policy: config.slot_policy,
            ..Rules::default()
        },
        rejoin_grace_ms: config.rejoin_grace * 1000,
    }
}

/// Waits for SIGTERM or Ctrl-C. If SIGTERM cannot be received, it waits for ever.
pub(crate) async fn wait_for_stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };

    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_is_a_failure_however_it_ends() {
        let panicked = tokio::spawn(async { panic!("a bad {}", "day") });
        let said = error_of_ended_part("the observer", panicked.await, Error::Observer).to_string();
        assert!(
            said.contains("the observer stopped by itself (a bad day)"),
            "{said}"
        );
        let ended = tokio::spawn(async { Ok(()) });
        let said = error_of_ended_part("the web server", ended.await, Error::Web).to_string();
        assert!(
            said.contains("the web server stopped by itself (it ended)"),
            "{said}"
        );
        let failed = tokio::spawn(async { Err(std::io::Error::other("no socket")) });
        let said = error_of_ended_part("the web server", failed.await, Error::Web).to_string();
        assert_eq!(said, "the web server failed: no socket");
    }
}
