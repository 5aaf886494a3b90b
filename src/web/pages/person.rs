//! `/people/{id}`: one person: their calls, the rings that they sent and missed, whom they were
//! with, and how their stays end. Only for those who see people by their names.

use super::period::Period;
use crate::rtc::attendance::presence_by_day;
use crate::rtc::id::server_of;
use crate::rtc::ring::RingOutcome;
use crate::rtc::time::day_of_time;
use crate::rtc::words::EndReason;
use crate::store::read::person::{self, Companion, PersonStay};
use crate::store::read::rings::{self, PersonRings};
use crate::store::stats::distributions::{self, EndFacts};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::svg::bars::{Bars, TimeOfStep, draw_time_bars};
use crate::web::svg::timeline::end_reason_words;
use crate::web::view::format as f;
use crate::web::view::{CallFacts, RoomRef, Stamp, person_title};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use utoipa::ToSchema;

/// Maximum stays and rings that are looked at, and rows of the lists.
const STAYS_MAX: i64 = 20_000;
const RINGS_MAX: i64 = 500;
const COMPANIONS: i64 = 12;
const ROOMS: usize = 12;
const RINGS_SHOWN: usize = 20;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PersonPage {
    pub user_id: String,
    pub name: Option<String>,
    pub server: String,
    pub period: &'static str,
    /// Calls that the person is in now.
    pub now: Vec<CallFacts>,
    /// In the period: calls, rooms, devices, and how long any of the devices was in a call.
    pub calls: usize,
    pub rooms: usize,
    pub devices: usize,
    pub present_ms: i64,
    /// False if the person had more stays: then these are the newest.
    pub is_whole: bool,
    /// The time in calls by step, from the first day of the period.
    pub steps: Vec<PresenceStep>,
    /// Ended stays by the way they ended, the most frequent way first.
    pub ends: Vec<EndFacts>,
    /// The rooms with most time.
    pub top_rooms: Vec<RoomOfPerson>,
    /// Whom the person was in calls with, most time first.
    pub companions: Vec<CompanionFacts>,
    pub rings: RingsOfPerson,
    #[serde(skip)]
    days: i64,
}

/// The time in calls of one day or week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct PresenceStep {
    pub from_ms: i64,
    pub from_at: Stamp,
    pub present_ms: i64,
}

/// A room in which the person was in calls.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RoomOfPerson {
    pub room: RoomRef,
    pub calls: usize,
    pub present_ms: i64,
}

/// Somebody who was in calls with the person.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CompanionFacts {
    pub user_id: String,
    pub name: Option<String>,
    pub calls: i64,
    pub together_ms: i64,
}

/// Rings that the person sent, and those by which the person was rung.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct RingsOfPerson {
    /// Sent, and those of them to which somebody came.
    pub sent: usize,
    pub sent_answered: usize,
    /// Got, and those of them to which the person came.
    pub got: usize,
    pub got_answered: usize,
    /// Those to which the person did not come, the newest first, at most 20; and how many there
    /// are.
    pub missed: Vec<MissedRing>,
    pub missed_total: usize,
    /// False if there were more rings: then these are the newest.
    pub is_whole: bool,
}

/// A ring to which the person did not come.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MissedRing {
    pub at_ms: i64,
    pub at_at: Stamp,
    pub room: RoomRef,
    pub sender: String,
    /// The call that it rang for; null if it is not known.
    pub call_id: Option<String>,
    /// Somebody else came.
    pub is_answered_by_others: bool,
}

/// `GET /people/{id}` and `GET /api/v1/people/{id}`: one person, as a page or as JSON.
pub async fn get_person(req: HttpRequest, web: Web, id: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_person_page(&web, &ask, &id)
            .await
            .map(PageAnswer::from),
    )
    .await
}

