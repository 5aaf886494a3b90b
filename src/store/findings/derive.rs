//! Derives the findings of calls that are over, and stores them. A call is derived once nothing
//! that its findings are about goes on. Whoever changes something of it discards them in the same
//! commit.

use super::broken::find_broken_calls;
use super::inputs::{KnownStays, StayEvidence, problem_stays, transports_in_use};
use crate::rtc::finding_kind::{FindingKind, Sureness};
use crate::rtc::id::server_of;
use crate::rtc::problem::{
    FINDINGS_VERSION, Problem, ProblemStay, id_of_problem, known_until_ms, problems_of_call,
};
use crate::rtc::room_finding::RoomKnowledge;
use crate::rtc::side_by_side::{BEGAN_APART_MAX_MS, LoneCall, pairs_side_by_side};
use crate::rtc::transport::host_of_url;
use crate::store::db::health::TroubleKind;
use crate::store::db::multi_row::MultiRow;
use crate::store::derive::stale_findings::delete_findings_of_calls;
use crate::store::ingest::access;
use crate::store::model::{Call, Member};
use crate::store::read::{calls, large_calls};
use crate::store::rights::forgotten;
use crate::store::{Error, Reader, Tx, Writer};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Maximum number of calls that are derived in one commit.
pub const BATCH: i64 = 50;
/// Maximum number of stays of a call that is read completely, and of those read of a larger one.
const STAYS_OF_CALL: i64 = 2000;
const STAYS_OF_LARGE_CALL: i64 = 1000;
/// Maximum number of people who are stored of one finding.
const PEOPLE_MAX: usize = 200;

/// A finding as it is stored. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFinding {
    pub id: String,
    pub room_id: String,
    pub call_id: String,
    pub kind: FindingKind,
    pub sure: Sureness,
    pub from_ms: i64,
    /// `None` while it lasts; what is stored is over.
    pub until_ms: Option<i64>,
    pub server: String,
    /// The host of the SFU.
    pub sfu: Option<String>,
    pub users: Vec<String>,
}

impl StoredFinding {
    /// The finding of the core about this call.
    fn of_problem(call: &Call, problem: &Problem<'_>, stays: &[ProblemStay<'_>]) -> Self {
        let users = problem.users(stays).into_iter();

        Self {
            id: problem.id.clone(),
            room_id: call.room.room_id.clone(),
            call_id: call.id.clone(),
            kind: problem.kind,
            sure: problem.sureness(),
            from_ms: problem.from_ms,
            until_ms: problem.ends_ms(),
            server: problem.server(stays).to_owned(),
            sfu: problem.sfu().map(host_of_url),
            users: users.take(PEOPLE_MAX).map(ToOwned::to_owned).collect(),
        }
    }
}

/// The version of the rules and the setting by which findings are derived.
fn findings_stamp(rejoin_grace_ms: i64) -> String {
    format!("{FINDINGS_VERSION} {rejoin_grace_ms}")
}

/// What stands in the place of a stamp with a call whose findings could not be derived by it.
fn failed_stamp(stamp: &str) -> String {
    format!("failed {stamp}")
}

// A call is not settled as long as somebody waits alone beside it.
pub(in crate::store) const WAITING: &str =
    "select s.id from sessions s where s.findings is null and s.until_ms < $1
    and not (s.users = 1 and exists (select 1 from sessions n where n.room_id = s.room_id
        and n.started_ms >= s.started_ms - $2 and n.started_ms <= s.started_ms + $2
        and n.until_ms >= $1 and n.users = 1))
    order by s.until_ms desc limit $3";
const OUTDATED: &str = "select o.id from (select id, until_ms from sessions where findings < $1
    union all select id, until_ms from sessions where findings > $1 and findings <> $3) as o
    limit $2";

/// Derives the findings of the next calls that are over at `now`, ms, and stores them. Returns
/// false if none was left.
///
/// # Errors
/// When the database fails.
pub async fn derive_next_findings(
    store: &Writer,
    now: i64,
    rejoin_grace_ms: i64,
) -> Result<bool, Error> {
    let ids = list_next_calls(store, now, rejoin_grace_ms).await?;
    derive_findings_of_calls(store, &ids, now, rejoin_grace_ms).await?;

    Ok(!ids.is_empty())
}

