//! Finds the client API of a homeserver that the operator named: by its address, or by the name in
//! its user ids. What a document of others names is only asked if it is no place that they could
//! not reach themselves.

use super::error::Result;
use super::guard::is_private_address;
use super::login::LoginFlows;
use super::probe::{Prober, read_published};
use super::wire::one_line;
use super::{Client, Settings};
use crate::rtc::probe_answer::ProbeAnswer;
use std::time::Duration;
use url::{Host, Url};

/// Timeout of one request, and maximum size of its answer, bytes.
const TIMEOUT: Duration = Duration::from_secs(10);
const BODY_MAX: usize = 256 * 1024;
/// Timeout of everything together.
const LONGEST: Duration = Duration::from_secs(45);
/// The document at a server's name that says where its client API is.
const DOCUMENT: &str = ".well-known/matrix/client";

/// A homeserver as the operator named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedHomeserver {
    /// The address of its client API, or of the place that says where that is.
    Address(Url),
    /// Its name as in user ids, perhaps with a port.
    Name(String),
}

/// A homeserver that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundHomeserver {
    /// The base URL of its client API.
    pub url: Url,
    /// The address of the document that named it; `None` if it was asked as it was named.
    pub named_by: Option<String>,
    /// Versions of the client API, for example `v1.11`.
    pub versions: Vec<String>,
    /// Name and version of the software, if it says so.
    pub software: Option<String>,
    /// Delayed events (MSC4140).
    pub delayed_events: bool,
    /// The ways to log in; `None` if it does not say.
    pub flows: Option<LoginFlows>,
    /// A service beside it keeps its accounts, such as the Matrix Authentication Service.
    pub has_auth_service: bool,
}

impl FoundHomeserver {
    /// May a login by password be tried? Also where the homeserver does not say which it has.
    #[must_use]
    pub fn may_take_password(&self) -> bool {
        self.flows.as_ref().is_none_or(LoginFlows::offer_password)
    }
}

/// An address that was asked in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryTry {
    pub address: String,
    /// What came instead, or what to do, in words.
    pub why: String,
}

/// Finds the client API of a homeserver and asks what it can do. An address is asked itself first;
/// a name is asked for its well-known document first, then itself.
///
/// # Errors
/// All addresses that were asked, and why none of them is it.
pub async fn find_homeserver(
    named: &NamedHomeserver,
) -> std::result::Result<FoundHomeserver, Vec<DiscoveryTry>> {
    let mut search = Search::default();
    let found = tokio::time::timeout(LONGEST, search.find(named)).await;
    match found {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => {}
        Err(_) => search.add_try("everything together", "no answer in time".to_owned()),
    }

    Err(search.tries)
}

/// A search, with what was asked in vain so far.
#[derive(Debug, Default)]
struct Search {
    tries: Vec<DiscoveryTry>,
}

impl Search {
    fn add_try(&mut self, address: &str, why: String) {
        self.tries.push(DiscoveryTry {
            address: address.to_owned(),
            why,
        });
    }

    async fn find(&mut self, named: &NamedHomeserver) -> Option<FoundHomeserver> {
        match named {
            NamedHomeserver::Address(url) => {
                if let Some(found) = self.ask(url, None).await {
                    return Some(found);
                }

                // A web site whose document names another place.
                self.ask_published(&origin_of(url)).await
            }
            NamedHomeserver::Name(name) => {
                let places = places_of_name(name);
                if let Some(found) = self.ask_published(&places.site).await {
                    return Some(found);
                }

                for address in places.addresses {
                    if let Ok(url) = Url::parse(&address)
                        && let Some(found) = self.ask(&url, None).await
                    {
                        return Some(found);
                    }
                }

                None
            }
        }
    }

    /// Asks the homeserver that the document at this site names.
    async fn ask_published(&mut self, site: &str) -> Option<FoundHomeserver> {
        let prober = match prober_for(site).await {
            Ok(prober) => prober,
            Err(error) => {
                self.add_try(site, error.to_string());
                return None;
            }
        };

        self.ask_published_by(site, &prober).await
    }

    async fn ask_published_by(&mut self, site: &str, prober: &Prober) -> Option<FoundHomeserver> {
        let address = format!("{}/{DOCUMENT}", site.trim_end_matches('/'));
        let answer = prober.get_well_known(site, DOCUMENT).await;
        let named = match answer.and_then(|json| read_published(&json)) {
            ProbeAnswer::Said(published) => published.homeserver_url,
            ProbeAnswer::Missing => {
                self.add_try(&address, "there is no such document".to_owned());
                return None;
            }
            ProbeAnswer::Failed(why) | ProbeAnswer::Refused(why) => {
                self.add_try(&address, why);
                return None;
            }
        };

        let Some(named) = named else {
            self.add_try(&address, "the document names no homeserver".to_owned());
            return None;
        };

        match check_published(&named, prober.is_guarded()).await {
            Ok(url) => self.ask(&url, Some(address)).await,
            Err(why) => {
                self.add_try(&address, why);
                None
            }
        }
    }

