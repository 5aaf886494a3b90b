//! The stays of one device of one member key: applies statements and changed conditions in order of
//! time.

use super::part::{DeviceState, OpenStay, PastStatement};
use super::{
    Rules, SAME_JOIN_MS, Statement, StatementContent, created_ts_if_it_counts, expiry_of_join,
    failed_condition, is_end_guessed,
};
use crate::rtc::event::RoomEvent;
use crate::rtc::id::hash;
use crate::rtc::member::{Join, is_renewal};
use crate::rtc::membership::{Membership, Rejection};
use crate::rtc::room::{Presence, RoomConditions};
use crate::rtc::time::add_within_calendar;
use crate::rtc::words::{EndReason, Format};
use std::collections::{BTreeMap, BTreeSet};

/// The current join of the member key, whether or not its conditions hold.
#[derive(Debug, Clone)]
struct CurrentJoin<'a> {
    join: Join,
    event: &'a RoomEvent,
    /// The time of the statement, ms.
    stated: i64,
    /// When it expires, ms.
    until: i64,
    /// The identity of the stay that it belongs to.
    identity: i64,
    /// It began or continued a stay.
    was_live: bool,
}

/// How a join relates to the open stay of its member key (docs/matrixrtc.md section 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinRelation {
    /// It continues the stay. `Some` = the stay has this identity from now on.
    Update(Option<i64>),
    /// Another slot, device or sender.
    Switched,
    /// Another stay, which began at this time, ms; we missed its join.
    Missed(i64),
    /// Another stay, which begins now.
    Superseded,
}

/// What happens to a device at one time. The variants are in the order in which they apply at the
/// same instant: conditions that begin to hold, then statements, then conditions that fail, then
/// redactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FoldStep {
    /// A condition begins to hold: the user came into the room, or the slot was opened.
    Holds,
    /// The statement at this index.
    Statement(usize),
    /// A condition fails: the user left the room, or the slot was closed.
    Fails,
    /// The event of the statement at this index is redacted.
    Redaction(usize),
}

/// The time span of one run, ms: `from` inclusive, `until` exclusive.
pub(super) struct RunSpan {
    pub from: i64,
    pub until: Option<i64>,
    /// The number of statements carried over from earlier parts.
    pub carried: usize,
}

/// The fold of one device: what holds at the present step, and the stays that are complete.
pub(super) struct DeviceFold<'a> {
    member_key: &'a str,
    /// The device key: the device within an array; empty in all other formats.
    array_device: &'a str,
    room: &'a RoomConditions,
    rules: &'a Rules,
    current: Option<CurrentJoin<'a>>,
    /// The stay that counts now.
    live: Option<OpenStay>,
    /// The stay that expired last. It is kept here because the next statement can still change it:
    /// a late renewal or goodbye shows that the device was still there.
    revivable: Option<OpenStay>,
    /// The latest end of all stays so far, ms; `i64::MIN` if there is none. A claimed start before
    /// it belongs to an earlier stay.
    last_end: i64,
    /// Indices of sticky statements by [`sticky_key`], the order of MSC4354: the last one is
    /// current. Expired ones are removed lazily.
    candidates: BTreeMap<(i64, &'a str), usize>,
    /// The stays that are complete.
    pub members: Vec<Membership>,
    pub rejected: Vec<Rejection>,
}

impl<'a> DeviceFold<'a> {
    /// A fold of one device before its first statement. `array_device` is the device key.
    pub fn new(
        member_key: &'a str,
        array_device: &'a str,
        room: &'a RoomConditions,
        rules: &'a Rules,
    ) -> Self {
        let (members, rejected, candidates) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self {
            member_key,
            array_device,
            room,
            rules,
            current: None,
            live: None,
            revivable: None,
            last_end: i64::MIN,
            candidates,
            members,
            rejected,
        }
    }

