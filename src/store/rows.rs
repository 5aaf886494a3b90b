//! The statements of many rows: sixteen rows a statement were the quickest, and texts are constant, so they are long.
//! A short last statement takes its rows in fours and ones; ids that are missing are bound as null, which matches nothing.

use super::{Db, Tx};
use sqlx::query::Query;

/// The same statement for 16 rows, for 4 and for 1.
pub(super) type Sizes = [&'static str; 3];
/// How many ids a look-up takes.
pub(super) const IDS: usize = 64;

/// A statement that is being bound.
pub(super) type Statement = Query<'static, Db, <Db as sqlx::Database>::Arguments>;

/// Runs a statement for all rows; `shared` binds what all rows have in common, `bind` one row.
pub(super) async fn write<T>(
    tx: &mut Tx,
    sizes: &Sizes,
    rows: &[T],
    shared: impl Fn(Statement) -> Statement,
    bind: impl Fn(Statement, &T) -> Statement,
) -> Result<u64, sqlx::Error> {
    let mut done = 0;
    let mut rest = rows;
    while !rest.is_empty() {
        let (sql, take) = match rest.len() {
            16.. => (sizes[0], 16),
            4.. => (sizes[1], 4),
            _ => (sizes[2], 1),
        };
        let (now, later) = rest.split_at(take);
        rest = later;
        let query = now.iter().fold(shared(sqlx::query(sql)), &bind);
        done += query.execute(&mut **tx).await?.rows_affected();
    }
    Ok(done)
}

pub(super) const EVENTS: Sizes = [
    "insert into events (room_id, source, event_id, kind, state_key, sender, origin_server_ts, received_ms,
        chain, replaces_state, redacts, redacted_ms, stream, in_timeline, rejected, json, time_ms)
    values
    ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17),
    ($1, $2, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32),
    ($1, $2, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47),
    ($1, $2, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62),
    ($1, $2, $63, $64, $65, $66, $67, $68, $69, $70, $71, $72, $73, $74, $75, $76, $77),
    ($1, $2, $78, $79, $80, $81, $82, $83, $84, $85, $86, $87, $88, $89, $90, $91, $92),
    ($1, $2, $93, $94, $95, $96, $97, $98, $99, $100, $101, $102, $103, $104, $105, $106, $107),
    ($1, $2, $108, $109, $110, $111, $112, $113, $114, $115, $116, $117, $118, $119, $120, $121, $122),
    ($1, $2, $123, $124, $125, $126, $127, $128, $129, $130, $131, $132, $133, $134, $135, $136, $137),
    ($1, $2, $138, $139, $140, $141, $142, $143, $144, $145, $146, $147, $148, $149, $150, $151, $152),
    ($1, $2, $153, $154, $155, $156, $157, $158, $159, $160, $161, $162, $163, $164, $165, $166, $167),
    ($1, $2, $168, $169, $170, $171, $172, $173, $174, $175, $176, $177, $178, $179, $180, $181, $182),
    ($1, $2, $183, $184, $185, $186, $187, $188, $189, $190, $191, $192, $193, $194, $195, $196, $197),
    ($1, $2, $198, $199, $200, $201, $202, $203, $204, $205, $206, $207, $208, $209, $210, $211, $212),
    ($1, $2, $213, $214, $215, $216, $217, $218, $219, $220, $221, $222, $223, $224, $225, $226, $227),
    ($1, $2, $228, $229, $230, $231, $232, $233, $234, $235, $236, $237, $238, $239, $240, $241, $242)
    on conflict (event_id, room_id) do nothing",
    "insert into events (room_id, source, event_id, kind, state_key, sender, origin_server_ts, received_ms,
        chain, replaces_state, redacts, redacted_ms, stream, in_timeline, rejected, json, time_ms)
    values
    ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17),
    ($1, $2, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32),
    ($1, $2, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47),
    ($1, $2, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62)
    on conflict (event_id, room_id) do nothing",
    "insert into events (room_id, source, event_id, kind, state_key, sender, origin_server_ts, received_ms,
        chain, replaces_state, redacts, redacted_ms, stream, in_timeline, rejected, json, time_ms)
    values
    ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
    on conflict (event_id, room_id) do nothing",
];