    /// Asks the client API at an address what it can do.
    async fn ask(&mut self, url: &Url, named_by: Option<String>) -> Option<FoundHomeserver> {
        match ask_client_api(url, named_by).await {
            Ok(found) => Some(found),
            Err(error) => {
                self.add_try(url.as_str().trim_end_matches('/'), error.to_string());
                None
            }
        }
    }
}

/// A prober that contacts what a document at this site names: private addresses only if the site is
/// at a private one itself.
async fn prober_for(site: &str) -> Result<Prober> {
    match Url::parse(site) {
        Ok(url) => Prober::for_own_server(&url).await,
        Err(_) => Prober::new(),
    }
}

/// What the client API at an address says of itself.
async fn ask_client_api(url: &Url, named_by: Option<String>) -> Result<FoundHomeserver> {
    let client = Client::new(Settings {
        request_timeout: TIMEOUT,
        max_body_bytes: BODY_MAX,
        ..Settings::new(url.clone())
    })?;
    let can = client.versions().await?;
    let flows = client.login_flows().await?;
    let is_flagged = flows.as_ref().is_some_and(|flows| flows.has_auth_service);
    let takes_password = flows.as_ref().is_none_or(LoginFlows::offer_password);
    let has_auth_service = is_flagged || (!takes_password && client.has_auth_service().await);

    Ok(FoundHomeserver {
        url: url.clone(),
        named_by,
        versions: can.versions,
        software: can.software,
        delayed_events: can.delayed_events,
        flows,
        has_auth_service,
    })
}

/// The address in a document, if it may be asked. `is_guarded`: the document came from the public
/// Internet, so it must not lead into the network of this machine, nor to a place without TLS.
async fn check_published(named: &str, is_guarded: bool) -> std::result::Result<Url, String> {
    let shown = one_line(named, 200);
    let url = Url::parse(named).ok().filter(|url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        let has_more = url.query().is_some() || url.fragment().is_some();
        matches!(url.scheme(), "http" | "https") && !has_user && !has_more
    });
    let Some(url) = url else {
        return Err(format!(
            "it names {shown}, which is no address of a homeserver"
        ));
    };

    if is_guarded && url.scheme() != "https" {
        return Err(format!("it names {shown}, which is not https"));
    }

    if is_guarded && is_private_address(&url).await {
        return Err(format!(
            "it names {shown}, which is in a private network, so it was not asked. If that is \
             your homeserver, enter this address"
        ));
    }

    Ok(url)
}

/// Where the homeserver of a name may be found.
#[derive(Debug)]
struct NamePlaces {
    /// Where its document is.
    site: String,
    /// The addresses at which it may be itself.
    addresses: Vec<String>,
}

/// Where the homeserver of this name may be found. Only on this machine it may be without TLS.
fn places_of_name(name: &str) -> NamePlaces {
    let own = format!("https://{name}");
    let url = Url::parse(&own).ok();
    let host = url
        .as_ref()
        .and_then(Url::host_str)
        .unwrap_or(name)
        .to_owned();
    let site = format!("https://{host}");
    let mut addresses = vec![own];
    if !addresses.contains(&site) {
        addresses.push(site.clone());
    }

    if url.is_some_and(|url| is_loopback(&url)) {
        addresses.push(format!("http://{name}"));
    }

    NamePlaces { site, addresses }
}

