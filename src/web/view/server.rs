//! Rooms, servers and people by their time in calls, as pages and JSON show them.

use super::format::WholeNumber;
use super::{ClockFacts, RoomRef, ServerProbeFacts, Stamp, inferred_words, person_title};
use crate::store::model::RoomName;
use crate::store::stats::distributions::{PersonRow, RanOutStay, ServerRow};
use crate::store::stats::scope::UsageSums;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Minimum number of stays for a rate.
const FEW: i64 = 30;

/// A room and the time in its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomTime {
    #[serde(flatten)]
    pub room: RoomRef,
    pub together_ms: i64,
    pub together_seen_ms: i64,
}

/// A homeserver with the sums of its people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerFacts {
    pub server: String,
    pub people: i64,
    pub calls: i64,
    pub together_ms: i64,
    pub together_seen_ms: i64,
    /// Stays that ended, and those of them that nobody ended: they only ran out.
    pub ended: i64,
    pub expired: i64,
    /// In calls now, without those that are probably gone.
    pub people_now: usize,
    pub calls_now: usize,
    /// Its devices that still count in a call though they are probably gone.
    pub ghosts_now: usize,
    /// Its clock; null for servers with little time in calls, whose clock was not computed here:
    /// see their own page.
    pub clock: Option<ClockFacts>,
    /// What it said when it was asked whether it is ready; null where it was not asked.
    pub probe: Option<ServerProbeFacts>,
}

/// A person and the time in calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PersonTime {
    pub user_id: String,
    pub name: Option<String>,
    pub together_ms: i64,
    pub together_seen_ms: i64,
}

/// A stay that nobody ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct GhostFacts {
    pub room: RoomRef,
    pub call_id: String,
    pub user_id: String,
    pub name: Option<String>,
    pub device_id: Option<String>,
    pub joined_ms: i64,
    pub joined_at: Stamp,
    pub expired_ms: i64,
    pub expired_at: Stamp,
}

/// How often stays expire: the share, and the 95 % interval (Wilson), in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rate {
    pub permille: i64,
    pub low_permille: i64,
    pub high_permille: i64,
}

impl Rate {
    /// The share of `expired` in `ended` stays, in permille, with the bounds between which it is
    /// with 95 % confidence (Wilson interval). `None` if fewer than `FEW` ended, because it would
    /// say nothing.
    #[must_use]
    pub fn with_bounds(expired: i64, ended: i64) -> Option<Self> {
        if ended < FEW {
            return None;
        }

        let (n, share) = (
            crate::web::svg::ratio(ended, 1),
            crate::web::svg::ratio(expired, ended),
        );
        let z = 1.96_f64;
        let middle = share + z * z / (2.0 * n);
        let reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        let permille = |part: f64| to_permille((part / (1.0 + z * z / n)).clamp(0.0, 1.0));

        Some(Self {
            permille: to_permille(share),
            low_permille: permille(middle - reach),
            high_permille: permille(middle + reach),
        })
    }

    /// `9.2 %`: one decimal below ten, none from twenty on.
    #[must_use]
    pub fn words(permille: impl WholeNumber) -> String {
        let permille = permille.whole();
        if permille >= 200 {
            format!("{} %", (permille + 5) / 10)
        } else {
            format!("{}.{} %", permille / 10, permille % 10)
        }
    }
}

/// A share from 0 to 1 in thousandths, rounded.
#[expect(clippy::cast_possible_truncation, reason = "it is between 0 and 1000")]
fn to_permille(part: f64) -> i64 {
    (part * 1000.0).round() as i64
}

/// The rooms with most time, most first, at most `most`. A room without an entry in `names` has
/// only its id.
#[must_use]
pub fn top_rooms(
    sums: &UsageSums,
    names: &BTreeMap<String, RoomName>,
    most: usize,
) -> Vec<RoomTime> {
    let mut rooms: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for place in &sums.places {
        let room = rooms.entry(&place.room_id).or_default();
        *room = (room.0 + place.together_ms, room.1 + place.together_seen_ms);
    }

    let room = |(room_id, (together_ms, together_seen_ms)): (&str, (i64, i64))| {
        let room = names.get(room_id).cloned();
        let room = room
            .unwrap_or_else(|| RoomName {
                room_id: room_id.to_owned(),
                ..RoomName::default()
            })
            .into();
        RoomTime {
            room,
            together_ms,
            together_seen_ms,
        }
    };

    let mut found: Vec<RoomTime> = rooms.into_iter().map(room).collect();
    found.sort_by_key(|room| std::cmp::Reverse(room.together_ms));
    found.truncate(most);

    found
}

