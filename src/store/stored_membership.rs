//! A membership as it is stored: its columns, written and read again. A field of [`Membership`]
//! that is to be kept has its place here and in a migration.

use super::Error;
use super::db::multi_row::{MultiRow, Statement};
use super::db::packed::Fields;
use crate::rtc::event::replace_nul;
use crate::rtc::id::server_of;
use crate::rtc::membership::Membership;
use crate::rtc::slot::SlotId;
use crate::rtc::transport::{Selection, Transport};

/// The columns of [`membership_from_fields`], of `memberships m`.
macro_rules! membership_columns {
    () => {
        row!(text "m.id", text "m.chain", text "m.slot_id", text "m.user_id", text "m.device_id",
            text "m.kind", number "m.joined_ms", number "m.opened_ms", number "m.until_ms",
            text "m.end_reason", number "m.updates", text "m.join_event_id",
            text "m.end_event_id", number "m.resumed", number "m.claimed", text "m.intent",
            text "m.transport_type", text "m.transport_url", text "m.selection",
            number "m.back_since_ms", number "m.outlived_ms")
    };
}
pub(in crate::store) use membership_columns;

/// A stored membership. Its id is that of its row.
pub(in crate::store) fn membership_from_fields(
    fields: &mut Fields<'_>,
) -> Result<Membership, Error> {
    let (id, member_key, slot) = (
        fields.some_text()?,
        fields.some_text()?,
        fields.some_text()?,
    );
    let user_id = fields.some_text()?;
    let server = server_of(&user_id).to_owned();

    Ok(Membership {
        id,
        member_key,
        slot: SlotId::from_text(&slot),
        user_id,
        device_id: fields.maybe_text()?,
        format: fields.word("kind")?,
        joined_ms: fields.some_number()?,
        opened_ms: fields.some_number()?,
        until_ms: fields.some_number()?,
        end_reason: fields.word("end_reason")?,
        updates: u32::try_from(fields.some_number()?).unwrap_or(u32::MAX),
        join_event_id: fields.some_text()?,
        end_event_id: fields.maybe_text()?,
        resumed: fields.some_number()? != 0,
        claimed: fields.some_number()? != 0,
        intent: fields.maybe_text()?,
        transport: transport_from_columns(fields.maybe_text()?, fields.maybe_text()?, &server),
        selection: Selection::from_word(&fields.some_text()?),
        back_since_ms: fields.number()?,
        outlived_ms: fields.number()?,
    })
}

fn transport_from_columns(
    kind: Option<String>,
    address: Option<String>,
    server: &str,
) -> Option<Transport> {
    kind.map(|kind| Transport::stored(kind, address, server))
}

/// A derived membership as it will be read again: with the id of its row, and with as much of its
/// texts and its transport as the columns hold. So it can be compared with a stored one.
pub(in crate::store) fn membership_as_stored(row_id: &str, member: &Membership) -> Membership {
    let transport = member.transport.as_ref();

    Membership {
        id: row_id.to_owned(),
        slot: SlotId::from_text(&replace_nul(member.slot.as_str())),
        device_id: member.device_id.as_deref().map(replace_nul),
        intent: member.intent.as_deref().map(replace_nul),
        transport: transport_from_columns(
            transport.map(|transport| replace_nul(&transport.kind)),
            transport.and_then(Transport::stated).map(replace_nul),
            server_of(&member.user_id),
        ),
        ..member.clone()
    }
}

/// Writes memberships of room `$1`, each after the id of its session.
pub(in crate::store) static WRITE_MEMBERSHIPS: MultiRow = MultiRow::new(
    "insert into memberships (room_id, session_id, id, chain, slot_id, user_id, device_id, server,
        kind, joined_ms, opened_ms, until_ms, end_reason, updates, join_event_id, end_event_id,
        resumed, claimed, intent, transport_type, transport_url, selection, back_since_ms,
        outlived_ms) values ",
    "($1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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

/// Binds the columns of [`WRITE_MEMBERSHIPS`] after the session.
pub(in crate::store) fn bind_membership(query: Statement, member: &Membership) -> Statement {
    let transport = member.transport.as_ref();

    query
        .bind(member.id.clone())
        .bind(member.member_key.clone())
        .bind(member.slot.as_str().to_owned())
        .bind(member.user_id.clone())
        .bind(member.device_id.clone())
        .bind(server_of(&member.user_id).to_owned())
        .bind(member.format.as_str())
        .bind(member.joined_ms)
        .bind(member.opened_ms)
        .bind(member.until_ms)
        .bind(member.end_reason.as_str())
        .bind(i64::from(member.updates))
        .bind(member.join_event_id.clone())
        .bind(member.end_event_id.clone())
        .bind(i64::from(member.resumed))
        .bind(i64::from(member.claimed))
        .bind(member.intent.clone())
        .bind(transport.map(|transport| transport.kind.clone()))
        .bind(transport.and_then(Transport::stated).map(ToOwned::to_owned))
        .bind(member.selection.as_str())
        .bind(member.back_since_ms)
        .bind(member.outlived_ms)
}
