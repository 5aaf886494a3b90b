//! Probes other servers and SFUs for readiness: public requests, to addresses that strangers named.
//!
//! Only https, only addresses of the public Internet (`guard.rs`), no redirects, no proxy, no
//! cookies, no token, short timeouts, small answers. An answer is only a claim, and its size is
//! limited. The server check ([`super::server_check`]) has three exceptions: it follows a few
//! redirects of documents through the same guard, it may ask private addresses if our own
//! homeserver is in a private network, and it requests a token of the SFUs of our own homeserver.

use super::error::{Error, Result};
use super::guard::{FixedResolver, NotPublic, PublicResolver, is_private_address, is_public};
use super::wire::one_line;
pub use crate::rtc::probe_answer::ProbeAnswer;
pub use crate::rtc::server_check::{PublishedWellKnown, ServerFeatures};
use crate::rtc::transport::normalise_url;
use crate::tls::{describe_setup_failure, trust_authorities};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use url::{Host, Url};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of an answer, bytes, decompressed.
const BODY_MAX: usize = 64 * 1024;
/// Maximum transports of one server, and maximum characters of an address.
const FOCI_MAX: usize = 16;
const URL_MAX: usize = 500;
/// The names of the list of transports, the specified one first (MSC4158 and its drafts).
const FOCI: [&str; 3] = [
    "m.rtc_foci",
    "org.matrix.msc4158.rtc_foci",
    "org.matrix.msc4143.rtc_foci",
];

/// The result of probing an SFU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SfuProbe {
    /// How long the answer took, ms.
    pub health: ProbeAnswer<u64>,
}

/// Which addresses a prober may contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Addresses of the public Internet, by https.
    Public,
    /// Every address, also by http: the homeserver itself is in a private network.
    Everywhere,
    /// In tests: one address, without TLS, whatever was named.
    Towards(SocketAddr),
}

/// Sends the probes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prober {
    http: reqwest::Client,
    /// For handshakes of `WebSocket`s, which HTTP/2 does not have.
    http1: reqwest::Client,
    reach: Reach,
}

impl Prober {
    /// A prober that contacts only public addresses.
    ///
    /// # Errors
    /// The TLS set-up of this machine failed.
    pub fn new() -> Result<Self> {
        Self::with_reach(Reach::Public)
    }