async fn load_person_page(
    web: &Web,
    ask: &PageRequest,
    user_id: &str,
) -> Result<PersonPage, Error> {
    let period = Period::read(ask)?;
    let store = &web.store;
    let known = if store.shows_names() {
        person::find_known_person(store, user_id).await?
    } else {
        None
    };
    let Some(user_id) = known.as_deref() else {
        return Err(Error::NotFound(
            "Nobody with this id was seen in a call.".to_owned(),
        ));
    };

    let (span, now) = (period.span(ask.now), ask.now);
    let stays = person::stays_of_person(store, user_id, span, STAYS_MAX).await?;
    let companions = person::companions_of_person(store, user_id, span, COMPANIONS).await?;
    let found = rings::rings_of_person(store, user_id, span, now, RINGS_MAX).await?;
    let room_ids: BTreeSet<&str> = stays
        .iter()
        .map(|stay| stay.room_id.as_str())
        .chain(found.rings.iter().map(|ring| ring.room_id.as_str()))
        .collect();
    let room_ids: Vec<String> = room_ids.into_iter().map(ToOwned::to_owned).collect();
    let names = distributions::room_names(store, &room_ids).await?;
    let room_named = |room_id: &str| {
        let known = names.get(room_id).cloned();
        known.map_or_else(|| RoomRef::without_name(room_id), RoomRef::from)
    };
    let running = super::read_running_calls(web, ask).await?.calls.clone();
    let is_here = |call: &CallFacts| call.present().any(|member| member.user_id == user_id);
    let spans: Vec<(i64, i64)> = stays
        .iter()
        .map(|stay| (stay.joined_ms, stay.until_ms))
        .collect();
    let by_day = presence_by_day(&spans, span.from, now);
    let calls: BTreeSet<&str> = stays.iter().map(|stay| stay.call_id.as_str()).collect();
    let devices: BTreeSet<Option<&str>> =
        stays.iter().map(|stay| stay.device_id.as_deref()).collect();

    Ok(PersonPage {
        user_id: user_id.to_owned(),
        name: person::name_of_person(store, user_id).await?,
        server: server_of(user_id).to_owned(),
        period: period.word(),
        now: running.into_iter().filter(is_here).collect(),
        calls: calls.len(),
        rooms: stays
            .iter()
            .map(|stay| &stay.room_id)
            .collect::<BTreeSet<_>>()
            .len(),
        devices: devices.len(),
        present_ms: by_day.values().sum(),
        is_whole: i64::try_from(stays.len()).unwrap_or(i64::MAX) < STAYS_MAX,
        steps: presence_by_step(period, &by_day, span.from),
        ends: count_ends(&stays, now),
        top_rooms: rooms_of_person(&stays, span.from, now, room_named),
        companions: companions.into_iter().map(CompanionFacts::from).collect(),
        rings: rings_of_page(&found, &stays, user_id, room_named),
        days: period.days,
    })
}

/// How the stays that ended by `now`, ms, ended, the most frequent way first.
fn count_ends(stays: &[PersonStay], now: i64) -> Vec<EndFacts> {
    let mut counts: BTreeMap<EndReason, i64> = BTreeMap::new();
    for stay in stays.iter().filter(|stay| stay.until_ms <= now) {
        *counts.entry(stay.end_reason).or_default() += 1;
    }

    let mut ends: Vec<EndFacts> = counts
        .into_iter()
        .map(|(reason, stays)| EndFacts { reason, stays })
        .collect();
    ends.sort_by_key(|end| std::cmp::Reverse(end.stays));

    ends
}

/// The rooms with most time of the person, most first.
fn rooms_of_person(
    stays: &[PersonStay],
    from_ms: i64,
    now: i64,
    room_named: impl Fn(&str) -> RoomRef,
) -> Vec<RoomOfPerson> {
    let mut rooms: HashMap<&str, Vec<&PersonStay>> = HashMap::new();
    for stay in stays {
        rooms.entry(&stay.room_id).or_default().push(stay);
    }

    let room = |(room_id, stays): (&str, Vec<&PersonStay>)| {
        let calls: BTreeSet<&str> = stays.iter().map(|stay| stay.call_id.as_str()).collect();
        let spans: Vec<(i64, i64)> = stays
            .iter()
            .map(|stay| (stay.joined_ms, stay.until_ms))
            .collect();

        RoomOfPerson {
            room: room_named(room_id),
            calls: calls.len(),
            present_ms: presence_by_day(&spans, from_ms, now).values().sum(),
        }
    };
    let mut found: Vec<RoomOfPerson> = rooms.into_iter().map(room).collect();
    found.sort_by(|a, b| (b.present_ms, &a.room.room_id).cmp(&(a.present_ms, &b.room.room_id)));
    found.truncate(ROOMS);

    found
}

/// The rings of the person, counted. A ring that the person got is missed if they were not in its
/// call, and it does not ring any more.
fn rings_of_page(
    found: &PersonRings,
    stays: &[PersonStay],
    user_id: &str,
    room_named: impl Fn(&str) -> RoomRef,
) -> RingsOfPerson {
    let calls: BTreeSet<&str> = stays.iter().map(|stay| stay.call_id.as_str()).collect();
    let mut rings = RingsOfPerson {
        is_whole: found.is_whole,
        ..RingsOfPerson::default()
    };
    for ring in &found.rings {
        let is_answered = ring.outcome == RingOutcome::Answered;
        if ring.sender == user_id {
            rings.sent += 1;
            rings.sent_answered += usize::from(is_answered);
            continue;
        }

        rings.got += 1;
        let came = ring.call_id.as_deref().is_some_and(|id| calls.contains(id));
        if came {
            rings.got_answered += 1;
        } else if ring.outcome != RingOutcome::Ringing {
            rings.missed_total += 1;
            if rings.missed.len() < RINGS_SHOWN {
                rings.missed.push(MissedRing {
                    at_ms: ring.at_ms,
                    at_at: Stamp(ring.at_ms),
                    room: room_named(&ring.room_id),
                    sender: ring.sender.clone(),
                    call_id: ring.call_id.clone(),
                    is_answered_by_others: is_answered,
                });
            }
        }
    }

    rings
}

