//! `/census`: which formats and ways to choose an SFU are in use by week, server and room; which
//! rooms may switch to sticky events, and who blocks it; and rooms that nobody outside can read any
//! more.

use super::period::{Period, WatchedFacts};
use crate::rtc::transport::Selection;
use crate::rtc::words::{Format, words};
use crate::store::ingest::probes::{ServerResult, newest_results};
use crate::store::ingest::vantages;
use crate::store::stats::census::{self, CensusRow, EncryptedRoom};
use crate::store::stats::distributions;
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::cost_cache::CostCache;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::svg::{Num, ratio};
use crate::web::view::format as f;
use crate::web::view::liveness::LookedFacts;
use crate::web::view::{RoomRef, Stamp};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Maximum rows of each list.
const ROWS: usize = 50;
/// Maximum blocking servers that are named for a room.
const BLOCKERS: usize = 10;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Census {
    pub period: &'static str,
    /// Stays that began in the period.
    pub all: CensusCounts,
    /// The same by week, oldest first; weeks begin with the period.
    pub weeks: Vec<WeekOfCensus>,
    /// The servers with most stays, at most 50, and how many there are.
    pub servers: Vec<ServerOfCensus>,
    pub servers_total: usize,
    /// The rooms with most stays, at most 50, and how many there are.
    pub rooms: Vec<RoomOfCensus>,
    pub rooms_total: usize,
    /// There are more rooms and servers than are counted: the totals are too low.
    pub is_cut: bool,
    /// Rooms in which memberships are encrypted.
    pub encrypted: Vec<EncryptedFacts>,
    pub watched: WatchedFacts,
    #[serde(flatten)]
    pub looked: LookedFacts,
    #[serde(skip)]
    days: i64,
}

/// Stays by format, and those of the call format of today by the way in which the client chooses an
/// SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct CensusCounts {
    pub stays: i64,
    /// A state event for each device: what clients write today.
    pub session: i64,
    /// Sticky events (MSC4354).
    pub sticky: i64,
    /// The arrays of 2023 and 2024.
    pub legacy: i64,
    /// Full-mesh calls of Element before that.
    pub mesh: i64,
    /// The client publishes on its own SFU, or on that of the oldest member; or it does not say.
    pub multi_sfu: i64,
    pub oldest_membership: i64,
    pub unknown_selection: i64,
}

/// A week of the census.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct WeekOfCensus {
    pub from_ms: i64,
    pub from_at: Stamp,
    #[serde(flatten)]
    pub counts: CensusCounts,
}

/// A homeserver of the census.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerOfCensus {
    pub server: String,
    #[serde(flatten)]
    pub counts: CensusCounts,
    /// Whether it says that it knows sticky events; null where it was not asked.
    pub sticky_events: Option<bool>,
}

words! {
    /// May a room switch to sticky events?
    pub enum SwitchState {
        /// Its people do already.
        Done = "done",
        /// All servers whose people were in its calls know them.
        Ready = "ready",
        /// A server does not know them: its people would not see who is in a call.
        Blocked = "blocked",
        /// A server was not asked, or did not answer.
        Unknown = "unknown",
    }
}

/// A room of the census.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomOfCensus {
    pub room: RoomRef,
    #[serde(flatten)]
    pub counts: CensusCounts,
    /// May it switch to sticky events: `done`, `ready`, `blocked` or `unknown`.
    pub switch: SwitchState,
    /// The servers of its people that do not know sticky events, and those that did not say; at most
    /// 10 of each.
    pub blocked_by: Vec<String>,
    pub unknown_servers: Vec<String>,
}

/// A room with encrypted memberships.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EncryptedFacts {
    pub room: RoomRef,
    pub events: i64,
    pub first_ms: i64,
    pub first_at: Stamp,
    pub last_ms: i64,
    pub last_at: Stamp,
    /// Nothing that could be read came since this time: who is in a call there is not known any more.
    /// Null if what is readable is newer.
    pub blind_since_ms: Option<i64>,
    pub blind_since_at: Option<Stamp>,
}

