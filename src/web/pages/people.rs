//! `/people`: finds people by their id or display name, those first who were in a call last. Only
//! for those who see people by their names.

use crate::rtc::id::server_of;
use crate::store::read::person::{FoundPerson, search_people};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::view::format as f;
use crate::web::view::liveness::LookedFacts;
use crate::web::view::{EntriesTotal, Stamp, person_title};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;
use utoipa::ToSchema;

/// Parameters of the search.
pub const KNOWN: &[&str] = &["q", "limit"];
const LIMIT: i64 = 50;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct People {
    /// Those who were in a call last first.
    pub data: Vec<PersonFound>,
    /// How many match.
    pub entries_total: EntriesTotal,
    /// More people match than are listed.
    pub has_more: bool,
    /// People are not listed, since who asks is not shown people.
    pub hidden: bool,
    #[serde(flatten)]
    pub looked: LookedFacts,
    #[serde(skip)]
    query: Query,
}

/// Somebody who was in a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PersonFound {
    pub user_id: String,
    pub name: Option<String>,
    pub server: String,
    pub calls: i64,
    /// When the last stay ended; in the future for who is in a call now, or still counts.
    pub last_ms: i64,
    pub last_at: Stamp,
}

impl From<FoundPerson> for PersonFound {
    fn from(found: FoundPerson) -> Self {
        Self {
            server: server_of(&found.user_id).to_owned(),
            user_id: found.user_id,
            name: found.name,
            calls: found.calls,
            last_ms: found.last_ms,
            last_at: Stamp(found.last_ms),
        }
    }
}

/// `GET /people` and `GET /api/v1/people`: the people whom a search finds, as a page or as JSON.
pub async fn get_people(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = load_people_page(&web, &ask).await.map(PageAnswer::from);
    response::send_page(&web, &ask, answer).await
}

/// Reads the people whom the parameters ask for.
async fn load_people_page(web: &Web, ask: &PageRequest) -> Result<People, Error> {
    let query = ask.list_query(KNOWN)?;
    let limit = query.limit(LIMIT)?;
    let text = query.get("q").unwrap_or_default().trim();
    let hidden = !web.store.shows_names();
    let mut found = if hidden {
        Vec::new()
    } else {
        search_people(&web.store, text, limit + 1).await?
    };
    let most = usize::try_from(limit).unwrap_or(0);
    let has_more = found.len() > most;
    found.truncate(most);

    Ok(People {
        entries_total: EntriesTotal {
            more_than: has_more,
            ..EntriesTotal::exactly(found.len())
        },
        data: found.into_iter().map(PersonFound::from).collect(),
        has_more,
        hidden,
        looked: LookedFacts::read(web, ask.now).await?,
        query,
    })
}

impl People {
    /// What is searched for; empty if nothing is.
    #[must_use]
    pub fn text(&self) -> &str {
        self.query.get("q").unwrap_or_default()
    }

    /// The address of the same list as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        format!("/api/v1/people{}", self.query.with(&[], None))
    }
}

impl PersonFound {
    /// The display name, or a part of the id.
    #[must_use]
    pub fn title(&self) -> String {
        person_title(self.name.as_deref(), &self.user_id)
    }

    /// The page of the person.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/people/{}", f::path_segment(&self.user_id))
    }
}

#[derive(Template)]
#[template(path = "people.html")]
struct Html<'a> {
    page: &'a People,
    shell: &'a Shell,
    now: i64,
}

impl Page for People {
    const SECTION: Section = Section::Servers;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}
