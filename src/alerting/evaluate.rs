//! Compares what is so with the rules, after each change and every few seconds.

use super::channels::Delivery;
use super::{Alerting, Error};
use crate::changes::Change;
use crate::rtc::alert::message::{AddressedMessage, address_messages};
use crate::rtc::alert::step::{Alert, AlertChange, AlertKey, StepInputs, Telling, step_alerts};
use crate::rtc::alert::{AlertKind, FirstSights};
use crate::store::alerts::conditions::{ConditionRequest, read_conditions};
use crate::store::alerts::outbox::NewMessage;
use crate::store::alerts::state;
use crate::store::db::health::TroubleKind;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// How long nothing may change until it is looked all the same: time alone makes alerts.
const EVERY: Duration = Duration::from_secs(15);
/// Changes that come within this time are looked at together.
const TOGETHER: Duration = Duration::from_millis(500);
/// It rests so many times as long as it worked.
const REST_FACTOR: u32 = 4;
const REST_MOST: Duration = Duration::from_mins(1);
/// How often a message is tried that could not be written into the outbox, and the pause between.
const DIRECT_TRIES: u32 = 5;
const DIRECT_PAUSE: Duration = Duration::from_secs(10);

/// Alerts about ourselves that could not be written, since the disk is full, and what was told of
/// them past the outbox. It is written once there is room: a receiver knows the keys.
#[derive(Debug, Default)]
struct Unwritten {
    changes: BTreeMap<AlertKey, AlertChange>,
    /// In the order in which they were made.
    messages: Vec<NewMessage>,
}

impl Alerting {
    /// Evaluates for ever.
    pub(super) async fn evaluate_forever(&self) {
        if self.settings.rules.is_empty() {
            return std::future::pending().await;
        }

        let mut changes = self.changes.listen();
        let mut unwritten = Unwritten::default();
        let mut fails = false;
        loop {
            let began = Instant::now();
            match self.evaluate_once(&mut unwritten).await {
                Ok(()) => fails = false,
                Err(error) if !fails => {
                    fails = true;
                    tracing::warn!(%error, "alerts could not be evaluated");
                }
                Err(_) => {}
            }

            tokio::time::sleep((began.elapsed() * REST_FACTOR).min(REST_MOST)).await;
            wait_for_change(&mut changes).await;
        }
    }

    /// One step of all alerts.
    async fn evaluate_once(&self, unwritten: &mut Unwritten) -> Result<(), Error> {
        let rules = &self.settings.rules;
        let sights = self.read_sights().await?;
        let now = self.clock.now_ms();
        let kinds: BTreeSet<AlertKind> = rules.iter().flat_map(|rule| rule.on.clone()).collect();
        let request = ConditionRequest {
            kinds,
            started_ms: self.changes.run_ms,
            rejoin_grace_ms: self.settings.rejoin_grace_ms,
            is_token_refused: self.client.is_token_refused(),
        };
        let mut found = read_conditions(&self.store, &request, now).await?;
        // By a clock that may be wrong, nothing is old enough and nothing is over.
        found.knowledge.is_blind |= self.clock.doubt().is_some();
        let alerts = self.known_alerts(unwritten).await?;
        let changes = step_alerts(&StepInputs {
            rules,
            alerts: &alerts,
            conditions: &found.conditions,
            sights: &sights,
            knowledge: &found.knowledge,
            now,
        });
        if changes.is_empty() && unwritten.changes.is_empty() {
            return Ok(());
        }

        let messages = address_messages(rules, &self.scopes(), &changes);
        let written = self.write_step(&changes, &messages, unwritten, now).await;
        match written {
            Ok(()) => {
                *unwritten = Unwritten::default();
                self.wake_senders();
                Ok(())
            }
            // Nothing is written, so the next step finds the same again.
            Err(error) => {
                let trouble = self.store.trouble(now);
                if trouble.is_some_and(|trouble| trouble.kind == TroubleKind::Full) {
                    self.tell_without_outbox(&changes, &messages, unwritten);
                }

                Err(error)
            }
        }
    }

    /// When each rule was first there with each kind. What is new is noted.
    async fn read_sights(&self) -> Result<FirstSights, Error> {
        let asked: Vec<(String, AlertKind)> = self
            .settings
            .rules
            .iter()
            .flat_map(|rule| rule.on.iter().map(|kind| (rule.name.clone(), *kind)))
            .collect();
        let known = state::read_first_sights(&self.store).await?;
        let is_same = known.len() == asked.len() && asked.iter().all(|key| known.contains_key(key));
        if is_same {
            return Ok(known);
        }

        // On a full disk it is noted later; until then those rules tell nothing that happened once.
        let now = self.clock.now_ms();
        if state::record_first_sights(&self.store, &asked, now)
            .await
            .is_err()
        {
            return Ok(known);
        }

        Ok(state::read_first_sights(&self.store).await?)
    }

