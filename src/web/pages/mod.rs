//! One page, one file, one template; each is a struct of facts that is also its JSON.

pub mod about;
pub mod admin;
pub mod admin_alerts;
pub mod admin_rooms;
pub mod book;
pub mod call;
pub(super) mod call_head;
mod call_people;
mod call_window;
pub mod calls;
mod capacity;
pub mod census;
pub mod docs;
pub mod feeds;
#[cfg(test)]
mod finding_tests;
pub mod me;
mod names;
pub mod observer_state;
pub mod openid;
pub mod overview;
pub mod people;
pub mod period;
pub mod person;
pub mod problems;
pub mod rejected;
pub mod room;
pub mod room_at;
pub mod rooms;
pub mod server;
pub mod server_check;
pub mod servers;
pub mod share;
pub mod shared_call;
pub mod sign_in;
pub mod sign_in_code;
pub mod space;
pub mod statistics;
pub mod status;
#[cfg(test)]
mod tests;
pub mod transport;
pub mod transports;
pub mod wall;
pub mod widget;

use super::Web;
use super::http::error::Error;
use super::http::response::PageRequest;
use super::view::liveness::Liveness;
use super::view::{
    self, CallContext, CallFacts, FindingFacts, MemberFacts, NowFacts, OwnAddress, SupportFacts,
};
use crate::rtc::coverage::Interval;
use crate::rtc::id::server_of;
use crate::rtc::side_by_side::{BEGAN_APART_MAX_MS, LoneCall, pairs_side_by_side};
use crate::store::findings::broken::find_broken_calls;
use crate::store::findings::inputs::KnownStays;
use crate::store::ingest::probes::{self, OwnResult, SupportResult};
use crate::store::ingest::{access, vantages};
use crate::store::model;
use crate::store::read::{self, coverage, large_calls};
use crate::store::stats::ghost_time::Gone;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// The user id of the observing account; `None` as long as it is not known.
async fn find_account(web: &Web) -> Result<Option<String>, Error> {
    let vantages = vantages::list_vantages_for(&web.store).await?;
    let user_ids = vantages.into_iter().map(|vantage| vantage.user_id);
    Ok(user_ids.into_iter().find(|user_id| !user_id.is_empty()))
}

/// Our own homeserver with the address of its client API; `None` if the address is not known.
async fn find_own_address(web: &Web) -> Result<Option<OwnAddress>, Error> {
    for vantage in vantages::list_vantages_for(&web.store).await? {
        let offers = probes::newest_result::<OwnResult>(&web.store, &vantage.id).await?;
        let url = offers.and_then(|offers| offers.result.homeserver_url);
        if let Some(url) = url.filter(|_| !vantage.user_id.is_empty()) {
            let server = server_of(&vantage.user_id).to_owned();
            return Ok(Some(OwnAddress { server, url }));
        }
    }

    Ok(None)
}

/// Maximum servers whose contacts are read for one answer.
const SUPPORT_MAX: usize = 20;

/// Whom to tell about these servers, by server, as far as that is known.
async fn read_support(
    web: &Web,
    servers: &BTreeSet<&str>,
) -> Result<BTreeMap<String, SupportFacts>, Error> {
    let mut found = BTreeMap::new();
    for server in servers.iter().take(SUPPORT_MAX) {
        let probed = probes::newest_result::<SupportResult>(&web.store, server).await?;
        let support = probed.and_then(|probed| SupportFacts::new(server, probed));
        found.extend(support.map(|support| ((*server).to_owned(), support)));
    }

    Ok(found)
}

/// Which time of one room is known, and how; empty for an unknown room.
async fn coverage_of(web: &Web, ask: &PageRequest, room_id: &str) -> Result<Vec<Interval>, Error> {
    let rooms = BTreeSet::from([room_id.to_owned()]);
    let mut found = coverage::coverage_of_rooms(&web.store, &rooms, ask.now).await?;
    Ok(found.remove(room_id).unwrap_or_default())
}

/// Maximum number of calls outside a list that are read completely to find calls side by side.
const BESIDE_MAX: usize = 40;

/// Calls with their members and the calls that ran side by side, read from the store.
pub(super) async fn read_calls_with_members(
    web: &Web,
    ask: &PageRequest,
    calls: Vec<model::Call>,
) -> Result<Vec<CallFacts>, Error> {
    let mut calls = read_members(web, ask, calls).await?;
    add_side_by_side(web, ask, &mut calls).await?;
    add_answers(web, ask, &mut calls).await?;
    Ok(calls)
}

