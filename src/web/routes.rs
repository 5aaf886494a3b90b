//! Every address, and the function that answers it.

use super::outputs::{
    attendance, badge, card, embed, export, feed, health, live, metrics, robots, table, version,
};
use super::pages::{
    about, admin, admin_alerts, admin_rooms, book, call, calls, census, docs, feeds, me, openid,
    overview, people, person, problems, rejected, room, room_at, rooms, server, server_check,
    servers, share, shared_call, sign_in, sign_in_code, statistics, status, transport, transports,
    wall, widget,
};
use super::{Web, http};
use actix_web::web::{self as actix, Data, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder};

/// How an address is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// GET and HEAD.
    Read,
    /// GET alone: it begins something, or goes on without end.
    GetOnly,
    /// POST, with a form.
    Form,
}

/// An address of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// With a name in braces for what it tells apart, such as `{id:.+}`.
    pub path: &'static str,
    pub methods: Methods,
}

/// All addresses while they are added. Each is listed when it is added, so that none can be left
/// out of the list.
struct Routes<'c> {
    config: &'c mut ServiceConfig,
    /// For expensive queries: they use connections of their own, so that they do not delay pages.
    dear: &'c Data<Web>,
    /// For health checks: they use connections of their own, so that they never wait for pages.
    watched: &'c Data<Web>,
    addresses: Vec<Address>,
}

/// Adds all addresses; returns them. Expensive queries use the connections of `dear`, and health
/// checks those of `watched`.
pub(super) fn add_routes(
    config: &mut ServiceConfig,
    dear: &Data<Web>,
    watched: &Data<Web>,
) -> Vec<Address> {
    let mut routes = Routes {
        config,
        dear,
        watched,
        addresses: Vec::new(),
    };
    add_program_routes(&mut routes);
    add_api_routes(&mut routes);
    add_private_routes(&mut routes);
    add_page_routes(&mut routes);
    let addresses = routes.addresses;
    config.default_service(actix::to(http::response::refuse_unknown_path));

    addresses
}

/// Adds the pages.
fn add_page_routes(routes: &mut Routes<'_>) {
    routes.page("/", overview::get_overview);
    routes.page("/calls", calls::get_calls);
    routes.dear_page("/calls/{id:.+}/card.png", card::get_card);
    routes.page("/calls/{id:.+}", call::get_call);
    routes.dear_page("/problems", problems::get_problems);
    routes.dear_page("/problems/{id}", problems::get_problem);
    routes.page("/rooms", rooms::get_rooms);
    routes.page("/rooms/{id:.+}", room::get_room);
    routes.dear_page("/servers", servers::get_servers);
    routes.dear_page("/servers/{name}/check", server_check::get_server_check);
    routes.dear_page("/servers/{name}", server::get_server);
    routes.dear_page("/people", people::get_people);
    routes.dear_page("/people/{id}", person::get_person);
    routes.dear_page("/transports", transports::get_transports);
    routes.dear_page("/transports/{host}", transport::get_transport);
    routes.dear_page("/statistics", statistics::get_statistics);
    routes.dear_page("/census", census::get_census);
    routes.page("/stats", statistics::redirect_stats);
    routes.page("/wall", wall::get_wall);
    routes.page("/status", status::get_status);
    routes.dear_page("/rejected", rejected::get_rejected);
    routes.page("/about", about::get_about);
    routes.page("/docs", book::get_book);
    routes.page("/docs/{name}", book::get_chapter);
    routes.get_only("/api/v1/live", live::get_live_events);
    routes.page("/healthz", health::get_healthz);
    routes.watched_page("/readyz", health::get_readyz);
    routes.page("/robots.txt", robots::get_robots);
    routes.page("/favicon.ico", http::assets::get_favicon);
    routes.page("/static/{name}", http::assets::get_asset);
}

