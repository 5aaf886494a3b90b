//! The configuration: a TOML file, with every key also as an environment variable (which takes
//! precedence). All faults are reported at once. The reference for users is
//! `callscope.sample.toml`; the table of keys is `config/keys.rs`.

mod access;
mod alerts;
pub(crate) mod check;
mod faults;
mod keys;
mod layers;
pub mod new_file;
mod table;

pub use access::{AccessConfig, ClaimTemplate, OpenIdConfig};
pub use alerts::AlertsConfig;
pub use faults::{ConfigFault, ConfigFaults};
pub use keys::{KEYS, SettingKey};

use crate::matrix::Secret;
use crate::rtc::slot::SlotPolicy;
use crate::rtc::words::Mode;
use layers::Layers;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use url::Url;

/// A configuration without faults.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
#[derive(Debug, Clone)]
pub struct Config {
    /// All calls are made up, and the pages say so. No setting does that.
    pub is_made_up: bool,
    /// The homeserver and the login; `None` if none of their keys is set.
    pub account: Option<ConfiguredAccount>,
    /// The file with the device and token of a password login.
    pub credentials_file: PathBuf,
    /// Rooms to join and to watch, on top of those the account is in already.
    pub rooms: Vec<RoomSpec>,
    /// World-readable rooms to poll without joining.
    pub peek_rooms: Vec<RoomSpec>,
    /// Spaces to join, whose rooms are joined and watched.
    pub spaces: Vec<RoomSpec>,
    pub mode: Mode,
    /// When to read the whole state of the rooms: cron with seconds, UTC; already checked.
    pub poll_schedule: String,
    pub slot_policy: SlotPolicy,
    /// A call whose people are back in the next one within this time broke, s.
    pub rejoin_grace: i64,
    /// Whether to read the history of rooms.
    pub backfill: bool,
    /// How far back; `None` = to the beginning.
    pub backfill_days: Option<u32>,
    /// Events per page of history.
    pub backfill_page: u32,
    pub invites: InvitePolicy,
    /// Homeservers whose people are not recorded.
    pub opted_out_servers: Vec<String>,
    /// Whoever writes to the account that they opt out is forgotten.
    pub opt_out_by_message: bool,
    pub retention: Retention,
    pub probe: ProbeConfig,
    /// A URL for sqlx. It may carry a password.
    pub database_url: Secret,
    /// A backup of a `SQLite` database is made before a newer version changes its shape.
    pub backup_before_upgrade: bool,
    /// Where the pages are served.
    pub bind: SocketAddr,
    /// The address under which people reach the pages.
    pub public_url: Option<Url>,
    /// The addresses of further names of the pages.
    pub public_names: Vec<String>,
    /// Maximum requests a second of one address; `None` = no limit.
    pub requests_per_second: Option<NonZeroU32>,
    /// Who may see the pages.
    pub access: AccessConfig,
    /// The key with which commands ask the running server.
    pub api_key: Option<Secret>,
    pub programs: ProgramAccess,
    pub alerts: AlertsConfig,
    /// What to log: a level, or directives for modules; already checked.
    pub log: String,
    /// Maximum size of an answer of the homeserver, bytes. Larger ones are refused.
    pub max_response_bytes: usize,
}

/// The account that we observe from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredAccount {
    /// The base URL of the client-server API.
    pub homeserver_url: Url,
    pub login: Login,
}

/// The credentials of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    Token(Secret),
    Password { user_id: String, password: Secret },
}

/// A room by id or alias, and servers that know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSpec {
    /// `!id`, `!id:server` or `#alias:server`.
    pub id_or_alias: String,
    pub via: Vec<String>,
}

impl RoomSpec {
    /// The room as it stands in a setting: `!id?via=server&via=other`.
    #[must_use]
    pub fn to_setting(&self) -> String {
        let mut text = self.id_or_alias.clone();
        for (number, server) in self.via.iter().enumerate() {
            let sign = if number == 0 { '?' } else { '&' };
            text.push(sign);
            text.push_str("via=");
            text.push_str(server);
        }

        text
    }

    /// Is it an alias, to be resolved first?
    #[must_use]
    pub fn is_alias(&self) -> bool {
        self.id_or_alias.starts_with('#')
    }
}

/// Whose invites are accepted; empty lists accept nobody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvitePolicy {
    /// Server names.
    pub allow_servers: Vec<String>,
    /// User ids.
    pub allow_users: Vec<String>,
}

impl InvitePolicy {
    /// May this user, by full id, invite the account?
    #[must_use]
    pub fn allow(&self, inviter: &str) -> bool {
        let server = crate::rtc::id::server_of(inviter);
        !inviter.is_empty()
            && (self.allow_users.iter().any(|user| user == inviter)
                || self.allow_servers.iter().any(|name| name == server))
    }
}

