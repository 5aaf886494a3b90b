//! `/rooms`: the watched rooms, a page at a time, and our relation to them.

use super::observer_state::RoomCounts;
use super::space::{
    SpaceChoice, SpaceFacts, list_space_facts, rooms_of_asked_space, space_choices,
};
use crate::store::ingest::{invitations, rooms};
use crate::store::model;
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::http::sort::{self, ColumnHead, RowKey, SortOrder};
use crate::web::view::format as f;
use crate::web::view::liveness::{AllSeenFacts, Liveness};
use crate::web::view::{CallFacts, EntriesTotal, List, RoomFacts, RoomRef};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;

/// Parameters of the list.
pub const KNOWN: &[&str] = &["q", "space", "sort", "limit", "cursor"];
const LIMIT: i64 = 50;
/// Added to the sort key of a running call, ms, so that it comes after all others.
const RUNNING: i64 = 1 << 50;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Rooms {
    #[serde(flatten)]
    pub list: List<RoomFacts>,
    /// The number of watched rooms on all pages of the list.
    pub total: usize,
    /// Those of them that `q` fits; without it, all.
    pub matching: usize,
    /// The number of rooms in which a call runs now, of rooms that are not fully visible, and of
    /// rooms whose history is still being read.
    pub busy: usize,
    /// The number of rooms with a stuck call: all remaining devices are probably gone.
    pub stuck: usize,
    #[serde(flatten)]
    pub seen: AllSeenFacts,
    pub troubled: usize,
    pub reading: usize,
    /// The number of rooms with `findings`, and of rooms that were replaced by one that we follow.
    pub to_look_at: usize,
    pub moved: usize,
    /// The number of rooms that are followed, and of rooms that cannot be read now or whose last
    /// poll failed.
    pub followed: usize,
    pub unread: usize,
    /// The number of invitations that wait because the configuration does not allow them; at most
    /// 100.
    pub invitations: usize,
    /// The spaces whose rooms are watched.
    pub spaces: Vec<SpaceFacts>,
    #[serde(skip)]
    query: Query,
    #[serde(skip)]
    chosen: SortOrder,
}

/// `GET /rooms` and `GET /api/v1/rooms`: the list of rooms, as a page or as JSON.
pub async fn get_rooms(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_rooms_page(&web, &ask).await.map(PageAnswer::from),
    )
    .await
}

/// Reads the page of the list of rooms that the parameters ask for.
async fn load_rooms_page(web: &Web, ask: &PageRequest) -> Result<Rooms, Error> {
    let query = ask.list_query(KNOWN)?;
    let mut page = list_all_rooms(web, ask, &query).await?;
    page.invitations = invitations::list_waiting_invitations(&web.store, 100)
        .await?
        .iter()
        .filter(|pending| !pending.accepted)
        .count();
    let chosen = page.chosen;
    let (data, next) = chosen.cut(page.list.data, &query, LIMIT, |room| {
        sort_key_of_room(chosen, room)
    })?;
    page.list = List {
        entries_total: Some(EntriesTotal::exactly(page.matching)),
        data,
        next_url: sort::next_url(web, "/rooms", &query, next.as_deref()),
        next,
    };

    Ok(Rooms { query, ..page })
}

/// The complete list of the rooms that match the query, in the requested order.
pub(in crate::web) async fn list_all_rooms(
    web: &Web,
    ask: &PageRequest,
    query: &Query,
) -> Result<Rooms, Error> {
    let chosen = sort::ROOMS.read(query)?;
    let rooms = rooms::list_rooms(&web.store, ask.now).await?;
    let running = super::read_running_calls(web, ask).await?;
    let present = Liveness::read(web, ask.now).await?;
    let mut page = rooms_page(rooms, &running.calls, &present);
    for room in &mut page.list.data {
        room.older_rules = web.store.is_from_older_rules(&room.room.room_id);
    }

    let account = super::find_account(web).await?;
    let with_needs = |room: RoomFacts| room.with_needs(account.as_deref());
    page.list.data = page.list.data.into_iter().map(with_needs).collect();
    page.spaces = list_space_facts(web).await?;
    if let Some(chosen) = rooms_of_asked_space(web, query).await? {
        page.list
            .data
            .retain(|room| chosen.contains(&room.room.room_id));
    }

    page.list.data.retain(|room| {
        let RoomRef {
            room_id,
            name,
            alias,
            title,
        } = &room.room;
        query.fits(&[
            Some(room_id.as_str()),
            name.as_deref(),
            alias.as_deref(),
            Some(title.as_str()),
        ])
    });
    page.matching = page.list.data.len();
    page.list.data = chosen.all(page.list.data, |room| sort_key_of_room(chosen, room));

    Ok(Rooms { chosen, ..page })
}

/// The key by which a room is sorted in the chosen order.
fn sort_key_of_room(chosen: SortOrder, room: &RoomFacts) -> RowKey {
    let number = match chosen.name {
        "calls" => room.calls,
        "last_call" if room.active_calls > 0 => {
            room.last_call_ms.unwrap_or(0).saturating_add(RUNNING)
        }
        "last_call" => room.last_call_ms.unwrap_or(0),
        "known_since" => room.oldest_event_ms.unwrap_or(room.first_seen_ms),
        _ => 0,
    };

    RowKey::new(number, room.room.title(), &room.room.room_id)
}

