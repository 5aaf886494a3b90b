//! Where a member's media flows: the transports a member event names (their old name is foci).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// URLs longer than this are not kept: no real one is, and they come from strangers.
const URL_MAX: usize = 2048;

/// One transport of a member, as it stated it. The URL is a stranger's text: shown, and asked by nobody but the guarded probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transport {
    /// `livekit` in every client known today.
    #[serde(rename = "type")]
    pub kind: String,
    /// Base URL of the `LiveKit` JWT service, normalised (no trailing `/`, host in lower case).
    pub service_url: Option<String>,
}

/// Which transport of several is used (MATRIXRTC.md section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The member publishes on its own first transport.
    MultiSfu,
    /// The member uses the first transport of the oldest active member of the slot.
    OldestMembership,
    /// Stated by nobody, or a word we do not know: not determinable.
    Unknown,
}

impl Selection {
    /// The word as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MultiSfu => "multi_sfu",
            Self::OldestMembership => "oldest_membership",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the word of `focus_active.focus_selection` or of the database.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "multi_sfu" => Self::MultiSfu,
            "oldest_membership" => Self::OldestMembership,
            _ => Self::Unknown,
        }
    }
}

/// The first usable transport of a JSON array of transports.
#[must_use]
pub fn first(list: Option<&Value>) -> Option<Transport> {
    list?.as_array()?.iter().find_map(parse)
}

fn parse(value: &Value) -> Option<Transport> {
    let kind = value.get("type")?.as_str()?;
    let url = value.get("livekit_service_url").and_then(Value::as_str);
    Some(Transport {
        kind: kind.chars().take(64).collect(),
        service_url: url.filter(|text| text.len() <= URL_MAX).map(normalise),
    })
}

/// Strips a trailing `/` and lowers scheme and host, so that one service is one text.
#[must_use]
pub fn normalise(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{}://{}{path}", scheme.to_lowercase(), host.to_lowercase())
}

/// One stay, as far as it decides which transport is used: from, until (ms), what it names, how it selects.
pub type Stay = (i64, i64, Option<Transport>, Selection);

/// The transport that each member uses: its own first one, or with `oldest_membership` what the oldest
/// member of the slot that was active at its join uses (matrix-js-sdk `getTransport`).
#[must_use]
pub fn in_use(stays: &[Stay]) -> Vec<Option<Transport>> {
    let mut order: Vec<usize> = (0..stays.len()).collect();
    order.sort_by_key(|&at| (stays[at].0, at));
    let mut used: Vec<Option<Transport>> = vec![None; stays.len()];
    // The oldest active member, found in one pass: those that have gone are dropped from the front.
    let mut active: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    for at in order {
        let (joined, _, own, selection) = &stays[at];
        while active
            .front()
            .is_some_and(|&oldest| stays[oldest].1 <= *joined)
        {
            active.pop_front();
        }
        used[at] = match (selection, active.front()) {
            (Selection::MultiSfu, _) | (Selection::OldestMembership, None) => own.clone(),
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
            normalise("HTTPS://Rtc.A.example/LiveKit/jwt/"),
            "https://rtc.a.example/LiveKit/jwt"
        );
        assert_eq!(normalise("not a url"), "not a url");
    }

    #[test]
    fn the_first_usable_transport_counts() {
        let list =
            json!([null, {"type": 3}, {"type": "livekit", "livekit_service_url": "https://a/"}]);
        let found = first(Some(&list)).unwrap();
        assert_eq!(found.service_url.as_deref(), Some("https://a"));
    }

    #[test]
    fn the_oldest_member_decides_for_those_who_follow_it() {
        let sfu = |url: &str| {
            Some(Transport {
                kind: "livekit".into(),
                service_url: Some(url.into()),
            })
        };
        let stays = [
            (0, 50, sfu("a"), Selection::OldestMembership),
            (10, 90, sfu("b"), Selection::OldestMembership),
            (20, 90, sfu("c"), Selection::MultiSfu),
            (60, 90, sfu("d"), Selection::OldestMembership),
            (95, 99, sfu("e"), Selection::OldestMembership),
        ];
        let urls: Vec<_> = in_use(&stays)
            .into_iter()
            .map(|t| t.unwrap().service_url.unwrap())
            .collect();
        assert_eq!(urls, ["a", "a", "c", "a", "e"]);
    }
}
