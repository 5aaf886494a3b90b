//! What is so now, or happened lately, that alerts can be about. Findings come from the function
//! that pages use.

use crate::rtc::alert::{
    AlertFacts, AlertKind, AlertRoom, Condition, Knowledge, ONCE_AGE_MAX_MS, PEOPLE_MOST,
};
use crate::rtc::finding_kind::{FindingKind, Sureness};
use crate::rtc::id::{hash, server_of};
use crate::rtc::present::{self, AccountStanding, Sight, Unknown, UnknownReason};
use crate::rtc::server_check::StepState;
use crate::rtc::time::DAY_MS;
use crate::rtc::transport::host_of_url;
use crate::store::db::health::TroubleKind;
use crate::store::findings::derive::{StoredFinding, findings_of_calls};
use crate::store::ingest::probes::{self, CheckResult, ProbeKind, Probed, SfuResult};
use crate::store::ingest::rooms;
use crate::store::model::{Call, CallFilter, Cursor, Member, RoomName, Vantage};
use crate::store::read::present::{PresentRows, account_of_vantage, read_present_rows};
use crate::store::read::{call_list, calls, memberships, rings};
use crate::store::{Error, Reader, to_i64};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Maximum calls that are read at once, and rings in all.
const LATELY_MOST: i64 = 500;
/// Calls with more stays than this are not asked for who is alone in them.
const LONE_STAYS_MOST: i64 = 500;
/// Maximum stays that are read at one time.
const STAYS_AT_ONCE: i64 = 4000;
/// A homeserver that was not heard since the start is no alert for so long, ms: the first answer
/// may take a while.
const START_GRACE_MS: i64 = 60_000;
/// An answer of a probe that is older than this, ms, tells nothing of now.
const PROBE_AGE_MAX_MS: i64 = 2 * DAY_MS;
/// Maximum length of words of others, in characters.
const DETAIL_MOST: usize = 300;

/// Which conditions are asked for.
#[derive(Debug, Clone)]
pub struct ConditionRequest {
    pub kinds: BTreeSet<AlertKind>,
    /// When this process started, ms.
    pub started_ms: i64,
    /// A call whose people are back in the next one within this time broke, ms.
    pub rejoin_grace_ms: i64,
    /// The homeserver does not accept our token.
    pub is_token_refused: bool,
}

/// What is so now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadConditions {
    pub conditions: Vec<Condition>,
    pub knowledge: Knowledge,
}

/// What is so at `now`, ms, and of what that is known.
///
/// # Errors
/// When the database fails.
pub async fn read_conditions(
    store: &Reader,
    request: &ConditionRequest,
    now: i64,
) -> Result<ReadConditions, Error> {
    let present = read_present_rows(store, now).await?;
    let unknown = unknown_of_all(&present, now);
    let mut found = ReadConditions {
        conditions: conditions_of_observer(store, request, &present.vantages, unknown, now),
        knowledge: knowledge_of_present(&present, unknown, now),
    };
    found.knowledge.is_starting = is_starting(request, now);
    if found.knowledge.is_blind {
        // Whether an account is accepted, only a homeserver says that is heard.
        let accounts = present.vantages.iter();
        let subjects = accounts.map(|vantage| (AlertKind::TokenDead, vantage.homeserver.clone()));
        found.knowledge.unknown_subjects.extend(subjects);
    }

    if found.knowledge.is_blind {
        return Ok(found);
    }

    let asks = |kinds: &[AlertKind]| kinds.iter().any(|kind| request.kinds.contains(kind));
    if asks(&[AlertKind::CallBegan, AlertKind::CallEnded]) {
        found
            .conditions
            .extend(read_began_and_ended(store, now).await?);
    }

    if asks(&[AlertKind::MissedRing]) {
        found
            .conditions
            .extend(read_missed_rings(store, now).await?);
    }

    if asks(&[
        AlertKind::Alone,
        AlertKind::Ghost,
        AlertKind::Split,
        AlertKind::SfuDown,
    ]) {
        read_running_calls(store, request, now, &mut found).await?;
    }

    if asks(&[AlertKind::SfuDown]) {
        read_sfus_down(store, now, &mut found).await?;
    }

    if asks(&[AlertKind::ServerBroken]) {
        read_broken_servers(store, now, &mut found).await?;
    }

    Ok(found)
}

