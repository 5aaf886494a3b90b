//! A webhook in the form of Standard Webhooks (<https://www.standardwebhooks.com>): JSON, with an id,
//! a time and a signature in headers.

use super::http::send_request;
use super::{Delivery, SendError};
use crate::alerting::text::text_of_message;
use crate::matrix::Secret;
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::json;
use sha2::Sha256;
use url::Url;

/// What the secrets of Standard Webhooks begin with.
const PREFIX: &str = "whsec_";
/// The least and the most bytes of a key, as the specification has it.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

#[derive(Debug, Clone)]
pub struct WebhookChannel {
    http: reqwest::Client,
    url: Url,
    /// The key, in base64.
    key: Option<Secret>,
}

/// The key in a secret, `whsec_` and base64.
fn decode_secret(secret: &Secret) -> Result<Vec<u8>, String> {
    let text = secret.expose().trim();
    let text = text.strip_prefix(PREFIX).unwrap_or(text);
    let key = BASE64.decode(text.as_bytes()).ok();

    key.filter(|key| KEY_BYTES.contains(&key.len()))
        .ok_or_else(|| {
            "the secret is not whsec_ and 16 to 64 bytes in base64: `echo whsec_$(openssl rand \
             -base64 32)` makes one"
                .to_owned()
        })
}

/// Is it a secret of Standard Webhooks?
///
/// # Errors
/// What to write instead.
pub fn check_webhook_secret(secret: &Secret) -> Result<(), String> {
    decode_secret(secret).map(drop)
}

/// The signature of a message, as the header has it.
fn sign_message(key: &[u8], id: &str, timestamp: i64, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());

    Some(format!(
        "v1,{}",
        BASE64.encode(&mac.finalize().into_bytes())
    ))
}

impl WebhookChannel {
    pub(super) fn new(
        http: reqwest::Client,
        url: Url,
        secret: Option<&Secret>,
    ) -> Result<Self, String> {
        secret.map(decode_secret).transpose()?;

        Ok(Self {
            http,
            url,
            key: secret.cloned(),
        })
    }

    pub(super) async fn send(&self, delivery: &Delivery) -> Result<Option<String>, SendError> {
        let text = text_of_message(&delivery.message, delivery.public_url.as_deref());
        let at = Timestamp::from_millisecond(delivery.at_ms).unwrap_or_default();
        let body = json!({
            "type": format!("callscope.{}", type_of_message(delivery)),
            "timestamp": at.to_string(),
            "data": {
                "title": text.title,
                "text": text.body,
                "url": text.link,
                "message": delivery.message,
            },
        })
        .to_string();
        // The time is of this attempt: receivers refuse old ones.
        let timestamp = Timestamp::now().as_second();
        let id = &delivery.key;
        let mut request = self
            .http
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string());
        if let Some(secret) = &self.key {
            let key = decode_secret(secret).map_err(SendError::refused)?;
            let signature = sign_message(&key, id, timestamp, &body)
                .ok_or_else(|| SendError::refused("the secret cannot be used as a key"))?;
            request = request.header("webhook-signature", signature);
        }

        send_request(request.body(body)).await?;

        Ok(None)
    }
}

/// The end of the event type: `alert.fired`, `summary.flood`, `test`.
fn type_of_message(delivery: &Delivery) -> String {
    use crate::rtc::alert::message::Message;
    match &delivery.message {
        Message::Alert(alert) => format!("alert.{}", alert.event),
        Message::Summary(summary) => format!("summary.{}", summary.reason),
        Message::Test(_) => "test".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the libraries of the specification.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let key = decode_secret(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let signature = sign_message(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature.as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        for bad in ["whsec_", "whsec_abc", "a password"] {
            assert!(decode_secret(&Secret::new(bad)).is_err(), "{bad}");
        }
    }
}
