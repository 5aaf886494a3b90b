//! Health checks for whoever starts and watches the process: does it serve, and has it data yet?

use crate::store::ingest::vantages;
use crate::web::Web;
use crate::web::http::error::ErrorBody;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use crate::web::view::storage_words;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

/// The program runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    pub alive: bool,
}

/// The program knows something.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    pub ready: bool,
}

/// The answer to a request with parameters, which is an error; `None` if there are none.
fn refuse_parameters(req: &HttpRequest, web: &Web) -> Option<HttpResponse> {
    let ask = PageRequest::of_request(req, web);
    Query::read(&ask.query, &[])
        .err()
        .map(|error| response::send_error(&ask, &error))
}

/// `GET /healthz`: always 200 while the process serves.
pub async fn get_healthz(req: HttpRequest, web: Data<Web>) -> HttpResponse {
    if let Some(refused) = refuse_parameters(&req, &web) {
        return refused;
    }

    HttpResponse::Ok().json(Alive { alive: true })
}

/// `GET /readyz`: 200 once every account has read its homeserver for the first time, as long as the
/// database can be written and read; else 503 with the reason.
pub async fn get_readyz(req: HttpRequest, web: Data<Web>) -> HttpResponse {
    if let Some(refused) = refuse_parameters(&req, &web) {
        return refused;
    }

    let now = web.clock.now_ms();
    if let Some(trouble) = web.store.trouble(now) {
        let words = storage_words(trouble.kind);
        return not_ready(format!("{}. {LOOK}", words.what));
    }

    let error = match vantages::list_vantages_for(&web.store).await {
        Ok(vantages)
            if !vantages.is_empty()
                && vantages
                    .iter()
                    .all(|vantage| vantage.first_sync_ms.is_some()) =>
        {
            return HttpResponse::Ok().json(Ready { ready: true });
        }

        Ok(_) => format!("The homeserver has not been read for the first time yet. {LOOK}"),
        Err(error) => {
            web.store.health().note_unread(&error, now);
            tracing::error!(%error, "the readiness check failed");
            "the database does not answer".to_owned()
        }
    };

    not_ready(error)
}

/// Where the reason is told to those who may know it: an error can name rooms.
const LOOK: &str = "The status page and the log say why.";

/// The answer 503 with this reason.
fn not_ready(error: String) -> HttpResponse {
    HttpResponse::ServiceUnavailable().json(ErrorBody {
        errcode: "M_NOT_READY",
        error,
        status: 503,
    })
}
