//! `/calls/{id}`: one call, its timeline, every stay, its transports and the evidence.

use super::call_window::{WindowFacts, keep_window, span_of_query};
use crate::rtc::coverage::{Interval, Span};
use crate::rtc::ghost::GhostSign;
use crate::rtc::related::RelatedKind;
use crate::rtc::transport::host_of_url;
use crate::store::ingest::rooms;
use crate::store::model;
use crate::store::read::calls::{self, NeighbourCall};
use crate::store::read::{events, large_calls, related};
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::svg::axis::Axis;
use crate::web::svg::blind::{self, Band};
use crate::web::svg::pin::{self, Pin};
use crate::web::svg::sfu::Sfus;
use crate::web::svg::shape;
use crate::web::svg::timeline::{self, Renewal, Timeline};
use crate::web::view::format as f;
use crate::web::view::{
    CallFacts, CoverageFacts, EvidenceFacts, FindingFacts, FindingGroup, FindingKind,
    LinkedCallFacts, MemberFacts, RelatedFacts, Stamp, groups_of_findings,
};
use crate::web::{Web, view};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Parameters: of the API, and of the page.
pub const KNOWN: &[&str] = &["members_from", "events_from", "from", "to"];
const KNOWN_TO_PAGE: &[&str] = &["stays_from", "events_from", "from", "to"];
/// Maximum number of events read for the evidence and for renewals, and maximum `events_from`.
const EVENTS: usize = 400;
const EVENTS_FROM_MAX: i64 = 100_000;
const STAYS_FROM_MAX: i64 = 1_000_000;
/// Maximum number of stays and of events shown: first below the timeline, then on a page of their
/// own.
const STAYS: [usize; 2] = [20, 60];
const EVENTS_SHOWN: [usize; 2] = [10, 30];
/// Maximum size of the raw events in these two places, bytes.
const RAW_MAX: [usize; 2] = [6_000, 24_000];
/// Maximum number of people looked up by name who were rung but are not in the call.
const NAMES_MOST: usize = 100;
/// Maximum number of stays that came back with their earlier stay shown.
const EARLIER_MOST: usize = 20;
/// Maximum number of rings and slot changes in the list.
const MARKS: usize = 40;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CallPage {
    #[serde(flatten)]
    pub call: CallFacts,
    pub transports: Vec<TransportFacts>,
    /// Events behind the call, oldest first, 400 from `events_from` on; and how many there are.
    pub evidence: Vec<EvidenceFacts>,
    pub evidence_total: i64,
    /// `evidence_total` is the exact number. If false, the call is very large, and there are more.
    pub evidence_whole: bool,
    /// Rings, notifications, declines, and changes of the slot.
    pub related: Vec<RelatedFacts>,
    /// Calls that belong to this one: a ring of the one was taken in the other.
    pub linked_calls: Vec<LinkedCallFacts>,
    /// For stays here that begin with a renewal after a goodbye: the stay that had ended; at most
    /// 20.
    pub earlier_stays: Vec<EarlierStayFacts>,
    /// The calls of the room that began last before this one, and first after it; null if there is
    /// none.
    pub previous_call: Option<NeighbourFacts>,
    pub next_call: Option<NeighbourFacts>,
    /// The time that was asked for with `from` and `to`; null where none was.
    pub window: Option<WindowFacts>,
    /// The room's coverage over the time of the call.
    pub coverage: Vec<CoverageFacts>,
    #[serde(skip)]
    cover: Vec<Interval>,
    /// For the page only.
    #[serde(skip)]
    pub part: PagePart,
    /// The requested stays, if they are not the first ones.
    #[serde(skip)]
    stays_shown: Option<Vec<MemberFacts>>,
    /// The part of the call that the picture is asked to show.
    #[serde(skip)]
    pub(super) asked: Option<Span>,
}

/// The previous or the next call of the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NeighbourFacts {
    pub id: String,
    pub started_ms: i64,
    pub started_at: Stamp,
}

impl From<NeighbourCall> for NeighbourFacts {
    fn from(call: NeighbourCall) -> Self {
        Self {
            id: call.id,
            started_ms: call.started_ms,
            started_at: Stamp(call.started_ms),
        }
    }
}

