//! The stored rows of memberships: written member key by member key, read again for the next
//! change.

use super::checkpoints::{self, KeySpan};
use super::dirty;
use crate::rtc::event::replace_nul;
use crate::rtc::id::server_of;
use crate::rtc::membership::Membership;
use crate::rtc::session::CountedStay;
use crate::rtc::transport::Transport;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::db::packed::{Fields, unpack};
use crate::store::{Error, Tx};
use std::collections::BTreeMap;

/// A membership as it is stored and as it will be.
#[derive(Debug)]
pub(in crate::store) struct MembershipChange {
    id: String,
    pub old: Option<MembershipColumns>,
    pub new: Option<MembershipColumns>,
}

impl MembershipChange {
    /// A stored membership. It is deleted unless a new state is set.
    pub fn new_change(id: &str, old: Option<MembershipColumns>) -> Self {
        Self {
            id: id.to_owned(),
            old,
            new: None,
        }
    }

    pub fn replace_with(&mut self, room_id: &str, member: &Membership) {
        self.new = Some(MembershipColumns::facts_of_membership(room_id, member));
    }

    /// Keeps the membership as it is stored.
    pub fn keep(&mut self) {
        self.new.clone_from(&self.old);
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The spans in which this changes what the calls of a slot consist of: slot, from and to, ms.
    /// If only the end of a stay of the same device moves, the span is between its old and its new
    /// end. A renewal can name the device of a stay that had no name for it.
    pub fn spans(&self) -> impl Iterator<Item = (&str, i64, i64)> {
        let both = self.old.as_ref().zip(self.new.as_ref());
        let both =
            both.filter(|(old, new)| old.slot_id == new.slot_id && old.joined_ms == new.joined_ms);
        let longer = |facts: &MembershipColumns| facts.until_ms > facts.joined_ms;
        let both = both.filter(|(old, new)| {
            longer(old)
                && longer(new)
                && old.join_event_id == new.join_event_id
                && old.user_id == new.user_id
                && old.device() == new.device()
        });
        let end = both.map(|(old, new)| {
            (
                old.until_ms.min(new.until_ms),
                old.until_ms.max(new.until_ms),
            )
        });
        let whole =
            move |facts: &MembershipColumns| end.unwrap_or((facts.joined_ms, facts.until_ms));
        let old = self.old.iter().filter(move |_| end.is_none());

        old.chain(&self.new)
            .map(move |facts| (facts.slot_id.as_str(), whole(facts).0, whole(facts).1))
    }

    pub fn is_one(&self) -> bool {
        self.old != self.new
    }
}

/// The columns of [`MembershipColumns::read`].
macro_rules! facts {
    () => {
        packed!(text "m.id", text "m.chain", text "m.slot_id", text "m.user_id",
            text "m.device_id", text "m.kind", number "m.joined_ms", number "m.opened_ms",
            number "m.until_ms", text "m.end_reason", number "m.updates", text "m.join_event_id",
            text "m.end_event_id", number "m.resumed", number "m.claimed", text "m.intent",
            text "m.transport_type", text "m.transport_url", text "m.selection",
            number "m.back_since_ms", number "m.outlived_ms")
    };
}

static OPENED: MultiRow = MultiRow::new(
    "with asked(chain, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    concat!(
        ") select (select ",
        facts!(),
        " from memberships m where m.room_id = $1 and m.chain = a.chain and m.opened_ms >= a.from_ms
            and m.opened_ms < a.to_ms)
        from asked a where a.chain is not null"
    ),
);

/// The stored memberships of member keys that began to count in a span of time, by row id.
pub(in crate::store) async fn memberships_opened_within(
    tx: &mut Tx,
    room_id: &str,
    spans: &[KeySpan<'_>],
) -> Result<Vec<(String, MembershipColumns)>, Error> {
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let rows = OPENED
        .read(tx, spans, shared, checkpoints::bind_key_span)
        .await?;
    unpack(&rows, |fields| MembershipColumns::read(room_id, fields))
}

static SOME: MultiRow = MultiRow::new(
    concat!(
        "select ",
        facts!(),
        " from memberships m where m.room_id || '' = $1 and m.id in ("
    ),
    "?",
    ")",
);

/// The memberships with these row ids, as far as they are stored.
pub(super) async fn read_by_row_ids(
    tx: &mut Tx,
    room_id: &str,
    ids: &[String],
) -> Result<Vec<(String, MembershipColumns)>, Error> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let rows = SOME.look_up(tx, room_id, &ids).await?;
    unpack(&rows, |fields| MembershipColumns::read(room_id, fields))
}

