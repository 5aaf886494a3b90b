//! `/rooms`: all watched rooms and how we stand towards them.

use crate::store::{rooms, row};
use crate::web::error::Error;
use crate::web::facts::{List, RoomFacts};
use crate::web::query::Query;
use crate::web::reply::{self, Answer, Ask, Page, Section, Shell};
use crate::web::{Web, assets, format as f};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use utoipa::ToSchema;

/// Rooms in the table; all of them are in the JSON.
const SHOWN: usize = 300;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Rooms {
    #[serde(flatten)]
    pub list: List<RoomFacts>,
}

/// `GET /rooms` and `GET /api/v1/rooms`
pub async fn get(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = Ask::of(&req, &web);
    reply::send(&web, &ask, load(&web, &ask).await.map(Answer::from)).await
}

async fn load(web: &Web, ask: &Ask) -> Result<Rooms, Error> {
    Query::read(&ask.query, &[])?;
    Ok(page(rooms::list(&web.store, ask.viewer, ask.now).await?))
}

/// The page from its rows.
#[must_use]
pub fn page(rooms: Vec<row::Room>) -> Rooms {
    Rooms { list: List::whole(rooms.into_iter().map(RoomFacts::from).collect()) }
}

impl Rooms {
    #[must_use]
    pub fn shown(&self) -> &[RoomFacts] {
        &self.list.data[..self.list.data.len().min(SHOWN)]
    }

    /// Rooms in which a call runs now.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.list.data.iter().filter(|room| room.active_calls > 0).count()
    }

    /// Rooms whose pill is not a good one.
    #[must_use]
    pub fn troubled(&self) -> usize {
        self.list.data.iter().filter(|room| matches!(room.pill().class, "warn" | "blind")).count()
    }

    #[must_use]
    pub fn reading(&self) -> usize {
        self.list.data.iter().filter(|room| room.history_open).count()
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
        Html { page: self, shell, now: shell.now_ms }.render()
    }
}
