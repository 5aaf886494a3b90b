//! `callscope rebuild`: derives every call again from the stored events, also beside a running
//! server.

use super::look::plural;
use super::look::say;
use crate::config::Config;
use crate::rtc::fold::Rules;
use crate::store::db::instance_lock::Hold;
use crate::store::derive::rebuild;
use crate::store::derive::rebuild::Place;
use crate::store::derive::rederive;
use crate::store::ingest::receive_times;
use crate::store::{self, Writer};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::process::ExitCode;

const BAR: &str = "{msg}  {wide_bar} {human_pos}/{human_len} events  {per_sec}  {eta} left";

pub(super) async fn run(config: &Config, room: Option<&str>) -> Result<ExitCode, Box<dyn Error>> {
    let url = config.database_url.expose();
    if let (name, false) = store::check(url).await? {
        return Err(format!(
            "there is no database {name}; name the right one with CALLSCOPE_DATABASE_URL"
        )
        .into());
    }

    let who = format!(
        "process {}, which begins to derive everything again",
        std::process::id()
    );
    let store = match Hold::acquire_lock(url, &who).await {
        // No server runs: migrate the database, then release the lock, so that a server may start.
        Ok(hold) => Writer::open(url).await.inspect(|_| drop(hold))?,
        Err(store::Error::Held { .. }) => Writer::open_beside_server(url).await?,
        Err(error) => return Err(error.into()),
    };

    let rules = Rules {
        slot_policy: config.slot_policy,
        ..Rules::default()
    };

    let done = all(&store, &rules, room).await;
    store.close().await;

    done
}

async fn all(
    store: &Writer,
    rules: &Rules,
    room: Option<&str>,
) -> Result<ExitCode, Box<dyn Error>> {
    let mended = receive_times::mend(store, room).await?;
    if mended > 0 {
        let times = plural(mended, "receive time was", "receive times were");
        say!("{times} wrong, because our own clock was; set right.");
    }

    let rooms = rebuild::sizes(store, room).await?;
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
        let (done, mut place) = (bar.position(), Place::default());
        while let Some(next) = rebuild::step(store, rules, room_id, place).await? {
            bar.set_position(done + next.events.unsigned_abs());
            place = next;
        }

        rebuild::calls(store, room_id).await?;
        rederive::derived(store, rules, room_id).await?;
    }

    bar.finish();
    let (bytes, stays) = rebuild::weight(store).await?;
    let each = bytes
        .checked_div(stays)
        .map_or_else(String::new, |each| format!(", {each} bytes for each"));
    say!(
        "Derived again: {}, {}. The database has {bytes} bytes and {}{each}.",
        plural(rooms.len(), "room", "rooms"),
        plural(events, "member event", "member events"),
        plural(stays, "membership", "memberships")
    );

    Ok(ExitCode::SUCCESS)
}
