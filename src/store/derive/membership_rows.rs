//! The stored rows of memberships: written member key by member key, read again for the next
//! change.

use super::checkpoints::{self, KeySpan};
use super::pseudonyms::{self, Person};
use super::{dirty, stale_findings};
use crate::rtc::membership::Membership;
use crate::store::db::json_row::read_rows;
use crate::store::db::multi_row::{MultiRow, Statement};
use crate::store::stored_membership::{
    MembershipRow, WRITE_MEMBERSHIPS, bind_membership, membership_as_stored, membership_from_row,
};
use crate::store::{Error, Tx};
use std::collections::BTreeMap;

/// A membership as it is stored (`old`, `None` = not stored) and as it will be (`new`, `None` = it
/// will be deleted).
#[derive(Debug)]
pub(in crate::store) struct MembershipChange {
    id: String,
    pub old: Option<Membership>,
    pub new: Option<Membership>,
}

impl MembershipChange {
    /// The change of a membership that is stored as `old`. It will be deleted unless
    /// [`Self::replace_with`] or [`Self::keep`] says otherwise.
    pub fn new_change(id: &str, old: Option<Membership>) -> Self {
        Self {
            id: id.to_owned(),
            old,
            new: None,
        }
    }

    /// Says that the membership will be this one.
    pub fn replace_with(&mut self, member: &Membership) {
        self.new = Some(membership_as_stored(&self.id, member));
    }

    /// Keeps the membership as it is stored.
    pub fn keep(&mut self) {
        self.new.clone_from(&self.old);
    }

    /// The id of the membership's row.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The spans in which this changes what the calls of a slot consist of: slot, from and to, ms.
    /// If only the end of a stay moves, this is one span, between its old and its new end. In all
    /// other cases it is the whole stay as it was and the whole stay as it is now, as far as they
    /// exist. The device must be the same too, because a renewal can name the device of a stay
    /// that had no name for it: this changes the whole stay.
    pub fn spans(&self) -> impl Iterator<Item = (&str, i64, i64)> {
        let both = self.old.as_ref().zip(self.new.as_ref());
        let both = both.filter(|(old, new)| {
            old.slot == new.slot
                && old.joined_ms == new.joined_ms
                && old.has_length()
                && new.has_length()
                && old.join_event_id == new.join_event_id
                && old.device_key() == new.device_key()
        });
        let end = both.map(|(old, new)| {
            (
                old.until_ms.min(new.until_ms),
                old.until_ms.max(new.until_ms),
            )
        });
        let whole = move |member: &Membership| end.unwrap_or((member.joined_ms, member.until_ms));
        let old = self.old.iter().filter(move |_| end.is_none());

        old.chain(&self.new)
            .map(move |member| (member.slot.as_str(), whole(member).0, whole(member).1))
    }

    /// Does the membership really change?
    pub fn is_one(&self) -> bool {
        self.old != self.new
    }
}

static OPENED: MultiRow = MultiRow::new(
    "with asked(chain, from_ms, to_ms) as (values ",
    "(cast(? as text), cast(? as bigint), cast(? as bigint))",
    sql!(
        ") select (select ",
        MembershipRow::LIST,
        " from memberships m where m.room_id = $1 and m.chain = a.chain and m.opened_ms >= a.from_ms
            and m.opened_ms < a.to_ms)
        from asked a where a.chain is not null"
    ),
);

/// The stored memberships of these member keys that began to count within the span of their key,
/// the end of which is excluded.
pub(in crate::store) async fn memberships_opened_within(
    tx: &mut Tx,
    room_id: &str,
    spans: &[KeySpan<'_>],
) -> Result<Vec<Membership>, Error> {
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let rows = OPENED
        .read(tx, spans, shared, checkpoints::bind_key_span)
        .await?;
    read_rows(&rows, membership_from_row)
}

static SOME: MultiRow = MultiRow::new(
    sql!(
        "select ",
        MembershipRow::LIST,
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
) -> Result<Vec<Membership>, Error> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let rows = SOME.look_up(tx, room_id, &ids).await?;
    read_rows(&rows, membership_from_row)
}

static DELETE: MultiRow = MultiRow::new("delete from memberships where id in (", "?", ")");

/// For each membership that changes its session: the new session, or `None` if it has none; by row
/// id.
pub(super) type SessionAssignments = BTreeMap<String, Option<String>>;

/// Writes the changed memberships and deletes those that are gone. `assigned` says which session
/// each membership belongs to; it may name unchanged memberships as well.
pub(in crate::store) async fn write_memberships(
    tx: &mut Tx,
    room_id: &str,
    changes: &[MembershipChange],
    mut assigned: SessionAssignments,
) -> Result<(), Error> {
    let members = changes
        .iter()
        .flat_map(|change| change.old.iter().chain(&change.new));
    let spans: Vec<(i64, i64)> = members
        .map(|member| (member.joined_ms, member.until_ms))
        .collect();
    dirty::discard_day_totals(tx, &spans).await?;
    stale_findings::discard_findings(tx, room_id, &spans).await?;
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
    let mut rows: Vec<(&Membership, Option<String>)> = Vec::with_capacity(changes.len());
    for change in changes {
        let session = assigned.remove(&change.id).flatten();
        rows.extend(change.new.as_ref().map(|new| (new, session)));
    }

    let shared = |query: Statement| query.bind(room_id.to_owned());
    let bind = |query: Statement, row: &(&Membership, Option<String>)| {
        let (member, session) = row;
        bind_membership(query.bind(session.clone()), member)
    };

    WRITE_MEMBERSHIPS.write(tx, &rows, shared, bind).await?;
    let named = changes.iter().filter(|change| {
        let device =
            |member: &Option<Membership>| member.as_ref().map(|member| member.device_id.clone());
        device(&change.old) != device(&change.new)
    });
    let people = named
        .filter_map(|change| change.new.as_ref())
        .flat_map(people_of_membership)
        .collect();
    pseudonyms::add_pseudonyms(tx, room_id, &people).await?;

    assign_sessions(tx, assigned).await
}

/// The person of a membership, and the device.
fn people_of_membership(member: &Membership) -> [Person<'_>; 2] {
    let of_device = |device_id| Person {
        user_id: &member.user_id,
        device_id,
    };

    [
        of_device(""),
        of_device(member.device_id.as_deref().unwrap_or_default()),
    ]
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

/// The id of a membership's row. The fold's own ids are unique within a room; together with the
/// room id they are unique everywhere.
pub(super) fn row_id(room_id: &str, member_id: &str) -> String {
    crate::rtc::id::hash(&[room_id, member_id], 12)
}