impl NeighbourFacts {
    /// Its page.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/calls/{}", f::path_segment(&self.id))
    }
}

/// The part that the page shows: rows from a given place of one list; everything from the beginning
/// if none is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PagePart {
    /// Stays before the first one that is shown.
    stays_from: Option<usize>,
    /// Events before the first one that is shown.
    events_from: Option<usize>,
}

impl PagePart {
    /// Is it the complete page: the picture, and the first stays and events?
    #[must_use]
    pub fn is_whole(self) -> bool {
        self == Self::default()
    }
}

/// Some rows of a list.
#[derive(Debug)]
pub struct ShownRows<'a, T> {
    pub rows: &'a [T],
    /// The number of rows before these, and in total.
    pub before: usize,
    pub total: usize,
}

/// The span of the times in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimesSpan {
    pub from: i64,
    pub to: i64,
}

impl TimesSpan {
    /// Are they of more than one day in UTC, so that each needs its date?
    #[must_use]
    pub fn dated(&self) -> bool {
        f::start_of_day(self.from) != f::start_of_day(self.to)
    }
}

impl<T> ShownRows<'_, T> {
    /// The place of the next rows, if there are any.
    #[must_use]
    pub fn next(&self) -> Option<usize> {
        Some(self.before + self.rows.len()).filter(|next| *next < self.total)
    }

    /// `21 to 80 of 200`; empty if all rows are shown.
    #[must_use]
    pub fn place(&self) -> String {
        if self.rows.len() == self.total {
            return String::new();
        }

        let (first, last) = (
            f::group_digits(self.before + 1),
            f::group_digits(self.before + self.rows.len()),
        );

        format!("{first} to {last} of {}", f::group_digits(self.total))
    }
}

/// A stay that had ended with a goodbye before the same device came back by a renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EarlierStayFacts {
    /// The renewal with which it came back.
    pub join_event_id: String,
    pub user_id: String,
    pub device_id: Option<String>,
    /// The call of the stay that had ended, when it did, and its goodbye.
    pub call_id: String,
    pub ended_ms: i64,
    pub ended_at: Stamp,
    pub end_event_id: Option<String>,
}

impl EarlierStayFacts {
    /// The page of the call of the stay that had ended.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/calls/{}", f::path_segment(&self.call_id))
    }

    /// The place of its goodbye in the evidence of that call; `None` if the event is not known.
    #[must_use]
    pub fn goodbye_href(&self) -> Option<String> {
        let event_id = self.end_event_id.as_deref()?;
        Some(format!("{}#e-{}", self.href(), f::path_segment(event_id)))
    }
}

/// The use of one transport in this call.
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

/// `GET /calls/{id}` and `GET /api/v1/calls/{id}`: one call, as a page or as JSON.
pub async fn get_call(req: HttpRequest, web: Web, id: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(&web, &ask, load_call_page(&web, &ask, &id).await).await
}