/// Adds the API: the pages as JSON, and everything else below it.
fn add_api_routes(routes: &mut Routes<'_>) {
    routes.page("/api/v1/overview", overview::get_overview);
    routes.page("/api/v1/calls", calls::get_calls);
    routes.page("/api/v1/calls/active", calls::get_active_calls);
    routes.dear_page("/api/v1/calls.csv", export::get_calls_csv);
    routes.dear_page("/api/v1/calls.ndjson", export::get_calls_ndjson);
    routes.dear_page(
        "/api/v1/calls/{id:.+}/attendance.csv",
        attendance::get_attendance_of_call,
    );
    routes.page("/api/v1/calls/{id:.+}", call::get_call);
    routes.dear_page("/api/v1/problems", problems::get_problems);
    routes.dear_page("/api/v1/problems.csv", export::get_problems_csv);
    routes.dear_page("/api/v1/problems.ndjson", export::get_problems_ndjson);
    routes.dear_page("/api/v1/problems/{id}", problems::get_problem);
    routes.page("/api/v1/rooms", rooms::get_rooms);
    routes.page("/api/v1/rooms.csv", table::get_rooms_file);
    routes.page("/api/v1/rooms.ndjson", table::get_rooms_file);
    routes.page("/api/v1/rooms/{id:.+}/members", room_at::get_members_at);
    routes.dear_page("/api/v1/rooms/{id:.+}/flips", room_at::get_flips);
    routes.dear_page(
        "/api/v1/rooms/{id:.+}/attendance.csv",
        attendance::get_attendance_of_room,
    );
    routes.page("/api/v1/rooms/{id:.+}", room::get_room);
    routes.dear_page("/api/v1/servers", servers::get_servers);
    routes.dear_page("/api/v1/servers.csv", table::get_servers_file);
    routes.dear_page("/api/v1/servers.ndjson", table::get_servers_file);
    routes.dear_page(
        "/api/v1/servers/{name}/check",
        server_check::get_server_check,
    );
    routes.dear_page("/api/v1/servers/{name}/rtc-ok", server_check::get_rtc_ok);
    routes.dear_page("/api/v1/servers/{name}", server::get_server);
    routes.dear_page("/api/v1/people", people::get_people);
    routes.dear_page("/api/v1/people/{id}", person::get_person);
    routes.dear_page("/api/v1/transports", transports::get_transports);
    routes.dear_page("/api/v1/transports.csv", table::get_transports_file);
    routes.dear_page("/api/v1/transports.ndjson", table::get_transports_file);
    routes.dear_page("/api/v1/transports/{host}", transport::get_transport);
    routes.dear_page("/api/v1/statistics", statistics::get_statistics);
    routes.dear_page("/api/v1/census", census::get_census);
    routes.page("/api/v1/wall", wall::get_wall);
    routes.page("/api/v1/status", status::get_status);
    routes.dear_page("/api/v1/rejected", rejected::get_rejected);
    routes.page("/api/v1/about", about::get_about);
    routes.page("/api/v1/version", version::get_version);
    routes.page("/api/v1/openapi.json", docs::get_openapi);
    routes.page("/api/docs", docs::get_docs);
    routes.page("/api/docs/{name}", docs::get_schema);
}

/// Adds the addresses that are neither a page nor its JSON.
fn add_program_routes(routes: &mut Routes<'_>) {
    routes.watched_page("/metrics", metrics::get_metrics);
    routes.page("/badge/rooms/{id:.+}/active.svg", badge::get_room_badge_svg);
    routes.page(
        "/badge/rooms/{id:.+}/active.json",
        badge::get_room_badge_json,
    );
    routes.page(
        "/badge/servers/{name}/active.svg",
        badge::get_server_badge_svg,
    );
    routes.page(
        "/badge/servers/{name}/active.json",
        badge::get_server_badge_json,
    );
    routes.dear_page(
        "/badge/servers/{name}/rtc.svg",
        server_check::get_check_badge_svg,
    );
    routes.dear_page(
        "/badge/servers/{name}/rtc.json",
        server_check::get_check_badge_json,
    );
    routes.dear_page("/feed/calls.atom", feed::get_calls_atom);
    routes.dear_page("/feed/problems.atom", feed::get_problems_atom);
    routes.dear_page("/feed/calls.ics", feed::get_calls_ics);
    routes.dear_page("/feed/rooms/{id:.+}/calls.atom", feed::get_room_calls_atom);
    routes.dear_page("/feed/rooms/{id:.+}/calls.ics", feed::get_room_calls_ics);
    routes.page("/embed/rooms/{id:.+}", embed::get_room_embed);
}

