//! `/widget`: the calls of a room as a widget in that room. The page asks its client who it is; the
//! session that follows shows that room only, and lives in the page alone.

use crate::store::ingest::rooms;
use crate::store::visible::Viewer;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::form::{self, Form};
use crate::web::http::indentation::without_indentation;
use crate::web::http::response::{self, PageRequest};
use crate::web::sign_in::Asker;
use crate::web::sign_in::access::WidgetEntry;
use crate::web::sign_in::widget::WidgetToken;
use crate::web::{PAGE_POLICY, Web};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self as http, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;

#[derive(Template)]
#[template(path = "widget.html")]
struct WidgetPage {}

/// The session of a widget, for its page.
#[derive(Debug, Serialize)]
struct WidgetSession {
    /// What the page sends as `Authorization: Bearer`.
    token: String,
}

/// `GET /widget`: the page, which has no data of its own. Clients show it in a frame, so the policy
/// that forbids this elsewhere is changed here.
pub async fn get_widget(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    if !web.access.has_widgets() {
        return response::send_error(&ask, &Error::Unrecognized);
    }

    let html = match (WidgetPage {}).render() {
        Ok(html) => html,
        Err(error) => return response::send_error(&ask, &error.into()),
    };
    let policy = PAGE_POLICY.replace("frame-ancestors 'none'", "frame-ancestors *");

    let html = without_indentation(&html);
    let mut response = response::html_answer(&ask, StatusCode::OK, "private, no-store", html);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }

    response
}

/// `POST /widget/session`: checks a token of the widget API with its homeserver, and begins a
/// session for the room. It needs no token of a form, because no cookie is used.
pub async fn begin_session(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = async {
        let asker = Asker::of_request(&req).filter(|_| web.access.has_widgets());
        let asker = asker.ok_or(Error::Unrecognized)?;
        form::check_sender(req.headers(), web.public_url.as_deref())?;
        let form = Form::read(body)?;
        let token = WidgetToken {
            server: form.get("server").to_owned(),
            token: form.get("token").to_owned(),
        };
        let room_id = form.get("room");
        let may_see = async |user_id: &str| {
            let viewer = Viewer::AccountInRoom {
                user_id: user_id.to_owned(),
                room_id: room_id.to_owned(),
            };
            let store = web
                .store
                .for_viewer(&viewer, web.options.visibility)
                .await?;
            let room = rooms::find_room(&store, room_id, ask.now).await?;
            Ok(room.is_some_and(|room| room.room.room_id == room_id))
        };

        let entry = web
            .access
            .begin_widget_session(token, room_id, may_see, asker.address, ask.now)
            .await?;
        match entry {
            WidgetEntry::Begun(token) => Ok(WidgetSession { token }),
            WidgetEntry::Refused => Err(Error::Forbidden(
                "your homeserver does not say who you are, or this room shows you nothing here",
            )),
            WidgetEntry::Unreachable => Err(Error::Busy("your homeserver does not answer")),
            WidgetEntry::TooMany => Err(Error::Busy("too many tokens were not good")),
        }
    };

    match answer.await {
        Ok(session) => HttpResponse::Ok().json(session),
        Err(error) => response::send_error(&ask, &error),
    }
}
