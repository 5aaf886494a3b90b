//! One page, one file, one template; each is a struct of facts that is also its JSON.

pub mod about;
pub mod call;
pub mod calls;
pub mod overview;
pub mod rejected;
pub mod room;
pub mod rooms;
pub mod status;
#[cfg(test)]
mod tests;

use super::Web;
use super::error::Error;
use super::facts::{self, CallFacts};
use super::reply::Ask;
use crate::store::{memberships, row};

/// Calls with their members, read from the store.
async fn with_members(web: &Web, ask: &Ask, calls: Vec<row::Call>) -> Result<Vec<CallFacts>, Error> {
    let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
    let members = if ids.is_empty() { Vec::new() } else { memberships::of(&web.store, ask.viewer, &ids).await? };
    Ok(facts::calls(calls, members, ask.now))
}
