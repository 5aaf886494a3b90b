//! The stays of one device on one chain: statements and changed conditions, one after the other in time.

use super::part::{Said, Sub};
use super::{Rules, Says, Statement, created, expires, failing};
use crate::rtc::event::RoomEvent;
use crate::rtc::id::hash;
use crate::rtc::member::{Format, Join};
use crate::rtc::membership::{EndReason, Membership, Rejection};
use crate::rtc::room::{Presence, Room};
use crate::rtc::time::after;
use std::collections::{BTreeMap, BTreeSet};

/// The join that is current on the chain, whether or not its conditions hold.
#[derive(Debug, Clone)]
struct Current<'a> {
    join: Join,
    event: &'a RoomEvent,
    /// The time of the statement.
    stated: i64,
    until: i64,
}

/// What happens to a device at one time. The order is the order at one instant: a condition that
/// begins to hold comes before statements, one that fails after them, redactions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Holds,
    Statement(usize),
    Fails,
    Redaction(usize),
}

/// The span of time of one run: from `from`, up to `until` and without it, ms.
pub(super) struct Span {
    pub from: i64,
    pub until: Option<i64>,
    /// So many of the statements came before.
    pub carried: usize,
}

pub(super) struct Stay<'a> {
    chain: &'a str,
    sub: &'a str,
    room: &'a Room,
    rules: &'a Rules,
    current: Option<Current<'a>>,
    live: Option<(Membership, i64)>,
    last_end: i64,
    /// Sticky statements in the order of MSC4354 (raw end, event id), by index; expired ones go lazily.
    candidates: BTreeMap<(i64, &'a str), usize>,
    pub members: Vec<Membership>,
    pub rejected: Vec<Rejection>,
}

impl<'a> Stay<'a> {
    pub fn new(chain: &'a str, sub: &'a str, room: &'a Room, rules: &'a Rules) -> Self {
        let (members, rejected, candidates) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self {
            chain,
            sub,
            room,
            rules,
            current: None,
            live: None,
            last_end: i64::MIN,
            candidates,
            members,
            rejected,
        }
    }

