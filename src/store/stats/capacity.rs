//! Who was on which SFU, from when to when: what the number of people at once follows from, and
//! whose SFU carried whose minutes.

use super::ghost_time::Gone;
use super::transport_usage::{StayRow, read_stays_by_call};
use crate::rtc::coverage::Span;
use crate::rtc::occupancy::{Occupancy, Presence, occupancy_of_spans};
use crate::rtc::transport::{TransportStay, transports_in_use};
use crate::store::{Error, Reader};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Maximum number of stays of a span that are looked at.
const STAYS_MAX: usize = 400_000;

/// Is it the address of a token service, or of an SFU itself?
fn is_web_address(address: &str) -> bool {
    ["https://", "http://", "wss://", "ws://"]
        .iter()
        .any(|scheme| address.starts_with(scheme))
}

/// One stay on an SFU. Times in ms, cut to the span that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CarriedStay {
    person: usize,
    server: usize,
    call: usize,
    /// `None` if its SFU is not known.
    sfu: Option<usize>,
    joined_ms: i64,
    until_ms: i64,
    /// The part in which its device was heard; empty or backwards if it never was.
    seen_from_ms: i64,
    seen_until_ms: i64,
}

/// Which time of a stay counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedTime {
    /// Only that in which its device was heard.
    Heard,
    /// All time until its membership ended, ghosts included.
    WithGhosts,
}

/// All stays of a span with their SFUs, which are told apart by host.
#[derive(Debug, Clone, Default)]
pub struct CarriedStays {
    stays: Vec<CarriedStay>,
    sfus: Names,
    servers: Names,
    /// The addresses of each SFU, as members named them.
    addresses: BTreeMap<usize, BTreeSet<String>>,
    /// There are more stays than are looked at: the numbers would be too low.
    pub is_too_many: bool,
}

/// Texts, each with a number.
#[derive(Debug, Clone, Default)]
struct Names {
    numbers: HashMap<String, usize>,
    texts: Vec<String>,
}

/// The time for which one server's people were on one SFU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedTime {
    pub server: String,
    /// The host of the SFU.
    pub sfu: String,
    /// Device time in which the devices were heard, ms.
    pub seen_ms: i64,
    pub people: usize,
}

/// What an SFU had within the span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SfuSums {
    pub calls: usize,
    pub people: usize,
    /// Device time, ms; and the part of it in which the devices were heard.
    pub together_ms: i64,
    pub seen_ms: i64,
}

impl Names {
    /// The number of a text, the same each time.
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }

        let number = self.texts.len();
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());

        number
    }
}

// At least as many as `read_stays_by_call` reads. Only columns of one index are named.
const STAYS_OF_SPAN: &str = "select count(*) from (select 1 as one from memberships m
    where m.until_ms > $1 and m.joined_ms < $2 limit $3) as counted";

/// Does a span have more stays than are read? To count them is fast; to read all of them first is
/// not.
async fn has_too_many_stays(store: &Reader, span: Span) -> Result<bool, Error> {
    let most = i64::try_from(STAYS_MAX).unwrap_or(i64::MAX);
    let count: i64 = sqlx::query_scalar(STAYS_OF_SPAN)
        .bind(span.from)
        .bind(span.to)
        .bind(most + 1)
        .fetch_one(&store.read)
        .await?;

    Ok(count > most)
}

impl CarriedStays {
    /// Reads the stays of a span, as known at `now`, ms. A device of `gone` was heard until it was
    /// last heard.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(store: &Reader, span: Span, now: i64, gone: &Gone) -> Result<Self, Error> {
        let mut found = Self::default();
        if has_too_many_stays(store, span).await? {
            found.is_too_many = true;
            return Ok(found);
        }

        let mut people = Names::default();
        let mut calls = 0;
        read_stays_by_call(store, span, now, gone, |call| {
            found.add_call(call, calls, &mut people, span);
            calls += 1;
        })
        .await?;

