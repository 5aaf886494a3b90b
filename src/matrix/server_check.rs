//! Asks one homeserver everything that a call needs, from its name to its SFU. What follows from
//! the answers is judged elsewhere ([`crate::rtc::server_check`]).
//!
//! An account of the server makes more questions possible: its endpoint of transports, its limits,
//! and a token of its SFU. A token makes an empty room on the SFU, which closes by itself, so it is
//! requested only of our own server.

use super::error::Error;
use super::openid::base_of;
use super::probe::{
    ProbeFault, ProbeResponse, Prober, json_of_answer, read_features, read_published,
};
use super::{Client, wire::one_line};
use crate::rtc::probe_answer::ProbeAnswer;
use crate::rtc::server_check::{
    CertificateAnswer, DelayLimits, PublishedWellKnown, RoomAnswers, ServerAnswers, ServerFeatures,
    SfuAnswers, WebAnswer,
};
use crate::rtc::support::Support;
use crate::rtc::transport::offered_urls;
use reqwest::{Method, StatusCode, header};
use ruma::ServerName;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use url::Url;

/// The page from which a client in a browser could ask; a reserved name.
const ORIGIN: &str = "https://call.example";
/// Maximum SFUs of one server that are asked, of one host in a round, and of all servers in a
/// round: strangers name them.
const SFUS_MAX: usize = 4;
const SFUS_OF_HOST_MAX: usize = 4;
const SFUS_OF_ROUND_MAX: usize = 200;
/// Maximum redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// The room of which a token is requested; nobody is ever in it.
const ROOM: &str = "!callscope-check";
const DEVICE: &str = "CALLSCOPE";
const ONLY_OWN: &str = "only an account of the server may ask";

/// Our account on the homeserver that is checked.
#[derive(Debug, Clone, Copy)]
pub struct OwnAccount<'a> {
    pub client: &'a Client,
    pub user_id: &'a str,
}

/// What was seen of one server while it was asked.
#[derive(Debug, Default)]
struct Seen {
    certificates: BTreeMap<String, CertificateAnswer>,
    clock_ahead_ms: Option<i64>,
    /// What is asked now belongs to the homeserver, so its date is that of its clock.
    is_homeserver: bool,
}

impl Prober {
    /// Asks a server everything. `own` is our account if it is our own server; `rooms` is what is
    /// known of the rules of rooms; `sfus` are the answers of SFUs that were asked before, by
    /// address, and those asked now are added; `now` gives the time, ms since the Unix epoch.
    pub async fn ask_server(
        &self,
        server: &str,
        own: Option<OwnAccount<'_>>,
        rooms: Option<RoomAnswers>,
        sfus: &mut BTreeMap<String, SfuAnswers>,
        now: &(dyn Fn() -> i64 + Sync),
    ) -> ServerAnswers {
        let mut seen = Seen {
            is_homeserver: true,
            ..Seen::default()
        };
        let name = ServerName::parse(server).ok();
        let (addresses, delegated) = if let Some(name) = &name {
            (
                self.count_addresses(name.host()).await,
                self.delegated_name(name).await,
            )
        } else {
            let why = || "it is not the name of a server".to_owned();
            (ProbeAnswer::Failed(why()), ProbeAnswer::Refused(why()))
        };

        let federation_base = match (&delegated, &name) {
            (ProbeAnswer::Said(delegated), _) => base_of(delegated),
            (_, Some(name)) => base_of(name),
            (_, None) => format!("https://{server}"),
        };
        let federation = self.ask_federation(&federation_base, &mut seen, now).await;
        let signing_name = self.ask_signing_name(&federation_base).await;
        let published = self.ask_published(server, own, &mut seen, now).await;
        let client_base = published
            .answer
            .said()
            .and_then(|said| said.homeserver_url.clone())
            .or_else(|| own.map(|own| own.client.settings().homeserver_url.to_string()))
            .unwrap_or_else(|| format!("https://{}", host_of(server)));
        let versions = self.ask_versions(&client_base, own, &mut seen, now).await;
        let transports = ask_transports(own).await;
        let limits = ask_limits(own).await;
        let mut urls = transports.said().cloned().unwrap_or_default();
        for url in published
            .answer
            .said()
            .into_iter()
            .flat_map(|said| &said.sfus)
        {
            if !urls.contains(url) {
                urls.push(url.clone());
            }
        }

        seen.is_homeserver = false;
        let mut own_sfus = Vec::new();
        for url in urls.into_iter().take(SFUS_MAX) {
            if !sfus.contains_key(&url) && may_ask_one_more(sfus, &url) {
                let answers = self.ask_sfu(&url, server, own, &mut seen, now).await;
                sfus.insert(url.clone(), answers);
            }

            own_sfus.extend(sfus.get(&url).cloned());
        }

        ServerAnswers {
            server: server.to_owned(),
            is_own: own.is_some(),
            addresses,
            delegated: delegated.map(|name| name.to_string()),
            federation,
            signing_name,
            published,
            versions,
            clock_ahead_ms: seen.clock_ahead_ms,
            certificates: seen.certificates.into_values().collect(),
            transports,
            limits,
            sfus: own_sfus,
            rooms,
        }
    }