/// `GET /census` and `GET /api/v1/census`: the census, as a page or as JSON. It may be kept from an
/// earlier request; only the time of our last look is always read anew.
pub async fn get_census(
    req: HttpRequest,
    web: Web,
    kept: http::Data<CostCache<Census>>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = async {
        let period = Period::read(&ask)?;
        // What is counted while calls are derived again is not kept beyond that.
        let key = format!("{} {}", period.word(), web.store.has_older_rules());
        let counted = read_census_of_period(&web, &ask, period);
        let mut page = kept.get(&web.cache_key(&key), counted).await?;
        page.looked = LookedFacts::read(&web, ask.now).await?;
        Ok(PageAnswer::from(page))
    };
    let answer = Box::pin(answer).await;

    response::send_page(&web, &ask, answer).await
}

/// Counts the census of a period.
async fn read_census_of_period(
    web: &Web,
    ask: &PageRequest,
    period: Period,
) -> Result<Census, Error> {
    let (store, span) = (&web.store, period.span(ask.now));
    let by_week = census::census_by_week(store, span).await?;
    let rows = census::census_by_room_and_server(store, span).await?;
    let encrypted = census::list_encrypted_rooms(store).await?;
    let knows = sticky_by_server(web).await?;
    let rooms: BTreeSet<String> = rows
        .iter()
        .map(|row| row.room_id.clone())
        .chain(encrypted.iter().map(|room| room.room_id.clone()))
        .collect();
    let rooms: Vec<String> = rooms.into_iter().collect();
    let names = distributions::room_names(store, &rooms).await?;
    let room_named = |room_id: &str| match names.get(room_id) {
        Some(name) => RoomRef::from(name.clone()),
        None => RoomRef::without_name(room_id),
    };
    let mut servers = servers_of_census(&rows, &knows);
    let mut of_rooms = rooms_of_census(&rows, &knows, room_named);
    let is_cut = rows.len() >= usize::try_from(census::ROWS_MAX).unwrap_or(usize::MAX);
    if is_cut {
        // A server that blocks may be one that is not among the rows.
        let ready = of_rooms.iter_mut();
        for room in ready.filter(|room| room.switch == SwitchState::Ready) {
            room.switch = SwitchState::Unknown;
        }
    }
    let (servers_total, rooms_total) = (servers.len(), of_rooms.len());
    servers.truncate(ROWS);
    of_rooms.truncate(ROWS);

    Ok(Census {
        period: period.word(),
        all: CensusCounts::sum(by_week.iter()),
        weeks: weeks_of_census(&by_week),
        servers,
        servers_total,
        rooms: of_rooms,
        rooms_total,
        is_cut,
        encrypted: encrypted
            .into_iter()
            .map(|room| EncryptedFacts::new(room_named(&room.room_id), &room))
            .collect(),
        watched: WatchedFacts::read(web, period, ask.now).await?,
        looked: LookedFacts::read(web, ask.now).await?,
        days: period.days,
    })
}

/// Whether servers know sticky events, by server, as far as they were asked.
async fn sticky_by_server(web: &Web) -> Result<BTreeMap<String, bool>, Error> {
    let probed = newest_results::<ServerResult>(&web.store).await?;
    let said = |(server, probe): (String, crate::store::ingest::probes::Probed<ServerResult>)| {
        Some((server, probe.result.sticky_events?))
    };
    let mut knows: BTreeMap<String, bool> = probed.into_iter().filter_map(said).collect();
    // Our own homeserver says it to our account.
    for vantage in vantages::list_vantages_for(&web.store).await? {
        if vantage.capabilities_ms.is_some() {
            let server = crate::rtc::id::server_of(&vantage.user_id).to_owned();
            knows.insert(server, vantage.sticky_events);
        }
    }

    Ok(knows)
}

fn weeks_of_census(rows: &[CensusRow]) -> Vec<WeekOfCensus> {
    rows.chunk_by(|one, next| one.week_ms == next.week_ms)
        .map(|week| WeekOfCensus {
            from_ms: week[0].week_ms,
            from_at: Stamp(week[0].week_ms),
            counts: CensusCounts::sum(week.iter()),
        })
        .collect()
}

