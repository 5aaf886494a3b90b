//! Checks paths: no id or name has control characters, and not every database accepts them in a
//! text.

use super::error::Error;
use super::response::{self, PageRequest};
use crate::web::Web;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;

/// Answers 404 if the path has control characters, and passes other requests on.
///
/// # Errors
/// Those of the guarded service.
pub async fn refuse_control_characters(
    web: Data<Web>,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if !has_control_characters(req.path()) {
        return Ok(next.call(req).await?.map_into_boxed_body());
    }

    let error =
        Error::NotFound("There is nothing at an address with control characters.".to_owned());
    let ask = PageRequest::of_request(req.request(), &web);

    Ok(req.into_response(response::send_error(&ask, &error)))
}

/// Does the path have ASCII control characters, plain or percent-encoded? Others arrive
/// percent-encoded and are ordinary text everywhere.
fn has_control_characters(path: &str) -> bool {
    let escaped = path
        .split('%')
        .skip(1)
        .filter_map(|rest| u8::from_str_radix(rest.get(..2)?, 16).ok());

    escaped
        .chain(path.bytes())
        .any(|byte| byte.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_seen_however_they_are_written() {
        for bad in ["/rooms/%00", "/rooms/a%0ab", "/%1F", "/%7f", "/a\u{1}"] {
            assert!(has_control_characters(bad), "{bad}");
        }

        for good in [
            "/",
            "/rooms/%21a%3Ab",
            "/rooms/%C3%9C",
            "/%",
            "/%2",
            "/%zz",
            "/%é",
        ] {
            assert!(!has_control_characters(good), "{good}");
        }
    }
}
