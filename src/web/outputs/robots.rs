//! `/robots.txt`: search engines are asked to stay away, because calls are personal.

use actix_web::HttpResponse;
use actix_web::http::header;

/// `GET /robots.txt`.
pub async fn get_robots() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body("User-agent: *\nDisallow: /\n")
}
