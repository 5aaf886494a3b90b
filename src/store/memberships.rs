//! Memberships: derived from events, replaced member key by member key, read by call.

use super::checkpoints::{self, Span};
use super::days;
use super::packed::{Fields, unpack};
use super::row::{Member, Viewer};
use super::rows::{Rows, Statement};
use super::{Error, Store, Tx, clean};
use crate::rtc::membership::Membership;
use crate::rtc::session::{Stay, server_of};
use crate::rtc::transport::{Selection, Transport};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A membership as it is stored and as it will be.
#[derive(Debug)]
pub(super) struct Change {
    id: String,
    pub old: Option<Facts>,
    pub new: Option<Facts>,
}

impl Change {
    /// A stored membership. It is deleted unless a new state is set.
    pub fn new_change(id: &str, old: Option<Facts>) -> Self {
        Self {
            id: id.to_owned(),
            old,
            new: None,
        }
    }

    pub fn replace_with(&mut self, room_id: &str, member: &Membership) {
        self.new = Some(Facts::facts_of_membership(room_id, member));
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
        let longer = |facts: &Facts| facts.until_ms > facts.joined_ms;
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
        let whole = move |facts: &Facts| end.unwrap_or((facts.joined_ms, facts.until_ms));
        let old = self.old.iter().filter(move |_| end.is_none());

        old.chain(&self.new)
            .map(move |facts| (facts.slot_id.as_str(), whole(facts).0, whole(facts).1))
    }

    pub fn is_one(&self) -> bool {
        self.old != self.new
    }
}

/// The columns of [`Facts::read`].
macro_rules! facts {
    () => {
        packed!(text "m.id", text "m.chain", text "m.slot_id", text "m.user_id", text "m.device_id", text "m.kind",
            number "m.joined_ms", number "m.opened_ms", number "m.until_ms", text "m.end_reason", number "m.updates",
            text "m.join_event_id", text "m.end_event_id", number "m.resumed", number "m.claimed", text "m.intent",
            text "m.transport_type", text "m.transport_url", text "m.selection", number "m.back_since_ms",
            number "m.outlived_ms")
    };
}

static OPENED: Rows = Rows::new(
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
pub(super) async fn opened(
    tx: &mut Tx,
    room_id: &str,
    spans: &[Span<'_>],
) -> Result<Vec<(String, Facts)>, Error> {
    let shared = |query: Statement| query.bind(room_id.to_owned());
    let rows = OPENED.read(tx, spans, shared, checkpoints::bind).await?;
    unpack(&rows, |fields| Facts::read(room_id, fields))
}

static SOME: Rows = Rows::new(
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
) -> Result<Vec<(String, Facts)>, Error> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let rows = SOME.look_up(tx, room_id, &ids).await?;
    unpack(&rows, |fields| Facts::read(room_id, fields))
}

static DELETE: Rows = Rows::new("delete from memberships where id in (", "?", ")");
static WRITE: Rows = Rows::new(
    "insert into memberships (id, session_id, room_id, chain, slot_id, user_id, device_id, server, kind, joined_ms,
        opened_ms, until_ms, end_reason, updates, join_event_id, end_event_id, resumed, claimed, intent,
        transport_type, transport_url, selection, back_since_ms, outlived_ms) values ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " on conflict (id) do update set session_id = excluded.session_id, slot_id = excluded.slot_id,
        user_id = excluded.user_id, device_id = excluded.device_id, server = excluded.server, kind = excluded.kind,
        joined_ms = excluded.joined_ms, opened_ms = excluded.opened_ms, until_ms = excluded.until_ms,
        end_reason = excluded.end_reason, updates = excluded.updates, join_event_id = excluded.join_event_id,
        end_event_id = excluded.end_event_id, resumed = excluded.resumed, claimed = excluded.claimed,
        intent = excluded.intent, transport_type = excluded.transport_type, transport_url = excluded.transport_url,
        selection = excluded.selection, back_since_ms = excluded.back_since_ms, outlived_ms = excluded.outlived_ms",
);

/// For each membership that changes its session: the new session, or `None` if it has none; by row
/// id.
pub(super) type Assigned = BTreeMap<String, Option<String>>;

