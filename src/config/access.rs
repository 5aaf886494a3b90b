//! The settings of who may see the pages: the operator's password, proxies that sign people in, or
//! everybody. Without any of them only this machine may reach the pages.

use super::check;
use super::faults::ConfigFaults;
use super::layers::Layers;
use crate::matrix::Secret;
use ipnet::IpNet;
use std::net::SocketAddr;

/// Who may see the pages.
#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct AccessConfig {
    /// The hash of the operator's password in PHC form, argon2id; `None` if there is no password.
    pub operator_password_hash: Option<Secret>,
    /// The operator signs in with a token, which is made and shown at the first start.
    pub operator_token: bool,
    /// Everybody who reaches the pages sees everything.
    pub open_to_everybody: bool,
    /// The proxies whose headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which a trusted proxy names who is signed in; empty if proxies name nobody,
    /// and are only believed whom they speak for.
    pub proxy_user_header: String,
    /// The Matrix id of that user, with `{user}` for what the header says.
    pub proxy_user_id: String,
    /// The provider at which people sign in; `None` if there is none.
    pub openid: Option<OpenIdConfig>,
    /// People sign in by codes that the account sends them.
    pub sign_in_by_code: bool,
    /// Rooms show their calls in a widget to those whose homeserver says who they are.
    pub sign_in_by_widget: bool,
    /// The Matrix ids of people who are operators.
    pub operators: Vec<String>,
    /// Calls of rooms that everybody may join are for everybody.
    pub open_rooms_are_public: bool,
    /// Whoever sees pseudonyms of people sees their servers.
    pub servers_are_public: bool,
}

/// A provider of OpenID Connect.
#[derive(Debug, Clone)]
pub struct OpenIdConfig {
    /// Exactly as the provider writes it.
    pub issuer: String,
    pub client_id: String,
    /// `None` where the provider asks for none.
    pub client_secret: Option<Secret>,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// How a Matrix id is made of what the provider says.
    pub user_id: ClaimTemplate,
    /// The servers whose people may sign in; if there are none, that of `user_id`.
    pub servers: Vec<String>,
    /// The name by which people know the provider.
    pub name: String,
}

/// A Matrix id with the name of a claim in braces, or nothing but that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTemplate {
    /// The claim, without braces.
    pub claim: String,
    /// The whole text.
    pub text: String,
}

impl AccessConfig {
    /// Is it said who may see the pages?
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.open_to_everybody
            || self.operator_password_hash.is_some()
            || self.operator_token
            || self.openid.is_some()
            || self.sign_in_by_code
            || self.sign_in_by_widget
            || !self.trusted_proxies.is_empty() && !self.proxy_user_header.is_empty()
    }

    /// Checks that strangers who reach this address do not see everything unasked.
    ///
    /// # Errors
    /// Other machines reach the address, and no setting says who may see the pages.
    pub fn check_exposure(&self, bind: SocketAddr) -> Result<(), ConfigFaults> {
        if self.is_set() || bind.ip().to_canonical().is_loopback() {
            return Ok(());
        }

        let problem = format!(
            "other machines can reach {bind}, and no setting says who may see the pages. There are \
             three ways out: set operator_password_hash to what `callscope passwd` prints, or \
             operator_token = true, and the first start shows a token; or set \
             trusted_proxies to the address of a proxy that signs people in and names them in \
             proxy_user_header (or openid.issuer and its keys, or sign_in_by_code = true, where \
             people sign in here), and operators to the ids of those who may see all; or set \
             open_to_everybody = true, and everybody sees all. In the environment they are \
             CALLSCOPE_OPERATOR_PASSWORD_HASH and so on. Else, but not in a container, write an \
             address of this machine only: 127.0.0.1:{}",
            bind.port()
        );
        let mut faults = ConfigFaults::default();
        faults.add("bind", "or CALLSCOPE_BIND", problem);

        Err(faults)
    }
}

/// The keys about who may see the pages; `None` if one of them has a fault.
pub(super) fn read_access(layers: &mut Layers) -> Option<AccessConfig> {
    let operator_password_hash = layers.secret("operator_password_hash");
    if let Some(hash) = &operator_password_hash
        && let Err(what) = check::check_password_hash(hash.expose())
    {
        // The value is not repeated, because it may be the password itself.
        layers.wrong("operator_password_hash", &what);
    }

    let operator_token = layers.switch("operator_token");
    if operator_token == Some(true) && operator_password_hash.is_some() {
        layers.wrong(
            "operator_token",
            "there is a password already (operator_password_hash); leave one of the two",
        );
    }

    let open_to_everybody = layers.switch("open_to_everybody");
    let trusted_proxies = layers.list("trusted_proxies", check::parse_proxy_network);
    let proxy_user_header = layers.parsed("proxy_user_header", check::parse_header_name);
    let proxy_user_id = layers.parsed("proxy_user_id", check::parse_user_id_template);
    let openid = read_openid(layers);
    let sign_in_by_code = layers.switch("sign_in_by_code");
    let sign_in_by_widget = layers.switch("sign_in_by_widget");
    let operators = layers.list("operators", check::parse_user_id);
    let open_rooms_are_public = layers.switch("open_rooms_are_public");
    let servers_are_public = layers.switch("servers_are_public");

    Some(AccessConfig {
        operator_password_hash,
        operator_token: operator_token?,
        open_to_everybody: open_to_everybody?,
        trusted_proxies,
        proxy_user_header: proxy_user_header?,
        proxy_user_id: proxy_user_id?,
        openid,
        sign_in_by_code: sign_in_by_code?,
        sign_in_by_widget: sign_in_by_widget?,
        operators,
        open_rooms_are_public: open_rooms_are_public?,
        servers_are_public: servers_are_public?,
    })
}

