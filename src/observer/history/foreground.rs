//! Back-fill in the foreground: signs in, opens a read in rooms that never had one, and reads until
//! nothing is left.

use super::schedule::{BackfillScope, JobStates};
use crate::observer::backoff::Backoff;
use crate::observer::error_state::Work;
use crate::observer::{Error, Observer, RoomWish};
use crate::rtc::words::{JobEnd, Watch};
use crate::store::ingest::rooms;
use crate::store::read::history_progress;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of reads that ended too early and are reported.
const READS: i64 = 10_000;

/// The rooms whose history is read.
#[derive(Debug, Clone, Default)]
pub struct BackfillPlan {
    pub rooms: BTreeSet<String>,
    /// Rooms that cannot be read now, and why.
    pub unread: BTreeMap<String, String>,
}

impl Observer {
    /// Signs in, joins the rooms that the configuration names, and opens a read in each room that
    /// never had one: in the rooms of `asked`, by id or alias, or if there are none, in all watched
    /// rooms. `None` if it was stopped before it was done.
    ///
    /// # Errors
    /// When the account is refused, a room asked for is not watched, or the database fails; a
    /// homeserver that is busy or away is tried again.
    pub async fn plan(
        &self,
        asked: &[String],
        scope: &BackfillScope,
    ) -> Result<Option<BackfillPlan>, Error> {
        let mut backoff = Backoff::new();
        while !scope.stopped() {
            let error = match self.try_plan(asked, scope).await {
                Ok(plan) => {
                    self.succeeded(Work::Rooms).await;
                    return Ok(Some(plan));
                }
                Err(error) if is_worth_retrying(&error) => error,
                Err(error) => return Err(error),
            };

            self.failed(
                Work::Rooms,
                "asking which rooms we are in; it is tried again",
                &error,
            )
            .await;
            scope.pause(Self::pause(&error, &mut backoff)).await;
        }

        Ok(None)
    }

    /// Does what [`Self::plan`] says, once. Polling a room opens its read; a room that cannot be
    /// polled is in the plan with the reason.
    async fn try_plan(
        &self,
        asked: &[String],
        scope: &BackfillScope,
    ) -> Result<BackfillPlan, Error> {
        self.try_sign_in().await?;
        let mut plan = BackfillPlan {
            unread: self.wished(asked).await,
            ..BackfillPlan::default()
        };

        let mut watched: BTreeMap<String, Watch> = rooms::list_watched_rooms(&self.store)
            .await?
            .into_iter()
            .collect();
        watched.retain(|_, watch| *watch == Watch::Peeked);
        watched.extend(
            self.joined_now()
                .await?
                .into_iter()
                .map(|room_id| (room_id, Watch::Joined)),
        );
        let chosen = if asked.is_empty() {
            watched.clone()
        } else {
            self.chosen(asked, &watched).await?
        };

        for (room_id, watch) in chosen {
            if scope.stopped() {
                break;
            }

            if self.has_read(&room_id).await? || self.poll(&room_id, watch).await? {
                plan.rooms.insert(room_id);
            } else {
                let room = rooms::find_room(&self.store, &room_id, self.clock.now_ms()).await?;
                plan.unread.insert(
                    room_id,
                    room.and_then(|room| room.error).unwrap_or_default(),
                );
            }
        }

        Ok(plan)
    }

    /// Joins or peeks into the rooms that the configuration names; with `asked`, only those of
    /// them. Returns those that could not be reached, and why.
    async fn wished(&self, asked: &[String]) -> BTreeMap<String, String> {
        let mut unread = BTreeMap::new();
        let is_asked = |wish: &&RoomWish| asked.is_empty() || asked.contains(&wish.room);
        for wish in self.settings.rooms.iter().filter(is_asked) {
            if let Err(error) = self.client.join(&wish.room, &wish.via).await {
                unread.insert(wish.room.clone(), error.to_string());
            }
        }

        for wish in self.settings.peek_rooms.iter().filter(is_asked) {
            if let Err(error) = self.peek(wish).await {
                unread.insert(wish.room.clone(), error.to_string());
            }
        }

        unread
    }

    /// The rooms of `asked` by their ids, with how they are watched. An error that says what to do
    /// if an alias is unknown, or a room is not watched.
    async fn chosen(
        &self,
        asked: &[String],
        watched: &BTreeMap<String, Watch>,
    ) -> Result<BTreeMap<String, Watch>, Error> {
        let mut chosen = BTreeMap::new();
        for room in asked {
            let no = |why| Error::NotWatched {
                room: room.clone(),
                why,
            };

            let room_id = if room.starts_with('#') {
                match self.client.resolve_alias(room).await {
                    Ok(found) => found.room_id,
                    Err(error) if error.is_not_found() => {
                        return Err(no("no room has this alias; look for a slip"));
                    }
                    Err(error) => return Err(error.into()),
                }
            } else {
                room.clone()
            };

            let watch = watched.get(&room_id).copied();
            let why = "the account is not in it; invite it, or name the room in CALLSCOPE_ROOMS, \
                       and try again";
            chosen.insert(room_id, watch.ok_or_else(|| no(why))?);
        }

        Ok(chosen)
    }

    /// Was a read of the whole history of this room ever opened, done or not?
    async fn has_read(&self, room_id: &str) -> Result<bool, Error> {
        let reads = history_progress::progress_of_room(&self.store, room_id, 1).await?;
        Ok(reads
            .first()
            .is_some_and(history_progress::ReadProgress::is_of_whole_room))
    }

    /// Works on the jobs of the scope until none is left, or until it is stopped. Returns the rooms
    /// whose history could not be read completely, and why.
    ///
    /// # Errors
    /// When the account is refused.
    pub async fn backfill(&self, scope: &BackfillScope) -> Result<BTreeMap<String, String>, Error> {
        let mut states = JobStates::default();
        self.look_at_ends().await;
        loop {
            self.work_until_idle(scope, &mut states).await?;
            match states.next_due(scope).filter(|_| !scope.stopped()) {
                Some(due) => scope.pause(due).await,
                None => break,
            }
        }

        let mut unread = states.failed();
        match history_progress::reads_ended_early(&self.store, READS).await {
            Ok(reads) => {
                let taken = reads.iter().filter(|read| scope.takes(&read.job.room_id));
                unread.extend(
                    taken.map(|read| (read.job.room_id.clone(), why_history_is_short(read))),
                );
            }
            Err(error) => tracing::error!(%error, "how reading history ended could not be read"),
        }

        Ok(unread)
    }
}

/// Why a room's history is incomplete, in words for the operator.
fn why_history_is_short(read: &history_progress::ReadProgress) -> String {
    let why = match read.job.ended_by {
        Some(JobEnd::Circle) => "the homeserver's pages turn in a circle",
        Some(JobEnd::Endless) => "the homeserver gives page after page with nothing new",
        Some(JobEnd::Refused) => "the homeserver refuses more",
        _ => "the homeserver gave no more, though the room's beginning was not reached",
    };

    format!("{why}; a running Callscope asks again later")
}

/// May the same request succeed later: is the homeserver away or busy, or the database full or
/// locked?
fn is_worth_retrying(error: &Error) -> bool {
    match error {
        Error::Matrix(error) => error.is_transient(),
        Error::Store(error) => error.is_full() || error.is_locked(),
        _ => false,
    }
}
