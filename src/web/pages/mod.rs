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
use crate::store::{coverage, evidence, memberships, row};
use std::collections::BTreeSet;

/// How one room is known over time.
async fn coverage_of(web: &Web, ask: &Ask, room_id: &str) -> Result<Vec<Interval>, Error> {
    let rooms = BTreeSet::from([room_id.to_owned()]);
    let mut found = coverage::of(&web.store, ask.viewer, &rooms, ask.now).await?;
    Ok(found.remove(room_id).unwrap_or_default())
}

/// Calls with their members, read from the store.
pub(super) async fn with_members(
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
