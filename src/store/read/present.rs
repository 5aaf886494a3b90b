//! The data behind the answer to "is the present known?": the state of the accounts, and how each
//! room can be read.

use crate::rtc::present::{AccountStanding, RoomObservation, Sight};
use crate::rtc::words::{Mode, Watch};
use crate::store::ingest::{rooms, vantages};
use crate::store::model::Vantage;
use crate::store::{Error, Reader};
use sqlx::Row;

/// A room, as far as the present is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSight {
    pub room_id: String,
    pub room: RoomObservation,
}

/// What the store knows of the present.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PresentRows {
    pub vantages: Vec<Vantage>,
    pub rooms: Vec<RoomSight>,
    pub not_stored_since_ms: Option<i64>,
}

/// Maximum lifetime of a sticky event, ms: an older one no longer keeps a device in a call.
const STICKY_MAX_MS: i64 = 60 * 60 * 1000;

// A room that another room names as its successor, and that was never seen, was refused to us.
// Nobody asked for its state.
const ROOMS: &str = "select r.room_id, r.watch, r.error, r.polled_ms, r.opted_out_ms,
    cast(case when exists (select 1 from events e where e.room_id = r.room_id
    and e.rejected = 'encrypted'
        and e.stream >= 0 and e.origin_server_ts > $1) then 1 else 0 end as bigint) as encrypted
    from rooms r
    where not (r.watch = 'blind' and exists (select 1 from rooms o where o.replaced_by = r.room_id))
    order by r.room_id";

/// The state of our accounts, and how each room can be read, at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn read_present_rows(store: &Reader, now: i64) -> Result<PresentRows, Error> {
    let vantages = vantages::list_vantages_for(store).await?;
    let follows = vantages.iter().any(|vantage| vantage.mode == Mode::Follow);
    let mut rooms = Vec::new();
    let rows = sqlx::query(ROOMS)
        .bind(now.saturating_sub(STICKY_MAX_MS))
        .fetch_all(&store.read)
        .await?;
    for row in rows {
        let watch: String = row.try_get("watch")?;
        let polled_ms: Option<i64> = row.try_get("polled_ms")?;
        let error: Option<String> = row.try_get("error")?;
        let opted_out_ms: Option<i64> = row.try_get("opted_out_ms")?;
        let sight = match Watch::from_word(&watch) {
            Watch::Joined | Watch::Peeked if opted_out_ms.is_some() => Sight::OptedOut,
            Watch::Joined if follows => Sight::Followed,
            Watch::Joined | Watch::Peeked => Sight::Polled,
            Watch::Left => Sight::Left,
            Watch::Blind => Sight::Blind,
        };

        rooms.push(RoomSight {
            room_id: row.try_get("room_id")?,
            room: RoomObservation {
                sight,
                fails: rooms::is_unread(error.as_deref()),
                looked_ms: opted_out_ms.or(polled_ms),
                has_encrypted: row.try_get::<i64, _>("encrypted")? != 0,
            },
        });
    }

    Ok(PresentRows {
        vantages,
        rooms,
        not_stored_since_ms: store.trouble(now).map(|trouble| trouble.since_ms),
    })
}

/// What tells of an account whether the present is known.
#[must_use]
pub fn account_of_vantage(vantage: &Vantage) -> AccountStanding {
    AccountStanding {
        follows: vantage.mode == Mode::Follow,
        has_read: vantage.first_sync_ms.is_some(),
        fails: vantage.unheard_since_ms.is_some(),
        fails_since_ms: vantage.unheard_since_ms,
        heard_ms: vantage.last_sync_ms.max(vantage.last_poll_ms),
        polls_every_ms: vantage.polls_every_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::read::tests::Bed;

    #[tokio::test]
    async fn the_present_of_a_successor_that_lets_nobody_in_is_not_asked_for() {
        let bed = Bed::new().await;
        bed.run(
            "insert into rooms (room_id, watch, first_seen_ms, replaced_by) values
                ('!old:h', 'joined', 1, '!refused:h'), ('!refused:h', 'blind', 2, null),
                ('!older:h', 'joined', 1, '!left:h'), ('!left:h', 'left', 2, null),
                ('!wished:h', 'blind', 1, null)",
        )
        .await;
        let found = read_present_rows(&bed.store, 100).await.unwrap();
        let room_ids: Vec<&str> = found.rooms.iter().map(|one| one.room_id.as_str()).collect();
        let asked = ["!left:h", "!old:h", "!older:h", "!r:h", "!wished:h"];
        assert_eq!(room_ids, asked);
    }
}