/// The ids of the next calls whose findings are to be derived at `now`, ms; empty if none is left.
///
/// # Errors
/// When the database fails.
pub async fn list_next_calls(
    store: &Writer,
    now: i64,
    rejoin_grace_ms: i64,
) -> Result<Vec<String>, Error> {
    let stamp = findings_stamp(rejoin_grace_ms);
    let ids: Vec<String> = sqlx::query_scalar(WAITING)
        .bind(now)
        .bind(BEGAN_APART_MAX_MS)
        .bind(BATCH)
        .fetch_all(&store.read)
        .await?;
    if !ids.is_empty() {
        return Ok(ids);
    }

    Ok(sqlx::query_scalar(OUTDATED)
        .bind(&stamp)
        .bind(BATCH)
        .bind(failed_stamp(&stamp))
        .fetch_all(&store.read)
        .await?)
}

/// Derives the findings of these calls as known at `now`, ms, and stores them.
///
/// # Errors
/// When the database fails.
pub async fn derive_findings_of_calls(
    store: &Writer,
    ids: &[String],
    now: i64,
    rejoin_grace_ms: i64,
) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }

    // Whoever changes something of a call meanwhile takes this away.
    let mut tx = store.writing().await?;
    BEGIN
        .write(
            &mut tx,
            ids,
            |query| query,
            |query, id| query.bind(id.clone()),
        )
        .await?;
    tx.commit().await?;

    let calls = calls::find_calls(store, ids).await?;
    let found = findings_of_calls(store, calls, now, rejoin_grace_ms).await?;
    let mut tx = store.writing().await?;
    // Who forgets a name waits for this, and discards the findings of its rooms afterwards.
    let names = forgotten::read_names(&mut tx, &store.forgotten).await?;
    let unchanged = settle_calls(&mut tx, ids, &findings_stamp(rejoin_grace_ms)).await?;
    let is_named = |finding: &StoredFinding| {
        let mut users = finding.users.iter();
        users.any(|user| names.has_person(user))
    };
    let found: Vec<StoredFinding> = found
        .into_iter()
        .filter(|finding| unchanged.contains(&finding.call_id) && finding.until_ms.is_some())
        .filter(|finding| !is_named(finding))
        .collect();
    write_findings(&mut tx, &found).await?;
    tx.commit().await?;

    Ok(())
}

/// Derives the findings of these calls one by one, after they failed together. One whose stored
/// data cannot be read is logged and settled as failed, so that the others go on.
///
/// # Errors
/// When the database fails in a way that says nothing of the call.
pub async fn derive_calls_singly(
    store: &Writer,
    ids: &[String],
    now: i64,
    rejoin_grace_ms: i64,
) -> Result<(), Error> {
    for id in ids {
        let alone = std::slice::from_ref(id);
        let derived = derive_findings_of_calls(store, alone, now, rejoin_grace_ms).await;
        match derived {
            Err(error) if is_about_data(&error) => {
                tracing::warn!(call = id, %error, "the findings of a call cannot be derived");
                settle_failed_call(store, id, rejoin_grace_ms).await?;
            }
            derived => derived?,
        }
    }

    Ok(())
}

/// Does the error follow from the stored data that was asked for? It cannot be read, or reading it
/// takes longer than a statement may.
fn is_about_data(error: &Error) -> bool {
    let is_slow = error.is_busy() && !matches!(error, Error::Database(sqlx::Error::PoolTimedOut));
    error.kind() == TroubleKind::Damaged || is_slow
}

/// Notes that the findings of this call cannot be derived. It is tried again when something of the
/// call changes, or the rules do.
///
/// # Errors
/// When the database fails.
async fn settle_failed_call(store: &Writer, id: &str, rejoin_grace_ms: i64) -> Result<(), Error> {
    let stamp = failed_stamp(&findings_stamp(rejoin_grace_ms));
    let mut tx = store.writing().await?;
    settle_calls(&mut tx, &[id.to_owned()], &stamp).await?;
    tx.commit().await?;

    Ok(())
}

