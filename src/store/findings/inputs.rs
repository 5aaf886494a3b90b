//! From rows to what the core needs to find problems: the evidence about ghosts, and the stays.

use crate::rtc::coverage::Span;
use crate::rtc::finding::FindingStay;
use crate::rtc::ghost::{self, Clues, Goodbyes, SilentStay};
use crate::rtc::id::server_of;
use crate::rtc::left_over::EndedStay;
use crate::rtc::membership::Membership;
use crate::rtc::problem::ProblemStay;
use crate::rtc::room_finding::RoomFindingStay;
use crate::rtc::split_finding::{SfuFlip, spans_without_answer};
use crate::rtc::time::DAY_MS;
use crate::rtc::transport::{self, Transport, TransportStay};
use crate::rtc::words::Format;
use crate::store::db::multi_row::MultiRow;
use crate::store::ingest::vantages;
use crate::store::read::evidence::{self, Origins};
use crate::store::read::ghosts::{self, StayStatements};
use crate::store::read::left_overs::{LeftOverEvent, read_left_overs};
use crate::store::read::memberships;
use crate::store::{Error, Reader, model};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Maximum number of silent stays whose events are read. For further ones, only the signs that need
/// no events are reported.
const SILENT_MAX: usize = 500;
/// Number of days over which the ends of a server's stays are counted.
const HABIT_DAYS: i64 = 30;

/// What is known of stays beyond their rows; the maps are by membership.
#[derive(Debug, Clone, Default)]
pub struct StayEvidence {
    pub origins: HashMap<String, Origins>,
    /// For stays whose renewal is overdue.
    pub ghosts: Ghosts,
    /// Stays whose transports may have been taken back by a redaction.
    pub taken_back: BTreeSet<String>,
    /// When SFUs did not answer, by address.
    pub downtimes: SfuDowntimes,
    /// The state events of stays whose people left the room.
    pub left_overs: HashMap<String, LeftOverEvent>,
}

/// Maximum number of times that stays are read if each time some change meanwhile.
const READS_MAX: usize = 3;

/// Stays, with what is known of them.
#[derive(Debug)]
pub(crate) struct KnownStays {
    pub members: Vec<model::Member>,
    pub evidence: StayEvidence,
}

impl KnownStays {
    /// Reads all stays of these calls, and further ones by their ids, as known at `now`, ms.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn read(
        store: &Reader,
        call_ids: &[String],
        stay_ids: &[String],
        now: i64,
    ) -> Result<Self, Error> {
        let mut known = Self::read_once(store, call_ids, stay_ids, now).await?;

        // A leave that comes between the reads would stand beside the stay that it ended, as if
        // nothing told that the device is gone.
        for _ in 1..READS_MAX {
            if !known.evidence.ghosts.contradict(&known.members) {
                break;
            }
            known = Self::read_once(store, call_ids, stay_ids, now).await?;
        }

        Ok(known)
    }

    async fn read_once(
        store: &Reader,
        call_ids: &[String],
        stay_ids: &[String],
        now: i64,
    ) -> Result<Self, Error> {
        let mut members = memberships::members_of_calls(store, call_ids).await?;
        let mut origins = evidence::origins_of_calls(store, call_ids).await?;
        if !stay_ids.is_empty() {
            members.extend(memberships::members_by_id(store, stay_ids).await?);
            origins.extend(evidence::origins_of_memberships(store, stay_ids).await?);
        }

        let evidence = StayEvidence {
            ghosts: read_ghosts(store, &members, &origins, now).await?,
            taken_back: read_taken_back(store, &members).await?,
            downtimes: read_sfu_downtimes(store, &members).await?,
            left_overs: read_left_overs(store, &members, now).await?,
            origins,
        };

        Ok(Self { members, evidence })
    }
}

/// The evidence about ghosts.
#[derive(Debug, Clone, Default)]
pub struct Ghosts {
    /// By membership; only of those whose renewal is overdue.
    pub told: HashMap<String, StayStatements>,
    /// How the stays of homeservers ended lately.
    pub goodbyes: BTreeMap<String, Goodbyes>,
    /// Homeservers that report no support for delayed events; only our own.
    pub without_delayed_events: BTreeSet<String>,
}

impl Ghosts {
    /// Did one of these stays change between the read of its row and that of its events?
    fn contradict(&self, members: &[model::Member]) -> bool {
        let has_changed = |member: &model::Member| {
            let told = self.told.get(&member.stay.id);
            told.is_some_and(|told| told.until_ms != member.stay.until_ms)
        };

        members.iter().any(has_changed)
    }

    /// What tells whether the device of a stay is gone, from outside of the stay itself.
    fn clues(&self, stay: &Membership) -> Clues {
        let told = self.told.get(&stay.id);
        Clues {
            is_hourly_client: told.is_some_and(|told| told.is_hourly_client),
            came_back: told.is_some_and(|told| told.came_back),
            has_no_delayed_events: self.without_delayed_events.contains(stay.server()),
            goodbyes: self
                .goodbyes
                .get(stay.server())
                .copied()
                .unwrap_or_default(),
        }
    }
}

