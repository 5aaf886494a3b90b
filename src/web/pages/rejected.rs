//! `/rejected`: every event that could not be used, newest first, of one room or of all.

use super::status;
use crate::store::ingest::rooms;
use crate::store::read::events;
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::http::{assets, sort};
use crate::web::view::format as f;
use crate::web::view::{EntriesTotal, List, RejectedFacts, RoomRef};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;
use utoipa::ToSchema;

const LIMIT: i64 = 50;
/// Parameters of the list.
pub const KNOWN: &[&str] = &["room", "cursor", "limit"];

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Rejected {
    #[serde(flatten)]
    pub list: List<RejectedFacts>,
    /// For the page only.
    #[serde(skip)]
    pub form: RejectedForm,
}

/// The request, and the total number of matching events.
#[derive(Debug, Clone, Default)]
pub struct RejectedForm {
    pub query: Query,
    pub room: Option<RoomRef>,
    pub total: i64,
}

/// `GET /rejected` and `GET /api/v1/rejected`: the events that were rejected, as a page or as JSON.
pub async fn get_rejected(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_rejected_page(&web, &ask).await.map(PageAnswer::from),
    )
    .await
}

/// Reads the page of rejected events that the parameters ask for, and how many there are in all.
/// For an unknown room the list is empty.
async fn load_rejected_page(web: &Web, ask: &PageRequest) -> Result<Rejected, Error> {
    let store = &web.store;
    let query = ask.list_query(KNOWN)?;
    let (limit, before) = (query.limit(LIMIT)?, query.numeric_cursor()?);
    let asked = query.get("room");
    let room = match asked {
        Some(room) => rooms::find_room(store, room, ask.now).await?,
        None => None,
    };

    let room_id = room
        .as_ref()
        .map(|room| room.room.room_id.as_str())
        .or(asked);
    let mut rows = events::list_rejected(store, room_id, before, limit + 1).await?;
    // One more row than requested was read. If it exists, the next page begins after the last one
    // shown.
    let shown = usize::try_from(limit).unwrap_or(0);
    let has_more = rows.len() > shown;
    rows.truncate(shown);
    let next = rows
        .last()
        .filter(|_| has_more)
        .map(|row| row.stream.to_string());
    let next_url = sort::next_url(web, "/rejected", &query, next.as_deref());
    let total = match (&room, asked) {
        (Some(room), _) => room.rejected,
        (None, Some(_)) => 0,
        (None, None) => events::count_rejected(store)
            .await?
            .iter()
            .map(|(_, count)| count)
            .sum(),
    };

    let data = rows.into_iter().map(RejectedFacts::from).collect();
    let form = RejectedForm {
        query,
        room: room.map(|room| room.room.into()),
        total,
    };

    Ok(Rejected {
        list: List {
            entries_total: Some(EntriesTotal::up_to(total, total)),
            data,
            next,
            next_url,
        },
        form,
    })
}

impl Rejected {
    /// The query of the next page; `None` if this is the last one.
    #[must_use]
    pub fn older(&self) -> Option<String> {
        self.list
            .next
            .as_deref()
            .map(|next| self.form.query.with(&[], Some(("cursor", next))))
    }

    /// The address of this list as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        format!("/api/v1/rejected{}", self.form.query.with(&[], None))
    }

    /// The query of the first page, unless this is it.
    #[must_use]
    pub fn newest(&self) -> Option<String> {
        self.form
            .query
            .get("cursor")
            .map(|_| self.form.query.with(&["cursor"], None))
    }
}

#[derive(Template)]
#[template(path = "rejected.html")]
struct Html<'a> {
    page: &'a Rejected,
    shell: &'a Shell,
    now: i64,
}

impl Page for Rejected {
    const SECTION: Section = Section::Status;

    fn room_id(&self) -> Option<&str> {
        self.form.room.as_ref().map(|room| room.room_id.as_str())
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
