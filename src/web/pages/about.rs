//! `/about`: what is collected, how calls are computed, and who may see it, in plain words.

use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::view::format as f;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;
use utoipa::ToSchema;

/// The page. It has no data of its own.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct About {
    pub version: &'static str,
}

/// `GET /about`: the page about Callscope, with its version.
pub async fn get_about(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer: Result<_, Error> = Query::read(&ask.query, &[]).map(|_| {
        PageAnswer::from(About {
            version: Shell::VERSION,
        })
    });

    response::send_page(&web, &ask, answer).await
}

#[derive(Template)]
#[template(path = "about.html")]
struct Html<'a> {
    shell: &'a Shell,
}

impl Page for About {
    const SECTION: Section = Section::About;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html { shell }.render()
    }
}