/// The keys under `openid`; `None` if there is no provider, or one of them has a fault.
fn read_openid(layers: &mut Layers) -> Option<OpenIdConfig> {
    let issuer = layers.parsed("openid.issuer", check::parse_issuer);
    let client_id = layers.text("openid.client_id");
    let client_secret = layers.secret("openid.client_secret");
    let scopes = layers.list("openid.scopes", check::parse_scope);
    let user_id = layers.parsed("openid.user_id", check::parse_claim_template);
    let servers = layers.list("openid.servers", check::parse_server_name);
    let name = layers.text("openid.name");

    if !layers.is_set("openid.issuer") {
        for other in ["openid.client_id", "openid.user_id"] {
            if layers.is_set(other) {
                layers.missing("openid.issuer", &format!("it is not set, but {other} is"));
            }
        }

        return None;
    }

    for (needed, why) in [
        ("openid.client_id", "openid.issuer is set, but not this"),
        ("openid.user_id", "openid.issuer is set, but not this"),
        (
            "public_url",
            "openid.issuer is set, and the provider has to send people back to this address",
        ),
    ] {
        if !layers.is_set(needed) {
            layers.missing(needed, why);
        }
    }

    let is_bare = |user_id: &ClaimTemplate| user_id.text == format!("{{{}}}", user_id.claim);
    if servers.is_empty() && user_id.as_ref().is_some_and(is_bare) {
        let why = "openid.user_id takes a whole Matrix id from the provider, so it has to be said \
                   of which servers";
        layers.missing("openid.servers", why);
    }

    Some(OpenIdConfig {
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        scopes,
        user_id: user_id?,
        servers,
        name: name?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$4uj3QnbUSEvCcmMuLw+KjPbKQqGsWlmx\
                        +SAjUkLc8+k";

    fn load(settings: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
        let settings = settings
            .iter()
            .map(|(name, value)| (format!("CALLSCOPE_{name}"), (*value).to_owned()));

        Config::load(None, settings)
    }

    const OPENID: [(&str, &str); 4] = [
        ("OPENID_ISSUER", "https://auth.example.org"),
        ("OPENID_CLIENT_ID", "callscope"),
        ("OPENID_USER_ID", "@{preferred_username}:example.org"),
        ("PUBLIC_URL", "https://calls.example.org"),
    ];

    #[test]
    fn a_provider_is_checked_and_its_secret_is_not_shown() {
        let mut settings = OPENID.to_vec();
        settings.push(("OPENID_CLIENT_SECRET", "hunter2"));
        let access = load(&settings).unwrap().access;
        assert!(!format!("{access:?}").contains("hunter2"));
        let openid = access.openid.unwrap();
        // Not with a slash at its end: it must be as the provider writes it.
        assert_eq!(openid.issuer, "https://auth.example.org");
        assert_eq!(openid.scopes, ["profile"]);
        assert_eq!(openid.user_id.claim, "preferred_username");
        assert_eq!(openid.name, "OpenID Connect");

        for (name, wrong) in [
            ("OPENID_ISSUER", "http://auth.example.org"),
            ("OPENID_ISSUER", "https://auth.example.org/?a=b"),
            ("OPENID_ISSUER", "auth.example.org"),
            ("OPENID_USER_ID", "@alice:example.org"),
            ("OPENID_USER_ID", "{a}{b}"),
            ("OPENID_USER_ID", "{a}:example.org"),
            ("OPENID_USER_ID", "@{}:example.org"),
            ("OPENID_USER_ID", "@{a:example.org"),
            ("OPENID_USER_ID", "@alice:{a}"),
        ] {
            let mut settings = OPENID.to_vec();
            settings.push((name, wrong));
            let said = fault(&settings);
            assert!(
                said.contains(&format!("CALLSCOPE_{name}")) && said.contains(". Write "),
                "{wrong}: {said}"
            );
        }

        for missing in [1, 2, 3] {
            let mut settings = OPENID.to_vec();
            let (name, _) = settings.remove(missing);
            let said = fault(&settings);
            assert!(said.contains(&format!("CALLSCOPE_{name}")), "{said}");
        }

        // A claim that is a whole id could be one of any server.
        let mut settings = OPENID.to_vec();
        settings.push(("OPENID_USER_ID", "{matrix_id}"));
        let said = fault(&settings);
        assert!(said.contains("CALLSCOPE_OPENID_SERVERS"), "{said}");
        settings.push(("OPENID_SERVERS", "example.org"));
        let openid = load(&settings).unwrap().access.openid.unwrap();
        assert_eq!(openid.servers, ["example.org"]);

        assert!(fault(&OPENID[1..]).contains("CALLSCOPE_OPENID_ISSUER"));
    }

    fn fault(settings: &[(&str, &str)]) -> String {
        load(settings).unwrap_err().to_string()
    }

    #[test]
    fn only_this_machine_may_come_unasked() {
        let none = load(&[]).unwrap().access;
        for own in [
            "127.0.0.1:8080",
            "127.9.9.9:1",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(none.check_exposure(own.parse().unwrap()).is_ok(), "{own}");
        }

        for open in [
            "0.0.0.0:8080",
            "[::]:8080",
            "192.0.2.7:80",
            "10.0.0.1:80",
            "[fe80::1]:80",
        ] {
            let faults = none.check_exposure(open.parse().unwrap()).unwrap_err();
            let said = faults.to_string();
            for way in [
                "operator_password_hash",
                "callscope passwd",
                "trusted_proxies",
                "open_to_everybody = true",
                "127.0.0.1:",
            ] {
                assert!(said.contains(way), "{said}");
            }
        }

        let everywhere = "0.0.0.0:8080".parse().unwrap();
        let proxy = ("TRUSTED_PROXIES", "10.0.0.1");
        let ways: [&[(&str, &str)]; 3] = [
            &[("OPERATOR_PASSWORD_HASH", HASH)],
            &[proxy, ("PROXY_USER_HEADER", "Remote-User")],
            &[("OPEN_TO_EVERYBODY", "true")],
        ];
        for way in ways {
            let access = load(way).unwrap().access;
            assert!(access.check_exposure(everywhere).is_ok(), "{way:?}");
        }

        let access = load(&OPENID).unwrap().access;
        assert!(access.check_exposure(everywhere).is_ok());
        let access = load(&[("SIGN_IN_BY_CODE", "true")]).unwrap().access;
        assert!(access.check_exposure(everywhere).is_ok());

        // A proxy that names nobody lets everybody through.
        let access = load(&[proxy]).unwrap().access;
        assert!(access.check_exposure(everywhere).is_err());
    }

    #[test]
    fn a_password_is_no_hash_and_is_not_repeated() {
        for wrong in [
            "hunter2",
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$4uj3QnbUSEvCcmMuLw+KjPbKQqGsWlmx+SAjUkLc8+k",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
            "$2y$10$abcdefghijklmnopqrstuv",
        ] {
            let said = fault(&[("OPERATOR_PASSWORD_HASH", wrong)]);
            assert!(said.contains("callscope passwd"), "{said}");
            assert!(!said.contains(wrong), "{said}");
        }

        let config = load(&[("OPERATOR_PASSWORD_HASH", HASH)]).unwrap();
        assert!(!format!("{config:?}").contains("argon2id"));
    }

    #[test]
    fn proxies_headers_and_ids_are_checked() {
        let good = load(&[
            ("TRUSTED_PROXIES", "127.0.0.1, 10.1.2.3/8 fd00::/8"),
            ("PROXY_USER_HEADER", "Remote-User"),
            ("PROXY_USER_ID", "@{user}:example.org"),
            ("OPERATORS", "@admin:example.org"),
        ]);
        let access = good.unwrap().access;
        let networks: Vec<String> = access
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(networks, ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]);
        assert_eq!(access.proxy_user_header, "Remote-User");

        for (name, wrong) in [
            ("TRUSTED_PROXIES", "proxy.example"),
            ("TRUSTED_PROXIES", "0.0.0.0/0"),
            ("TRUSTED_PROXIES", "10.0.0.0/33"),
            ("PROXY_USER_HEADER", "Remote User"),
            ("PROXY_USER_HEADER", "Cookie"),
            ("PROXY_USER_ID", "@bob:example.org"),
            ("PROXY_USER_ID", "{user}:example.org"),
            ("PROXY_USER_ID", "@alice:{user}"),
            ("PROXY_USER_ID", "@{user}{user}:example.org"),
            ("OPERATORS", "admin"),
        ] {
            let said = fault(&[(name, wrong)]);
            assert!(
                said.contains(&format!("CALLSCOPE_{name}")) && said.contains(". Write "),
                "{name}: {said}"
            );
        }
    }
}
