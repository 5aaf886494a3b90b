//! Tells people and programs what they asked to hear of. The evaluator ([`evaluate`]) compares what
//! is so with the rules and writes messages into the outbox; a sender for each channel ([`send`])
//! takes them out. Neither is in the way of the observer: they read, and write tables of their own.

pub mod channels;
mod evaluate;
mod heartbeat;
mod send;
pub mod text;

use crate::changes::Changes;
use crate::clock::Clock;
use crate::matrix;
use crate::rtc::alert::message::{Message, TestMessage};
use crate::rtc::alert::{AlertRule, ChannelScope};
use crate::rtc::id::hash;
use crate::store::alerts::outbox::{self, NewMessage};
use crate::store::{self, Writer};
use channels::{Channel, ChannelSettings};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// How often old messages are deleted.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// What is told, and where.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub rules: Vec<AlertRule>,
    pub channels: Vec<ChannelSettings>,
    /// The address of the pages, for links; it ends with a slash.
    pub public_url: Option<String>,
    /// A call whose people are back in the next one within this time broke, ms.
    pub rejoin_grace_ms: i64,
    /// How long calls are kept, ms; `None` = for ever.
    pub calls_kept_ms: Option<i64>,
}

/// A fault of this part of the program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Store(#[from] store::Error),
    #[error("the TLS set-up of this machine failed: {0}")]
    Http(String),
    #[error("the channel {channel} cannot be used: {why}")]
    Channel { channel: String, why: String },
    #[error("a message cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Where a test of a rule is asked for: its name.
pub type TestRequests = mpsc::Receiver<String>;

/// The evaluator and the senders.
#[derive(Debug)]
pub struct Alerting {
    store: Writer,
    changes: Changes,
    clock: Clock,
    settings: Settings,
    channels: Vec<RunningChannel>,
    /// The account, which writes into rooms and whose token may be refused.
    client: matrix::Client,
}

/// A channel, and what wakes its sender.
#[derive(Debug)]
struct RunningChannel {
    settings: ChannelSettings,
    channel: Channel,
    wake: Arc<Notify>,
}

impl Alerting {
    /// Alerts by these settings. Channels of Matrix write as `client`.
    ///
    /// # Errors
    /// When a channel cannot be used.
    pub fn new(
        store: Writer,
        changes: Changes,
        clock: Clock,
        settings: Settings,
        client: &matrix::Client,
    ) -> Result<Self, Error> {
        let http = channels::http::build_client()?;
        let mut running = Vec::new();
        for one in &settings.channels {
            running.push(RunningChannel {
                settings: one.clone(),
                channel: Channel::new(one, &http, client)?,
                wake: Arc::default(),
            });
        }

        Ok(Self {
            store,
            changes,
            clock,
            settings,
            channels: running,
            client: client.clone(),
        })
    }

    /// Evaluates and sends, for ever. `tests` are the rules of which a test is asked for.
    ///
    /// # Errors
    /// When the database fails at the start.
    pub async fn run(self, mut tests: TestRequests) -> Result<(), Error> {
        let names: Vec<String> = self
            .channels
            .iter()
            .map(|one| one.settings.scope.name.clone())
            .collect();
        let now = self.clock.now_ms();
        match outbox::give_up_other_channels(&self.store, &names, now).await {
            Ok(0) => {}
            Ok(lost) => tracing::warn!(
                lost,
                "messages waited for channels that are not configured any more"
            ),
            // Alerts are no reason to stop observing. The next start does it.
            Err(error) => {
                tracing::warn!(%error, "messages of former channels could not be given up");
            }
        }

        let sending = join_all(self.channels.iter().map(|one| self.send_forever(one)));
        tokio::join!(
            self.evaluate_forever(),
            sending,
            self.beat_forever(),
            self.sweep_forever(),
            self.write_tests(&mut tests),
        );

        Ok(())
    }

    /// Wakes all senders.
    fn wake_senders(&self) {
        for one in &self.channels {
            one.wake.notify_one();
        }
    }

    /// What each channel may hear of.
    fn scopes(&self) -> Vec<ChannelScope> {
        let scopes = self.channels.iter().map(|one| one.settings.scope.clone());

        scopes.collect()
    }

    /// Deletes what is too old, for ever.
    async fn sweep_forever(&self) {
        loop {
            let longest_ms = outbox::KEPT_MS;
            let kept_ms = self
                .settings
                .calls_kept_ms
                .map_or(longest_ms, |kept| kept.min(longest_ms));
            match outbox::delete_old(&self.store, kept_ms, self.clock.now_ms()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "old messages could not be deleted"),
            }

            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    /// Writes tests into the outbox as they are asked for, for ever.
    async fn write_tests(&self, tests: &mut TestRequests) {
        while let Some(name) = tests.recv().await {
            if let Err(error) = self.write_test(&name).await {
                tracing::warn!(rule = name, %error, "the test of an alert could not be written");
            }

            self.wake_senders();
        }

        std::future::pending::<()>().await;
    }

    /// Writes the messages of a test of this rule.
    async fn write_test(&self, name: &str) -> Result<(), Error> {
        let now = self.clock.now_ms();
        let Some(rule) = self.settings.rules.iter().find(|rule| rule.name == name) else {
            return Ok(());
        };

        let payload = serde_json::to_string(&test_message(name, now))?;
        let thread = hash(&["test", name, &now.to_string()], 16);
        let messages: Vec<NewMessage> = rule
            .channels
            .iter()
            .map(|channel| NewMessage {
                key: hash(&[&thread, channel], 16),
                channel: channel.clone(),
                subject: "test".to_owned(),
                thread: thread.clone(),
                room_id: String::new(),
                payload: payload.clone(),
            })
            .collect();
        outbox::add_messages(&self.store, &messages, now).await?;

        Ok(())
    }
}

/// A test of a rule, at `now`, ms.
#[must_use]
pub fn test_message(rule: &str, now: i64) -> Message {
    Message::Test(TestMessage {
        rule: rule.to_owned(),
        at_ms: now,
    })
}
