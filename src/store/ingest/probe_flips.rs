//! The history of probes: each change of a step from one answer to the next.

use super::probes::AnswerState;
use crate::rtc::event::replace_nul;
use crate::store::{Error, Reader, Tx};
use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

/// How one step of a probe fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepNow {
    /// The word of the step; no two steps of a probe have the same.
    pub step: String,
    pub state: String,
    /// What came.
    pub words: String,
}

/// A step that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFlip {
    pub before: String,
    pub now: StepNow,
}

/// A step that changed, with the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProbeFlip {
    /// The word of the step.
    pub step: String,
    /// When the change was seen, ms since the Unix epoch.
    pub at_ms: i64,
    pub before: String,
    pub state: String,
    /// What came, in words.
    pub words: String,
}

/// The steps whose state differs. A step that is new, or no longer asked, is no change.
#[must_use]
pub fn flips_between(before: &[StepNow], now: &[StepNow]) -> Vec<StepFlip> {
    let mut flips: Vec<StepFlip> = Vec::new();
    for step in now {
        let known = before.iter().find(|one| one.step == step.step);
        let is_seen = flips.iter().any(|flip| flip.now.step == step.step);
        if let Some(known) = known.filter(|known| known.state != step.state && !is_seen) {
            flips.push(StepFlip {
                before: known.state.clone(),
                now: step.clone(),
            });
        }
    }

    flips
}

/// The state before the first answer.
pub const UNASKED: &str = "unasked";
/// The steps that did not answer in two probes, as changes from not having been asked.
#[must_use]
pub fn steps_without_answer(before: &[StepNow], now: &[StepNow]) -> Vec<StepFlip> {
    let has_failed = |steps: &[StepNow], step: &str| {
        steps
            .iter()
            .any(|one| one.step == step && one.state == AnswerState::Failed.as_str())
    };
    let flip = |step: &StepNow| StepFlip {
        before: UNASKED.to_owned(),
        now: step.clone(),
    };

    before
        .iter()
        .filter(|step| step.state == AnswerState::Failed.as_str() && has_failed(now, &step.step))
        .map(flip)
        .collect()
}

const ANY: &str = "select count(*) from probe_flips where kind = $1 and name = $2";

/// Is a change of this probe kept?
pub(super) async fn has_flips(tx: &mut Tx, kind: &str, name: &str) -> Result<bool, Error> {
    let kept: i64 = sqlx::query_scalar(ANY)
        .bind(kind)
        .bind(name)
        .fetch_one(&mut **tx)
        .await?;

    Ok(kept > 0)
}

const APPEND: &str =
    "insert into probe_flips (kind, name, step, at_ms, before, state, words, asked_before_ms)
    values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (kind, name, step, at_ms) do nothing";

/// Appends changes that were seen at `now`, ms, and not by the probe at `asked_before_ms`, ms;
/// `None` if there was no probe before.
pub(super) async fn append_flips(
    tx: &mut Tx,
    kind: &str,
    name: &str,
    flips: &[StepFlip],
    asked_before_ms: Option<i64>,
    now: i64,
) -> Result<(), Error> {
    for flip in flips {
        sqlx::query(APPEND)
            .bind(kind)
            .bind(name)
            .bind(&flip.now.step)
            .bind(now)
            .bind(&flip.before)
            .bind(&flip.now.state)
            .bind(replace_nul(&flip.now.words))
            .bind(asked_before_ms)
            .execute(&mut **tx)
            .await?;
    }

    Ok(())
}

const DELETE: &str = "delete from probe_flips where at_ms < $1";

/// Deletes changes before `before`, ms.
pub(super) async fn delete_flips(tx: &mut Tx, before: i64) -> Result<(), Error> {
    sqlx::query(DELETE).bind(before).execute(&mut **tx).await?;

    Ok(())
}

const NEWEST: &str = "select step, at_ms, before, state, words from probe_flips
    where kind = $1 and name = $2 order by at_ms desc, step limit $3";

/// The newest changes of a probe (`kind` as in [`super::probes::ProbeKind::WORD`]), at most
/// `limit`.
///
/// # Errors
/// When the database fails.
pub async fn list_flips(
    store: &Reader,
    kind: &str,
    name: &str,
    limit: i64,
) -> Result<Vec<ProbeFlip>, Error> {
    let query = sqlx::query(NEWEST).bind(kind).bind(name).bind(limit);
    let rows = query.fetch_all(&store.read).await?;

    rows.iter().map(flip_from_row).collect()
}

fn flip_from_row(row: &AnyRow) -> Result<ProbeFlip, Error> {
    Ok(ProbeFlip {
        step: row.try_get("step")?,
        at_ms: row.try_get("at_ms")?,
        before: row.try_get("before")?,
        state: row.try_get("state")?,
        words: row.try_get("words")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: &str, state: &str) -> StepNow {
        StepNow {
            step: step.to_owned(),
            state: state.to_owned(),
            words: format!("{step} {state}"),
        }
    }

    #[test]
    fn what_two_probes_found_without_an_answer_is_a_flip() {
        let (dead, alive) = ([step("a", "failed")], [step("a", "ok")]);
        let flip = StepFlip {
            before: UNASKED.to_owned(),
            now: step("a", "failed"),
        };
        assert_eq!(steps_without_answer(&dead, &dead), [flip]);
        assert_eq!(steps_without_answer(&dead, &alive), []);
        assert_eq!(steps_without_answer(&alive, &dead), []);
        let refused = [step("a", "refused")];
        assert_eq!(steps_without_answer(&refused, &refused), [], "not asked");
    }

    #[test]
    fn only_what_changed_is_a_flip() {
        let before = [step("a", "ok"), step("b", "broken"), step("c", "ok")];
        let now = [
            step("a", "broken"),
            step("a", "ok"),
            step("b", "broken"),
            step("d", "broken"),
        ];
        let flips = flips_between(&before, &now);
        let flip = StepFlip {
            before: "ok".to_owned(),
            now: step("a", "broken"),
        };
        assert_eq!(flips, [flip]);
        assert_eq!(flips_between(&before, &before), []);
    }
}
