//! The expected stays and calls of each report, however the events came.

use super::served::{BEGIN, BOTH, HOUR, MINUTE, SECOND, Served};
use serde_json::Value;

/// An expected stay of a report; times are ms after [`BEGIN`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    pub user: &'static str,
    pub device: &'static str,
    pub from: i64,
    /// Its end and the word for it, or when it ends unless renewed.
    pub until: Until,
    pub renewed: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    Ended(i64, &'static str),
    Expires(i64),
}

pub const ADA: &str = "@ada:ash.example";
pub const BEN: &str = "@ben:birch.example";

const fn stay(user: &'static str, device: &'static str, from: i64, until: Until) -> Stay {
    Stay {
        user,
        device,
        from,
        until,
        renewed: 0,
    }
}

/// A report: its file, its present, and its expected calls, oldest first, with slot and maximum
/// number of people.
pub struct Report {
    pub name: &'static str,
    pub now_ms: i64,
    pub calls: &'static [(&'static str, i64, &'static [Stay])],
}

pub const STUCK: Report = Report {
    name: "03-stuck-no-delayed-events",
    now_ms: BEGIN + 2 * HOUR,
    calls: &[(
        "m.call#ROOM",
        2,
        &[
            stay(ADA, "AD", 0, Until::Expires(4 * HOUR)),
            stay(BEN, "BD", 5 * MINUTE, Until::Ended(25 * MINUTE, "left")),
        ],
    )],
};

pub const POWER_LEVELS: Report = Report {
    name: "08-power-levels",
    now_ms: BEGIN + 10 * MINUTE,
    calls: &[(
        "m.call#ROOM",
        1,
        &[stay(ADA, "AD", 0, Until::Ended(4 * MINUTE, "left"))],
    )],
};

pub const UPGRADED: Report = Report {
    name: "10-upgraded-during-call",
    now_ms: BEGIN + 2 * HOUR,
    calls: &[(
        "m.call#ROOM",
        2,
        &[
            stay(ADA, "AD", 0, Until::Expires(4 * HOUR)),
            stay(BEN, "BD", MINUTE, Until::Ended(12 * MINUTE, "left")),
        ],
    )],
};

pub const GLARE: Report = Report {
    name: "15-glare-two-calls",
    now_ms: BEGIN + 30 * MINUTE,
    calls: &[
        (
            "m.call#111",
            1,
            &[stay(ADA, "AD", SECOND, Until::Ended(20 * MINUTE, "left"))],
        ),
        (
            "m.call#222",
            1,
            &[stay(
                BEN,
                "BD",
                2 * SECOND,
                Until::Ended(20 * MINUTE, "left"),
            )],
        ),
    ],
};

pub const RING_AFTER_HANGUP: Report = Report {
    name: "17-ring-after-hangup",
    now_ms: BEGIN + 10 * MINUTE,
    calls: &[
        (
            "m.call#ROOM",
            1,
            &[stay(ADA, "AD", 0, Until::Ended(8 * SECOND, "left"))],
        ),
        (
            "m.call#ROOM",
            1,
            &[stay(BEN, "BD", 15 * SECOND, Until::Ended(MINUTE, "left"))],
        ),
    ],
};

pub const RESURRECTED: Report = Report {
    name: "02-resurrected-after-delayed-leave",
    now_ms: BEGIN + 14 * HOUR,
    calls: &[
        (
            "m.call#ROOM",
            1,
            &[Stay {
                renewed: 8,
                ..stay(ADA, "AD", 0, Until::Ended(8 * HOUR + 20 * MINUTE, "left"))
            }],
        ),
        (
            "m.call#ROOM",
            1,
            &[stay(
                ADA,
                "AD",
                9 * HOUR + 30 * MINUTE,
                Until::Expires(52 * HOUR),
            )],
        ),
    ],
};

pub const ABSOLUTE_EXPIRES: Report = Report {
    name: "05-absolute-expires",
    now_ms: BEGIN + 72 * HOUR,
    calls: &[(
        "net.nordeck.whiteboard#wb1",
        2,
        &[
            Stay {
                renewed: 1,
                ..stay(ADA, "AD", 0, Until::Ended(7 * HOUR, "expired"))
            },
            stay(BEN, "BD", 10 * MINUTE, Until::Ended(40 * MINUTE, "left")),
        ],
    )],
};

