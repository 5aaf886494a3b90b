//! Rooms that were replaced. The observer follows to the new room, by the same right by which it is
//! in the old one, and reads what it may of the predecessor. In addition, the full state of a room
//! that is new to us is soon polled.
//!
//! A tombstone is a statement of one person with power in one room. So the new room must name the
//! old one as its predecessor, or the sender of the tombstone must be one whose invitations are
//! accepted. A trail of many replacements is followed for only a few steps a day.

use super::error_state::Work;
use super::{Error, Observer};
use crate::changes::Change;
use crate::matrix;
use crate::rtc::power::is_room_id;
use crate::rtc::time::DAY_MS;
use crate::rtc::words::Watch;
use crate::store::ingest::rooms;
use crate::store::read::successors::{self, PendingSuccessor};
use serde_json::Value;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Pause before another attempt, unless the homeserver named another one.
const AGAIN: Duration = Duration::from_mins(1);
/// Minimum pause between two attempts, if there is news.
const SOON: Duration = Duration::from_secs(3);
/// Pause before another attempt if a change is unlikely.
const LATER: Duration = Duration::from_mins(30);
/// A room that was replaced less than this long ago, ms, may still be in transition: its members
/// may not be allowed in yet.
const YOUNG_MS: i64 = 5 * 60_000;
/// Maximum rooms of one trail that are followed within a day.
const TRAIL_MAX: usize = 5;
/// The error of a room that does not name the room before it.
const NOT_NAMED: &str = "it does not name the old room as the one it replaced, so it is not \
                         followed: anybody could have been meant";
/// A room that came at least this long ago, ms, and whose state was not polled yet is polled
/// separately.
const SETTLED_MS: i64 = 10_000;
/// Maximum tasks at once.
const AT_ONCE: usize = 8;
/// Maximum polls of new rooms in one turn.
const LOOKS_MAX: usize = 5;

/// What the creation of a room says about its predecessor.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PredecessorNamed {
    ThisRoom,
    Another,
    /// We are not allowed to see it.
    Unknown,
}

/// One thing to do: join the room that replaced another one, peek into the room before ours, or
/// poll a room of ours that is new to us.
#[derive(Debug, Clone)]
enum SuccessorTask {
    Follow(PendingSuccessor),
    ReadBefore { room_id: String, before: String },
    LookAt { room_id: String },
}

impl SuccessorTask {
    /// The room that the task reaches for; there is one task for each room at a time.
    fn room_id(&self) -> &str {
        match self {
            Self::Follow(pending) => &pending.new_room_id,
            Self::ReadBefore { before, .. } => before,
            Self::LookAt { room_id } => room_id,
        }
    }
}

/// When something was last tried, and when it is tried again.
#[derive(Debug, Clone, Copy)]
struct TaskTurn {
    /// When it was last begun.
    tried: Instant,
    /// When it may be begun again.
    due: Instant,
    is_under_way: bool,
    /// The task that does it, while it is running.
    task: Option<Id>,
    /// There was news since it began: its result may be older than that.
    has_news: bool,
}

/// The running tasks: a join over federation can take minutes and blocks nothing else.
type RunningTasks = JoinSet<TaskResult>;
/// The room of a task, and its result.
type TaskResult = (String, Result<Duration, Error>);

impl Observer {
    /// Follows replaced rooms to their successors, for ever.
    pub(super) async fn follow_successors(&self) {
        let mut turns: HashMap<String, TaskTurn> = HashMap::new();
        let mut under_way = RunningTasks::new();

        loop {
            match self.begin_due(&mut turns, &mut under_way).await {
                Ok(()) => self.succeeded(Work::Successors).await,
                Err(error) => {
                    let doing = "looking for rooms that were replaced";
                    self.failed(Work::Successors, doing, &error).await;
                }
            }

            let now = Instant::now();
            let waiting = turns.values().filter(|turn| !turn.is_under_way);
            let next = waiting.map(|turn| turn.due).min();
            let next = next.unwrap_or(now + AGAIN).clamp(now, now + AGAIN);
            tokio::select! {
                () = sleep_until(next) => {}
                Some(done) = under_way.join_next_with_id() => {
                    record_finished_task(&mut turns, done);
                }
                () = self.replaced.notified() => {
                    // An invitation may allow a join that was refused a moment ago.
                    for turn in turns.values_mut() {
                        turn.due = turn.due.min(turn.tried + SOON);
                        turn.has_news = turn.is_under_way;
                    }
                }
            }

            let now = Instant::now();
            turns.retain(|_, turn| turn.is_under_way || turn.due > now);
        }
    }

