//! How alerts go on: from what is so now and what was told, to what is to be told. An alert waits
//! until it lasted long enough, is told, perhaps told again, and ends.

use super::{
    AlertEvent, AlertKind, AlertRule, Condition, FirstSights, Knowledge, ONCE_AGE_MAX_MS,
    PEOPLE_MOST, Sight,
};
use crate::rtc::id::hash;
use crate::rtc::words::words;
use std::collections::BTreeMap;

/// How long it is known that something was told which happened once, ms. It is longer than anything
/// that old is told.
const TOLD_KEPT_MS: i64 = 3 * ONCE_AGE_MAX_MS;

words! {
    /// Where an alert stands.
    pub enum AlertState {
        /// It does not last long enough yet.
        Pending = "pending",
        Firing = "firing",
        /// It happened once.
        Happened = "happened",
        /// It is over, which is not told yet because it is quiet.
        Over = "over",
    }
}

/// Which alert it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertKey {
    /// The name of the rule.
    pub rule: String,
    pub kind: AlertKind,
    pub subject: String,
}

/// An alert. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub key: AlertKey,
    pub state: AlertState,
    /// As it was last seen.
    pub condition: Condition,
    /// Since when it is so.
    pub opened_ms: i64,
    /// When the rule first saw it.
    pub seen_ms: i64,
    /// When it was last told.
    pub told_ms: Option<i64>,
    /// How many messages there were of it.
    pub sequence: i64,
    /// Something of it is not told yet because it is quiet.
    pub is_held: bool,
    pub ended_ms: Option<i64>,
}

impl Alert {
    /// The same for all messages of this alert. What happens once has no second one, whenever it is
    /// seen again.
    #[must_use]
    pub fn thread(&self) -> String {
        let AlertKey {
            rule,
            kind,
            subject,
        } = &self.key;
        let seen = if kind.is_once() {
            String::new()
        } else {
            self.seen_ms.to_string()
        };

        hash(&[rule, kind.as_str(), subject, &seen], 16)
    }

    fn new(rule: &AlertRule, condition: &Condition, now: i64) -> Self {
        Self {
            key: key_of_condition(rule, condition),
            state: AlertState::Pending,
            condition: condition.clone(),
            opened_ms: condition.since_ms.min(now),
            seen_ms: now,
            told_ms: None,
            sequence: 0,
            is_held: false,
            ended_ms: None,
        }
    }

    /// The alert after one more message at `now`, ms.
    fn told(mut self, now: i64) -> Self {
        self.sequence += 1;
        self.told_ms = Some(now);
        self.is_held = false;
        self
    }
}

/// What is told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    Nothing,
    Message(AlertEvent),
    /// In one line with others, after quiet hours.
    InSummary,
}

/// An alert that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertChange {
    pub alert: Alert,
    /// It is not kept any more.
    pub is_gone: bool,
    pub telling: Telling,
}

/// What a step follows from.
#[derive(Debug, Clone, Copy)]
pub struct StepInputs<'a> {
    pub rules: &'a [AlertRule],
    /// The alerts so far, in any order.
    pub alerts: &'a [Alert],
    /// What is so now or happened lately, in any order.
    pub conditions: &'a [Condition],
    pub sights: &'a FirstSights,
    pub knowledge: &'a Knowledge,
    /// ms.
    pub now: i64,
}

fn key_of_condition(rule: &AlertRule, condition: &Condition) -> AlertKey {
    AlertKey {
        rule: rule.name.clone(),
        kind: condition.kind,
        subject: condition.subject.clone(),
    }
}

