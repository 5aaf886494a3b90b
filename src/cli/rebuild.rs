//! `callscope rebuild`: derives every call again from the stored events, also beside a running
//! server.

use super::look::{number_with_noun, say};
use super::upgrade_bar;
use crate::config::Config;
use crate::rtc::fold::Rules;
use crate::rtc::stamp::derivation_stamp;
use crate::store::db::instance_lock::InstanceLock;
use crate::store::derive::rebuild::{self, RebuildPlace};
use crate::store::derive::rederive;
use crate::store::ingest::receive_times;
use crate::store::{self, Writer};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::process::ExitCode;

const BAR: &str = "{msg}  {wide_bar} {human_pos}/{human_len} events  {per_sec}  {eta} left";

/// Runs `callscope rebuild` for one room, or for all. Beside a running server it opens the database
/// a second time; else it also migrates it.
pub(super) async fn run(config: &Config, room: Option<&str>) -> Result<ExitCode, Box<dyn Error>> {
    let url = config.database_url.expose();
    if let (name, false) = store::check_database(url).await? {
        return Err(format!(
            "there is no database {name}; name the right one with CALLSCOPE_DATABASE_URL"
        )
        .into());
    }

    let who = format!(
        "process {}, which begins to derive everything again",
        std::process::id()
    );
    let store = match InstanceLock::acquire_lock(url, &who).await {
        // No server runs: migrate the database, then release the lock, so that a server may start.
        Ok(hold) => upgrade_bar::open_database(config)
            .await
            .inspect(|_| drop(hold))?,
        Err(error) if error.is_shared() => Writer::open_beside_server(url).await?,
        Err(error) => return Err(error.into()),
    };

    let rules = Rules {
        slot_policy: config.slot_policy,
        ..Rules::default()
    };

    let done = rebuild_rooms(&store, &rules, room).await;
    store.close().await;

    done
}

/// Derives the calls of one room or of all anew and shows the progress. Receive times that our own
/// wrong clock gave are corrected first.
async fn rebuild_rooms(
    store: &Writer,
    rules: &Rules,
    room: Option<&str>,
) -> Result<ExitCode, Box<dyn Error>> {
    let mended = receive_times::correct_receive_times(store, room).await?;
    if mended > 0 {
        let times = number_with_noun(mended, "receive time was", "receive times were");
        say!("{times} wrong, because our own clock was; set right.");
    }

    let rooms = rebuild::count_member_events(store, room).await?;
    if let (Some(room), true) = (room, rooms.is_empty()) {
        return Err(format!(
            "no member events of a room {room} are stored; give its id, as the room's page shows it"
        )
        .into());
    }

    let events: i64 = rooms.iter().map(|(_, events)| events).sum();
    let bar =
        ProgressBar::new(events.unsigned_abs()).with_style(ProgressStyle::with_template(BAR)?);
    for (at, (room_id, _)) in rooms.iter().enumerate() {
        bar.set_message(format!("room {} of {}", at + 1, rooms.len()));
        let (done, mut place) = (bar.position(), RebuildPlace::default());
        while let Some(next) = rebuild::rebuild_next_part(store, rules, room_id, place).await? {
            bar.set_position(done + next.events.unsigned_abs());
            place = next;
        }

        rebuild::recount_calls(store, room_id).await?;
        rederive::store_room_stamp(store, room_id, &derivation_stamp(rules)).await?;
    }

    bar.finish();
    let (bytes, stays) = rebuild::measure_database(store).await?;
    let each = bytes
        .checked_div(stays)
        .map_or_else(String::new, |each| format!(", {each} bytes for each"));
    say!(
        "Derived again: {}, {}. The database has {bytes} bytes and {}{each}.",
        number_with_noun(rooms.len(), "room", "rooms"),
        number_with_noun(events, "member event", "member events"),
        number_with_noun(stays, "membership", "memberships")
    );

    Ok(ExitCode::SUCCESS)
}
