//! `/calls/{id}/card.png`: the picture that chat programs show beside a link to a call.

use crate::store::read::calls::find_call;
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::etag;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use crate::web::pages::call_head::state_in_short;
use crate::web::pages::read_calls_with_members;
use crate::web::svg::card::{self, CardPlot, drawable_text};
use crate::web::svg::png::draw_png;
use crate::web::view::CallFacts;
use crate::web::view::format as f;
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;

/// Maximum number of letters of the lines.
const TITLE_MAX: usize = 38;
const LINE_MAX: usize = 78;

#[derive(Template)]
#[template(path = "card.svg")]
struct CardSvg {
    title: String,
    state: String,
    /// What is wrong.
    wrong: Option<String>,
    when: String,
    plot: CardPlot,
}

/// `GET /calls/{id}/card.png`: the picture of a call. Former ids and those of events lead on to it.
pub async fn get_card(req: HttpRequest, web: Web, id: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = load_card(&web, &ask, &id).await;
    response::send_answer(&req, &web, answer)
}

async fn load_card(web: &Web, ask: &PageRequest, id: &str) -> Result<HttpResponse, Error> {
    Query::read(&ask.query, &[])?;
    let missing = || Error::NotFound("No call has this id.".to_owned());
    let call = find_call(&web.store, id).await?.ok_or_else(missing)?;
    if call.id != id {
        let id = f::path_segment(&call.id);
        return Ok(response::redirect_to(&format!("/calls/{id}/card.png")));
    }

    let calls = read_calls_with_members(web, ask, vec![call]).await?;
    let call = calls.into_iter().next().ok_or_else(missing)?;
    let svg = svg_of_call(&call, ask.now).render()?;
    let drawn = http::block(move || draw_png(&svg, card::WIDTH)).await;
    let png = drawn.map_err(|_| Error::Busy("no picture can be drawn"))??;
    let tag = ask.tag.clone().unwrap_or_else(|| etag::tag_of_body(&png));

    Ok(response::send_tagged(ask, "image/png", tag, png))
}

/// The picture of the call at `now`, ms.
fn svg_of_call(call: &CallFacts, now: i64) -> CardSvg {
    let room = &call.room;
    let names = [Some(room.title()), room.alias.as_deref()];
    let title = names
        .into_iter()
        .flatten()
        .find_map(|name| drawable_text(name, TITLE_MAX));
    let wrong = call.first_finding();
    let begun = f::utc_datetime(call.started_ms).strftime("%-d %B %Y, %H:%M UTC");

    CardSvg {
        title: title.unwrap_or_else(|| "A call on Matrix".to_owned()),
        state: drawable_text(&state_in_short(call, now), LINE_MAX).unwrap_or_default(),
        wrong: wrong.and_then(|words| drawable_text(&words, LINE_MAX)),
        when: format!("{} of {begun}", call.noun().title),
        plot: card::draw_card(call, now),
    }
}
