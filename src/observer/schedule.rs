//! The schedules of polls and of probes, by cron expressions.

use super::{Error, Observer};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler};

impl Observer {
    /// Rings for a poll, and for a probe where that is switched on, by their schedules.
    pub(super) async fn schedule(&self) -> Result<JobScheduler, Error> {
        let scheduler = JobScheduler::new().await?;
        scheduler
            .add(rings(&self.settings.poll_schedule, &self.poll_due)?)
            .await?;
        if let Some(probe) = &self.settings.probe {
            scheduler
                .add(rings(&probe.schedule, &self.probe_due)?)
                .await?;
        }
        scheduler.start().await?;
        Ok(scheduler)
    }
}

/// Rings a bell by a schedule. The scheduler has a task of its own that may outlive the observer, so it only knows the
/// bell, and only while the observer holds it.
fn rings(schedule: &str, bell: &Arc<Notify>) -> Result<Job, Error> {
    let bell = Arc::downgrade(bell);
    Ok(Job::new_async(schedule, move |_, _| {
        let bell = bell.upgrade();
        Box::pin(async move {
            if let Some(bell) = bell {
                bell.notify_one();
            }
        })
    })?)
}