/// Is nothing known of the present at `now`, ms?
///
/// # Errors
/// When the database fails.
pub async fn is_blind(store: &Reader, now: i64) -> Result<bool, Error> {
    let present = read_present_rows(store, now).await?;

    Ok(unknown_of_all(&present, now).is_some())
}

/// Why nothing is known of the present.
fn unknown_of_all(present: &PresentRows, now: i64) -> Option<Unknown> {
    let accounts: Vec<AccountStanding> = present.vantages.iter().map(account_of_vantage).collect();

    present::unknown_by_accounts(&accounts, present.not_stored_since_ms, now)
}

fn knowledge_of_present(present: &PresentRows, all: Option<Unknown>, now: i64) -> Knowledge {
    let polls_every_ms = present
        .vantages
        .iter()
        .filter_map(|vantage| vantage.polls_every_ms)
        .max();
    let mut known = Knowledge {
        is_blind: all.is_some(),
        ..Knowledge::default()
    };
    for one in &present.rooms {
        if matches!(one.room.sight, Sight::Left | Sight::OptedOut) {
            continue;
        }

        let rooms = match present::unknown_in_room(all, &one.room, polls_every_ms, now) {
            None => &mut known.known_rooms,
            Some(_) => &mut known.hidden_rooms,
        };
        rooms.insert(one.room_id.clone());
    }

    known
}

/// Is the start so near that nothing needs to be heard yet?
fn is_starting(request: &ConditionRequest, now: i64) -> bool {
    now.saturating_sub(request.started_ms) < START_GRACE_MS
}

/// What is wrong with this Callscope.
fn conditions_of_observer(
    store: &Reader,
    request: &ConditionRequest,
    vantages: &[Vantage],
    unknown: Option<Unknown>,
    now: i64,
) -> Vec<Condition> {
    let about = |kind: AlertKind, since_ms: Option<i64>, facts: AlertFacts| Condition {
        kind,
        subject: facts.server.clone().unwrap_or_default(),
        former_subjects: Vec::new(),
        room: None,
        servers: facts.server.iter().cloned().collect(),
        severity: kind.severity(),
        since_ms: since_ms.unwrap_or(0).max(request.started_ms),
        facts,
    };
    let detail = |text: &str| Some(text.chars().take(DETAIL_MOST).collect());
    let mut found = Vec::new();
    if let Some(unknown) = unknown.filter(|_| !is_starting(request, now)) {
        let facts = AlertFacts {
            detail: detail(unknown.why.as_str()),
            ..AlertFacts::default()
        };
        found.push(about(AlertKind::Blind, unknown.since_ms, facts));
        let is_unheard = matches!(
            unknown.why,
            UnknownReason::NotHeard | UnknownReason::NotRead
        );
        for vantage in vantages.iter().filter(|_| is_unheard) {
            let facts = AlertFacts {
                server: Some(vantage.homeserver.clone()),
                detail: vantage.error.as_deref().and_then(detail),
                ..AlertFacts::default()
            };
            found.push(about(AlertKind::HomeserverUnheard, unknown.since_ms, facts));
        }
    }

    let is_dead = |vantage: &&Vantage| vantage.needs_action || request.is_token_refused;
    for vantage in vantages.iter().filter(is_dead) {
        let facts = AlertFacts {
            server: Some(vantage.homeserver.clone()),
            detail: vantage.error.as_deref().and_then(detail),
            ..AlertFacts::default()
        };
        found.push(about(AlertKind::TokenDead, vantage.error_since_ms, facts));
    }

    let trouble = store.trouble(now);
    if let Some(trouble) = trouble.filter(|trouble| trouble.kind == TroubleKind::Full) {
        let facts = AlertFacts {
            detail: detail(&trouble.error),
            ..AlertFacts::default()
        };
        found.push(about(AlertKind::DiskFull, Some(trouble.since_ms), facts));
    }

    found
}

fn room_of_name(room: &RoomName) -> AlertRoom {
    AlertRoom {
        room_id: room.room_id.clone(),
        alias: room.alias.clone(),
        // Not the title that it has of its people: it has their names.
        title: room.name.clone(),
    }
}