/// The page of the rooms from their rows, the running calls (`active`), and what is known of the
/// present.
#[must_use]
pub fn rooms_page(rooms: Vec<model::RoomRow>, active: &[CallFacts], present: &Liveness) -> Rooms {
    let mut by_room: HashMap<&str, Vec<&CallFacts>> = HashMap::new();
    for call in active {
        by_room.entry(&call.room.room_id).or_default().push(call);
    }

    let room = |room: model::RoomRow| {
        let unknown = present.room(&room.room.room_id);
        let calls = by_room.get(room.room.room_id.as_str());
        RoomFacts::from(room).with_now(unknown, calls.map_or(&[][..], Vec::as_slice))
    };

    let data: Vec<RoomFacts> = rooms.into_iter().map(room).collect();
    let counts = RoomCounts::count_rooms(&data);
    let count = |is: fn(&RoomFacts) -> bool| data.iter().filter(|room| is(room)).count();

    Rooms {
        seen: present.everything(),
        stuck: count(|room| room.stuck_calls > 0),
        total: data.len(),
        matching: data.len(),
        busy: count(|room| room.active_calls > 0),
        troubled: count(RoomFacts::is_hidden),
        to_look_at: count(RoomFacts::needs_look),
        moved: count(RoomFacts::has_moved),
        reading: count(|room| room.history_open),
        followed: counts.followed,
        unread: counts.unread,
        invitations: 0,
        spaces: Vec::new(),
        list: List::whole(data),
        query: Query::default(),
        chosen: SortOrder::default(),
    }
}

impl Rooms {
    /// What is known about the present, in words.
    #[must_use]
    pub fn now_words(&self) -> String {
        if self.seen.is_blind() {
            return "In which of them a call runs now is not known.".to_owned();
        }

        let runs = match (self.busy, self.unread > 0, self.seen.seen.unknown) {
            (0, true, _) => "No call runs now in those that can be read.".to_owned(),
            (0, false, true) => "No call is seen now.".to_owned(),
            (0, false, false) => "No call runs now.".to_owned(),
            (busy, ..) => format!(
                "A call runs in {}.",
                f::count_with_noun(busy, "room", "rooms")
            ),
        };

        let mut words = vec![runs];
        if self.stuck > 0 {
            let rooms = f::count_with_noun(self.stuck, "room", "rooms");
            words.push(format!("In {rooms} a call is probably stuck."));
        }

        if self.seen.unknown_rooms > 0 {
            let rooms = f::count_with_noun(self.seen.unknown_rooms, "room", "rooms");
            let why = self.seen.seen.words();
            words.push(format!("In {rooms} it is unknown: {why}."));
        }

        words.join(" ")
    }

    /// The rows of the page. A room and its successor share a row if both are on the page.
    #[must_use]
    pub fn rows(&self) -> Vec<&RoomFacts> {
        let is_told = |room: &RoomFacts| {
            let moved = room.successor.as_ref().filter(|_| room.has_moved());
            moved.is_some_and(|link| {
                self.list
                    .data
                    .iter()
                    .any(|one| one.room.room_id == link.room_id)
            })
        };

        self.list
            .data
            .iter()
            .filter(|room| !is_told(room))
            .collect()
    }

    /// The rooms that this one replaced, the last one first, as far as they are on the page and
    /// share this row.
    #[must_use]
    pub fn before(&self, room: &RoomFacts) -> Vec<&RoomFacts> {
        let mut found: Vec<&RoomFacts> = Vec::new();
        let mut at = room;
        while let Some(link) = &at.predecessor {
            let before = self
                .list
                .data
                .iter()
                .find(|one| one.room.room_id == link.room_id);
            // Rooms that name each other in a cycle are listed once.
            let is_new = |one: &&RoomFacts| {
                one.has_moved()
                    && one.replaced_by.as_ref() == Some(&at.room.room_id)
                    && one.room.room_id != room.room.room_id
                    && !found
                        .iter()
                        .any(|known| known.room.room_id == one.room.room_id)
            };

            let Some(before) = before.filter(is_new) else {
                break;
            };

            found.push(before);
            at = before;
        }

        found
    }

    /// The choices of space; none if there is no space.
    #[must_use]
    pub fn space_choices(&self) -> Vec<SpaceChoice> {
        space_choices(&self.spaces, "/rooms", &self.query)
    }

    /// The other pages about the chosen space: words and address. None if no space is chosen.
    #[must_use]
    pub fn space_links(&self) -> Vec<(&'static str, String)> {
        let Some(space) = self.query.get("space") else {
            return Vec::new();
        };
        let query = Query::default().with(&[], Some(("space", space)));
        let pages = [
            ("Calls", "/calls"),
            ("Problems", "/problems"),
            ("Statistics", "/statistics"),
        ];

        pages
            .map(|(words, path)| (words, format!("{path}{query}")))
            .to_vec()
    }

    /// The header of the sortable column of this name.
    #[must_use]
    pub fn head(&self, name: &str) -> ColumnHead {
        self.chosen
            .head(name, name == "name", "/rooms", &self.query)
    }

    /// The addresses of the same list as JSON, and of the complete list as files.
    #[must_use]
    pub fn files(&self) -> [(&'static str, String); 3] {
        sort::file_links("/rooms", &self.query)
    }

    /// The sortable columns in words, with their headers: for a phone, where tables have no header.
    #[must_use]
    pub fn heads(&self) -> [(&'static str, ColumnHead); 4] {
        [
            ("name", "name"),
            ("calls", "calls"),
            ("last_call", "last call"),
            ("known_since", "known since"),
        ]
        .map(|(name, words)| (words, self.head(name)))
    }

    /// The addresses of the first and of the next page, if they exist.
    #[must_use]
    pub fn pages(&self) -> (Option<String>, Option<String>) {
        sort::page_links("/rooms", &self.query, self.list.next.as_deref())
    }
}

#[derive(Template)]
#[template(path = "rooms.html")]
struct Html<'a> {
    page: &'a Rooms,
    shell: &'a Shell,
    now: i64,
}

impl Page for Rooms {
    const SECTION: Section = Section::Rooms;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}
