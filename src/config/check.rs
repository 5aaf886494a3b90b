//! The syntax check of each key's value. Every check returns the parsed value, or what is wrong in
//! words.

use super::RoomSpec;
use super::access::ClaimTemplate;
use super::faults::quote_for_display;
use super::layers::Layers;
use crate::matrix::Secret;
use crate::rtc::words::Mode;
use argon2::password_hash::phc::PasswordHash;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use url::{Host, Url};

type Checked<T> = Result<T, String>;

/// An http(s) address without user and password.
pub(crate) fn parse_web_address(text: &str) -> Checked<Url> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        return Err(format!("{} is not a web address", quote_for_display(text)));
    };

    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address carries a user or a password".to_owned());
    }

    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{} goes on after the path",
            quote_for_display(text)
        ));
    }

    Ok(url)
}

/// The names with which addresses of pages begin.
const OWN_NAMES: &[&str] = &[
    "about",
    "admin",
    "api",
    "badge",
    "calls",
    "embed",
    "favicon.ico",
    "feed",
    "census",
    "docs",
    "feeds",
    "healthz",
    "me",
    "metrics",
    "problems",
    "people",
    "problems",
    "readyz",
    "rejected",
    "robots.txt",
    "rooms",
    "servers",
    "set-up",
    "shared",
    "sign-in",
    "sign-out",
    "static",
    "statistics",
    "stats",
    "status",
    "transports",
    "wall",
    "widget",
];

/// The public address of the pages. They may stand below a path.
pub(super) fn parse_public_url(text: &str) -> Checked<Url> {
    let mut url = parse_web_address(text)?;
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || "/-._~".contains(sign);
    if !url.path().chars().all(is_plain) || url.path().contains("//") {
        return Err(format!(
            "the path of {} may have only letters, digits and - . _ ~ between single slashes",
            quote_for_display(text)
        ));
    }

    // A proxy may take the path away or not. It must be seen which it did.
    let first = url.path_segments().and_then(|mut names| names.next());
    if let Some(taken) = first.filter(|name| OWN_NAMES.contains(name)) {
        return Err(format!(
            "{taken} is the name of a page; another path is needed"
        ));
    }

    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }

    Ok(url)
}

/// A further name of the pages: a host name, perhaps with `https://` before it. It becomes an
/// address.
pub(super) fn parse_public_name(text: &str) -> Checked<String> {
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };

    match parse_web_address(&url) {
        Ok(url) if url.path() == "/" => Ok(url.to_string()),
        _ => Err(format!("{} is not a host name", quote_for_display(text))),
    }
}

/// The origin of a web page, as browsers write it, or `*`.
pub(super) fn parse_origin(text: &str) -> Checked<String> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    let origin = url.map(|url| url.origin().ascii_serialization());
    let given = text.trim_end_matches('/');

    match origin {
        _ if text == "*" => Ok(text.to_owned()),
        Some(origin) if origin.eq_ignore_ascii_case(given) => Ok(origin),
        _ => Err(format!(
            "{} is not the origin of a web page",
            quote_for_display(text)
        )),
    }
}

/// The base URL of a homeserver.
pub(crate) fn parse_homeserver_url(text: &str) -> Checked<Url> {
    let url = parse_web_address(text)?;
    if url.path().contains("/_matrix") {
        return Err(format!(
            "{} is one of its endpoints, not its base address",
            quote_for_display(text)
        ));
    }

    Ok(url)
}

/// A full user id.
pub(crate) fn parse_user_id(text: &str) -> Checked<String> {
    // The parser lets almost any sign pass in the first part.
    let is_plain = |sign: char| !sign.is_control() && !sign.is_whitespace();
    if ruma::UserId::parse(text).is_ok() && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }

    Err(format!("{} is not a full user id", quote_for_display(text)))
}

/// Is it the hash of a password in the form that `callscope passwd` prints? The error does not
/// repeat it.
pub(super) fn check_password_hash(text: &str) -> Checked<()> {
    let hash = PasswordHash::new(text)
        .ok()
        .filter(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some());

    match hash {
        Some(_) => Ok(()),
        None => Err("it is not the argon2id hash of a password".to_owned()),
    }
}

/// The address of a proxy, or a network of them. A network of all addresses is an error.
pub(super) fn parse_proxy_network(text: &str) -> Checked<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address.to_canonical())),
        Err(_) => text.parse::<IpNet>().ok(),
    };

    let Some(network) = network.map(|network| network.trunc()) else {
        return Err(format!(
            "{} is neither an address nor a network",
            quote_for_display(text)
        ));
    };

    if network.prefix_len() == 0 {
        return Err(format!(
            "{} is every address, so that everybody could claim to be anybody",
            quote_for_display(text)
        ));
    }

    Ok(network)
}

/// The name of a header that a proxy sets and browsers do not.
pub(super) fn parse_header_name(text: &str) -> Checked<String> {
    let is_name = reqwest::header::HeaderName::from_bytes(text.as_bytes()).is_ok();
    let of_browsers = [
        "cookie",
        "host",
        "authorization",
        "origin",
        "accept",
        "user-agent",
    ];
    let is_browsers = of_browsers
        .iter()
        .any(|name| name.eq_ignore_ascii_case(text));

    if text.is_empty() || is_name && !is_browsers {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is not the name of a header of a proxy",
            quote_for_display(text)
        ))
    }
}

