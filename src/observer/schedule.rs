//! The schedule of polls, by cron expression.

use super::{Error, Observer};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_cron_scheduler::{Job, JobScheduler};

impl Observer {
    /// Polls by the schedule until the returned scheduler is dropped. A poll that takes longer than the
    /// time to the next one is not doubled.
    pub(super) async fn schedule(&self) -> Result<JobScheduler, Error> {
        let scheduler = JobScheduler::new().await?;
        let observer = self.clone();
        let running = Arc::new(Mutex::new(()));
        let job = Job::new_async(self.settings.poll_schedule.as_str(), move |_, _| {
            let (observer, running) = (observer.clone(), running.clone());
            Box::pin(async move {
                match running.try_lock() {
                    Ok(_guard) => observer.poll_all().await,
                    Err(_) => tracing::warn!("the poll before is not done yet; this one is left out"),
                }
            })
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        Ok(scheduler)
    }
}