/// The time in calls of each step of the period, from `from_ms` on: days, or weeks for more than 30
/// days.
fn presence_by_step(
    period: Period,
    by_day: &BTreeMap<i64, i64>,
    from_ms: i64,
) -> Vec<PresenceStep> {
    let length = if period.days > 30 { 7 } else { 1 };
    let first = day_of_time(from_ms);
    let step = |at: i64| {
        let day = first + at * length;
        let from_ms = day * f::DAY;

        PresenceStep {
            from_ms,
            from_at: Stamp(from_ms),
            present_ms: by_day.range(day..day + length).map(|(_, ms)| ms).sum(),
        }
    };

    (0..(period.days + length - 1) / length).map(step).collect()
}

impl From<Companion> for CompanionFacts {
    fn from(row: Companion) -> Self {
        Self {
            user_id: row.user_id,
            name: row.name,
            calls: row.calls,
            together_ms: row.together_ms,
        }
    }
}

impl CompanionFacts {
    /// The name or the id, for people.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.user_id)
    }

    /// The page of this person.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/people/{}", f::path_segment(&self.user_id))
    }
}

impl MissedRing {
    /// The call that it rang for, if it is known; else the room.
    #[must_use]
    pub fn href(&self) -> String {
        match &self.call_id {
            Some(id) => format!("/calls/{}", f::path_segment(id)),
            None => self.room.href(),
        }
    }
}

impl PersonPage {
    /// The name or the id, for people.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.user_id)
    }

    /// The period of the page.
    #[must_use]
    pub fn period(&self) -> Period {
        Period { days: self.days }
    }

    /// The path of the page.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/people/{}", f::path_segment(&self.user_id))
    }

    /// The list of the person's calls.
    #[must_use]
    pub fn calls_href(&self) -> String {
        format!("/calls?user={}", f::path_segment(&self.user_id))
    }

    /// The word for one step of the picture.
    #[must_use]
    pub fn step_word(&self) -> &'static str {
        if self.days > 30 { "week" } else { "day" }
    }

    /// The way that stays ended, in words.
    #[must_use]
    pub fn end_words(&self, end: &EndFacts) -> &'static str {
        end_reason_words(end.reason)
    }

    /// The time in calls by day or week.
    #[must_use]
    pub fn chart(&self) -> Bars {
        let steps = self.steps.iter().map(|step| TimeOfStep {
            from_ms: step.from_ms,
            time_ms: step.present_ms,
        });

        draw_time_bars(&steps.collect::<Vec<_>>())
    }
}

#[derive(Template)]
#[template(path = "person.html")]
struct PersonTemplate<'a> {
    page: &'a PersonPage,
    shell: &'a Shell,
    now: i64,
}

impl Page for PersonPage {
    const SECTION: Section = Section::Calls;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        PersonTemplate {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::read::rings::PersonRing;

    fn ring(at_ms: i64, sender: &str, call: Option<&str>, outcome: RingOutcome) -> PersonRing {
        PersonRing {
            room_id: "!r:x".to_owned(),
            at_ms,
            sender: sender.to_owned(),
            call_id: call.map(ToOwned::to_owned),
            outcome,
        }
    }

    #[test]
    fn a_ring_is_missed_by_who_did_not_come_to_its_call() {
        let stay = PersonStay {
            call_id: "came".to_owned(),
            room_id: "!r:x".to_owned(),
            device_id: None,
            joined_ms: 1,
            until_ms: 2,
            end_reason: EndReason::Left,
        };
        let rings = vec![
            ring(9, "@ada:a", Some("came"), RingOutcome::Answered),
            ring(8, "@ben:b", Some("came"), RingOutcome::Answered),
            ring(7, "@ben:b", Some("other"), RingOutcome::Answered),
            ring(6, "@ben:b", None, RingOutcome::Missed),
            ring(5, "@ben:b", None, RingOutcome::Ringing),
        ];
        let room = RoomRef::without_name;
        let found = PersonRings {
            rings,
            is_whole: true,
        };
        let rings = rings_of_page(&found, &[stay], "@ada:a", room);
        assert_eq!((rings.sent, rings.sent_answered), (1, 1));
        assert_eq!((rings.got, rings.got_answered), (4, 1));
        assert_eq!(rings.missed_total, 2);
        let others: Vec<bool> = rings
            .missed
            .iter()
            .map(|ring| ring.is_answered_by_others)
            .collect();
        assert_eq!(others, [true, false]);
    }
}