/// Whether our own homeserver, other servers and SFUs are probed, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Other servers and SFUs.
    pub enabled: bool,
    /// Our own homeserver, from its name to its SFU.
    pub own_server: bool,
    /// Cron with seconds, UTC; already checked.
    pub schedule: String,
}

/// What other programs may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramAccess {
    /// Origins whose web pages may read the API; `*` is all.
    pub cors_origins: Vec<String>,
    /// Metrics have room names as labels.
    pub metrics_room_labels: bool,
}

/// The ages after which things are deleted, days; `None` keeps them for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    pub events_days: Option<u32>,
    pub calls_days: Option<u32>,
}

/// The environment of this process; names and values that are not Unicode are shown with
/// replacement characters.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (to_lossy_text(&name), to_lossy_text(&value)))
}

/// The text with replacement characters for what is not Unicode.
fn to_lossy_text(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().into_owned()
}

impl Config {
    /// Reads the file at `path`, or else the one that `CALLSCOPE_CONFIG` names, or else
    /// `callscope.toml` if it exists; and the variables `CALLSCOPE_*` of `env` that are not empty.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigFaults> {
        Self::from_layers(Layers::read(path, env))
    }

    /// The same, with the text of the file given instead of read. `path` names it in faults.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn from_text(
        path: &Path,
        text: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigFaults> {
        Self::from_layers(Layers::from_text(path, text, env))
    }

    /// The file that [`Self::load`] reads.
    #[must_use]
    pub fn file_path(
        path: Option<&Path>,
        mut env: impl Iterator<Item = (String, String)>,
    ) -> PathBuf {
        let is_named =
            |(name, value): &(String, String)| name == keys::CONFIG_VARIABLE && !value.is_empty();
        let named = path.map(Path::to_owned);

        named
            .or_else(|| env.find(is_named).map(|(_, value)| PathBuf::from(value)))
            .unwrap_or_else(|| PathBuf::from(layers::DEFAULT_FILE))
    }

    fn from_layers(mut layers: Layers) -> Result<Self, ConfigFaults> {
        let account = read_account(&mut layers);
        let config = Self::rest(&mut layers, account);

        match config {
            Some(config) if layers.faults.0.is_empty() => Ok(config),
            _ => Err(layers.faults),
        }
    }

    /// Is there no account? Then the program serves the set-up, in which one is chosen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.account.is_none()
    }

    /// The configuration with this account. It reads every key, even after a fault, so that all
    /// faults are found. `None` only if there is a fault.
    fn rest(layers: &mut Layers, account: Option<ConfiguredAccount>) -> Option<Self> {
        let database_url = layers.secret("database_url");
        let database_url = database_url.filter(|url| check::check_database_url(layers, url));
        let credentials_file = layers.parsed("credentials_file", check::parse_file_path);
        let rooms = layers.list("rooms", check::parse_room);
        let peek_rooms = layers.list("peek_rooms", check::parse_room);
        let spaces = layers.list("spaces", check::parse_room);
        let mode = layers.parsed("mode", check::parse_mode);
        let poll_schedule = layers.parsed("poll_schedule", check::parse_schedule);
        let slot_policy = layers.parsed("slot_policy", str::parse);
        let rejoin_grace = layers.number("rejoin_grace", 0, 600);
        let backup_before_upgrade = layers.switch("backup_before_upgrade");
        let (backfill, backfill_days) = (
            layers.switch("backfill"),
            read_days(layers, "backfill_days"),
        );
        let backfill_page = layers.number("backfill_page", 1, 1000);
        let invites = read_invites(layers);
        let opted_out_servers = layers.list("opted_out_servers", check::parse_forgotten_server);
        let opt_out_by_message = layers.switch("opt_out_by_message");
        let (events_days, calls_days) = (
            read_days(layers, "retention.events"),
            read_days(layers, "retention.calls"),
        );
        let probe = read_probe(layers);
        let (bind, public_url) = (
            layers.parsed("bind", check::parse_bind_address),
            layers.parsed("public_url", check::parse_public_url),
        );
        let public_names = layers.list("public_names", check::parse_public_name);
        let requests_per_second = layers.number("requests_per_second", 0, 10_000);
        let access = access::read_access(layers);
        let api_key = layers.secret("api_key");
        let programs = read_programs(layers);
        let alerts = alerts::read_alerts(layers);
        let log = layers.parsed("log", check::parse_log_directive);
        let max_response_mb = layers.number("max_response_mb", 1, 1024);
        let database_url = database_url?;

        Some(Self {
            account,
            credentials_file: credentials_file
                .unwrap_or_else(|| default_credentials_file(&database_url)),
            rooms,
            peek_rooms,
            spaces,
            mode: mode?,
            poll_schedule: poll_schedule?,
            slot_policy: slot_policy?,
            is_made_up: false,
            rejoin_grace: rejoin_grace?,
            backfill: backfill?,
            backfill_days,
            backfill_page: u32::try_from(backfill_page?).ok()?,
            invites,
            opted_out_servers,
            opt_out_by_message: opt_out_by_message?,
            retention: Retention {
                events_days,
                calls_days,
            },
            probe: probe?,
            database_url,
            backup_before_upgrade: backup_before_upgrade?,
            bind: bind?,
            public_url,
            public_names,
            requests_per_second: NonZeroU32::new(u32::try_from(requests_per_second?).ok()?),
            access: access?,
            api_key,
            programs: programs?,
            alerts,
            log: log?,
            max_response_bytes: usize::try_from(max_response_mb?)
                .ok()?
                .checked_mul(1024 * 1024)?,
        })
    }
}

