//! `callscope backfill`: reads the history of rooms in the foreground and shows the progress.

use super::look::{number_with_noun, say};
use super::upgrade_bar::AboveBar;
use crate::changes::Changes;
use crate::clock::Clock;
use crate::config::Config;
use crate::observer::{BackfillPlan, BackfillScope, Observer};
use crate::store::db::instance_lock::InstanceLock;
use crate::store::db::upgrade_progress::UpgradeProgress;
use crate::store::read::history_progress::{self, ReadProgress, ReadSums};
use crate::store::{self, Writer};
use crate::{app, telemetry};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A room that fails this many times in a row is left for the next run.
const TRIES: u32 = 5;
/// The interval of the bar, and of lines if there is no bar.
const LOOK: Duration = Duration::from_millis(500);
const LINE: Duration = Duration::from_secs(10);
/// The bar's full length: per mille.
const WHOLE: u64 = 1000;
/// The exit code of a program that Ctrl-C ended.
const STOPPED: u8 = 130;
const READS: i64 = 100_000;

const SERVER_DOES_IT: &str = "A running Callscope reads the history of its rooms by itself: \
                              /status on its pages says how far it is.";

/// Runs `callscope backfill` for the rooms of `asked`, or for all watched rooms if that is empty.
/// It needs the database for itself. The exit code is 0 if all was read, 1 if something is missing,
/// 130 if it was stopped.
pub(super) async fn run(config: Config, asked: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let Some(account) = &config.account else {
        return Ok(ExitCode::FAILURE);
    };

    let bar = new_progress_bar()?;
    let above = bar.clone();
    telemetry::start_log_to(&config.log, move || AboveBar::new(&above))?;
    let clock = Clock::System;
    let hold = match InstanceLock::acquire_lock(
        config.database_url.expose(),
        &app::describe_process(&clock),
    )
    .await
    {
        Err(error @ store::Error::Held { .. }) => {
            return Err(format!("{error}. {SERVER_DOES_IT}").into());
        }
        hold => hold?,
    };

    let store = app::open_database(&config, &UpgradeProgress::default()).await?;
    // The command was given explicitly, so it runs even if the configuration disables back-fill.
    let wanted = Config {
        backfill: true,
        ..config.clone()
    };

    let observer = app::build_observer(&wanted, account, &store, Changes::default(), clock)?;
    let (stop, stopped) = watch::channel(false);
    let scope = BackfillScope {
        rooms: None,
        tries: TRIES,
        stop: stopped,
    };

    let ended = tokio::select! {
        ended = plan_and_read(&observer, &store, asked, scope, &bar) => ended,
        () = wait_for_stops(&stop, &bar) => Ok(ExitCode::from(STOPPED)),
        lost = hold.lost() => Err(lost.into()),
    };

    bar.finish_and_clear();
    drop(observer);
    store.close().await;
    drop(hold);

    ended
}

/// Requests a stop at the end of the current page. Returns when a stop is requested a second time.
async fn wait_for_stops(stop: &watch::Sender<bool>, bar: &ProgressBar) {
    app::wait_for_stop_signal().await;
    let _ = stop.send(true);
    say_above_bar(
        bar,
        "Stopping at the end of this page; once more stops at once.",
    );
    app::wait_for_stop_signal().await;
}

/// Finds the rooms, reads their history, and reports the result. `asked` as in [`run`]; the rooms
/// are not known before the account has signed in.
async fn plan_and_read(
    observer: &Observer,
    store: &Writer,
    asked: &[String],
    scope: BackfillScope,
    bar: &ProgressBar,
) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    say_above_bar(bar, "Signing in and looking at the rooms.");
    let plan = tokio::select! {
        plan = observer.plan(asked, &scope) => plan?,
        never = show_rooms_checked(store, bar) => match never {},
    };

    let Some(BackfillPlan { rooms, mut unread }) = plan else {
        return Ok(ExitCode::from(STOPPED));
    };

    let look = ProgressDisplay::read_progress(
        store,
        (!asked.is_empty()).then(|| rooms.iter().cloned().collect::<Vec<_>>()),
    )
    .await?;
    let scope = BackfillScope {
        rooms: (!asked.is_empty()).then_some(rooms),
        ..scope
    };

    let failed = tokio::select! {
        failed = observer.backfill(&scope) => failed?,
        never = look.show(store, bar) => match never {},
    };

    unread.extend(failed);
    bar.finish_and_clear();
    let stopped = *scope.stop.borrow();

    report_result(&look, store, &unread, stopped, begun).await
}

