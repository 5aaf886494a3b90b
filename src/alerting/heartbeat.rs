//! What is sent regularly, and not because something changed: the dead man's pings, and the open
//! alerts of an Alertmanager, which forgets them otherwise.

use super::channels::Channel;
use super::{Alerting, Error, RunningChannel};
use crate::rtc::alert::AlertEvent;
use crate::rtc::alert::message::AlertMessage;
use crate::rtc::alert::step::AlertState;
use crate::store::alerts::conditions::is_blind;
use crate::store::alerts::state;
use futures_util::future::join_all;
use std::time::Duration;

/// How often open alerts are sent again.
const AGAIN_EVERY: Duration = Duration::from_mins(1);
/// How soon a ping is tried that was not due because we were blind, or that failed.
const PING_SOON: Duration = Duration::from_secs(10);

impl Alerting {
    /// Sends what is sent regularly, for ever.
    pub(super) async fn beat_forever(&self) {
        let beats = self.channels.iter().map(async |one| match &one.channel {
            Channel::Ping(ping) => {
                let every = Duration::from_millis(ping.every_ms.unsigned_abs());
                loop {
                    let done = self.ping_if_well(one).await;
                    tokio::time::sleep(if done { every } else { PING_SOON.min(every) }).await;
                }
            }
            Channel::Alertmanager(_) => loop {
                tokio::time::sleep(AGAIN_EVERY).await;
                if let Err(error) = self.send_open_alerts(one).await {
                    let channel = &one.settings.scope.name;
                    tracing::warn!(channel, %error, "open alerts could not be read");
                }
            },
            _ => std::future::pending::<()>().await,
        });

        join_all(beats).await;
    }

    /// Pings, if we observe well. Returns false if that is to be tried again soon.
    async fn ping_if_well(&self, one: &RunningChannel) -> bool {
        let now = self.clock.now_ms();
        let Ok(false) = is_blind(&self.store, now).await else {
            return false;
        };

        match one.channel_ping().await {
            Ok(()) => true,
            Err(why) => {
                let channel = &one.settings.scope.name;
                tracing::warn!(channel, why, "the dead man's switch could not be reached");
                false
            }
        }
    }

    /// Sends the open alerts of this channel again.
    async fn send_open_alerts(&self, one: &RunningChannel) -> Result<(), Error> {
        let Channel::Alertmanager(channel) = &one.channel else {
            return Ok(());
        };

        let scope = &one.settings.scope;
        let mut open = Vec::new();
        for alert in state::list_alerts(&self.store).await? {
            let is_for_it = self
                .settings
                .rules
                .iter()
                .any(|rule| rule.name == alert.key.rule && rule.channels.contains(&scope.name));
            let is_open = alert.state == AlertState::Firing && alert.sequence > 0;
            if is_open && is_for_it && scope.may_hear(alert.condition.room.as_ref()) {
                open.push(AlertMessage {
                    rule: alert.key.rule,
                    event: AlertEvent::Repeated,
                    condition: alert.condition,
                    opened_ms: alert.opened_ms,
                    ended_ms: None,
                });
            }
        }

        if open.is_empty() {
            return Ok(());
        }

        let now = self.clock.now_ms();
        let public_url = self.settings.public_url.as_deref();
        if let Err(error) = channel.send_open(&open, public_url, now).await {
            tracing::warn!(channel = scope.name, %error, "open alerts could not be sent again");
        }

        Ok(())
    }
}

impl RunningChannel {
    /// Asks the address of a dead man's switch.
    async fn channel_ping(&self) -> Result<(), String> {
        match &self.channel {
            Channel::Ping(ping) => {
                let answer = tokio::time::timeout(super::send::ATTEMPT_MOST, ping.send()).await;
                match answer {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(error.why),
                    Err(_) => Err("there was no answer in time".to_owned()),
                }
            }
            _ => Ok(()),
        }
    }
}
