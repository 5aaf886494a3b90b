//! Every address, and the function that answers it.

use super::Web;
use super::http;
use super::outputs::{badge, embed, export, feed, health, live, metrics, table};
use super::pages::{
    about, call, calls, docs, overview, rejected, room, room_at, rooms, server, servers,
    statistics, status, transports, wall,
};
use actix_web::web::{self as actix, Data, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder};

/// All addresses. Expensive queries and health checks use connections of their own. So they neither
/// wait for the pages nor delay them.
pub(super) fn add_routes(config: &mut ServiceConfig, dear: &Data<Web>, watched: &Data<Web>) {
    for_programs(config, dear, watched);
    api(config, dear);
    config
        .service(at("/", overview::get_overview))
        .service(at("/calls", calls::get_calls))
        .service(at("/calls/{id:.+}", call::get_call))
        .service(at("/rooms", rooms::get_rooms))
        .service(at("/rooms/{id:.+}", room::get_room))
        .service(at("/servers", servers::get_servers).app_data(dear.clone()))
        .service(at("/servers/{name}", server::get_server).app_data(dear.clone()))
        .service(at("/transports", transports::get_transports).app_data(dear.clone()))
        .service(at("/statistics", statistics::get_statistics).app_data(dear.clone()))
        .service(at("/stats", statistics::redirect_stats))
        .service(at("/wall", wall::get_wall))
        .service(at("/status", status::get_status))
        .service(at("/rejected", rejected::get_rejected).app_data(dear.clone()))
        .service(at("/about", about::get_about))
        .service(
            actix::resource("/api/v1/live")
                .route(actix::get().to(live::get_live_events))
                .default_service(actix::to(http::response::refuse_unless_get)),
        )
        .service(at("/healthz", health::get_healthz))
        .service(at("/readyz", health::get_readyz).app_data(watched.clone()))
        .service(at("/static/{name}", http::assets::get_asset))
        .default_service(actix::to(http::response::refuse_unknown_path));
}

/// The API: the pages as JSON, and everything else below it.
fn api(config: &mut ServiceConfig, dear: &Data<Web>) {
    config
        .service(at("/api/v1/overview", overview::get_overview))
        .service(at("/api/v1/calls", calls::get_calls))
        .service(at("/api/v1/calls/active", calls::get_active_calls))
        .service(at("/api/v1/calls.csv", export::get_calls_csv).app_data(dear.clone()))
        .service(at("/api/v1/calls.ndjson", export::get_calls_ndjson).app_data(dear.clone()))
        .service(at("/api/v1/calls/{id:.+}", call::get_call))
        .service(at("/api/v1/rooms", rooms::get_rooms))
        .service(at("/api/v1/rooms.csv", table::get_rooms_file))
        .service(at("/api/v1/rooms.ndjson", table::get_rooms_file))
        .service(at("/api/v1/rooms/{id:.+}/members", room_at::get_members_at))
        .service(at("/api/v1/rooms/{id:.+}/flips", room_at::get_flips).app_data(dear.clone()))
        .service(at("/api/v1/rooms/{id:.+}", room::get_room))
        .service(at("/api/v1/servers", servers::get_servers).app_data(dear.clone()))
        .service(at("/api/v1/servers.csv", table::get_servers_file).app_data(dear.clone()))
        .service(at("/api/v1/servers.ndjson", table::get_servers_file).app_data(dear.clone()))
        .service(at("/api/v1/servers/{name}", server::get_server).app_data(dear.clone()))
        .service(at("/api/v1/transports", transports::get_transports).app_data(dear.clone()))
        .service(at("/api/v1/transports.csv", table::get_transports_file).app_data(dear.clone()))
        .service(at("/api/v1/transports.ndjson", table::get_transports_file).app_data(dear.clone()))
        .service(at("/api/v1/statistics", statistics::get_statistics).app_data(dear.clone()))
        .service(at("/api/v1/wall", wall::get_wall))
        .service(at("/api/v1/status", status::get_status))
        .service(at("/api/v1/rejected", rejected::get_rejected).app_data(dear.clone()))
        .service(at("/api/v1/about", about::get_about))
        .service(at("/api/v1/openapi.json", docs::get_openapi))
        .service(at("/api/docs", docs::get_docs))
        .service(at("/api/docs/{name}", docs::get_schema));
}

/// Addresses that are neither a page nor its JSON.
fn for_programs(config: &mut ServiceConfig, dear: &Data<Web>, watched: &Data<Web>) {
    config
        .service(at("/metrics", metrics::get_metrics).app_data(watched.clone()))
        .service(at(
            "/badge/rooms/{id:.+}/active.svg",
            badge::get_room_badge_svg,
        ))
        .service(at(
            "/badge/rooms/{id:.+}/active.json",
            badge::get_room_badge_json,
        ))
        .service(at(
            "/badge/servers/{name}/active.svg",
            badge::get_server_badge_svg,
        ))
        .service(at(
            "/badge/servers/{name}/active.json",
            badge::get_server_badge_json,
        ))
        .service(at("/feed/calls.atom", feed::get_calls_atom).app_data(dear.clone()))
        .service(at("/feed/calls.ics", feed::get_calls_ics).app_data(dear.clone()))
        .service(
            at("/feed/rooms/{id:.+}/calls.atom", feed::get_room_calls_atom).app_data(dear.clone()),
        )
        .service(
            at("/feed/rooms/{id:.+}/calls.ics", feed::get_room_calls_ics).app_data(dear.clone()),
        )
        .service(at("/embed/rooms/{id:.+}", embed::get_room_embed));
}

/// An address that answers GET and HEAD.
fn at<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    actix::resource(path)
        .route(actix::get().to(handler.clone()))
        .route(actix::head().to(handler))
        .default_service(actix::to(http::response::refuse_unless_get_or_head))
}