/// Adds the addresses about signing in, and the admin page. Only they take forms.
fn add_private_routes(routes: &mut Routes<'_>) {
    routes.page_with_form("/sign-in", sign_in::get_sign_in, sign_in::post_sign_in);
    routes.page_with_form(
        "/sign-in/code",
        sign_in_code::get_code_form,
        sign_in_code::ask_for_code,
    );
    routes.form("/sign-in/code/check", sign_in_code::check_code);
    routes.get_only("/sign-in/openid", openid::begin_sign_in);
    routes.get_only("/sign-in/openid/callback", openid::end_sign_in);
    routes.page_with_form("/sign-out", sign_in::get_sign_out, sign_in::post_sign_out);
    routes.page("/feeds", feeds::get_feeds);
    routes.form("/feeds/renew", feeds::renew_feed_key);
    routes.form("/feeds/delete", feeds::delete_feed_key);
    routes.page("/me", me::get_me);
    routes.page("/me/export.json", me::get_export);
    routes.form("/me/opt-out", me::opt_out);
    routes.page("/widget", widget::get_widget);
    routes.form("/widget/session", widget::begin_session);
    routes.page("/admin", admin::get_admin);
    routes.page("/shared/{secret}", shared_call::get_shared_call);
    routes.page("/admin/share", share::get_share);
    routes.form("/admin/share/add", share::add_share_link);
    routes.form("/admin/share/revoke", share::revoke_share_link);
    routes.form("/admin/feeds/end", share::end_feed_key);
    routes.page("/admin/alerts", admin_alerts::get_admin_alerts);
    routes.form("/admin/alerts/test", admin_alerts::test_alert);
    routes.page("/admin/rooms", admin_rooms::get_admin_rooms);
    routes.form("/admin/rooms/show", admin_rooms::show_room_to);
    routes.form("/admin/rooms/read", admin_rooms::read_room_again);
    routes.form("/admin/sessions/end", admin::end_session);
    routes.form("/admin/sessions/end-all", admin::end_all_sessions);
    routes.form("/admin/keys/add", admin::add_key);
    routes.form("/admin/keys/revoke", admin::revoke_key);
}

impl Routes<'_> {
    /// Adds an address that answers GET and HEAD.
    fn page<F, Args>(&mut self, path: &'static str, handler: F)
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(path, Methods::Read, read_only(path, handler));
    }

    /// Adds an address whose answer takes expensive queries.
    fn dear_page<F, Args>(&mut self, path: &'static str, handler: F)
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let resource = read_only(path, handler).app_data(self.dear.clone());
        self.add(path, Methods::Read, resource);
    }

    /// Adds an address for those who watch over the process.
    fn watched_page<F, Args>(&mut self, path: &'static str, handler: F)
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let resource = read_only(path, handler).app_data(self.watched.clone());
        self.add(path, Methods::Read, resource);
    }

    /// Adds an address that answers GET only.
    fn get_only<F, Args>(&mut self, path: &'static str, handler: F)
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let resource = actix::resource(path)
            .route(actix::get().to(handler))
            .default_service(actix::to(http::response::refuse_unless_get));
        self.add(path, Methods::GetOnly, resource);
    }

    /// Adds an address that answers GET and HEAD by the first function, and takes a form by the
    /// second.
    fn page_with_form<F, G, Args, FormArgs>(&mut self, path: &'static str, handler: F, taker: G)
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
        G: Handler<FormArgs>,
        FormArgs: FromRequest + 'static,
        G::Output: Responder + 'static,
    {
        let resource = read_only(path, handler).route(actix::post().to(taker));
        self.addresses.push(Address {
            path,
            methods: Methods::Form,
        });
        self.add(path, Methods::Read, resource);
    }

    /// Adds an address that takes a form.
    fn form<F, Args>(&mut self, path: &'static str, taker: F)
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.addresses.push(Address {
            path,
            methods: Methods::Form,
        });
        self.config.route(path, actix::post().to(taker));
    }

    fn add(&mut self, path: &'static str, methods: Methods, resource: Resource) {
        self.addresses.push(Address { path, methods });
        self.config.service(resource);
    }
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