/// The ids of the rooms with most time, most first, at most `most`.
#[must_use]
pub fn top_room_ids(sums: &UsageSums, most: usize) -> Vec<String> {
    top_rooms(sums, &BTreeMap::new(), most)
        .into_iter()
        .map(|room| room.room.room_id)
        .collect()
}

/// The homeservers with their time, most first. The caller adds who of them is in a call now, their
/// clocks and probes.
#[must_use]
pub fn servers_with_time(sums: &UsageSums, rows: Vec<ServerRow>) -> Vec<ServerFacts> {
    let mut times: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for place in &sums.places {
        let server = times.entry(&place.server).or_default();
        *server = (
            server.0 + place.together_ms,
            server.1 + place.together_seen_ms,
        );
    }

    let server = |row: ServerRow| {
        let (together_ms, together_seen_ms) =
            times.get(row.server.as_str()).copied().unwrap_or_default();
        ServerFacts {
            server: row.server,
            people: row.people,
            calls: row.calls,
            together_ms,
            together_seen_ms,
            ended: row.ended,
            expired: row.expired,
            people_now: 0,
            calls_now: 0,
            ghosts_now: 0,
            clock: None,
            probe: None,
        }
    };

    let mut found: Vec<ServerFacts> = rows.into_iter().map(server).collect();
    found.sort_by(|a, b| (b.together_ms, &a.server).cmp(&(a.together_ms, &b.server)));

    found
}

impl ServerFacts {
    /// Its page.
    #[must_use]
    pub fn href(&self) -> String {
        format!(
            "/servers/{}",
            crate::web::view::format::path_segment(&self.server)
        )
    }

    /// How often its stays end only by expiry.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        Rate::with_bounds(self.expired, self.ended)
    }

    /// How much of its time is inferred, in words, if any.
    #[must_use]
    pub fn inferred(&self) -> Option<String> {
        inferred_words(self.together_ms, self.together_seen_ms)
    }
}

impl From<PersonRow> for PersonTime {
    fn from(row: PersonRow) -> Self {
        let PersonRow {
            user_id,
            name,
            together_ms,
            together_seen_ms,
        } = row;

        Self {
            user_id,
            name: super::shorten_name(name),
            together_ms,
            together_seen_ms,
        }
    }
}

impl PersonTime {
    /// What to call this person.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.user_id)
    }
}

impl From<RanOutStay> for GhostFacts {
    fn from(row: RanOutStay) -> Self {
        Self {
            room: row.room.into(),
            call_id: row.session_id,
            user_id: row.user_id,
            name: super::shorten_name(row.name),
            device_id: row.device_id,
            joined_ms: row.joined_ms,
            joined_at: Stamp(row.joined_ms),
            expired_ms: row.until_ms,
            expired_at: Stamp(row.until_ms),
        }
    }
}

impl GhostFacts {
    /// What to call this person.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.user_id)
    }

    /// The page of its call.
    #[must_use]
    pub fn href(&self) -> String {
        format!(
            "/calls/{}",
            crate::web::view::format::path_segment(&self.call_id)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_its_interval_and_few_stays_have_none() {
        assert_eq!(Rate::with_bounds(5, 29), None);
        let rate = Rate::with_bounds(38, 412).unwrap();
        assert_eq!(
            (rate.permille, rate.low_permille, rate.high_permille),
            (92, 68, 124)
        );
        let none = Rate::with_bounds(0, 30).unwrap();
        assert_eq!((none.permille, none.low_permille), (0, 0));
        assert!(none.high_permille > 100);
        assert_eq!(
            (Rate::words(92_i64), Rate::words(415_i64)),
            ("9.2 %".to_owned(), "42 %".to_owned())
        );
    }
}