    /// Starts the tasks that are due, up to [`AT_ONCE`] at a time. A room that has a turn already
    /// is left out: its task is running, or waits to be run again.
    async fn begin_due(
        &self,
        turns: &mut HashMap<String, TaskTurn>,
        under_way: &mut RunningTasks,
    ) -> Result<(), Error> {
        // Rooms that wait do not take the place of others.
        let waiting: BTreeSet<String> = turns.keys().cloned().collect();
        for task in self.list_tasks(&waiting).await? {
            if under_way.len() >= AT_ONCE {
                break;
            }

            if let Entry::Vacant(free) = turns.entry(task.room_id().to_owned()) {
                let tried = Instant::now();
                let observer = self.clone();
                let handle = under_way.spawn(async move {
                    let done = observer.run_task(&task).await;
                    (task.room_id().to_owned(), done)
                });
                free.insert(TaskTurn {
                    tried,
                    due: tried,
                    is_under_way: true,
                    task: Some(handle.id()),
                    has_news: false,
                });
            }
        }

        Ok(())
    }

    /// The possible tasks, successors first, without those of the rooms in `waiting`: rooms that
    /// have a turn already, so that they take no place from others.
    async fn list_tasks(&self, waiting: &BTreeSet<String>) -> Result<Vec<SuccessorTask>, Error> {
        let now_ms = self.clock.now_ms();
        let pending =
            successors::list_pending_successors(&self.store, now_ms - DAY_MS, waiting).await?;
        let mut tasks: Vec<SuccessorTask> =
            pending.into_iter().map(SuccessorTask::Follow).collect();
        let before = successors::unknown_predecessors(&self.store, waiting).await?;
        tasks.extend(
            before
                .into_iter()
                .map(|(room_id, before)| SuccessorTask::ReadBefore { room_id, before }),
        );
        let settled_ms = now_ms - SETTLED_MS;
        let uncounted =
            successors::list_never_polled(&self.store, settled_ms, LOOKS_MAX, waiting).await?;
        tasks.extend(
            uncounted
                .into_iter()
                .map(|room_id| SuccessorTask::LookAt { room_id }),
        );

        Ok(tasks)
    }

    /// Runs one task. Returns after what time to run it again, if it is still to be done then.
    async fn run_task(&self, task: &SuccessorTask) -> Result<Duration, Error> {
        match task {
            SuccessorTask::Follow(pending) => self.follow_one(pending).await,
            SuccessorTask::ReadBefore { room_id, before } => {
                self.read_predecessor(room_id, before).await?;
                Ok(LATER)
            }
            SuccessorTask::LookAt { room_id } => {
                self.poll(room_id, Watch::Joined).await?;
                Ok(LATER)
            }
        }
    }