    /// Whom to tell about the server: what it publishes at its name. Our own is asked at its own
    /// address if its name has a port, as for its well-known document for clients.
    pub async fn ask_support(
        &self,
        server: &str,
        own: Option<OwnAccount<'_>>,
    ) -> ProbeAnswer<Support> {
        let host = host_of(server);
        let base = match own.filter(|_| host != server) {
            Some(own) => own.client.settings().homeserver_url.to_string(),
            None => format!("https://{host}"),
        };
        let answer = self.get_json(&base, ".well-known/matrix/support").await;

        answer.map(|json| Support::from_json(&json))
    }

    /// How many addresses a host has.
    async fn count_addresses(&self, host: &str) -> ProbeAnswer<usize> {
        if self.is_led_to_one_address() {
            return ProbeAnswer::Said(1);
        }

        let host = host.trim_start_matches('[').trim_end_matches(']');
        match tokio::net::lookup_host((host, 443)).await {
            Ok(found) => match found.count() {
                0 => ProbeAnswer::Missing,
                count => ProbeAnswer::Said(count),
            },
            Err(error) => ProbeAnswer::Failed(one_line(&error.to_string(), 200)),
        }
    }

    /// The software behind the federation API at this address.
    async fn ask_federation(
        &self,
        base: &str,
        seen: &mut Seen,
        now: &(dyn Fn() -> i64 + Sync),
    ) -> WebAnswer<String> {
        let path = "_matrix/federation/v1/version";
        let answer = self.get_seen(base, path, seen, now).await;

        answer.read(|json| {
            let text = |key: &str| {
                let value = json.get("server")?.get(key)?.as_str()?;
                Some(one_line(value, 80))
            };
            let name = text("name").unwrap_or_else(|| "it answers".to_owned());
            let software = match text("version") {
                Some(version) => format!("{name} {version}"),
                None => name,
            };

            ProbeAnswer::Said(software)
        })
    }

    /// The name that the server at this address signs with.
    async fn ask_signing_name(&self, base: &str) -> ProbeAnswer<String> {
        let answer = self.get_json(base, "_matrix/key/v2/server").await;
        answer.and_then(
            |json| match json.get("server_name").and_then(Value::as_str) {
                Some(name) => ProbeAnswer::Said(one_line(name, 255)),
                None => ProbeAnswer::Failed("its answer names no server".to_owned()),
            },
        )
    }

    /// The well-known document for clients: at the server's name, as clients ask. If nothing
    /// answers there and the name has a port, our own homeserver is asked at its own address: such
    /// names exist on test machines, and their clients are configured.
    async fn ask_published(
        &self,
        server: &str,
        own: Option<OwnAccount<'_>>,
        seen: &mut Seen,
        now: &(dyn Fn() -> i64 + Sync),
    ) -> WebAnswer<PublishedWellKnown> {
        let path = ".well-known/matrix/client";
        let host = host_of(server);
        if let Some(own) = own.filter(|_| host != server) {
            let base = own.client.settings().homeserver_url.to_string();
            return self
                .get_seen(&base, path, seen, now)
                .await
                .read(|json| read_published(&json));
        }

        self.get_seen(&format!("https://{host}"), path, seen, now)
            .await
            .read(|json| read_published(&json))
    }

    /// The features at this address of a client API. Some depend on the user, so our own server is
    /// asked with our account as well.
    async fn ask_versions(
        &self,
        base: &str,
        own: Option<OwnAccount<'_>>,
        seen: &mut Seen,
        now: &(dyn Fn() -> i64 + Sync),
    ) -> WebAnswer<ServerFeatures> {
        let path = "_matrix/client/versions";
        let mut asked = self
            .get_seen(base, path, seen, now)
            .await
            .read(|json| read_features(&json));
        let (Some(own), ProbeAnswer::Said(features)) = (own, &mut asked.answer) else {
            return asked;
        };

        if let Ok(can) = own.client.versions().await {
            *features = ServerFeatures {
                delayed_events: can.delayed_events,
                sticky_events: can.sticky_events,
                rtc_transports: can.rtc_transports,
            };
        }

        asked
    }