pub(super) const SIGHTINGS: Sizes = [
    "insert into sightings (room_id, vantage_id, source, seen_ms, event_id)
    values
    ($1, $2, $3, $4, $5), ($1, $2, $3, $4, $6), ($1, $2, $3, $4, $7), ($1, $2, $3, $4, $8),
    ($1, $2, $3, $4, $9), ($1, $2, $3, $4, $10), ($1, $2, $3, $4, $11), ($1, $2, $3, $4, $12),
    ($1, $2, $3, $4, $13), ($1, $2, $3, $4, $14), ($1, $2, $3, $4, $15), ($1, $2, $3, $4, $16),
    ($1, $2, $3, $4, $17), ($1, $2, $3, $4, $18), ($1, $2, $3, $4, $19), ($1, $2, $3, $4, $20)
    on conflict (event_id, room_id, vantage_id, source) do nothing",
    "insert into sightings (room_id, vantage_id, source, seen_ms, event_id)
    values
    ($1, $2, $3, $4, $5), ($1, $2, $3, $4, $6), ($1, $2, $3, $4, $7), ($1, $2, $3, $4, $8)
    on conflict (event_id, room_id, vantage_id, source) do nothing",
    "insert into sightings (room_id, vantage_id, source, seen_ms, event_id)
    values
    ($1, $2, $3, $4, $5)
    on conflict (event_id, room_id, vantage_id, source) do nothing",
];

pub(super) const CHAINS: Sizes = [
    "insert into chains (room_id, sender, chain) values
    ($1, $2, $3), ($1, $4, $5), ($1, $6, $7), ($1, $8, $9), ($1, $10, $11), ($1, $12, $13), ($1, $14, $15),
    ($1, $16, $17), ($1, $18, $19), ($1, $20, $21), ($1, $22, $23), ($1, $24, $25), ($1, $26, $27),
    ($1, $28, $29), ($1, $30, $31), ($1, $32, $33)
    on conflict (room_id, sender, chain) do nothing",
    "insert into chains (room_id, sender, chain) values
    ($1, $2, $3), ($1, $4, $5), ($1, $6, $7), ($1, $8, $9)
    on conflict (room_id, sender, chain) do nothing",
    "insert into chains (room_id, sender, chain) values
    ($1, $2, $3)
    on conflict (room_id, sender, chain) do nothing",
];

// `room_id || ''`: without statistics SQLite would take a long list of ids for more rows than a room has, and read
// the room. The ids are what to look by.

/// Events of one room by id.
pub(super) const KNOWN: &str = "select event_id from events where room_id || '' = $1 and event_id in (
    $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45,
    $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62, $63, $64, $65)";

/// The times of the events with these ids, and of those that replaced them.
pub(super) const LINKED: &str =
    "select event_id as id, time_ms, 0 as later from events where room_id || '' = $1 and event_id in (
    $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45,
    $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62, $63, $64, $65)
    union all select replaces_state, time_ms, 1 from events
    where room_id || '' = $1 and chain is not null and replaces_state is not null and replaces_state in (
    $66, $67, $68, $69, $70, $71, $72, $73, $74, $75, $76, $77, $78, $79, $80, $81, $82, $83, $84, $85, $86,
    $87, $88, $89, $90, $91, $92, $93, $94, $95, $96, $97, $98, $99, $100, $101, $102, $103, $104, $105, $106,
    $107, $108, $109, $110, $111, $112, $113, $114, $115, $116, $117, $118, $119, $120, $121, $122, $123, $124,
    $125, $126, $127, $128, $129)";

/// The times of those of these events that are on one chain and not older than a time, ms.
pub(super) const TIMES: &str =
    "select event_id, time_ms from events where room_id || '' = $1 and chain || '' = $66 and time_ms >= $67
    and event_id in (
    $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45,
    $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62, $63, $64, $65)";