    /// The alerts as stored, with those in their place that could not be written.
    async fn known_alerts(&self, unwritten: &Unwritten) -> Result<Vec<Alert>, Error> {
        let mut alerts = state::list_alerts(&self.store).await?;
        alerts.retain(|alert| !unwritten.changes.contains_key(&alert.key));
        let open = unwritten.changes.values().filter(|change| !change.is_gone);
        alerts.extend(open.map(|change| change.alert.clone()));

        Ok(alerts)
    }

    /// Writes the changes and their messages, and what could not be written before.
    async fn write_step(
        &self,
        changes: &[AlertChange],
        messages: &[AddressedMessage],
        unwritten: &Unwritten,
        now: i64,
    ) -> Result<(), Error> {
        let mut all = unwritten.changes.clone();
        all.extend(
            changes
                .iter()
                .map(|change| (change.alert.key.clone(), change.clone())),
        );
        let all: Vec<AlertChange> = all.into_values().collect();
        let mut new = unwritten.messages.clone();
        for message in messages {
            new.push(outbox_message(message)?);
        }

        Ok(state::write_changes(&self.store, &all, &new, now).await?)
    }

    /// Sends what is about ourselves past the outbox, which takes nothing now: that the disk is full
    /// is told nobody otherwise. It has the same keys as it would have there.
    fn tell_without_outbox(
        &self,
        changes: &[AlertChange],
        messages: &[AddressedMessage],
        unwritten: &mut Unwritten,
    ) {
        let own = changes
            .iter()
            .filter(|change| change.alert.key.kind.is_about_observer());
        for change in own {
            let mut kept = change.clone();
            kept.telling = Telling::Nothing;
            unwritten.changes.insert(change.alert.key.clone(), kept);
        }

        let own = messages.iter().filter(|one| {
            let kind = one.message.kind();
            kind.is_some_and(AlertKind::is_about_observer)
        });
        for message in own {
            let is_new = unwritten.messages.iter().all(|one| one.key != message.key);
            if let Ok(new) = outbox_message(message)
                && is_new
            {
                unwritten.messages.push(new);
            }

            let Some(running) = self
                .channels
                .iter()
                .find(|one| one.settings.scope.name == message.channel)
            else {
                continue;
            };

            let delivery = Delivery {
                key: message.key.clone(),
                first_receipt: None,
                message: message.message.clone(),
                public_url: self.settings.public_url.clone(),
                at_ms: self.clock.now_ms(),
            };
            let (channel, name) = (running.channel.clone(), message.channel.clone());
            tokio::spawn(async move {
                for _ in 0..DIRECT_TRIES {
                    let sent =
                        tokio::time::timeout(super::send::ATTEMPT_MOST, channel.send(&delivery));
                    match sent.await {
                        Ok(Ok(_)) => return,
                        Ok(Err(error)) => {
                            tracing::warn!(channel = name, %error, "an alert could not be sent");
                        }
                        Err(_) => tracing::warn!(channel = name, "an alert was not taken in time"),
                    }

                    tokio::time::sleep(DIRECT_PAUSE).await;
                }
            });
        }
    }
}

/// The message as it stands in the outbox.
fn outbox_message(one: &AddressedMessage) -> Result<NewMessage, Error> {
    let rooms: BTreeSet<&str> = one
        .message
        .rooms()
        .into_iter()
        .map(|room| room.room_id.as_str())
        .collect();
    let room_id = match (rooms.first(), rooms.len()) {
        (Some(room_id), 1) => (*room_id).to_owned(),
        _ => String::new(),
    };

    Ok(NewMessage {
        key: one.key.clone(),
        channel: one.channel.clone(),
        subject: one.subject.clone(),
        thread: one.thread.clone(),
        room_id,
        payload: serde_json::to_string(&one.message)?,
    })
}

/// Waits until something changes, and a moment more for what changes with it; or until it is time.
async fn wait_for_change(changes: &mut Receiver<Change>) {
    match tokio::time::timeout(EVERY, changes.recv()).await {
        Ok(Ok(_) | Err(RecvError::Lagged(_))) => {
            tokio::time::sleep(TOGETHER).await;
            *changes = changes.resubscribe();
        }
        // Nobody is left who announces.
        Ok(Err(RecvError::Closed)) => tokio::time::sleep(EVERY).await,
        Err(_) => {}
    }
}
