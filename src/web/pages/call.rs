//! `/calls/{id}`: one call, its timeline, every stay, its transports and the evidence.

use crate::rtc::coverage::{Interval, Span};
use crate::store::row;
use crate::store::{events, related, sessions};
use crate::web::draw::axis::Axis;
use crate::web::draw::blind::{self, Band};
use crate::web::draw::sfu::Sfus;
use crate::web::draw::shape;
use crate::web::draw::timeline::{self, Renewal, Timeline};
use crate::web::error::Error;
use crate::web::facts::{self, CallFacts, CoverageFacts, EvidenceFacts, MemberFacts, RelatedFacts};
use crate::web::query::Query;
use crate::web::reply::{self, Answer, Ask, Page, Section, Shell};
use crate::web::{Web, assets, format as f};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Events read for the evidence and for renewals, and shown.
const EVENTS: i64 = 400;
const EVENTS_SHOWN: usize = 30;
/// Bytes of raw events on the page.
const RAW_MAX: usize = 9_000;
/// Stays in the table.
const STAYS_SHOWN: usize = 300;
/// Rings and slot changes in the list.
const MARKS: usize = 40;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CallPage {
    #[serde(flatten)]
    pub call: CallFacts,
    pub transports: Vec<TransportFacts>,
    /// Events behind the call, oldest first, the first of them only; and how many there are.
    pub evidence: Vec<EvidenceFacts>,
    pub evidence_total: i64,
    /// Rings, notifications, declines, and changes of the slot.
    pub related: Vec<RelatedFacts>,
    /// How the room is known over the time of the call.
    pub coverage: Vec<CoverageFacts>,
    #[serde(skip)]
    cover: Vec<Interval>,
}

/// What one transport carried of this call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TransportFacts {
    #[serde(rename = "type")]
    pub kind: String,
    pub service_url: Option<String>,
    pub devices: usize,
    pub servers: Vec<String>,
    /// Device time.
    pub together_ms: i64,
}

/// `GET /calls/{id}` and `GET /api/v1/calls/{id}`
pub async fn get(req: HttpRequest, web: http::Data<Web>, id: http::Path<String>) -> HttpResponse {
    let ask = Ask::of(&req, &web);
    reply::send(&web, &ask, load(&web, &ask, &id).await).await
}

async fn load(web: &Web, ask: &Ask, id: &str) -> Result<Answer<CallPage>, Error> {
    Query::read(&ask.query, &[])?;
    let Some(call) = sessions::find(&web.store, ask.viewer, id).await? else {
        return Err(Error::NotFound("No call has this id, and no event with this id belongs to a call.".to_owned()));
    };
    if call.id != id {
        return Ok(Answer::Elsewhere(format!("/calls/{}", f::segment(&call.id))));
    }
    let (evidence, total) = events::behind(&web.store, ask.viewer, id, EVENTS).await?;
    let cover = super::coverage_of(web, ask, &call.room.room_id).await?;
    let facts = super::with_members(web, ask, vec![call.clone()]).await?.remove(0);
    let joins: Vec<String> = facts.members.iter().map(|member| member.join_event_id.clone()).collect();
    let related = related::of(&web.store, ask.viewer, &call, &joins).await?;
    let mut page = page(facts, evidence, total, cover, ask.now);
    let related = facts::with_outcomes(related, &page.call.members, ask.now).into_iter();
    page.related = related
        .map(|one| {
            let name = page.name_of(&one.user_id);
            one.with_name(name)
        })
        .collect();
    Ok(page.into())
}

/// The page from its rows.
#[must_use]
pub fn page(
    call: CallFacts,
    evidence: Vec<row::Evidence>,
    evidence_total: i64,
    cover: Vec<Interval>,
    now: i64,
) -> CallPage {
    let transports = transports(&call, now);
    let evidence = evidence.into_iter().map(EvidenceFacts::from).collect();
    let here = Span { from: call.started_ms, to: call.end_ms(now).max(call.started_ms + 1) };
    let within = cover.iter().filter(|interval| !interval.span.within(&here).is_empty());
    let coverage = within.map(CoverageFacts::from).collect();
    CallPage { call, transports, evidence, evidence_total, related: Vec::new(), coverage, cover }
}