/// Reads everything that the page or its JSON shows of the call that an id leads to. Redirects to
/// the call's own address if the id is a former one or that of an event.
pub(super) async fn load_call_page(
    web: &Web,
    ask: &PageRequest,
    id: &str,
) -> Result<PageAnswer<CallPage>, Error> {
    let query = ask.read_query(if ask.api { KNOWN } else { KNOWN_TO_PAGE })?;
    let part = part_of_query(&query)?;
    let before = part.events_from.unwrap_or(0);
    let Some(call) = calls::find_call(&web.store, id).await? else {
        return Err(Error::NotFound(
            "No call has this id, and no event with this id belongs to a call.".to_owned(),
        ));
    };

    if call.id != id {
        return Ok(PageAnswer::Redirect(format!(
            "/calls/{}",
            f::path_segment(&call.id)
        )));
    }

    let upto = i64::try_from(before + EVENTS).unwrap_or(i64::MAX);
    let is_large = call.memberships > super::STAYS_OF_CALL;
    // The events of a very large call are not counted; a total of one more says that there are
    // more.
    let (mut evidence, total, evidence_whole) = if is_large {
        let (found, is_whole) = events::events_behind_large_call(&web.store, &call, upto).await?;
        let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
        (found, total + i64::from(!is_whole), is_whole)
    } else {
        let (found, total) = events::events_behind_call(&web.store, id, upto).await?;
        (found, total, true)
    };

    evidence.drain(..before.min(evidence.len()));
    let cover = super::coverage_of(web, ask, &call.room.room_id).await?;
    let (facts, stays) =
        super::read_call_with_window(web, ask, call.clone(), part.stays_from).await?;
    let related = related::related_of_call(&web.store, &call).await?;
    let late = related::late_answers(&web.store, &call, ask.now).await?;
    let mut page = CallPage {
        evidence_whole,
        part,
        ..call_page(facts, evidence, total, cover, ask.now)
    };

    let neighbours = calls::neighbours_of_call(&web.store, &call).await?;
    page.previous_call = neighbours.previous.map(NeighbourFacts::from);
    page.next_call = neighbours.next.map(NeighbourFacts::from);

    let related = view::with_outcomes(related, &page.call.members, ask.now);
    let unnamed: BTreeSet<String> = related
        .iter()
        .flat_map(|one| one.whom.iter().chain([&one.user_id]))
        .filter(|user_id| page.name_of(user_id).is_none())
        .take(NAMES_MOST)
        .cloned()
        .collect();
    let room_id = page.call.room.room_id.clone();
    let names = rooms::display_names(&web.store, &room_id, &unnamed).await?;
    let name_of = |user_id: &str| {
        let known = page.name_of(user_id);
        known.or_else(|| names.get(user_id).cloned())
    };

    let related = related.into_iter().map(|one| one.with_names(name_of));
    page.related = related.collect();
    page.earlier_stays = earlier_stays(web, &page.call).await?;
    page.say_whether_it_rang();
    page.linked_calls = late
        .into_iter()
        .map(|late| LinkedCallFacts::of_call(&call.id, late))
        .collect();
    let has_stays = stays.is_some();
    if let Some(stays) = stays {
        if ask.api {
            page.call.members = stays;
        } else {
            page.stays_shown = Some(stays);
        }
    }

    match span_of_query(&query, &page.call, ask.now) {
        // `members_from` counts all members.
        Ok(_) if ask.api && has_stays => {}
        Ok(asked) if ask.api => {
            page.window = asked.map(|span| keep_window(&mut page.call, span, ask.now));
            // A part of the stays does not tell how many people there were.
            if let (Some(span), Some(window), false) = (asked, page.window, page.call.members_whole)
            {
                let counted = large_calls::people_within(&web.store, &page.call.id, span).await?;
                page.window = Some(window.with_counts(counted));
            }
        }
        // In an empty span there is nothing to be shown.
        Ok(asked) => page.asked = asked.filter(|span| !span.is_empty()),
        Err(error) if ask.api => return Err(error),
        // The picture then shows what it shows without being asked.
        Err(_) => {}
    }

    Ok(page.into())
}

/// The part of the call that the parameters ask for. The stays have one parameter in the API,
/// `members_from`, and another one on the page, `stays_from`.
fn part_of_query(query: &Query) -> Result<PagePart, Error> {
    let stays = if query.get("members_from").is_some() {
        "members_from"
    } else {
        "stays_from"
    };

    let stays_from = row_of_query(query, stays, STAYS_FROM_MAX)?;
    let events_from = row_of_query(query, "events_from", EVENTS_FROM_MAX)?;

    // A page shows only one list at a time: both would make it too large.
    if stays == "stays_from" && stays_from.is_some() && events_from.is_some() {
        return Err(Error::Invalid(
            "stays_from and events_from are two pages: ask for one of them".to_owned(),
        ));
    }

    Ok(PagePart {
        stays_from,
        events_from,
    })
}

/// The number in this parameter, which says how many rows of a list come before the first one that
/// is asked for; `None` if it is not given.
fn row_of_query(query: &Query, name: &str, most: i64) -> Result<Option<usize>, Error> {
    let Some(before) = query.number(name)? else {
        return Ok(None);
    };

    if before > most {
        return Err(Error::Invalid(format!("{name} goes up to {most}")));
    }

    Ok(Some(usize::try_from(before).unwrap_or(0)))
}

