//! `/shared/{secret}`: one call, for whoever has its address. The page leads nowhere else, since
//! nothing else is shown to them.

use super::call::{CallPage, load_call_page};
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::response::{self, PageAnswer, PageRequest, Shell};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

/// `GET /shared/{secret}`: the call as a page. The gate has found the address.
pub async fn get_shared_call(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    match load_shared_call(&web, &ask).await {
        Ok(page) => {
            let shell = Shell {
                is_shared: true,
                ..Shell::without_status(&ask)
            };
            let html = response::render_within_limit(&page, shell)
                .map(|html| keep_links_of_call(&html, &page.call.href(), req.path()));
            response::send_private_page(&ask, StatusCode::OK, html)
        }
        Err(error) => response::send_error(&ask, &error),
    }
}

async fn load_shared_call(web: &Web, ask: &PageRequest) -> Result<CallPage, Error> {
    let shared = web.store.visible_rooms();
    let Some(id) = shared.and_then(|rooms| rooms.only_call.as_deref()) else {
        return Err(Error::Unrecognized);
    };

    match load_call_page(web, ask, id).await? {
        PageAnswer::Page(page) => Ok(page),
        PageAnswer::Redirect(_) => Err(Error::Unrecognized),
    }
}

/// The page with links that lead to other parts of this call, to files of ours, and to what is open
/// to all. The others are text.
fn keep_links_of_call(page: &str, call_path: &str, shared_path: &str) -> String {
    const LINK: &str = " href=\"";

    let mut kept = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(place) = rest.find(LINK) {
        let (before, link) = rest.split_at(place);
        let link = &link[LINK.len()..];
        let end = link.find('"').unwrap_or(link.len());
        let (address, after) = link.split_at(end);
        kept.push_str(before);
        if let Some(part) = address.strip_prefix(call_path) {
            kept.extend([LINK, shared_path, part, "\""]);
        } else if is_open_link(address) {
            kept.extend([LINK, address, "\""]);
        }

        rest = after.strip_prefix('"').unwrap_or(after);
    }
    kept.push_str(rest);

    kept
}

/// Does it lead to what everybody may see, or to somewhere on the page or outside?
fn is_open_link(address: &str) -> bool {
    !address.starts_with('/')
        || address.starts_with("/static/")
        || ["/", "/about"].contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_page_leads_nowhere_else() {
        let page = "<a href=\"/\">a</a><a class=\"x\" href=\"/rooms/b\">b</a>\
                    <a href=\"/calls/c?stays_from=20#h\">c</a><a href=\"#d\">d</a>\
                    <link rel=\"icon\" href=\"/static/e.svg\"><a href=\"/calls/f\">f</a>";
        assert_eq!(
            keep_links_of_call(page, "/calls/c", "/shared/s"),
            "<a href=\"/\">a</a><a class=\"x\">b</a>\
             <a href=\"/shared/s?stays_from=20#h\">c</a><a href=\"#d\">d</a>\
             <link rel=\"icon\" href=\"/static/e.svg\"><a>f</a>"
        );
    }
}
