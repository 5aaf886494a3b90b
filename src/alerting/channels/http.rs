//! What all channels over HTTP share: one client, which follows no redirects, and what an answer
//! means.

use super::SendError;
use crate::alerting::Error;
use crate::tls::trust_authorities;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use std::time::Duration;

/// Maximum time of a request.
const REQUEST_MOST: Duration = Duration::from_secs(20);
/// Maximum bytes of an answer that are read, to say why.
const ANSWER_MOST: usize = 500;
/// Maximum bytes of an answer that is read as JSON.
const JSON_MOST: usize = 100_000;

/// The client of all channels. The addresses are the operator's own, so they may be private; where
/// a receiver leads on to is its word alone, so nothing is followed.
///
/// # Errors
/// When the TLS set-up of this machine fails.
pub fn build_client() -> Result<Client, Error> {
    trust_authorities(Client::builder())
        .redirect(Policy::none())
        .timeout(REQUEST_MOST)
        .user_agent(concat!("callscope/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Error::Http(error.to_string()))
}

/// Sends a request; returns the answer if it was taken.
pub(super) async fn send_request(request: RequestBuilder) -> Result<Response, SendError> {
    let answer = match request.send().await {
        Ok(answer) => answer,
        // The address may have a secret in it.
        Err(error) => return Err(SendError::again(words_of_error(&error.without_url()))),
    };
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }

    let asked_pause_ms = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| pause_in_words(value.to_str().ok()?));
    if status.is_redirection() {
        return Err(SendError::again(format!(
            "it answered {status}, a redirect, which is not followed: configure the address that it \
             leads to"
        )));
    }

    let why = format!("it answered {status}{}", read_start(answer).await);

    Err(SendError {
        why,
        is_final: is_final(status),
        asked_pause_ms,
    })
}

/// Does a status mean that the same request is never taken? What may be mended at the receiver
/// without a change here is tried again.
fn is_final(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::GONE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// The beginning of an answer, behind a colon; empty if there is none.
async fn read_start(mut answer: Response) -> String {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() >= ANSWER_MOST {
            break;
        }
    }

    let text = String::from_utf8_lossy(&text);
    let plain: String = text
        .chars()
        .filter(|sign| !sign.is_control())
        .take(ANSWER_MOST)
        .collect();

    if plain.trim().is_empty() {
        String::new()
    } else {
        format!(": {}", plain.trim())
    }
}

/// The answer as JSON, if it is short and can be read.
pub(super) async fn read_json(mut answer: Response) -> Option<serde_json::Value> {
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        text.extend_from_slice(&chunk);
        if text.len() > JSON_MOST {
            return None;
        }
    }

    serde_json::from_slice(&text).ok()
}

/// The pause in a `Retry-After`, ms: a number of seconds, or a date.
fn pause_in_words(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.trim().parse::<i64>() {
        return Some(seconds.clamp(0, 1_000_000).saturating_mul(1000));
    }

    let at = httpdate::parse_http_date(text).ok()?;
    let pause = at.duration_since(std::time::SystemTime::now()).ok()?;

    i64::try_from(pause.as_millis()).ok()
}

/// An error with what it comes from.
fn words_of_error(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }

        source = inner.source();
    }

    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        assert_eq!(pause_in_words("120"), Some(120_000));
        assert_eq!(pause_in_words("-1"), Some(0));
        assert_eq!(pause_in_words("soon"), None);
        assert_eq!(pause_in_words("Sun, 06 Nov 1994 08:49:37 GMT"), None);
    }

    #[test]
    fn what_a_receiver_may_mend_is_tried_again() {
        assert!(!is_final(StatusCode::TOO_MANY_REQUESTS));
        assert!(!is_final(StatusCode::UNAUTHORIZED));
        assert!(!is_final(StatusCode::NOT_FOUND));
        assert!(is_final(StatusCode::BAD_REQUEST));
    }
}