/// The page from its rows, without rings, linked calls and earlier stays. `evidence_total` is the
/// number of all events behind the call, of which `evidence` may be the first; `cover` is the
/// coverage of its room until `now`, ms.
#[must_use]
pub fn call_page(
    call: CallFacts,
    evidence: Vec<model::Evidence>,
    evidence_total: i64,
    cover: Vec<Interval>,
    now: i64,
) -> CallPage {
    let transports = transports_of_call(&call, now);
    let evidence = evidence
        .into_iter()
        .map(|row| EvidenceFacts::from(row).among(&call.members))
        .collect();
    let here = Span {
        from: call.started_ms,
        to: call.end_ms(now).max(call.started_ms + 1),
    };

    // Cut each to the time of the call. Otherwise later changes would change the answer for ever.
    let within = cover.iter().map(|interval| Interval {
        span: interval.span.within(&here),
        ..*interval
    });
    let coverage = within
        .filter(|interval| !interval.span.is_empty())
        .map(|interval| (&interval).into())
        .collect();

    CallPage {
        call,
        transports,
        evidence,
        evidence_total,
        evidence_whole: true,
        window: None,
        stays_shown: None,
        asked: None,
        related: Vec::new(),
        linked_calls: Vec::new(),
        earlier_stays: Vec::new(),
        previous_call: None,
        next_call: None,
        coverage,
        cover,
        part: PagePart::default(),
    }
}

/// For each stay that came back after a goodbye, up to [`EARLIER_MOST`]: the stay that had ended.
async fn earlier_stays(web: &Web, call: &CallFacts) -> Result<Vec<EarlierStayFacts>, Error> {
    let back = call.members.iter();
    let back = back.filter(|member| member.back_since_ms.is_some());
    let mut found = Vec::new();
    for member in back.take(EARLIER_MOST) {
        let (join, room_id) = (&member.join_event_id, &call.room.room_id);
        let earlier = crate::store::read::memberships::ended_before(
            &web.store,
            room_id,
            join,
            member.joined_ms,
        );
        let Some(earlier) = earlier.await? else {
            continue;
        };

        found.push(EarlierStayFacts {
            join_event_id: join.clone(),
            user_id: member.user_id.clone(),
            device_id: member.device_id.clone(),
            call_id: earlier.call_id,
            ended_ms: earlier.ended_ms,
            ended_at: Stamp(earlier.ended_ms),
            end_event_id: earlier.end_event_id,
        });
    }

    Ok(found)
}

/// How much each transport was used in the call until `now`, ms, in order of the first member who
/// used it. Addresses with the same host are one transport.
fn transports_of_call(call: &CallFacts, now: i64) -> Vec<TransportFacts> {
    let mut found: Vec<TransportFacts> = Vec::new();
    let mut devices: Vec<BTreeSet<(&str, Option<&str>)>> = Vec::new();
    for member in &call.members {
        let Some(transport) = &member.transport else {
            continue;
        };

        let address = transport.address();
        let place = found.iter().position(|known| {
            let same = |known: &String| {
                address.is_some_and(|address| host_of_url(known) == host_of_url(address))
            };
            known.kind == transport.kind
                && known.service_url.as_ref().map_or(address.is_none(), same)
        });
        let place = place.unwrap_or_else(|| {
            let (kind, service_url) = (transport.kind.clone(), address.map(ToOwned::to_owned));
            found.push(TransportFacts {
                kind,
                service_url,
                devices: 0,
                servers: Vec::new(),
                together_ms: 0,
            });
            devices.push(BTreeSet::new());
            found.len() - 1
        });
        devices[place].insert((&member.user_id, member.device_id.as_deref()));
        let known = &mut found[place];
        known.devices = devices[place].len();
        known.together_ms = known
            .together_ms
            .saturating_add(member.end_ms(now).saturating_sub(member.joined_ms));
        if let Err(index) = known.servers.binary_search(&member.server) {
            known.servers.insert(index, member.server.clone());
        }
    }

    found
}