        Ok(found)
    }

    /// Adds the stays of one call.
    fn add_call(&mut self, call: &[StayRow], nth: usize, people: &mut Names, span: Span) {
        let stays: Vec<TransportStay> = call.iter().map(|row| row.stay.clone()).collect();
        for (row, used) in call.iter().zip(transports_in_use(&stays)) {
            // Nobody can be heard through a type that no client uses, or without a web address.
            let used = used.filter(|used| used.kind == "livekit");
            let used = used.filter(|used| used.stated().is_none_or(is_web_address));
            let sfu = used.as_ref().and_then(|used| used.sfu.as_deref());
            let sfu = sfu.map(|host| self.sfus.number(host));
            let address = used.as_ref().and_then(|used| used.address());
            if let (Some(sfu), Some(address)) = (sfu, address) {
                let known = self.addresses.entry(sfu).or_default();
                known.insert(address.to_owned());
            }

            let joined_ms = row.stay.joined_ms.max(span.from);
            let until_ms = row.stay.until_ms.min(span.to);
            self.stays.push(CarriedStay {
                person: people.number(&row.user_id),
                server: self.servers.number(&row.server),
                call: nth,
                sfu,
                joined_ms,
                until_ms,
                seen_from_ms: joined_ms.max(row.seen_from),
                seen_until_ms: until_ms.min(row.seen_until),
            });
        }
    }

    /// The hosts of all SFUs, in order.
    #[must_use]
    pub fn sfus(&self) -> BTreeSet<&str> {
        self.sfus.texts.iter().map(String::as_str).collect()
    }

    /// The homeservers of all people, in order.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<&str> {
        self.servers.texts.iter().map(String::as_str).collect()
    }

    /// The addresses by which members named the SFU of this host.
    #[must_use]
    pub fn addresses(&self, sfu: &str) -> Vec<&str> {
        let known = self.sfus.numbers.get(sfu);
        let addresses = known.and_then(|sfu| self.addresses.get(sfu));

        addresses
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// How many people were in calls at once within each of these spans; with `sfus`, only on
    /// those.
    #[must_use]
    pub fn people_at_once(
        &self,
        spans: &[Span],
        time: CountedTime,
        sfus: Option<&BTreeSet<&str>>,
    ) -> Vec<Occupancy> {
        let sfus: Option<HashSet<usize>> = sfus.map(|hosts| {
            let numbers = hosts.iter().filter_map(|host| self.sfus.numbers.get(*host));
            numbers.copied().collect()
        });
        let is_asked = |stay: &&CarriedStay| {
            let Some(sfus) = &sfus else { return true };
            stay.sfu.is_some_and(|sfu| sfus.contains(&sfu))
        };
        let presence = |stay: &CarriedStay| {
            let (from_ms, until_ms) = match time {
                CountedTime::Heard => (stay.seen_from_ms, stay.seen_until_ms),
                CountedTime::WithGhosts => (stay.joined_ms, stay.until_ms),
            };
            Presence {
                who: stay.person,
                from_ms,
                until_ms,
            }
        };
        let presences = self.stays.iter().filter(is_asked).map(presence).collect();

        occupancy_of_spans(presences, spans)
    }

    /// Device time of all stays, ms.
    #[must_use]
    pub fn device_time(&self, time: CountedTime) -> i64 {
        let length_ms = |stay: &CarriedStay| match time {
            CountedTime::Heard => (stay.seen_until_ms - stay.seen_from_ms).max(0),
            CountedTime::WithGhosts => (stay.until_ms - stay.joined_ms).max(0),
        };

        self.stays.iter().map(length_ms).sum()
    }

    /// What each SFU had, by host.
    #[must_use]
    pub fn sums_by_sfu(&self) -> BTreeMap<&str, SfuSums> {
        let mut sums: BTreeMap<&str, SfuSums> = BTreeMap::new();
        let mut people: HashSet<(usize, usize)> = HashSet::new();
        let mut calls: HashSet<(usize, usize)> = HashSet::new();
        for stay in &self.stays {
            let Some(sfu) = stay.sfu else { continue };
            let sum = sums.entry(&self.sfus.texts[sfu]).or_default();
            sum.people += usize::from(people.insert((sfu, stay.person)));
            sum.calls += usize::from(calls.insert((sfu, stay.call)));
            sum.together_ms += (stay.until_ms - stay.joined_ms).max(0);
            sum.seen_ms += (stay.seen_until_ms - stay.seen_from_ms).max(0);
        }

        sums
    }

    /// For each server and SFU the time in which its people were on it, most time first.
    #[must_use]
    pub fn time_by_server_and_sfu(&self) -> Vec<CarriedTime> {
        let mut sums: BTreeMap<(usize, usize), (i64, HashSet<usize>)> = BTreeMap::new();
        for stay in &self.stays {
            let Some(sfu) = stay.sfu else { continue };
            let (seen_ms, people) = sums.entry((stay.server, sfu)).or_default();
            *seen_ms += (stay.seen_until_ms - stay.seen_from_ms).max(0);
            people.insert(stay.person);
        }

        let mut found: Vec<CarriedTime> = sums
            .into_iter()
            .map(|((server, sfu), (seen_ms, people))| CarriedTime {
                server: self.servers.texts[server].clone(),
                sfu: self.sfus.texts[sfu].clone(),
                seen_ms,
                people: people.len(),
            })
            .collect();
        found.sort_by(|a, b| {
            let key = |one: &CarriedTime| (one.server.clone(), one.sfu.clone());
            b.seen_ms.cmp(&a.seen_ms).then_with(|| key(a).cmp(&key(b)))
        });

        found
    }
}

const NAMED: &str = "select count(*) from (select 1 as one from memberships m
    where m.transport_type = 'livekit' and (lower(m.transport_url) like $1
        or lower(m.transport_url) like $2 or lower(m.transport_url) like $3
        or m.transport_url is null and m.server = $4) limit 1) as o";

/// Did a member ever name an SFU of this host, by its address or as that of their server?
///
/// # Errors
/// When the database fails.
pub async fn is_known_sfu(store: &Reader, host: &str) -> Result<bool, Error> {
    // `_` stands for every sign in a pattern; that finds a little more.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if !host.bytes().all(is_plain) {
        return Ok(false);
    }

    let found: i64 = sqlx::query_scalar(NAMED)
        .bind(format!("%://{host}"))
        .bind(format!("%://{host}/%"))
        .bind(format!("%://{host}:%"))
        .bind(host)
        .fetch_one(&store.read)
        .await?;

    Ok(found > 0)
}