static BEGIN: MultiRow = MultiRow::new("update sessions set findings = '' where id in (", "?", ")");
static SETTLE: MultiRow = MultiRow::new(
    "update sessions set findings = $1 where findings = '' and id in (",
    "?",
    ") returning id",
);

/// Notes that those of these calls are derived that were not changed since that began, deletes what
/// was stored of them, and returns their ids. From then on whoever changes one of them waits for
/// the end of the transaction.
pub(super) async fn settle_calls(
    tx: &mut Tx,
    ids: &[String],
    stamp: &str,
) -> Result<BTreeSet<String>, Error> {
    use sqlx::Row;
    let rows = SETTLE
        .read(
            tx,
            ids,
            |query| query.bind(stamp.to_owned()),
            |query, id| query.bind(id.cloned()),
        )
        .await?;
    let unchanged: Vec<String> = rows
        .iter()
        .map(|row| row.try_get("id"))
        .collect::<Result<_, _>>()?;
    delete_findings_of_calls(tx, &unchanged).await?;

    Ok(unchanged.into_iter().collect())
}

static WRITE: MultiRow = MultiRow::new(
    "insert into findings (id, room_id, call_id, kind, severity, certainty, from_ms, until_ms,
        server, sfu) values ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " on conflict (id) do nothing",
);
static WRITE_PEOPLE: MultiRow = MultiRow::new(
    "insert into finding_people (finding_id, room_id, user_id, server) values ",
    "(?, ?, ?, ?)",
    " on conflict (finding_id, user_id) do nothing",
);

/// Writes findings that are over.
async fn write_findings(tx: &mut Tx, found: &[StoredFinding]) -> Result<(), Error> {
    WRITE
        .write(
            tx,
            found,
            |query| query,
            |query, finding| {
                query
                    .bind(finding.id.clone())
                    .bind(finding.room_id.clone())
                    .bind(finding.call_id.clone())
                    .bind(finding.kind.as_str())
                    .bind(finding.kind.severity(finding.sure).rank())
                    .bind(finding.sure.as_str())
                    .bind(finding.from_ms)
                    .bind(finding.until_ms)
                    .bind(finding.server.clone())
                    .bind(finding.sfu.clone())
            },
        )
        .await?;
    let people: Vec<(&StoredFinding, &String)> = found
        .iter()
        .flat_map(|finding| finding.users.iter().map(move |user| (finding, user)))
        .collect();
    WRITE_PEOPLE
        .write(
            tx,
            &people,
            |query| query,
            |query, person| {
                let (finding, user_id) = person;
                query
                    .bind(finding.id.clone())
                    .bind(finding.room_id.clone())
                    .bind((*user_id).clone())
                    .bind(server_of(user_id).to_owned())
            },
        )
        .await?;

    Ok(())
}

/// The findings of these calls as known at `now`, ms, by the rules of `rtc`.
///
/// # Errors
/// When the database fails.
pub async fn findings_of_calls(
    store: &Reader,
    calls: Vec<Call>,
    now: i64,
    rejoin_grace_ms: i64,
) -> Result<Vec<StoredFinding>, Error> {
    let read = ReadCalls::read(store, calls, now).await?;
    let mut found = Vec::new();
    // When who was alone in a call is last known to have been there.
    let mut lone: Vec<KnownLoneCall> = Vec::new();
    for call in &read.calls {
        read.with_problems(call, now, |stays, problems| {
            found.extend(
                problems
                    .iter()
                    .map(|problem| StoredFinding::of_problem(call, problem, stays)),
            );
            lone.extend(KnownLoneCall::of_call(call, stays, problems, now));
        });
    }

    found.extend(find_side_by_side(store, &read.calls, lone, now).await?);
    let ids: Vec<String> = read.calls.iter().map(|call| call.id.clone()).collect();
    let mut broken = find_broken_calls(store, &ids, rejoin_grace_ms).await?;
    for call in &read.calls {
        let of_call = broken.remove(&call.id).unwrap_or_default().into_iter();
        found.extend(of_call.map(|broken| {
            StoredFinding {
                id: broken.id,
                room_id: call.room.room_id.clone(),
                call_id: call.id.clone(),
                kind: FindingKind::BrokenCall,
                sure: Sureness::Probably,
                from_ms: broken.from_ms,
                until_ms: Some(broken.until_ms),
                server: broken
                    .users
                    .first()
                    .map_or("", |user| server_of(user))
                    .to_owned(),
                sfu: None,
                users: broken.users,
            }
        }));
    }

    Ok(found)
}