static DELETE: MultiRow = MultiRow::new("delete from memberships where id in (", "?", ")");
static WRITE: MultiRow = MultiRow::new(
    "insert into memberships (id, session_id, room_id, chain, slot_id, user_id, device_id, server,
        kind, joined_ms, opened_ms, until_ms, end_reason, updates, join_event_id, end_event_id,
        resumed, claimed, intent, transport_type, transport_url, selection, back_since_ms,
        outlived_ms) values ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " on conflict (id) do update set session_id = excluded.session_id, slot_id = excluded.slot_id,
        user_id = excluded.user_id, device_id = excluded.device_id, server = excluded.server,
        kind = excluded.kind, joined_ms = excluded.joined_ms, opened_ms = excluded.opened_ms,
        until_ms = excluded.until_ms, end_reason = excluded.end_reason, updates = excluded.updates,
        join_event_id = excluded.join_event_id, end_event_id = excluded.end_event_id,
        resumed = excluded.resumed, claimed = excluded.claimed, intent = excluded.intent,
        transport_type = excluded.transport_type, transport_url = excluded.transport_url,
        selection = excluded.selection, back_since_ms = excluded.back_since_ms,
        outlived_ms = excluded.outlived_ms",
);

/// For each membership that changes its session: the new session, or `None` if it has none; by row
/// id.
pub(super) type SessionAssignments = BTreeMap<String, Option<String>>;

/// Writes the changed memberships, and which session each belongs to.
pub(in crate::store) async fn write_memberships(
    tx: &mut Tx,
    changes: &[MembershipChange],
    mut assigned: SessionAssignments,
) -> Result<(), Error> {
    let facts = changes
        .iter()
        .flat_map(|change| change.old.iter().chain(&change.new));
    let spans: Vec<(i64, i64)> = facts
        .map(|facts| (facts.joined_ms, facts.until_ms))
        .collect();
    dirty::discard_day_totals(tx, &spans).await?;
    let gone = changes
        .iter()
        .filter(|change| change.new.is_none() && change.old.is_some());
    let gone: Vec<&str> = gone.map(|change| change.id.as_str()).collect();
    DELETE
        .write(
            tx,
            &gone,
            |query| query,
            |query, id| query.bind((*id).to_owned()),
        )
        .await?;
    let mut rows: Vec<(&str, &MembershipColumns, Option<String>)> =
        Vec::with_capacity(changes.len());
    for change in changes {
        let session = assigned.remove(&change.id).flatten();
        rows.extend(
            change
                .new
                .as_ref()
                .map(|new| (change.id.as_str(), new, session)),
        );
    }

    let bind = |query: Statement,
                (id, facts, session): &(&str, &MembershipColumns, Option<String>)| {
        facts.bind(query.bind((*id).to_owned()).bind(session.clone()))
    };

    WRITE.write(tx, &rows, |query| query, bind).await?;

    assign_sessions(tx, assigned).await
}

static ASSIGN: MultiRow = MultiRow::new(
    "update memberships set session_id = $1 where id in (",
    "?",
    ")",
);

/// Writes which session each membership belongs to.
pub(super) async fn assign_sessions(
    tx: &mut Tx,
    assigned: SessionAssignments,
) -> Result<(), Error> {
    let mut sessions: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
    for (id, session) in assigned {
        sessions.entry(session).or_default().push(id);
    }

    for (session, ids) in sessions {
        let shared = |query: Statement| query.bind(session.clone());
        ASSIGN
            .write(tx, &ids, shared, |query, id| query.bind(id.clone()))
            .await?;
    }

    Ok(())
}

/// Ids are unique within a room; together with the room id they are unique everywhere.
pub(super) fn row_id(room_id: &str, member_id: &str) -> String {
    crate::rtc::id::hash(&[room_id, member_id], 12)
}

