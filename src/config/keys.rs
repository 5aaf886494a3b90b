//! All keys with their defaults. A key that is not in this table is unknown.

/// One setting. In the file it is called `name` (`invites.x` is `x` under `[invites]`), in the
/// environment [`SettingKey::env`].
#[derive(Debug)]
pub struct SettingKey {
    pub name: &'static str,
    /// The default in the form of an environment variable; `None` = not set.
    pub default: Option<&'static str>,
    /// What to write; shown when a value is wrong.
    pub write: &'static str,
}

/// An entry of [`KEYS`]: name, default (`None` = not set), and what to write.
const fn new_key(
    name: &'static str,
    default: Option<&'static str>,
    write: &'static str,
) -> SettingKey {
    SettingKey {
        name,
        default,
        write,
    }
}

/// All keys, in the order of the sample file.
pub const KEYS: &[SettingKey] = &[
    new_key("homeserver_url", None, "https://matrix.example.org"),
    new_key("access_token", None, "the bot's access token"),
    new_key("access_token_file", None, "/run/secrets/callscope_token"),
    new_key("user_id", None, "@callscope:example.org"),
    new_key("password", None, "the bot's password"),
    new_key("password_file", None, "/run/secrets/callscope_password"),
    new_key("credentials_file", None, "/data/callscope.credentials.json"),
    new_key(
        "rooms",
        Some(""),
        "!abcdefg:example.org or #lobby:example.org, with ?via=example.org where needed",
    ),
    new_key(
        "peek_rooms",
        Some(""),
        "#lobby:example.org, a room whose history everybody may read",
    ),
    new_key(
        "spaces",
        Some(""),
        "#community:example.org or !abcdefg:example.org, with ?via=example.org where needed",
    ),
    new_key("mode", Some("follow"), "follow or poll"),
    new_key(
        "poll_schedule",
        Some("0 */5 * * * *"),
        "six fields, seconds first: \"0 */5 * * * *\" is every five minutes",
    ),
    new_key(
        "slot_policy",
        Some("if_present"),
        "if_present, required or ignore",
    ),
    new_key(
        "rejoin_grace",
        Some("30"),
        "a number of seconds from 0 to 600",
    ),
    new_key("backfill", Some("true"), "true or false"),
    new_key("backfill_days", None, "a number of days, 1 or more"),
    new_key(
        "backfill_page",
        Some("250"),
        "a number of events from 1 to 1000",
    ),
    new_key(
        "database_url",
        Some("sqlite://callscope.db"),
        "sqlite://callscope.db or postgres://user:password@host/name",
    ),
    new_key(
        "database_url_file",
        None,
        "/run/secrets/callscope_database_url",
    ),
    new_key("backup_before_upgrade", Some("true"), "true or false"),
    new_key(
        "bind",
        Some("127.0.0.1:8080"),
        "an address and a port: 127.0.0.1:8080, or 0.0.0.0:8080 for every interface",
    ),
    new_key("public_url", None, "https://calls.example.org"),
    new_key(
        "public_names",
        Some(""),
        "calls.example.net, a further name under which people reach the pages",
    ),
    new_key(
        "requests_per_second",
        Some("20"),
        "a number from 0 to 10000: requests a second of one address; 0 is no limit",
    ),
    new_key(
        "operator_password_hash",
        None,
        "the text between the quotes that `callscope passwd` prints, which begins with $argon2id$ \
         (in a compose file with $$ for each $)",
    ),
    new_key(
        "operator_password_hash_file",
        None,
        "/run/secrets/callscope_operator",
    ),
    new_key("operator_token", Some("false"), "true or false"),
    new_key("open_to_everybody", Some("false"), "true or false"),
    new_key(
        "trusted_proxies",
        Some(""),
        "the address of the proxy, or a network: 127.0.0.1, 10.0.0.0/8 or fd00::/8",
    ),
    new_key(
        "proxy_user_header",
        Some(""),
        "the name of the header in which the proxy says who is signed in, such as Remote-User",
    ),
    new_key(
        "proxy_user_id",
        Some("{user}"),
        "@{user}:example.org, or {user} where the header already has a Matrix id",
    ),
    new_key("sign_in_by_code", Some("false"), "true or false"),
    new_key("sign_in_by_widget", Some("false"), "true or false"),
    new_key("operators", Some(""), "@admin:example.org"),
    new_key("open_rooms_are_public", Some("false"), "true or false"),
    new_key("servers_are_public", Some("false"), "true or false"),
    new_key("opted_out_servers", Some(""), "example.org"),
    new_key("opt_out_by_message", Some("true"), "true or false"),
    new_key(
        "api_key",
        None,
        "the key that `callscope key add NAME --scope all` prints",
    ),
    new_key("api_key_file", None, "/run/secrets/callscope_api_key"),
    new_key(
        "cors_origins",
        Some(""),
        "https://app.example.org, or * for every web page",
    ),
    new_key("metrics_room_labels", Some("false"), "true or false"),
    new_key(
        "log",
        Some("info"),
        "error, warn, info, debug or trace, or info,callscope=debug",
    ),
    new_key(
        "max_response_mb",
        Some("64"),
        "a number of MiB from 1 to 1024",
    ),
    new_key("invites.allow_servers", Some(""), "example.org"),
    new_key("invites.allow_users", Some(""), "@admin:example.org"),
    new_key("retention.events", None, "a number of days, 1 or more"),
    new_key("retention.calls", None, "a number of days, 1 or more"),
    new_key(
        "openid.issuer",
        None,
        "the provider's address, exactly as \"issuer\" in its .well-known/openid-configuration: \
         https://auth.example.org/",
    ),
    new_key(
        "openid.client_id",
        None,
        "the name under which the provider knows this Callscope: callscope",
    ),
    new_key(
        "openid.client_secret",
        None,
        "the secret that the provider gave for this client",
    ),
    new_key(
        "openid.client_secret_file",
        None,
        "/run/secrets/callscope_openid",
    ),
    new_key("openid.scopes", Some("profile"), "profile, email"),
    new_key(
        "openid.user_id",
        None,
        "@{preferred_username}:example.org, with a claim in braces, or {matrix_id} where a claim \
         already is a Matrix id",
    ),
    new_key("openid.servers", Some(""), "example.org"),
    new_key(
        "openid.name",
        Some("OpenID Connect"),
        "the name by which people know the provider",
    ),
    new_key("probe.enabled", Some("false"), "true or false"),
    new_key("probe.own_server", Some("true"), "true or false"),
    new_key(
        "probe.schedule",
        Some("0 17 */6 * * *"),
        "six fields, seconds first: \"0 17 */6 * * *\" is every six hours",
    ),
];

/// The prefix of all our environment variables.
pub const PREFIX: &str = "CALLSCOPE_";
/// The variable that names the configuration file; it is the only variable that is no key.
pub const CONFIG_VARIABLE: &str = "CALLSCOPE_CONFIG";

impl SettingKey {
    /// The environment variable: `CALLSCOPE_`, then the name in capitals with `_` for the dot.
    #[must_use]
    pub fn env(&self) -> String {
        format!("{PREFIX}{}", self.name.to_uppercase().replace('.', "_"))
    }
}

/// The key of this name; `None` if it is unknown.
pub(super) fn find_key(name: &str) -> Option<&'static SettingKey> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known key that is most similar to an unknown name; `None` if none is similar enough to be
/// meant.
pub(super) fn nearest_key(unknown: &str) -> Option<&'static SettingKey> {
    let plain = |name: &str| name.to_lowercase().replace(['.', '-', '_'], "");
    let unknown = plain(unknown);
    let distance = |key: &&SettingKey| strsim::osa_distance(&plain(key.name), &unknown);
    let best = KEYS.iter().min_by_key(distance)?;

    (distance(&best) <= 1 + unknown.len() / 6).then_some(best)
}
