//! `/api/v1/version`: which program answers, for programs that adapt to it.

use crate::rtc::RULES_VERSION;
use crate::rtc::problem::FINDINGS_VERSION;
use crate::store::newest_shape;
use crate::web::Web;
use crate::web::http::response::{self, PageRequest, Shell};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

/// The version of the program, and of what it makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[allow(
    clippy::struct_field_names,
    reason = "each is the version of something else"
)]
pub struct Version {
    /// That of the program.
    pub version: &'static str,
    /// That of the API, as it stands in its addresses.
    pub api_version: &'static str,
    /// The number of the newest migration of the database.
    pub schema_version: i64,
    /// That of the rules by which calls are computed, and of those by which findings are. With
    /// another one, old calls are computed again.
    pub rules_version: u32,
    pub findings_version: &'static str,
}

/// `GET /api/v1/version`.
pub async fn get_version(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = ask.read_query(&[]).map(|_| Version {
        version: Shell::VERSION,
        api_version: "v1",
        schema_version: newest_shape(),
        rules_version: RULES_VERSION,
        findings_version: FINDINGS_VERSION,
    });

    response::send_json(&ask, answer)
}
