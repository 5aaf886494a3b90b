//! The world of the demo: rooms and people, five weeks of past calls, and calls that start and end
//! in real time.
//!
//! [`past`] and [`live`] plan the events: pure functions of a time and a seed. This file only
//! writes them to a homeserver.

mod act;
mod hostile;
mod live;
mod past;
mod special;
mod stay;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::json;

use super::homeserver::Homeserver;
use super::people::{PEOPLE, SFUS};
use super::rooms::{OUTSIDE, SCENES, Scene};
use act::EventIdsByName;
pub use act::{Act, ActKind};
pub use live::LivePlan;
pub use past::PastPlan;
use stay::SimStay;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The demo's world, as it was built.
#[derive(Debug, Clone)]
pub struct World {
    /// Matrix id of the bot account, joined to all rooms but one.
    pub bot_user: String,
    /// Its password.
    pub bot_password: String,
    /// An access token of the bot.
    pub bot_token: String,
    /// Id of the world-readable room that the bot is not in.
    pub outside_room: String,
    /// Short name and id of each room.
    pub rooms: Vec<(&'static str, String)>,
    running: Vec<SimStay>,
    seed: u64,
}

impl World {
    /// Fills an empty homeserver with everything up to `now_ms` (ms since the Unix epoch). The same
    /// time and seed make the same events, ids included, on a server started with the same seed.
    #[must_use]
    pub fn build(hs: &Homeserver, now_ms: i64, seed: u64) -> Self {
        let begin_ms = now_ms - (past::DAYS + 2) * DAY_MS;
        let bot_password = "demo".to_owned();
        let (bot_user, bot_token) = hs.register("callscope", &bot_password);
        hs.set_display_name(&bot_user, "Callscope");
        hs.set_transports(vec![
            json!({"type": "livekit", "livekit_service_url": SFUS[0]}),
        ]);
        for person in &PEOPLE {
            hs.set_display_name(&person.user_id(), person.name);
        }

        let rooms = SCENES.iter().map(|scene| {
            (
                scene.key,
                create_scene_room(hs, scene, begin_ms, seed, &bot_user),
            )
        });
        let rooms: Vec<(&str, String)> = rooms.collect();
        let past = past::plan_past(now_ms, seed);
        let mut names = EventIdsByName::new();
        for act in &past.acts {
            act.play(hs, &mut names);
        }

        let outside = rooms.iter().find(|(key, _)| *key == OUTSIDE);

        Self {
            bot_user,
            bot_password,
            bot_token,
            outside_room: outside.map(|(_, room)| room.clone()).unwrap_or_default(),
            rooms,
            running: past.running,
            seed,
        }
    }

    /// Continues the world by a clock in ms since the Unix epoch. Never ends by itself: abort the
    /// task to stop.
    pub async fn play(self, hs: Homeserver, clock: impl Fn() -> i64 + Send) {
        let mut live = LivePlan::new(self.running, clock(), self.seed);
        let mut names = EventIdsByName::new();

        loop {
            for act in live.next_minute() {
                wait_until(act.at_ms, &clock).await;
                act.play(&hs, &mut names);
            }

            // After a suspension of the machine, many minutes are played without a pause.
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until the clock shows this time, ms. It sleeps in short steps, to follow a clock that
/// jumps (a suspended laptop).
async fn wait_until(at_ms: i64, clock: &(impl Fn() -> i64 + Send)) {
    while let Ok(left @ 1..) = u64::try_from(at_ms - clock()) {
        tokio::time::sleep(Duration::from_millis(left.min(1000))).await;
    }
}

/// Creates a room of the demo at `begin_ms` and lets its people join, one each second; first the
/// bot, whose user id is `bot`, unless this is the room without it. Returns the room's id.
fn create_scene_room(
    hs: &Homeserver,
    scene: &Scene,
    begin_ms: i64,
    seed: u64,
    bot: &str,
) -> String {
    let room = hs.create_room(scene.new_room(seed, begin_ms));
    let members = scene.members(seed);
    let maker = members
        .first()
        .map(|maker| maker.user_id())
        .unwrap_or_default();
    if scene.key != OUTSIDE {
        if scene.alias.is_none() {
            hs.invite(&room, bot, &maker, begin_ms + 1000);
        }

        hs.join_user(&room, bot, begin_ms + 2000);
    }

    for (second, member) in (3..).zip(&members) {
        hs.join_user(&room, &member.user_id(), begin_ms + second * 1000);
    }

    room
}