/// Shows how many rooms were checked so far, for ever. If the database cannot be read, it tries
/// again the next time.
async fn show_rooms_checked(store: &Writer, bar: &ProgressBar) -> Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Ok(sums) = history_progress::sum_reads(store, None).await {
            bar.set_message(format!("looking at the rooms, {} so far", sums.rooms));
        }
    }
}

/// Prints what was read and what is missing, and returns the exit code.
async fn report_result(
    look: &ProgressDisplay,
    store: &Writer,
    unread: &BTreeMap<String, String>,
    stopped: bool,
    begun: Instant,
) -> Result<ExitCode, Box<dyn Error>> {
    let (sums, seconds) = (look.sums(store).await?, begun.elapsed().as_secs_f64());
    for (room, why) in unread {
        eprintln!("{room} could not be read: {why}");
    }

    let (pages, found) = (
        sums.pages - look.before.pages,
        sums.found - look.before.found,
    );
    say!(
        "{} of {} read; {} and {} in {seconds:.1} s, {} and {} with all runs before.",
        sums.rooms - sums.open,
        number_with_noun(sums.rooms, "room", "rooms"),
        number_with_noun(pages, "page", "pages"),
        number_with_noun(found, "new event", "new events"),
        number_with_noun(sums.pages, "page", "pages"),
        number_with_noun(sums.found, "event", "events")
    );
    if stopped {
        say!("Stopped. All of it is kept; the same command, or the server, goes on from here.");
        return Ok(ExitCode::from(STOPPED));
    }

    if !unread.is_empty() || sums.open > 0 {
        say!(
            "What is missing can be tried again: the same command, or the server, goes on from \
             here."
        );
        return Ok(ExitCode::FAILURE);
    }

    if pages == 0 {
        say!(
            "There was nothing to do. What happened since the server ran last, it reads at its \
             next start."
        );
    }

    Ok(ExitCode::SUCCESS)
}

/// The progress display.
struct ProgressDisplay {
    /// `None` = every room.
    rooms: Option<Vec<String>>,
    /// What had been read before this run.
    before: ReadSums,
    /// The reads that were left at the beginning, as [`reads_ahead`] counts them.
    ahead: f64,
}

impl ProgressDisplay {
    /// A display for these rooms (`None` = every room) that begins with what was read before.
    async fn read_progress(
        store: &Writer,
        rooms: Option<Vec<String>>,
    ) -> Result<Self, store::Error> {
        let mut look = Self {
            rooms,
            before: ReadSums::default(),
            ahead: 0.0,
        };

        look.before = look.sums(store).await?;
        look.ahead = reads_ahead(&look.open(store).await?);

        Ok(look)
    }

    /// How much was read of these rooms so far, in all runs.
    async fn sums(&self, store: &Writer) -> Result<ReadSums, store::Error> {
        let Some(rooms) = &self.rooms else {
            return history_progress::sum_reads(store, None).await;
        };

        let mut sums = ReadSums::default();
        for room in rooms {
            sums += history_progress::sum_reads(store, Some(room)).await?;
        }

        Ok(sums)
    }

    /// The reads of these rooms that are not done.
    async fn open(&self, store: &Writer) -> Result<Vec<ReadProgress>, store::Error> {
        let mut open = history_progress::progress_of_open_reads(store, READS).await?;
        open.retain(|read| {
            self.rooms
                .as_ref()
                .is_none_or(|rooms| rooms.contains(&read.job.room_id))
        });

        Ok(open)
    }