/// The keys under `invites`: whose invitations are accepted.
fn read_invites(layers: &mut Layers) -> InvitePolicy {
    InvitePolicy {
        allow_servers: layers.list("invites.allow_servers", check::parse_server_name),
        allow_users: layers.list("invites.allow_users", check::parse_user_id),
    }
}

/// The keys under `probe`; `None` if one of them has a fault.
fn read_probe(layers: &mut Layers) -> Option<ProbeConfig> {
    let enabled = layers.switch("probe.enabled");
    let own_server = layers.switch("probe.own_server");
    let schedule = layers.parsed("probe.schedule", check::parse_schedule);

    Some(ProbeConfig {
        enabled: enabled?,
        own_server: own_server?,
        schedule: schedule?,
    })
}

/// The keys about other programs; `None` if one of them has a fault.
fn read_programs(layers: &mut Layers) -> Option<ProgramAccess> {
    let cors_origins = layers.list("cors_origins", check::parse_origin);
    Some(ProgramAccess {
        cors_origins,
        metrics_room_labels: layers.switch("metrics_room_labels")?,
    })
}

/// A number of days, at least one; `None` if it is not set, or has a fault.
fn read_days(layers: &mut Layers, name: &str) -> Option<u32> {
    u32::try_from(layers.number(name, 1, 100_000)?).ok()
}

/// The account; `None` if none of its keys is set, or if one is missing, which is a fault.
fn read_account(layers: &mut Layers) -> Option<ConfiguredAccount> {
    let homeserver_url = layers.parsed("homeserver_url", check::parse_homeserver_url);
    let token = layers.secret("access_token");
    let user_id = layers.parsed("user_id", check::parse_user_id);
    let password = layers.secret("password");
    check_account_keys(layers);
    let login = match (token, user_id, password) {
        (Some(token), None, None) => Login::Token(token),
        (None, Some(user_id), Some(password)) => Login::Password { user_id, password },
        _ => return None,
    };

    Some(ConfiguredAccount {
        homeserver_url: homeserver_url?,
        login,
    })
}

/// Notes as faults which keys the account lacks, and which exclude each other.
fn check_account_keys(layers: &mut Layers) {
    let by_token = layers.is_set("access_token") || layers.is_set("access_token_file");
    let by_password = layers.is_set("password") || layers.is_set("password_file");
    let (url, user) = (layers.is_set("homeserver_url"), layers.is_set("user_id"));
    if !url && (by_token || by_password || user) {
        layers.missing("homeserver_url", "it is not set, but an account is");
    }

    match (by_token, user, by_password) {
        (false, false, false) if url => {
            layers.missing(
                "access_token",
                "neither it nor user_id and password are set",
            );
        }
        (true, true, _) | (true, _, true) => {
            let both = "it is set, and so is a user or a password. Keep access_token, or user_id \
                        and password";
            let name = if layers.is_set("access_token") {
                "access_token"
            } else {
                "access_token_file"
            };

            let origin = layers.origin(name);
            layers.faults.add(name, &origin, both);
        }
        (false, true, false) => layers.missing("password", "user_id is set, but no password"),
        (false, false, true) => layers.missing("user_id", "a password is set, but not whose"),
        _ => {}
    }
}

/// The default credentials file: beside the database file, or else in the current directory.
fn default_credentials_file(database_url: &Secret) -> PathBuf {
    let url = database_url.expose();
    let file = url
        .strip_prefix("sqlite:")
        .map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    let file = file.map(|path| path.split('?').next().unwrap_or_default());
    let directory = file
        .and_then(|path| Path::new(path).parent())
        .unwrap_or(Path::new(""));

    directory.join("callscope.credentials.json")
}

#[cfg(test)]
mod tests;