/// The alerts that change, in the order of rule, kind and subject. The order of what is given does
/// not matter.
#[must_use]
pub fn step_alerts(inputs: &StepInputs<'_>) -> Vec<AlertChange> {
    let rules: BTreeMap<&str, &AlertRule> = inputs
        .rules
        .iter()
        .map(|rule| (rule.name.as_str(), rule))
        .collect();
    let mut found: BTreeMap<AlertKey, &Condition> = BTreeMap::new();
    for rule in inputs.rules {
        let matching = inputs.conditions.iter();
        for condition in matching.filter(|condition| rule.matches(condition)) {
            // Of the same thing, the earliest and then the least is kept, whatever comes first.
            let rank =
                |one: &Condition| (one.since_ms, one.severity.rank(), one.facts.call_id.clone());
            found
                .entry(key_of_condition(rule, condition))
                .and_modify(|known| {
                    if rank(condition) < rank(known) {
                        *known = condition;
                    }
                })
                .or_insert(condition);
        }
    }

    let mut alerts: BTreeMap<AlertKey, &Alert> = inputs
        .alerts
        .iter()
        .map(|alert| (alert.key.clone(), alert))
        .collect();
    let mut changes: BTreeMap<AlertKey, AlertChange> = BTreeMap::new();
    for (key, condition) in found {
        let Some(rule) = rules.get(key.rule.as_str()) else {
            continue;
        };

        let known = alerts
            .remove(&key)
            .or_else(|| find_former(&mut alerts, &key, condition));
        let step = RuleStep { inputs, rule };
        let change = if key.kind.is_once() {
            step.once(known, condition)
        } else {
            step.lasting(known, condition)
        };
        changes.extend(change.map(|change| (key, change)));
    }

    // What is left is not so any more, or of no rule.
    for (key, alert) in alerts {
        let rule = rules
            .get(key.rule.as_str())
            .filter(|rule| rule.on.contains(&key.kind));
        let change = match rule {
            Some(rule) => RuleStep { inputs, rule }.absent(alert),
            None => Some(drop_alert(alert, Telling::Nothing)),
        };
        changes.extend(change.map(|change| (key, change)));
    }

    changes.into_values().collect()
}

/// The alert of a condition under one of its former subjects.
fn find_former<'a>(
    alerts: &mut BTreeMap<AlertKey, &'a Alert>,
    key: &AlertKey,
    condition: &Condition,
) -> Option<&'a Alert> {
    condition.former_subjects.iter().find_map(|subject| {
        alerts.remove(&AlertKey {
            subject: subject.clone(),
            ..key.clone()
        })
    })
}

/// A step by one rule.
struct RuleStep<'a> {
    inputs: &'a StepInputs<'a>,
    rule: &'a AlertRule,
}

fn drop_alert(alert: &Alert, telling: Telling) -> AlertChange {
    AlertChange {
        alert: alert.clone(),
        is_gone: true,
        telling,
    }
}

fn keep_alert(alert: Alert, telling: Telling) -> AlertChange {
    AlertChange {
        alert,
        is_gone: false,
        telling,
    }
}

