//! `/admin/alerts`: the rules of alerts, what is open, and what became of messages; for operators
//! only.

use super::admin::Admin;
use crate::rtc::alert::message::Message;
use crate::rtc::alert::step::{Alert, AlertState};
use crate::rtc::alert::{AlertKind, AlertRule};
use crate::store::alerts::outbox::{self, OutboxCount, OutboxMessage, OutboxState};
use crate::store::alerts::state;
use crate::store::sign_in::audit_log::AuditKind;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Shell, send_answer};
use crate::web::view::format as f;
use crate::web::{ChannelFacts, Web};
use actix_web::http::StatusCode;
use actix_web::web::{self as http, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Maximum messages and alerts on the page.
const MESSAGES_MOST: i64 = 50;
const ALERTS_MOST: usize = 200;

#[derive(Template)]
#[template(path = "admin_alerts.html")]
struct AdminAlertsPage<'a> {
    shell: &'a Shell,
    now: i64,
    token: String,
    rules: &'a [AlertRule],
    channels: &'a [ChannelFacts],
    /// Those that are open, the newest first.
    open: Vec<Alert>,
    /// How many are open beside those.
    more_open: usize,
    counts: Vec<OutboxCount>,
    messages: Vec<OutboxMessage>,
}

impl AdminAlertsPage<'_> {
    /// How many messages of a channel are in this state.
    fn count(&self, channel: &ChannelFacts, state: OutboxState) -> i64 {
        let own = self.counts.iter();
        own.filter(|one| one.channel == channel.name && one.state == state)
            .map(|one| one.count)
            .sum()
    }
}

/// What a rule is about, in words.
fn words_of_rule(rule: &AlertRule) -> String {
    let kinds: Vec<&str> = rule.on.iter().map(|kind| kind.as_str()).collect();
    let mut parts = vec![kinds.join(", ").replace('_', " ")];
    if rule.for_ms > 0 {
        parts.push(format!("after {} min", rule.for_ms / 60_000));
    }

    if let Some(repeat_ms) = rule.repeat_ms {
        parts.push(format!("again every {} min", repeat_ms / 60_000));
    }

    format!("{}; to {}", parts.join(", "), rule.channels.join(", "))
}

/// What an alert is about, in words.
fn words_of_kind(kind: AlertKind) -> String {
    kind.as_str().replace('_', " ")
}

/// What a message tells, in words.
fn words_of_message(message: &OutboxMessage) -> String {
    match serde_json::from_str::<Message>(&message.message.payload) {
        Ok(Message::Alert(alert)) => {
            format!("{} {}", words_of_kind(alert.condition.kind), alert.event)
        }
        Ok(Message::Summary(summary)) => format!("{} alerts in one message", summary.total),
        Ok(Message::Test(_)) => "a test".to_owned(),
        Err(_) => "a message of another version".to_owned(),
    }
}

/// The class of the pill of a state.
fn class_of_state(state: OutboxState) -> &'static str {
    match state {
        OutboxState::Sent => "ok",
        OutboxState::Failed => "bad",
        OutboxState::Waiting | OutboxState::Told => "",
    }
}

/// `GET /admin/alerts`: the page.
pub async fn get_admin_alerts(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let answer = async {
        let admin = Admin::of_request(&req, &web)?;
        let mut open = state::list_alerts(&web.store).await?;
        open.retain(|alert| alert.state == AlertState::Firing);
        open.sort_by_key(|alert| std::cmp::Reverse(alert.opened_ms));
        let more_open = open.len().saturating_sub(ALERTS_MOST);
        open.truncate(ALERTS_MOST);
        let counts = outbox::count_messages(&web.store).await?;
        let messages = outbox::list_newest(&web.store, MESSAGES_MOST).await?;

        Ok(admin.send_page(&req, &web, StatusCode::OK, |shell, token| {
            AdminAlertsPage {
                shell,
                now: admin.ask.now,
                token,
                rules: &web.options.alerts.rules,
                channels: &web.options.alerts.channels,
                open,
                more_open,
                counts,
                messages,
            }
            .render()
        }))
    };

    send_answer(&req, &web, answer.await)
}

/// `POST /admin/alerts/test`: sends a test by each channel of a rule.
pub async fn test_alert(
    req: HttpRequest,
    web: http::Data<Web>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = async {
        let (admin, form) = Admin::of_form(&req, &web, body)?;
        let name = form.get("rule");
        let alerts = &web.options.alerts;
        let is_known = alerts.rules.iter().any(|rule| rule.name == name);
        let Some(tests) = alerts.tests.as_ref().filter(|_| is_known) else {
            return Err(Error::Invalid("There is no such rule.".to_owned()));
        };

        if tests.try_send(name.to_owned()).is_err() {
            return Err(Error::Invalid(
                "Too many tests wait to be sent. Try again in a moment.".to_owned(),
            ));
        }

        admin
            .record_detail(AuditKind::AlertTested, Some(name))
            .await?;

        Ok(response::redirect_to("/admin/alerts"))
    };

    send_answer(&req, &web, answer.await)
}
