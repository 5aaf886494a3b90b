//! The schedules of polls and of probes, by cron expressions.

use super::{Error, Observer};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler};

/// How long it is from one poll to the next by the schedule, ms; 0 while that is not known.
#[derive(Debug, Default)]
pub(super) struct Rhythm(AtomicI64);

impl Rhythm {
    /// How often it polls, where that is known, ms.
    pub fn every_ms(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }

    /// The next time comes at `next_ms`; of several the longest counts, as nights may have none.
    fn next_is(&self, next_ms: Option<i64>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.ok().and_then(|now| i64::try_from(now.as_millis()).ok());
        if let Some((next_ms, now)) = next_ms.zip(now) {
            self.0
                .fetch_max(next_ms.saturating_sub(now), Ordering::Relaxed);
        }
    }
}

impl Observer {
    /// Rings for a poll, and for a probe where that is switched on, by their schedules.
    pub(super) async fn schedule(&self) -> Result<JobScheduler, Error> {
        let mut scheduler = JobScheduler::new().await?;
        let polls = scheduler
            .add(rings(
                &self.settings.poll_schedule,
                &self.poll_due,
                &self.rhythm,
            )?)
            .await?;
        if let Some(probe) = &self.settings.probe {
            scheduler
                .add(rings(&probe.schedule, &self.probe_due, &Arc::default())?)
                .await?;
        }
        scheduler.start().await?;
        let next = scheduler.next_tick_for_job(polls).await?;
        self.rhythm
            .next_is(next.map(|next| next.timestamp_millis()));
        Ok(scheduler)
    }
}

/// Rings a bell by a schedule, and says how long it is until the next time. The scheduler has a task of its own that may
/// outlive the observer, so it only knows the bell, and only while the observer holds it.
fn rings(schedule: &str, bell: &Arc<Notify>, rhythm: &Arc<Rhythm>) -> Result<Job, Error> {
    let (bell, rhythm) = (Arc::downgrade(bell), Arc::downgrade(rhythm));
    Ok(Job::new_async(schedule, move |job, mut scheduler| {
        let (bell, rhythm) = (bell.upgrade(), rhythm.upgrade());
        Box::pin(async move {
            if let Some(bell) = bell {
                bell.notify_one();
            }
            if let (Some(rhythm), Ok(next)) = (rhythm, scheduler.next_tick_for_job(job).await) {
                rhythm.next_is(next.map(|next| next.timestamp_millis()));
            }
        })
    })?)
}