/// A call in which one person was alone.
struct KnownLoneCall {
    call: Call,
    user_id: String,
    until_ms: i64,
}

impl KnownLoneCall {
    fn of_call(
        call: &Call,
        stays: &[ProblemStay<'_>],
        problems: &[Problem<'_>],
        now: i64,
    ) -> Option<Self> {
        let first = stays.first().filter(|_| call.people == 1)?;
        (call.devices <= calls::LONE_DEVICES_MAX).then(|| Self {
            call: call.clone(),
            user_id: first.room.user_id.to_owned(),
            until_ms: known_until_ms(stays, problems, call.known_until_ms(now).unwrap_or(now)),
        })
    }
}

/// The findings that other calls ran side by side with one of `calls`. `lone` are those of them in
/// which one person was alone.
async fn find_side_by_side(
    store: &Reader,
    calls: &[Call],
    mut lone: Vec<KnownLoneCall>,
    now: i64,
) -> Result<Vec<StoredFinding>, Error> {
    let mut beside: BTreeSet<String> = BTreeSet::new();
    for one in &lone {
        let (room_id, started_ms) = (&one.call.room.room_id, one.call.started_ms);
        let from_ms = started_ms.saturating_sub(BEGAN_APART_MAX_MS);
        let to_ms = started_ms.saturating_add(BEGAN_APART_MAX_MS);
        let near = calls::lone_calls_begun_within(store, room_id, from_ms, to_ms).await?;
        if near.len() > 1 {
            beside.extend(near.into_iter().map(|call| call.id));
        }
    }

    for call in calls {
        beside.remove(&call.id);
    }

    let ids: Vec<String> = beside.into_iter().collect();
    let others = calls::find_calls(store, &ids).await?;
    let read = ReadCalls::read(store, others, now).await?;
    for call in &read.calls {
        read.with_problems(call, now, |stays, problems| {
            lone.extend(KnownLoneCall::of_call(call, stays, problems, now));
        });
    }

    let mut by_room: BTreeMap<&str, Vec<&KnownLoneCall>> = BTreeMap::new();
    for one in &lone {
        by_room.entry(&one.call.room.room_id).or_default().push(one);
    }

    let asked: BTreeSet<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    let mut found: BTreeMap<&str, StoredFinding> = BTreeMap::new();
    for lone in by_room.values() {
        let calls: Vec<LoneCall> = lone
            .iter()
            .map(|one| LoneCall {
                application: &one.call.application,
                slot_id: &one.call.slot_id,
                user_id: &one.user_id,
                from_ms: one.call.started_ms,
                until_ms: one.until_ms,
            })
            .collect();
        for pair in pairs_side_by_side(&calls) {
            let (first, second) = (lone[pair.first], lone[pair.second]);
            let lasts = first.call.until_ms > now && second.call.until_ms > now;
            let until_ms = (!(lasts && pair.until_ms >= now)).then_some(pair.until_ms);
            for (one, other) in [(first, second), (second, first)] {
                if asked.contains(one.call.id.as_str()) {
                    let new = one.side_by_side(other, pair.from_ms, until_ms);
                    found
                        .entry(&one.call.id)
                        .and_modify(|known| known.join(&new))
                        .or_insert(new);
                }
            }
        }
    }

    Ok(found.into_values().collect())
}

impl KnownLoneCall {
    /// The finding that this call ran side by side with the other one.
    fn side_by_side(&self, other: &Self, from_ms: i64, until_ms: Option<i64>) -> StoredFinding {
        StoredFinding {
            id: id_of_problem(FindingKind::SideBySide, &self.call.id, &[]),
            room_id: self.call.room.room_id.clone(),
            call_id: self.call.id.clone(),
            kind: FindingKind::SideBySide,
            sure: Sureness::Computed,
            from_ms,
            until_ms,
            server: server_of(&self.user_id).to_owned(),
            sfu: None,
            users: vec![self.user_id.clone(), other.user_id.clone()],
        }
    }
}

impl StoredFinding {
    /// Takes another finding of the same id into this one. It lasts if one of the two does.
    fn join(&mut self, other: &Self) {
        self.from_ms = self.from_ms.min(other.from_ms);
        self.until_ms = self
            .until_ms
            .zip(other.until_ms)
            .map(|(one, other)| one.max(other));
        for user in &other.users {
            if !self.users.contains(user) && self.users.len() < PEOPLE_MAX {
                self.users.push(user.clone());
            }
        }
    }
}

/// Calls with all that their findings follow from.
struct ReadCalls {
    calls: Vec<Call>,
    members: HashMap<String, Vec<Member>>,
    evidence: StayEvidence,
    rooms: HashMap<String, RoomKnowledge>,
}

impl ReadCalls {
    /// Reads these calls; of very large ones only some stays.
    async fn read(store: &Reader, calls: Vec<Call>, now: i64) -> Result<Self, Error> {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for call in &calls {
            if call.memberships <= STAYS_OF_CALL {
                whole.push(call.id.clone());
            } else {
                let most = STAYS_OF_LARGE_CALL;
                parts.extend(large_calls::representative_stays(store, &call.id, most).await?);
            }
        }

        let rooms: BTreeSet<String> = calls.iter().map(|call| call.room.room_id.clone()).collect();
        let known = KnownStays::read(store, &whole, &parts, now).await?;
        let mut by_call: HashMap<String, Vec<Member>> = HashMap::new();
        for member in known.members {
            by_call
                .entry(member.session_id.clone())
                .or_default()
                .push(member);
        }

        Ok(Self {
            rooms: access::knowledge_of_rooms(store, &rooms).await?,
            calls,
            members: by_call,
            evidence: known.evidence,
        })
    }

    /// Gives the stays and the problems of a call to `take`.
    fn with_problems(
        &self,
        call: &Call,
        now: i64,
        take: impl FnOnce(&[ProblemStay<'_>], &[Problem<'_>]),
    ) {
        let none = Vec::new();
        let members = self.members.get(&call.id).unwrap_or(&none);
        let used = transports_in_use(members);
        let stays = problem_stays(&call.application, members, &used, &self.evidence);
        let unknown = RoomKnowledge::default();
        let room = self.rooms.get(&call.room.room_id).unwrap_or(&unknown);
        let upto = call.known_until_ms(now).unwrap_or(now);
        take(&stays, &problems_of_call(&call.id, &stays, room, upto).list);
    }
}

pub(in crate::store) const UNDERIVED: &str = "select o.id from (
        select * from (select id, until_ms from sessions where findings is null and until_ms <= $1
            order by until_ms desc limit $2) as never
        union all select * from (select id, until_ms from sessions where findings = ''
            and until_ms <= $1 order by until_ms desc limit $2) as now) as o
    order by o.until_ms desc limit $2";

/// The ids of the calls that were over by `now`, ms, and whose findings are not stored, the last
/// that ended first, at most `most`.
///
/// # Errors
/// When the database fails.
pub async fn list_underived_calls(
    store: &Reader,
    now: i64,
    most: i64,
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(UNDERIVED)
        .bind(now)
        .bind(most)
        .fetch_all(&store.read)
        .await?)
}

pub(in crate::store) const OTHER_RULES: &str = "select count(*) from (
    select * from (select id from sessions where findings > '' and findings < $1 limit 1) as before
    union all select * from (select id from sessions where findings > $1 and findings <> $2
        limit 1) as after) as o";

/// Are findings of calls stored that were derived by other rules, or by another setting?
///
/// # Errors
/// When the database fails.
pub async fn has_outdated_calls(store: &Reader, rejoin_grace_ms: i64) -> Result<bool, Error> {
    let stamp = findings_stamp(rejoin_grace_ms);
    let found: i64 = sqlx::query_scalar(OTHER_RULES)
        .bind(&stamp)
        .bind(failed_stamp(&stamp))
        .fetch_one(&store.read)
        .await?;

    Ok(found > 0)
}
