//! The endpoints of the client-server API that the simulated homeserver has.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::accounts::Caller;
use super::exchange::{Answer, ApiRequest, Refusal};
use super::filter::{self, SyncFilter};
use super::ledger::Ledger;
use super::sync::{self, SyncPosition, SyncQuestion};
use super::{Homeserver, room_endpoints};

/// The answer of the endpoint that the request is for.
pub(super) async fn route_request(hs: &Homeserver, call: &ApiRequest) -> Answer {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let method = call.method.as_str();

    match path.as_slice() {
        [".well-known", "matrix", "client"] if method == "GET" => Ok(get_well_known(hs)),
        [".well-known", "matrix", "support"] if method == "GET" => Ok(get_support(hs)),
        // Also plays the service of an SFU.
        [.., "healthz"] if method == "GET" => Ok(json!({})),
        ["_matrix", "client", "versions"] if method == "GET" => Ok(get_versions(&hs.ledger())),
        [
            "_matrix",
            "client",
            "unstable",
            "org.matrix.msc4143",
            "rtc",
            "transports",
        ] => {
            call.caller(hs)?;
            get_transports(&hs.ledger())
        }

        ["_matrix", "client", "v3" | "r0" | "v1", rest @ ..] => match (method, rest) {
            ("GET", ["login"]) => {
                let password = || vec![json!({"type": "m.login.password"})];
                Ok(json!({"flows": hs.odd().flows.clone().unwrap_or_else(password)}))
            }
            ("POST", ["login"]) => post_login(hs, &call.json()?),
            ("POST", ["refresh"]) => post_refresh(hs, &call.json()?),
            ("GET", ["directory", "room", alias]) => get_directory_room(&hs.ledger(), alias),
            ("GET", ["sync"]) => get_sync(hs, call, &call.caller(hs)?).await,
            _ => route_account_request(hs, call, &call.caller(hs)?, rest),
        },
        _ => Err(Refusal::unrecognized()),
    }
}

/// The answer of an endpoint that needs an access token; `rest` is the path after the version.
fn route_account_request(
    hs: &Homeserver,
    call: &ApiRequest,
    caller: &Caller,
    rest: &[&str],
) -> Answer {
    let user = caller.user_id.as_str();
    match (call.method.as_str(), rest) {
        ("GET", ["account", "whoami"]) => {
            Ok(json!({"user_id": user, "device_id": caller.device_id, "is_guest": false}))
        }
        ("POST", ["logout"]) => {
            hs.ledger().accounts.revoke(&caller.token);
            Ok(json!({}))
        }
        ("POST", ["user", owner, "filter"]) if *owner == user => {
            let id = hs.ledger().accounts.keep_filter(user, call.json()?);
            Ok(json!({"filter_id": id}))
        }
        ("GET", ["user", owner, "filter", id]) if *owner == user => {
            let filter = hs.ledger().accounts.filter(user, id).cloned();
            filter.ok_or_else(|| Refusal::new(404, "M_NOT_FOUND", "No such filter"))
        }
        ("GET", ["capabilities"]) => match &hs.odd().capabilities {
            Some(capabilities) => Ok(json!({"capabilities": capabilities})),
            None => Err(Refusal::unrecognized()),
        },
        ("GET", ["joined_rooms"]) => Ok(get_joined_rooms(&hs.ledger(), user)),
        ("POST", ["join", room]) => room_endpoints::post_join(hs, call, user, room),
        (_, ["rooms", room, rest @ ..]) => {
            room_endpoints::route_room_request(hs, call, caller, room, rest)
        }
        _ => Err(Refusal::unrecognized()),
    }
}

/// The well-known document: the address of the homeserver, and its transports if it has any.
fn get_well_known(hs: &Homeserver) -> Value {
    let mut body = json!({"m.homeserver": {"base_url": hs.url()}});
    let transports = &hs.ledger().transports;
    if !transports.is_empty() {
        body["org.matrix.msc4143.rtc_foci"] = json!(transports);
    }

    body
}

/// Whom to tell about the homeserver.
fn get_support(hs: &Homeserver) -> Value {
    let server = hs.server_name();

    json!({"contacts": [{
        "role": "m.role.admin",
        "matrix_id": format!("@admin:{server}"),
        "email_address": format!("admin@{server}"),
    }]})
}

/// The answer of `/versions`: the versions, and the features that are switched on.
fn get_versions(ledger: &Ledger) -> Value {
    let versions: Vec<String> = (1..=12).map(|minor| format!("v1.{minor}")).collect();
    let mut features = ledger.features.clone();
    // Synapse supports it without listing it.
    features.remove("org.matrix.msc4222");

    json!({"versions": versions, "unstable_features": features})
}

/// The answer of the transports endpoint; unknown if the feature is off.
fn get_transports(ledger: &Ledger) -> Answer {
    if !ledger.has("org.matrix.msc4143") {
        return Err(Refusal::unrecognized());
    }

    // Synapse omits the key if it has none.
    Ok(if ledger.transports.is_empty() {
        json!({})
    } else {
        json!({"rtc_transports": ledger.transports})
    })
}

