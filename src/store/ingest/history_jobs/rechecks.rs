//! Late events. A homeserver that lags adds events to a part of the history that we have already
//! read, and does not say so. So each gap is read again a little later.

use crate::store::{Error, Reader, Tx, Writer};

/// Delays after which a gap is read again, ms: twice, and a third time if the second found
/// something new.
const AGAIN_MS: [i64; 3] = [10_000, 60_000, 600_000];
/// Maximum number of attempts to read a gap that cannot be read.
const TRIES_MAX: i64 = 20;
/// Maximum number of pages that are read again: late events are near the end of the gap.
const PAGES_MAX: i64 = 20;

/// A gap that is to be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recheck {
    pub room_id: String,
    /// Where the gap begins; `None` = at the newest event.
    pub first_token: Option<String>,
    /// Where to continue.
    pub token: Option<String>,
    /// Pages read in this round, and the number of pages to read.
    pub page: i64,
    pub pages: i64,
    /// How many times the gap was read again.
    pub round: i64,
    /// New events that this round found.
    pub found: i64,
    /// Events older than this, ms, are not wanted.
    pub horizon_ms: Option<i64>,
}

// A room has one row. A newer gap takes the place of an older one, because it begins nearer to now;
// their pages are added, so that the older gap is read with it.
const PLAN: &str = "insert into late (room_id, first_token, token, page, pages, round, found,
    horizon_ms, due_ms)
    values ($1, $2, $2, 0, $3, 0, 0, $4, $5)
    on conflict (room_id) do update set first_token = excluded.first_token, token = excluded.token,
        page = 0, pages = late.pages + excluded.pages, round = 0, found = 0, tries = 0,
        horizon_ms = case when late.horizon_ms > coalesce(excluded.horizon_ms, late.horizon_ms - 1)
            then late.horizon_ms else excluded.horizon_ms end, due_ms = excluded.due_ms";
const TOO_FAR: &str = "update late set pages = $2 where room_id = $1 and pages > $2";

/// Schedules reading a gap again. It begins at a token and took this many pages.
pub(super) async fn schedule_recheck(
    tx: &mut Tx,
    room_id: &str,
    token: Option<&str>,
    pages: i64,
    horizon_ms: Option<i64>,
    now: i64,
) -> Result<(), Error> {
    let query = sqlx::query(PLAN)
        .bind(room_id)
        .bind(token)
        .bind(pages.max(1))
        .bind(horizon_ms);
    query.bind(now + AGAIN_MS[0]).execute(&mut **tx).await?;
    sqlx::query(TOO_FAR)
        .bind(room_id)
        .bind(PAGES_MAX)
        .execute(&mut **tx)
        .await?;

    Ok(())
}

const WALK: &str = "select first_token, pages, horizon_ms from walks where room_id = $1
    and opened_ms = $2 and reason = 'gap'";

/// A walk over a gap is done: schedules reading the gap again.
pub(super) async fn schedule_after_walk(
    tx: &mut Tx,
    room_id: &str,
    opened_ms: i64,
    now: i64,
) -> Result<(), Error> {
    let query = sqlx::query_as(WALK).bind(room_id).bind(opened_ms);
    let row: Option<(Option<String>, i64, Option<i64>)> = query.fetch_optional(&mut **tx).await?;
    let Some((token, pages, horizon)) = row else {
        return Ok(());
    };

    schedule_recheck(tx, room_id, token.as_deref(), pages, horizon, now).await
}

/// Schedules reading the newest part of a room's history again, because the homeserver does not
/// give us an event in it yet.
///
/// # Errors
/// When the database fails.
pub async fn schedule_newest_recheck(
    store: &Writer,
    room_id: &str,
    horizon_ms: Option<i64>,
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    schedule_recheck(&mut tx, room_id, None, 1, horizon_ms, now).await?;
    Ok(tx.commit().await?)
}

const TODO: &str = "select room_id, first_token, token, page, pages, round, found, horizon_ms
    from late
    where due_ms <= $1 and not exists (select 1 from walks w where w.room_id = late.room_id
    and w.done_ms is null)
    order by due_ms, room_id";

type RecheckRow = (
    String,
    Option<String>,
    Option<String>,
    i64,
    i64,
    i64,
    i64,
    Option<i64>,
);

/// Gaps that are due at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn list_due_rechecks(store: &Reader, now: i64) -> Result<Vec<Recheck>, Error> {
    let rows: Vec<RecheckRow> = sqlx::query_as(TODO)
        .bind(now)
        .fetch_all(&store.read)
        .await?;
    let late = |(room_id, first_token, token, page, pages, round, found, horizon_ms)| Recheck {
        room_id,
        first_token,
        token,
        page,
        pages,
        round,
        found,
        horizon_ms,
    };

    Ok(rows.into_iter().map(late).collect())
}