fn servers_of_census(rows: &[CensusRow], knows: &BTreeMap<String, bool>) -> Vec<ServerOfCensus> {
    let mut by_server: BTreeMap<&str, Vec<&CensusRow>> = BTreeMap::new();
    for row in rows {
        by_server.entry(&row.server).or_default().push(row);
    }

    let mut found: Vec<ServerOfCensus> = by_server
        .into_iter()
        .map(|(server, rows)| ServerOfCensus {
            server: server.to_owned(),
            counts: CensusCounts::sum(rows.into_iter()),
            sticky_events: knows.get(server).copied(),
        })
        .collect();
    found.sort_by_key(|row| Reverse(row.counts.stays));

    found
}

fn rooms_of_census(
    rows: &[CensusRow],
    knows: &BTreeMap<String, bool>,
    room_named: impl Fn(&str) -> RoomRef,
) -> Vec<RoomOfCensus> {
    let mut by_room: BTreeMap<&str, Vec<&CensusRow>> = BTreeMap::new();
    for row in rows {
        by_room.entry(&row.room_id).or_default().push(row);
    }

    let mut found: Vec<RoomOfCensus> = by_room
        .into_iter()
        .map(|(room_id, rows)| {
            let servers: BTreeSet<&str> = rows.iter().map(|row| row.server.as_str()).collect();
            let said = |wanted: Option<bool>| -> Vec<String> {
                let of_state = servers
                    .iter()
                    .filter(|server| knows.get(**server).copied() == wanted);
                of_state
                    .take(BLOCKERS)
                    .map(|server| (*server).to_owned())
                    .collect()
            };
            let counts = CensusCounts::sum(rows.into_iter());
            let (blocked_by, unknown_servers) = (said(Some(false)), said(None));

            RoomOfCensus {
                room: room_named(room_id),
                switch: counts.switch_state(&blocked_by, &unknown_servers),
                counts,
                blocked_by,
                unknown_servers,
            }
        })
        .collect();
    found.sort_by_key(|row| Reverse(row.counts.stays));

    found
}

impl CensusCounts {
    /// The sums of these rows.
    fn sum<'a>(rows: impl Iterator<Item = &'a CensusRow>) -> Self {
        let mut sum = Self::default();
        for row in rows {
            sum.stays += row.stays;
            let format = match row.format {
                Format::Session => &mut sum.session,
                Format::Sticky => &mut sum.sticky,
                Format::Legacy => &mut sum.legacy,
                Format::Mesh => &mut sum.mesh,
            };
            *format += row.stays;
            let selection = match row.selection {
                Selection::MultiSfu => &mut sum.multi_sfu,
                Selection::OldestMembership => &mut sum.oldest_membership,
                Selection::Unknown => &mut sum.unknown_selection,
            };
            *selection += row.stays;
        }

        sum
    }

    /// May a room of these stays switch to sticky events?
    fn switch_state(&self, blocked_by: &[String], unknown: &[String]) -> SwitchState {
        if self.sticky == self.stays {
            SwitchState::Done
        } else if !blocked_by.is_empty() {
            SwitchState::Blocked
        } else if !unknown.is_empty() {
            SwitchState::Unknown
        } else {
            SwitchState::Ready
        }
    }

    /// The formats as bands of a bar: words, number, begin and width (percent), class.
    #[must_use]
    pub fn bands(&self) -> Vec<(&'static str, i64, Num, Num, &'static str)> {
        let all = [
            ("Sticky events", self.sticky, "h4"),
            ("State, one for each device", self.session, "h3"),
            ("Arrays (2023)", self.legacy, "h2"),
            ("Full mesh", self.mesh, "h1"),
        ];
        let mut x = 0.0;
        let band = |(words, count, class): (&'static str, i64, &'static str)| {
            let width = 100.0 * ratio(count, self.stays);
            let begin = x;
            x += width;
            (words, count, Num(begin), Num(width), class)
        };

        all.into_iter().filter(|one| one.1 > 0).map(band).collect()
    }

    /// The share of a part, in words.
    #[must_use]
    pub fn share(&self, part: impl f::WholeNumber) -> String {
        let percent = 100 * part.whole() / self.stays.max(1);
        format!("{percent} %")
    }
}