fn condition_of_call(kind: AlertKind, call: &Call, since_ms: i64) -> Condition {
    Condition {
        kind,
        subject: call.id.clone(),
        former_subjects: Vec::new(),
        room: Some(room_of_name(&call.room)),
        servers: call.servers.clone(),
        severity: kind.severity(),
        since_ms,
        facts: AlertFacts {
            call_id: Some(call.id.clone()),
            slot_id: Some(call.slot_id.clone()),
            ..AlertFacts::default()
        },
    }
}

// The ids that these calls had before an earlier join was known.
const FORMER: &str = "select s.id, f.id from sessions s
    join former_calls f on f.room_id = s.room_id and f.slot_id = s.slot_id
        and f.started_ms >= s.started_ms and f.started_ms < s.until_ms
    where s.until_ms > $1";

/// The calls that began or ended lately.
async fn read_began_and_ended(store: &Reader, now: i64) -> Result<Vec<Condition>, Error> {
    let from_ms = now.saturating_sub(ONCE_AGE_MAX_MS);
    let filter = CallFilter {
        from_ms: Some(from_ms),
        ..CallFilter::default()
    };
    let lately = read_all_calls(store, &filter, now).await?;
    let former: Vec<(String, String)> = sqlx::query_as(FORMER)
        .bind(from_ms)
        .fetch_all(&store.read)
        .await?;
    let mut former_ids: HashMap<String, Vec<String>> = HashMap::new();
    for (id, former) in former {
        former_ids.entry(id).or_default().push(former);
    }

    let mut found = Vec::new();
    for call in &lately {
        let mut former = former_ids.remove(&call.id).unwrap_or_default();
        former.sort_unstable();
        if call.started_ms > from_ms {
            found.push(Condition {
                former_subjects: former.clone(),
                ..condition_of_call(AlertKind::CallBegan, call, call.started_ms)
            });
        }

        let ended_ms = call.ended_ms(now).filter(|ended| *ended > from_ms);
        if let Some(ended_ms) = ended_ms.filter(|_| call.lost_ms.is_none()) {
            let mut ended = condition_of_call(AlertKind::CallEnded, call, ended_ms);
            ended.former_subjects = former;
            ended.facts.people_total = Some(call.people);
            ended.facts.peak = Some(call.peak_users);
            ended.facts.duration_ms = Some(call.duration_ms(now));
            found.push(ended);
        }
    }

    Ok(found)
}