    /// Restores the state at the end of an earlier part. Returns the statements of that part that
    /// can still matter; they must be run together with the new ones.
    pub fn carry(&mut self, from: &'a DeviceState) -> Vec<Statement<'a>> {
        self.last_end = from.last_end.unwrap_or(i64::MIN);
        self.live.clone_from(&from.live);
        self.revivable.clone_from(&from.revivable);
        let mut statements: Vec<Statement<'a>> = from
            .candidates
            .iter()
            .map(|said| said.statement(self.array_device))
            .collect();
        let keys = statements
            .iter()
            .enumerate()
            .map(|(at, statement)| (sticky_key(statement, self.rules), at));
        self.candidates = keys.collect();
        if let Some(said) = &from.current {
            let statement = said.statement(self.array_device);
            if let StatementContent::Join(join) = &statement.says {
                let created = created_ts_if_it_counts(join, statement.event, statement.time, None);
                self.current = Some(CurrentJoin {
                    join: Join::clone(join),
                    event: statement.event,
                    stated: statement.time,
                    until: from.current_until.unwrap_or_else(|| {
                        expiry_of_join(join, created, statement.time, self.rules)
                    }),
                    identity: from
                        .current_identity
                        .or(created)
                        .unwrap_or(statement.event.origin_server_ts),
                    was_live: from.current_was_live,
                });
            }

            // For a sticky key, the current statement is also a candidate.
            if statements.is_empty() {
                statements.push(statement);
            }
        }

        statements
    }

    /// The state that later parts need; `until` is where this part ended, ms. A join that has
    /// expired is left out, unless a stay depends on it; so are statements that are no longer
    /// sticky.
    pub fn state(self, statements: &[Statement<'a>], until: i64) -> DeviceState {
        let rules = self.rules;
        let has_stay = self.live.is_some() || self.revivable.is_some();
        let current = self
            .current
            .filter(|current| has_stay || current.until >= until);
        let candidates = self.candidates.values().map(|&at| &statements[at]);
        let candidates = candidates.filter(|said| sticky_until(said, rules) > until);

        DeviceState {
            candidates: candidates
                .map(|said| PastStatement {
                    time: said.time,
                    event: said.event.clone(),
                })
                .collect(),
            current_was_live: current.as_ref().is_some_and(|current| current.was_live),
            current_until: current.as_ref().map(|current| current.until),
            current_identity: current.as_ref().map(|current| current.identity),
            current: current.map(|current| PastStatement {
                time: current.stated,
                event: current.event.clone(),
            }),
            last_end: Some(self.last_end).filter(|end| *end != i64::MIN),
            live: self.live,
            revivable: self.revivable,
        }
    }

    /// Applies the steps of this span and closes stays that expire in it. If the span has no end,
    /// open stays close at their own expiry. `statements` must begin with those that
    /// [`Self::carry`] returned; their own steps are past.
    pub fn run(&mut self, statements: &[Statement<'a>], span: &RunSpan) {
        // A member key begins with `k` if it is a sticky key, with `s` if it is a state key.
        let is_sticky = self.member_key.starts_with('k');
        for (time, step) in self.steps(statements, span) {
            self.expire(time);
            match step {
                FoldStep::Holds => self.resume_if_conditions_hold(time),
                FoldStep::Fails => self.end_if_condition_failed(time),
                FoldStep::Statement(at) if is_sticky => self.apply_sticky(statements, at),
                FoldStep::Statement(at) => {
                    self.apply_statement(&statements[at], statements[at].time);
                }
                FoldStep::Redaction(at) if is_sticky => self.redact_sticky(statements, at, time),
                FoldStep::Redaction(at) => self.redact(statements[at].event, time),
            }
        }

        // The end of the span belongs to the next part.
        self.expire(span.until.map_or(i64::MAX, |until| until - 1));

        if span.until.is_none() {
            self.give_up_revivable();
        }
    }

    /// Everything that can change this device's stays in this span, with its time, ms, in order:
    /// new statements, redactions, and changes of the conditions that its stays depend on.
    fn steps(&self, statements: &[Statement<'a>], span: &RunSpan) -> Vec<(i64, FoldStep)> {
        let mut steps = BTreeSet::new();
        let mut senders: BTreeSet<&str> = BTreeSet::new();
        let mut slots: BTreeSet<&str> = BTreeSet::new();
        for (at, statement) in statements.iter().enumerate() {
            if at >= span.carried {
                steps.insert((statement.time, FoldStep::Statement(at)));
            }

            if let Some(time) = self.room.redacted(&statement.event.event_id) {
                steps.insert((time.max(statement.time), FoldStep::Redaction(at)));
            }

            if let StatementContent::Join(join) = &statement.says {
                senders.insert(&statement.event.sender);
                if join.format == Format::Sticky {
                    slots.insert(join.slot.as_str());
                }
            }
        }

        for open in self.live.iter().chain(&self.revivable) {
            senders.insert(&open.member.user_id);
            slots.insert(open.member.slot.as_str());
        }

        let presence = senders
            .iter()
            .flat_map(|user| self.room.presence_changes(user));
        let presence = presence.map(|(time, presence)| (time, presence == Presence::In));
        let slots = slots.iter().flat_map(|slot| self.room.slot_changes(slot));
        steps.extend(presence.chain(slots).map(|(time, holds)| {
            (
                time,
                if holds {
                    FoldStep::Holds
                } else {
                    FoldStep::Fails
                },
            )
        }));
        let inside = |time: i64| time >= span.from && span.until.is_none_or(|until| time < until);

        steps
            .into_iter()
            .filter(|(time, _)| inside(*time))
            .collect()
    }

    /// Ends the open stay if it has expired by `time` (included), ms. [`Self::run`] calls this
    /// before each step, so that an expiry counts before anything later.
    fn expire(&mut self, time: i64) {
        let Some(open) = self.live.take_if(|open| open.member.until_ms <= time) else {
            return;
        };

        self.give_up_revivable();
        self.last_end = self.last_end.max(open.member.until_ms);

        // An array may name any number of devices, so no state is kept for expired stays of its
        // devices. A sticky stay ends for good: others stop showing it at that time, too.
        if self.array_device.is_empty() && open.member.format != Format::Sticky {
            self.revivable = Some(open);
        } else {
            self.members.push(open.member);
        }
    }

    /// Makes the expired stay final, if there is one: nothing can change it any more.
    fn give_up_revivable(&mut self) {
        self.members
            .extend(self.revivable.take().map(|open| open.member));
    }

    /// Decides what a statement means for the stay that expired before it. If the same user says
    /// goodbye or renews the stay, the device was still there. If the end was a guess, the stay
    /// continues. If the end was stated, it stays closed, because others had dropped it; then only
    /// `outlived_ms` tells.
    fn judge_revivable(&mut self, statement: &Statement<'a>) {
        let Some(mut open) = self.revivable.take() else {
            return;
        };

        let event = statement.event;
        let renews = |join: &Join| {
            let repeats_content = !open.is_end_guessed
                && self
                    .current
                    .as_ref()
                    .is_some_and(|current| is_renewal(event, current.event, self.array_device));
            let created = created_ts_if_it_counts(join, event, statement.time, Some(open.identity));
            let has_same_start = created
                .is_some_and(|created| created <= open.identity.saturating_add(SAME_JOIN_MS));
            is_same_place(&open.member, join, event) && (has_same_start || repeats_content)
        };

        let was_there = match &statement.says {
            StatementContent::Left(_) => open.member.user_id == event.sender,
            StatementContent::Join(join) => renews(join),
            StatementContent::Invalid | StatementContent::Redacted => false,
        };

        if was_there && open.is_end_guessed {
            self.live = Some(open);
            return;
        }

        if was_there {
            open.member.outlived_ms = Some(statement.time);
        }

        self.members.push(open.member);
    }

    /// Ends the open stay, if there is one, at `time`, ms, for this reason. `event` is the event
    /// that ended it; `None` if the conditions of the room did. The current join stays as it is:
    /// the caller decides whether it may be resumed.
    fn close(&mut self, time: i64, reason: EndReason, event: Option<&RoomEvent>) {
        let Some(OpenStay { mut member, .. }) = self.live.take() else {
            return;
        };

        // If the start is only the time when we heard of it, it must not be after the end.
        member.joined_ms = member.joined_ms.min(time.max(member.opened_ms));
        member.until_ms = time.max(member.joined_ms);
        member.end_reason = reason;
        member.end_event_id = event.map(|event| event.event_id.clone());
        self.last_end = self.last_end.max(member.until_ms);
        self.members.push(member);
    }

    /// Opens the stay of a join, in place of an open one, which the caller must have closed.
    /// `times` are its start, which may be claimed, and the time at which it takes effect, both in
    /// ms. `resumed`: it goes on after a break without a new join. `claimed`: its start is the
    /// member's own word.
    fn open(&mut self, current: &CurrentJoin<'a>, times: (i64, i64), resumed: bool, claimed: bool) {
        let (joined_ms, opened_ms) = times;
        let CurrentJoin {
            join, event, until, ..
        } = current;
        let bound = self.room.start_if_stamp_is_refuted(event, joined_ms);
        let joined_ms = bound.unwrap_or(joined_ms);
        // A resumed stay has the same event as the one before, so its id contains its start.
        let begun = if resumed {
            joined_ms.to_string()
        } else {
            String::new()
        };

        // A stay may begin, end without length and begin again at the same instant. A counter keeps
        // the ids distinct.
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

        let parts = [
            self.member_key,
            self.array_device,
            &event.event_id,
            &begun,
            &twin,
        ];
        let sticky = join.format == Format::Sticky;
        let member = Membership {
            id: hash(&parts, 12),
            member_key: self.member_key.to_owned(),
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
            claimed: claimed || bound.is_some(),
            back_since_ms: None,
            outlived_ms: None,
            intent: join.intent.clone(),
            transport: join.transport.clone(),
            transport_alias: join.transport_alias.clone(),
            selection: join.selection,
        };

        self.live = Some(OpenStay {
            member,
            identity: current.identity,
            is_end_guessed: is_end_guessed(join),
        });
    }

    /// Applies one statement of a state key, or the winning one of a sticky key. `time` is when it
    /// takes effect, ms; it is later than the statement if a redaction made it current again.
    fn apply_statement(&mut self, statement: &Statement<'a>, time: i64) {
        let event = statement.event;
        self.judge_revivable(statement);
        let is_by_other_user = self
            .live
            .as_ref()
            .is_some_and(|open| open.member.user_id != event.sender);
        let join = match &statement.says {
            StatementContent::Join(join) => join,
            StatementContent::Left(_) if is_by_other_user => {
                return self.apply_leave(time, EndReason::Overwritten, event);
            }
            StatementContent::Left(reason) => return self.apply_leave(time, *reason, event),
            StatementContent::Invalid => {
                return self.apply_leave(time, EndReason::InvalidContent, event);
            }
            StatementContent::Redacted => {
                if self.live.is_none() {
                    self.rejected.push((event.event_id.clone(), "redacted"));
                }

                return self.apply_leave(time, EndReason::Redacted, event);
            }
        };

        self.apply_join(join, event, time, statement.time);
    }

    /// Ends the open stay, if there is one, at `time`, ms, and forgets the current join, so that it
    /// is not resumed.
    fn apply_leave(&mut self, time: i64, reason: EndReason, event: &RoomEvent) {
        self.close(time, reason, Some(event));
        self.current = None;
    }

    /// Applies a join: it renews the open stay, replaces it by another one, begins a stay, or
    /// cannot begin one. `time` is when it takes effect and `stated` when it was stated, ms; they
    /// differ only if a redaction made an earlier statement current again.
    fn apply_join(&mut self, join: &Join, event: &'a RoomEvent, time: i64, stated: i64) {
        let identity = self
            .live
            .as_ref()
            .filter(|open| is_same_place(&open.member, join, event))
            .map(|open| open.identity);
        let created = created_ts_if_it_counts(join, event, stated, identity);
        let relation = self
            .live
            .as_ref()
            .map(|open| self.relation(open, join, event, created, time));
        let updates = matches!(relation, Some(JoinRelation::Update(_)));
        let mut until = expiry_of_join(join, created, stated, self.rules);
        if updates && is_end_guessed(join) {
            // The update shows that the stay lasts at least until now.
            until = until.max(time);
        }

        let mut current = CurrentJoin {
            join: Join::clone(join),
            event,
            stated,
            until,
            identity: created.unwrap_or(event.origin_server_ts),
            was_live: false,
        };

        // A redaction made an earlier statement current again: this is no new join, the old one
        // goes on.
        let is_resumed = time != stated;
        let is_born_expired = until <= time && !(updates && is_end_guessed(join));
        let fails = failed_condition(self.room, self.rules, &event.sender, join, time);
        match (relation, fails) {
            _ if is_born_expired => self.expire_by(event, updates, time),
            (_, Some((reason, why))) => {
                if join.format != Format::Sticky {
                    self.rejected.push((event.event_id.clone(), why));
                }

                self.close(time, reason, Some(event));
            }
            (Some(JoinRelation::Update(identity)), None) => self.renew(&current, identity),
            (Some(JoinRelation::Switched), None) => {
                self.close(time, EndReason::Switched, Some(event));
                self.open(&current, (time, time), is_resumed, false);
            }
            (Some(JoinRelation::Missed(start)), None) => {
                self.close(start, EndReason::Superseded, Some(event));
                self.open(&current, (start, time), is_resumed, true);
            }
            (Some(JoinRelation::Superseded), None) => {
                self.close(time, EndReason::Superseded, Some(event));
                self.open(&current, (time, time), is_resumed, false);
            }
            (None, None) => {
                let claimed = self.claimed_start(event, created, time);
                let start = claimed.unwrap_or(time);
                self.open(&current, (start, time), is_resumed, start < time);
                // Its claimed start belongs to a stay that ended: the device is back.
                let is_back = created.is_some() && claimed.is_none();
                if let Some(open) = self.live.as_mut().filter(|_| is_back) {
                    open.member.back_since_ms = Some(self.last_end);
                }
            }
        }

        if let Some(open) = &self.live {
            current.identity = open.identity;
            current.was_live = true;
        }

        self.current = Some(current);
    }

    /// The claimed start of a stay whose first visible event is an update, ms; but not before the
    /// user was in the room, and not after `time`, when it takes effect. `None` if nothing is
    /// claimed, or if an earlier stay of the member key ended after it: then the claim belongs to
    /// that one.
    fn claimed_start(&self, event: &RoomEvent, created: Option<i64>, time: i64) -> Option<i64> {
        let floor = self.room.earliest_possible_start(&event.sender, time);
        created
            .map(|created| created.max(floor).min(time))
            .filter(|start| *start >= self.last_end)
    }

    /// Applies at `time`, ms, a join that has expired before it begins: the open stay ends, since
    /// other clients drop the member at that moment (a quirk of intent updates). `updates`: the
    /// join belongs to the open stay; else it is rejected.
    fn expire_by(&mut self, event: &RoomEvent, updates: bool, time: i64) {
        match &mut self.live {
            Some(open) if updates => open.member.updates += 1,
            _ => self.rejected.push((event.event_id.clone(), "born_expired")),
        }

        self.close(time, EndReason::Expired, Some(event));
    }

    /// How a join relates to the open stay (docs/matrixrtc.md section 7.3). `created` is its
    /// claimed start if that counts, and `time` when it takes effect, both in ms. What identifies
    /// the stay decides: the place, then an id of the stay, then the claimed start.
    fn relation(
        &self,
        open: &OpenStay,
        join: &Join,
        event: &RoomEvent,
        created: Option<i64>,
        time: i64,
    ) -> JoinRelation {
        if !is_same_place(&open.member, join, event) {
            return JoinRelation::Switched;
        }

        // All events of a sticky key belong to one membership.
        if join.format == Format::Sticky {
            return JoinRelation::Update(None);
        }

        let stamped = event.origin_server_ts;
        let same_id = join.stay.is_some()
            && self
                .current
                .as_ref()
                .is_some_and(|current| current.join.stay == join.stay);
        if same_id {
            return JoinRelation::Update(Some(stamped).filter(|_| created.is_none()));
        }

        // Without a claimed start, only a repeated content shows that it is no new join.
        let Some(created) = created else {
            let renews = self
                .current
                .as_ref()
                .is_some_and(|current| is_renewal(event, current.event, self.array_device));
            return if renews {
                JoinRelation::Update(Some(stamped))
            } else {
                JoinRelation::Superseded
            };
        };

        if created <= open.identity.saturating_add(SAME_JOIN_MS) {
            return JoinRelation::Update(None);
        }

        // It began later than the stay that we know.
        let start = created.min(time);

        if start > open.member.joined_ms {
            JoinRelation::Missed(start)
        } else {
            JoinRelation::Update(Some(created))
        }
    }

    /// Continues the open stay by this join: its new expiry, intent and transport. `identity`, if
    /// given, identifies the stay from now on.
    fn renew(&mut self, current: &CurrentJoin<'a>, identity: Option<i64>) {
        let Some(open) = &mut self.live else {
            return;
        };

        open.identity = identity.unwrap_or(open.identity);
        open.is_end_guessed = is_end_guessed(&current.join);
        let member = &mut open.member;
        member.updates += 1;
        member.until_ms = current.until.max(member.joined_ms);
        member.intent.clone_from(&current.join.intent);
        member.transport.clone_from(&current.join.transport);
        member
            .transport_alias
            .clone_from(&current.join.transport_alias);
        member.selection = current.join.selection;

        if member.device_id.is_none() {
            member.device_id.clone_from(&current.join.device_id);
        }
    }

    /// Opens a stay of the current join at `time`, ms, if none is open, it has not expired, and all
    /// its conditions hold. One of them has just begun to hold; the join may count for the first
    /// time.
    fn resume_if_conditions_hold(&mut self, time: i64) {
        if self.live.is_some() {
            return;
        }

        let Some(mut current) = self.current.take() else {
            return;
        };

        let user = &current.event.sender;
        let fails = failed_condition(self.room, self.rules, user, &current.join, time);
        if current.until > time && fails.is_none() {
            self.open(&current, (time, time), current.was_live, false);
            current.was_live = true;
        }

        self.current = Some(current);
    }

    /// Ends the open stay if one of its conditions has failed at `time`, ms. An expired stay is
    /// final once its user has left the room.
    fn end_if_condition_failed(&mut self, time: i64) {
        let left = |user: &str| self.room.presence(user, time) != Presence::In;
        if self
            .revivable
            .as_ref()
            .is_some_and(|open| left(&open.member.user_id))
        {
            self.give_up_revivable();
        }

        let (Some(current), Some(open)) = (&self.current, &self.live) else {
            return;
        };

        let user = &open.member.user_id;
        if let Some((reason, _)) =
            failed_condition(self.room, self.rules, user, &current.join, time)
        {
            self.close(time, reason, None);
        }
    }

    /// Ends the stay at `time`, ms, when the event was redacted, if it is the current one of a
    /// state key, since that empties the state. Redacting an older one changes nothing.
    fn redact(&mut self, event: &RoomEvent, time: i64) {
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.event.event_id == event.event_id)
        {
            self.give_up_revivable();
            self.close(time, EndReason::Redacted, None);
            self.current = None;
        }
    }

    /// Applies the sticky statement at index `at`, if it is the current one of its key. By MSC4354
    /// that is the one whose stickiness ends last, by its unchanged origin time; ties are broken by
    /// event id. The others are rejected and have no effect while the current one exists.
    fn apply_sticky(&mut self, statements: &[Statement<'a>], at: usize) {
        let statement = &statements[at];
        self.candidates
            .insert(sticky_key(statement, self.rules), at);

        if self.winner(statements, statement.time) == Some(at) {
            self.apply_statement(statement, statement.time);
        } else {
            self.rejected
                .push((statement.event.event_id.clone(), "loses_to_longer"));
        }
    }

    /// The index of the statement that is current at `time`, ms; `None` if none is sticky any more.
    /// Each expired statement is removed once, so the total cost is small.
    fn winner(&mut self, statements: &[Statement<'a>], time: i64) -> Option<usize> {
        while let Some(last) = self.candidates.last_entry() {
            if sticky_until(&statements[*last.get()], self.rules) > time {
                return Some(*last.get());
            }

            last.remove();
        }

        None
    }

    /// Takes the sticky statement at index `at`, redacted at `time`, ms, out of the contest. If it
    /// was the current one, the next one becomes current (matrix-js-sdk does the same); if there is
    /// none, the stay ends.
    fn redact_sticky(&mut self, statements: &[Statement<'a>], at: usize, time: i64) {
        let was_current = self.winner(statements, time) == Some(at);
        self.candidates
            .remove(&sticky_key(&statements[at], self.rules));
        if !was_current {
            return;
        }

        if let Some(next) = self.winner(statements, time) {
            self.apply_statement(&statements[next], time);
        } else {
            self.close(time, EndReason::Redacted, None);
            self.current = None;
        }
    }
}

/// How long the event of a statement is sticky, ms, cut to the maximum of the rules.
fn sticky_length(statement: &Statement, rules: &Rules) -> i64 {
    statement
        .event
        .sticky_ms
        .unwrap_or(0)
        .min(rules.sticky_max_ms)
}

/// Until when a statement is sticky, ms, from the time at which we count it: it is over for us
/// then. Who wins, the unchanged origin time decides ([`sticky_key`]), since all clients know that.
fn sticky_until(statement: &Statement, rules: &Rules) -> i64 {
    add_within_calendar(statement.time, sticky_length(statement, rules))
}

/// The sort key of a sticky statement: the end of its stickiness by its unchanged origin time, ms,
/// and its event id.
fn sticky_key<'a>(statement: &Statement<'a>, rules: &Rules) -> (i64, &'a str) {
    let unchanged_end = add_within_calendar(
        statement.event.origin_server_ts,
        sticky_length(statement, rules),
    );

    (unchanged_end, &statement.event.event_id)
}

/// Does this join belong to the slot, device and sender of the stay? A sticky event without a
/// device fits any device.
fn is_same_place(member: &Membership, join: &Join, event: &RoomEvent) -> bool {
    let unnamed =
        join.format == Format::Sticky && (member.device_id.is_none() || join.device_id.is_none());

    member.slot == join.slot
        && member.user_id == event.sender
        && (unnamed || member.device_id == join.device_id)
}
