//! Answers while the database is being upgraded: that it is, and how far. It stands in the place of
//! the pages, on the same socket, until they can be served.

use super::PAGE_POLICY;
use super::http::error::ErrorBody;
use super::outputs::health::Alive;
use crate::store::db::upgrade_progress::{RunningUpgrade, UpgradeStep};
use actix_web::dev::Server;
use actix_web::http::KeepAlive;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self as http, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use askama::Template;
use std::net::TcpListener;
use tokio::sync::watch;

/// Maximum number of open connections.
const CONNECTIONS_MAX: usize = 128;
/// Seconds that requests being processed are given at the end.
const SHUTDOWN_S: u64 = 1;
/// After how many seconds to ask again.
const ASK_AGAIN_S: u64 = 5;

type Progress = watch::Receiver<Option<RunningUpgrade>>;

/// The page for people.
#[derive(Debug, Template)]
#[template(path = "upgrading.html")]
struct UpgradingPage {
    words: String,
    ask_again_s: u64,
}

/// Serves on a bound socket until the returned server is stopped. The server must be polled
/// (spawned) to run.
///
/// # Errors
/// The socket cannot be used.
pub fn serve_while_upgrading(listener: TcpListener, progress: Progress) -> std::io::Result<Server> {
    let progress = Data::new(progress);
    let app = move || {
        let headers = DefaultHeaders::new()
            .add(("content-security-policy", PAGE_POLICY))
            .add(("x-content-type-options", "nosniff"))
            .add(("x-robots-tag", "noindex, nofollow"))
            .add((RETRY_AFTER, ASK_AGAIN_S))
            .add((CACHE_CONTROL, "no-store"));

        App::new()
            .app_data(progress.clone())
            .wrap(headers)
            .default_service(http::to(answer_upgrading))
    };

    Ok(HttpServer::new(app)
        .workers(1)
        // The next request of a browser is to come to the pages.
        .keep_alive(KeepAlive::Disabled)
        .max_connections(CONNECTIONS_MAX)
        .disable_signals()
        .shutdown_timeout(SHUTDOWN_S)
        .listen(listener)?
        .run())
}

/// Any request, also below a path of ours: the process lives, and nothing else can be had yet.
async fn answer_upgrading(req: HttpRequest, progress: Data<Progress>) -> HttpResponse {
    let path = req.path();
    if path.ends_with("/healthz") {
        return HttpResponse::Ok().json(Alive { alive: true });
    }

    let words = words_of_progress(progress.borrow().as_ref());
    let is_for_people = !path.contains("/api/") && !path.ends_with("/readyz");
    let page = UpgradingPage {
        words: words.clone(),
        ask_again_s: ASK_AGAIN_S,
    };
    match page.render() {
        Ok(page) if is_for_people => HttpResponse::ServiceUnavailable()
            .content_type("text/html; charset=utf-8")
            .body(page),
        _ => HttpResponse::ServiceUnavailable().json(ErrorBody {
            errcode: "M_NOT_READY",
            error: words,
            status: 503,
        }),
    }
}

/// How far it is, in a sentence.
fn words_of_progress(running: Option<&RunningUpgrade>) -> String {
    let Some(running) = running else {
        return "Callscope is starting.".to_owned();
    };

    let step = match &running.step {
        UpgradeStep::Backup => "a backup is being made".to_owned(),
        UpgradeStep::Migration { number, of, .. } => format!("step {number} of {of}"),
        UpgradeStep::Finish => "it is nearly done".to_owned(),
    };
    let seconds = running.since.elapsed().as_secs();

    format!("The database is being upgraded since {seconds} s: {step}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// The status and the text of the answer to this address.
    async fn ask(address: &str) -> (u16, String) {
        let answer = reqwest::get(address).await.unwrap();

        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[actix_web::test]
    async fn whoever_asks_meanwhile_learns_how_far_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (tell, progress) = watch::channel(None);
        let step = UpgradeStep::Migration {
            number: 3,
            of: 12,
            name: "sieve".to_owned(),
        };
        tell.send_replace(Some(RunningUpgrade {
            step,
            since: Instant::now(),
        }));
        let server = serve_while_upgrading(listener, progress).unwrap();
        let handle = server.handle();
        tokio::spawn(server);

        assert_eq!(
            ask(&format!("{base}/healthz")).await,
            (200, r#"{"alive":true}"#.to_owned())
        );
        for path in ["/readyz", "/calls", "/api/v1/calls", "/below/a/path"] {
            let (status, text) = ask(&format!("{base}{path}")).await;
            assert_eq!(status, 503, "{path}");
            assert!(text.contains("step 3 of 12"), "{path}: {text}");
            let is_json = text.starts_with('{');
            assert_eq!(is_json, path.contains("api") || path == "/readyz", "{path}");
        }
        handle.stop(true).await;
    }
}