/// `{user}`, or a user id with `{user}` once in its name.
pub(super) fn parse_user_id_template(text: &str) -> Checked<String> {
    let is_id = |id: &str| ruma::UserId::parse(id).is_ok();
    let has_one = text.matches("{user}").count() == 1;
    // The name must not be the server.
    let is_name = !text
        .split("{user}")
        .next()
        .unwrap_or_default()
        .contains(':');
    if text == "{user}" || has_one && is_name && is_id(&text.replace("{user}", "user")) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} makes no Matrix id of a name",
            quote_for_display(text)
        ))
    }
}

/// The address of a provider of OpenID Connect, exactly as it is written. Only of this machine it
/// may be without TLS.
pub(super) fn parse_issuer(text: &str) -> Checked<String> {
    let url = parse_web_address(text)?;
    let is_own_machine = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };

    if url.scheme() == "https" || is_own_machine {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is not https, so that anybody on the way could sign in as anybody",
            quote_for_display(text)
        ))
    }
}

/// A scope that a provider of OpenID Connect is asked for.
pub(super) fn parse_scope(text: &str) -> Checked<String> {
    if text.chars().all(|sign| sign.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is not a scope", quote_for_display(text)))
    }
}

/// A claim in braces, or a user id with that once in its name.
pub(super) fn parse_claim_template(text: &str) -> Checked<ClaimTemplate> {
    let fault = || format!("{} makes no Matrix id of a claim", quote_for_display(text));
    let (before, rest) = text.split_once('{').ok_or_else(fault)?;
    let (claim, after) = rest.split_once('}').ok_or_else(fault)?;
    let has_one = ![before, claim, after].concat().contains(['{', '}']) && !claim.is_empty();
    let is_alone = before.is_empty() && after.is_empty();
    // The claim must not be the server.
    let is_name = !before.contains(':');
    let is_id = ruma::UserId::parse(format!("{before}user{after}")).is_ok();

    if has_one && (is_alone || is_name && is_id) {
        Ok(ClaimTemplate {
            claim: claim.to_owned(),
            text: text.to_owned(),
        })
    } else {
        Err(fault())
    }
}

/// A server name, with a port where needed.
pub(crate) fn parse_server_name(text: &str) -> Checked<String> {
    match ruma::ServerName::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{} is not a server name", quote_for_display(text))),
    }
}

/// The name of a server that is to be forgotten. A word without a dot is no name that anybody else
/// could not use, but for addresses and this machine.
pub(crate) fn parse_forgotten_server(text: &str) -> Checked<String> {
    let name = parse_server_name(text)?;
    let host = name.split(':').next().unwrap_or_default();
    if host.contains('.') || host.starts_with('[') || host.eq_ignore_ascii_case("localhost") {
        return Ok(name);
    }

    Err(format!(
        "{} has no dot; write the whole name of the server, such as example.org",
        quote_for_display(text)
    ))
}

/// A room id or alias, with any number of `?via=server`.
pub(crate) fn parse_room(text: &str) -> Checked<RoomSpec> {
    let (room, query) = text.split_once('?').unwrap_or((text, ""));
    if ruma::RoomOrAliasId::parse(room).is_err() {
        return Err(format!(
            "{} is neither a room id nor an alias",
            quote_for_display(room)
        ));
    }

    let mut via = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let name = part.strip_prefix("via=");
        via.push(parse_server_name(name.ok_or_else(|| {
            format!(
                "after the room {} is not via=SERVER",
                quote_for_display(part)
            )
        })?)?);
    }

    Ok(RoomSpec {
        id_or_alias: room.to_owned(),
        via,
    })
}

/// `follow` or `poll`.
pub(super) fn parse_mode(text: &str) -> Checked<Mode> {
    text.parse()
        .map_err(|_| format!("{} is not a mode", quote_for_display(text)))
}

/// A schedule in cron's form with seconds, checked by the scheduler's own parser.
pub(super) fn parse_schedule(text: &str) -> Checked<String> {
    match tokio_cron_scheduler::Job::new(text, |_, _| ()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{} is not a schedule", quote_for_display(text))),
    }
}

/// An address and a port.
pub(super) fn parse_bind_address(text: &str) -> Checked<SocketAddr> {
    text.parse()
        .map_err(|_| format!("{} is not an address with a port", quote_for_display(text)))
}

/// The path of a file.
pub(super) fn parse_file_path(text: &str) -> Checked<PathBuf> {
    if text.is_empty() {
        Err("it is empty".to_owned())
    } else {
        Ok(PathBuf::from(text))
    }
}

/// A log directive.
pub(super) fn parse_log_directive(text: &str) -> Checked<String> {
    crate::telemetry::check_directive(text).map(|()| text.to_owned())
}

/// Has this database URL a scheme that we know, with something after it? If not, that is a fault.
/// Nothing is connected. The URL is not repeated in the fault: it may carry a password.
pub(super) fn check_database_url(layers: &mut Layers, url: &Secret) -> bool {
    let known = ["sqlite:", "postgres://", "postgresql://"];
    let good = known
        .iter()
        .any(|scheme| url.expose().len() > scheme.len() && url.expose().starts_with(scheme));
    if !good {
        layers.wrong(
            "database_url",
            "it does not begin with sqlite: or postgres://, or nothing follows",
        );
    }

    good
}
