//! The schedule of polls, by cron expression.

use super::{Error, Observer};
use std::sync::Arc;
use tokio_cron_scheduler::{Job, JobScheduler};

impl Observer {
    /// Rings for a poll by the schedule. The scheduler has a task of its own that may outlive the observer,
    /// so it only knows the bell, and only while the observer holds it.
    pub(super) async fn schedule(&self) -> Result<JobScheduler, Error> {
        let scheduler = JobScheduler::new().await?;
        let bell = Arc::downgrade(&self.poll_due);
        let job = Job::new_async(self.settings.poll_schedule.as_str(), move |_, _| {
            let bell = bell.upgrade();
            Box::pin(async move {
                if let Some(bell) = bell {
                    bell.notify_one();
                }
            })
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        Ok(scheduler)
    }
}