    /// A token service and the SFU behind it.
    async fn ask_sfu(
        &self,
        url: &str,
        server: &str,
        own: Option<OwnAccount<'_>>,
        seen: &mut Seen,
        now: &(dyn Fn() -> i64 + Sync),
    ) -> SfuAnswers {
        let health = self.sfu(url).await.health;
        let cors = self.ask_preflight(url, seen, now).await;
        let delegates_leave = match &health {
            ProbeAnswer::Said(_) => self.delegates(url).await,
            _ => None,
        };
        let token = match (own, &health) {
            (None, _) => ProbeAnswer::Refused(ONLY_OWN.to_owned()),
            (Some(own), ProbeAnswer::Said(_)) => self.ask_token(url, server, own).await,
            (Some(_), _) => ProbeAnswer::Refused("the token service does not answer".to_owned()),
        };
        let socket = match &token {
            ProbeAnswer::Said(sfu_url) => self.ask_socket(sfu_url, seen, now).await,
            ProbeAnswer::Refused(why) => ProbeAnswer::Refused(why.clone()),
            _ => ProbeAnswer::Refused("no token, which names its address".to_owned()),
        };

        SfuAnswers {
            service_url: url.to_owned(),
            health,
            cors,
            token,
            socket,
            delegates_leave,
        }
    }

    /// May a browser ask for a token? `None` if nothing answered.
    async fn ask_preflight(
        &self,
        url: &str,
        seen: &mut Seen,
        now: &(dyn Fn() -> i64 + Sync),
    ) -> Option<bool> {
        let mut cors = None;
        for path in ["sfu/get", "get_token"] {
            let request = self.request(Method::OPTIONS, url, path).ok()?;
            let request = request
                .header(header::ORIGIN, ORIGIN)
                .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
                .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type");
            let response = self.send_request(request).await;
            seen.note(url, &response, now);
            let response = response.ok()?;
            let is_allowed = response.status.is_success() && has_cors(&response);
            cors = Some(is_allowed);
            if is_allowed {
                break;
            }
        }

        cors
    }

    /// The address of the SFU, which the token service gives with a token. The token itself is
    /// dropped.
    async fn ask_token(&self, url: &str, server: &str, own: OwnAccount<'_>) -> ProbeAnswer<String> {
        let openid = match own.client.request_openid_token(own.user_id).await {
            Ok(openid) => openid,
            // That is no fault of the token service.
            Err(error) => return ProbeAnswer::Refused(openid_words(&error)),
        };
        let room = format!("{ROOM}:{server}");
        let old = json!({"room": room, "openid_token": openid, "device_id": DEVICE});
        let new = json!({
            "room_id": room,
            "slot_id": "m.call#ROOM",
            "openid_token": openid,
            "member": {
                "id": DEVICE,
                "claimed_user_id": own.user_id,
                "claimed_device_id": DEVICE,
            },
        });
        let mut answer = ProbeAnswer::Missing;
        for (path, body) in [("sfu/get", old), ("get_token", new)] {
            let request = match self.request(Method::POST, url, path) {
                Ok(request) => request,
                Err(fault) => return fault.into_answer(),
            };
            let asked = self.send_request(request.json(&body)).await;
            answer = json_of_answer(asked.map(|response| (response.status, response.body)))
                .and_then(|json| match json.get("url").and_then(Value::as_str) {
                    Some(url) => ProbeAnswer::Said(one_line(url, 500)),
                    None => ProbeAnswer::Failed("its answer names no SFU".to_owned()),
                });
            if answer != ProbeAnswer::Missing {
                break;
            }
        }

        match answer {
            ProbeAnswer::Missing => ProbeAnswer::Failed("404: not found there".to_owned()),
            answer => answer,
        }
    }

