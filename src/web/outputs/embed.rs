//! `/embed/rooms/{id}`: the running call of one room, to be embedded in another page. Only this
//! address allows framing.

use crate::store::ingest::rooms;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::indentation::without_indentation;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use crate::web::pages::read_running_in_room;
use crate::web::view::format as f;
use crate::web::view::liveness::{Liveness, SeenFacts, no_such_room};
use crate::web::view::{CallFacts, RoomFacts};
use crate::web::{PAGE_POLICY, Web};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;

#[derive(Template)]
#[template(path = "embed.html")]
struct EmbedPage {
    room: RoomFacts,
    calls: Vec<CallFacts>,
    /// Calls in which only devices are left that are probably gone.
    stuck: Vec<CallFacts>,
    /// Whether the present is known.
    seen: SeenFacts,
    now: i64,
}

/// `GET /embed/rooms/{id}`: the running call of a room as a page that other sites may show in a
/// frame. So the policy that forbids this elsewhere is changed here.
pub async fn get_room_embed(req: HttpRequest, web: Web, id: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let html = load_room_embed(&web, &ask, &id)
        .await
        .and_then(|page| Ok(without_indentation(&page.render()?)));
    let mut response = match html {
        Ok(html) => response::html_answer(&ask, StatusCode::OK, "no-cache", html),
        Err(error) => response::send_error(&ask, &error),
    };

    let policy = PAGE_POLICY.replace("frame-ancestors 'none'", "frame-ancestors *");
    if let Ok(policy) = header::HeaderValue::from_str(&policy) {
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy);
    }

    response
}

/// Reads the running calls of a room, and whether its present is known.
async fn load_room_embed(web: &Web, ask: &PageRequest, id: &str) -> Result<EmbedPage, Error> {
    Query::read(&ask.query, &[])?;
    let Some(room) = rooms::find_room(&web.store, id, ask.now).await? else {
        return Err(no_such_room(web, ask.now).await);
    };

    let calls = read_running_in_room(web, ask, &room.room.room_id).await?;
    let present = Liveness::read(web, ask.now).await?;
    let seen = present.room(&room.room.room_id).into();
    let (stuck, running) = calls.into_iter().partition(CallFacts::is_stuck);

    Ok(EmbedPage {
        room: RoomFacts::from(room),
        calls: running,
        stuck,
        seen,
        now: ask.now,
    })
}

impl EmbedPage {
    /// Since when it is unknown whether this call runs, ms, if that time is known.
    fn since(&self, call: &CallFacts) -> Option<i64> {
        if self.seen.unknown && !self.seen.is_encrypted() {
            return self.seen.unknown_since_ms;
        }

        call.unknown_since_ms
    }
}