/// All calls that the filter lets through, however many they are.
async fn read_all_calls(store: &Reader, filter: &CallFilter, now: i64) -> Result<Vec<Call>, Error> {
    let mut all: Vec<Call> = Vec::new();
    loop {
        let last = all.last().map(|call| Cursor {
            started_ms: call.started_ms,
            id: call.id.clone(),
        });
        let page = call_list::list_calls(store, filter, last.as_ref(), LATELY_MOST, now).await?;
        let is_last = to_i64(page.len()) < LATELY_MOST;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

async fn read_missed_rings(store: &Reader, now: i64) -> Result<Vec<Condition>, Error> {
    let from_ms = now.saturating_sub(ONCE_AGE_MAX_MS);
    let missed = rings::list_missed_rings(store, from_ms, now, LATELY_MOST).await?;
    let mut found = Vec::with_capacity(missed.len());
    for ring in missed {
        let name = rooms::find_room_name(store, &ring.room_id).await?;
        let room = name.as_ref().map_or_else(
            || AlertRoom {
                room_id: ring.room_id.clone(),
                alias: None,
                title: None,
            },
            room_of_name,
        );
        found.push(Condition {
            kind: AlertKind::MissedRing,
            subject: ring.event_id,
            former_subjects: Vec::new(),
            room: Some(room),
            servers: vec![server_of(&ring.sender).to_owned()],
            severity: AlertKind::MissedRing.severity(),
            // It is missed when nobody can answer it any more.
            since_ms: ring.missed_ms,
            facts: AlertFacts {
                call_id: ring.call_id,
                people: vec![ring.sender],
                ..AlertFacts::default()
            },
        });
    }

    Ok(found)
}

/// What is wrong with the calls that run, and who is alone in one.
async fn read_running_calls(
    store: &Reader,
    request: &ConditionRequest,
    now: i64,
    read: &mut ReadConditions,
) -> Result<(), Error> {
    let running = calls::list_active_calls(store, now).await?;
    if to_i64(running.len()) >= calls::ACTIVE_MOST {
        // Not all calls that run are read, so an alert that is not found may go on.
        read.knowledge.has_unread_calls = true;
    }

    let mut found: BTreeMap<(AlertKind, String), Condition> = BTreeMap::new();
    for few in split_by_stays(running) {
        let findings = findings_of_calls(store, few.clone(), now, request.rejoin_grace_ms).await?;
        let by_id: HashMap<&str, &Call> = few.iter().map(|call| (call.id.as_str(), call)).collect();
        for finding in &findings {
            let call = by_id.get(finding.call_id.as_str());
            let condition = call.and_then(|call| condition_of_finding(call, finding));
            // What is only perhaps so is not told, and what was told of it is not over.
            let (condition, doubted): (Option<Condition>, Option<Condition>) =
                if finding.sure == Sureness::Perhaps {
                    (None, condition)
                } else {
                    (condition, None)
                };
            read.knowledge
                .unknown_subjects
                .extend(doubted.map(|one| (one.kind, one.subject)));
            found.extend(condition.map(|one| ((one.kind, one.subject.clone()), one)));
        }

        if request.kinds.contains(&AlertKind::Alone) {
            let alone = read_alone(store, &few, &findings, now).await?;
            found.extend(
                alone
                    .into_iter()
                    .map(|one| ((one.kind, one.subject.clone()), one)),
            );
        }
    }

    read.conditions.extend(found.into_values());

    Ok(())
}

/// These calls, in their order, in parts whose stays are read at one time.
fn split_by_stays(calls: Vec<Call>) -> Vec<Vec<Call>> {
    let mut parts: Vec<Vec<Call>> = Vec::new();
    let mut stays = 0;
    for call in calls {
        let own = call.memberships.min(STAYS_AT_ONCE);
        stays += own;
        if let Some(part) = parts.last_mut().filter(|_| stays <= STAYS_AT_ONCE) {
            part.push(call);
        } else {
            stays = own;
            parts.push(vec![call]);
        }
    }

    parts
}

/// The condition that a finding which lasts is; `None` if no alert is about it.
fn condition_of_finding(call: &Call, finding: &StoredFinding) -> Option<Condition> {
    let kind = match finding.kind {
        FindingKind::Apart | FindingKind::SideBySide | FindingKind::AliasDiffers => {
            AlertKind::Split
        }
        FindingKind::Silent | FindingKind::NoGoodbye => AlertKind::Ghost,
        FindingKind::DeadSfu => AlertKind::SfuDown,
        _ => return None,
    };
    if finding.until_ms.is_some() {
        return None;
    }

    let mut users = finding.users.clone();
    users.sort_unstable();
    let subject = match finding.kind {
        // Both calls have it, and it is one thing.
        FindingKind::SideBySide => {
            let mut parts = vec![finding.room_id.as_str()];
            parts.extend(users.iter().map(String::as_str));
            hash(&parts, 8)
        }
        _ => finding.id.clone(),
    };
    let mut servers: BTreeSet<String> = users
        .iter()
        .map(|user| server_of(user).to_owned())
        .collect();
    servers.insert(finding.server.clone());
    servers.remove("");
    users.truncate(PEOPLE_MOST);
    let mut condition = condition_of_call(kind, call, finding.from_ms);
    condition.subject = subject;
    condition.servers = servers.into_iter().collect();
    condition.severity = finding.kind.severity(finding.sure);
    condition.facts.people = users;
    condition.facts.finding = Some(finding.kind);
    condition.facts.sfu.clone_from(&finding.sfu);
    condition.facts.server = Some(finding.server.clone()).filter(|server| !server.is_empty());

    Some(condition)
}

/// Who is alone in one of these calls, and since when. Ghosts are nobody.
async fn read_alone(
    store: &Reader,
    few: &[Call],
    findings: &[StoredFinding],
    now: i64,
) -> Result<Vec<Condition>, Error> {
    let small = few
        .iter()
        .filter(|call| call.memberships <= LONE_STAYS_MOST && call.is_active(now));
    let ids: Vec<String> = small.map(|call| call.id.clone()).collect();
    let ghosts: HashSet<(&str, &str)> = findings
        .iter()
        .filter(|one| matches!(one.kind, FindingKind::Silent | FindingKind::NoGoodbye))
        .filter(|one| one.until_ms.is_none())
        .flat_map(|one| {
            one.users
                .iter()
                .map(|user| (one.call_id.as_str(), user.as_str()))
        })
        .collect();
    let mut by_call: HashMap<String, Vec<Member>> = HashMap::new();
    for member in memberships::members_of_calls(store, &ids).await? {
        by_call
            .entry(member.session_id.clone())
            .or_default()
            .push(member);
    }

    let mut found = Vec::new();
    for call in few {
        let members = by_call.remove(&call.id).unwrap_or_default();
        let is_here = |member: &&Member| {
            let user = member.stay.user_id.as_str();
            member.stay.until_ms > now && !ghosts.contains(&(call.id.as_str(), user))
        };
        let here: BTreeSet<&str> = members
            .iter()
            .filter(is_here)
            .map(|member| member.stay.user_id.as_str())
            .collect();
        let (Some(user), 1) = (here.first(), here.len()) else {
            continue;
        };

        // Since the last other one left, or since they came.
        let came_ms = members
            .iter()
            .filter(is_here)
            .map(|member| member.stay.joined_ms)
            .min();
        let left_ms = members
            .iter()
            .filter(|member| member.stay.user_id != *user && member.stay.until_ms <= now)
            .map(|member| member.stay.until_ms)
            .max();
        let since_ms = came_ms.max(left_ms).unwrap_or(call.started_ms);
        let mut alone = condition_of_call(AlertKind::Alone, call, since_ms);
        // The id of a call changes when an earlier join gets known.
        alone.subject = format!("{} {} {user}", call.room.room_id, call.slot_id);
        alone.facts.people = vec![(*user).to_owned()];
        found.push(alone);
    }

    Ok(found)
}

/// The newest answers of probes that are not well. Those that are too old tell nothing of now.
async fn read_bad_probes<T: ProbeKind>(
    store: &Reader,
    kind: AlertKind,
    is_well: impl Fn(&T) -> bool,
    now: i64,
    read: &mut ReadConditions,
) -> Result<Vec<(String, Probed<T>)>, Error> {
    let mut bad = Vec::new();
    for (subject, probed) in probes::newest_results::<T>(store).await? {
        let is_old = now.saturating_sub(probed.asked_ms) >= PROBE_AGE_MAX_MS;
        if is_old {
            read.knowledge.unknown_subjects.insert((kind, subject));
        } else if !is_well(&probed.result) {
            bad.push((subject, probed));
        }
    }

    Ok(bad)
}

async fn read_sfus_down(store: &Reader, now: i64, read: &mut ReadConditions) -> Result<(), Error> {
    let down = read_bad_probes(store, AlertKind::SfuDown, SfuResult::is_well, now, read).await?;
    for (url, probed) in down {
        let host = host_of_url(&url);
        let why = probed.result.health.why;
        read.conditions.push(Condition {
            kind: AlertKind::SfuDown,
            subject: url,
            former_subjects: Vec::new(),
            room: None,
            servers: Vec::new(),
            severity: AlertKind::SfuDown.severity(),
            since_ms: probed.well_ms.unwrap_or(probed.asked_ms),
            facts: AlertFacts {
                sfu: Some(host),
                detail: why.map(|why| why.chars().take(DETAIL_MOST).collect()),
                ..AlertFacts::default()
            },
        });
    }

    Ok(())
}

async fn read_broken_servers(
    store: &Reader,
    now: i64,
    read: &mut ReadConditions,
) -> Result<(), Error> {
    let kind = AlertKind::ServerBroken;
    let broken = read_bad_probes(store, kind, CheckResult::is_well, now, read).await?;
    for (server, probed) in broken {
        let mut lines = probed.result.lines.iter();
        let first = lines.find(|line| line.state == StepState::Broken);
        let detail = first.map(|line| format!("{}: {}", line.step, line.came));
        read.conditions.push(Condition {
            kind,
            subject: server.clone(),
            former_subjects: Vec::new(),
            room: None,
            servers: vec![server.clone()],
            severity: kind.severity(),
            since_ms: probed.well_ms.unwrap_or(probed.asked_ms),
            facts: AlertFacts {
                server: Some(server),
                detail: detail.map(|text| text.chars().take(DETAIL_MOST).collect()),
                ..AlertFacts::default()
            },
        });
    }

    Ok(())
}