    /// The status with which an SFU answers a WebSocket handshake without a token.
    async fn ask_socket(
        &self,
        sfu_url: &str,
        seen: &mut Seen,
        now: &(dyn Fn() -> i64 + Sync),
    ) -> ProbeAnswer<u16> {
        let base = match sfu_url.split_once("://") {
            Some(("wss", rest)) => format!("https://{rest}"),
            Some(("ws", rest)) => format!("http://{rest}"),
            _ => sfu_url.to_owned(),
        };
        let request = match self.handshake(&base, "rtc") {
            Ok(request) => request,
            Err(fault) => return fault.into_answer(),
        };
        let request = request
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            // Any 16 bytes in base64: nothing is sent after the handshake.
            .header(header::SEC_WEBSOCKET_KEY, "Y2FsbHNjb3BlLWNoZWNrIQ==");
        let response = self.send_handshake(request).await;
        seen.note(&base, &response, now);
        match response {
            Ok(response) if response.status == StatusCode::NOT_FOUND => ProbeAnswer::Missing,
            Ok(response) => ProbeAnswer::Said(response.status.as_u16()),
            Err(fault) => fault.into_answer(),
        }
    }

    /// Asks for JSON as a page of another origin does, and records the certificate and the date.
    async fn get_seen(
        &self,
        base: &str,
        path: &str,
        seen: &mut Seen,
        now: &(dyn Fn() -> i64 + Sync),
    ) -> WebAnswer<Value> {
        let url = format!("{}/{path}", base.trim_end_matches('/'));
        let request = match self.request(Method::GET, base, path) {
            Ok(request) => request.header(header::ORIGIN, ORIGIN),
            Err(fault) => {
                return WebAnswer {
                    url,
                    answer: fault.into_answer(),
                    cors: None,
                };
            }
        };

        let response = self.send_request(request).await;
        seen.note(base, &response, now);
        let response = self.follow_redirects(response).await;
        let cors = match &response {
            Ok(response) if response.status.is_success() => Some(has_cors(response)),
            _ => None,
        };

        WebAnswer {
            url,
            answer: json_of_answer(response.map(|response| (response.status, response.body))),
            cors,
        }
    }
}

impl Prober {
    /// The JSON of a well-known document, also behind a few redirects.
    pub(super) async fn get_well_known(&self, base: &str, path: &str) -> ProbeAnswer<Value> {
        let response = match self.request(Method::GET, base, path) {
            Ok(request) => self.send_request(request).await,
            Err(fault) => return fault.into_answer(),
        };
        let response = self.follow_redirects(response).await;

        json_of_answer(response.map(|response| (response.status, response.body)))
    }

    /// Follows a few redirects, as clients and homeservers do. Each address passes the guard like
    /// the first one.
    async fn follow_redirects(
        &self,
        mut response: Result<ProbeResponse, ProbeFault>,
    ) -> Result<ProbeResponse, ProbeFault> {
        for _ in 0..REDIRECTS_MAX {
            let Some((base, path)) = response.as_ref().ok().and_then(redirect_of_response) else {
                break;
            };

            let request = self.request(Method::GET, &base, &path)?;
            response = self
                .send_request(request.header(header::ORIGIN, ORIGIN))
                .await;
        }

        response
    }
}

/// The address that a redirect leads to: its beginning, and the last part of its path. Only whole
/// addresses are followed.
fn redirect_of_response(response: &ProbeResponse) -> Option<(String, String)> {
    if !response.status.is_redirection() {
        return None;
    }

    let place = response.headers.get(header::LOCATION)?.to_str().ok()?;
    let url = Url::parse(place).ok()?;
    let (folder, file) = url.path().rsplit_once('/')?;
    let origin = url.origin().ascii_serialization();

    Some((format!("{origin}{folder}"), file.to_owned()))
}

impl Seen {
    /// Records the certificate, or that it was not accepted, and how far the clock is ahead.
    fn note(
        &mut self,
        base: &str,
        response: &Result<ProbeResponse, ProbeFault>,
        now: &(dyn Fn() -> i64 + Sync),
    ) {
        let origin = Url::parse(base)
            .map(|url| url.origin().ascii_serialization())
            .unwrap_or_default();
        let now_ms = now();
        let days_left = match response {
            Ok(response) => response
                .certificate
                .as_deref()
                .and_then(|der| days_left(der, now_ms))
                .map(ProbeAnswer::Said),
            Err(ProbeFault::Failed(why)) if is_about_certificate(why) => {
                Some(ProbeAnswer::Failed(certificate_words(why)))
            }
            Err(_) => None,
        };
        if let Some(days_left) = days_left {
            let url = origin.clone();
            self.certificates
                .entry(origin)
                .or_insert(CertificateAnswer { url, days_left });
        }

        let date = response.as_ref().ok().and_then(date_of_response);
        if let (true, None, Some(date_ms)) = (self.is_homeserver, self.clock_ahead_ms, date) {
            self.clock_ahead_ms = Some(date_ms - now_ms);
        }
    }
}

