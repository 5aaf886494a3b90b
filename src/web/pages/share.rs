//! `/admin/share`: makes and revokes addresses at which one call is shown to whoever has them, and
//! ends secret addresses of feeds; for operators only.

use super::admin::Admin;
use crate::rtc::time::DAY_MS;
use crate::store::read::calls;
use crate::store::sign_in::audit_log::AuditKind;
use crate::store::sign_in::feed_keys::{self, FeedKey};
use crate::store::sign_in::sessions::SessionIdentity;
use crate::store::sign_in::share_links::{self, GOOD_MOST, ShareLink};
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::host;
use crate::web::http::response::{Shell, redirect_to, send_answer};
use crate::web::sign_in::new_key::parse_days;
use crate::web::sign_in::secret_text::{hash_secret, new_key_id, new_secret};
use crate::web::view::RoomRef;
use crate::web::view::format as f;
use actix_web::http::StatusCode;
use actix_web::web::{self as http, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Maximum time that an address may be good for, days.
const DAYS_MAX: i64 = 365;

#[derive(Template)]
#[template(path = "share.html")]
struct SharePage<'a> {
    shell: &'a Shell,
    now: i64,
    token: String,
    /// The call for which an address can be made.
    call: Option<SharedCall>,
    /// An address that was just made: it is shown this once.
    made: Option<String>,
    links: Vec<ShareLink>,
    feed_keys: Vec<FeedKey>,
}

/// A call that may be shared.
#[derive(Debug, Clone)]
struct SharedCall {
    id: String,
    room: RoomRef,
    started_ms: i64,
}

impl SharePage<'_> {
    /// Does the address show the call now?
    fn is_good(&self, link: &ShareLink) -> bool {
        link.is_good(self.now)
    }

    /// The state of an address in a word, and the class of its pill.
    fn link_state(&self, link: &ShareLink) -> (&'static str, &'static str) {
        if link.revoked_ms.is_some() {
            ("revoked", "")
        } else if link.is_good(self.now) {
            ("good", "ok")
        } else {
            ("expired", "warn")
        }
    }
}

/// `GET /admin/share`: all addresses, and with `call` the form for a new one.
pub async fn get_share(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let answer = async {
        let admin = Admin::of_request(&req, &web)?;
        let query = admin.ask.read_query(&["call"])?;
        let call = match query.get("call") {
            Some(id) => Some(find_call(&web, id).await?),
            None => None,
        };

        show_links(&admin, &req, &web, call, None).await
    };

    send_answer(&req, &web, answer.await)
}

async fn find_call(web: &Web, id: &str) -> Result<SharedCall, Error> {
    let found = calls::find_call(&web.store, id).await?;
    let Some(call) = found else {
        return Err(Error::NotFound("no call has this id".to_owned()));
    };

    Ok(SharedCall {
        id: call.id,
        room: RoomRef::from(call.room),
        started_ms: call.started_ms,
    })
}

async fn show_links(
    admin: &Admin<'_>,
    req: &HttpRequest,
    web: &Web,
    call: Option<SharedCall>,
    made: Option<String>,
) -> Result<HttpResponse, Error> {
    let links = share_links::list_links(admin.sign_ins, admin.ask.now).await?;
    let feed_keys = feed_keys::list_keys(admin.sign_ins).await?;

    Ok(admin.send_page(req, web, StatusCode::OK, |shell, token| {
        SharePage {
            shell,
            now: admin.ask.now,
            token,
            call,
            made,
            links,
            feed_keys,
        }
        .render()
    }))
}

/// `POST /admin/share/add`: makes an address, and shows it this once.
pub async fn add_share_link(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, form) = Admin::of_form(&req, &web, body)?;
        let days = parse_days(form.get("days").trim())
            .ok()
            .filter(|days| *days <= DAYS_MAX);
        let Some(days) = days else {
            let words = format!("days must be a number from 1 to {DAYS_MAX}");
            return Err(Error::Invalid(words));
        };

        let call = find_call(&web, form.get("call")).await?;
        let (secret, now) = (new_secret(), admin.ask.now);
        let link = ShareLink {
            id: new_key_id(),
            call_id: call.id.clone(),
            room_id: call.room.room_id.clone(),
            with_names: form.get("names") == "yes",
            created_ms: now,
            expires_ms: now.saturating_add(days * DAY_MS),
            revoked_ms: None,
            last_used_ms: None,
        };
        if !share_links::add_link(admin.sign_ins, &link, &hash_secret(&secret)).await? {
            let words = format!("{GOOD_MOST} addresses are good; revoke some of them first");
            return Err(Error::Invalid(words));
        }

        admin
            .record_detail(AuditKind::CallShared, Some(&link.call_id))
            .await?;

        let base = host::public_base_url(web.public_url.as_deref(), req.headers());
        let address = format!("{base}/shared/{secret}");
        show_links(&admin, &req, &web, Some(call), Some(address)).await
    };

    send_answer(&req, &web, answer.await)
}

/// `POST /admin/share/revoke`: revokes an address.
pub async fn revoke_share_link(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, form) = Admin::of_form(&req, &web, body)?;
        let id = form.get("link");
        if share_links::revoke_link(admin.sign_ins, id, admin.ask.now).await? {
            admin
                .record_detail(AuditKind::ShareRevoked, Some(id))
                .await?;
        }

        Ok(redirect_to("/admin/share"))
    };

    send_answer(&req, &web, answer.await)
}

/// `POST /admin/feeds/end`: ends somebody's secret address of feeds.
pub async fn end_feed_key(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, form) = Admin::of_form(&req, &web, body)?;
        let owner = SessionIdentity::from_word(form.get("owner").to_owned());
        if feed_keys::delete_key(admin.sign_ins, &owner).await? {
            admin
                .record_detail(AuditKind::FeedKeyEnded, Some(owner.as_str()))
                .await?;
        }

        Ok(redirect_to("/admin/share"))
    };

    send_answer(&req, &web, answer.await)
}
