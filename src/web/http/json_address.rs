//! The address of a page with `.json` behind it: it has the JSON of the page.

use super::viewer::viewer_of_request;
use crate::store::ingest::rooms::find_room_name;
use crate::store::read::calls::find_call;
use crate::store::read::person::find_known_person;
use crate::store::stats::capacity::is_known_sfu;
use crate::store::stats::distributions::find_known_server;
use crate::store::{Error, Reader};
use crate::web::Web;
use actix_web::body::MessageBody;
use actix_web::dev::{ResourceMap, ServiceRequest, ServiceResponse};
use actix_web::http::Uri;
use actix_web::http::uri::PathAndQuery;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpRequest};
use percent_encoding::percent_decode_str;

const ENDING: &str = ".json";
const API: &str = "/api/v1";

/// Says of a request that its address ends in `.json` because the name of the thing does.
struct NamedSo;

/// Is this the address of a page with `.json` behind it?
#[must_use]
pub fn asks_for_json(req: &HttpRequest) -> bool {
    let is_named_so = || req.extensions().contains::<NamedSo>();

    json_path(req.resource_map(), req.path()).is_some() && !is_named_so()
}

/// Leads the address of a page with `.json` behind it to the JSON of the page. Where something has
/// a name that itself ends in `.json`, its page stays what it is.
///
/// # Errors
/// Those of the inner service.
pub async fn lead_to_json(
    web: Data<Web>,
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let Some(path) = json_path(req.resource_map(), req.path()) else {
        return next.call(req).await;
    };

    // What cannot be read now is told by the answer itself.
    if is_page_of_name(&web, &req).await.unwrap_or(false) {
        req.extensions_mut().insert(NamedSo);
    } else if let Some(uri) = uri_with_path(req.uri(), &path) {
        req.match_info_mut().get_mut().update(&uri);
        req.head_mut().uri = uri;
    }

    next.call(req).await
}

/// The path of the JSON of a page, if this is the page's path with `.json` behind it.
fn json_path(addresses: &ResourceMap, path: &str) -> Option<String> {
    let page = path.strip_suffix(ENDING)?;
    if page == "/" {
        return Some(format!("{API}/overview"));
    }

    let json = format!("{API}{page}");
    let of_page = addresses.match_pattern(page)?;
    let of_json = addresses.match_pattern(&json)?;

    // The JSON of something else may stand there: `/calls/active` is no page.
    (of_json == format!("{API}{of_page}")).then_some(json)
}

/// Does the whole path name a page of something that is there, whose name ends in `.json`?
async fn is_page_of_name(web: &Web, req: &ServiceRequest) -> Result<bool, Error> {
    if req.resource_map().match_pattern(req.path()).is_none() {
        return Ok(false);
    }

    let Some((noun, name)) = req.path().trim_start_matches('/').split_once('/') else {
        return Ok(false);
    };

    let viewer = viewer_of_request(req.request());
    let web = web.for_dear_questions();
    let store = web
        .store
        .for_viewer(&viewer, web.options.visibility)
        .await?;
    let name = percent_decode_str(name).decode_utf8_lossy();

    is_known_name(&store, noun, &name).await
}

/// Is there something of this name, which the viewer may see? `noun` is the first word of its
/// path.
async fn is_known_name(store: &Reader, noun: &str, name: &str) -> Result<bool, Error> {
    match noun {
        "calls" => Ok(find_call(store, name).await?.is_some()),
        "rooms" => Ok(find_room_name(store, name).await?.is_some()),
        "servers" => Ok(find_known_server(store, name).await?.is_some()),
        "transports" => is_known_sfu(store, &name.to_lowercase()).await,
        "people" => Ok(store.shows_names() && find_known_person(store, name).await?.is_some()),
        _ => Ok(false),
    }
}

/// The address with another path.
fn uri_with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let address = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };

    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(address.parse::<PathAndQuery>().ok()?);

    Uri::from_parts(parts).ok()
}