impl WebAnswer<Value> {
    /// The same answer, read.
    fn read<T>(self, read: impl FnOnce(Value) -> ProbeAnswer<T>) -> WebAnswer<T> {
        WebAnswer {
            url: self.url,
            answer: self.answer.and_then(read),
            cors: self.cors,
        }
    }
}

/// May another SFU be asked in this round, after those that were asked already?
fn may_ask_one_more(asked: &BTreeMap<String, SfuAnswers>, url: &str) -> bool {
    let host = |url: &str| Url::parse(url).ok()?.host_str().map(ToOwned::to_owned);
    let wanted = host(url);
    let of_host = asked.keys().filter(|known| host(known) == wanted).count();

    asked.len() < SFUS_OF_ROUND_MAX && of_host < SFUS_OF_HOST_MAX
}

/// The SFUs that our own homeserver offers to its users.
async fn ask_transports(own: Option<OwnAccount<'_>>) -> ProbeAnswer<Vec<String>> {
    let Some(own) = own else {
        return ProbeAnswer::Refused(ONLY_OWN.to_owned());
    };

    match own.client.offered_transports().await {
        Ok(Some(offered)) => ProbeAnswer::Said(offered_urls(&offered, true)),
        Ok(None) => ProbeAnswer::Missing,
        Err(error) => ProbeAnswer::Failed(one_line(&error.to_string(), 200)),
    }
}

/// The limits of delayed events for our account.
async fn ask_limits(own: Option<OwnAccount<'_>>) -> ProbeAnswer<DelayLimits> {
    let Some(own) = own else {
        return ProbeAnswer::Refused(ONLY_OWN.to_owned());
    };

    match own.client.delayed_limits().await {
        Ok(limits) => ProbeAnswer::Said(DelayLimits {
            max_delay_ms: limits.max_delay_ms,
            max_scheduled: limits.max_scheduled,
        }),
        Err(error) if error.is_unsupported() => ProbeAnswer::Missing,
        Err(error) => ProbeAnswer::Failed(one_line(&error.to_string(), 200)),
    }
}

fn openid_words(error: &Error) -> String {
    let error = one_line(&error.to_string(), 200);
    format!("the homeserver gives no OpenID token: {error}")
}

/// May a page of another origin read this answer? Browsers refuse an answer that says so twice,
/// which happens if a proxy adds the header to that of the server.
fn has_cors(response: &ProbeResponse) -> bool {
    let allowed = response
        .headers
        .get_all(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let allowed: Vec<_> = allowed
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();

    matches!(allowed[..], ["*" | ORIGIN])
}

/// The date of an answer, ms since the Unix epoch: the middle of the second that it names.
fn date_of_response(response: &ProbeResponse) -> Option<i64> {
    // A copy that a cache kept has an old date.
    if response.headers.contains_key(header::AGE) {
        return None;
    }

    let text = response.headers.get(header::DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;

    i64::try_from(since.as_millis()).ok().map(|ms| ms + 500)
}

/// Whole days until a certificate (DER) ends.
fn days_left(der: &[u8], now_ms: i64) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let until_s = certificate.validity().not_after.timestamp();

    Some((until_s - now_ms / 1000).div_euclid(86_400))
}

/// What is wrong with a certificate, in plain words where the failure is a usual one.
fn certificate_words(why: &str) -> String {
    let usual = [
        ("expired", "the certificate has expired"),
        (
            "UnknownIssuer",
            "its authority is not known on this machine",
        ),
        ("not valid for name", "the certificate is for another name"),
        ("NotValidForName", "the certificate is for another name"),
    ];
    let found = usual.iter().find(|(sign, _)| why.contains(sign));

    found.map_or_else(|| why.to_owned(), |(_, words)| (*words).to_owned())
}

/// Does this failure come from the certificate of the other side?
fn is_about_certificate(why: &str) -> bool {
    why.contains("certificate")
}

/// The host in a server's name, without its port.
fn host_of(server: &str) -> String {
    ServerName::parse(server).map_or_else(|_| server.to_owned(), |name| name.host().to_owned())
}

#[cfg(test)]
#[path = "server_check_tests.rs"]
mod tests;