impl CallPage {
    /// Adds to each finding that nobody could come whether the call rang for the whole room.
    fn say_whether_it_rang(&mut self) {
        let rang = |one: &RelatedFacts| one.kind == RelatedKind::Ring && one.whole_room;
        let rang = self.related.iter().any(rang);

        for finding in &mut self.call.findings {
            if finding.kind == FindingKind::NobodyCouldCome {
                finding.state.rang_everybody = Some(rang);
            }
        }
    }

    /// The member who joined first.
    #[must_use]
    pub fn first(&self) -> Option<&MemberFacts> {
        self.call
            .members
            .iter()
            .min_by_key(|member| member.joined_ms)
    }

    /// The picture of the call, as it is at `now_ms`: bars of stays, renewals and rings. It has
    /// fewer lines if the page was too long (`shell.halvings`).
    #[must_use]
    pub fn timeline(&self, now_ms: impl f::WholeNumber, shell: &Shell) -> Timeline {
        let now_ms = now_ms.whole();
        let renewals: Vec<Renewal> = self
            .evidence
            .iter()
            .flat_map(|event| self.renewals(event))
            .collect();

        timeline::draw_timeline(
            &self.call,
            &renewals,
            &self.related,
            self.call.upto(now_ms),
            self.axis_shown(now_ms),
            shell.halvings,
        )
    }

    /// The time in which the room was not watched, as bands behind the timeline.
    #[must_use]
    pub fn blind(&self, axis: &Axis) -> Vec<Band> {
        blind::bands_on_axis(blind::unobserved_spans(&self.cover), axis)
    }

    /// The stay that had ended before the one that this event began; `None` for other events.
    #[must_use]
    pub fn earlier_of_event(&self, event_id: &str) -> Option<&EarlierStayFacts> {
        let mut earlier = self.earlier_stays.iter();
        earlier.find(|stay| stay.join_event_id == event_id)
    }

    /// The stay that had ended before the one that a finding is about; `None` unless the finding
    /// says that the device came back after a goodbye.
    #[must_use]
    pub fn earlier_of_finding(&self, finding: &FindingFacts) -> Option<&EarlierStayFacts> {
        let mut earlier = self.earlier_stays.iter();
        earlier.find(|stay| {
            finding.sign == Some(GhostSign::CameBack)
                && finding.users == [stay.user_id.as_str()]
                && finding.device_id == stay.device_id
        })
    }

    /// The findings that are shown, the most serious first.
    #[must_use]
    pub fn findings(&self, shell: &Shell) -> &[FindingFacts] {
        shell.first(&self.call.findings, pin::MOST)
    }