fn transports(call: &CallFacts, now: i64) -> Vec<TransportFacts> {
    let mut found: Vec<TransportFacts> = Vec::new();
    let mut devices: Vec<BTreeSet<(&str, Option<&str>)>> = Vec::new();
    for member in &call.members {
        let Some(transport) = &member.transport else { continue };
        let place =
            found.iter().position(|known| known.kind == transport.kind && known.service_url == transport.service_url);
        let place = place.unwrap_or_else(|| {
            let (kind, service_url) = (transport.kind.clone(), transport.service_url.clone());
            found.push(TransportFacts { kind, service_url, devices: 0, servers: Vec::new(), together_ms: 0 });
            devices.push(BTreeSet::new());
            found.len() - 1
        });
        devices[place].insert((&member.user_id, member.device_id.as_deref()));
        let known = &mut found[place];
        known.devices = devices[place].len();
        known.together_ms = known.together_ms.saturating_add(member.end_ms(now).saturating_sub(member.joined_ms));
        if let Err(index) = known.servers.binary_search(&member.server) {
            known.servers.insert(index, member.server.clone());
        }
    }
    found
}

impl CallPage {
    /// Who came first.
    #[must_use]
    pub fn first(&self) -> Option<&MemberFacts> {
        self.call.members.iter().min_by_key(|member| member.joined_ms)
    }

    #[must_use]
    pub fn timeline(&self, now: impl f::Whole) -> Timeline {
        let renewals: Vec<Renewal> = self.evidence.iter().filter_map(|event| self.renewal(event)).collect();
        timeline::draw(&self.call, &renewals, &self.related, self.call.upto(now))
    }

    /// What nobody watched, behind the timeline.
    #[must_use]
    pub fn blind(&self, now: impl f::Whole) -> Vec<Band> {
        let axis = Axis::around(self.call.started_ms, self.call.end_ms(now));
        blind::bands(blind::spans(&self.cover), &axis)
    }

    /// Rings and the like in the list below the timeline.
    #[must_use]
    pub fn rings(&self) -> &[RelatedFacts] {
        &self.related[..self.related.len().min(MARKS)]
    }

    fn renewal(&self, event: &EvidenceFacts) -> Option<Renewal> {
        let again = event.is_membership() && event.rejected.is_none() && !self.is_join(&event.event_id);
        let ms = event.received_ms.map_or(event.origin_server_ts, |ms| ms.min(event.origin_server_ts));
        again.then(|| Renewal {
            user_id: event.sender.clone(),
            device_id: event.device_id().map(ToOwned::to_owned),
            ms,
        })
    }

    /// The display name of somebody who is in the call or sent one of its events.
    fn name_of(&self, user_id: &str) -> Option<String> {
        let members = self.call.members.iter().filter(|member| member.user_id == user_id);
        let senders = self.evidence.iter().filter(|event| event.sender == user_id);
        members.map(|member| &member.name).chain(senders.map(|event| &event.name)).find_map(Clone::clone)
    }

    /// How many lines of the evidence have their raw event on the page: as many as keep it small; the JSON has all.
    #[must_use]
    pub fn raws(&self) -> usize {
        let mut bytes = 0;
        let fits = |event: &&EvidenceFacts| {
            bytes += f::raw_json(&event.event).to_string().len();
            bytes <= RAW_MAX
        };
        self.events_shown().iter().take_while(fits).count().max(1)
    }

    /// Does a stay begin with this event?
    #[must_use]
    pub fn is_join(&self, event_id: &str) -> bool {
        self.call.members.iter().any(|member| member.join_event_id == event_id)
    }

    /// The SFUs of this call with their letters.
    #[must_use]
    pub fn sfus(&self) -> Sfus {
        Sfus::of(self.call.members.iter().filter_map(MemberFacts::sfu))
    }

    /// The stays of the table, in order of arrival.
    #[must_use]
    pub fn stays(&self) -> &[MemberFacts] {
        &self.call.members[..self.call.members.len().min(STAYS_SHOWN)]
    }

    #[must_use]
    pub fn events_shown(&self) -> &[EvidenceFacts] {
        &self.evidence[..self.evidence.len().min(EVENTS_SHOWN)]
    }
}

#[derive(Template)]
#[template(path = "call.html")]
struct Html<'a> {
    page: &'a CallPage,
    shell: &'a Shell,
    now: i64,
}

impl Page for CallPage {
    const SECTION: Section = Section::Calls;

    fn room_id(&self) -> Option<&str> {
        Some(&self.call.room.room_id)
    }

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html { page: self, shell, now: shell.now_ms }.render()
    }
}