    /// Tries to join one successor. Returns after what time to check again. The room must name the
    /// old one as its predecessor, unless we trust the sender; if it turns out inside that it does
    /// not, we leave it.
    async fn follow_one(&self, pending: &PendingSuccessor) -> Result<Duration, Error> {
        let new_room_id = pending.new_room_id.as_str();
        if !is_room_id(new_room_id) || pending.recent_chain >= TRAIL_MAX {
            let why = "it is the last of a trail of rooms that replace each other; name it in \
                       CALLSCOPE_ROOMS to go on";
            self.record_not_followed(pending, why).await?;
            return Ok(LATER);
        }

        let trusted = self.trusts(pending);
        if self.named_by(new_room_id, &pending.old_room_id).await == PredecessorNamed::Another
            && !trusted
        {
            self.record_not_named(pending).await?;
            return Ok(LATER);
        }

        if pending.watch == Watch::Peeked {
            self.poll(new_room_id, Watch::Peeked).await?;
            return Ok(AGAIN);
        }

        match self.client.join(new_room_id, &pending.servers).await {
            Ok(_) => {}
            Err(error) => return self.record_refused_join(pending, &error).await,
        }

        tracing::info!(
            old = %escape_for_log(&pending.old_room_id),
            new = %escape_for_log(new_room_id),
            "a replaced room is followed to its successor"
        );
        // Only from inside the room its creation can be seen for sure.
        if !trusted
            && self.named_by(new_room_id, &pending.old_room_id).await == PredecessorNamed::Another
        {
            if let Err(error) = self.client.leave(new_room_id).await {
                tracing::warn!(room = %escape_for_log(new_room_id), %error, "the room could not be \
                                                                             left");
            }

            self.record_not_named(pending).await?;
            // Having left the room once, we do not join it again on our own.
            let now_ms = self.clock.now_ms();
            rooms::record_room_error(
                &self.store,
                new_room_id,
                Some(Watch::Left),
                NOT_NAMED,
                now_ms,
            )
            .await?;
            return Ok(LATER);
        }

        self.poll(new_room_id, Watch::Joined).await?;

        Ok(AGAIN)
    }

    /// Is the successor trusted without naming its predecessor? It is if we would accept an
    /// invitation by the user who replaced the room, or if the configuration names the new room.
    fn trusts(&self, pending: &PendingSuccessor) -> bool {
        let is_asked_for = |wish: &super::RoomWish| wish.room == pending.new_room_id;
        self.allows(&pending.sender) || self.settings.rooms.iter().any(is_asked_for)
    }

    /// What a room's creation says about its predecessor: is it this one?
    async fn named_by(&self, room_id: &str, predecessor: &str) -> PredecessorNamed {
        let Ok(creation) = self.client.state_content(room_id, "m.room.create").await else {
            return PredecessorNamed::Unknown;
        };

        let named = creation.pointer("/predecessor/room_id");

        if named.and_then(Value::as_str) == Some(predecessor) {
            PredecessorNamed::ThisRoom
        } else {
            PredecessorNamed::Another
        }
    }

    /// Records that a successor is not followed because it does not name the old room.
    async fn record_not_named(&self, pending: &PendingSuccessor) -> Result<(), Error> {
        self.record_not_followed(pending, NOT_NAMED).await
    }

    /// Records that a successor could not be joined. Returns after what time to try again.
    async fn record_refused_join(
        &self,
        pending: &PendingSuccessor,
        error: &matrix::Error,
    ) -> Result<Duration, Error> {
        self.record_not_followed(pending, &error.to_string())
            .await?;
        let age_ms = pending
            .replaced_ms
            .map_or(i64::MAX, |at_ms| self.clock.now_ms().saturating_sub(at_ms));

        Ok(pause_after(error, age_ms))
    }

    /// Records and shows on both rooms that a successor is not followed, and why.
    async fn record_not_followed(
        &self,
        pending: &PendingSuccessor,
        why: &str,
    ) -> Result<(), Error> {
        tracing::warn!(
            old = %escape_for_log(&pending.old_room_id),
            new = %escape_for_log(&pending.new_room_id),
            why,
            "the successor of a replaced room is not followed"
        );
        let now_ms = self.clock.now_ms();
        rooms::record_failed_join(&self.store, &pending.new_room_id, why, now_ms).await?;
        for room_id in [&pending.new_room_id, &pending.old_room_id] {
            self.changes.announce(Change::Room {
                room_id: room_id.clone(),
            });
        }

        Ok(())
    }

    /// Peeks into the predecessor of one of our rooms, if anybody may and if that room names ours
    /// as its successor.
    async fn read_predecessor(&self, room_id: &str, before: &str) -> Result<(), Error> {
        let tombstone = self.client.state_content(before, "m.room.tombstone").await;
        let Ok(tombstone) = tombstone else {
            return Ok(());
        };

        let named = tombstone.get("replacement_room").and_then(Value::as_str);
        if named == Some(room_id) {
            self.poll(before, Watch::Peeked).await?;
        }

        Ok(())
    }
}

