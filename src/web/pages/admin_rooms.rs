//! `/admin/rooms`: who may see the calls of each room, and reading a room's history again; for
//! operators only.

use super::admin::Admin;
use crate::rtc::room_visibility::RoomVisibility;
use crate::store::model::RoomName;
use crate::store::sign_in::audit_log::AuditKind;
use crate::store::sign_in::rooms::{self, AdminRoom};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::response::{Shell, redirect_to, send_answer};
use crate::web::sign_in::access::Audience;
use crate::web::view::RoomRef;
use crate::web::view::format as f;
use actix_web::http::StatusCode;
use actix_web::web::{self as http, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use url::form_urlencoded;

/// Rooms on the page. Others are found by the search.
const ROOMS_MOST: usize = 100;

#[derive(Template)]
#[template(path = "admin_rooms.html")]
struct AdminRoomsPage<'a> {
    shell: &'a Shell,
    token: String,
    /// What is searched for.
    search: &'a str,
    /// The number of rooms that fit, of which only the first are shown.
    matching: usize,
    rooms: Vec<RoomChoice>,
    /// Does the configuration let histories be read?
    reads_history: bool,
    /// Whoever reaches the pages sees everything, whatever is chosen here.
    is_open: bool,
}

/// A room, and who may see its calls.
#[derive(Debug, Clone)]
struct RoomChoice {
    room: RoomRef,
    /// What is chosen in the form.
    chosen: Choice,
    /// Who may see the calls, as it follows from all that decides it.
    visibility: RoomVisibility,
    facts: AdminRoom,
}

/// What an operator may choose for a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice(Option<RoomVisibility>);

impl Choice {
    const ALL: [Self; 4] = [
        Self(None),
        Self(Some(RoomVisibility::Public)),
        Self(Some(RoomVisibility::Members)),
        Self(Some(RoomVisibility::Hidden)),
    ];
    const DEFAULT: &str = "default";

    fn as_str(self) -> &'static str {
        self.0.map_or(Self::DEFAULT, RoomVisibility::as_str)
    }

    /// The choice in words.
    fn words(self) -> &'static str {
        match self.0 {
            None => "what the room itself says",
            Some(visibility) => words_of_visibility(visibility),
        }
    }

    /// The choice of this word; `None` if it is none of ours.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == word)
    }
}

/// Who may see the calls, in words.
fn words_of_visibility(visibility: RoomVisibility) -> &'static str {
    match visibility {
        RoomVisibility::Public => "everybody",
        RoomVisibility::Members => "who is or was in it",
        RoomVisibility::Hidden => "operators only",
    }
}

impl RoomChoice {
    fn new(facts: AdminRoom, web: &Web) -> Self {
        let room = RoomRef::from(RoomName {
            room_id: facts.room_id.clone(),
            name: facts.name.clone(),
            alias: facts.alias.clone(),
            people_title: facts.people_title.clone(),
        });

        Self {
            room,
            chosen: Choice(facts.by_operator),
            visibility: facts.visibility(web.options.visibility),
            facts,
        }
    }

    /// Who may see the calls, in words.
    fn visibility_words(&self) -> &'static str {
        words_of_visibility(self.visibility)
    }

    /// Why the calls are for those whom they are for, in words.
    fn reason_words(&self) -> &'static str {
        let readable = self.facts.history_visibility.as_deref() == Some("world_readable");
        match (self.facts.by_operator, self.facts.by_room, self.visibility) {
            (Some(_), ..) => "decided by an operator",
            (None, Some(_), _) => "decided in the room, by a state event",
            (None, None, RoomVisibility::Public) if readable => "everybody may read its history",
            (None, None, RoomVisibility::Public) => "everybody may join it",
            (None, None, _) if self.facts.history_visibility.is_none() => {
                "who may read its history is not known"
            }
            (None, None, _) => "not everybody may read its history",
        }
    }
}

/// `GET /admin/rooms`: the page.
pub async fn get_admin_rooms(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let answer = async {
        let admin = Admin::of_request(&req, &web)?;
        show_rooms(&admin, &req, &web).await
    };

    send_answer(&req, &web, answer.await)
}

async fn show_rooms(
    admin: &Admin<'_>,
    req: &HttpRequest,
    web: &Web,
) -> Result<HttpResponse, Error> {
    let query = admin.ask.read_query(&["q"])?;
    let mut found: Vec<RoomChoice> = rooms::list_rooms(&web.store)
        .await?
        .into_iter()
        .filter(|room| {
            query.fits(&[
                Some(room.room_id.as_str()),
                room.name.as_deref(),
                room.alias.as_deref(),
                room.people_title.as_deref(),
            ])
        })
        .map(|room| RoomChoice::new(room, web))
        .collect();
    found.sort_by_cached_key(|room| (room.room.title().to_lowercase(), room.room.room_id.clone()));
    let matching = found.len();
    found.truncate(ROOMS_MOST);

    Ok(admin.send_page(req, web, StatusCode::OK, |shell, token| {
        AdminRoomsPage {
            shell,
            token,
            search: query.get("q").unwrap_or_default(),
            matching,
            rooms: found,
            reads_history: web.options.kept.reads_history,
            is_open: web.access.audience() != Audience::ByRights,
        }
        .render()
    }))
}

/// `POST /admin/rooms/show`: decides who may see the calls of a room.
pub async fn show_room_to(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, form) = Admin::of_form(&req, &web, body)?;
        let Some(choice) = Choice::from_word(form.get("visibility")) else {
            let words = "visibility must be public, members, hidden or default";
            return Err(Error::Invalid(words.to_owned()));
        };

        let room_id = form.get("room");
        if !rooms::decide_visibility(admin.sign_ins, room_id, choice.0).await? {
            return Err(unknown_room());
        }

        let detail = format!("{room_id}: {}", choice.words());
        admin
            .record_detail(AuditKind::RoomShown, Some(&detail))
            .await?;

        Ok(back_to_rooms(form.get("q")))
    };

    send_answer(&req, &web, answer.await)
}

/// `POST /admin/rooms/read`: has the history of a room read again.
pub async fn read_room_again(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, form) = Admin::of_form(&req, &web, body)?;
        let room_id = form.get("room");
        if rooms::request_backfill(admin.sign_ins, room_id, admin.ask.now).await? {
            admin
                .record_detail(AuditKind::BackfillRequested, Some(room_id))
                .await?;
        }

        Ok(back_to_rooms(form.get("q")))
    };

    send_answer(&req, &web, answer.await)
}

fn unknown_room() -> Error {
    Error::NotFound("no room with this id is known".to_owned())
}

/// Leads back to the list, with the search that was on the page.
fn back_to_rooms(search: &str) -> HttpResponse {
    let mut place = "/admin/rooms".to_owned();
    if !search.is_empty() {
        let search: String = form_urlencoded::byte_serialize(search.as_bytes()).collect();
        place = format!("{place}?q={search}");
    }

    redirect_to(&place)
}
