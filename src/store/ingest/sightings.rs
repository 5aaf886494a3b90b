//! Sightings: a known event came from another vantage or by another way. Its first sighting is in
//! the row of the event.

use super::batch::{Arrival, Batch, RoomBatch};
use crate::store::Tx;
use crate::store::db::multi_row::{MultiRow, Statement};

static NOTE: MultiRow = MultiRow::new(
    "insert into sightings (room_id, vantage_id, source, seen_ms, event_id) values ",
    "($1, $2, $3, $4, ?)",
    " on conflict (event_id, room_id, vantage_id, source) do nothing",
);

/// Notes that these known events came from this vantage in this way. Only the first time is kept.
pub(super) async fn record_sightings(
    tx: &mut Tx,
    batch: &Batch,
    room: &RoomBatch,
    copies: &[&Arrival],
) -> Result<(), sqlx::Error> {
    let source = room.source.as_str();
    let shared = |query: Statement| {
        query
            .bind(room.room_id.clone())
            .bind(batch.vantage_id.clone())
            .bind(source)
            .bind(batch.seen_ms)
    };

    let bind = |query: Statement, copy: &&Arrival| query.bind(copy.event.event_id.clone());
    NOTE.write(tx, copies, shared, bind).await?;

    Ok(())
}