/// Does the stay end by its own expiry as far as is known, without a later sign of its device?
fn is_ended_by_expiry(stay: &Membership) -> bool {
    stay.end_reason.is_expiry() && stay.outlived_ms.is_none()
}

/// Those of these stays whose renewal is overdue at `now`, ms: few, mostly none.
fn overdue_stays<'a>(
    members: &'a [model::Member],
    origins: &HashMap<String, Origins>,
    now: i64,
) -> Vec<&'a model::Member> {
    let is_overdue = |member: &&model::Member| {
        let stay = &member.stay;
        let heard_ms = origins
            .get(&stay.id)
            .and_then(|origins| origins.last_sign_ms);
        let Some(last_sign_ms) =
            heard_ms.filter(|_| stay.format == Format::Session && is_ended_by_expiry(stay))
        else {
            return false;
        };

        let silence = SilentStay {
            joined_ms: stay.joined_ms,
            until_ms: stay.until_ms,
            last_sign_ms,
            updates: i64::from(stay.updates),
            is_renewed_by_hours: true,
            is_elsewhere: false,
        };

        ghost::is_overdue(&silence, now)
    };

    members.iter().filter(is_overdue).collect()
}

/// What is known of the ghosts among these stays at `now`, ms: what the events of overdue stays
/// say, and how stays of their homeservers ended lately. Nothing is read if no stay is overdue.
///
/// # Errors
/// When the database fails.
async fn read_ghosts(
    store: &Reader,
    members: &[model::Member],
    origins: &HashMap<String, Origins>,
    now: i64,
) -> Result<Ghosts, Error> {
    let silent = overdue_stays(members, origins, now);
    if silent.is_empty() {
        return Ok(Ghosts::default());
    }

    let ids = silent.iter().take(SILENT_MAX);
    let ids: Vec<String> = ids.map(|member| member.stay.id.clone()).collect();
    let servers: BTreeSet<&str> = silent.iter().map(|member| member.stay.server()).collect();
    let from = now - HABIT_DAYS * DAY_MS;
    // A capability that a homeserver never reported is unknown.
    let without = vantages::list_vantages_for(store)
        .await?
        .into_iter()
        .filter(|vantage| {
            let has_said = vantage.capabilities_ms.is_some();
            has_said && !vantage.delayed_events
        });

    Ok(Ghosts {
        told: ghosts::statements_of_stays(store, &ids).await?,
        goodbyes: ghosts::count_goodbyes(store, &servers, from, now).await?,
        without_delayed_events: without
            .map(|vantage| server_of(&vantage.user_id).to_owned())
            .collect(),
    })
}

/// The transport that each member of one call really uses, in the order of `members`; `None` if it
/// is not known.
#[must_use]
pub fn transports_in_use(members: &[model::Member]) -> Vec<Option<Transport>> {
    let stay = |member: &model::Member| {
        let stay = &member.stay;
        TransportStay {
            joined_ms: stay.joined_ms,
            until_ms: stay.until_ms,
            transport: stay.transport.clone(),
            selection: stay.selection,
        }
    };

    transport::transports_in_use(&members.iter().map(stay).collect::<Vec<_>>())
}

