//! Loops that panic are restarted: a bug in one kind of work stops no other, and the status shows
//! that it does not run.

use super::Observer;
use super::backoff::Backoff;
use super::error_state::Work;
use futures_util::FutureExt;
use std::any::Any;
use std::panic::AssertUnwindSafe;

impl Observer {
    /// Runs a kind of work until it ends by itself. A panic is logged, counted and shown as its
    /// trouble; then the work is begun again.
    pub(super) async fn keep<F: Future<Output = ()>>(&self, work: Work, begin: impl Fn() -> F) {
        let mut backoff = Backoff::new();
        loop {
            // Half-done work is in the database as the last commit left it, and every loop begins
            // from there.
            let Err(panic) = AssertUnwindSafe(begin()).catch_unwind().await else {
                return;
            };

            let words = panic_words(panic.as_ref());
            tracing::error!(?work, panic = %words, "a fault in Callscope; this work is begun \
                                                    again");
            let text = format!(
                "a fault in Callscope itself stopped a part of its work ({work:?}: {words}); it \
                 was begun again. Please report it"
            );
            self.trouble(work, &text).await;
            tokio::time::sleep(backoff.next()).await;
        }
    }
}

/// The message of a panic.
#[must_use]
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> String {
    if let Some(words) = panic.downcast_ref::<&str>() {
        return (*words).to_owned();
    }

    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "it said nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Changes;
    use crate::clock::Clock;
    use crate::matrix::{self, Client, Secret};
    use crate::observer::{AccountLogin, RetentionSettings, Settings};
    use crate::rtc::fold::Rules;
    use crate::rtc::words::Mode;
    use crate::store::Writer;
    use crate::store::ingest::vantages;
    use std::sync::atomic::{AtomicU32, Ordering};

    async fn observer(store: &Writer) -> Observer {
        let settings = Settings {
            account: AccountLogin::Token(Secret::new("t")),
            mode: Mode::Follow,
            poll_schedule: "0 0 * * * *".into(),
            rooms: Vec::new(),
            peek_rooms: Vec::new(),
            spaces: Vec::new(),
            invite_servers: Vec::new(),
            opt_out_by_message: false,
            invite_users: Vec::new(),
            backfill: false,
            backfill_days: None,
            backfill_page: 250,
            retention: RetentionSettings::default(),
            rejoin_grace_ms: crate::rtc::broken_call::REJOIN_GRACE_MS,
            probe: None,
            check_own_server: false,
            rules: Rules::default(),
        };

        let nowhere = "http://127.0.0.1:1".parse().unwrap();
        let client = Client::new(matrix::Settings::new(nowhere)).unwrap();
        let (changes, clock) = (Changes::default(), Clock::fixed(1000));
        let observer = Observer::new(client, store.clone(), changes, clock, settings);
        observer.note_vantage("", None, None).await;

        observer
    }

    #[tokio::test]
    async fn work_that_panics_is_told_counted_and_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("a.db").display());
        let store = Writer::open(&url).await.unwrap();
        let observer = observer(&store).await;
        let runs = AtomicU32::new(0);
        let run = || async {
            assert!(
                runs.fetch_add(1, Ordering::SeqCst) > 0,
                "no such \u{1b}[2J thing"
            );
        };

        observer.keep(Work::History, run).await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        let vantage = vantages::list_vantages(&store).await.unwrap().remove(0);
        assert_eq!(vantage.errors, 1);
        let said = vantage.error.unwrap();
        assert!(
            said.contains("History: no such") && said.contains("begun again"),
            "{said}"
        );
        observer.succeeded(Work::History).await;
        let vantage = vantages::list_vantages(&store).await.unwrap().remove(0);
        assert_eq!(vantage.error, None, "its next success ends the trouble");
    }
}
