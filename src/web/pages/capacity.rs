//! Reads how many people were in calls at once, in all and on each SFU, and whose SFU carried whose
//! time: for the statistics and for the page of one SFU.

use crate::rtc::coverage::Span;
use crate::rtc::id::server_of;
use crate::rtc::sfu_owner::owner_of_sfu;
use crate::rtc::transport::host_of_url;
use crate::store::Reader;
use crate::store::ingest::probes::{self, OwnResult, ServerResult};
use crate::store::ingest::vantages;
use crate::store::stats::capacity::{CarriedStays, CarriedTime, CountedTime, SfuSums};
use crate::store::stats::ghost_time::Gone;
use crate::web::http::error::Error;
use crate::web::view::{AtOnceFacts, AtOnceStep, CapacityFacts, CarriedFacts, SfuLoad, Stamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum SFUs, those with most time, for which it is counted how many people were at once:
/// members may name as many as they like.
const CANDIDATES_MAX: usize = 200;
/// Maximum rows of the lists.
const SFUS_MAX: usize = 50;
const CARRIED_MAX: usize = 100;

/// The servers that publish each SFU, by its host: only those of `servers`.
pub(super) async fn publishers_of_sfus(
    store: &Reader,
    servers: &BTreeSet<&str>,
) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |server: &str, urls: &[String]| {
        for url in urls.iter().filter(|_| servers.contains(server)) {
            let known = found.entry(host_of_url(url)).or_default();
            known.insert(server.to_owned());
        }
    };
    for (server, probe) in probes::newest_results::<ServerResult>(store).await? {
        add(&server, &probe.result.sfus);
    }

    let own = probes::newest_results::<OwnResult>(store).await?;
    for vantage in vantages::list_vantages_for(store).await? {
        if let Some(offers) = own.get(&vantage.id) {
            add(server_of(&vantage.user_id), &offers.result.sfus);
        }
    }

    Ok(found)
}

