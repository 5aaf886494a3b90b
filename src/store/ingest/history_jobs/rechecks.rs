//! Rechecks. A homeserver that lags adds events to a part of the history that we have already read,
//! and does not say so. So each gap is read again a little later.

use super::job::{self, HistoryJob};
use crate::rtc::words::{JobEnd, JobKind};
use crate::store::{Error, Tx, Writer};

/// Delays after which a gap is read again, ms: twice, and a third time if the second found
/// something new.
const ROUNDS_AFTER: [i64; 3] = [10_000, 60_000, 600_000];
/// Maximum number of pages that are read again: what comes afterwards is near the end of the gap.
const PAGES_MAX: i64 = 20;

/// Opens at `now`, ms, the recheck of a gap that begins at this token (`None` = at the newest
/// event) and took this many pages. Events older than `horizon_ms` are not wanted; `None` = all
/// are.
///
/// A room has one recheck. A newer gap takes the place of an older one, because it begins nearer to
/// now; their pages are added, up to [`PAGES_MAX`], so that the older gap is read with it. Of two
/// horizons the later one counts.
pub(super) async fn open_recheck(
    tx: &mut Tx,
    room_id: &str,
    token: Option<&str>,
    pages: i64,
    horizon_ms: Option<i64>,
    now: i64,
) -> Result<(), Error> {
    let mut recheck = HistoryJob {
        kind: JobKind::Recheck,
        room_id: room_id.to_owned(),
        due_ms: Some(now + ROUNDS_AFTER[0]),
        token: token.map(str::to_owned),
        first_token: token.map(str::to_owned),
        pages_max: pages.max(1),
        horizon_ms,
        ..HistoryJob::default()
    };

    let older = job::find_job(tx, &recheck.key()).await?;
    if let Some(older) = older.filter(|older| older.done_ms.is_none()) {
        recheck.pages_max += older.pages_max;
        recheck.horizon_ms = horizon_ms.max(older.horizon_ms);
    }

    recheck.pages_max = recheck.pages_max.min(PAGES_MAX);

    job::save_job(tx, &recheck).await
}

/// Opens a recheck of the newest part of a room's history, because the homeserver does not give us
/// an event in it yet. Events older than `horizon_ms` are not wanted; it is opened at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn open_recheck_of_newest(
    store: &Writer,
    room_id: &str,
    horizon_ms: Option<i64>,
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    open_recheck(&mut tx, room_id, None, 1, horizon_ms, now).await?;

    Ok(tx.commit().await?)
}

/// Notes that a page was read at `now`, ms: the token of the next one (`None` if this was the last)
/// and how many events were new. The recheck goes on with the next page, begins its next round
/// later, or is done.
///
/// # Errors
/// When the database fails.
pub async fn record_page_of_recheck(
    store: &Writer,
    recheck: &HistoryJob,
    token: Option<&str>,
    new: i64,
    now: i64,
) -> Result<(), Error> {
    match after_page(recheck, token, new, now) {
        Some(next) => job::replace_job(store, recheck, &next).await,
        None => job::finish_job(store, recheck, JobEnd::Read, now).await,
    }
}

/// The recheck as it goes on after a page that brought `new` new events: at the next page, or at
/// the beginning of the next round, which waits as [`ROUNDS_AFTER`] says after `now`, ms. `token`
/// is that of the next page, `None` = there is none. Returns `None` when the recheck is done.
fn after_page(recheck: &HistoryJob, token: Option<&str>, new: i64, now: i64) -> Option<HistoryJob> {
    let (pages, found) = (recheck.pages + 1, recheck.found + new);
    if let Some(token) = token.filter(|_| pages < recheck.pages_max) {
        return Some(HistoryJob {
            token: Some(token.to_owned()),
            due_ms: Some(now),
            pages,
            found,
            ..recheck.clone()
        });
    }

    let round = recheck.round + 1;
    let delay = usize::try_from(round)
        .ok()
        .and_then(|round| ROUNDS_AFTER.get(round))?;
    let goes_on = round == 1 || found > 0;

    goes_on.then(|| HistoryJob {
        token: recheck.first_token.clone(),
        due_ms: Some(now + delay),
        pages: 0,
        found: 0,
        round,
        ..recheck.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recheck(round: i64) -> HistoryJob {
        HistoryJob {
            kind: JobKind::Recheck,
            room_id: "!r:h".to_owned(),
            first_token: Some("first".to_owned()),
            token: Some("x".into()),
            pages: 1,
            pages_max: 3,
            round,
            ..HistoryJob::default()
        }
    }

    #[test]
    fn it_is_done_twice_and_as_long_as_something_comes() {
        let next = after_page(&recheck(0), Some("y"), 4, 7).unwrap();
        assert_eq!(
            (
                next.token.as_deref(),
                next.pages,
                next.found,
                next.round,
                next.due_ms
            ),
            (Some("y"), 2, 4, 0, Some(7))
        );
        let again = after_page(&next, Some("z"), 0, 7).unwrap();
        assert_eq!(
            (
                again.token.as_deref(),
                again.pages,
                again.found,
                again.round
            ),
            (Some("first"), 0, 0, 1)
        );
        assert_eq!(again.due_ms, Some(60_007));
        assert!(
            after_page(&recheck(0), None, 0, 7).is_some(),
            "a second time in any case"
        );
        assert!(after_page(&recheck(1), None, 0, 7).is_none());
        assert!(after_page(&recheck(1), None, 1, 7).is_some());
        assert!(
            after_page(&recheck(2), None, 9, 7).is_none(),
            "at some time it is over"
        );
    }
}