pub(super) const MEMBERSHIPS: Sizes = ["insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind, joined_ms, opened_ms,
        until_ms, end_reason, updates, join_event_id, end_event_id, resumed, claimed, intent, transport_type,
        transport_url, selection)
    values
        ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21),
        ($22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42),
        ($43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62, $63),
        ($64, $65, $66, $67, $68, $69, $70, $71, $72, $73, $74, $75, $76, $77, $78, $79, $80, $81, $82, $83, $84),
        ($85, $86, $87, $88, $89, $90, $91, $92, $93, $94, $95, $96, $97, $98, $99, $100, $101, $102, $103, $104, $105),
        ($106, $107, $108, $109, $110, $111, $112, $113, $114, $115, $116, $117, $118, $119, $120, $121, $122, $123, $124, $125, $126),
        ($127, $128, $129, $130, $131, $132, $133, $134, $135, $136, $137, $138, $139, $140, $141, $142, $143, $144, $145, $146, $147),
        ($148, $149, $150, $151, $152, $153, $154, $155, $156, $157, $158, $159, $160, $161, $162, $163, $164, $165, $166, $167, $168),
        ($169, $170, $171, $172, $173, $174, $175, $176, $177, $178, $179, $180, $181, $182, $183, $184, $185, $186, $187, $188, $189),
        ($190, $191, $192, $193, $194, $195, $196, $197, $198, $199, $200, $201, $202, $203, $204, $205, $206, $207, $208, $209, $210),
        ($211, $212, $213, $214, $215, $216, $217, $218, $219, $220, $221, $222, $223, $224, $225, $226, $227, $228, $229, $230, $231),
        ($232, $233, $234, $235, $236, $237, $238, $239, $240, $241, $242, $243, $244, $245, $246, $247, $248, $249, $250, $251, $252),
        ($253, $254, $255, $256, $257, $258, $259, $260, $261, $262, $263, $264, $265, $266, $267, $268, $269, $270, $271, $272, $273),
        ($274, $275, $276, $277, $278, $279, $280, $281, $282, $283, $284, $285, $286, $287, $288, $289, $290, $291, $292, $293, $294),
        ($295, $296, $297, $298, $299, $300, $301, $302, $303, $304, $305, $306, $307, $308, $309, $310, $311, $312, $313, $314, $315),
        ($316, $317, $318, $319, $320, $321, $322, $323, $324, $325, $326, $327, $328, $329, $330, $331, $332, $333, $334, $335, $336)
    on conflict (id) do update set slot_id = excluded.slot_id, user_id = excluded.user_id,
        device_id = excluded.device_id, server = excluded.server, kind = excluded.kind, joined_ms = excluded.joined_ms,
        opened_ms = excluded.opened_ms, until_ms = excluded.until_ms, end_reason = excluded.end_reason,
        updates = excluded.updates, join_event_id = excluded.join_event_id, end_event_id = excluded.end_event_id,
        resumed = excluded.resumed, claimed = excluded.claimed, intent = excluded.intent,
        transport_type = excluded.transport_type, transport_url = excluded.transport_url,
        selection = excluded.selection", "insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind, joined_ms, opened_ms,
        until_ms, end_reason, updates, join_event_id, end_event_id, resumed, claimed, intent, transport_type,
        transport_url, selection)
    values
        ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21),
        ($22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42),
        ($43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, $62, $63),
        ($64, $65, $66, $67, $68, $69, $70, $71, $72, $73, $74, $75, $76, $77, $78, $79, $80, $81, $82, $83, $84)
    on conflict (id) do update set slot_id = excluded.slot_id, user_id = excluded.user_id,
        device_id = excluded.device_id, server = excluded.server, kind = excluded.kind, joined_ms = excluded.joined_ms,
        opened_ms = excluded.opened_ms, until_ms = excluded.until_ms, end_reason = excluded.end_reason,
        updates = excluded.updates, join_event_id = excluded.join_event_id, end_event_id = excluded.end_event_id,
        resumed = excluded.resumed, claimed = excluded.claimed, intent = excluded.intent,
        transport_type = excluded.transport_type, transport_url = excluded.transport_url,
        selection = excluded.selection", "insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind, joined_ms, opened_ms,
        until_ms, end_reason, updates, join_event_id, end_event_id, resumed, claimed, intent, transport_type,
        transport_url, selection)
    values
        ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
    on conflict (id) do update set slot_id = excluded.slot_id, user_id = excluded.user_id,
        device_id = excluded.device_id, server = excluded.server, kind = excluded.kind, joined_ms = excluded.joined_ms,
        opened_ms = excluded.opened_ms, until_ms = excluded.until_ms, end_reason = excluded.end_reason,
        updates = excluded.updates, join_event_id = excluded.join_event_id, end_event_id = excluded.end_event_id,
        resumed = excluded.resumed, claimed = excluded.claimed, intent = excluded.intent,
        transport_type = excluded.transport_type, transport_url = excluded.transport_url,
        selection = excluded.selection"];

pub(super) const TALLIES: Sizes = [
    "insert into tallies (tally, what, key, n) values
        ($1, $2, $3, $4),
        ($1, $5, $6, $7),
        ($1, $8, $9, $10),
        ($1, $11, $12, $13),
        ($1, $14, $15, $16),
        ($1, $17, $18, $19),
        ($1, $20, $21, $22),
        ($1, $23, $24, $25),
        ($1, $26, $27, $28),
        ($1, $29, $30, $31),
        ($1, $32, $33, $34),
        ($1, $35, $36, $37),
        ($1, $38, $39, $40),
        ($1, $41, $42, $43),
        ($1, $44, $45, $46),
        ($1, $47, $48, $49)",
    "insert into tallies (tally, what, key, n) values
        ($1, $2, $3, $4),
        ($1, $5, $6, $7),
        ($1, $8, $9, $10),
        ($1, $11, $12, $13)",
    "insert into tallies (tally, what, key, n) values
        ($1, $2, $3, $4)",
];