/// All columns but the id and the session.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) struct MembershipColumns {
    pub room_id: String,
    pub member_key: String,
    pub slot_id: String,
    pub user_id: String,
    pub device_id: Option<String>,
    kind: String,
    pub joined_ms: i64,
    opened_ms: i64,
    pub until_ms: i64,
    end_reason: String,
    updates: i64,
    join_event_id: String,
    end_event_id: Option<String>,
    resumed: i64,
    claimed: i64,
    pub intent: Option<String>,
    transport_type: Option<String>,
    transport_url: Option<String>,
    selection: String,
    back_since_ms: Option<i64>,
    outlived_ms: Option<i64>,
}

impl MembershipColumns {
    fn facts_of_membership(room_id: &str, member: &Membership) -> Self {
        let transport = member.transport.as_ref();
        Self {
            room_id: room_id.to_owned(),
            member_key: member.member_key.clone(),
            slot_id: replace_nul(member.slot.as_str()),
            user_id: member.user_id.clone(),
            device_id: member.device_id.as_deref().map(replace_nul),
            kind: member.format.as_str().to_owned(),
            joined_ms: member.joined_ms,
            opened_ms: member.opened_ms,
            until_ms: member.until_ms,
            end_reason: member.end_reason.as_str().to_owned(),
            updates: i64::from(member.updates),
            join_event_id: member.join_event_id.clone(),
            end_event_id: member.end_event_id.clone(),
            resumed: i64::from(member.resumed),
            claimed: i64::from(member.claimed),
            intent: member.intent.as_deref().map(replace_nul),
            transport_type: transport.map(|transport| replace_nul(&transport.kind)),
            transport_url: transport.and_then(Transport::stated).map(replace_nul),
            selection: member.selection.as_str().to_owned(),
            back_since_ms: member.back_since_ms,
            outlived_ms: member.outlived_ms,
        }
    }

    /// A membership of a room as it was packed, by row id.
    fn read(room_id: &str, fields: &mut Fields<'_>) -> Result<(String, Self), Error> {
        let id = fields.some_text()?;
        let facts = Self {
            room_id: room_id.to_owned(),
            member_key: fields.some_text()?,
            slot_id: fields.some_text()?,
            user_id: fields.some_text()?,
            device_id: fields.maybe_text()?,
            kind: fields.some_text()?,
            joined_ms: fields.some_number()?,
            opened_ms: fields.some_number()?,
            until_ms: fields.some_number()?,
            end_reason: fields.some_text()?,
            updates: fields.some_number()?,
            join_event_id: fields.some_text()?,
            end_event_id: fields.maybe_text()?,
            resumed: fields.some_number()?,
            claimed: fields.some_number()?,
            intent: fields.maybe_text()?,
            transport_type: fields.maybe_text()?,
            transport_url: fields.maybe_text()?,
            selection: fields.some_text()?,
            back_since_ms: fields.number()?,
            outlived_ms: fields.number()?,
        };

        Ok((id, facts))
    }

    /// Distinguishes devices, in the same way as `rtc`.
    pub fn device(&self) -> &str {
        self.device_id.as_deref().unwrap_or(&self.member_key)
    }

    /// The part that counts towards a session; `None` if it has no length.
    pub fn stay(&self, id: &str) -> Option<CountedStay> {
        (self.until_ms > self.joined_ms).then(|| CountedStay {
            id: id.to_owned(),
            user: self.user_id.clone(),
            device: self.device().to_owned(),
            joined_ms: self.joined_ms,
            until_ms: self.until_ms,
            join_event_id: self.join_event_id.clone(),
            resumed: self.resumed != 0,
            intent: self.intent.clone(),
        })
    }

    fn bind(&self, query: Statement) -> Statement {
        query
            .bind(self.room_id.clone())
            .bind(self.member_key.clone())
            .bind(self.slot_id.clone())
            .bind(self.user_id.clone())
            .bind(self.device_id.clone())
            .bind(server_of(&self.user_id).to_owned())
            .bind(self.kind.clone())
            .bind(self.joined_ms)
            .bind(self.opened_ms)
            .bind(self.until_ms)
            .bind(self.end_reason.clone())
            .bind(self.updates)
            .bind(self.join_event_id.clone())
            .bind(self.end_event_id.clone())
            .bind(self.resumed)
            .bind(self.claimed)
            .bind(self.intent.clone())
            .bind(self.transport_type.clone())
            .bind(self.transport_url.clone())
            .bind(self.selection.clone())
            .bind(self.back_since_ms)
            .bind(self.outlived_ms)
    }
}
