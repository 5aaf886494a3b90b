//! A topic of ntfy (<https://ntfy.sh>), published as JSON.

use super::http::{read_json, send_request};
use super::{Delivery, SendError};
use crate::alerting::text::text_of_message;
use crate::matrix::Secret;
use crate::rtc::alert::AlertEvent;
use crate::rtc::alert::message::Message;
use crate::rtc::finding_kind::Severity;
use serde_json::{Value, json};
use url::Url;

#[derive(Debug, Clone)]
pub struct NtfyChannel {
    pub(super) http: reqwest::Client,
    pub(super) url: Url,
    pub(super) topic: String,
    pub(super) token: Option<Secret>,
}

/// The priority, from 1 to 5, and the tags, which ntfy shows as signs.
fn priority_and_tags(message: &Message) -> (u8, Vec<&'static str>) {
    let Message::Alert(alert) = message else {
        return (3, vec!["telephone_receiver"]);
    };
    if alert.event == AlertEvent::Resolved {
        return (2, vec!["white_check_mark"]);
    }

    match alert.condition.severity {
        Severity::Grave => (5, vec!["rotating_light"]),
        Severity::Warning => (4, vec!["warning"]),
        Severity::Minor => (3, vec!["telephone_receiver"]),
    }
}

impl NtfyChannel {
    pub(super) async fn send(&self, delivery: &Delivery) -> Result<Option<String>, SendError> {
        let text = text_of_message(&delivery.message, delivery.public_url.as_deref());
        let (priority, tags) = priority_and_tags(&delivery.message);
        let mut body = json!({
            "topic": self.topic,
            "title": text.title,
            "message": if text.body.is_empty() { &text.title } else { &text.body },
            "priority": priority,
            "tags": tags,
        });
        if let Some(link) = &text.link {
            body["click"] = link.clone().into();
        }

        let mut request = self
            .http
            .post(self.url.clone())
            // Servers that know the header show a message with the same id once.
            .header("x-sequence-id", &delivery.key)
            .json(&body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }

        let answer = send_request(request).await?;
        let answer: Option<Value> = read_json(answer).await;
        let id = answer.and_then(|answer| answer["id"].as_str().map(ToOwned::to_owned));

        Ok(id)
    }
}
