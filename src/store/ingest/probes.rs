//! The answers of other servers and SFUs that were probed, and which are to be probed next.

use super::probe_flips::{self, StepNow};
use crate::rtc::event::replace_nul;
use crate::rtc::server_check::{CheckLine, CheckStep, StepState};
use crate::rtc::support::Support;
use crate::rtc::words::words;
use crate::store::{Error, Reader, Writer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

words! {
    /// What became of one question.
    pub enum AnswerState {
        Ok = "ok",
        /// It does not exist there.
        Missing = "missing",
        Failed = "failed",
        /// It was not sent, because the address is not allowed.
        Refused = "refused",
    }
}

/// What became of one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AnswerFacts)]
pub struct RequestResult {
    /// `ok`, `missing` (it is not there), `failed`, or `refused` (it was not asked: the address may
    /// not be).
    pub state: AnswerState,
    /// What went wrong, in words.
    pub why: Option<String>,
}

/// The result of probing a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerResult {
    pub well_known: RequestResult,
    pub versions: RequestResult,
    pub homeserver_url: Option<String>,
    /// Addresses of the SFUs that its well-known document names, normalised.
    pub sfus: Vec<String>,
    /// MSC4140, MSC4354, MSC4143; `None` if the server did not say.
    pub delayed_events: Option<bool>,
    pub sticky_events: Option<bool>,
    pub rtc_transports: Option<bool>,
}

/// The result of probing an SFU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SfuResult {
    pub health: RequestResult,
    pub took_ms: Option<i64>,
    /// It sends the leave event for clients that lost their connection; `None` if that is not
    /// known.
    #[serde(default)]
    pub delegates_leave: Option<bool>,
    /// A browser may ask it for a token; `None` if that is not known.
    #[serde(default)]
    pub cors: Option<bool>,
}

/// The result of asking our own homeserver, with the account that we observe from. Its name is that
/// of the vantage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnResult {
    /// The endpoint of transports (MSC4143), and the SFUs that it offers.
    pub transports: RequestResult,
    pub sfus: Vec<String>,
    /// `/capabilities`, and what it says of delayed events (MSC4140).
    pub capabilities: RequestResult,
    pub max_delay_ms: Option<i64>,
    pub max_scheduled: Option<i64>,
    /// The address of its client API, as it publishes it.
    #[serde(default)]
    pub homeserver_url: Option<String>,
}

/// Whom to tell about a server, as it publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportResult {
    pub answer: RequestResult,
    pub said: Support,
}

/// The report about a server, from its name to its SFU. The rules of rooms are no part of it: who
/// may see the report need not see the rooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// It was asked with an account of it.
    pub is_own: bool,
    pub lines: Vec<CheckLine>,
}

/// A kind of probe.
pub trait ProbeKind: Serialize + DeserializeOwned {
    const WORD: &'static str;
    /// Is it kept as a change that a step never answered, once two probes found it?
    const KEEPS_FIRST_FAILURE: bool = false;

    /// Is all well?
    fn is_well(&self) -> bool;

    /// The state of each step, and what came.
    fn steps(&self) -> Vec<StepNow>;
}

impl ProbeKind for ServerResult {
    const WORD: &'static str = "server";

    fn is_well(&self) -> bool {
        self.versions.is_ok()
    }

    fn steps(&self) -> Vec<StepNow> {
        vec![
            self.well_known.step("well_known"),
            self.versions.step("versions"),
        ]
    }
}

impl ProbeKind for SfuResult {
    const WORD: &'static str = "sfu";
    const KEEPS_FIRST_FAILURE: bool = true;

    fn is_well(&self) -> bool {
        self.health.is_ok()
    }

    fn steps(&self) -> Vec<StepNow> {
        vec![self.health.step("health")]
    }
}

impl ProbeKind for OwnResult {
    const WORD: &'static str = "own";

    fn is_well(&self) -> bool {
        self.transports.is_ok()
    }

    fn steps(&self) -> Vec<StepNow> {
        vec![
            self.transports.step("transports"),
            self.capabilities.step("capabilities"),
        ]
    }
}

impl ProbeKind for SupportResult {
    const WORD: &'static str = "support";

    fn is_well(&self) -> bool {
        self.answer.is_ok()
    }

    /// Whether it can be reached is no fault of calls: its changes are not kept.
    fn steps(&self) -> Vec<StepNow> {
        Vec::new()
    }
}