impl EncryptedFacts {
    fn new(room: RoomRef, found: &EncryptedRoom) -> Self {
        let readable_ms = found.last_readable_ms.unwrap_or(i64::MIN);
        let blind_since_ms =
            (found.last_ms > readable_ms).then_some(found.first_ms.max(readable_ms));

        Self {
            room,
            events: found.events,
            first_ms: found.first_ms,
            first_at: Stamp(found.first_ms),
            last_ms: found.last_ms,
            last_at: Stamp(found.last_ms),
            blind_since_ms,
            blind_since_at: blind_since_ms.map(Stamp),
        }
    }
}

impl RoomOfCensus {
    /// Whether it may switch: class, icon and words.
    #[must_use]
    pub fn switch_words(&self) -> (&'static str, &'static str, &'static str) {
        match self.switch {
            SwitchState::Done => ("ok", "check", "Uses them"),
            SwitchState::Ready => ("ok", "check", "May switch"),
            SwitchState::Blocked => ("warn", "alert", "Blocked"),
            SwitchState::Unknown => ("faint", "unknown", "Not known"),
        }
    }
}

impl Census {
    /// The period of the page.
    #[must_use]
    pub fn period(&self) -> Period {
        Period { days: self.days }
    }
}

#[derive(Template)]
#[template(path = "census.html")]
struct Html<'a> {
    page: &'a Census,
    shell: &'a Shell,
    now: i64,
}

impl Page for Census {
    const SECTION: Section = Section::Statistics;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
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

    fn row(server: &str, format: Format, stays: i64) -> CensusRow {
        CensusRow {
            week_ms: 0,
            server: server.to_owned(),
            room_id: "!r:a.example".to_owned(),
            format,
            selection: Selection::MultiSfu,
            stays,
            people: 1,
            last_ms: 5,
        }
    }

    #[test]
    fn a_room_switches_when_all_servers_of_its_people_know_sticky_events() {
        let named = RoomRef::without_name;
        let state = |rows: &[CensusRow], knows: &[(&str, bool)]| {
            let knows = knows
                .iter()
                .map(|(server, knows)| ((*server).to_owned(), *knows))
                .collect();
            let room = rooms_of_census(rows, &knows, named).remove(0);
            (room.switch, room.blocked_by, room.unknown_servers)
        };
        let rows = [
            row("a.example", Format::Session, 5),
            row("b.example", Format::Sticky, 5),
        ];
        let none = Vec::<String>::new;
        assert_eq!(
            state(&rows, &[("a.example", true), ("b.example", true)]),
            (SwitchState::Ready, none(), none())
        );
        assert_eq!(
            state(&rows, &[("a.example", false)]),
            (
                SwitchState::Blocked,
                vec!["a.example".to_owned()],
                vec!["b.example".to_owned()]
            )
        );
        assert_eq!(state(&rows, &[("a.example", true)]).0, SwitchState::Unknown);
        assert_eq!(state(&rows[1..], &[]).0, SwitchState::Done);
        let counts = CensusCounts::sum(rows.iter());
        assert_eq!(
            (counts.stays, counts.share(counts.sticky)),
            (10, "50 %".to_owned())
        );
        assert_eq!(counts.bands().len(), 2);
    }

    #[test]
    fn a_room_is_blind_since_the_last_that_could_be_read() {
        let room = |last_readable_ms| EncryptedRoom {
            room_id: String::new(),
            events: 2,
            first_ms: 10,
            last_ms: 50,
            last_readable_ms,
        };
        let since = |readable| {
            let room = room(readable);
            let named = RoomRef::without_name("");
            EncryptedFacts::new(named, &room).blind_since_ms
        };
        assert_eq!(since(None), Some(10));
        assert_eq!(since(Some(30)), Some(30));
        assert_eq!(since(Some(60)), None, "it can be read again");
    }
}
