//! Memberships: derived from events, replaced chain by chain; read by call.

use super::chains::Spans;
use super::row::{Member, Viewer};
use super::{Error, Store, Tx, clean};
use crate::rtc::membership::Membership;
use crate::rtc::session::server_of;
use crate::rtc::transport::{Selection, Transport};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

const OF_CHAIN: &str = "select * from memberships where room_id = $1 and chain = $2";
const DELETE: &str = "delete from memberships where id = $1 and room_id = $2";

/// Replaces the memberships of one chain since its seal where they differ, and widens the spans of the slots
/// concerned.
pub(super) async fn replace(
    tx: &mut Tx,
    room_id: &str,
    chain: &str,
    cut: i64,
    members: &[Membership],
    spans: &mut Spans,
) -> Result<(), Error> {
    let rows = sqlx::query(OF_CHAIN).bind(room_id).bind(chain).fetch_all(&mut **tx).await?;
    let mut old: BTreeMap<String, Facts> = BTreeMap::new();
    for row in &rows {
        let facts = Facts::read(row)?;
        if facts.joined_ms >= cut {
            old.insert(row.try_get("id")?, facts);
        }
    }
    for member in members {
        let id = row_id(room_id, member);
        let new = Facts::of(room_id, member);
        match old.remove(&id) {
            Some(known) if known == new => continue,
            Some(known) => known.widen(spans),
            None => {}
        }
        new.widen(spans);
        write(tx, &id, &new).await?;
    }
    for (id, gone) in old {
        gone.widen(spans);
        sqlx::query(DELETE).bind(id).bind(room_id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Ids are natural within a room; with the room they are so everywhere.
fn row_id(room_id: &str, member: &Membership) -> String {
    crate::rtc::id::hash(&[room_id, &member.id], 12)
}

/// All columns but the id and the session.
#[derive(Debug, PartialEq)]
struct Facts {
    room_id: String,
    chain: String,
    slot_id: String,
    user_id: String,
    device_id: Option<String>,
    kind: String,
    joined_ms: i64,
    until_ms: i64,
    end_reason: String,
    updates: i64,
    join_event_id: String,
    end_event_id: Option<String>,
    resumed: i64,
    claimed: i64,
    intent: Option<String>,
    transport_type: Option<String>,
    transport_url: Option<String>,
    selection: String,
}

impl Facts {
    fn of(room_id: &str, member: &Membership) -> Self {
        let transport = member.transport.as_ref();
        Self {
            room_id: room_id.to_owned(),
            chain: member.chain.clone(),
            slot_id: clean(member.slot.as_str()),
            user_id: member.user_id.clone(),
            device_id: member.device_id.as_deref().map(clean),
            kind: member.format.as_str().to_owned(),
            joined_ms: member.joined_ms,
            until_ms: member.until_ms,
            end_reason: member.end_reason.as_str().to_owned(),
            updates: i64::from(member.updates),
            join_event_id: member.join_event_id.clone(),
            end_event_id: member.end_event_id.clone(),
            resumed: i64::from(member.resumed),
            claimed: i64::from(member.claimed),
            intent: member.intent.as_deref().map(clean),
            transport_type: transport.map(|transport| clean(&transport.kind)),
            transport_url: transport.and_then(|transport| transport.service_url.as_deref()).map(clean),
            selection: member.selection.as_str().to_owned(),
        }
    }

    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            room_id: row.try_get("room_id")?,
            chain: row.try_get("chain")?,
            slot_id: row.try_get("slot_id")?,
            user_id: row.try_get("user_id")?,
            device_id: row.try_get("device_id")?,
            kind: row.try_get("kind")?,
            joined_ms: row.try_get("joined_ms")?,
            until_ms: row.try_get("until_ms")?,
            end_reason: row.try_get("end_reason")?,
            updates: row.try_get("updates")?,
            join_event_id: row.try_get("join_event_id")?,
            end_event_id: row.try_get("end_event_id")?,
            resumed: row.try_get("resumed")?,
            claimed: row.try_get("claimed")?,
            intent: row.try_get("intent")?,
            transport_type: row.try_get("transport_type")?,
            transport_url: row.try_get("transport_url")?,
            selection: row.try_get("selection")?,
        })
    }

    fn widen(&self, spans: &mut Spans) {
        let span = spans.entry(self.slot_id.clone()).or_insert((self.joined_ms, self.until_ms));
        *span = (span.0.min(self.joined_ms), span.1.max(self.until_ms));
    }
}

