//! The static files, embedded in the binary. Their addresses contain a hash, so browsers may cache
//! them for ever.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use rust_embed::RustEmbed;
use std::fmt::Write;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Files;

/// The address of a static file.
#[must_use]
pub fn asset_href(name: &str) -> String {
    let mut address = format!("/static/{name}");
    if let Some(file) = Files::get(name) {
        address.push_str("?v=");
        for byte in &file.metadata.sha256_hash()[..6] {
            let _ = write!(address, "{byte:02x}");
        }
    }

    address
}

/// `GET /static/{name}`: a file of the interface. With a query string (the hash of the file in it)
/// the browser may keep it for a year; without one it must ask again each time.
pub async fn get_asset(
    req: HttpRequest,
    name: web::Path<String>,
    app: web::Data<crate::web::Web>,
) -> HttpResponse {
    find_asset(&name, !req.query_string().is_empty()).unwrap_or_else(|| {
        super::response::send_error(
            &super::response::PageRequest::of_request(&req, &app),
            &super::error::Error::Unrecognized,
        )
    })
}

/// `GET /favicon.ico`: the icon, for programs that look for it there.
pub async fn get_favicon(req: HttpRequest, app: web::Data<crate::web::Web>) -> HttpResponse {
    get_asset(req, web::Path::from("favicon.ico".to_owned()), app).await
}

/// The answer with a file of the interface; `None` if there is no such file. `is_versioned`: its
/// hash is in the address, so the browser may keep it.
#[must_use]
pub fn find_asset(name: &str, is_versioned: bool) -> Option<HttpResponse> {
    // Without optimisation the files are read from their folder, and a name must not leave it.
    if name.contains(['/', '\\']) {
        return None;
    }

    let file = Files::get(name)?;
    let keep = if is_versioned {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };

    let kind = file.metadata.mimetype();
    let kind = if kind.starts_with("text/") {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_owned()
    };

    let mut response = HttpResponse::Ok();

    Some(
        response
            .insert_header((header::CONTENT_TYPE, kind))
            .insert_header((header::CACHE_CONTROL, keep))
            .body(file.data.into_owned()),
    )
}
