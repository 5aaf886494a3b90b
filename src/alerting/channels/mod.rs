//! The ways out of the program, a file for each. A channel sends one message and says what became
//! of it; when it is tried again is the sender's to decide.

mod alertmanager;
pub mod http;
mod matrix;
mod ntfy;
pub(super) mod ping;
mod webhook;

use super::Error;
use crate::matrix::{Client, Secret};
use crate::rtc::alert::ChannelScope;
use crate::rtc::alert::message::Message;
use url::Url;

pub use webhook::check_webhook_secret;

/// A channel of the configuration. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    pub scope: ChannelScope,
    pub kind: ChannelKind,
    /// Maximum messages in a minute.
    pub per_minute: u32,
    /// The first pause after a failure; it doubles, up to an hour.
    pub retry_ms: i64,
    /// For how long a message is tried.
    pub give_up_ms: i64,
}

/// Where a channel leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelKind {
    /// A room that our account is in.
    Matrix {
        room_id: String,
    },
    /// A signed request (Standard Webhooks).
    Webhook {
        url: Url,
        secret: Option<Secret>,
    },
    Alertmanager {
        url: Url,
        token: Option<Secret>,
    },
    Ntfy {
        url: Url,
        topic: String,
        token: Option<Secret>,
    },
    /// It is asked regularly, as long as we observe well. No alerts go there.
    Ping {
        url: Url,
        every_ms: i64,
    },
}

impl ChannelKind {
    /// The word for it in the configuration.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Matrix { .. } => "matrix",
            Self::Webhook { .. } => "webhook",
            Self::Alertmanager { .. } => "alertmanager",
            Self::Ntfy { .. } => "ntfy",
            Self::Ping { .. } => "ping",
        }
    }
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The same at each attempt.
    pub key: String,
    /// The receiver's id of the first message of the same alert.
    pub first_receipt: Option<String>,
    pub message: Message,
    /// The address of the pages, with a slash at its end.
    pub public_url: Option<String>,
    /// When the message was written, ms.
    pub at_ms: i64,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct SendError {
    /// In words, without secrets.
    pub why: String,
    /// Trying again does not help.
    pub is_final: bool,
    /// The pause that the receiver asks for, ms.
    pub asked_pause_ms: Option<i64>,
}

impl SendError {
    /// It may be taken later.
    pub fn again(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_final: false,
            asked_pause_ms: None,
        }
    }

    /// It is never taken.
    pub fn refused(why: impl Into<String>) -> Self {
        Self {
            is_final: true,
            ..Self::again(why)
        }
    }
}

/// A channel that can be used.
#[derive(Debug, Clone)]
pub enum Channel {
    Matrix(matrix::MatrixChannel),
    Webhook(webhook::WebhookChannel),
    Alertmanager(alertmanager::AlertmanagerChannel),
    Ntfy(ntfy::NtfyChannel),
    Ping(ping::PingChannel),
}

impl Channel {
    /// The channel of these settings.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn new(
        settings: &ChannelSettings,
        http: &reqwest::Client,
        client: &Client,
    ) -> Result<Self, Error> {
        let fault = |why: String| Error::Channel {
            channel: settings.scope.name.clone(),
            why,
        };
        let http = http.clone();

        Ok(match &settings.kind {
            ChannelKind::Matrix { room_id } => Self::Matrix(matrix::MatrixChannel {
                client: client.clone(),
                room_id: room_id.clone(),
            }),
            ChannelKind::Webhook { url, secret } => Self::Webhook(
                webhook::WebhookChannel::new(http, url.clone(), secret.as_ref()).map_err(fault)?,
            ),
            ChannelKind::Alertmanager { url, token } => {
                Self::Alertmanager(alertmanager::AlertmanagerChannel {
                    http,
                    url: url.clone(),
                    token: token.clone(),
                })
            }
            ChannelKind::Ntfy { url, topic, token } => Self::Ntfy(ntfy::NtfyChannel {
                http,
                url: url.clone(),
                topic: topic.clone(),
                token: token.clone(),
            }),
            ChannelKind::Ping { url, every_ms } => Self::Ping(ping::PingChannel {
                http,
                url: url.clone(),
                every_ms: *every_ms,
            }),
        })
    }

    /// Sends a message; returns the receiver's id of it, if it gives one.
    ///
    /// # Errors
    /// When it was not taken.
    pub async fn send(&self, delivery: &Delivery) -> Result<Option<String>, SendError> {
        match self {
            Self::Matrix(channel) => channel.send(delivery).await,
            Self::Webhook(channel) => channel.send(delivery).await,
            Self::Alertmanager(channel) => channel.send(delivery).await,
            Self::Ntfy(channel) => channel.send(delivery).await,
            Self::Ping(channel) => channel.send().await,
        }
    }
}