/// Logs in with a password. If tokens expire and the client can refresh, the answer has a refresh
/// token.
fn post_login(hs: &Homeserver, body: &Value) -> Answer {
    let text = |path: &str| body.pointer(path).and_then(Value::as_str);
    if text("/type") != Some("m.login.password") {
        return Err(Refusal::new(400, "M_UNKNOWN", "Unknown login type"));
    }

    let name = text("/identifier/user").or_else(|| text("/user"));
    let wants_next = body.get("refresh_token") == Some(&json!(true));
    let life_ms = hs.odd().token_life_ms.filter(|_| wants_next);
    let lasting_ms = hs.odd().lasting_token_life_ms.filter(|_| !wants_next);
    let mut ledger = hs.ledger();
    let user = ledger.user_id(name.unwrap_or_default());
    let password = text("/password").unwrap_or_default();
    let caller = ledger.accounts.login(&user, password, text("/device_id"));

    match caller {
        Some(caller) => {
            let mut answer = json!({"user_id": caller.user_id, "access_token": caller.token,
                "device_id": caller.device_id, "home_server": ledger.server_name});
            if let Some(life_ms) = life_ms {
                let next = ledger.accounts.limit(&caller.token, hs.now_ms() + life_ms);
                answer["refresh_token"] = json!(next);
                answer["expires_in_ms"] = json!(life_ms);
            } else if let Some(life_ms) = lasting_ms {
                ledger.accounts.limit(&caller.token, hs.now_ms() + life_ms);
                answer["expires_in_ms"] = json!(life_ms);
            }

            Ok(answer)
        }
        None => Err(Refusal::new(
            403,
            "M_FORBIDDEN",
            "Invalid username or password",
        )),
    }
}

/// The next token of a device, for a refresh token.
fn post_refresh(hs: &Homeserver, body: &Value) -> Answer {
    let life_ms = hs.odd().token_life_ms.unwrap_or(300_000);
    let token = body.get("refresh_token").and_then(Value::as_str);
    let mut ledger = hs.ledger();
    let caller = token.and_then(|token| ledger.accounts.next_token(token));
    let Some(caller) = caller else {
        return Err(Refusal::new(
            401,
            "M_UNKNOWN_TOKEN",
            "refresh token does not exist",
        ));
    };

    let next = ledger.accounts.limit(&caller.token, hs.now_ms() + life_ms);

    Ok(json!({"access_token": caller.token, "refresh_token": next, "expires_in_ms": life_ms}))
}

/// The room of an alias, and servers that are in it.
fn get_directory_room(ledger: &Ledger, alias: &str) -> Answer {
    let Some(room) = ledger.aliases.get(alias).map(|at| &ledger.rooms[*at]) else {
        let text = format!("Room alias {alias} not found");
        return Err(Refusal::new(404, "M_NOT_FOUND", text));
    };

    Ok(json!({"room_id": room.id, "servers": room_endpoints::servers_in_room(ledger, room)}))
}

/// The rooms that the user has joined.
fn get_joined_rooms(ledger: &Ledger, user: &str) -> Value {
    let rooms = ledger.rooms_of(user).iter().map(|at| &ledger.rooms[*at]);
    let joined = rooms.filter(|room| room.membership(user) == Some("join"));
    let ids: Vec<&str> = joined.map(|room| room.id.as_str()).collect();
    json!({"joined_rooms": ids})
}

/// The answer of a long poll: it comes when there is something new, or when the time is over. A
/// first sync is answered at once.
async fn get_sync(hs: &Homeserver, call: &ApiRequest, caller: &Caller) -> Answer {
    let since = match call.param("since") {
        None => None,
        Some(token) => Some(
            SyncPosition::read(token, hs.ledger().pos)
                .ok_or_else(|| Refusal::new(400, "M_UNKNOWN", "Invalid stream token"))?,
        ),
    };

    let filter = sync_filter(hs, call, caller)?;
    let state_after = call.is_set("org.matrix.msc4222.use_state_after");
    let wait = call.number("timeout").unwrap_or(0).min(600_000);
    let deadline = Instant::now() + Duration::from_millis(wait);
    let mut news = hs.news();

    loop {
        // Mark as seen before reading, so that an event between reading and waiting is not missed.
        news.borrow_and_update();
        // The token may have been revoked while we waited.
        call.caller(hs)?;
        let response = {
            let ledger = hs.ledger();
            let question = SyncQuestion {
                viewer: &caller.user_id,
                since,
                filter: &filter,
                full_state: call.is_set("full_state"),
                state_after: state_after && ledger.has("org.matrix.msc4222"),
                now_ms: hs.now_ms(),
            };

            sync::answer_sync(&ledger, &question)
        };

        let answer_now = since.is_none() || !response.is_empty || Instant::now() >= deadline;
        if answer_now {
            return Ok(response.body);
        }

        // If the time is over or the server has gone, the loop reads once more and answers.
        if let Ok(Err(_)) = tokio::time::timeout_at(deadline, news.changed()).await {
            return Ok(response.body);
        }
    }
}

/// The filter of a sync request: given as JSON, by the id of a stored one, or none.
fn sync_filter(hs: &Homeserver, call: &ApiRequest, caller: &Caller) -> Result<SyncFilter, Refusal> {
    let Some(text) = call.param("filter") else {
        return Ok(SyncFilter::read(None));
    };

    let ledger = hs.ledger();
    let filter = if text.starts_with('{') {
        serde_json::from_str(text)
            .map_err(|_| Refusal::new(400, "M_NOT_JSON", "Invalid filter JSON"))?
    } else {
        let stored = ledger.accounts.filter(&caller.user_id, text).cloned();
        stored.ok_or_else(|| Refusal::new(400, "M_INVALID_PARAM", "No such filter"))?
    };

    let filter = filter::effective_filter(Some(filter), ledger.ignores_filters);

    Ok(SyncFilter::read(filter.as_ref()))
}
