//! Every address, and the function that answers it.

use super::outputs::{
    attendance, badge, embed, export, feed, health, live, metrics, robots, table,
};
use super::pages::{
    about, admin, admin_rooms, call, calls, docs, feeds, me, openid, overview, person, problems,
    rejected, room, room_at, rooms, server, server_check, servers, share, shared_call, sign_in,
    sign_in_code, statistics, status, transports, wall, widget,
};
use super::{Web, http};
use actix_web::web::{self as actix, Data, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder};

/// Adds all addresses. Expensive queries (`dear`) and health checks (`watched`) use connections of
/// their own, so that they neither wait for the pages nor delay them.
pub(super) fn add_routes(config: &mut ServiceConfig, dear: &Data<Web>, watched: &Data<Web>) {
    add_program_routes(config, dear, watched);
    add_api_routes(config, dear);
    add_private_routes(config);
    config
        .service(read_only("/", overview::get_overview))
        .service(read_only("/calls", calls::get_calls))
        .service(read_only("/calls/{id:.+}", call::get_call))
        .service(read_only("/problems", problems::get_problems).app_data(dear.clone()))
        .service(read_only("/problems/{id}", problems::get_problem))
        .service(read_only("/rooms", rooms::get_rooms))
        .service(read_only("/rooms/{id:.+}", room::get_room))
        .service(read_only("/servers", servers::get_servers).app_data(dear.clone()))
        .service(
            read_only("/servers/{name}/check", server_check::get_server_check)
                .app_data(dear.clone()),
        )
        .service(read_only("/servers/{name}", server::get_server).app_data(dear.clone()))
        .service(read_only("/people/{id}", person::get_person).app_data(dear.clone()))
        .service(read_only("/transports", transports::get_transports).app_data(dear.clone()))
        .service(read_only("/statistics", statistics::get_statistics).app_data(dear.clone()))
        .service(read_only("/stats", statistics::redirect_stats))
        .service(read_only("/wall", wall::get_wall))
        .service(read_only("/status", status::get_status))
        .service(read_only("/rejected", rejected::get_rejected).app_data(dear.clone()))
        .service(read_only("/about", about::get_about))
        .service(
            actix::resource("/api/v1/live")
                .route(actix::get().to(live::get_live_events))
                .default_service(actix::to(http::response::refuse_unless_get)),
        )
        .service(read_only("/healthz", health::get_healthz))
        .service(read_only("/readyz", health::get_readyz).app_data(watched.clone()))
        .service(read_only("/robots.txt", robots::get_robots))
        .service(read_only("/static/{name}", http::assets::get_asset))
        .default_service(actix::to(http::response::refuse_unknown_path));
}

/// Adds the API: the pages as JSON, and everything else below it.
fn add_api_routes(config: &mut ServiceConfig, dear: &Data<Web>) {
    config
        .service(read_only("/api/v1/overview", overview::get_overview))
        .service(read_only("/api/v1/calls", calls::get_calls))
        .service(read_only("/api/v1/calls/active", calls::get_active_calls))
        .service(read_only("/api/v1/calls.csv", export::get_calls_csv).app_data(dear.clone()))
        .service(read_only("/api/v1/calls.ndjson", export::get_calls_ndjson).app_data(dear.clone()))
        .service(
            read_only(
                "/api/v1/calls/{id:.+}/attendance.csv",
                attendance::get_attendance_of_call,
            )
            .app_data(dear.clone()),
        )
        .service(read_only("/api/v1/calls/{id:.+}", call::get_call))
        .service(read_only("/api/v1/problems", problems::get_problems).app_data(dear.clone()))
        .service(read_only("/api/v1/problems.csv", export::get_problems_csv).app_data(dear.clone()))
        .service(
            read_only("/api/v1/problems.ndjson", export::get_problems_ndjson)
                .app_data(dear.clone()),
        )
        .service(read_only("/api/v1/problems/{id}", problems::get_problem))
        .service(read_only("/api/v1/rooms", rooms::get_rooms))
        .service(read_only("/api/v1/rooms.csv", table::get_rooms_file))
        .service(read_only("/api/v1/rooms.ndjson", table::get_rooms_file))
        .service(read_only(
            "/api/v1/rooms/{id:.+}/members",
            room_at::get_members_at,
        ))
        .service(
            read_only("/api/v1/rooms/{id:.+}/flips", room_at::get_flips).app_data(dear.clone()),
        )
        .service(
            read_only(
                "/api/v1/rooms/{id:.+}/attendance.csv",
                attendance::get_attendance_of_room,
            )
            .app_data(dear.clone()),
        )
        .service(read_only("/api/v1/rooms/{id:.+}", room::get_room))
        .service(read_only("/api/v1/servers", servers::get_servers).app_data(dear.clone()))
        .service(read_only("/api/v1/servers.csv", table::get_servers_file).app_data(dear.clone()))
        .service(
            read_only("/api/v1/servers.ndjson", table::get_servers_file).app_data(dear.clone()),
        )
        .service(
            read_only(
                "/api/v1/servers/{name}/check",
                server_check::get_server_check,
            )
            .app_data(dear.clone()),
        )
        .service(read_only(
            "/api/v1/servers/{name}/rtc-ok",
            server_check::get_rtc_ok,
        ))
        .service(read_only("/api/v1/servers/{name}", server::get_server).app_data(dear.clone()))
        .service(read_only("/api/v1/people/{id}", person::get_person).app_data(dear.clone()))
        .service(read_only("/api/v1/transports", transports::get_transports).app_data(dear.clone()))
        .service(
            read_only("/api/v1/transports.csv", table::get_transports_file).app_data(dear.clone()),
        )
        .service(
            read_only("/api/v1/transports.ndjson", table::get_transports_file)
                .app_data(dear.clone()),
        )
        .service(read_only("/api/v1/statistics", statistics::get_statistics).app_data(dear.clone()))
        .service(read_only("/api/v1/wall", wall::get_wall))
        .service(read_only("/api/v1/status", status::get_status))
        .service(read_only("/api/v1/rejected", rejected::get_rejected).app_data(dear.clone()))
        .service(read_only("/api/v1/about", about::get_about))
        .service(read_only("/api/v1/openapi.json", docs::get_openapi))
        .service(read_only("/api/docs", docs::get_docs))
        .service(read_only("/api/docs/{name}", docs::get_schema));
}