    /// The findings that are shown, grouped: related findings are shown as one.
    #[must_use]
    pub fn finding_groups(&self, shell: &Shell) -> Vec<FindingGroup<'_>> {
        groups_of_findings(self.findings(shell))
    }

    /// The numerals of the shown findings on the axis of the timeline; those of findings about one
    /// stay stand on its bar.
    #[must_use]
    pub fn pins(&self, picture: &Timeline, now_ms: impl f::WholeNumber, shell: &Shell) -> Vec<Pin> {
        pin::axis_pins(self.findings(shell), picture, self.call.upto(now_ms))
    }

    /// The words of the legend for the bands of people who were apart; `None` if no such band is
    /// shown.
    #[must_use]
    pub fn apart(&self, picture: &Timeline, shell: &Shell) -> Option<&'static str> {
        pin::band_legend(self.findings(shell)).filter(|_| picture.area.is_none())
    }

    /// The event that ended a stay, in words, if somebody else than its user sent it.
    #[must_use]
    pub fn ender(&self, stay: &MemberFacts) -> Option<String> {
        let event = self
            .evidence
            .iter()
            .find(|event| Some(&event.event_id) == stay.end_event_id.as_ref())?;

        (event.sender != stay.user_id).then(|| event.title())
    }

    /// The span of the times in the table of stays.
    #[must_use]
    pub fn span(&self, now_ms: impl f::WholeNumber) -> TimesSpan {
        TimesSpan {
            from: self.call.started_ms,
            to: self.call.end_ms(self.call.upto(now_ms)),
        }
    }

    /// The span of everything on the page, including events and rings.
    #[must_use]
    pub fn span_told(&self, now_ms: impl f::WholeNumber) -> TimesSpan {
        let (events, rings) = (&self.evidence, &self.related);
        let told = events
            .iter()
            .map(|event| event.origin_server_ts)
            .chain(rings.iter().map(|ring| ring.at_ms));

        told.fold(self.span(now_ms), |span, ms| TimesSpan {
            from: span.from.min(ms),
            to: span.to.max(ms),
        })
    }

    /// Rings and the like in the list below the timeline.
    #[must_use]
    pub fn rings(&self, shell: &Shell) -> &[RelatedFacts] {
        &self.related[..self.related.len().min(shell.at_most(MARKS))]
    }

    /// The renewals that this event is: one for each device that it names. None if it was rejected
    /// or begins a stay. They are marks in the timeline.
    fn renewals(&self, event: &EvidenceFacts) -> Vec<Renewal> {
        if event.rejected.is_some() || self.is_join(&event.event_id) {
            return Vec::new();
        }

        let ms = event
            .received_ms
            .map_or(event.origin_server_ts, |ms| ms.min(event.origin_server_ts));
        let renewal_of = |device_id| Renewal {
            user_id: event.sender.clone(),
            device_id,
            ms,
        };

        event.devices().into_iter().map(renewal_of).collect()
    }

    /// The display name of somebody who is in the call or sent one of its events; `None` if it is
    /// not known.
    fn name_of(&self, user_id: &str) -> Option<String> {
        let members = self
            .call
            .members
            .iter()
            .filter(|member| member.user_id == user_id);
        let senders = self.evidence.iter().filter(|event| event.sender == user_id);

        members
            .map(|member| &member.name)
            .chain(senders.map(|event| &event.name))
            .find_map(Clone::clone)
    }

    /// How many of the shown events stand with their raw JSON: as many as keep the page small. The
    /// JSON of the page has all.
    #[must_use]
    pub fn raws(&self, shell: &Shell) -> usize {
        let (mut bytes, most) = (
            0,
            shell.at_most(RAW_MAX[usize::from(!self.part.is_whole())]),
        );
        let fits = |event: &&EvidenceFacts| {
            bytes += f::raw_json(&event.event).to_string().len();
            bytes <= most
        };

        self.events_shown(shell)
            .rows
            .iter()
            .take_while(fits)
            .count()
    }

    /// Does a stay begin with this event?
    #[must_use]
    pub fn is_join(&self, event_id: &str) -> bool {
        self.call
            .members
            .iter()
            .any(|member| member.join_event_id == event_id)
    }

    /// The SFUs of this call with their letters.
    #[must_use]
    pub fn sfus(&self) -> Sfus {
        Sfus::from_urls(self.call.members.iter().filter_map(MemberFacts::sfu))
    }

    /// For one list: how many rows come before the first one shown, and the most that are shown.
    /// `from` is what was asked for of this list, `most` the maximum below the picture and on a
    /// page of its own. (0, 0) if only the other list was asked for.
    fn window_of(&self, from: Option<usize>, most: [usize; 2]) -> (usize, usize) {
        match from {
            Some(before) => (before, most[1]),
            None if self.part.is_whole() => (0, most[0]),
            None => (0, 0),
        }
    }

    /// The stays of the table, in order of arrival; none if only the events are requested.
    #[must_use]
    pub fn stays(&self, shell: &Shell) -> ShownRows<'_, MemberFacts> {
        let (before, most) = self.window_of(self.part.stays_from, STAYS);

        let rows = self.stays_shown.as_ref().unwrap_or(&self.call.members);
        let total = usize::try_from(self.call.members_total).unwrap_or(0);

        ShownRows {
            rows: &rows[..rows.len().min(shell.at_most(most))],
            before,
            total: total.max(self.call.members.len()),
        }
    }

    /// The events of the list; none if only the stays are requested.
    #[must_use]
    pub fn events_shown(&self, shell: &Shell) -> ShownRows<'_, EvidenceFacts> {
        let (before, most) = self.window_of(self.part.events_from, EVENTS_SHOWN);

        let total = usize::try_from(self.evidence_total).unwrap_or(0);

        ShownRows {
            rows: &self.evidence[..self.evidence.len().min(shell.at_most(most))],
            before,
            total,
        }
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
        Html {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}