impl RuleStep<'_> {
    fn sight(&self, kind: AlertKind, condition: &Condition) -> Sight {
        let room_id = condition.room.as_ref().map(|room| room.room_id.as_str());

        self.inputs.knowledge.sight(kind, room_id)
    }

    /// Something that happened once.
    fn once(&self, known: Option<&Alert>, condition: &Condition) -> Option<AlertChange> {
        let now = self.inputs.now;
        if let Some(alert) = known {
            return self.release_held(alert);
        }

        let key = (self.rule.name.clone(), condition.kind);
        let first_ms = self.inputs.sights.get(&key).copied().unwrap_or(i64::MAX);
        let oldest_ms = first_ms.max(now.saturating_sub(ONCE_AGE_MAX_MS));
        let is_told = condition.since_ms >= oldest_ms && condition.since_ms <= now;
        if !is_told || self.sight(condition.kind, condition) != Sight::Known {
            return None;
        }

        let mut alert = Alert::new(self.rule, condition, now);
        alert.state = AlertState::Happened;
        if self.rule.is_quiet(now) {
            alert.is_held = true;
            return Some(keep_alert(alert, Telling::Nothing));
        }

        Some(keep_alert(
            alert.told(now),
            Telling::Message(AlertEvent::Fired),
        ))
    }

    /// What happened once and was held is told when it is quiet no more.
    fn release_held(&self, alert: &Alert) -> Option<AlertChange> {
        let now = self.inputs.now;
        let is_known = self.sight(alert.key.kind, &alert.condition) == Sight::Known;
        (is_known && alert.is_held && !self.rule.is_quiet(now))
            .then(|| keep_alert(alert.clone().told(now), Telling::InSummary))
    }

    /// Something that is so now.
    fn lasting(&self, known: Option<&Alert>, condition: &Condition) -> Option<AlertChange> {
        let now = self.inputs.now;
        if self.sight(condition.kind, condition) != Sight::Known {
            return None;
        }

        let mut alert = known.map_or_else(|| Alert::new(self.rule, condition, now), Alert::clone);
        let is_new = known.is_none();
        let before = alert.clone();
        alert.condition = condition.clone();
        alert.condition.facts.people.truncate(PEOPLE_MOST);
        let is_quiet = self.rule.is_quiet(now);
        let mut telling = Telling::Nothing;

        if alert.state == AlertState::Pending
            && now.saturating_sub(alert.opened_ms) >= self.rule.for_ms
        {
            alert.state = AlertState::Firing;
            alert.is_held = true;
        }

        // It came back before its end was told.
        if alert.state == AlertState::Over {
            alert.state = AlertState::Firing;
            alert.ended_ms = None;
            alert.is_held = alert.sequence == 0;
        }

        if alert.state == AlertState::Firing && !is_quiet {
            let since_told = alert.told_ms.map(|told| now.saturating_sub(told));
            let is_due = self
                .rule
                .repeat_ms
                .zip(since_told)
                .is_some_and(|(repeat, since)| since >= repeat);
            if alert.is_held {
                alert = alert.told(now);
                telling = Telling::Message(AlertEvent::Fired);
            } else if is_due {
                alert = alert.told(now);
                telling = Telling::Message(AlertEvent::Repeated);
            }
        }

        let changed = is_new || alert != before || telling != Telling::Nothing;
        changed.then(|| keep_alert(alert, telling))
    }

    /// Something that is not so any more, or that happened a while ago.
    fn absent(&self, alert: &Alert) -> Option<AlertChange> {
        let now = self.inputs.now;
        let kind = alert.key.kind;
        if kind.is_once() {
            let is_old = now.saturating_sub(alert.seen_ms) > TOLD_KEPT_MS;
            let is_done = is_old && !alert.is_held;
            return self
                .release_held(alert)
                .or_else(|| is_done.then(|| drop_alert(alert, Telling::Nothing)));
        }

        let is_quiet = self.rule.is_quiet(now);
        let was_told = alert.sequence > 0;
        let mut ended = alert.clone();
        // A rule that was narrowed has nothing to say any more, also not that it is over.
        if !self.rule.matches(&alert.condition) {
            return Some(drop_alert(alert, Telling::Nothing));
        }

        let room = alert.condition.room.as_ref();
        let room_id = room.map(|room| room.room_id.as_str());
        let knowledge = self.inputs.knowledge;
        match knowledge.sight_of_end(kind, &alert.key.subject, room_id) {
            Sight::Known => {}
            Sight::Unknown => return None,
            Sight::Gone => return Some(drop_alert(alert, Telling::Nothing)),
        }

        if alert.state != AlertState::Over {
            ended.ended_ms = Some(now);
        }

        match alert.state {
            AlertState::Pending | AlertState::Happened => Some(drop_alert(alert, Telling::Nothing)),
            _ if was_told && !self.rule.tells_end => Some(drop_alert(&ended, Telling::Nothing)),
            AlertState::Over if is_quiet => None,
            _ if is_quiet => {
                ended.state = AlertState::Over;
                ended.is_held = true;
                Some(keep_alert(ended, Telling::Nothing))
            }
            _ if was_told => {
                let ended = ended.told(now);
                Some(drop_alert(&ended, Telling::Message(AlertEvent::Resolved)))
            }
            _ => Some(drop_alert(&ended, Telling::InSummary)),
        }
    }
}

#[cfg(test)]
mod tests;