impl ProbeKind for CheckResult {
    const WORD: &'static str = "check";

    fn is_well(&self) -> bool {
        self.lines
            .iter()
            .all(|line| line.state != StepState::Broken)
    }

    /// A server may have several SFUs: the gravest state of each step counts.
    fn steps(&self) -> Vec<StepNow> {
        let mut gravest: BTreeMap<CheckStep, &CheckLine> = BTreeMap::new();
        for line in &self.lines {
            let known = gravest.entry(line.step).or_insert(line);
            if line.state < known.state {
                *known = line;
            }
        }

        let step = |line: &CheckLine| StepNow {
            step: line.step.to_string(),
            state: line.state.to_string(),
            words: line.came.clone(),
        };

        gravest.into_values().map(step).collect()
    }
}

impl RequestResult {
    /// This result as one step of a probe.
    fn step(&self, step: &str) -> StepNow {
        StepNow {
            step: step.to_owned(),
            state: self.state.to_string(),
            words: self.why.clone().unwrap_or_default(),
        }
    }

    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.state == AnswerState::Ok
    }
}

/// The newest answer, and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed<T> {
    pub asked_ms: i64,
    /// When everything was last well, ms.
    pub well_ms: Option<i64>,
    pub result: T,
}

const NOTE: &str =
    "insert into probes (kind, name, asked_ms, well_ms, result) values ($1, $2, $3, $4, $5)
    on conflict (kind, name) do update set asked_ms = excluded.asked_ms,
        well_ms = coalesce(excluded.well_ms, probes.well_ms), result = excluded.result";

const STORED: &str = "select result, asked_ms, well_ms from probes where kind = $1 and name = $2";

/// Stores the result of probing `name` (a server, the address of an SFU, or our vantage) at `now`,
/// ms, in place of the one before, and what changed. When all was last well stays known.
///
/// # Errors
/// When the database fails.
pub async fn record_result<T: ProbeKind>(
    store: &Writer,
    name: &str,
    result: &T,
    now: i64,
) -> Result<(), Error> {
    let text = serde_json::to_string(result).map_err(|error| Error::Content(error.to_string()))?;
    let well_ms = result.is_well().then_some(now);
    let mut tx = store.writing().await?;
    let before: Option<(String, i64, Option<i64>)> = sqlx::query_as(STORED)
        .bind(T::WORD)
        .bind(name)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some((text, asked_ms, well_before_ms)) = before
        && let Ok(before) = serde_json::from_str::<T>(&text)
    {
        let (steps_before, steps) = (before.steps(), result.steps());
        let flips = probe_flips::flips_between(&steps_before, &steps);
        probe_flips::append_flips(&mut tx, T::WORD, name, &flips, Some(asked_ms), now).await?;
        if T::KEEPS_FIRST_FAILURE
            && well_before_ms.is_none()
            && !probe_flips::has_flips(&mut tx, T::WORD, name).await?
        {
            let first = probe_flips::steps_without_answer(&steps_before, &steps);
            probe_flips::append_flips(&mut tx, T::WORD, name, &first, None, asked_ms).await?;
        }
    }

    let query = sqlx::query(NOTE)
        .bind(T::WORD)
        .bind(name)
        .bind(now)
        .bind(well_ms)
        .bind(replace_nul(&text));
    query.execute(&mut *tx).await?;
    tx.commit().await?;

    Ok(())
}

const ALL: &str = "select name, asked_ms, well_ms, result from probes where kind = $1";

/// The newest results of one kind of probe, by name or address. A result that a newer version
/// stored in another form is left out.
///
/// # Errors
/// When the database fails.
pub async fn newest_results<T: ProbeKind>(
    store: &Reader,
) -> Result<BTreeMap<String, Probed<T>>, Error> {
    let rows: Vec<(String, i64, Option<i64>, String)> = sqlx::query_as(ALL)
        .bind(T::WORD)
        .fetch_all(&store.read)
        .await?;
    let read = |(name, asked_ms, well_ms, result): (String, i64, Option<i64>, String)| {
        Some((
            name,
            Probed {
                asked_ms,
                well_ms,
                result: serde_json::from_str(&result).ok()?,
            },
        ))
    };

    Ok(rows.into_iter().filter_map(read).collect())
}

const ONE: &str =
    "select name, asked_ms, well_ms, result from probes where kind = $1 and name = $2";

