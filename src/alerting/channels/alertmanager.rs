//! Prometheus' Alertmanager (`/api/v2/alerts`). It forgets alerts that are not sent again, so those
//! that are open are sent every minute ([`AlertmanagerChannel::send_open`]).

use super::http::send_request;
use super::{Delivery, SendError};
use crate::alerting::text::text_of_message;
use crate::matrix::Secret;
use crate::rtc::alert::AlertEvent;
use crate::rtc::alert::message::{AlertMessage, Message};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

/// How long an alert counts without being sent again, ms.
const LASTS_MS: i64 = 5 * 60 * 1000;

#[derive(Debug, Clone)]
pub struct AlertmanagerChannel {
    pub(super) http: reqwest::Client,
    pub(super) url: Url,
    pub(super) token: Option<Secret>,
}

/// A time in the form of RFC 3339.
fn time_text(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .unwrap_or_default()
        .to_string()
}

/// An alert as Alertmanager has it: the labels say which it is, so they never change.
fn alert_json(alert: &AlertMessage, public_url: Option<&str>, now: i64) -> Value {
    let text = text_of_message(&Message::Alert(Box::new(alert.clone())), public_url);
    let condition = &alert.condition;
    let mut labels = json!({
        "alertname": format!("callscope_{}", condition.kind),
        "rule": alert.rule,
        "subject": condition.subject,
        "severity": condition.kind.severity().as_str(),
    });
    if let Some(room) = &condition.room {
        labels["room_id"] = room.room_id.clone().into();
    }

    // After quiet hours a summary tells also of what is over.
    let lasts_until_ms = match alert.event {
        AlertEvent::Resolved => now,
        AlertEvent::Fired | AlertEvent::Repeated => now.saturating_add(LASTS_MS),
    };
    let ends_ms = alert.ended_ms.unwrap_or(lasts_until_ms);

    json!({
        "labels": labels,
        "annotations": {"summary": text.title, "description": text.body},
        "startsAt": time_text(alert.opened_ms),
        "endsAt": time_text(ends_ms),
        "generatorURL": text.link.unwrap_or_default(),
    })
}

/// A message that is no single alert.
fn other_json(delivery: &Delivery, name: &str, now: i64) -> Value {
    let text = text_of_message(&delivery.message, delivery.public_url.as_deref());

    json!({
        "labels": {"alertname": format!("callscope_{name}"), "subject": delivery.key},
        "annotations": {"summary": text.title, "description": text.body},
        "startsAt": time_text(delivery.at_ms),
        "endsAt": time_text(now.saturating_add(LASTS_MS)),
    })
}

impl AlertmanagerChannel {
    pub(super) async fn send(&self, delivery: &Delivery) -> Result<Option<String>, SendError> {
        let public_url = delivery.public_url.as_deref();
        let now = Timestamp::now().as_millisecond();
        let alerts = match &delivery.message {
            Message::Alert(alert) => vec![alert_json(alert, public_url, now)],
            // Alertmanager groups by itself: it gets all that are named.
            Message::Summary(summary) => {
                let mut alerts: Vec<Value> = summary
                    .alerts
                    .iter()
                    .map(|alert| alert_json(alert, public_url, now))
                    .collect();
                alerts.push(other_json(delivery, "summary", now));
                alerts
            }
            Message::Test(_) => vec![other_json(delivery, "test", now)],
        };
        self.post_alerts(&alerts).await?;

        Ok(None)
    }

    /// Sends the alerts that are open at `now`, ms, again.
    pub(in crate::alerting) async fn send_open(
        &self,
        alerts: &[AlertMessage],
        public_url: Option<&str>,
        now: i64,
    ) -> Result<(), SendError> {
        let alerts: Vec<Value> = alerts
            .iter()
            .map(|alert| alert_json(alert, public_url, now))
            .collect();

        self.post_alerts(&alerts).await
    }

    async fn post_alerts(&self, alerts: &[Value]) -> Result<(), SendError> {
        let mut url = self.url.clone();
        let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
        url.set_path(&path);
        let mut request = self.http.post(url).json(alerts);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }

        send_request(request).await?;

        Ok(())
    }
}