/// Adds the addresses that are neither a page nor its JSON.
fn add_program_routes(config: &mut ServiceConfig, dear: &Data<Web>, watched: &Data<Web>) {
    config
        .service(read_only("/metrics", metrics::get_metrics).app_data(watched.clone()))
        .service(read_only(
            "/badge/rooms/{id:.+}/active.svg",
            badge::get_room_badge_svg,
        ))
        .service(read_only(
            "/badge/rooms/{id:.+}/active.json",
            badge::get_room_badge_json,
        ))
        .service(read_only(
            "/badge/servers/{name}/active.svg",
            badge::get_server_badge_svg,
        ))
        .service(read_only(
            "/badge/servers/{name}/active.json",
            badge::get_server_badge_json,
        ))
        .service(read_only(
            "/badge/servers/{name}/rtc.svg",
            server_check::get_check_badge_svg,
        ))
        .service(read_only(
            "/badge/servers/{name}/rtc.json",
            server_check::get_check_badge_json,
        ))
        .service(read_only("/feed/calls.atom", feed::get_calls_atom).app_data(dear.clone()))
        .service(read_only("/feed/problems.atom", feed::get_problems_atom).app_data(dear.clone()))
        .service(read_only("/feed/calls.ics", feed::get_calls_ics).app_data(dear.clone()))
        .service(
            read_only("/feed/rooms/{id:.+}/calls.atom", feed::get_room_calls_atom)
                .app_data(dear.clone()),
        )
        .service(
            read_only("/feed/rooms/{id:.+}/calls.ics", feed::get_room_calls_ics)
                .app_data(dear.clone()),
        )
        .service(read_only("/embed/rooms/{id:.+}", embed::get_room_embed));
}

/// Adds the addresses about signing in, and the admin page. Only they take forms.
fn add_private_routes(config: &mut ServiceConfig) {
    config
        .service(
            read_only("/sign-in", sign_in::get_sign_in)
                .route(actix::post().to(sign_in::post_sign_in)),
        )
        .service(
            read_only("/sign-in/code", sign_in_code::get_code_form)
                .route(actix::post().to(sign_in_code::ask_for_code)),
        )
        .route(
            "/sign-in/code/check",
            actix::post().to(sign_in_code::check_code),
        )
        .service(
            actix::resource("/sign-in/openid")
                .route(actix::get().to(openid::begin_sign_in))
                .default_service(actix::to(http::response::refuse_unless_get)),
        )
        .service(
            actix::resource("/sign-in/openid/callback")
                .route(actix::get().to(openid::end_sign_in))
                .default_service(actix::to(http::response::refuse_unless_get)),
        )
        .service(
            read_only("/sign-out", sign_in::get_sign_out)
                .route(actix::post().to(sign_in::post_sign_out)),
        )
        .service(read_only("/feeds", feeds::get_feeds))
        .route("/feeds/renew", actix::post().to(feeds::renew_feed_key))
        .route("/feeds/delete", actix::post().to(feeds::delete_feed_key))
        .service(read_only("/me", me::get_me))
        .service(read_only("/me/export.json", me::get_export))
        .route("/me/opt-out", actix::post().to(me::opt_out))
        .service(read_only("/widget", widget::get_widget))
        .route("/widget/session", actix::post().to(widget::begin_session))
        .service(read_only("/admin", admin::get_admin))
        .service(read_only("/shared/{secret}", shared_call::get_shared_call))
        .service(read_only("/admin/share", share::get_share))
        .route("/admin/share/add", actix::post().to(share::add_share_link))
        .route(
            "/admin/share/revoke",
            actix::post().to(share::revoke_share_link),
        )
        .route("/admin/feeds/end", actix::post().to(share::end_feed_key))
        .service(read_only("/admin/rooms", admin_rooms::get_admin_rooms))
        .route(
            "/admin/rooms/show",
            actix::post().to(admin_rooms::show_room_to),
        )
        .route(
            "/admin/rooms/read",
            actix::post().to(admin_rooms::read_room_again),
        )
        .route("/admin/sessions/end", actix::post().to(admin::end_session))
        .route(
            "/admin/sessions/end-all",
            actix::post().to(admin::end_all_sessions),
        )
        .route("/admin/keys/add", actix::post().to(admin::add_key))
        .route("/admin/keys/revoke", actix::post().to(admin::revoke_key));
}

/// An address that answers GET and HEAD.
fn read_only<F, Args>(path: &str, handler: F) -> Resource
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