    /// Shows the progress twice a second, for ever; without a bar, as a line every ten seconds.
    async fn show(&self, store: &Writer, bar: &ProgressBar) -> Infallible {
        let (begun, mut said) = (Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(LOOK).await;
            let (Ok(sums), Ok(open)) = (self.sums(store).await, self.open(store).await) else {
                continue;
            };

            let (share, words) =
                self.words(&sums, reads_ahead(&open), begun.elapsed().as_secs_f64());
            bar.set_position(share);
            bar.set_message(words.clone());
            if bar.is_hidden() && said.elapsed() >= LINE {
                said = Instant::now();
                say_above_bar(bar, &words);
            }
        }
    }

    /// The bar's position in per mille, and the text beside it.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "about"
    )]
    /// The bar's position in per mille, and the text beside it. `ahead` is how many reads are left,
    /// `seconds` how long this run has lasted.
    fn words(&self, sums: &ReadSums, ahead: f64, seconds: f64) -> (u64, String) {
        let found = sums.found - self.before.found;
        let rate = found as f64 / seconds.max(0.001);
        let (done, rooms) = (self.ahead - ahead, sums.rooms - sums.open);
        // The end may not fit into the terminal, so the most important comes first.
        let mut words = format!(
            "{rooms} of {}",
            number_with_noun(sums.rooms, "room", "rooms")
        );
        if sums.open == 0 {
            words.push_str(", asking for single events that history did not give");
            return (WHOLE, words);
        }

        if ahead > 0.0 && done > self.ahead / 50.0 {
            let _ = write!(
                words,
                ", about {} left",
                rough_duration(seconds * ahead / done)
            );
        }

        let _ = write!(
            words,
            ", {}, {rate:.0}/s, {}",
            number_with_noun(found, "new event", "new events"),
            number_with_noun(sums.pages - self.before.pages, "page", "pages")
        );
        let share = if self.ahead > 0.0 {
            done.max(0.0) / self.ahead
        } else {
            0.0
        };

        (((share * WHOLE as f64) as u64).min(WHOLE - 1), words)
    }
}

/// The number of reads that are left. A read whose length is not known counts half.
fn reads_ahead(open: &[ReadProgress]) -> f64 {
    let percent: i64 = open
        .iter()
        .map(|read| read.ahead_percent().unwrap_or(50))
        .sum();

    f64::from(i32::try_from(percent).unwrap_or(i32::MAX)) / 100.0
}

/// A duration in words, in seconds, minutes or hours.
fn rough_duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// A progress bar with room for a text beside it.
fn new_progress_bar() -> Result<ProgressBar, Box<dyn Error>> {
    let bar = ProgressBar::new(WHOLE);
    bar.set_style(ProgressStyle::with_template(
        "{bar:20} {percent:>3} % {wide_msg}",
    )?);

    Ok(bar)
}

/// Prints a line above the bar, or alone if standard error is no terminal.
fn say_above_bar(bar: &ProgressBar, line: &str) {
    bar.suspend(|| eprintln!("{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_when_there_is_enough_to_say() {
        let before = ReadSums {
            rooms: 4,
            open: 4,
            pages: 10,
            found: 100,
        };

        let look = ProgressDisplay {
            rooms: None,
            before,
            ahead: 4.0,
        };

        let now = ReadSums {
            rooms: 4,
            open: 3,
            pages: 30,
            found: 1100,
        };

        let (share, words) = look.words(&now, 3.0, 10.0);
        assert_eq!(
            (share, words.as_str()),
            (
                250,
                "1 of 4 rooms, about 30 s left, 1000 new events, 100/s, 20 pages"
            )
        );
        let (share, words) = look.words(&now, 3.99, 10.0);
        assert_eq!(
            (share, words.as_str()),
            (2, "1 of 4 rooms, 1000 new events, 100/s, 20 pages"),
            "too early"
        );
        let (share, words) = look.words(&ReadSums { open: 0, ..now }, 0.0, 10.0);
        assert!(share == WHOLE && words.contains("single events"), "{words}");
        assert!(
            look.words(&now, 0.0, 10.0).0 < WHOLE,
            "not full while a read is open"
        );
        assert_eq!(
            (
                rough_duration(89.0),
                rough_duration(600.0),
                rough_duration(7200.0)
            ),
            ("89 s".into(), "10 min".into(), "2.0 h".into())
        );
    }
}
