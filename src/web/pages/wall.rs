//! `/wall`: the running calls for a screen on a wall: large, live, without controls.

use super::overview::{Numbers, Overview};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::svg::shape::{self, Shape};
use crate::web::view::format as f;
use crate::web::view::liveness::AllSeenFacts;
use crate::web::view::{CallFacts, NowFacts, Stamp, VantageFacts, count_sessions};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;
use utoipa::ToSchema;

/// Maximum number of rows.
const ROWS: usize = 6;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Wall {
    pub now_ms: i64,
    pub now_at: Stamp,
    /// Calls that run: what needs a look first, then most people first.
    pub active: Vec<CallFacts>,
    /// Calls that still count as active, but in which only devices are left that are probably gone.
    pub stuck: Vec<CallFacts>,
    #[serde(flatten)]
    pub seen: AllSeenFacts,
    #[serde(flatten)]
    pub numbers_now: NowFacts,
    /// How many calls run now. Where it is more than `active` holds, `active` has some of each
    /// room.
    pub active_total: i64,
    /// People in calls now, each once; without those that are probably gone.
    pub people: usize,
    pub today: Numbers,
    pub watched_rooms: usize,
    /// The number of rooms that are followed, and of rooms that cannot be read now or whose last
    /// poll failed.
    pub rooms_followed: usize,
    pub rooms_unread: usize,
    /// Some of it is from older rules or other settings: calls are just being derived again.
    pub older_rules: bool,
    /// Why the content may be outdated, if so.
    pub error: Option<String>,
    pub error_since_ms: Option<i64>,
    /// The title of the window.
    #[serde(skip)]
    heading: String,
    /// The headline if no call runs.
    #[serde(skip)]
    nothing: String,
    /// The number of rooms that are followed, and of those that cannot be read.
    #[serde(skip)]
    rooms_words: String,
}

/// `GET /wall` and `GET /api/v1/wall`: the running calls for a screen on a wall, as a page or as
/// JSON.
pub async fn get_wall(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_wall_page(&web, &ask).await.map(PageAnswer::from),
    )
    .await
}

/// Reads what the wall shows: a part of the overview.
async fn load_wall_page(web: &Web, ask: &PageRequest) -> Result<Wall, Error> {
    Ok(wall_page(
        super::overview::load_overview_page(web, ask).await?,
    ))
}

/// The page from the facts of the overview.
#[must_use]
pub fn wall_page(overview: Overview) -> Wall {
    let failing = overview.account_with_error();
    let stored = overview.watched.storage_trouble.as_ref();
    let (error, error_since_ms) = match stored {
        Some(trouble) => (
            Some(trouble.words().what.to_owned()),
            Some(trouble.since_ms),
        ),
        None => (
            failing.and_then(|v| v.error.clone()),
            failing.and_then(VantageFacts::troubled_since_ms),
        ),
    };

    let (heading, nothing) = (overview.heading(), overview.headline());
    let rooms_words = overview.rooms_words();

    Wall {
        heading,
        nothing,
        now_ms: overview.now_ms,
        now_at: overview.now_at,
        active_total: overview.active_total,
        active: overview.active,
        stuck: overview.stuck,
        seen: overview.seen,
        numbers_now: overview.numbers_now,
        people: overview.people,
        today: overview.today,
        rooms_words,
        watched_rooms: overview.watched.rooms,
        rooms_followed: overview.watched.followed,
        rooms_unread: overview.watched.unread,
        older_rules: overview.older_rules,
        error,
        error_since_ms,
    }
}

impl Wall {
    /// The number of running calls, in words.
    #[must_use]
    pub fn counted_active(&self) -> String {
        count_sessions(&self.active, self.calls_now())
    }

    /// The number of running calls, including those that are not in the list.
    #[must_use]
    pub fn calls_now(&self) -> usize {
        let total = usize::try_from(self.active_total).unwrap_or(0);
        total.max(self.active.len())
    }

    /// The headline if no call runs.
    #[must_use]
    pub fn nothing(&self) -> &str {
        &self.nothing
    }

    /// The rows that fit, and how many more there are.
    #[must_use]
    pub fn shown(&self) -> (&[CallFacts], usize) {
        let shown = &self.active[..self.active.len().min(ROWS)];
        (shown, self.calls_now() - shown.len())
    }
}

#[derive(Template)]
#[template(path = "wall.html")]
struct Html<'a> {
    page: &'a Wall,
    shell: &'a Shell,
    now: i64,
}

impl Page for Wall {
    const SECTION: Section = Section::Now;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: self.now_ms,
        }
        .render()
    }
}
