//! The world of the demo: rooms and people, a past of weeks or years, and calls that start and end
//! in real time.
//!
//! [`past`] and [`live`] plan the events: pure functions of a time and a seed. [`rhythm`] says
//! which meetings there were when. This file only writes the events to a homeserver.

mod act;
mod hostile;
mod live;
mod past;
mod rhythm;
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

/// What kind of world is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorldSettings {
    /// Another seed makes other calls.
    pub seed: u64,
    /// How many days of calls there are before today.
    pub days: i64,
    /// With names and events that no honest people have: very long ones, markup, what cannot be
    /// read.
    pub is_hostile: bool,
}

impl WorldSettings {
    /// The world that `callscope demo` shows: two years, so that the last one can be compared with
    /// the one before; nothing hostile.
    #[must_use]
    pub fn for_demo(seed: u64) -> Self {
        Self {
            seed,
            days: 731,
            is_hostile: false,
        }
    }

    /// A world for tests: five weeks, with everything that is hard to read or to show.
    #[must_use]
    pub fn for_tests(seed: u64) -> Self {
        Self {
            seed,
            days: past::RECENT_DAYS,
            is_hostile: true,
        }
    }
}

/// The demo's world.
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
    settings: WorldSettings,
}

impl World {
    /// Fills an empty homeserver with everything up to `now_ms` (ms since the Unix epoch). The same
    /// time and settings make the same events, ids included, on a server started with the same
    /// seed.
    #[must_use]
    pub fn build(hs: &Homeserver, now_ms: i64, settings: &WorldSettings) -> Self {
        let mut world = Self::found(hs, settings);
        world.fill(hs, now_ms);

        world
    }

    /// A world in which only the bot's account is there so far; the ids of the rooms are known.
    #[must_use]
    pub fn found(hs: &Homeserver, settings: &WorldSettings) -> Self {
        let bot_password = "demo".to_owned();
        let (bot_user, bot_token) = hs.register("callscope", &bot_password);
        let ids = SCENES
            .iter()
            .map(|scene| (scene.key, scene.room_id(settings.seed)));
        let rooms: Vec<(&str, String)> = ids.collect();
        let outside = rooms.iter().find(|(key, _)| *key == OUTSIDE);

        Self {
            bot_user,
            bot_password,
            bot_token,
            outside_room: outside.map(|(_, room)| room.clone()).unwrap_or_default(),
            rooms,
            running: Vec::new(),
            settings: *settings,
        }
    }

    /// Writes everything up to `now_ms`, ms since the Unix epoch, to the homeserver of a world that
    /// was only founded.
    pub fn fill(&mut self, hs: &Homeserver, now_ms: i64) {
        let settings = &self.settings;
        let begin_ms = now_ms - (settings.days + 2) * DAY_MS;
        hs.set_display_name(&self.bot_user, "Callscope");
        hs.set_transports(vec![
            json!({"type": "livekit", "livekit_service_url": SFUS[0]}),
        ]);
        for person in &PEOPLE {
            let name = person.display_name(settings.is_hostile);
            hs.set_display_name(&person.user_id(), name);
        }

        for scene in &SCENES {
            create_scene_room(hs, scene, begin_ms, settings, &self.bot_user);
        }

        let past = past::plan_past(now_ms, settings);
        let mut names = EventIdsByName::new();
        for act in &past.acts {
            act.play(hs, &mut names);
        }

        self.running = past.running;
    }

    /// Continues the world by a clock in ms since the Unix epoch. Never ends by itself: abort the
    /// task to stop.
    pub async fn play(self, hs: Homeserver, clock: impl Fn() -> i64 + Send) {
        let mut live = LivePlan::new(self.running, clock(), self.settings.seed);
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
/// bot, whose user id is `bot`, unless this is the room without it.
fn create_scene_room(
    hs: &Homeserver,
    scene: &Scene,
    begin_ms: i64,
    settings: &WorldSettings,
    bot: &str,
) {
    let new_room = scene.new_room(settings.seed, settings.is_hostile, begin_ms);
    let room = hs.create_room(new_room);
    let members = scene.members(settings.seed);
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
}
