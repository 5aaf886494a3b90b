//! `/me`: what is stored about a person who is signed in with a Matrix account, and the way out.

use crate::store::SignIns;
use crate::store::rights::export::write_export;
use crate::store::sign_in::audit_log::AuditKind;
use crate::store::sign_in::opt_outs;
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::fair_turns::TurnOwner;
use crate::web::http::form;
use crate::web::http::response::{self, PageRequest, Shell, redirect_to, send_answer};
use crate::web::sign_in::access::record;
use crate::web::sign_in::{Asker, Identity};
use crate::web::view::format as f;
use actix_web::http::{StatusCode, header};
use actix_web::web::{self as http, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use futures_util::stream;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

/// Parts of a document that wait for a slow reader.
const PARTS_WAITING: usize = 16;
/// A part is sent when it is at least this long, bytes.
const PART_MIN: usize = 16 * 1024;

/// How long a document may take to its end.
const LONGEST: Duration = Duration::from_mins(10);

#[derive(Template)]
#[template(path = "me.html")]
struct MePage<'a> {
    shell: &'a Shell,
    user_id: &'a str,
    token: String,
    state: RecordState,
}

/// Is a person recorded?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    Recorded,
    /// They asked not to be, and it is being done.
    Ending,
    Forgotten,
}

/// A person at the page.
struct Person<'a> {
    ask: PageRequest,
    asker: Asker,
    user_id: String,
    sign_ins: &'a SignIns,
}

impl<'a> Person<'a> {
    /// The person who asks.
    ///
    /// # Errors
    /// It is nobody with a Matrix account. Then there is no such page.
    fn of_request(req: &HttpRequest, web: &'a Web) -> Result<Self, Error> {
        let asker = Asker::of_request(req).ok_or(Error::Unrecognized)?;
        let sign_ins = web.access.sign_ins().ok_or(Error::Unrecognized)?;
        let Identity::User { user_id } = asker.identity.clone() else {
            return Err(Error::Unrecognized);
        };

        Ok(Self {
            ask: PageRequest::of_request(req, web),
            asker,
            user_id,
            sign_ins,
        })
    }

    async fn state(&self, web: &Web) -> Result<RecordState, Error> {
        if web.store.is_forgotten(&self.user_id) {
            Ok(RecordState::Forgotten)
        } else if web.store.is_being_forgotten(&self.user_id)
            || opt_outs::is_opting_out(self.sign_ins, &self.user_id).await?
        {
            Ok(RecordState::Ending)
        } else {
            Ok(RecordState::Recorded)
        }
    }

    /// Writes into the log what the person did.
    async fn record(&self, kind: AuditKind) -> Result<(), Error> {
        let (who, address) = (Some(self.user_id.as_str()), self.asker.address);
        Ok(record(self.sign_ins, kind, who, None, address, self.ask.now).await?)
    }
}

/// `GET /me`: the page.
pub async fn get_me(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let answer = async {
        let person = Person::of_request(&req, &web)?;
        person.ask.read_query(&[])?;
        let state = person.state(&web).await?;

        Ok(response::send_form_page(
            &req,
            &web,
            &person.asker,
            StatusCode::OK,
            |shell, token| {
                MePage {
                    shell,
                    user_id: &person.user_id,
                    token,
                    state,
                }
                .render()
            },
        ))
    };

    send_answer(&req, &web, answer.await)
}

/// `POST /me/opt-out`: notes that the person is to be forgotten. The observer does it.
pub async fn opt_out(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let person = Person::of_request(&req, &web)?;
        let form = form::read_form(&req, &web, &person.asker, body)?;
        if form.get("sure") != "yes" {
            return Err(Error::Invalid(
                "tick the box that says that it cannot be undone".to_owned(),
            ));
        }

        if person.state(&web).await? == RecordState::Recorded {
            // First, so that the entry loses its name with all else.
            person.record(AuditKind::OptedOut).await?;
            opt_outs::record_opt_out(person.sign_ins, &person.user_id, person.ask.now).await?;
        }

        Ok(redirect_to("/me"))
    };

    send_answer(&req, &web, answer.await)
}

/// `GET /me/export.json`: what is stored about the person, of the rooms that they may see, as a
/// file. It is sent while it is read.
pub async fn get_export(req: HttpRequest, web: Web) -> HttpResponse {
    let begun = async {
        let person = Person::of_request(&req, &web)?;
        person.ask.read_query(&[])?;
        let owner = TurnOwner::of_request(&req, &person.ask.viewer);
        let turn = web.memory.exports.take_turn(&owner);
        let turn = turn.ok_or(Error::Busy("too many files are being read at once"))?;
        person.record(AuditKind::Exported).await?;

        Ok((person.user_id, person.ask.now, turn))
    };
    let (user_id, now, turn) = match begun.await {
        Ok(begun) => begun,
        Err(error) => return send_answer(&req, &web, Err(error)),
    };

    let store = web.store.clone();
    let (send, receive) = mpsc::channel::<io::Result<Bytes>>(PARTS_WAITING);
    tokio::spawn(async move {
        let _turn = turn;
        let mut waiting = String::new();
        let write = |part: String| {
            waiting.push_str(&part);
            let full = (waiting.len() >= PART_MIN).then(|| std::mem::take(&mut waiting));
            let send = send.clone();
            async move {
                match full {
                    Some(text) => send_part(&send, text).await,
                    None => Ok(()),
                }
            }
        };
        let done = tokio::time::timeout(LONGEST, write_export(&store, &user_id, now, write)).await;
        let done = done.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        let last = match done {
            Ok(()) => Ok(Bytes::from(waiting)),
            // The answer has already begun. Cut the connection, so that nobody takes a part for the
            // whole.
            Err(error) => {
                tracing::error!(%error, "what is stored about somebody could not be sent");
                Err(io::Error::other("the file broke off"))
            }
        };
        // Nobody may be there any more.
        let _ = send.send(last).await;
    });
    let parts = stream::unfold(receive, async |mut receive| {
        let part = receive.recv().await?;
        Some((part, receive))
    });

    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .insert_header((header::CACHE_CONTROL, "private, no-store"))
        .insert_header((
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"callscope.json\"",
        ))
        .streaming(parts)
}

async fn send_part(send: &mpsc::Sender<io::Result<Bytes>>, text: String) -> io::Result<()> {
    let gone = |_| io::Error::other("nobody reads it any more");
    send.send(Ok(Bytes::from(text))).await.map_err(gone)
}