const WRITE: &str = "insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind, joined_ms,
        until_ms, end_reason, updates, join_event_id, end_event_id, resumed, claimed, intent, transport_type,
        transport_url, selection)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
    on conflict (id) do update set slot_id = excluded.slot_id, user_id = excluded.user_id,
        device_id = excluded.device_id, server = excluded.server, kind = excluded.kind, joined_ms = excluded.joined_ms,
        until_ms = excluded.until_ms, end_reason = excluded.end_reason, updates = excluded.updates,
        join_event_id = excluded.join_event_id, end_event_id = excluded.end_event_id, resumed = excluded.resumed,
        claimed = excluded.claimed, intent = excluded.intent, transport_type = excluded.transport_type,
        transport_url = excluded.transport_url, selection = excluded.selection";

async fn write(tx: &mut Tx, id: &str, facts: &Facts) -> Result<(), Error> {
    sqlx::query(WRITE)
        .bind(id)
        .bind(&facts.room_id)
        .bind(&facts.chain)
        .bind(&facts.slot_id)
        .bind(&facts.user_id)
        .bind(&facts.device_id)
        .bind(server_of(&facts.user_id))
        .bind(&facts.kind)
        .bind(facts.joined_ms)
        .bind(facts.until_ms)
        .bind(&facts.end_reason)
        .bind(facts.updates)
        .bind(&facts.join_event_id)
        .bind(&facts.end_event_id)
        .bind(facts.resumed)
        .bind(facts.claimed)
        .bind(&facts.intent)
        .bind(&facts.transport_type)
        .bind(&facts.transport_url)
        .bind(&facts.selection)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

const OF_SESSIONS: &str = "select m.*, p.name as person from memberships m
    left join people p on p.room_id = m.room_id and p.user_id = m.user_id
    where m.session_id in ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
    order by m.session_id, m.joined_ms, m.user_id, m.device_id, m.id";

/// The members of these calls, by call, then by `joined_ms`, user and device.
///
/// # Errors
/// When the database fails.
pub async fn of(store: &Store, viewer: Viewer, session_ids: &[String]) -> Result<Vec<Member>, Error> {
    let Viewer::Operator = viewer;
    let mut members = Vec::new();
    for ids in session_ids.chunks(16) {
        let query = (0..16).fold(sqlx::query(OF_SESSIONS), |query, at| query.bind(ids.get(at)));
        for row in query.fetch_all(&store.read).await? {
            members.push(member(&row)?);
        }
    }
    Ok(members)
}

fn member(row: &AnyRow) -> Result<Member, Error> {
    let kind: Option<String> = row.try_get("transport_type")?;
    let service_url: Option<String> = row.try_get("transport_url")?;
    let flag = |name: &str| row.try_get::<i64, _>(name).map(|number| number != 0);
    Ok(Member {
        id: row.try_get("id")?,
        session_id: row.try_get("session_id")?,
        user_id: row.try_get("user_id")?,
        name: row.try_get("person")?,
        device_id: row.try_get("device_id")?,
        server: row.try_get("server")?,
        kind: row.try_get("kind")?,
        joined_ms: row.try_get("joined_ms")?,
        until_ms: row.try_get("until_ms")?,
        end_reason: row.try_get("end_reason")?,
        updates: row.try_get("updates")?,
        join_event_id: row.try_get("join_event_id")?,
        resumed: flag("resumed")?,
        claimed: flag("claimed")?,
        intent: row.try_get("intent")?,
        transport: kind.map(|kind| Transport { kind, service_url }),
        selection: Selection::from_word(row.try_get("selection")?),
    })
}

const ENDED: &str = "select distinct room_id, slot_id from memberships where until_ms > $1 and until_ms <= $2";

/// Rooms and slots in which a membership ended in `(from, to]`, ms; for the announcement of expiry.
///
/// # Errors
/// When the database fails.
pub async fn ended_between(store: &Store, from: i64, to: i64) -> Result<Vec<(String, String)>, Error> {
    Ok(sqlx::query_as(ENDED).bind(from).bind(to).fetch_all(&store.read).await?)
}