/// Says of each call that rang whether somebody came.
async fn add_answers(web: &Web, ask: &PageRequest, calls: &mut [CallFacts]) -> Result<(), Error> {
    let ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    let mut rings = read::related::rings_of_calls(&web.store, &ids).await?;
    for call in calls {
        let of_call = rings.remove(&call.id).unwrap_or_default();
        call.set_answered(&of_call, ask.now);
    }

    Ok(())
}

/// Adds to each call the calls that ran side by side with it, and how it broke and went on.
async fn add_side_by_side(
    web: &Web,
    ask: &PageRequest,
    calls: &mut [CallFacts],
) -> Result<(), Error> {
    let beside = calls_side_by_side(web, calls).await?;
    let others = read_members(web, ask, beside).await?;
    view::add_side_by_side(calls, &others, ask.now);
    let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
    let grace_ms = web.options.rejoin_grace_ms;
    let mut broken = find_broken_calls(&web.store, &ids, grace_ms).await?;
    for call in calls {
        let of_call = broken.remove(&call.id).unwrap_or_default().into_iter();
        call.findings
            .extend(of_call.map(FindingFacts::of_broken_call));
        call.sort_findings();
    }

    Ok(())
}

/// The calls outside `calls` that may have run side by side with one of them: two calls of one kind
/// in one room at one time, in each of which somebody waits alone.
async fn calls_side_by_side(web: &Web, calls: &[CallFacts]) -> Result<Vec<model::Call>, Error> {
    let mut spans: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for call in calls {
        if call.lone_user().is_none() || call.devices > read::calls::LONE_DEVICES_MAX {
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
            read::calls::lone_calls_begun_within(&web.store, room_id, from_ms, to_ms).await?;
        ids.extend(ids_in_pairs(&found));
    }

    let mut beside = Vec::new();
    let known = |id: &String| calls.iter().any(|call| call.id == *id);
    for id in ids.into_iter().filter(|id| !known(id)).take(BESIDE_MAX) {
        beside.extend(read::calls::find_call(&web.store, &id).await?);
    }

    Ok(beside)
}

/// The ids of those calls of a room that make a pair side by side with another one of them. An id
/// may occur twice.
fn ids_in_pairs(calls: &[model::LoneCall]) -> Vec<String> {
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

/// Reads these calls with their members; of very large calls only some members, so that a list
/// costs about the same whatever is in it.
async fn read_members(
    web: &Web,
    ask: &PageRequest,
    calls: Vec<model::Call>,
) -> Result<Vec<CallFacts>, Error> {
    let sizes: Vec<i64> = calls.iter().map(|call| call.memberships).collect();
    let shares = large_calls::share_stays_among_calls(&sizes, STAYS_OF_LIST, STAYS_LEAST);
    let shares = shares
        .into_iter()
        .map(|share| share.min(STAYS_OF_LISTED_CALL));
    let parts: Vec<PartlyReadCall> = calls
        .iter()
        .zip(shares)
        .filter(|(call, share)| *share < call.memberships)
        .map(|(call, most)| PartlyReadCall {
            id: call.id.clone(),
            total: call.memberships,
            most,
        })
        .collect();

    read_calls_in_part(web, ask, calls, parts, Vec::new()).await
}

/// Maximum number of stays read for all calls of a list together, and for one call of a list.
const STAYS_OF_LIST: i64 = 4000;
const STAYS_OF_LISTED_CALL: i64 = 1000;
/// Maximum number of stays of a single call that is read completely; number of stays read of a
/// larger one; minimum number of stays read of each call.
pub(super) const STAYS_OF_CALL: i64 = 2000;
const STAYS_OF_LARGE_CALL: i64 = 1000;
const STAYS_LEAST: i64 = 20;

/// Maximum number of stays that are held at one time while findings of calls are computed.
const STAYS_AT_ONCE: i64 = 8000;

/// The findings of these calls, from the same stays as those that are stored: all of a call, or of
/// a very large one a part. A few calls are read at a time.
async fn read_problems_of_calls(
    web: &Web,
    ask: &PageRequest,
    calls: Vec<model::Call>,
) -> Result<Vec<view::ProblemFacts>, Error> {
    let mut found = Vec::new();
    for few in split_by_stays(calls) {
        let parts = few
            .iter()
            .filter(|call| call.memberships > STAYS_OF_CALL)
            .map(|call| PartlyReadCall {
                id: call.id.clone(),
                total: call.memberships,
                most: STAYS_OF_LARGE_CALL,
            })
            .collect();
        let mut few = read_calls_in_part(web, ask, few, parts, Vec::new()).await?;
        add_side_by_side(web, ask, &mut few).await?;
        found.extend(few.iter().flat_map(view::ProblemFacts::of_call));
    }

    Ok(found)
}

/// The number of stays that are read of a call to compute its findings.
fn stays_of_findings(call: &model::Call) -> i64 {
    if call.memberships > STAYS_OF_CALL {
        STAYS_OF_LARGE_CALL
    } else {
        call.memberships
    }
}

/// These calls, in their order, in parts whose stays are read at one time.
fn split_by_stays(calls: Vec<model::Call>) -> Vec<Vec<model::Call>> {
    let mut parts: Vec<Vec<model::Call>> = Vec::new();
    let mut stays = 0;
    for call in calls {
        stays += stays_of_findings(&call);
        if let Some(part) = parts.last_mut().filter(|_| stays <= STAYS_AT_ONCE) {
            part.push(call);
        } else {
            stays = stays_of_findings(&call);
            parts.push(vec![call]);
        }
    }

    parts
}

/// Reads one call with its members, of any size. With `before`, also returns the stays in order of
/// arrival without the first `before`: all of them, or of a very large call a part. `None` without
/// `before`.
pub(super) async fn read_call_with_window(
    web: &Web,
    ask: &PageRequest,
    call: model::Call,
    before: Option<usize>,
) -> Result<(CallFacts, Option<Vec<MemberFacts>>), Error> {
    let store = &web.store;
    let (total, id) = (call.memberships, call.id.clone());
    let is_whole = total <= STAYS_OF_CALL;
    let (mut parts, mut window) = (Vec::new(), Vec::new());
    if !is_whole {
        let most = STAYS_OF_LARGE_CALL;
        parts.push(PartlyReadCall { id, total, most });
        if let Some(before) = before {
            window =
                large_calls::stays_in_order(store, &call.id, saturating_i64(before), most).await?;
        }
    }

    let read = read_calls_in_part(web, ask, vec![call], parts, window.clone());
    let mut calls = read.await?;
    add_side_by_side(web, ask, &mut calls).await?;
    add_answers(web, ask, &mut calls).await?;
    let mut facts = calls.remove(0);
    let Some(before) = before else {
        return Ok((facts, None));
    };

    if is_whole {
        let rows = facts.members.get(before..).unwrap_or_default().to_vec();
        return Ok((facts, Some(rows)));
    }

    // The transport that a stay of a large call really uses depends on earlier members, so they are
    // computed together.
    let rows = crate::store::read::memberships::members_by_id(store, &window).await?;
    let asked: HashSet<_> = rows
        .iter()
        .map(|row| {
            let stay = &row.stay;
            (
                &stay.user_id,
                &stay.device_id,
                stay.joined_ms,
                &stay.join_event_id,
            )
        })
        .collect();
    let is_asked = |stay: &MemberFacts| {
        let key = (
            &stay.user_id,
            &stay.device_id,
            stay.joined_ms,
            &stay.join_event_id,
        );
        asked.contains(&key)
    };

    let shown = facts.members.iter().filter(|stay| is_asked(stay));
    let shown: Vec<MemberFacts> = shown.cloned().collect();
    facts.members_whole = false;

    Ok((facts, Some(shown)))
}

/// A call that is not read completely: the number of its stays, and of those read.
struct PartlyReadCall {
    id: String,
    total: i64,
    most: i64,
}

/// The calls that run now.
#[derive(Debug, Clone, Default)]
pub struct RunningCalls {
    /// Newest first; if there are too many, some of each room.
    pub calls: Vec<CallFacts>,
    pub total: i64,
}

impl RunningCalls {
    /// The numbers of now, including calls that are not in the list.
    #[must_use]
    pub fn numbers(&self) -> NowFacts {
        NowFacts::count_members(self.calls.iter()).with_total(self.total, self.calls.len())
    }
}

/// The running calls. They are read once for all requests of the same state of the data.
pub(super) async fn read_running_calls(
    web: &Web,
    ask: &PageRequest,
) -> Result<Arc<RunningCalls>, Error> {
    // All requests wait for this query, so it must not wait for expensive ones.
    let pages = Web {
        store: web.store.for_pages(),
        ..web.clone()
    };

    let store = &pages.store;
    let read = async {
        let calls = read::calls::list_active_calls(store, ask.now).await?;
        let total = if saturating_i64(calls.len()) < read::calls::ACTIVE_MOST {
            saturating_i64(calls.len())
        } else {
            read::calls::count_active_calls(store, ask.now).await?
        };

        let calls = read_calls_with_members(&pages, ask, calls).await?;
        Ok(RunningCalls { calls, total })
    };

    // What all viewers share is for those who may see all rooms.
    if web.store.visible_rooms().is_some() {
        return Ok(Arc::new(read.await?));
    }

    web.memory.running.get(|| web.data_version(), read).await
}

/// The members of running calls who still count though they are probably gone. Sums subtract their
/// time.
pub(super) async fn read_gone_members(web: &Web, ask: &PageRequest) -> Result<Gone, Error> {
    let running = Box::pin(read_running_calls(web, ask)).await?;
    Ok(view::gone_in_calls(running.calls.iter()))
}

/// The calls of one room that run now.
pub(super) async fn read_running_in_room(
    web: &Web,
    ask: &PageRequest,
    room_id: &str,
) -> Result<Vec<CallFacts>, Error> {
    // If there are too many running calls, do not read those of all rooms for one room.
    let total = read::calls::count_active_calls(&web.store, ask.now).await?;
    if total < read::calls::ACTIVE_MOST {
        let running = read_running_calls(web, ask).await?;
        let of_room = |call: &&CallFacts| call.room.room_id == room_id;
        return Ok(running.calls.iter().filter(of_room).cloned().collect());
    }

    let calls = read::calls::active_in_room(&web.store, room_id, ask.now).await?;

    read_calls_with_members(web, ask, calls).await
}

fn saturating_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Makes these calls with their members and all that is known of them. For calls in `parts`, only
/// some members are read, but always those in `besides` (ids of stays).
async fn read_calls_in_part(
    web: &Web,
    ask: &PageRequest,
    calls: Vec<model::Call>,
    parts: Vec<PartlyReadCall>,
    besides: Vec<String>,
) -> Result<Vec<CallFacts>, Error> {
    let store = &web.store;
    if calls.is_empty() {
        return Ok(Vec::new());
    }

    let in_part: HashSet<&str> = parts.iter().map(|part| part.id.as_str()).collect();
    let whole: Vec<String> = calls
        .iter()
        .map(|call| call.id.clone())
        .filter(|id| !in_part.contains(id.as_str()))
        .collect();
    let mut stay_ids = besides;
    for part in &parts {
        stay_ids.extend(large_calls::representative_stays(store, &part.id, part.most).await?);
    }

    stay_ids.sort_unstable();
    stay_ids.dedup();
    let rooms: BTreeSet<String> = calls.iter().map(|call| call.room.room_id.clone()).collect();
    // Read the coverage before the stays: a time reported as read must not lack any stay.
    let coverage = coverage::coverage_of_rooms(store, &rooms, ask.now).await?;
    let KnownStays { members, evidence } =
        KnownStays::read(store, &whole, &stay_ids, ask.now).await?;
    let told = &evidence.ghosts.told;
    let own = if told.is_empty() && evidence.left_overs.is_empty() {
        None
    } else {
        find_own_address(web).await?
    };
    let silent = members
        .iter()
        .filter(|member| told.contains_key(&member.stay.id));
    let servers: BTreeSet<&str> = silent.map(|member| member.stay.server()).collect();
    let support = read_support(web, &servers).await?;
    let ledger = CallContext {
        own,
        support,
        stays: evidence,
        coverage,
        rooms: access::knowledge_of_rooms(store, &rooms).await?,
    };

    let mut calls = view::calls_with_members(calls, members, &ledger, ask.now);
    for call in &mut calls {
        call.older_rules = store.is_from_older_rules(&call.room.room_id);
    }

    // Who is there now cannot be counted from a part of the stays, so the database counts it.
    for part in &parts {
        let present = large_calls::people_now_in_call(store, &part.id, ask.now).await?;
        let call = calls.iter_mut().find(|call| call.id == part.id);
        if let Some(call) = call {
            call.is_part_of(part.total, present);
        }
    }

    if calls.iter().any(|call| call.active) {
        let present = Liveness::read(web, ask.now).await?;
        for call in calls.iter_mut().filter(|call| call.active) {
            if let Some(unknown) = present.room(&call.room.room_id) {
                call.with_unknown(unknown, ask.now);
            }
        }
    }

    Ok(calls)
}