    /// A prober for the homeserver at this address, which the operator named. If that is in a
    /// private network, everything that the homeserver names may be there as well, and without TLS;
    /// else only public addresses are contacted.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn for_own_server(homeserver_url: &Url) -> Result<Self> {
        if is_private_address(homeserver_url).await {
            Self::with_reach(Reach::Everywhere)
        } else {
            Self::new()
        }
    }

    /// For tests: a prober that resolves every name to this address, and uses no TLS. No setting
    /// enables this.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn towards(place: SocketAddr) -> Result<Self> {
        Self::with_reach(Reach::Towards(place))
    }

    fn with_reach(reach: Reach) -> Result<Self> {
        let builder = || {
            let builder = reqwest::Client::builder();
            match reach {
                Reach::Public => builder
                    .dns_resolver(Arc::new(PublicResolver))
                    .https_only(true),
                Reach::Everywhere => builder,
                Reach::Towards(place) => builder.dns_resolver(Arc::new(FixedResolver(place))),
            }
        };

        Ok(Self {
            http: build_http_client(builder())?,
            http1: build_http_client(builder().http1_only())?,
            reach,
        })
    }

    /// Asks the health endpoint of an SFU's service whether it is ready, and measures how long that
    /// takes. Some proxies forward only what clients need, and behind a homeserver this endpoint
    /// does not exist. Then it checks whether the endpoint for clients exists.
    pub async fn sfu(&self, service_url: &str) -> SfuProbe {
        let begun = Instant::now();
        let took = |()| u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let health = match self.ask(Method::GET, service_url, "healthz").await {
            Ok((status, _)) if status.is_success() => ProbeAnswer::Said(()),
            Ok((status, _)) if status.is_client_error() => {
                self.check_client_endpoint(service_url).await
            }
            Ok((status, _)) => ProbeAnswer::Failed(format!("it answered {status}")),
            Err(fault) => fault.into_answer(),
        };

        SfuProbe {
            health: health.map(took),
        }
    }

    /// Does the endpoint for clients exist? It answers a CORS preflight request, or says that only
    /// POST is allowed. A token is never requested.
    async fn check_client_endpoint(&self, service_url: &str) -> ProbeAnswer<()> {
        match self.ask(Method::OPTIONS, service_url, "sfu/get").await {
            Ok((status, _)) if status.is_success() => return ProbeAnswer::Said(()),
            Ok(_) => {}
            Err(fault) => return fault.into_answer(),
        }

        match self.ask(Method::GET, service_url, "sfu/get").await {
            Ok((StatusCode::METHOD_NOT_ALLOWED, _)) => ProbeAnswer::Said(()),
            Ok(_) => ProbeAnswer::Missing,
            Err(fault) => fault.into_answer(),
        }
    }

    /// Does the service of an SFU send the leave event for clients that lost their connection
    /// (`/delegate_delayed_leave`)? It does if it says that only POST is allowed. `None` if that is
    /// not known.
    pub async fn delegates(&self, service_url: &str) -> Option<bool> {
        let asked = self
            .ask(Method::GET, service_url, "delegate_delayed_leave")
            .await;

        match asked {
            Ok((StatusCode::METHOD_NOT_ALLOWED, _)) => Some(true),
            Ok((StatusCode::NOT_FOUND, _)) => Some(false),
            _ => None,
        }
    }

    /// The JSON at a path, or why there is none.
    pub(super) async fn get_json(&self, base: &str, path: &str) -> ProbeAnswer<Value> {
        json_of_answer(self.ask(Method::GET, base, path).await)
    }

    /// Asks at a path with a secret as a parameter, which is neither in errors nor in the log.
    pub(super) async fn ask_by_secret(
        &self,
        base: &str,
        path: &str,
        name: &str,
        secret: &str,
    ) -> Asked {
        let mut url = self.allowed_url(base, path)?;
        tracing::debug!(%url, "asking with a secret");
        url.query_pairs_mut().append_pair(name, secret);

        self.ask_url(Method::GET, url).await
    }

    /// Sends one request. Returns the status and the body; a body of more than [`BODY_MAX`] bytes
    /// counts as failed.
    async fn ask(&self, method: Method, base: &str, path: &str) -> Asked {
        let url = self.allowed_url(base, path)?;
        tracing::debug!(%method, %url, "probing");
        self.ask_url(method, url).await
    }

    /// Sends one request to an address that is allowed. Returns the status and the body.
    async fn ask_url(&self, method: Method, url: Url) -> Asked {
        let response = self.send_request(self.http.request(method, url)).await?;

        Ok((response.status, response.body))
    }

    /// Are only addresses of the public Internet contacted?
    pub(super) fn is_guarded(&self) -> bool {
        self.reach == Reach::Public
    }

    /// Does every request go to one address, whatever name it has? Only in tests.
    pub(super) fn is_led_to_one_address(&self) -> bool {
        matches!(self.reach, Reach::Towards(_))
    }

    /// A request to a path at this address, if it is allowed, without more headers.
    pub(super) fn request(
        &self,
        method: Method,
        base: &str,
        path: &str,
    ) -> std::result::Result<RequestBuilder, ProbeFault> {
        let url = self.allowed_url(base, path)?;
        tracing::debug!(%method, %url, "probing");

        Ok(self.http.request(method, url))
    }

    /// Like [`Self::request`], for the handshake of a WebSocket.
    pub(super) fn handshake(
        &self,
        base: &str,
        path: &str,
    ) -> std::result::Result<RequestBuilder, ProbeFault> {
        let url = self.allowed_url(base, path)?;
        tracing::debug!(%url, "probing a WebSocket");

        Ok(self.http1.request(Method::GET, url))
    }

    /// Sends one request and reads the answer; a body of more than [`BODY_MAX`] bytes counts as
    /// failed.
    pub(super) async fn send_request(
        &self,
        request: RequestBuilder,
    ) -> std::result::Result<ProbeResponse, ProbeFault> {
        let mut response = request
            .send()
            .await
            .map_err(ProbeFault::from_request_error)?;
        let mut read = ProbeResponse::without_body(&response);
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(ProbeFault::from_request_error)?
        {
            if read.body.len() + piece.len() > BODY_MAX {
                return Err(ProbeFault::Failed("its answer is too large".to_owned()));
            }

            read.body.extend_from_slice(&piece);
        }

        Ok(read)
    }

    /// Sends the handshake of a WebSocket. The body is not read: after a handshake it may have no
    /// end.
    pub(super) async fn send_handshake(
        &self,
        request: RequestBuilder,
    ) -> std::result::Result<ProbeResponse, ProbeFault> {
        let response = request
            .send()
            .await
            .map_err(ProbeFault::from_request_error)?;

        Ok(ProbeResponse::without_body(&response))
    }

    /// The URL to request, if it is allowed; else why it is not. An IP address is not resolved
    /// later, so it is checked here. Parsing has turned every way to write it into an address.
    fn allowed_url(&self, base: &str, path: &str) -> std::result::Result<Url, ProbeFault> {
        let refused = |why: &str| ProbeFault::Refused(why.to_owned());
        let mut url = Url::parse(base).map_err(|_| refused("it is no web address"))?;
        match self.reach {
            Reach::Towards(place) => {
                url = Url::parse(&format!("http://{place}{}", url.path()))
                    .map_err(|_| refused("it is no web address"))?;
            }
            Reach::Public if url.scheme() != "https" => {
                return Err(refused("it is no https address"));
            }
            Reach::Everywhere if !matches!(url.scheme(), "http" | "https") => {
                return Err(refused("it is no web address"));
            }
            Reach::Public | Reach::Everywhere => {}
        }

        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it carries a user"));
        }

        let is_public = match url.host() {
            _ if self.reach != Reach::Public => true,
            Some(Host::Ipv4(ip)) => is_public(ip.into()),
            Some(Host::Ipv6(ip)) => is_public(ip.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        };

        if !is_public {
            return Err(refused(&NotPublic.to_string()));
        }

        // Ports of other services on a host are not contacted.
        let is_other_service = url.port().is_some_and(|port| port < 1024);
        if is_other_service && self.reach == Reach::Public {
            return Err(refused("its port is one of other services"));
        }

        url.set_query(None);
        url.set_fragment(None);
        let path = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&path);

        Ok(url)
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct ProbeResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The certificate of the other side, DER.
    pub certificate: Option<Vec<u8>>,
}