const NEXT: &str = "select min(due_ms) from late where due_ms > $1";

/// When the next gap is due that is not due at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn next_recheck_due(store: &Reader, now: i64) -> Result<Option<i64>, Error> {
    Ok(sqlx::query_scalar(NEXT)
        .bind(now)
        .fetch_one(&store.read)
        .await?)
}

impl Recheck {
    /// What to do after a page that brought this many new events, and when, ms; `None` when the gap
    /// is done.
    fn after(&self, token: Option<&str>, new: i64, now: i64) -> Option<(Self, i64)> {
        let (page, found) = (self.page + 1, self.found + new);
        if let Some(token) = token.filter(|_| page < self.pages) {
            return Some((
                Self {
                    token: Some(token.to_owned()),
                    page,
                    found,
                    ..self.clone()
                },
                now,
            ));
        }

        let round = self.round + 1;
        let after = usize::try_from(round)
            .ok()
            .and_then(|round| AGAIN_MS.get(round))?;
        let goes_on = round == 1 || found > 0;
        let again = Self {
            token: self.first_token.clone(),
            page: 0,
            found: 0,
            round,
            ..self.clone()
        };

        goes_on.then_some((again, now + after))
    }
}

const PUT_OFF: &str = "update late set first_token = case when $2 = 1 then null
    else first_token end,
    token = case when $2 = 1 then null else token end, due_ms = $3, tries = tries + 1
    where room_id = $1 and due_ms <= $4";
const IN_VAIN: &str = "delete from late where room_id = $1 and tries >= $2";

/// The gap could not be read this time. It is tried again a minute later, from the newest event if
/// `from_newest`.
///
/// # Errors
/// When the database fails.
pub async fn postpone_recheck(
    store: &Writer,
    late: &Recheck,
    from_newest: bool,
    now: i64,
) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    let query = sqlx::query(PUT_OFF)
        .bind(&late.room_id)
        .bind(i64::from(from_newest))
        .bind(now + AGAIN_MS[1])
        .bind(now);
    query.execute(&mut *tx).await?;
    sqlx::query(IN_VAIN)
        .bind(&late.room_id)
        .bind(TRIES_MAX)
        .execute(&mut *tx)
        .await?;

    Ok(tx.commit().await?)
}

/// The gap is hidden from us now: it is not read again.
///
/// # Errors
/// When the database fails.
pub async fn finish_recheck(store: &Writer, late: &Recheck) -> Result<(), Error> {
    sqlx::query(OVER)
        .bind(&late.room_id)
        .bind(i64::MAX)
        .execute(&store.write)
        .await?;

    Ok(())
}

const STEP: &str = "update late set token = $2, page = $3, round = $4, found = $5, due_ms = $6
    where room_id = $1 and due_ms <= $7";
const OVER: &str = "delete from late where room_id = $1 and due_ms <= $2";

/// Notes that a page was read: the next token, if there is one, and how many events were new.
///
/// # Errors
/// When the database fails.
pub async fn advance_recheck(
    store: &Writer,
    late: &Recheck,
    token: Option<&str>,
    new: i64,
    now: i64,
) -> Result<(), Error> {
    // If another gap was noted meanwhile, it includes this one.
    let query = match late.after(token, new, now) {
        Some((next, due)) => {
            let query = sqlx::query(STEP)
                .bind(next.room_id)
                .bind(next.token)
                .bind(next.page)
                .bind(next.round);
            query.bind(next.found).bind(due).bind(now)
        }
        None => sqlx::query(OVER).bind(&late.room_id).bind(now),
    };

    query.execute(&store.write).await?;

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(round: i64) -> Recheck {
        let (room_id, first_token) = ("!r:h".to_owned(), Some("first".to_owned()));
        Recheck {
            room_id,
            first_token,
            token: Some("x".into()),
            page: 1,
            pages: 3,
            round,
            found: 0,
            horizon_ms: None,
        }
    }

    #[test]
    fn it_is_done_twice_and_as_long_as_something_comes() {
        let (next, due) = late(0).after(Some("y"), 4, 7).unwrap();
        assert_eq!(
            (
                next.token.as_deref(),
                next.page,
                next.found,
                next.round,
                due
            ),
            (Some("y"), 2, 4, 0, 7)
        );
        let (again, due) = next.after(Some("z"), 0, 7).unwrap();
        assert_eq!(
            (again.token.as_deref(), again.page, again.found, again.round),
            (Some("first"), 0, 0, 1)
        );
        assert_eq!(due, 60_007);
        assert!(
            late(0).after(None, 0, 7).is_some(),
            "a second time in any case"
        );
        assert!(late(1).after(None, 0, 7).is_none() && late(1).after(None, 1, 7).is_some());
        assert!(
            late(2).after(None, 9, 7).is_none(),
            "at some time it is over"
        );
    }
}
