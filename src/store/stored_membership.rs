//! A membership as it is stored: its columns, written and read again. A field of [`Membership`]
//! that is to be kept has its place here and in a migration.

use super::db::multi_row::{MultiRow, Statement};
use crate::rtc::event::replace_nul;
use crate::rtc::id::server_of;
use crate::rtc::membership::Membership;
use crate::rtc::slot::SlotId;
use crate::rtc::transport::{Selection, Transport};
use crate::rtc::words::{EndReason, Format};

json_row! {
    /// A row of `memberships m`.
    pub(in crate::store) struct MembershipRow {
        id: String = "m.id",
        member_key: String = "m.chain",
        slot_id: String = "m.slot_id",
        user_id: String = "m.user_id",
        device_id: Option<String> = "m.device_id",
        format: Format = "m.kind",
        joined_ms: i64 = "m.joined_ms",
        opened_ms: i64 = "m.opened_ms",
        until_ms: i64 = "m.until_ms",
        end_reason: EndReason = "m.end_reason",
        updates: i64 = "m.updates",
        join_event_id: String = "m.join_event_id",
        end_event_id: Option<String> = "m.end_event_id",
        resumed: i64 = "m.resumed",
        claimed: i64 = "m.claimed",
        intent: Option<String> = "m.intent",
        transport_type: Option<String> = "m.transport_type",
        transport_url: Option<String> = "m.transport_url",
        transport_alias: Option<String> = "m.transport_alias",
        selection: String = "m.selection",
        back_since_ms: Option<i64> = "m.back_since_ms",
        outlived_ms: Option<i64> = "m.outlived_ms",
    }
}

/// A stored membership. Its id is that of its row.
pub(in crate::store) fn membership_from_row(row: MembershipRow) -> Membership {
    let server = server_of(&row.user_id);
    let transport = transport_from_columns(row.transport_type, row.transport_url, server);

    Membership {
        id: row.id,
        member_key: row.member_key,
        slot: SlotId::from_text(&row.slot_id),
        transport,
        user_id: row.user_id,
        device_id: row.device_id,
        format: row.format,
        joined_ms: row.joined_ms,
        opened_ms: row.opened_ms,
        until_ms: row.until_ms,
        end_reason: row.end_reason,
        updates: u32::try_from(row.updates).unwrap_or(u32::MAX),
        join_event_id: row.join_event_id,
        end_event_id: row.end_event_id,
        resumed: row.resumed != 0,
        claimed: row.claimed != 0,
        intent: row.intent,
        transport_alias: row.transport_alias,
        selection: Selection::from_word(&row.selection),
        back_since_ms: row.back_since_ms,
        outlived_ms: row.outlived_ms,
    }
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
        outlived_ms, transport_alias) values ",
    "($1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " on conflict (id) do update set session_id = excluded.session_id, slot_id = excluded.slot_id,
        user_id = excluded.user_id, device_id = excluded.device_id, server = excluded.server,
        kind = excluded.kind, joined_ms = excluded.joined_ms, opened_ms = excluded.opened_ms,
        until_ms = excluded.until_ms, end_reason = excluded.end_reason, updates = excluded.updates,
        join_event_id = excluded.join_event_id, end_event_id = excluded.end_event_id,
        resumed = excluded.resumed, claimed = excluded.claimed, intent = excluded.intent,
        transport_type = excluded.transport_type, transport_url = excluded.transport_url,
        selection = excluded.selection, back_since_ms = excluded.back_since_ms,
        outlived_ms = excluded.outlived_ms, transport_alias = excluded.transport_alias",
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
        .bind(member.transport_alias.clone())
}
