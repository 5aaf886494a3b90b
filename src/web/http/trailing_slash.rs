//! Leads from an address that ends in `/` to the same one without it.

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::Next;

/// Answers a request that only reads with a permanent redirect, if its address has nothing but a
/// `/` too many at its end. Other requests are passed on.
///
/// # Errors
/// Those of the inner service.
pub async fn lead_to_plain_address(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let reads = matches!(*req.method(), Method::GET | Method::HEAD);
    match address_without_slash(&req).filter(|_| reads) {
        Some(address) => {
            let moved = HttpResponse::MovedPermanently()
                .insert_header((header::LOCATION, address))
                // An address may hold a key or the secret of a share.
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .insert_header((header::REFERRER_POLICY, "no-referrer"))
                .finish();

            Ok(req.into_response(moved))
        }
        None => Ok(next.call(req).await?.map_into_boxed_body()),
    }
}

/// The address without the slashes at its end, with its query; `None` if it has none, or if nothing
/// of ours is there. So it never names another host, as `//example.org` would.
fn address_without_slash(req: &ServiceRequest) -> Option<String> {
    let path = req.path();
    let plain = path.trim_end_matches('/');
    if plain == path || plain.is_empty() {
        return None;
    }

    req.resource_map().match_pattern(plain)?;

    Some(match req.query_string() {
        "" => plain.to_owned(),
        query => format!("{plain}?{query}"),
    })
}