pub const FAMEDLY: Report = Report {
    name: "06-famedly-event-type",
    now_ms: BEGIN + HOUR,
    calls: &[(
        "m.call#ROOM",
        2,
        &[
            Stay {
                renewed: 9,
                ..stay(ADA, "AD", 0, Until::Ended(20 * MINUTE, "left"))
            },
            stay(BEN, "BD", MINUTE, Until::Ended(5 * MINUTE, "left")),
        ],
    )],
};

pub const BOTS_OWN_CLOCK: Report = Report {
    name: "09-bots-own-clock",
    now_ms: BEGIN + 8 * HOUR,
    calls: &[(
        "m.call#ROOM",
        1,
        &[Stay {
            renewed: 1,
            ..stay(ADA, "BOT", 0, Until::Ended(7 * HOUR, "left"))
        }],
    )],
};

impl Report {
    /// Serves it in this way and waits for the expected calls; returns them, oldest first.
    pub async fn served(&self, way: super::served::Way) -> (Served, Vec<Value>) {
        let served = Served::start(self.name, self.now_ms, way).await;
        let calls = self.calls_of(&served).await;
        (served, calls)
    }

    pub async fn calls_of(&self, served: &Served) -> Vec<Value> {
        let stays: usize = self.calls.iter().map(|(.., stays)| stays.len()).sum();
        let calls = served
            .calls(|calls| {
                let known = calls.iter().map(|call| call["members"].as_array().unwrap());
                let known: Vec<&Value> = known.flatten().collect();
                let ended = self
                    .calls
                    .iter()
                    .flat_map(|(.., stays)| *stays)
                    .filter(|stay| matches!(stay.until, Until::Ended(..)))
                    .count();
                let done = known.iter().filter(|stay| stay["left_ms"].is_i64());
                // A surplus stay is reported below, not waited for.
                known.len() >= stays && done.count() >= ended
            })
            .await;
        let outcome: Vec<(String, i64, Vec<String>)> = calls.iter().map(outcome).collect();
        let wanted: Vec<(String, i64, Vec<String>)> = self
            .calls
            .iter()
            .map(|(slot, peak, stays)| {
                let stays = stays.iter().map(|stay| in_words(stay, served)).collect();
                ((*slot).to_owned(), *peak, stays)
            })
            .collect();
        assert_eq!(outcome, wanted, "{}", self.name);

        calls
    }
}

fn outcome(call: &Value) -> (String, i64, Vec<String>) {
    let mut stays: Vec<&Value> = call["members"].as_array().unwrap().iter().collect();
    stays.sort_by_key(|stay| stay["joined_ms"].as_i64());
    let stays = stays.into_iter().map(|stay| {
        let until = match stay["end_reason"].as_str() {
            Some(reason) => format!("{} {reason}", stay["left_ms"]),
            None => format!("expires {}", stay["expires_ms"]),
        };

        format!(
            "{} {} from {} until {until}, renewed {} times",
            stay["user_id"].as_str().unwrap(),
            stay["device_id"].as_str().unwrap(),
            stay["joined_ms"],
            stay["updates"]
        )
    });

    (
        call["slot_id"].as_str().unwrap().to_owned(),
        call["peak_users"].as_i64().unwrap(),
        stays.collect(),
    )
}

fn in_words(stay: &Stay, served: &Served) -> String {
    let until = match stay.until {
        Until::Ended(at, reason) => format!("{} {reason}", served.at(BEGIN + at)),
        Until::Expires(at) => format!("expires {}", served.at(BEGIN + at)),
    };

    format!(
        "{} {} from {} until {until}, renewed {} times",
        stay.user,
        stay.device,
        served.at(BEGIN + stay.from),
        stay.renewed
    )
}

#[tokio::test]
async fn reports_that_need_no_rule_of_their_own_come_out_as_they_were() {
    for report in [STUCK, POWER_LEVELS, UPGRADED, GLARE, RING_AFTER_HANGUP] {
        for way in BOTH {
            let (served, _) = report.served(way).await;
            let room = served.room_json().await;
            assert_eq!(room["rejected"], 0, "{}: {room}", report.name);
            served.stop().await;
        }
    }
}
