//! Transports: where a member's media is sent, as its member event states (old name: foci).

use super::id::hash;
use super::words::words;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Maximum length of a stored URL, bytes. No real one is longer, and they come from strangers.
const URL_MAX: usize = 2048;

/// One transport of a member, as it stated it. The URLs are a stranger's text: shown, and asked by
/// nobody but the guarded probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transport {
    /// `livekit` in every client known today; `m.livekit` is the same.
    #[serde(rename = "type")]
    pub kind: String,
    /// Base URL of the `LiveKit` JWT service, normalised (no trailing `/`, host in lower case).
    pub service_url: Option<String>,
    /// The SFU's own address, where that is stated instead (MSC4195 since 2026-08), normalised
    /// alike.
    #[serde(default)]
    pub url: Option<String>,
    /// What tells SFUs apart: the host of `service_url`, else of `url`, else the member's
    /// homeserver.
    #[serde(default)]
    pub sfu: Option<String>,
}

/// The type of `LiveKit` transports, and what MSC4195 has called it since 2026-08.
const LIVEKIT: [&str; 2] = ["livekit", "m.livekit"];

impl Transport {
    /// A transport as stored, with one address: either that of the JWT service, or, if its scheme
    /// is `ws` or `wss`, that of the SFU itself.
    #[must_use]
    pub fn stored(kind: String, address: Option<String>, server: &str) -> Self {
        let is_own = address
            .as_deref()
            .is_some_and(|text| text.starts_with("ws"));
        let (service_url, url) = if is_own {
            (None, address)
        } else {
            (address, None)
        };

        let transport = Self {
            kind,
            service_url,
            url,
            sfu: None,
        };

        transport.of_member(server)
    }

    /// The same transport with its SFU key, for a member of this homeserver. The key is the host of
    /// the stated address; without one it is the homeserver, for `LiveKit` only.
    #[must_use]
    pub fn of_member(self, server: &str) -> Self {
        let own = || (self.kind == LIVEKIT[0]).then(|| server.to_lowercase());
        let sfu = self.stated().map(host_of_url).or_else(own);
        Self { sfu, ..self }
    }

    /// The address that it states: that of the JWT service, else that of the SFU itself.
    #[must_use]
    pub fn stated(&self) -> Option<&str> {
        self.service_url.as_deref().or(self.url.as_deref())
    }

    /// The name of its SFU: the stated address, else its key.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.stated().or(self.sfu.as_deref())
    }
}

/// The host of an address in lower case, without user and port. If the text is not a URL, its part
/// before the first `/`, `?` or `#`.
#[must_use]
pub fn host_of_url(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    let port = place.rfind(':').filter(|at| !place[*at..].contains(']'));

    place[..port.unwrap_or(place.len())].to_lowercase()
}

words! {
    /// How a client chooses among several transports (docs/matrixrtc.md section 13).
    pub enum Selection {
        /// The member publishes on its own first transport.
        MultiSfu = "multi_sfu",
        /// The member uses the first transport of the oldest active member of the slot.
        OldestMembership = "oldest_membership",
        /// Not stated, or an unknown word: not determinable.
        Unknown = "unknown",
    }
}

impl Selection {
    /// The selection of a word of `focus_active.focus_selection` or of the database.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        word.parse().unwrap_or(Self::Unknown)
    }
}

/// The first usable transport of a JSON array of transports; `None` if there is none.
#[must_use]
pub fn first_usable_transport(list: Option<&Value>) -> Option<Transport> {
    list?.as_array()?.iter().find_map(parse_transport)
}

/// Length of the hash of an alias, bytes.
const ALIAS_BYTES: usize = 8;

/// A hash of the room that the first usable transport of a JSON array names on its SFU
/// (`livekit_alias`); `None` if it names none.
#[must_use]
pub fn hash_of_alias(list: Option<&Value>) -> Option<String> {
    let transports = list?.as_array()?;
    let first = transports
        .iter()
        .find(|one| parse_transport(one).is_some())?;
    let alias = first.get("livekit_alias")?.as_str()?;

    (!alias.is_empty()).then(|| hash(&["livekit_alias", alias], ALIAS_BYTES))
}

/// The addresses of the transports that a homeserver offers, normalised, each once; those of
/// `LiveKit` only if `livekit_only`.
#[must_use]
pub fn offered_urls(offered: &[Value], livekit_only: bool) -> Vec<String> {
    let mut urls = Vec::new();
    for one in offered.iter().filter_map(parse_transport) {
        let is_wanted = !livekit_only || one.kind == LIVEKIT[0];
        let url = one.service_url.or(one.url).filter(|_| is_wanted);
        if let Some(url) = url.filter(|url| !urls.contains(url)) {
            urls.push(url);
        }
    }

    urls
}