/// The newest result of one kind of probe for this name or address; `None` if there is none.
///
/// # Errors
/// When the database fails.
pub async fn newest_result<T: ProbeKind>(
    store: &Reader,
    name: &str,
) -> Result<Option<Probed<T>>, Error> {
    let row: Option<(String, i64, Option<i64>, String)> = sqlx::query_as(ONE)
        .bind(T::WORD)
        .bind(name)
        .fetch_optional(&store.read)
        .await?;

    Ok(row.and_then(|(_, asked_ms, well_ms, result)| {
        Some(Probed {
            asked_ms,
            well_ms,
            result: serde_json::from_str(&result).ok()?,
        })
    }))
}

// Servers that were never asked come first, then those that have waited longest.
const SERVERS_DUE: &str = "select name from (select m.server as name, max(m.until_ms) as last_ms
    from memberships m
        where m.until_ms > $1 group by m.server) as seen
    where not exists (select 1 from probes p where p.kind = 'server' and p.name = seen.name
    and p.asked_ms > $2)
    order by coalesce((select p.asked_ms from probes p where p.kind = 'server'
    and p.name = seen.name), 0), last_ms desc, name
    limit $3";
const SFUS_DUE: &str = "select name from (select m.transport_url as name,
    max(m.until_ms) as last_ms from memberships m
        where m.until_ms > $1 and m.transport_type = 'livekit' and m.transport_url like 'https://%'
        group by m.transport_url) as seen
    where not exists (select 1 from probes p where p.kind = 'sfu' and p.name = seen.name
    and p.asked_ms > $2)
    order by coalesce((select p.asked_ms from probes p where p.kind = 'sfu'
    and p.name = seen.name), 0), last_ms desc, name
    limit $3";

/// The servers seen in a call after `since`, ms, that were not asked after `asked`, ms, at most
/// `limit`: first those that were never asked, then those that have waited longest.
///
/// # Errors
/// When the database fails.
pub async fn list_due_servers(
    store: &Reader,
    since: i64,
    asked: i64,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let query = sqlx::query_scalar(SERVERS_DUE)
        .bind(since)
        .bind(asked)
        .bind(limit);

    Ok(query.fetch_all(&store.read).await?)
}

/// Like [`list_due_servers`], for the addresses of SFUs. Only addresses with https are named.
///
/// # Errors
/// When the database fails.
pub async fn list_due_sfus(
    store: &Reader,
    since: i64,
    asked: i64,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let query = sqlx::query_scalar(SFUS_DUE)
        .bind(since)
        .bind(asked)
        .bind(limit);

    Ok(query.fetch_all(&store.read).await?)
}

const ASKED: &str =
    "select count(*) from probes where kind = 'sfu' and name = $1 and asked_ms > $2";

/// Was this SFU asked after `asked`, ms?
///
/// # Errors
/// When the database fails.
pub async fn was_asked(store: &Reader, url: &str, asked: i64) -> Result<bool, Error> {
    let found: i64 = sqlx::query_scalar(ASKED)
        .bind(url)
        .bind(asked)
        .fetch_one(&store.read)
        .await?;

    Ok(found > 0)
}

const FORGET: &str = "delete from probes where asked_ms < $1";

/// Deletes results that are older than `before`, ms, and what changed before then.
///
/// # Errors
/// When the database fails.
pub async fn delete_old_results(store: &Writer, before: i64) -> Result<(), Error> {
    let mut tx = store.writing().await?;
    sqlx::query(FORGET).bind(before).execute(&mut *tx).await?;
    probe_flips::delete_flips(&mut tx, before).await?;
    tx.commit().await?;

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ingest::probe_flips::flips_between;

    #[test]
    fn several_sfus_are_one_step() {
        let line = |state, asked: &str| CheckLine {
            step: CheckStep::TokenService,
            state,
            asked: asked.to_owned(),
            came: String::new(),
        };
        let check = |lines| CheckResult {
            is_own: true,
            lines,
        };
        let one_down = check(vec![
            line(StepState::Well, "a"),
            line(StepState::Broken, "b"),
        ]);
        let all_well = check(vec![line(StepState::Well, "a"), line(StepState::Well, "b")]);
        assert_eq!(flips_between(&one_down.steps(), &one_down.steps()), []);
        let flips = flips_between(&all_well.steps(), &one_down.steps());
        assert_eq!(flips.len(), 1);
        assert_eq!(flips[0].now.state, "broken");
    }
}
