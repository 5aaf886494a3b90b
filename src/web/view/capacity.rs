//! How many people are in calls at once, in all and on each SFU, and whose SFU carries whose time,
//! as pages and JSON show it.

use super::Stamp;
use super::format as f;
use crate::rtc::occupancy::Occupancy;
use serde::Serialize;
use utoipa::ToSchema;

/// The most rows of a table on a page; the JSON has more.
const ROWS_SHOWN: usize = 6;

/// How many people were in calls at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct AtOnceFacts {
    /// The most, and when that was first so; null if nobody was there.
    pub peak: i64,
    pub peak_ms: Option<i64>,
    pub peak_at: Option<Stamp>,
    /// In 95 % of the time in which somebody was there, no more than this.
    pub p95: i64,
    /// How long somebody was there.
    pub busy_ms: i64,
}

impl From<Occupancy> for AtOnceFacts {
    fn from(found: Occupancy) -> Self {
        Self {
            peak: found.peak,
            peak_ms: found.peak_ms,
            peak_at: found.peak_ms.map(Stamp),
            p95: found.p95,
            busy_ms: found.busy_ms,
        }
    }
}

/// How many people were in calls at once within a step of the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct AtOnceStep {
    pub from_ms: i64,
    pub from_at: Stamp,
    #[serde(flatten)]
    pub people: AtOnceFacts,
}

/// What one SFU, or all SFUs of one owner, had in a period.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct SfuLoad {
    /// The host of the SFU; null in the list of owners.
    pub sfu: Option<String>,
    /// The homeserver that runs it: the one under whose name it is, or the only one that publishes
    /// it. Null if nothing tells.
    pub owner: Option<String>,
    #[serde(flatten)]
    pub people_at_once: AtOnceFacts,
    /// Distinct people in the period, and calls; of an owner, those of each SFU added up.
    pub people: usize,
    pub calls: usize,
    /// Device time; and the part in which the devices were heard.
    pub together_ms: i64,
    pub together_seen_ms: i64,
}

/// The time for which the people of a server were on SFUs of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CarriedFacts {
    /// The homeserver of the people.
    pub server: String,
    /// Whose SFU it was; null if nothing tells. Then `sfu` says which one.
    pub owner: Option<String>,
    pub sfu: Option<String>,
    /// Device time in which the devices were heard.
    pub seen_ms: i64,
}

/// How large an SFU must be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct CapacityFacts {
    /// There are too many stays in the period: all of this is empty.
    pub is_too_many: bool,
    /// People in calls at once, without devices that were no longer heard; and with them.
    pub people_at_once: AtOnceFacts,
    pub with_ghosts: AtOnceFacts,
    /// Device time in calls without them, and with them.
    pub device_time_ms: i64,
    pub device_time_with_ghosts_ms: i64,
    /// The same for each step of the period, without ghosts.
    pub steps: Vec<AtOnceStep>,
    /// The SFUs with most people at once, at most 50.
    pub sfus: Vec<SfuLoad>,
    /// Those who run them, at most 50.
    pub owners: Vec<SfuLoad>,
    /// Whose people were on whose SFUs, most time first, at most 100.
    pub carried: Vec<CarriedFacts>,
    pub carried_total: usize,
    /// Device time on SFUs that are known, in all rows; and the part of it on SFUs of the people's
    /// own server.
    pub carried_seen_ms: i64,
    pub own_seen_ms: i64,
}

impl SfuLoad {
    /// What it is called.
    #[must_use]
    pub fn title(&self) -> &str {
        let name = self.sfu.as_deref().or(self.owner.as_deref());
        name.unwrap_or_default()
    }

    /// The page of the SFU, or of its owner.
    #[must_use]
    pub fn href(&self) -> String {
        match (&self.sfu, &self.owner) {
            (Some(sfu), _) => format!("/transports/{}", f::path_segment(sfu)),
            (None, Some(owner)) => format!("/servers/{}", f::path_segment(owner)),
            (None, None) => "/transports".to_owned(),
        }
    }
}

impl CarriedFacts {
    /// Whose SFU it was, or its host.
    #[must_use]
    pub fn carrier(&self) -> &str {
        let name = self.owner.as_deref().or(self.sfu.as_deref());
        name.unwrap_or_default()
    }

    /// The page of whose SFU it was, or of the SFU.
    #[must_use]
    pub fn carrier_href(&self) -> String {
        match &self.owner {
            Some(owner) => format!("/servers/{}", f::path_segment(owner)),
            None => format!("/transports/{}", f::path_segment(self.carrier())),
        }
    }

    /// Was it the server's own SFU?
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.owner.as_deref() == Some(&self.server)
    }
}

impl CapacityFacts {
    /// Was anybody in a call?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.people_at_once.peak == 0 && self.with_ghosts.peak == 0
    }

    /// The first SFUs; the JSON has more.
    #[must_use]
    pub fn top_sfus(&self) -> &[SfuLoad] {
        &self.sfus[..self.sfus.len().min(ROWS_SHOWN)]
    }

    /// The first rows of whose SFU carried whose time.
    #[must_use]
    pub fn top_carried(&self) -> &[CarriedFacts] {
        &self.carried[..self.carried.len().min(ROWS_SHOWN)]
    }

    /// The share of the time that people spent on SFUs of their own server, percent; `None` if no
    /// SFU is known.
    #[must_use]
    pub fn own_percent(&self) -> Option<i64> {
        let all_ms = self.carried_seen_ms;

        (all_ms > 0).then(|| self.own_seen_ms.saturating_mul(100) / all_ms)
    }

    /// How many people an SFU must carry, in a sentence.
    #[must_use]
    pub fn answer(&self) -> String {
        let at_once = self.people_at_once;
        let most = f::count_with_noun(at_once.peak, "person was", "people were");
        if at_once.peak == at_once.p95 {
            return format!("At most {most} seen in calls at once.");
        }

        format!(
            "At most {most} seen in calls at once; in 95 % of the time with anybody in a call it \
             was {} or fewer.",
            f::group_digits(at_once.p95)
        )
    }
}