/// One transport as a member states it, without its SFU key; `None` if it has no type. An address
/// that is too long is left out.
fn parse_transport(value: &Value) -> Option<Transport> {
    let kind = value.get("type")?.as_str()?;
    let address = |key: &str| {
        let text = value.get(key).and_then(Value::as_str);
        text.filter(|text| text.len() <= URL_MAX).map(normalise_url)
    };

    let kind = if LIVEKIT.contains(&kind) {
        LIVEKIT[0]
    } else {
        kind
    };

    Some(Transport {
        kind: kind.chars().take(64).collect(),
        service_url: address("livekit_service_url"),
        url: address("url"),
        sfu: None,
    })
}

/// The same URL without trailing `/` and with scheme and host in lower case, so that each service
/// has one text.
#[must_use]
pub fn normalise_url(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };

    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));

    format!("{}://{}{path}", scheme.to_lowercase(), host.to_lowercase())
}

/// The properties of a stay that decide which transport is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportStay {
    pub joined_ms: i64,
    pub until_ms: i64,
    /// The transport that it states; `None` if it states no usable one.
    pub transport: Option<Transport>,
    /// How it selects the one that it uses.
    pub selection: Selection,
}

/// The transport that each stay uses, in the given order; `None` if it cannot be told. It is the
/// stay's own first one. With `oldest_membership`, it is the transport of the oldest member of the
/// slot that was active when this one joined (matrix-js-sdk `getTransport`).
#[must_use]
pub fn transports_in_use(stays: &[TransportStay]) -> Vec<Option<Transport>> {
    let mut order: Vec<usize> = (0..stays.len()).collect();
    order.sort_by_key(|&at| (stays[at].joined_ms, at));
    let mut used: Vec<Option<Transport>> = vec![None; stays.len()];
    // Finds the oldest active member in one pass: members that have gone are removed from the
    // front.
    let mut active: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    for at in order {
        let stay = &stays[at];
        while active
            .front()
            .is_some_and(|&oldest| stays[oldest].until_ms <= stay.joined_ms)
        {
            active.pop_front();
        }

        used[at] = match (stay.selection, active.front()) {
            (Selection::MultiSfu, _) | (Selection::OldestMembership, None) => {
                stay.transport.clone()
            }
            (Selection::OldestMembership, Some(&oldest)) => used[oldest].clone(),
            (Selection::Unknown, _) => None,
        };

        active.push_back(at);
    }

    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_service_is_one_text() {
        assert_eq!(
            normalise_url("HTTPS://Rtc.A.example/LiveKit/jwt/"),
            "https://rtc.a.example/LiveKit/jwt"
        );
        assert_eq!(normalise_url("not a url"), "not a url");
    }

    #[test]
    fn the_first_usable_transport_counts() {
        let list =
            json!([null, {"type": 3}, {"type": "livekit", "livekit_service_url": "https://a/"}]);
        let found = first_usable_transport(Some(&list)).unwrap();
        assert_eq!(found.service_url.as_deref(), Some("https://a"));
    }

    #[test]
    fn an_sfu_is_known_by_its_host() {
        let key = |transport: &Value| {
            let transport = first_usable_transport(Some(&json!([transport]))).unwrap();
            transport.of_member("Ash.example").sfu
        };

        let service = "https://Rtc.example:8443/livekit/jwt";
        assert_eq!(
            key(&json!({"type": "livekit", "livekit_service_url": service, "url": "wss://x"})),
            Some("rtc.example".to_owned())
        );
        assert_eq!(
            key(&json!({"type": "m.livekit", "url": "wss://rtc.example"})),
            Some("rtc.example".to_owned())
        );
        assert_eq!(
            key(&json!({"type": "livekit"})),
            Some("ash.example".to_owned()),
            "the sender's server runs it"
        );
        assert_eq!(key(&json!({"type": "carrier_pigeon"})), None);
        assert_eq!(
            host_of_url("https://u:p@[2001:db8::1]:443/x"),
            "[2001:db8::1]"
        );
        let stored = Transport::stored("livekit".into(), Some("wss://rtc.example".into()), "h");
        assert_eq!(
            (stored.service_url, stored.url.as_deref()),
            (None, Some("wss://rtc.example"))
        );
    }

    #[test]
    fn the_oldest_member_decides_for_those_who_follow_it() {
        let sfu = |url: &str| Some(Transport::stored("livekit".into(), Some(url.into()), "h"));
        let stay = |joined_ms, until_ms, url, selection| TransportStay {
            joined_ms,
            until_ms,
            transport: sfu(url),
            selection,
        };
        let stays = [
            stay(0, 50, "a", Selection::OldestMembership),
            stay(10, 90, "b", Selection::OldestMembership),
            stay(20, 90, "c", Selection::MultiSfu),
            stay(60, 90, "d", Selection::OldestMembership),
            stay(95, 99, "e", Selection::OldestMembership),
        ];
        let urls: Vec<_> = transports_in_use(&stays)
            .into_iter()
            .map(|t| t.unwrap().service_url.unwrap())
            .collect();
        assert_eq!(urls, ["a", "a", "c", "a", "e"]);
    }
}
