//! `/feeds`: the addresses of feeds and calendars, and a secret one for programs that cannot sign
//! in.

use crate::store::SignIns;
use crate::store::sign_in::audit_log::AuditKind;
use crate::store::sign_in::feed_keys::{self, FeedKey};
use crate::store::sign_in::sessions::SessionIdentity;
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::form;
use crate::web::http::host;
use crate::web::http::response::{self, PageRequest, Shell, redirect_to, send_answer};
use crate::web::sign_in::access::record;
use crate::web::sign_in::secret_text::{hash_secret, new_feed_key};
use crate::web::sign_in::{Asker, Entrance, Identity};
use crate::web::view::format as f;
use actix_web::http::StatusCode;
use actix_web::web::{self as http, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

#[derive(Template)]
#[template(path = "feeds.html")]
struct FeedsPage<'a> {
    shell: &'a Shell,
    now: i64,
    /// The beginning of our addresses.
    base: String,
    /// For the forms; `None` if who asks can have no secret address.
    token: Option<String>,
    /// The key that who asks has, without its secret.
    key: Option<FeedKey>,
    /// A key that was just made: it is shown this once.
    made: Option<String>,
}

/// Somebody who can have a secret address, and where it is stored.
struct Owner<'a> {
    asker: Asker,
    identity: SessionIdentity,
    sign_ins: &'a SignIns,
}

impl<'a> Owner<'a> {
    /// Who asks; `None` if nobody has signed in.
    fn of_request(req: &HttpRequest, web: &'a Web) -> Option<Self> {
        let asker = Asker::of_request(req)?;
        // A program has a key already.
        let is_person = matches!(asker.entrance, Entrance::Session { .. } | Entrance::Proxy);
        let identity = match &asker.identity {
            // Where everybody sees everything, not everybody is one of those who run it.
            Identity::Operator if asker.is_admin => SessionIdentity::Operator,
            Identity::User { user_id } => SessionIdentity::User(user_id.clone()),
            _ => return None,
        };

        is_person.then_some(Self {
            asker,
            identity,
            sign_ins: web.access.sign_ins()?,
        })
    }

    /// Records what the owner did at `now`, ms.
    async fn record(&self, kind: AuditKind, now: i64) -> Result<(), Error> {
        let who = Some(self.identity.as_str());
        Ok(record(self.sign_ins, kind, who, None, self.asker.address, now).await?)
    }

    /// Who sent a form.
    ///
    /// # Errors
    /// Nobody has signed in, or no page of ours sent the form.
    fn of_form(
        req: &HttpRequest,
        web: &'a Web,
        body: Result<Bytes, actix_web::Error>,
    ) -> Result<Self, Error> {
        let owner = Self::of_request(req, web).ok_or(Error::Unrecognized)?;
        form::read_form(req, web, &owner.asker, body)?;

        Ok(owner)
    }
}

/// `GET /feeds`: the page.
pub async fn get_feeds(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = async {
        ask.read_query(&[])?;
        show_feeds(&req, &web, &ask, None).await
    };

    send_answer(&req, &web, answer.await)
}

async fn show_feeds(
    req: &HttpRequest,
    web: &Web,
    ask: &PageRequest,
    made: Option<String>,
) -> Result<HttpResponse, Error> {
    let base = host::public_base_url(web.public_url.as_deref(), req.headers());
    let Some(owner) = Owner::of_request(req, web) else {
        let page = FeedsPage {
            shell: &Shell::without_status(ask),
            now: ask.now,
            base,
            token: None,
            key: None,
            made: None,
        };

        return Ok(response::send_private_page(
            ask,
            StatusCode::OK,
            page.render(),
        ));
    };

    let key = feed_keys::find_key_of_owner(owner.sign_ins, &owner.identity).await?;

    Ok(response::send_form_page(
        req,
        web,
        &owner.asker,
        StatusCode::OK,
        |shell, token| {
            FeedsPage {
                shell,
                now: ask.now,
                base,
                token: Some(token),
                key,
                made,
            }
            .render()
        },
    ))
}

/// `POST /feeds/renew`: makes a secret address, and shows it this once. The one before opens
/// nothing any more.
pub async fn renew_feed_key(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = async {
        let owner = Owner::of_form(&req, &web, body)?;
        let secret = new_feed_key();
        let hash = hash_secret(&secret);
        feed_keys::renew_key(owner.sign_ins, &owner.identity, &hash, ask.now).await?;
        owner.record(AuditKind::FeedKeyMade, ask.now).await?;
        show_feeds(&req, &web, &ask, Some(secret)).await
    };

    send_answer(&req, &web, answer.await)
}

/// `POST /feeds/delete`: makes the secret address open nothing any more.
pub async fn delete_feed_key(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = async {
        let owner = Owner::of_form(&req, &web, body)?;
        if feed_keys::delete_key(owner.sign_ins, &owner.identity).await? {
            owner.record(AuditKind::FeedKeyEnded, ask.now).await?;
        }

        Ok(redirect_to("/feeds"))
    };

    send_answer(&req, &web, answer.await)
}
