//! What is told, to which channel, and under which key, so that nothing is told twice.

use super::step::{AlertChange, Telling};
use super::{AlertEvent, AlertKind, AlertRoom, AlertRule, ChannelScope, Condition};
use crate::rtc::id::hash;
use crate::rtc::words::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Maximum alerts that a summary names.
const NAMED_MOST: usize = 20;

words! {
    /// Why several alerts are told in one message.
    pub enum SummaryReason {
        /// It was quiet hours.
        Quiet = "quiet",
        /// There were too many.
        Flood = "flood",
    }
}

/// One alert, told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertMessage {
    pub rule: String,
    pub event: AlertEvent,
    pub condition: Condition,
    /// Since when it is or was so, ms.
    pub opened_ms: i64,
    /// When it was over, ms.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_ms: Option<i64>,
}

/// Several alerts, told in one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryMessage {
    pub reason: SummaryReason,
    /// How many there are.
    pub total: usize,
    /// The first of them.
    pub alerts: Vec<AlertMessage>,
    /// How many there are of each kind.
    pub by_kind: BTreeMap<String, usize>,
}

impl SummaryMessage {
    /// A summary of these alerts.
    #[must_use]
    pub fn of_alerts(reason: SummaryReason, alerts: &[AlertMessage]) -> Self {
        let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
        for alert in alerts {
            *by_kind
                .entry(alert.condition.kind.as_str().to_owned())
                .or_default() += 1;
        }

        Self {
            reason,
            total: alerts.len(),
            alerts: alerts.iter().take(NAMED_MOST).cloned().collect(),
            by_kind,
        }
    }

    /// A summary of what these messages tell, for a flood.
    #[must_use]
    pub fn of_messages(messages: &[Message]) -> Self {
        let mut sum = Self::of_alerts(SummaryReason::Flood, &[]);
        for message in messages {
            let (total, alerts, by_kind) = match message {
                Message::Alert(alert) => {
                    let kind = alert.condition.kind.as_str().to_owned();
                    (1, vec![(**alert).clone()], BTreeMap::from([(kind, 1)]))
                }
                Message::Summary(one) => (one.total, one.alerts.clone(), one.by_kind.clone()),
                Message::Test(_) => (1, Vec::new(), BTreeMap::new()),
            };
            sum.total += total;
            let free = NAMED_MOST.saturating_sub(sum.alerts.len());
            sum.alerts.extend(alerts.into_iter().take(free));
            for (kind, count) in by_kind {
                *sum.by_kind.entry(kind).or_default() += count;
            }
        }

        sum
    }
}

/// A message that only shows that a channel works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestMessage {
    pub rule: String,
    pub at_ms: i64,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    Alert(Box<AlertMessage>),
    Summary(SummaryMessage),
    Test(TestMessage),
}

/// A message for one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressedMessage {
    /// The same for the same message, whenever and however often it is made.
    pub key: String,
    pub channel: String,
    /// Messages of one subject are sent in order.
    pub subject: String,
    /// The same for all messages of one alert, from its begin to its end.
    pub thread: String,
    pub message: Message,
}

/// The key of one message to one channel.
fn key_of_message(thread: &str, channel: &str, event: &str, sequence: i64) -> String {
    hash(&[thread, channel, event, &sequence.to_string()], 16)
}

/// The messages that these changes give, for each channel that may hear of them, in order.
#[must_use]
pub fn address_messages(
    rules: &[AlertRule],
    channels: &[ChannelScope],
    changes: &[AlertChange],
) -> Vec<AddressedMessage> {
    let mut found = Vec::new();
    for rule in rules {
        let of_rule = || {
            changes
                .iter()
                .filter(|change| change.alert.key.rule == rule.name)
        };
        let heard_by = channels
            .iter()
            .filter(|channel| rule.channels.contains(&channel.name));
        for channel in heard_by {
            let mut held: Vec<(&AlertChange, AlertMessage)> = Vec::new();
            for change in of_rule() {
                let alert = &change.alert;
                if !channel.may_hear(alert.condition.room.as_ref()) {
                    continue;
                }

                let message = |event| AlertMessage {
                    rule: rule.name.clone(),
                    event,
                    condition: alert.condition.clone(),
                    opened_ms: alert.opened_ms,
                    ended_ms: alert.ended_ms,
                };
                let event = match change.telling {
                    Telling::Nothing => continue,
                    Telling::InSummary => {
                        held.push((change, message(AlertEvent::Fired)));
                        continue;
                    }
                    Telling::Message(event) => event,
                };
                let thread = alert.thread();
                found.push(AddressedMessage {
                    key: key_of_message(&thread, &channel.name, event.as_str(), alert.sequence),
                    channel: channel.name.clone(),
                    subject: alert.key.subject.clone(),
                    thread,
                    message: Message::Alert(Box::new(message(event))),
                });
            }

            found.extend(summary_of_held(rule, channel, &held));
        }
    }

    found
}

/// One message of what opened, and was over, in quiet hours.
fn summary_of_held(
    rule: &AlertRule,
    channel: &ChannelScope,
    held: &[(&AlertChange, AlertMessage)],
) -> Option<AddressedMessage> {
    if held.is_empty() {
        return None;
    }

    let threads: Vec<String> = held
        .iter()
        .map(|(change, _)| change.alert.thread())
        .collect();
    let mut parts: Vec<&str> = threads.iter().map(String::as_str).collect();
    parts.sort_unstable();
    let thread = hash(&parts, 16);
    let mut alerts: Vec<AlertMessage> = held.iter().map(|(_, alert)| alert.clone()).collect();
    alerts.sort_by(|one, other| {
        let key = |alert: &AlertMessage| (alert.opened_ms, alert.condition.subject.clone());
        key(one).cmp(&key(other))
    });

    Some(AddressedMessage {
        key: key_of_message(&thread, &channel.name, "summary", 0),
        channel: channel.name.clone(),
        subject: format!("quiet {}", rule.name),
        thread,
        message: Message::Summary(SummaryMessage::of_alerts(SummaryReason::Quiet, &alerts)),
    })
}

impl ChannelScope {
    /// May it hear of all that is in this message? A test tells of nothing.
    #[must_use]
    pub fn may_hear_message(&self, message: &Message) -> bool {
        let is_own = |alert: &AlertMessage| self.may_hear(alert.condition.room.as_ref());
        match message {
            Message::Alert(alert) => is_own(alert),
            Message::Summary(summary) => summary.alerts.iter().all(is_own),
            Message::Test(_) => true,
        }
    }
}

impl Message {
    /// The rooms that it tells of.
    #[must_use]
    pub fn rooms(&self) -> Vec<&AlertRoom> {
        let alerts: Vec<&AlertMessage> = match self {
            Self::Alert(alert) => vec![alert],
            Self::Summary(summary) => summary.alerts.iter().collect(),
            Self::Test(_) => Vec::new(),
        };

        alerts
            .into_iter()
            .filter_map(|alert| alert.condition.room.as_ref())
            .collect()
    }

    /// The kind of what it tells, if it is one alert.
    #[must_use]
    pub fn kind(&self) -> Option<AlertKind> {
        match self {
            Self::Alert(alert) => Some(alert.condition.kind),
            Self::Summary(_) | Self::Test(_) => None,
        }
    }
}
