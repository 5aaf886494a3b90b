//! What stands before a homeserver on the Internet: a reverse proxy, a token service and an SFU, in
//! one process, with faults that can be switched on.

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::Method, web};
use serde_json::json;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// What is broken in front of the homeserver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontFault {
    WellKnown,
    Cors,
    Transports,
    TokenService,
    Sfu,
}

/// The running front. It ends with the test program.
#[derive(Debug, Clone)]
pub struct Front {
    pub url: String,
    pub fault: Arc<Mutex<Option<FrontFault>>>,
}

#[derive(Debug)]
struct State {
    homeserver: String,
    url: String,
    fault: Arc<Mutex<Option<FrontFault>>>,
    client: reqwest::Client,
}

impl Front {
    /// Starts a front for the homeserver at this address.
    pub fn start(homeserver: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fault: Arc<Mutex<Option<FrontFault>>> = Arc::default();
        let state = Data::new(State {
            homeserver: homeserver.to_owned(),
            url: url.clone(),
            fault: Arc::clone(&fault),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(state.clone())
                .default_service(web::to(answer))
        });
        let server = server.workers(1).disable_signals();
        tokio::spawn(server.listen(listener).unwrap().run());

        Self { url, fault }
    }
}

/// Answers as the token service, the SFU or the homeserver, by path.
///
/// The body is read only where it is passed on: that of a handshake has no end.
async fn answer(req: HttpRequest, body: Payload, state: Data<State>) -> HttpResponse {
    let fault = *state.fault.lock().unwrap();
    let path = req.path();
    if let Some(rest) = path.strip_prefix("/jwt/") {
        return answer_as_token_service(&req, rest, &state, fault);
    }

    if path == "/sfu/rtc" {
        return HttpResponse::Unauthorized().body("no permissions to access the room");
    }

    let is_missing = match fault {
        Some(FrontFault::WellKnown) => path == "/.well-known/matrix/client",
        Some(FrontFault::Transports) => path.ends_with("/rtc/transports"),
        _ => false,
    };
    if is_missing {
        return HttpResponse::NotFound().finish();
    }

    let body = body.to_bytes().await.unwrap();

    pass_on(&req, body, &state, fault).await
}

fn answer_as_token_service(
    req: &HttpRequest,
    path: &str,
    state: &State,
    fault: Option<FrontFault>,
) -> HttpResponse {
    if fault == Some(FrontFault::TokenService) {
        return HttpResponse::BadGateway().finish();
    }

    let cors = ("Access-Control-Allow-Origin", "*");
    match (req.method(), path) {
        (&Method::GET, "healthz") => HttpResponse::Ok().finish(),
        (&Method::OPTIONS, _) => HttpResponse::NoContent().insert_header(cors).finish(),
        (&Method::POST, "sfu/get") => {
            // A closed port: that of nobody.
            let sfu = if fault == Some(FrontFault::Sfu) {
                "ws://127.0.0.1:9/sfu".to_owned()
            } else {
                format!("{}/sfu", state.url.replace("http:", "ws:"))
            };
            HttpResponse::Ok()
                .insert_header(cors)
                .json(json!({"url": sfu, "jwt": "a.b.c"}))
        }
        _ => HttpResponse::NotFound().finish(),
    }
}

/// Passes the request on to the homeserver, as a reverse proxy does.
async fn pass_on(
    req: &HttpRequest,
    body: Bytes,
    state: &State,
    fault: Option<FrontFault>,
) -> HttpResponse {
    let target = format!("{}{}", state.homeserver, req.uri());
    let method = reqwest::Method::from_bytes(req.method().as_str().as_bytes()).unwrap();
    let mut request = state.client.request(method, target).body(body.to_vec());
    for name in ["authorization", "content-type", "origin"] {
        if let Some(value) = req
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
        {
            request = request.header(name, value);
        }
    }

    let Ok(response) = request.send().await else {
        return HttpResponse::BadGateway().finish();
    };

    let status = response.status().as_u16();
    let mut answer = HttpResponse::build(status.try_into().unwrap());
    for name in ["content-type", "date", "access-control-allow-origin"] {
        let is_dropped = fault == Some(FrontFault::Cors) && name.starts_with("access-control");
        if let Some(value) = response.headers().get(name).filter(|_| !is_dropped) {
            answer.insert_header((name, value.to_str().unwrap()));
        }
    }

    answer.body(response.bytes().await.unwrap_or_default())
}
