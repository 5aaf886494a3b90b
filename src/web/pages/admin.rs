//! `/admin`: who is signed in, the keys of programs, and the log; for operators only.

use crate::store::SignIns;
use crate::store::sign_in::api_keys::{self, ApiKey, KeyScope};
use crate::store::sign_in::audit_log::{self, AuditEntry, AuditKind, AuditPage};
use crate::store::sign_in::sessions::{self, Session};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::form::{self, Form};
use crate::web::http::response::{self, PageRequest, Shell, send_answer};
use crate::web::sign_in::access::record;
use crate::web::sign_in::new_key::{KeyError, KeyWish, MadeKey, make_key, parse_days};
use crate::web::sign_in::{Asker, Entrance};
use crate::web::view::format as f;
use actix_web::http::StatusCode;
use actix_web::web::{self as http, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Entries of the log on a page.
const ENTRIES_MOST: usize = 50;

#[derive(Template)]
#[template(path = "admin.html")]
struct AdminPage<'a> {
    shell: &'a Shell,
    now: i64,
    token: String,
    /// The hash of the session that asks.
    own_session: Option<&'a str>,
    sessions: Vec<Session>,
    keys: Vec<ApiKey>,
    /// A key that was just made: its secret is shown this once.
    made: Option<&'a MadeKey>,
    /// What went wrong.
    message: Option<&'a str>,
    log: AuditPage,
    /// Is it the newest part of the log?
    is_newest: bool,
}

/// An operator at the admin page, and where what is done there is written.
pub(super) struct Admin<'a> {
    pub ask: PageRequest,
    asker: Asker,
    pub sign_ins: &'a SignIns,
}

/// What the admin page tells beside its lists.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome<'a> {
    made: Option<&'a MadeKey>,
    message: Option<&'a str>,
}

impl<'a> Admin<'a> {
    /// The operator who asks.
    ///
    /// # Errors
    /// It is nobody who may be here. Then there is no such page.
    pub fn of_request(req: &HttpRequest, web: &'a Web) -> Result<Self, Error> {
        let asker = Asker::of_request(req).filter(|asker| asker.is_admin);
        match (asker, web.access.sign_ins()) {
            (Some(asker), Some(sign_ins)) => Ok(Self {
                ask: PageRequest::of_request(req, web),
                asker,
                sign_ins,
            }),
            _ => Err(Error::Unrecognized),
        }
    }

    /// The operator who sent a form.
    ///
    /// # Errors
    /// It is nobody who may be here, or no page of ours sent the form.
    pub fn of_form(
        req: &HttpRequest,
        web: &'a Web,
        body: Result<Bytes, actix_web::Error>,
    ) -> Result<(Self, Form), Error> {
        let admin = Self::of_request(req, web)?;
        let form = form::read_form(req, web, &admin.asker, body)?;

        Ok((admin, form))
    }

    /// Records what the operator did.
    async fn record(&self, kind: AuditKind) -> Result<(), Error> {
        self.record_detail(kind, None).await
    }

    /// Records what the operator did, and to what.
    pub async fn record_detail(&self, kind: AuditKind, detail: Option<&str>) -> Result<(), Error> {
        let who = Some(self.asker.identity.as_str());
        let (address, now) = (self.asker.address, self.ask.now);
        Ok(record(self.sign_ins, kind, who, detail, address, now).await?)
    }

    /// Writes a page of operators. `render` gets its frame, and the token for its forms.
    pub fn send_page(
        &self,
        req: &HttpRequest,
        web: &Web,
        status: StatusCode,
        render: impl FnOnce(&Shell, String) -> askama::Result<String>,
    ) -> HttpResponse {
        response::send_form_page(req, web, &self.asker, status, render)
    }

    /// The page, with what came of a form.
    async fn show(
        &self,
        req: &HttpRequest,
        web: &Web,
        outcome: Outcome<'_>,
    ) -> Result<HttpResponse, Error> {
        // After a form, the newest of the log is shown.
        let before = if req.method() == actix_web::http::Method::POST {
            None
        } else {
            self.ask.read_query(&["cursor"])?.numeric_cursor()?
        };

        let sessions = sessions::list_sessions(self.sign_ins, self.ask.now).await?;
        let keys = api_keys::list_keys(self.sign_ins).await?;
        let log = audit_log::list_entries(self.sign_ins, before, ENTRIES_MOST).await?;
        let status = if outcome.message.is_some() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        };

        Ok(self.send_page(req, web, status, |shell, token| {
            AdminPage {
                shell,
                now: self.ask.now,
                token,
                own_session: match &self.asker.entrance {
                    Entrance::Session { id_hash } => Some(id_hash),
                    _ => None,
                },
                sessions,
                keys,
                made: outcome.made,
                message: outcome.message,
                log,
                is_newest: before.is_none(),
            }
            .render()
        }))
    }
}

