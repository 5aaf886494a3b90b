//! A room of Matrix. The end of an alert changes its first message, and adds none.

use super::{Delivery, SendError};
use crate::alerting::text::text_of_message;
use crate::matrix::{Client, Error};
use crate::rtc::alert::AlertEvent;
use crate::rtc::alert::message::Message;
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct MatrixChannel {
    pub(super) client: Client,
    pub(super) room_id: String,
}

/// The content of the event, without what it replaces.
fn content_of_message(delivery: &Delivery) -> Value {
    let text = text_of_message(&delivery.message, delivery.public_url.as_deref());

    json!({
        "msgtype": "m.notice",
        "body": text.plain(),
        "format": "org.matrix.custom.html",
        "formatted_body": text.html(),
        // Whoever is named in it is not called.
        "m.mentions": {},
    })
}

/// The same, as an edit of the event `first` where the message ends an alert.
fn edit_of_message(delivery: &Delivery) -> Value {
    let content = content_of_message(delivery);
    let is_end =
        matches!(&delivery.message, Message::Alert(alert) if alert.event == AlertEvent::Resolved);
    let Some(first) = delivery.first_receipt.as_ref().filter(|_| is_end) else {
        return content;
    };

    let mut edit = content.clone();
    edit["body"] = format!("* {}", content["body"].as_str().unwrap_or_default()).into();
    edit["formatted_body"] = format!(
        "* {}",
        content["formatted_body"].as_str().unwrap_or_default()
    )
    .into();
    edit["m.new_content"] = content;
    edit["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": first});

    edit
}

impl MatrixChannel {
    pub(super) async fn send(&self, delivery: &Delivery) -> Result<Option<String>, SendError> {
        let sent = self
            .client
            .send_notice(&self.room_id, &delivery.key, edit_of_message(delivery))
            .await;

        sent.map(Some).map_err(|error| error_of_matrix(&error))
    }
}

/// Whoever took our account out of the room may let it in again: only what can never be sent is
/// final.
fn error_of_matrix(error: &Error) -> SendError {
    let pause = error.retry_after();
    let status = error.status();

    SendError {
        why: error.to_string(),
        is_final: status == Some(400) || status == Some(413),
        asked_pause_ms: pause.and_then(|pause| i64::try_from(pause.as_millis()).ok()),
    }
}