impl ProbeResponse {
    /// The answer before its body.
    fn without_body(response: &reqwest::Response) -> Self {
        let certificate = response
            .extensions()
            .get::<reqwest::tls::TlsInfo>()
            .and_then(reqwest::tls::TlsInfo::peer_certificate)
            .map(<[u8]>::to_vec);

        Self {
            status: response.status(),
            headers: response.headers().clone(),
            body: Vec::new(),
            certificate,
        }
    }
}

/// The status and the body of an answer.
pub(super) type Asked = std::result::Result<(StatusCode, Vec<u8>), ProbeFault>;

/// The JSON in an answer, or why there is none.
pub(super) fn json_of_answer(asked: Asked) -> ProbeAnswer<Value> {
    match asked {
        Ok((StatusCode::NOT_FOUND, _)) => ProbeAnswer::Missing,
        Ok((status, body)) if status.is_success() => match serde_json::from_slice(&body) {
            Ok(json) => ProbeAnswer::Said(json),
            Err(_) => ProbeAnswer::Failed("its answer is no JSON".to_owned()),
        },
        Ok((status, _)) => ProbeAnswer::Failed(format!("it answered {status}")),
        Err(fault) => fault.into_answer(),
    }
}

/// The HTTP client for probes, from a builder that says which addresses are allowed: short
/// timeouts, no redirects, no proxy, and no connection that is kept.
fn build_http_client(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    trust_authorities(builder)
        .user_agent(concat!("callscope/", env!("CARGO_PKG_VERSION"), " (probe)"))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .tls_info(true)
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|error| Error::Setup(describe_setup_failure(&error)))
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ProbeFault {
    Refused(String),
    Failed(String),
}

impl ProbeFault {
    /// Why a request failed, in words: refused if the guard stopped it, else the innermost cause
    /// without the URL.
    fn from_request_error(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let timed_out = error.is_timeout();
        let mut cause: &dyn std::error::Error = &error;
        loop {
            if cause.is::<NotPublic>() {
                return Self::Refused(NotPublic.to_string());
            }

            match cause.source() {
                Some(source) => cause = source,
                None => break,
            }
        }

        let why = if timed_out {
            "no answer in time".to_owned()
        } else {
            one_line(&cause.to_string(), 200)
        };

        Self::Failed(why)
    }

    /// This fault as the answer of a probe.
    pub(super) fn into_answer<T>(self) -> ProbeAnswer<T> {
        match self {
            Self::Refused(why) => ProbeAnswer::Refused(why),
            Self::Failed(why) => ProbeAnswer::Failed(why),
        }
    }
}

/// The relevant content of a well-known document for clients. Addresses that are too long are left
/// out; a document that is no object counts as failed.
pub(super) fn read_published(json: &Value) -> ProbeAnswer<PublishedWellKnown> {
    if !json.is_object() {
        return ProbeAnswer::Failed("its well-known document is no object".to_owned());
    }

    let short = |text: &&str| text.len() <= URL_MAX;
    let foci = FOCI
        .iter()
        .find_map(|name| json.get(*name)?.as_array())
        .into_iter()
        .flatten();
    let of = |focus: &Value| {
        focus
            .get("livekit_service_url")?
            .as_str()
            .filter(short)
            .map(normalise_url)
    };

    let homeserver_url = json
        .pointer("/m.homeserver/base_url")
        .and_then(Value::as_str)
        .filter(short);
    let sfus = foci.filter_map(of).take(FOCI_MAX).collect();

    ProbeAnswer::Said(PublishedWellKnown {
        homeserver_url: homeserver_url.map(ToOwned::to_owned),
        sfus,
    })
}

/// The features that an answer of `/versions` names. A feature counts under its unstable name, with
/// or without `.stable`.
pub(super) fn read_features(json: &Value) -> ProbeAnswer<ServerFeatures> {
    if !json.get("versions").is_some_and(Value::is_array) {
        return ProbeAnswer::Failed("its answer names no versions".to_owned());
    }

    let has = |msc: &str| {
        let flag =
            |suffix: &str| json.pointer(&format!("/unstable_features/org.matrix.{msc}{suffix}"));
        ["", ".stable"]
            .iter()
            .any(|suffix| flag(suffix) == Some(&Value::Bool(true)))
    };

    ProbeAnswer::Said(ServerFeatures {
        delayed_events: has("msc4140"),
        sticky_events: has("msc4354"),
        rtc_transports: has("msc4143"),
    })
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