/// Who runs each SFU, by its host, as far as that can be told. `publishers` are the servers that
/// publish each.
pub(super) fn owners_of_sfus(
    stays: &CarriedStays,
    publishers: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeMap<String, String> {
    let servers = stays.servers();
    let nobody = BTreeSet::new();
    let owner = |host: &str| {
        let publishers = publishers.get(host).unwrap_or(&nobody);
        let publishers: BTreeSet<&str> = publishers.iter().map(String::as_str).collect();
        let owner = owner_of_sfu(host, &publishers, &servers).map(ToOwned::to_owned);

        Some((host.to_owned(), owner?))
    };

    stays.sfus().into_iter().filter_map(owner).collect()
}

/// How large SFUs must be, by what was in a span and in its steps, as known at `now`, ms.
pub(super) async fn read_capacity(
    store: &Reader,
    span: Span,
    steps: &[Span],
    now: i64,
    gone: &Gone,
) -> Result<CapacityFacts, Error> {
    let stays = CarriedStays::read(store, span, now, gone).await?;
    if stays.is_too_many {
        return Ok(CapacityFacts {
            is_too_many: true,
            ..CapacityFacts::default()
        });
    }

    let publishers = publishers_of_sfus(store, &stays.servers()).await?;
    let owners = owners_of_sfus(&stays, &publishers);
    let sums = stays.sums_by_sfu();
    let mut candidates: Vec<(&&str, &SfuSums)> = sums.iter().collect();
    candidates.sort_by_key(|(_, sums)| Reverse(sums.seen_ms));
    candidates.truncate(CANDIDATES_MAX);
    let mut sfus: Vec<SfuLoad> = candidates
        .into_iter()
        .map(|(sfu, sums)| SfuLoad {
            sfu: Some((*sfu).to_owned()),
            owner: owners.get(*sfu).cloned(),
            ..load_of_sfus(&stays, span, &BTreeSet::from([*sfu]), *sums)
        })
        .collect();
    sort_loads(&mut sfus);
    let carried = time_by_owner(stays.time_by_server_and_sfu(), &owners);

    Ok(CapacityFacts {
        is_too_many: false,
        people_at_once: people_in_span(&stays, span, CountedTime::Heard),
        with_ghosts: people_in_span(&stays, span, CountedTime::WithGhosts),
        device_time_ms: stays.device_time(CountedTime::Heard),
        device_time_with_ghosts_ms: stays.device_time(CountedTime::WithGhosts),
        steps: people_by_step(&stays, steps, None),
        sfus,
        owners: loads_of_owners(&stays, span, &owners, &sums),
        own_seen_ms: carried
            .iter()
            .filter(|row| row.is_own())
            .map(|row| row.seen_ms)
            .sum(),
        carried_seen_ms: carried.iter().map(|row| row.seen_ms).sum(),
        carried_total: carried.len(),
        carried: carried.into_iter().take(CARRIED_MAX).collect(),
    })
}

/// How many people were in calls at once within a span.
fn people_in_span(stays: &CarriedStays, span: Span, time: CountedTime) -> AtOnceFacts {
    let found = stays.people_at_once(&[span], time, None);
    found.first().copied().unwrap_or_default().into()
}

/// How many people were in calls at once within each of these steps; with `sfus`, only on those.
pub(super) fn people_by_step(
    stays: &CarriedStays,
    steps: &[Span],
    sfus: Option<&BTreeSet<&str>>,
) -> Vec<AtOnceStep> {
    let found = stays.people_at_once(steps, CountedTime::Heard, sfus);

    steps
        .iter()
        .zip(found)
        .map(|(step, people)| AtOnceStep {
            from_ms: step.from,
            from_at: Stamp(step.from),
            people: people.into(),
        })
        .collect()
}

/// What these SFUs had together in a span, without their names.
pub(super) fn load_of_sfus(
    stays: &CarriedStays,
    span: Span,
    sfus: &BTreeSet<&str>,
    sums: SfuSums,
) -> SfuLoad {
    let found = stays.people_at_once(&[span], CountedTime::Heard, Some(sfus));

    SfuLoad {
        sfu: None,
        owner: None,
        people_at_once: found.first().copied().unwrap_or_default().into(),
        people: sums.people,
        calls: sums.calls,
        together_ms: sums.together_ms,
        together_seen_ms: sums.seen_ms,
    }
}

/// What all SFUs of each owner had, those with most people at once first.
fn loads_of_owners(
    stays: &CarriedStays,
    span: Span,
    owners: &BTreeMap<String, String>,
    sums: &BTreeMap<&str, SfuSums>,
) -> Vec<SfuLoad> {
    let mut by_owner: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (sfu, owner) in owners {
        by_owner.entry(owner).or_default().insert(sfu);
    }

    let load = |(owner, sfus): (&str, BTreeSet<&str>)| {
        let of_owner = sfus.iter().filter_map(|sfu| sums.get(sfu));
        let all = of_owner.fold(SfuSums::default(), |all, one| SfuSums {
            calls: all.calls + one.calls,
            people: all.people + one.people,
            together_ms: all.together_ms + one.together_ms,
            seen_ms: all.seen_ms + one.seen_ms,
        });

        SfuLoad {
            owner: Some(owner.to_owned()),
            ..load_of_sfus(stays, span, &sfus, all)
        }
    };
    let mut loads: Vec<SfuLoad> = by_owner.into_iter().map(load).collect();
    sort_loads(&mut loads);

    loads
}

/// Those with most people at once first, then those with most time; at most [`SFUS_MAX`].
fn sort_loads(loads: &mut Vec<SfuLoad>) {
    loads.sort_by_key(|load| {
        (
            Reverse(load.people_at_once.peak),
            Reverse(load.together_seen_ms),
            load.title().to_owned(),
        )
    });
    loads.truncate(SFUS_MAX);
}

/// Whose people were on whose SFUs, most time first.
fn time_by_owner(rows: Vec<CarriedTime>, owners: &BTreeMap<String, String>) -> Vec<CarriedFacts> {
    let mut sums: BTreeMap<(String, Option<String>, Option<String>), i64> = BTreeMap::new();
    for row in rows {
        let owner = owners.get(&row.sfu).cloned();
        let sfu = Some(row.sfu).filter(|_| owner.is_none());
        *sums.entry((row.server, owner, sfu)).or_default() += row.seen_ms;
    }

    let mut found: Vec<CarriedFacts> = sums
        .into_iter()
        .map(|((server, owner, sfu), seen_ms)| CarriedFacts {
            server,
            owner,
            sfu,
            seen_ms,
        })
        .collect();
    found.sort_by_key(|row| Reverse(row.seen_ms));

    found
}
