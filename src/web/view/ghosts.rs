//! Ghosts: stays that still count though the device is probably gone. Counts the numbers of now
//! without them.

use super::format as f;
use super::{CallFacts, MemberFacts};
use crate::store::stats::ghost_time::{Ghost, Gone};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// The members of running calls who still count though they are probably gone.
#[must_use]
pub fn gone_in_calls<'a>(calls: impl Iterator<Item = &'a CallFacts>) -> Gone {
    let mut gone = Gone::default();
    for call in calls.filter(|call| call.active) {
        let ghost = |member: &MemberFacts| Ghost {
            room_id: call.room.room_id.clone(),
            session_id: call.id.clone(),
            user_id: member.user_id.clone(),
            server: member.server.clone(),
            device: member.device().1.to_owned(),
            join_event_id: member.join_event_id.clone(),
            heard_ms: member.gone_since().unwrap_or(member.joined_ms),
        };

        // A device with another stay in the call is still there.
        let here: BTreeSet<(&str, &str)> = call.present().map(MemberFacts::device).collect();
        let ghosts = call
            .ghosts()
            .filter(|member| !here.contains(&member.device()));
        gone.ghosts.extend(ghosts.map(ghost));
        if let Some(since) = call.stuck_since_ms {
            gone.stuck.insert(call.id.clone(), since);
        }
    }

    gone
}

/// Devices that count as present though they are perhaps gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerhapsGone {
    pub devices: usize,
    /// The time of the newest last event among them, ms.
    pub silent_since_ms: Option<i64>,
    /// Everybody who counts as present is one of them.
    pub are_all: bool,
}

impl PerhapsGone {
    /// Counts the devices that are perhaps gone among these stays. A device with another stay that
    /// is no doubt here is not one of them.
    #[must_use]
    pub fn among<'a>(members: impl Iterator<Item = &'a MemberFacts>) -> Self {
        let mut silent: BTreeSet<(&str, &str)> = BTreeSet::new();
        let mut others: BTreeSet<(&str, &str)> = BTreeSet::new();
        let mut last_ms = None;
        for member in members.filter(|member| member.is_here()) {
            if member.is_perhaps_gone() {
                silent.insert(member.device());
                last_ms = last_ms.max(member.silent_since_ms);
            } else {
                others.insert(member.device());
            }
        }

        let devices = silent.difference(&others).count();

        Self {
            devices,
            silent_since_ms: last_ms.filter(|_| devices > 0),
            are_all: devices > 0 && others.is_empty(),
        }
    }

    /// How many devices are perhaps gone and how long they have been silent, in words:
    /// `1 perhaps gone, silent for 2 h 05`. `None` if there are none.
    #[must_use]
    pub fn words(&self, now_ms: impl f::WholeNumber) -> Option<String> {
        let silent_ms = now_ms.whole().saturating_sub(self.silent_since_ms?);
        let for_long = f::ended_duration(silent_ms);

        Some(match (self.are_all, self.devices) {
            (true, 1) => format!("perhaps gone, silent for {for_long}"),
            (_, 1) => format!("1 perhaps gone, silent for {for_long}"),
            (true, _) => format!("all perhaps gone, silent for {for_long} and more"),
            (false, devices) => {
                format!(
                    "{} perhaps gone, silent for {for_long} and more",
                    f::group_digits(devices)
                )
            }
        })
    }
}

/// The numbers of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct NowFacts {
    /// Calls that run: with somebody in them who is not probably gone.
    pub calls_now: usize,
    /// Calls in which only devices are left that are probably gone.
    pub calls_stuck: usize,
    /// People, devices (user and device) and homeservers in calls now, each once, in however many
    /// calls; without those that are probably gone.
    pub people_now: usize,
    pub devices_now: usize,
    pub servers_now: usize,
    /// Devices that still count in a call though they are probably gone.
    pub ghosts_now: usize,
    /// Of `devices_now`: devices that are perhaps gone: a renewal is overdue, and no sign tells
    /// which client it is.
    pub perhaps_gone_now: usize,
}

impl NowFacts {
    /// Counts calls and their members; ended calls are ignored. A call of ghosts alone is stuck and
    /// does not run. Ghosts (probably gone) are no people and no devices here; the devices that are
    /// perhaps gone are. Members of very large calls that were counted, but not read, are added as
    /// they are: who is in two such calls counts twice, and their servers are not known.
    #[must_use]
    pub fn count_members<'a>(calls: impl Iterator<Item = &'a CallFacts> + Clone) -> Self {
        let active = calls.filter(|call| call.active);
        let present = || active.clone().flat_map(CallFacts::present);
        let ghosts = active.clone().flat_map(CallFacts::ghosts);
        let people: BTreeSet<&str> = present().map(|member| member.user_id.as_str()).collect();
        let devices: BTreeSet<(&str, &str)> = present().map(MemberFacts::device).collect();
        let servers: BTreeSet<&str> = present().map(|member| member.server.as_str()).collect();
        let ghost_devices: BTreeSet<(&str, &str)> = ghosts.map(MemberFacts::device).collect();
        let (mut unlisted_people, mut unlisted_devices) = (0_i64, 0_i64);
        for call in active.clone() {
            unlisted_people = unlisted_people.saturating_add(call.unlisted.people);
            unlisted_devices = unlisted_devices.saturating_add(call.unlisted.devices);
        }

        let to_count = |number: i64| usize::try_from(number).unwrap_or(0);

        Self {
            calls_now: active.clone().filter(|call| call.is_running()).count(),
            calls_stuck: active.clone().filter(|call| call.is_stuck()).count(),
            people_now: people.len() + to_count(unlisted_people),
            devices_now: devices.len() + to_count(unlisted_devices),
            servers_now: servers.len(),
            ghosts_now: ghost_devices.len(),
            perhaps_gone_now: PerhapsGone::among(present()).devices,
        }
    }

    /// The numbers if `total` calls run, of which only `listed` were read and counted.
    #[must_use]
    pub fn with_total(self, total: i64, listed: usize) -> Self {
        let total = usize::try_from(total).unwrap_or(0);
        Self {
            calls_now: self.calls_now + total.saturating_sub(listed),
            ..self
        }
    }
}