static TAKEN_BACK: MultiRow = MultiRow::new(
    "select m.id from memberships m join events e on e.event_id = m.join_event_id
        and e.room_id = m.room_id where e.redacted_ms is not null and m.id in (",
    "?",
    ")",
);

/// Those of these stays whose transports may have been taken back by a redaction. Only stays
/// without a transport are looked at, which are few.
///
/// # Errors
/// When the database fails.
async fn read_taken_back(
    store: &Reader,
    members: &[model::Member],
) -> Result<BTreeSet<String>, Error> {
    let lacking = members
        .iter()
        .filter(|member| member.stay.transport.is_none() && member.stay.format != Format::Legacy);
    let ids: Vec<&str> = lacking.map(|member| member.stay.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }

    let mut connection = store.read.acquire().await?;
    let rows = TAKEN_BACK.read_by_ids(&mut connection, &ids).await?;
    let ids = rows.iter().map(|row| row.try_get("id"));

    Ok(ids.collect::<Result<_, _>>()?)
}

/// When SFUs did not answer, by the address that members name.
pub type SfuDowntimes = BTreeMap<String, Vec<Span>>;

/// The most SFUs that are looked up at once.
const SFUS_MAX: usize = 200;

static FLIPS: MultiRow = MultiRow::new(
    "select f.name, f.at_ms, f.state, f.asked_before_ms, (select p.asked_ms from probes p where p.kind = f.kind
        and p.name = f.name) as asked_ms
    from probe_flips f where f.kind = 'sfu' and f.step = 'health'
        and f.name in (",
    "?",
    ") order by f.name, f.at_ms",
);

/// When the SFUs that these stays name did not answer our probes.
///
/// # Errors
/// When the database fails.
async fn read_sfu_downtimes(
    store: &Reader,
    members: &[model::Member],
) -> Result<SfuDowntimes, Error> {
    let stated = |member: &model::Member| {
        let stated = member.stay.transport.as_ref().and_then(Transport::stated);
        stated.map(ToOwned::to_owned)
    };
    let urls: BTreeSet<String> = members.iter().filter_map(stated).collect();
    let urls: Vec<String> = urls.into_iter().take(SFUS_MAX).collect();
    if urls.is_empty() {
        return Ok(SfuDowntimes::new());
    }

    let mut connection = store.read.acquire().await?;
    let mut flips: BTreeMap<String, Vec<SfuFlip>> = BTreeMap::new();
    let mut asked: BTreeMap<String, i64> = BTreeMap::new();
    for row in FLIPS.read_by_ids(&mut connection, &urls).await? {
        let state: String = row.try_get("state")?;
        // What was refused was not asked; a client error is an answer.
        let answers = state != "failed";
        let at_ms = row.try_get("at_ms")?;
        let asked_ms: Option<i64> = row.try_get("asked_ms")?;
        asked.insert(row.try_get("name")?, asked_ms.unwrap_or(at_ms));
        let of_sfu = flips.entry(row.try_get("name")?).or_default();
        of_sfu.push(SfuFlip {
            at_ms,
            answers,
            asked_before_ms: row.try_get("asked_before_ms")?,
        });
    }

    let spans = |(url, flips): (String, Vec<SfuFlip>)| {
        let asked_ms = asked.get(&url).copied().unwrap_or(i64::MIN);
        (url, spans_without_answer(&flips, asked_ms))
    };

    Ok(flips.into_iter().map(spans).collect())
}

/// What findings need of the stays of one call of this application, in the order of `members`.
/// `used` is the transport of each.
pub(crate) fn problem_stays<'a>(
    application: &str,
    members: &'a [model::Member],
    used: &'a [Option<Transport>],
    evidence: &'a StayEvidence,
) -> Vec<ProblemStay<'a>> {
    let is_call = application == "m.call";
    let is_ours = |event_id: &str| event_id.starts_with('~');
    let of_member = |(member, transport): (&'a model::Member, &'a Option<Transport>)| {
        let stay = &member.stay;
        let origins = evidence.origins.get(&stay.id);
        let last_sign_ms = origins.and_then(|origins| origins.last_sign_ms);

        ProblemStay {
            id: &stay.id,
            finding: FindingStay {
                user_id: &stay.user_id,
                device: stay.device_id.as_deref(),
                joined_ms: stay.joined_ms,
                until_ms: stay.until_ms,
                ended_by_expiry: is_ended_by_expiry(stay),
                renewed_by_hours: stay.format == Format::Session && is_call,
                last_sign_ms,
                updates: i64::from(stay.updates),
                clues: evidence.ghosts.clues(stay),
                transport: transport.as_ref(),
                selection: stay.selection,
            },
            room: RoomFindingStay {
                user_id: &stay.user_id,
                joined_ms: stay.joined_ms,
                until_ms: stay.until_ms,
                ended_by_expiry: stay.end_reason.is_expiry(),
                is_sticky: stay.format == Format::Sticky,
                last_sign_ms,
                found_begun: is_ours(&stay.join_event_id),
                found_gone: stay.end_event_id.as_deref().is_some_and(is_ours),
            },
            ended: EndedStay {
                user_id: &stay.user_id,
                device: stay.device_id.as_deref(),
                member_key: &stay.member_key,
                format: stay.format,
                until_ms: stay.until_ms,
                end_reason: stay.end_reason,
                join_event_id: &stay.join_event_id,
                end_event_id: stay.end_event_id.as_deref(),
                left_over: evidence.left_overs.get(&stay.id).map(|left| left.left_over),
            },
            is_outlived: stay.outlived_ms.is_some(),
            stated: stay.transport.as_ref(),
            states_transports: is_call
                && matches!(stay.format, Format::Session | Format::Sticky)
                && !evidence.taken_back.contains(&stay.id),
            alias: stay.transport_alias.as_deref(),
            sfu_down: transport
                .as_ref()
                .and_then(Transport::stated)
                .and_then(|url| evidence.downtimes.get(url))
                .map_or(&[], Vec::as_slice),
            looked_before_ms: origins
                .and_then(|origins| origins.end)
                .and_then(|event| event.made_since_ms),
        }
    };

    members.iter().zip(used).map(of_member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::read::tests::Bed;

    #[tokio::test]
    async fn a_stay_that_ended_between_two_reads_contradicts_its_events() {
        let bed = Bed::new().await;
        bed.call("call", 1000, 9000).await;
        bed.stay("@a:h", "'D'", "a", 1000, 9000).await;
        let calls = ["call".to_owned()];
        let before = memberships::members_of_calls(&bed.store, &calls);
        let before = before.await.unwrap();

        bed.run("update memberships set until_ms = 2000").await;
        let ids: Vec<String> = before.iter().map(|member| member.stay.id.clone()).collect();
        let ghosts = Ghosts {
            told: ghosts::statements_of_stays(&bed.store, &ids).await.unwrap(),
            ..Ghosts::default()
        };
        let after = memberships::members_of_calls(&bed.store, &calls);

        assert_eq!(ids.len(), 1);
        assert!(ghosts.contradict(&before));
        assert!(!ghosts.contradict(&after.await.unwrap()));
    }
}
