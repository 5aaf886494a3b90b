//! One page, one file, one template; each is a struct of facts that is also its JSON.

pub mod about;
pub mod call;
pub mod calls;
pub mod docs;
#[cfg(test)]
mod finding_tests;
pub mod moment;
pub mod overview;
pub mod period;
pub mod rejected;
pub mod room;
pub mod rooms;
pub mod server;
pub mod servers;
pub mod standing;
pub mod statistics;
pub mod status;
#[cfg(test)]
mod tests;
pub mod transports;
pub mod wall;

use super::Web;
use super::error::Error;
use super::facts::{self, CallFacts, Ledger};
use super::reply::Ask;
use super::seen;
use crate::rtc::coverage::Interval;
use crate::rtc::side_by_side::{BEGAN_APART_MAX_MS, LoneCall, pairs_side_by_side};
use crate::store::{coverage, evidence, memberships, row, sessions};
use std::collections::{BTreeMap, BTreeSet};

/// How one room is known over time.
async fn coverage_of(web: &Web, ask: &Ask, room_id: &str) -> Result<Vec<Interval>, Error> {
    let rooms = BTreeSet::from([room_id.to_owned()]);
    let mut found = coverage::of(&web.store, ask.viewer, &rooms, ask.now).await?;
    Ok(found.remove(room_id).unwrap_or_default())
}

/// So many calls beside those of a list are read whole.
const BESIDE_MAX: usize = 40;

/// Calls with their members, and what ran side by side with them, read from the store.
pub(super) async fn with_members(
    web: &Web,
    ask: &Ask,
    calls: Vec<row::Call>,
) -> Result<Vec<CallFacts>, Error> {
    let mut calls = read_members(web, ask, calls).await?;
    let beside = calls_side_by_side(web, ask, &calls).await?;
    let others = read_members(web, ask, beside).await?;
    facts::add_side_by_side(&mut calls, &others, ask.now);
    Ok(calls)
}

/// The calls that are not among `calls` and may have run side by side with one of them while nobody met.
async fn calls_side_by_side(
    web: &Web,
    ask: &Ask,
    calls: &[CallFacts],
) -> Result<Vec<row::Call>, Error> {
    let mut spans: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for call in calls {
        if call.lone_user().is_none() || call.devices > sessions::LONE_DEVICES_MAX {
            continue;
        }
        let started = call.started_ms;
        let span = spans
            .entry(&call.room.room_id)
            .or_insert((started, started));
        *span = (span.0.min(started), span.1.max(started));
    }

    let mut ids = BTreeSet::new();
    for (room_id, (first, last)) in spans {
        let from_ms = first.saturating_sub(BEGAN_APART_MAX_MS);
        let to_ms = last.saturating_add(BEGAN_APART_MAX_MS);
        let found =
            sessions::lone_calls_begun_within(&web.store, ask.viewer, room_id, from_ms, to_ms)
                .await?;
        ids.extend(ids_in_pairs(&found));
    }

    let mut beside = Vec::new();
    let known = |id: &String| calls.iter().any(|call| call.id == *id);
    for id in ids.into_iter().filter(|id| !known(id)).take(BESIDE_MAX) {
        beside.extend(sessions::find(&web.store, ask.viewer, &id).await?);
    }
    Ok(beside)
}

fn ids_in_pairs(calls: &[row::LoneCall]) -> Vec<String> {
    let lone: Vec<LoneCall> = calls
        .iter()
        .map(|call| LoneCall {
            application: &call.application,
            slot_id: &call.slot_id,
            user_id: &call.user_id,
            from_ms: call.started_ms,
            until_ms: call.until_ms,
        })
        .collect();
    pairs_side_by_side(&lone)
        .into_iter()
        .flat_map(|pair| [pair.first, pair.second])
        .map(|at| calls[at].id.clone())
        .collect()
}

/// Calls with their members.
async fn read_members(
    web: &Web,
    ask: &Ask,
    calls: Vec<row::Call>,
) -> Result<Vec<CallFacts>, Error> {
    let (store, viewer) = (&web.store, ask.viewer);
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
    let rooms: BTreeSet<String> = calls.iter().map(|call| call.room.room_id.clone()).collect();
    let members = memberships::of(store, viewer, &ids).await?;
    let ledger = Ledger {
        origins: evidence::of(store, viewer, &ids).await?,
        coverage: coverage::of(store, viewer, &rooms, ask.now).await?,
    };
    let mut calls = facts::calls(calls, members, &ledger, ask.now);
    for call in &mut calls {
        call.older_rules = store.is_from_older_rules(&call.room.room_id);
    }
    if calls.iter().any(|call| call.active)
        && let Some(unseen) = seen::now(web).await?
    {
        calls
            .iter_mut()
            .filter(|call| call.active)
            .for_each(|call| call.not_seen(unseen.since_ms, ask.now));
    }
    Ok(calls)
}
