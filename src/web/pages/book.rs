//! `/docs`: the documentation, a page for each chapter. It is the same for everybody, and names
//! nothing of this installation.

use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::etag;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::view::book::{self, BookPart, ChapterLink, HeadingLink};
use crate::web::view::format as f;
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;

/// A chapter among the others.
#[derive(Debug, Clone, Serialize)]
pub struct BookPage {
    pub chapter: ChapterLink,
    /// The chapter, written.
    pub html: String,
    pub headings: Vec<HeadingLink>,
    pub parts: Vec<BookPart>,
    pub previous: Option<ChapterLink>,
    pub next: Option<ChapterLink>,
}

/// `GET /docs`: the first chapter.
pub async fn get_book(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let parts = book::list_parts();
    let first = parts.iter().flat_map(|part| &part.chapters).next().cloned();
    let answer = first
        .and_then(|chapter| open_chapter(parts, chapter))
        .map(PageAnswer::from)
        .ok_or(Error::Unrecognized);

    response::send_page(&web, &ask, answer).await
}

/// `GET /docs/{name}`: a chapter by the name of its file, or a picture of the book.
pub async fn get_chapter(req: HttpRequest, web: Web, name: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    if let Some(picture) = book::find_picture(&name) {
        let tag = etag::tag_of_body(&picture);
        return response::send_tagged(&ask, "image/png", tag, picture);
    }

    let missing = || Error::NotFound("The documentation has no chapter of this name.".to_owned());
    let parts = book::list_parts();
    let answer = book::find_chapter(&parts, &name)
        .and_then(|chapter| {
            if chapter.href == req.path() {
                open_chapter(parts, chapter).map(PageAnswer::from)
            } else {
                Some(PageAnswer::Redirect(chapter.href))
            }
        })
        .ok_or_else(missing);

    response::send_page(&web, &ask, answer).await
}

/// The page of a chapter; `None` if its file is missing.
fn open_chapter(parts: Vec<BookPart>, chapter: ChapterLink) -> Option<BookPage> {
    let text = book::write_chapter(&book::read_file(&chapter.file)?);
    let all: Vec<&ChapterLink> = parts.iter().flat_map(|part| &part.chapters).collect();
    let at = all.iter().position(|other| **other == chapter)?;
    let neighbour = |at: Option<usize>| all.get(at?).map(|other| (*other).clone());
    let (previous, next) = (neighbour(at.checked_sub(1)), neighbour(Some(at + 1)));

    Some(BookPage {
        chapter,
        html: text.html,
        headings: text.headings,
        previous,
        next,
        parts,
    })
}

#[derive(Template)]
#[template(path = "book.html")]
struct BookHtml<'a> {
    page: &'a BookPage,
    shell: &'a Shell,
}

impl Page for BookPage {
    const SECTION: Section = Section::About;
    const FOLLOWS: bool = false;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        BookHtml { page: self, shell }.render()
    }
}