    /// Takes up where an earlier part ended; the statements that may still matter, to be run with the new ones.
    pub fn carry(&mut self, from: &'a Sub) -> Vec<Statement<'a>> {
        self.last_end = from.last_end.unwrap_or(i64::MIN);
        self.live.clone_from(&from.live);
        let mut statements: Vec<Statement<'a>> = from
            .candidates
            .iter()
            .map(|said| said.statement(self.sub))
            .collect();
        let keys = statements
            .iter()
            .enumerate()
            .map(|(at, statement)| (sticky_key(statement, self.rules), at));
        self.candidates = keys.collect();
        if let Some(said) = &from.current {
            let statement = said.statement(self.sub);
            if let Says::Join(join) = &statement.says {
                let until = expires(join, statement.time, self.rules);
                self.current = Some(Current {
                    join: join.clone(),
                    event: statement.event,
                    stated: statement.time,
                    until,
                });
            }
            // On a sticky chain the current statement is a candidate, too.
            if statements.is_empty() {
                statements.push(statement);
            }
        }
        statements
    }

    /// What later parts need to know; `until` is where this one ended.
    pub fn state(self, statements: &[Statement<'a>], until: i64) -> Sub {
        let rules = self.rules;
        let alive = self.live.is_some();
        let current = self
            .current
            .filter(|current| alive || current.until >= until);
        let candidates = self.candidates.values().map(|&at| &statements[at]);
        let candidates = candidates.filter(|said| sticky_until(said, rules) > until);
        Sub {
            candidates: candidates
                .map(|said| Said {
                    time: said.time,
                    event: said.event.clone(),
                })
                .collect(),
            current: current.map(|current| Said {
                time: current.stated,
                event: current.event.clone(),
            }),
            last_end: Some(self.last_end).filter(|end| *end != i64::MIN),
            live: self.live,
        }
    }

    /// Runs through the steps of this span and closes what runs out in it; without an end, what is still open
    /// closes at its own expiry. `statements` begins with those that were carried over, as [`Self::carry`] said.
    pub fn run(&mut self, statements: &[Statement<'a>], span: &Span) {
        let sticky = self.chain.starts_with('k');
        for (time, step) in self.steps(statements, span) {
            self.expire(time);
            match step {
                Step::Holds => self.resume(time),
                Step::Fails => self.check(time),
                Step::Statement(at) if sticky => self.sticky(statements, at),
                Step::Statement(at) => self.say(&statements[at], statements[at].time),
                Step::Redaction(at) if sticky => self.redact_sticky(statements, at, time),
                Step::Redaction(at) => self.redact(statements[at].event, time),
            }
        }
        self.expire(span.until.map_or(i64::MAX, |until| until - 1));
    }

    /// Everything that can change this device's stays in this span, in order of time.
    fn steps(&self, statements: &[Statement<'a>], span: &Span) -> Vec<(i64, Step)> {
        let mut steps = BTreeSet::new();
        let mut senders: BTreeSet<&str> = BTreeSet::new();
        let mut slots: BTreeSet<&str> = BTreeSet::new();
        for (at, statement) in statements.iter().enumerate() {
            if at >= span.carried {
                steps.insert((statement.time, Step::Statement(at)));
            }
            if let Some(time) = self.room.redacted(&statement.event.event_id) {
                steps.insert((time.max(statement.time), Step::Redaction(at)));
            }
            if let Says::Join(join) = &statement.says {
                senders.insert(&statement.event.sender);
                if join.format == Format::Sticky {
                    slots.insert(join.slot.as_str());
                }
            }
        }
        if let Some((member, _)) = &self.live {
            senders.insert(&member.user_id);
            slots.insert(member.slot.as_str());
        }
        let presence = senders
            .iter()
            .flat_map(|user| self.room.presence_changes(user));
        let presence = presence.map(|(time, presence)| (time, presence == Presence::In));
        let slots = slots.iter().flat_map(|slot| self.room.slot_changes(slot));
        steps.extend(
            presence
                .chain(slots)
                .map(|(time, holds)| (time, if holds { Step::Holds } else { Step::Fails })),
        );
        let inside = |time: i64| time >= span.from && span.until.is_none_or(|until| time < until);
        steps
            .into_iter()
            .filter(|(time, _)| inside(*time))
            .collect()
    }

    /// Expiry is applied at its own time, before anything later.
    fn expire(&mut self, time: i64) {
        let until = self.live.as_ref().map(|(member, _)| member.until_ms);
        if until.is_some_and(|until| until <= time) {
            let format = self.live.as_ref().map(|(member, _)| member.format);
            let sticky = format == Some(Format::Sticky);
            let reason = if sticky {
                EndReason::StickyExpired
            } else {
                EndReason::Expired
            };
            self.close(until.unwrap_or(time), reason, None);
        }
    }

    fn close(&mut self, time: i64, reason: EndReason, event: Option<&RoomEvent>) {
        let Some((mut member, _)) = self.live.take() else {
            return;
        };
        member.until_ms = time.max(member.joined_ms);
        member.end_reason = reason;
        member.end_event_id = event.map(|event| event.event_id.clone());
        self.last_end = self.last_end.max(member.until_ms);
        self.members.push(member);
    }

    /// The membership of a join that begins now.
    fn open(
        &mut self,
        current: &Current<'a>,
        times: (i64, i64),
        resumed: bool,
        claimed: bool,
        base: i64,
    ) {
        let (joined_ms, opened_ms) = times;
        let Current {
            join, event, until, ..
        } = current;
        let begun = if resumed {
            joined_ms.to_string()
        } else {
            String::new()
        };
        // At one instant a stay may begin, end without length and begin again: ids stay apart by counting.
        let recent = self
            .members
            .iter()
            .rev()
            .take_while(|member| member.until_ms >= joined_ms);
        let twins = recent
            .filter(|member| member.join_event_id == event.event_id && member.resumed == resumed)
            .count();
        let twin = if twins == 0 {
            String::new()
        } else {
            twins.to_string()
        };
        let parts = [self.chain, self.sub, &event.event_id, &begun, &twin];
        let sticky = join.format == Format::Sticky;
        let member = Membership {
            id: hash(&parts, 12),
            chain: self.chain.to_owned(),
            slot: join.slot.clone(),
            user_id: event.sender.clone(),
            device_id: join.device_id.clone(),
            format: join.format,
            joined_ms,
            opened_ms,
            until_ms: (*until).max(joined_ms),
            end_reason: if sticky {
                EndReason::StickyExpired
            } else {
                EndReason::Expired
            },
            updates: 0,
            join_event_id: event.event_id.clone(),
            end_event_id: None,
            resumed,
            claimed,
            intent: join.intent.clone(),
            transport: join.transport.clone(),
            selection: join.selection,
        };
        self.live = Some((member, base));
    }

    /// One statement of a state chain, or the winning one of a sticky chain, applied at `time`.
    fn say(&mut self, statement: &Statement<'a>, time: i64) {
        let event = statement.event;
        let foreign = self
            .live
            .as_ref()
            .is_some_and(|(member, _)| member.user_id != event.sender);
        let join = match &statement.says {
            Says::Join(join) => join,
            Says::Left(_) if foreign => return self.leave(time, EndReason::Overwritten, event),
            Says::Left(reason) => return self.leave(time, *reason, event),
            Says::Invalid => return self.leave(time, EndReason::InvalidContent, event),
            Says::Redacted => {
                if self.live.is_none() {
                    self.rejected.push((event.event_id.clone(), "redacted"));
                }
                return self.leave(time, EndReason::Redacted, event);
            }
        };
        let until = expires(join, statement.time, self.rules);
        let current = Current {
            join: join.clone(),
            event,
            stated: statement.time,
            until,
        };
        self.joins(&current, time, statement.time);
        self.current = Some(current);
    }

    fn leave(&mut self, time: i64, reason: EndReason, event: &RoomEvent) {
        self.close(time, reason, Some(event));
        self.current = None;
    }

    /// A join over a live or a dead chain (MATRIXRTC.md section 4: update, superseded, switched).
    fn joins(&mut self, current: &Current<'a>, time: i64, stated: i64) {
        let (join, event) = (&current.join, current.event);
        let created = created(join, stated);
        let renews = self.renews(current, created);
        if current.until <= time {
            // Born expired. Other clients drop the member at that moment (a quirk of intent updates).
            if let (Some((member, _)), true) = (&mut self.live, renews) {
                member.updates += 1;
            }
            self.rejected_unless_live(event, "born_expired");
            return self.close(time, EndReason::Expired, Some(event));
        }
        if let Some((reason, why)) = failing(self.room, self.rules, &event.sender, join, time) {
            if join.format != Format::Sticky {
                self.rejected.push((event.event_id.clone(), why));
            }
            return self.close(time, reason, Some(event));
        }
        if renews {
            return self.renew(current, created, stated);
        }
        let base = created.unwrap_or(time);
        // A redaction made an earlier statement current again: no new join, the old one goes on.
        let again = time != stated;
        let Some((member, live_base)) = &self.live else {
            let floor = self.last_end.max(self.room.floor(&event.sender, time));
            let claim = created
                .filter(|created| *created >= self.last_end)
                .map(|created| created.max(floor).min(time));
            return self.open(
                current,
                (claim.unwrap_or(time), time),
                again,
                claim.is_some_and(|claim| claim < time),
                base,
            );
        };
        let same = same_place(member, current);
        // A join that we missed: the stay before ended when this one says it began.
        let missed = created.filter(|created| same && created > live_base);
        let start = missed.map_or(time, |created| created.max(member.joined_ms));
        self.close(
            start,
            if same {
                EndReason::Superseded
            } else {
                EndReason::Switched
            },
            Some(event),
        );
        self.open(current, (start, time), again, missed.is_some(), base);
    }

    /// Does this join go on with the live stay?
    fn renews(&self, current: &Current<'a>, created: Option<i64>) -> bool {
        let Some((member, base)) = &self.live else {
            return false;
        };
        let same_stay = match current.join.format {
            Format::Session | Format::Legacy => created.is_some_and(|created| created <= *base),
            // No created_ts in these: the session id or member id tells.
            Format::Mesh | Format::Sticky => self
                .current
                .as_ref()
                .is_some_and(|live| live.join.stay == current.join.stay),
        };
        same_stay && same_place(member, current)
    }

    fn renew(&mut self, current: &Current<'a>, created: Option<i64>, stated: i64) {
        let Some((member, base)) = &mut self.live else {
            return;
        };
        *base = created.unwrap_or(stated).min(*base);
        member.updates += 1;
        member.until_ms = current.until;
        member.intent.clone_from(&current.join.intent);
        member.transport.clone_from(&current.join.transport);
        member.selection = current.join.selection;
    }

    fn rejected_unless_live(&mut self, event: &RoomEvent, reason: &'static str) {
        if self.live.is_none() {
            self.rejected.push((event.event_id.clone(), reason));
        }
    }

    /// A condition began to hold: the current join counts again, if all others hold too.
    fn resume(&mut self, time: i64) {
        if self.live.is_some() {
            return;
        }
        let Some(current) = self.current.take() else {
            return;
        };
        let fails = failing(
            self.room,
            self.rules,
            &current.event.sender,
            &current.join,
            time,
        );
        if current.until > time && fails.is_none() {
            self.open(&current, (time, time), true, false, time);
        }
        self.current = Some(current);
    }

    /// A condition failed: the live stay ends if it depends on it.
    fn check(&mut self, time: i64) {
        let (Some(current), Some((member, _))) = (&self.current, &self.live) else {
            return;
        };
        if let Some((reason, _)) =
            failing(self.room, self.rules, &member.user_id, &current.join, time)
        {
            self.close(time, reason, None);
        }
    }

    /// Redacting the current state event empties it; redacting an older one changes nothing.
    fn redact(&mut self, event: &RoomEvent, time: i64) {
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.event.event_id == event.event_id)
        {
            self.close(time, EndReason::Redacted, None);
            self.current = None;
        }
    }

    /// MSC4354: of the events of one key that are still sticky, the one whose stickiness ends last is
    /// current, by raw origin time; ties by event id. A loser says nothing while the winner stands.
    fn sticky(&mut self, statements: &[Statement<'a>], at: usize) {
        let statement = &statements[at];
        self.candidates
            .insert(sticky_key(statement, self.rules), at);
        if self.winner(statements, statement.time) == Some(at) {
            self.say(statement, statement.time);
        } else {
            self.rejected
                .push((statement.event.event_id.clone(), "loses_to_longer"));
        }
    }

    /// The statement that is current at `time`. Each expired one is dropped once, so all of them cost little.
    fn winner(&mut self, statements: &[Statement<'a>], time: i64) -> Option<usize> {
        while let Some(last) = self.candidates.last_entry() {
            if sticky_until(&statements[*last.get()], self.rules) > time {
                return Some(*last.get());
            }
            last.remove();
        }
        None
    }

    /// The next event of the key becomes current (matrix-js-sdk falls back, too), else the stay ends.
    fn redact_sticky(&mut self, statements: &[Statement<'a>], at: usize, time: i64) {
        let was_current = self.winner(statements, time) == Some(at);
        self.candidates
            .remove(&sticky_key(&statements[at], self.rules));
        if !was_current {
            return;
        }
        if let Some(next) = self.winner(statements, time) {
            self.say(&statements[next], time);
        } else {
            self.close(time, EndReason::Redacted, None);
            self.current = None;
        }
    }
}

fn sticky_length(statement: &Statement, rules: &Rules) -> i64 {
    statement
        .event
        .sticky_ms
        .unwrap_or(0)
        .min(rules.sticky_max_ms)
}

fn sticky_until(statement: &Statement, rules: &Rules) -> i64 {
    after(statement.time, sticky_length(statement, rules))
}

fn sticky_key<'a>(statement: &Statement<'a>, rules: &Rules) -> (i64, &'a str) {
    let raw = after(
        statement.event.origin_server_ts,
        sticky_length(statement, rules),
    );
    (raw, &statement.event.event_id)
}

fn same_place(member: &Membership, current: &Current) -> bool {
    member.slot == current.join.slot
        && member.device_id == current.join.device_id
        && member.user_id == current.event.sender
}
