//! Which calls broke and went on in the next one of their slot.

use crate::rtc::broken_call::{BrokenStay, find_going_on};
use crate::rtc::finding_kind::FindingKind;
use crate::rtc::problem::id_of_problem;
use crate::store::db::multi_row::MultiRow;
use crate::store::model::Member;
use crate::store::read::memberships;
use crate::store::{Error, Reader};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Calls with more stays than this are not compared.
const STAYS_MAX: i64 = 500;

/// A call that broke, as a finding of it or of the call in which it went on. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenCall {
    pub id: String,
    pub other_call_id: String,
    pub from_ms: i64,
    pub until_ms: i64,
    /// Who was in both, and their display names in the same order.
    pub users: Vec<String>,
    pub names: Vec<Option<String>>,
}

// The calls of a slot do not overlap, so the next one by begin is the next one.
static NEIGHBOURS: MultiRow = MultiRow::new(
    "select o.id, o.started_ms, p.id as before_id, p.until_ms as before_until, n.id as after_id
    from (select s.id, s.started_ms, s.until_ms,
            (select p.id from sessions p where p.room_id = s.room_id and p.slot_id = s.slot_id
                and p.started_ms < s.started_ms order by p.started_ms desc limit 1) as before_id,
            (select n.id from sessions n where n.room_id = s.room_id and n.slot_id = s.slot_id
                and n.started_ms >= s.until_ms order by n.started_ms limit 1) as after_id
        from sessions s where s.users > 1 and s.id in (",
    "?",
    ")) as o
    left join sessions p on p.id = o.before_id and p.users > 1 and p.memberships <= $2
        and p.until_ms >= o.started_ms - $1
    left join sessions n on n.id = o.after_id and n.users > 1 and n.memberships <= $2
        and n.started_ms <= o.until_ms + $1
    where p.id is not null or n.id is not null",
);

/// For each of these calls, by id, that broke, or that goes on one that broke: the findings. A call
/// goes on if the same people are in the next one within `grace_ms`.
///
/// # Errors
/// When the database fails.
pub(crate) async fn find_broken_calls(
    store: &Reader,
    call_ids: &[String],
    grace_ms: i64,
) -> Result<HashMap<String, Vec<BrokenCall>>, Error> {
    let mut connection = store.read.acquire().await?;
    let rows = NEIGHBOURS
        .read(
            &mut connection,
            call_ids,
            |query| query.bind(grace_ms).bind(STAYS_MAX),
            |query, id| query.bind(id.cloned()),
        )
        .await?;
    drop(connection);
    let mut pairs: BTreeSet<(String, String)> = BTreeSet::new();
    for row in &rows {
        let id: String = row.try_get("id")?;
        let before: Option<String> = row.try_get("before_id")?;
        let after: Option<String> = row.try_get("after_id")?;
        pairs.extend(before.map(|before| (before, id.clone())));
        pairs.extend(after.map(|after| (id, after)));
    }

    if pairs.is_empty() {
        return Ok(HashMap::new());
    }

    let ids: BTreeSet<&String> = pairs.iter().flat_map(|(one, other)| [one, other]).collect();
    let ids: Vec<String> = ids.into_iter().cloned().collect();
    let mut members: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for member in memberships::members_of_calls(store, &ids).await? {
        members
            .entry(member.session_id.clone())
            .or_default()
            .push(member);
    }

    let asked: BTreeSet<&String> = call_ids.iter().collect();
    let mut found: HashMap<String, Vec<BrokenCall>> = HashMap::new();
    for (before, after) in &pairs {
        let (Some(ended), Some(next)) = (members.get(before), members.get(after)) else {
            continue;
        };
        let Some(went_on) = find_going_on(&stays_of(ended), &stays_of(next), grace_ms) else {
            continue;
        };
        let name = |user: &&str| {
            let member = ended.iter().find(|member| member.stay.user_id == **user);
            member.and_then(|member| member.name.clone())
        };
        for (call, other) in [(before, after), (after, before)] {
            if asked.contains(call) {
                found.entry(call.clone()).or_default().push(BrokenCall {
                    id: id_of_problem(FindingKind::BrokenCall, call, &[other]),
                    other_call_id: other.clone(),
                    from_ms: went_on.from_ms,
                    until_ms: went_on.until_ms,
                    users: went_on.users.iter().map(ToString::to_string).collect(),
                    names: went_on.users.iter().map(name).collect(),
                });
            }
        }
    }

    Ok(found)
}

fn stays_of(members: &[Member]) -> Vec<BrokenStay<'_>> {
    members
        .iter()
        .map(|Member { stay, .. }| BrokenStay {
            user_id: &stay.user_id,
            joined_ms: stay.joined_ms,
            until_ms: stay.until_ms,
            ran_out: stay.end_reason.is_expiry(),
        })
        .collect()
}