/// Writes the changed memberships, and which session each belongs to.
pub(super) async fn write(
    tx: &mut Tx,
    changes: &[Change],
    mut assigned: Assigned,
) -> Result<(), Error> {
    let facts = changes
        .iter()
        .flat_map(|change| change.old.iter().chain(&change.new));
    let spans: Vec<(i64, i64)> = facts
        .map(|facts| (facts.joined_ms, facts.until_ms))
        .collect();
    days::take_out(tx, &spans).await?;
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
    let mut rows: Vec<(&str, &Facts, Option<String>)> = Vec::with_capacity(changes.len());
    for change in changes {
        let session = assigned.remove(&change.id).flatten();
        rows.extend(
            change
                .new
                .as_ref()
                .map(|new| (change.id.as_str(), new, session)),
        );
    }

    let bind = |query: Statement, (id, facts, session): &(&str, &Facts, Option<String>)| {
        facts.bind(query.bind((*id).to_owned()).bind(session.clone()))
    };

    WRITE.write(tx, &rows, |query| query, bind).await?;

    assign(tx, assigned).await
}

static ASSIGN: Rows = Rows::new(
    "update memberships set session_id = $1 where id in (",
    "?",
    ")",
);

/// Writes which session each membership belongs to.
pub(super) async fn assign(tx: &mut Tx, assigned: Assigned) -> Result<(), Error> {
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
pub(super) struct Facts {
    pub room_id: String,
    pub chain: String,
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

impl Facts {
    fn facts_of_membership(room_id: &str, member: &Membership) -> Self {
        let transport = member.transport.as_ref();
        Self {
            room_id: room_id.to_owned(),
            chain: member.chain.clone(),
            slot_id: clean(member.slot.as_str()),
            user_id: member.user_id.clone(),
            device_id: member.device_id.as_deref().map(clean),
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
            intent: member.intent.as_deref().map(clean),
            transport_type: transport.map(|transport| clean(&transport.kind)),
            transport_url: transport.and_then(Transport::stated).map(clean),
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
            chain: fields.some_text()?,
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
        self.device_id.as_deref().unwrap_or(&self.chain)
    }

    /// The part that counts towards a session; `None` if it has no length.
    pub fn stay(&self, id: &str) -> Option<Stay> {
        (self.until_ms > self.joined_ms).then(|| Stay {
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
            .bind(self.chain.clone())
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

/// Is `e` the event of the room, not of the call, that ended the stay `m`: did its user leave the
/// room, or was the user removed?
macro_rules! ended_by_the_room {
    () => {
        "m.end_reason in ('room_left', 'room_kicked', 'room_banned') and e.chain is null and e.room_id = m.room_id
            and e.kind = 'm.room.member' and e.state_key = m.user_id and e.time_ms = m.until_ms"
    };
}
pub(super) use ended_by_the_room;

macro_rules! members {
    ($which:literal) => {
        concat!(
            "select ",
            packed!(text "m.id", text "m.session_id", text "m.user_id", text "p.name", text "m.device_id", text "m.server",
                text "m.kind", number "m.joined_ms", number "m.until_ms", text "m.end_reason", number "m.updates",
                text "m.join_event_id", text "m.ended_by", number "m.resumed", number "m.claimed", text "m.intent",
                text "m.transport_type", text "m.transport_url", text "m.selection", number "m.back_since_ms",
                number "m.outlived_ms"),
            " from (select m.*, coalesce(m.end_event_id, (select max(e.event_id) from events e where ",
            ended_by_the_room!(),
            ")) as ended_by from memberships m where ",
            $which
        )
    };
}

const WITH_NAMES: &str =
    ")) as m left join people p on p.room_id = m.room_id and p.user_id = m.user_id";
pub(super) static OF_SESSIONS: Rows = Rows::new(members!("m.session_id in ("), "?", WITH_NAMES);
pub(super) static BY_ID: Rows = Rows::new(members!("m.id in ("), "?", WITH_NAMES);

/// A stay that ended with a goodbye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedStay {
    pub call_id: String,
    pub ended_ms: i64,
    pub end_event_id: Option<String>,
}

pub(super) const ENDED_BEFORE: &str = "select p.session_id, p.until_ms, p.end_event_id from events e
    join memberships p on p.room_id = e.room_id and p.chain = e.chain
    where e.event_id = $1 and e.room_id = $2 and p.until_ms <= $3 and p.end_reason in ('left', 'delayed_leave')
    order by p.opened_ms desc limit 1";

/// The stay of the same key that had ended with a goodbye when another one began with this event,
/// at `joined_ms`.
///
/// # Errors
/// When the database fails.
pub async fn ended_before(
    store: &Store,
    viewer: Viewer,
    room_id: &str,
    join_event_id: &str,
    joined_ms: i64,
) -> Result<Option<EndedStay>, Error> {
    let Viewer::Operator = viewer;
    let query = sqlx::query(ENDED_BEFORE)
        .bind(join_event_id)
        .bind(room_id)
        .bind(joined_ms);
    let row = query.fetch_optional(&store.read).await?;
    let stay = |row: AnyRow| {
        Ok(EndedStay {
            call_id: row.try_get("session_id")?,
            ended_ms: row.try_get("until_ms")?,
            end_event_id: row.try_get("end_event_id")?,
        })
    };

    row.map(stay).transpose()
}

/// The members of these calls, by call, then by `joined_ms`, user and device.
///
/// # Errors
/// When the database fails.
pub async fn members_of_calls(
    store: &Store,
    viewer: Viewer,
    session_ids: &[String],
) -> Result<Vec<Member>, Error> {
    read(store, viewer, &OF_SESSIONS, session_ids).await
}

/// These members, in the same order.
///
/// # Errors
/// When the database fails.
pub async fn by_id(store: &Store, viewer: Viewer, ids: &[String]) -> Result<Vec<Member>, Error> {
    read(store, viewer, &BY_ID, ids).await
}

async fn read(
    store: &Store,
    viewer: Viewer,
    statement: &'static Rows,
    ids: &[String],
) -> Result<Vec<Member>, Error> {
    let Viewer::Operator = viewer;
    let mut connection = store.read.acquire().await?;
    let mut members = unpack(&statement.read_by_ids(&mut connection, ids).await?, member)?;
    members.sort_by(|one, other| {
        (
            &one.session_id,
            one.joined_ms,
            &one.user_id,
            &one.device_id,
            &one.id,
        )
            .cmp(&(
                &other.session_id,
                other.joined_ms,
                &other.user_id,
                &other.device_id,
                &other.id,
            ))
    });

    Ok(members)
}

fn member(fields: &mut Fields<'_>) -> Result<Member, Error> {
    let id = fields.some_text()?;
    let session_id = fields.some_text()?;
    let user_id = fields.some_text()?;
    let name = fields.maybe_text()?;
    let device_id = fields.maybe_text()?;
    let server = fields.some_text()?;

    Ok(Member {
        id,
        session_id,
        user_id,
        name,
        device_id,
        kind: fields.some_text()?,
        joined_ms: fields.some_number()?,
        until_ms: fields.some_number()?,
        end_reason: fields.some_text()?,
        updates: fields.some_number()?,
        join_event_id: fields.some_text()?,
        end_event_id: fields.maybe_text()?,
        resumed: fields.some_number()? != 0,
        claimed: fields.some_number()? != 0,
        intent: fields.maybe_text()?,
        transport: transport(fields.maybe_text()?, fields.maybe_text()?, &server),
        selection: Selection::from_word(&fields.some_text()?),
        back_since_ms: fields.number()?,
        outlived_ms: fields.number()?,
        server,
    })
}

fn transport(kind: Option<String>, address: Option<String>, server: &str) -> Option<Transport> {
    kind.map(|kind| Transport::stored(kind, address, server))
}

const ENDED: &str =
    "select distinct room_id, slot_id from memberships where until_ms > $1 and until_ms <= $2";

/// Rooms and slots in which a membership ended in `(from, to]`, ms; for the announcement of expiry.
///
/// # Errors
/// When the database fails.
pub async fn ended_between(
    store: &Store,
    from: i64,
    to: i64,
) -> Result<Vec<(String, String)>, Error> {
    Ok(sqlx::query_as(ENDED)
        .bind(from)
        .bind(to)
        .fetch_all(&store.read)
        .await?)
}