/// Does this address name this machine?
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn origin_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Reply, Stub, json_reply, reply_of_type, reply_with};
    use super::*;
    use serde_json::json;

    /// What a homeserver answers to the three questions of a search.
    fn answers(flows: &serde_json::Value) -> Vec<Reply> {
        vec![
            json_reply(200, &json!({"versions": ["v1.11", "v1.12"]})),
            json_reply(
                200,
                &json!({"server": {"name": "Synapse", "version": "1.2"}}),
            ),
            json_reply(200, &json!({"flows": flows})),
        ]
    }

    fn address(stub: &Stub) -> NamedHomeserver {
        NamedHomeserver::Address(stub.url.parse().unwrap())
    }

    #[tokio::test]
    async fn an_address_is_asked_itself() {
        let stub = Stub::start(answers(&json!([{"type": "m.login.password"}])));
        let found = find_homeserver(&address(&stub)).await.unwrap();
        assert_eq!(found.url.as_str().trim_end_matches('/'), stub.url);
        assert_eq!(found.named_by, None);
        assert_eq!(found.versions, ["v1.11", "v1.12"]);
        assert_eq!(found.software.as_deref(), Some("Synapse 1.2"));
        assert!(found.may_take_password() && !found.has_auth_service);
    }

    #[tokio::test]
    async fn a_service_that_keeps_accounts_is_found_in_either_way() {
        let flagged = json!([{"type": "m.login.sso",
            "org.matrix.msc3824.delegated_oidc_compatibility": true}]);
        let stub = Stub::start(answers(&flagged));
        let found = find_homeserver(&address(&stub)).await.unwrap();
        assert!(!found.may_take_password() && found.has_auth_service);

        let mut replies = answers(&json!([{"type": "m.login.token"}]));
        replies.push(json_reply(
            404,
            &json!({"errcode": "M_UNRECOGNIZED", "error": "x"}),
        ));
        replies.push(json_reply(200, &json!({"issuer": "https://auth.example/"})));
        let stub = Stub::start(replies);
        let found = find_homeserver(&address(&stub)).await.unwrap();
        assert!(!found.may_take_password() && found.has_auth_service);
        let last = stub.requests().pop().unwrap();
        assert!(last.contains("/org.matrix.msc2965/auth_metadata"), "{last}");
    }

    #[tokio::test]
    async fn a_web_site_leads_to_its_homeserver() {
        let homeserver = Stub::start(answers(&json!([{"type": "m.login.password"}])));
        let page = || reply_of_type(200, "text/html", "<h1>welcome</h1>");
        let document = json!({"m.homeserver": {"base_url": homeserver.url}});
        let site = Stub::start(vec![page(), json_reply(200, &document)]);
        let found = find_homeserver(&address(&site)).await.unwrap();
        assert_eq!(found.url.as_str().trim_end_matches('/'), homeserver.url);
        let document = format!("{}/.well-known/matrix/client", site.url);
        assert_eq!(found.named_by, Some(document));
    }

    #[tokio::test]
    async fn what_is_no_homeserver_says_what_was_asked() {
        let page = || reply_of_type(200, "text/html", "<h1>welcome</h1>");
        let site = Stub::start(vec![page(), page()]);
        let tries = find_homeserver(&address(&site)).await.unwrap_err();
        assert_eq!(tries.len(), 2, "{tries:?}");
        assert_eq!(tries[0].address, site.url);
        assert!(tries[0].why.contains("not Matrix"), "{tries:?}");
        assert!(tries[1].why.contains("no JSON"), "{tries:?}");
    }

    #[tokio::test]
    async fn no_redirect_and_no_endless_answer_is_followed() {
        let other = Stub::start(vec![]);
        let away = format!("Location: {}/_matrix/client/versions\r\n", other.url);
        let site = Stub::start(vec![
            reply_with(302, &away, ""),
            json_reply(404, &json!({})),
        ]);
        let tries = find_homeserver(&address(&site)).await.unwrap_err();
        assert!(tries[0].why.contains("another place"), "{tries:?}");
        assert!(other.requests().is_empty());

        let site = Stub::start(vec![Reply::Endless, Reply::Endless]);
        let tries = find_homeserver(&address(&site)).await.unwrap_err();
        assert!(tries[0].why.contains("larger than"), "{tries:?}");
        assert!(tries[1].why.contains("too large"), "{tries:?}");
    }

    #[tokio::test]
    async fn a_document_from_outside_does_not_lead_inside() {
        for (named, sign) in [
            ("https://10.0.0.7", "private network"),
            ("https://localhost:8448/", "private network"),
            ("http://1.1.1.1", "not https"),
            ("file:///etc/passwd", "no address"),
            ("https://a:b@1.1.1.1", "no address"),
            ("https://1.1.1.1/?a=b", "no address"),
            ("\u{202e}", "no address"),
        ] {
            let why = check_published(named, true).await.unwrap_err();
            assert!(why.contains(sign), "{named}: {why}");
        }

        assert!(check_published("https://1.1.1.1", true).await.is_ok());
        // What is in a private network itself may name its neighbours.
        assert!(check_published("http://10.0.0.7:8008", false).await.is_ok());
    }

    #[tokio::test]
    async fn a_document_behind_a_redirect_counts() {
        let homeserver = Stub::start(answers(&json!([{"type": "m.login.password"}])));
        let document = json!({"m.homeserver": {"base_url": homeserver.url}});
        let www = Stub::start(vec![json_reply(200, &document)]);
        let away = format!("Location: {}/{DOCUMENT}\r\n", www.url);
        let site = Stub::start(vec![reply_with(301, &away, "")]);
        let prober = prober_for(&site.url).await.unwrap();
        let mut search = Search::default();
        let found = search.ask_published_by(&site.url, &prober).await;
        assert_eq!(
            found.unwrap().url.as_str().trim_end_matches('/'),
            homeserver.url
        );
    }

    #[test]
    fn a_name_is_asked_by_tls_and_only_here_without() {
        let of = |name: &str| places_of_name(name).addresses;
        assert_eq!(of("example.org"), ["https://example.org"]);
        assert_eq!(
            of("example.org:8448"),
            ["https://example.org:8448", "https://example.org"]
        );
        assert_eq!(
            of("localhost:8008"),
            [
                "https://localhost:8008",
                "https://localhost",
                "http://localhost:8008"
            ]
        );
        assert_eq!(places_of_name("[::1]:8008").site, "https://[::1]");
    }
}