/// After what time to try again to join a room that refused us. `age_ms`: how long ago the old room
/// was replaced, ms, by the stamp of another server, whose clock may be ahead of ours: so it may be
/// negative.
fn pause_after(error: &matrix::Error, age_ms: i64) -> Duration {
    if let Some(pause) = error.retry_after() {
        return pause.max(Duration::from_secs(1));
    }

    // If the homeserver does not know the endpoint at all, the answer may come from a proxy with a
    // temporary fault.
    let is_no = error.refusal().is_some_and(|no| {
        matches!(no.status, 403 | 404) && no.errcode.as_deref() != Some("M_UNRECOGNIZED")
    });
    let is_young = (-YOUNG_MS..YOUNG_MS).contains(&age_ms);

    if is_no && !is_young { LATER } else { AGAIN }
}

/// Notes when a finished task has its next turn. A task that panicked is tried again; the running
/// tasks are not affected.
fn record_finished_task(
    turns: &mut HashMap<String, TaskTurn>,
    done: Result<(Id, TaskResult), JoinError>,
) {
    let (task, pause) = match done {
        Ok((task, (_, Ok(pause)))) => (task, pause),
        Ok((task, (room_id, Err(error)))) => {
            tracing::warn!(room = %escape_for_log(&room_id), %error, "a room could not be followed \
                                                                      or looked at");
            (task, AGAIN)
        }
        Err(error) => {
            tracing::error!(%error, "following a replaced room broke off");
            (error.id(), AGAIN)
        }
    };

    let turn = turns.values_mut().find(|turn| turn.task == Some(task));

    if let Some(turn) = turn {
        turn.is_under_way = false;
        turn.task = None;
        // The answer may be older than the news.
        let pause = if turn.has_news {
            pause.min(SOON)
        } else {
            pause
        };

        let now = Instant::now();
        // A homeserver may name any pause, even one that overflows.
        turn.due = now.checked_add(pause).unwrap_or(now + LATER);
    }
}

/// A stranger's text, escaped for a log line.
fn escape_for_log(text: &str) -> String {
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Refusal;

    fn refused(status: u16, errcode: &str) -> matrix::Error {
        matrix::Error::Refused(Box::new(Refusal {
            asked: "POST /join".to_owned(),
            status,
            errcode: Some(errcode.to_owned()),
            message: String::new(),
            retry_after: None,
            soft_logout: false,
        }))
    }

    fn under_way(task: Id) -> TaskTurn {
        TaskTurn {
            tried: Instant::now(),
            due: Instant::now(),
            is_under_way: true,
            task: Some(task),
            has_news: false,
        }
    }

    #[tokio::test]
    async fn what_breaks_off_is_tried_again_later_and_the_others_go_on() {
        let mut tasks = RunningTasks::new();
        let broken = tasks.spawn(async { std::future::pending().await });
        let other = tokio::spawn(std::future::pending::<()>());
        let mut turns = HashMap::from([
            ("!broken".to_owned(), under_way(broken.id())),
            ("!other".to_owned(), under_way(other.id())),
        ]);
        broken.abort();
        let done = tasks.join_next_with_id().await.unwrap();
        record_finished_task(&mut turns, done);
        assert!(turns["!other"].is_under_way);
        let broken = &turns["!broken"];
        assert!(!broken.is_under_way && broken.due > Instant::now() + AGAIN / 2);
        let endless = ("!other".to_owned(), Ok(Duration::MAX));
        record_finished_task(&mut turns, Ok((other.id(), endless)));
        assert!(turns["!other"].due > Instant::now());
        other.abort();
    }

    #[test]
    fn a_closed_room_is_tried_rarely_and_a_failure_soon_again() {
        for no in [
            refused(403, "M_FORBIDDEN"),
            refused(404, "M_NOT_FOUND"),
            refused(404, "M_UNKNOWN"),
        ] {
            assert_eq!(pause_after(&no, DAY_MS), LATER, "{no}");
            assert_eq!(pause_after(&no, -DAY_MS), LATER, "a time that is to come");
            assert_eq!(pause_after(&no, 1000), AGAIN, "it may be made just now");
        }

        for failure in [refused(502, "M_UNKNOWN"), refused(404, "M_UNRECOGNIZED")] {
            assert_eq!(pause_after(&failure, DAY_MS), AGAIN, "{failure}");
        }
    }
}
