//! The schedules of polls and of probes, by cron expressions.

use super::{Error, Observer};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler};

/// The interval of the schedule's polls, ms; 0 while it is not known.
#[derive(Debug, Default)]
pub(super) struct PollInterval {
    /// From the start to the first poll. It says little, so a known interval replaces it.
    to_first_ms: AtomicI64,
    /// The shortest time from one poll to the next.
    shortest_ms: AtomicI64,
}

impl PollInterval {
    /// The interval of polls, ms; `None` while it is not known.
    pub fn every_ms(&self) -> Option<i64> {
        [&self.shortest_ms, &self.to_first_ms]
            .into_iter()
            .map(|ms| ms.load(Ordering::Relaxed))
            .find(|ms| *ms > 0)
    }

    /// Notes that the first poll comes in `ms`.
    fn first_is_in(&self, ms: i64) {
        self.to_first_ms.store(ms, Ordering::Relaxed);
    }

    /// Notes that after this poll the next one comes in `ms`. The shortest interval counts: after a
    /// night or a weekend without polls the last poll is old, and what it saw may no longer be
    /// true.
    fn next_is_in(&self, ms: i64) {
        let known = self.shortest_ms.load(Ordering::Relaxed);
        if ms > 0 && (known == 0 || ms < known) {
            self.shortest_ms.store(ms, Ordering::Relaxed);
        }
    }
}

/// The time until this moment, ms; negative if it is past. It uses the system's clock, as the
/// scheduler does. `None` if that is before 1970.
fn ms_from_now(next_ms: i64) -> Option<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.ok()?.as_millis()).ok()?;
    Some(next_ms.saturating_sub(now))
}

impl Observer {
    /// Starts the schedules of polls, and of probes if they are enabled. The scheduler that it
    /// returns must be kept.
    pub(super) async fn schedule(&self) -> Result<JobScheduler, Error> {
        let mut scheduler = JobScheduler::new().await?;
        let polls = scheduler
            .add(notifying_job(
                &self.settings.poll_schedule,
                &self.poll_due,
                &self.rhythm,
            )?)
            .await?;
        if !self.settings.spaces.is_empty() {
            scheduler
                .add(notifying_job(
                    &self.settings.poll_schedule,
                    &self.spaces_due,
                    &Arc::default(),
                )?)
                .await?;
        }

        if let Some(probe) = &self.settings.probe {
            scheduler
                .add(notifying_job(
                    &probe.schedule,
                    &self.probe_due,
                    &Arc::default(),
                )?)
                .await?;
        }

        scheduler.start().await?;
        let next = scheduler.next_tick_for_job(polls).await?;
        if let Some(ms) = next.and_then(|next| ms_from_now(next.timestamp_millis())) {
            self.rhythm.first_is_in(ms);
        }

        Ok(scheduler)
    }
}

/// A job that notifies `bell` by a schedule, and notes how long it is until the next time. The
/// scheduler has a task of its own that may outlive the observer, so it holds the notifier only
/// weakly.
fn notifying_job(
    schedule: &str,
    bell: &Arc<Notify>,
    rhythm: &Arc<PollInterval>,
) -> Result<Job, Error> {
    let (bell, rhythm) = (Arc::downgrade(bell), Arc::downgrade(rhythm));
    Ok(Job::new_async(schedule, move |job, mut scheduler| {
        let (bell, rhythm) = (bell.upgrade(), rhythm.upgrade());
        Box::pin(async move {
            if let Some(bell) = bell {
                bell.notify_one();
            }

            if let (Some(rhythm), Ok(next)) = (rhythm, scheduler.next_tick_for_job(job).await)
                && let Some(ms) = next.and_then(|next| ms_from_now(next.timestamp_millis()))
            {
                rhythm.next_is_in(ms);
            }
        })
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_pause_between_polls_counts() {
        let rhythm = PollInterval::default();
        assert_eq!(rhythm.every_ms(), None);
        rhythm.first_is_in(10);
        assert_eq!(rhythm.every_ms(), Some(10));
        let weekend = 62 * 3_600_000;

        for (ms, every_ms) in [(weekend, weekend), (300_000, 300_000), (weekend, 300_000)] {
            rhythm.next_is_in(ms);
            assert_eq!(rhythm.every_ms(), Some(every_ms));
        }
    }
}
