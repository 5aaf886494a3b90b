//! The runner of history jobs: takes those that are due, gives each one request, and decides what
//! an error means for it and for the others. Reads that are not done come before all else.

use super::schedule::{BackfillScope, JobStates};
use crate::changes::Change;
use crate::matrix;
use crate::observer::backoff::Backoff;
use crate::observer::error_state::Work;
use crate::observer::{Error, Observer};
use crate::rtc::time::DAY_MS;
use crate::rtc::words::{JobEnd, JobKind};
use crate::store::ingest::history_jobs::events;
use crate::store::ingest::history_jobs::job::{self, HistoryJob, JobTurn};
use crate::store::ingest::rooms;
use std::time::Duration;
use tracing::Instrument;

/// Without a notification, look for work after this time.
const IDLE: Duration = Duration::from_mins(1);

impl Observer {
    /// Works on all history jobs, for ever.
    pub(in crate::observer) async fn read_history(&self) {
        let (scope, mut states) = (BackfillScope::everything(), JobStates::default());
        let mut looked = false;

        loop {
            if !looked {
                looked = self.look_at_ends().await;
            }

            // This scope gives up at no error.
            let _ = self.work_until_idle(&scope, &mut states).await;
            self.rest(&scope, &states).await;
        }
    }

    /// Works on jobs until none is due, or until it is time to stop. After an error that is not of
    /// one room it waits, longer each time.
    ///
    /// # Errors
    /// Only those at which the scope gives up.
    pub(super) async fn work_until_idle(
        &self,
        scope: &BackfillScope,
        states: &mut JobStates,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        while !scope.stopped() {
            let error = match self.work_round(scope, states).await {
                Ok(worked) => {
                    backoff = Backoff::new();
                    self.succeeded(Work::History).await;
                    if worked {
                        continue;
                    }

                    return Ok(());
                }
                Err(error) if scope.gives_up_at(&error) => return Err(error),
                Err(error) => error,
            };

            states.forget_paces();
            self.failed(Work::History, "reading history", &error).await;
            let pause = Self::pause(&error, &mut backoff);
            scope.unless_stopped(self.rest_after(&error, pause)).await;
        }

        Ok(())
    }

    /// Waits for work: a notification, or a job that is due, but at most [`IDLE`].
    async fn rest(&self, scope: &BackfillScope, states: &JobStates) {
        let now = self.clock.now_ms();
        let stored = job::next_due_time(&self.store, now).await.ok().flatten();
        let stored =
            stored.map(|due| Duration::from_millis(due.saturating_sub(now).unsigned_abs()));
        let wait = states
            .next_due(scope)
            .into_iter()
            .chain(stored)
            .fold(IDLE, Duration::min);
        let _ = tokio::time::timeout(wait, self.history.notified()).await;
    }

    /// Gives each job that is due one request, so that no room waits for another. While reads that
    /// are not done get pages, the other jobs wait. Returns false if nothing was done: no job was
    /// due, or only reads were, and all of them failed.
    async fn work_round(
        &self,
        scope: &BackfillScope,
        states: &mut JobStates,
    ) -> Result<bool, Error> {
        let mut worked = false;
        for turn in JobTurn::ALL {
            let is_first = turn == JobTurn::OpenRead;
            let jobs = self.list_due_jobs(turn).await?;
            if is_first {
                states.forget_others(&jobs);
            }

            for job in jobs.iter().filter(|job| scope.takes_job(job)) {
                if scope.stopped() {
                    return Ok(worked);
                }

                if !states.is_due(job, scope) {
                    continue;
                }

                let span = tracing::error_span!(
                    "history_job",
                    room_id = job.room_id,
                    kind = job.kind.as_str(),
                    event_id = Some(&job.event_id).filter(|id| !id.is_empty()),
                );
                match self.work_on(job, states).instrument(span.clone()).await {
                    Ok(()) => worked = true,
                    Err(error) if is_room_error(&error) => {
                        let postponed = self.postpone(job, states, &error);
                        postponed.instrument(span).await?;
                        // A room that fails again and again must not block the other jobs.
                        worked |= !is_first;
                    }
                    Err(error) => return Err(error),
                }
            }

            if is_first && worked {
                break;
            }
        }

        Ok(worked)
    }

    /// The jobs of this turn that are due. Without back-fill there are none of the kinds that only
    /// complete the history. Missing events are looked for first.
    async fn list_due_jobs(&self, turn: JobTurn) -> Result<Vec<HistoryJob>, Error> {
        let now = self.clock.now_ms();
        let is_of_backfill = matches!(turn, JobTurn::EndedRead | JobTurn::Event);
        if is_of_backfill && !self.settings.backfill {
            return Ok(Vec::new());
        }

        if turn == JobTurn::Event {
            events::find_missing_events(&self.store, self.wanted_since(now)).await?;
        }

        Ok(job::list_due_jobs(&self.store, turn, now).await?)
    }

    /// Makes one request for this job. If its room showed an error of reading history, that is
    /// over.
    async fn work_on(&self, job: &HistoryJob, states: &mut JobStates) -> Result<(), Error> {
        match job.kind {
            JobKind::Recheck => return self.read_again(job).await,
            JobKind::Event => return self.ask_for_event(job).await,
            JobKind::Backfill | JobKind::Gap if job.done_ms.is_some() => {
                return self.try_ended_again(job).await;
            }
            JobKind::Backfill | JobKind::Gap => self.read_page(job, states).await?,
        }

        if let Some(text) = states.note_recovery(job) {
            rooms::clear_room_error(&self.store, &job.room_id, &text).await?;
            self.changes.announce(Change::Room {
                room_id: job.room_id.clone(),
            });
        }

        Ok(())
    }

    /// Schedules another attempt of a job that failed; the other jobs continue. A read that is not
    /// done waits in memory, and its room shows the error. All others wait in the database.
    async fn postpone(
        &self,
        job: &HistoryJob,
        states: &mut JobStates,
        error: &Error,
    ) -> Result<(), Error> {
        let now = self.clock.now_ms();
        if job.is_open_read() {
            let text = format!("{}{error}", rooms::HISTORY_TROUBLE);
            tracing::warn!(%error, "history could not be read");
            rooms::record_room_error(&self.store, &job.room_id, None, &text, now).await?;
            states.note_failure(job, error, text);
            self.changes.announce(Change::Room {
                room_id: job.room_id.clone(),
            });

            return Ok(());
        }

        if job.kind == JobKind::Event {
            tracing::warn!(%error, "an event could not be requested; it is tried again later");
        } else {
            tracing::debug!(%error, "it is tried again later");
        }

        let mut job = job.clone();
        if matches!(error, Error::Matrix(error) if error.is_unknown_position()) {
            // The server lost the token: it is read from the newest event on.
            (job.token, job.first_token, job.last_token) = (None, None, None);
        }

        Ok(job::postpone_job(&self.store, &job, JobEnd::Failed, now).await?)
    }

    /// The time, ms, from which on the configuration wants history, at `now`, ms; `None` = all of
    /// it.
    pub(super) fn asked_since(&self, now: i64) -> Option<i64> {
        self.settings
            .backfill_days
            .map(|days| now - i64::from(days) * DAY_MS)
    }
}

/// Does the error concern only the room of the job? Rate limits, an unreachable homeserver, a
/// refused account and the database do not. A request that timed out does: the homeserver may be
/// slow with this room alone.
fn is_room_error(error: &Error) -> bool {
    let Error::Matrix(error) = error else {
        return false;
    };

    !error.is_revoked()
        && error.retry_after().is_none()
        && !matches!(error, matrix::Error::Unreachable { .. })
}