impl AdminPage<'_> {
    /// Is it the session that asks?
    fn is_own(&self, session: &Session) -> bool {
        self.own_session == Some(session.id_hash.as_str())
    }

    /// The state of a key in a word, and the class of its pill.
    fn key_state(&self, key: &ApiKey) -> (&'static str, &'static str) {
        if key.revoked_ms.is_some() {
            ("revoked", "")
        } else if key.is_good(self.now) {
            ("good", "ok")
        } else {
            ("expired", "warn")
        }
    }
}

/// What a key opens, in words.
fn scope_words(key: &ApiKey) -> &'static str {
    match key.scope {
        KeyScope::Public => "what everybody may see",
        KeyScope::All => "everything but this page",
        KeyScope::Metrics => "metrics only",
    }
}

/// What happened, in words.
fn entry_words(entry: &AuditEntry) -> &'static str {
    match entry.kind {
        AuditKind::SignIn => "Signed in",
        AuditKind::SignInRefused if entry.detail.is_some() => "Sign-in refused",
        AuditKind::SignInRefused => "Wrong password",
        AuditKind::SignOut => "Signed out",
        AuditKind::SessionEnded => "Ended a session",
        AuditKind::AllSessionsEnded => "Ended all sessions",
        AuditKind::KeyUsed => "Key used, first time that day",
        AuditKind::KeyAdded => "Key added",
        AuditKind::KeyRevoked => "Key revoked",
        AuditKind::RoomShown => "Decided who may see the calls of a room",
        AuditKind::AlertTested => "Had a test of an alert sent",
        AuditKind::CallShared => "Shared a call",
        AuditKind::FeedKeyMade => "Made a secret address for feeds",
        AuditKind::FeedKeyEnded => "Ended a secret address for feeds",
        AuditKind::ShareRevoked => "Revoked the address of a shared call",
        AuditKind::BackfillRequested => "Had the history of a room read again",
        AuditKind::Exported => "Took what is stored about them",
        AuditKind::OptedOut => "Asked not to be recorded",
        AuditKind::Forgotten => "Was forgotten",
    }
}

/// `GET /admin`: the page.
pub async fn get_admin(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let answer = async {
        let admin = Admin::of_request(&req, &web)?;
        admin.show(&req, &web, Outcome::default()).await
    };

    send_answer(&req, &web, answer.await)
}

/// `POST /admin/sessions/end`: ends one session.
pub async fn end_session(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, form) = Admin::of_form(&req, &web, body)?;
        if sessions::end_session(admin.sign_ins, form.get("session")).await? {
            admin.record(AuditKind::SessionEnded).await?;
        }

        Ok(back_to_admin())
    };

    send_answer(&req, &web, answer.await)
}

/// `POST /admin/sessions/end-all`: ends every session, the own one, too.
pub async fn end_all_sessions(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, _) = Admin::of_form(&req, &web, body)?;
        sessions::end_all_sessions(admin.sign_ins).await?;
        admin.record(AuditKind::AllSessionsEnded).await?;

        Ok(back_to_admin())
    };

    send_answer(&req, &web, answer.await)
}

/// `POST /admin/keys/add`: makes a key, and shows it this once.
pub async fn add_key(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, form) = Admin::of_form(&req, &web, body)?;
        match make_wished_key(&admin, &form).await {
            Ok(made) => {
                let outcome = Outcome {
                    made: Some(&made),
                    message: None,
                };
                admin.show(&req, &web, outcome).await
            }
            Err(KeyError::Store(error)) => Err(error.into()),
            Err(error) => {
                let message = error.to_string();
                let outcome = Outcome {
                    made: None,
                    message: Some(&message),
                };
                admin.show(&req, &web, outcome).await
            }
        }
    };

    send_answer(&req, &web, answer.await)
}

/// Makes the key that the form asks for.
async fn make_wished_key(admin: &Admin<'_>, form: &Form) -> Result<MadeKey, KeyError> {
    let days = match form.get("days").trim() {
        "" => None,
        days => Some(parse_days(days)?),
    };

    let wish = KeyWish {
        name: form.get("name"),
        // A key whose scope cannot be understood opens as little as possible.
        scope: form.get("scope").parse().unwrap_or(KeyScope::Metrics),
        days,
    };
    let address = admin.asker.address.to_string();

    make_key(admin.sign_ins, &wish, admin.ask.now, Some(&address)).await
}

/// `POST /admin/keys/revoke`: revokes a key.
pub async fn revoke_key(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, form) = Admin::of_form(&req, &web, body)?;
        let address = admin.asker.address.to_string();
        let (id, now) = (form.get("key"), admin.ask.now);
        api_keys::revoke_key(admin.sign_ins, id, now, Some(&address)).await?;

        Ok(back_to_admin())
    };

    send_answer(&req, &web, answer.await)
}

fn back_to_admin() -> HttpResponse {
    response::redirect_to("/admin")
}
