//! `/servers/{name}`: one homeserver: whether it can be restarted now, its people, how its stays
//! end, and its ghosts.

use super::period::{Bucket, Period};
use super::statistics::RINGS;
use crate::rtc::id::server_of;
use crate::rtc::words::EndReason;
use crate::store::ingest::probes::{self, OwnResult, ServerResult, SfuResult};
use crate::store::ingest::vantages;
use crate::store::read::coverage;
use crate::store::read::rings::{self, RingCounts};
use crate::store::stats::distributions::{self, EndFacts, NamedTransport};
use crate::store::stats::scope::Scope;
use crate::store::stats::{clock_skew, usage};
use crate::web::http::assets;
use crate::web::http::cost_cache::CostCache;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::svg::bars::{Bars, TimeOfStep, draw_time_bars};
use crate::web::svg::timeline::end_reason_words;
use crate::web::svg::{Num, ratio};
use crate::web::view::format as f;
use crate::web::view::liveness::{AllSeenFacts, Liveness};
use crate::web::view::{
    CallFacts, ClockFacts, DelayedFacts, DriftFacts, GhostFacts, MemberFacts, OwnFacts,
    PerhapsGone, PersonTime, Rate, ServerProbeFacts, SfuOfServer, Stamp, SumFacts, SupportFacts,
};
use crate::web::{Web, view};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

const HOUR: i64 = 3_600_000;
const PEOPLE: i64 = 20;
const GHOSTS: i64 = 20;
/// Maximum length of a host name; longer ones are not servers.
const NAME_MAX: usize = 255;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ServerPage {
    pub server: String,
    pub now: Now,
    /// Whether servers are probed (`probe.enabled`); the result for this one; and the differences
    /// between what it publishes and what its people name, null if unknown.
    pub probing: bool,
    pub probe: Option<ServerProbeFacts>,
    pub drift: Option<DriftFacts>,
    /// If this is our own homeserver: what it offers to signed-in users. This has priority over
    /// what is published.
    pub own: Option<OwnFacts>,
    /// Whom to tell about it, as it publishes; null where that is not known.
    pub support: Option<SupportFacts>,
    /// The SFUs that it publishes or its people name, with their health.
    pub sfus: Vec<SfuOfServer>,
    #[serde(flatten)]
    pub past: Past,
}

/// The people of this server in calls now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Now {
    pub now_ms: i64,
    pub now_at: Stamp,
    /// False if the present is unknown, or partly unknown: zero people then does not mean that
    /// nobody is there.
    pub can_tell: bool,
    #[serde(flatten)]
    pub seen: AllSeenFacts,
    /// Its people and their devices in calls now, each once, in however many calls.
    pub people: usize,
    pub devices: usize,
    /// The number among `devices` that are perhaps gone, and their newest last event: a renewal is
    /// overdue, and no sign tells which client it is.
    pub perhaps_gone: usize,
    pub silent_since_ms: Option<i64>,
    pub silent_since_at: Option<Stamp>,
    /// Its devices that still count in a call though they are probably gone: in neither of the two
    /// numbers before.
    pub ghosts: usize,
    /// Calls with people of this server, and other calls that an SFU under its name carries.
    pub calls: Vec<CallFacts>,
    pub carried: Vec<CallFacts>,
    /// Calls in which only devices are left that are probably gone, some of this server among them.
    pub stuck: Vec<CallFacts>,
}

/// The numbers of a period.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Past {
    /// When this was computed: what took long is kept for a while.
    pub computed_ms: i64,
    pub computed_at: Stamp,
    pub period: &'static str,
    pub this: SumFacts,
    pub before: SumFacts,
    /// Whether anything is known of all of these days. If not, no page compares with them: they
    /// count less than there was.
    pub compared: bool,
    /// The time in calls of people of all servers.
    pub together_all_ms: i64,
    /// Ended stays by the way they ended; their number; and the number of those that only expired.
    pub ends: Vec<EndFacts>,
    pub ended: i64,
    pub expired: i64,
    /// The share of stays that end only by expiry; null with fewer than 30 stays. And the median of
    /// all servers that have a rate.
    pub rate: Option<Rate>,
    pub median_permille: Option<i64>,
    /// Time in calls by week, from the first day of the period.
    pub weeks: Vec<WeekFacts>,
    /// Transports that its people name.
    pub transports: Vec<NamedFacts>,
    pub people: Vec<PersonTime>,
    /// The newest stays that nobody ended.
    pub ghosts: Vec<GhostFacts>,
    /// Whether the server says goodbye for devices that are gone.
    pub delayed_events: DelayedFacts,
    pub clock: ClockFacts,
    /// Rings that its people sent.
    pub rings: RingCounts,
    #[serde(skip)]
    days: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct WeekFacts {
    pub from_ms: i64,
    pub from_at: Stamp,
    pub together_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NamedFacts {
    #[serde(rename = "type")]
    pub kind: String,
    pub service_url: Option<String>,
    pub people: i64,
    pub stays: i64,
    pub last_ms: i64,
    pub last_at: Stamp,
}

impl From<NamedTransport> for NamedFacts {
    fn from(row: NamedTransport) -> Self {
        let NamedTransport {
            kind,
            service_url,
            people,
            stays,
            last_ms,
        } = row;

        Self {
            kind,
            service_url,
            people,
            stays,
            last_ms,
            last_at: Stamp(last_ms),
        }
    }
}

/// `GET /servers/{name}` and `GET /api/v1/servers/{name}`: one server, as a page or as JSON. `kept`
/// holds expensive answers about the past.
pub async fn get_server(
    req: HttpRequest,
    web: Web,
    kept: http::Data<CostCache<Past>>,
    name: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_page(
        &web,
        &ask,
        load_server_page(&web, &ask, &kept, &name)
            .await
            .map(PageAnswer::from),
    )
    .await
}

/// Reads everything that the page shows of the homeserver with this name. The numbers of the period
/// may be kept from an earlier request; all that is said of now is read each time.
async fn load_server_page(
    web: &Web,
    ask: &PageRequest,
    kept: &CostCache<Past>,
    name: &str,
) -> Result<ServerPage, Error> {
    let period = Period::read(ask)?;
    let known = if name.len() > NAME_MAX {
        None
    } else {
        distributions::find_known_server(&web.store, name).await?
    };
    let Some(name) = known.as_deref() else {
        return Err(Error::NotFound(
            "Nobody of a server with this name was seen in a call.".to_owned(),
        ));
    };

    let key = format!("{} {name}", period.word());
    let past = kept
        .get(
            &web.cache_key(&key),
            read_server_in_period(web, ask, name, period),
        )
        .await?;
    let own = read_own_homeserver(web, name).await?;
    let mut probe = probes::newest_results::<ServerResult>(&web.store)
        .await?
        .remove(name)
        .map(ServerProbeFacts::from);
    let offered = own.as_ref().filter(|own| own.transports.is_ok());
    if let (Some(probe), Some(own)) = (&mut probe, offered) {
        // Clients use the endpoint; the well-known document is for old clients.
        probe.offer(&own.sfus);
    }

    let named = || {
        let known = past.transports.iter().filter(|sfu| sfu.kind == "livekit");
        known.filter_map(|sfu| sfu.service_url.as_deref())
    };

    let drift = probe.as_ref().and_then(|probe| probe.drift(named()));
    let published = match (&probe, offered) {
        (Some(probe), _) => probe.sfus.clone(),
        (None, Some(own)) => own.sfus.clone(),
        (None, None) => Vec::new(),
    };

    let sfus = SfuOfServer::all(
        &published,
        named(),
        probes::newest_results::<SfuResult>(&web.store).await?,
    );
    let (now, probing) = (read_server_now(web, ask, name).await?, web.options.probing);

    let support = super::read_support(web, &BTreeSet::from([name])).await?;

    Ok(ServerPage {
        support: support.into_values().next(),
        server: name.to_owned(),
        now,
        probing,
        probe,
        drift,
        own,
        sfus,
        past,
    })
}

/// What the homeserver with this name answered to our account, if it is our own; else `None`.
async fn read_own_homeserver(web: &Web, name: &str) -> Result<Option<OwnFacts>, Error> {
    let ours = vantages::list_vantages_for(&web.store).await?;
    let Some(ours) = ours.iter().find(|one| server_of(&one.user_id) == name) else {
        return Ok(None);
    };

    let mut all = probes::newest_results::<OwnResult>(&web.store).await?;

    Ok(all.remove(&ours.id).map(OwnFacts::from))
}

/// The people of this server in calls now, and the calls that concern it. Those who are probably
/// gone count only as ghosts.
async fn read_server_now(web: &Web, ask: &PageRequest, name: &str) -> Result<Now, Error> {
    let calls = super::read_running_calls(web, ask).await?.calls.clone();
    let (own, others): (Vec<_>, Vec<_>) = calls
        .into_iter()
        .partition(|call| call.present().any(|member| member.server == name));
    let mut gone: BTreeSet<(&str, &str)> = BTreeSet::new();
    for call in own.iter().chain(&others) {
        let ghosts = call.ghosts().filter(|member| member.server == name);
        gone.extend(ghosts.map(MemberFacts::device));
    }

    let ghosts = gone.len();
    let is_stuck =
        |call: &&CallFacts| call.is_stuck() && call.ghosts().any(|member| member.server == name);
    let stuck = others.iter().filter(is_stuck).cloned().collect();
    let mut people: BTreeSet<&str> = BTreeSet::new();
    let mut devices: BTreeSet<(&str, &str)> = BTreeSet::new();
    for member in own
        .iter()
        .flat_map(CallFacts::present)
        .filter(|member| member.server == name)
    {
        people.insert(&member.user_id);
        devices.insert(member.device());
    }

    let of_server = own
        .iter()
        .flat_map(CallFacts::present)
        .filter(|member| member.server == name);
    let perhaps_gone = PerhapsGone::among(of_server);
    let present = Liveness::read(web, ask.now).await?.everything();
    let carries = |call: &CallFacts| {
        call.present()
            .any(|member| member.sfu().is_some_and(|url| is_under(url, name)))
    };

    Ok(Now {
        now_ms: ask.now,
        now_at: Stamp(ask.now),
        can_tell: !present.seen.unknown,
        seen: present,
        ghosts,
        perhaps_gone: perhaps_gone.devices,
        silent_since_ms: perhaps_gone.silent_since_ms,
        silent_since_at: perhaps_gone.silent_since_ms.map(Stamp),
        stuck,
        people: people.len(),
        devices: devices.len(),
        carried: others.into_iter().filter(carries).collect(),
        calls: own,
    })
}

/// Is the host of this address the server's name or a subdomain of it? Ports do not count.
fn is_under(url: &str, server: &str) -> bool {
    let host = f::host_of_url(url)
        .rsplit_once(':')
        .map_or(f::host_of_url(url), |(host, _)| host);
    let server = server.rsplit_once(':').map_or(server, |(host, _)| host);

    host == server
        || host
            .strip_suffix(server)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// Computes the numbers of a server in a period and in the one before.
async fn read_server_in_period(
    web: &Web,
    ask: &PageRequest,
    name: &str,
    period: Period,
) -> Result<Past, Error> {
    let (store, now) = (&web.store, ask.now);
    let (span, before) = (period.span(now), period.before(now));
    let scope = Scope::Server(name);
    let gone = super::read_gone_members(web, ask).await?;
    // This comes first: everything reported as known is counted after it.
    let compared = coverage::is_known_from(store, before.from).await?;
    let sums = usage::sums_of_span(store, scope, span, now, &gone).await?;
    let sums_before = usage::sums_of_span(store, scope, before, now, &gone).await?;
    let hours = usage::time_by_hour(&usage::stay_hours(store, scope, span, now).await?);
    let all = distributions::servers_in_calls(store, span.from, now).await?;
    let (ended, expired) = all
        .iter()
        .find(|row| row.server == name)
        .map_or((0, 0), |row| (row.ended, row.expired));
    let people = distributions::top_people_of_server(store, name, span, now, PEOPLE, &gone).await?;
    let ghosts = distributions::list_ran_out_stays(store, name, span, GHOSTS).await?;
    let ends = distributions::end_reasons_of_server(store, name, span, now).await?;
    let delayed_events = DelayedFacts::new(&ends);
    let transports = distributions::transports_of_server(store, name, span).await?;
    let mut rates: Vec<i64> = all
        .iter()
        .filter_map(|row| Rate::with_bounds(row.expired, row.ended))
        .map(|r| r.permille)
        .collect();
    rates.sort_unstable();

    Ok(Past {
        computed_ms: now,
        computed_at: Stamp(now),
        period: period.word(),
        this: SumFacts::new(&sums, span),
        before: SumFacts::new(&sums_before, before),
        compared,
        together_all_ms: usage::device_time_of_span(store, span, now).await?,
        ends,
        ended,
        expired,
        rate: Rate::with_bounds(expired, ended),
        median_permille: rates.get(rates.len() / 2).copied(),
        weeks: time_per_bucket(period, &hours, span.from),
        transports: transports.into_iter().map(NamedFacts::from).collect(),
        people: people.into_iter().map(PersonTime::from).collect(),
        ghosts: ghosts.into_iter().map(GhostFacts::from).collect(),
        delayed_events,
        clock: clock_skew::clock_of_server(
            store,
            name,
            span,
            &clock_skew::spans_heard(store).await?,
        )
        .await?
        .into(),
        rings: rings::rings_within(store, scope, span, now, RINGS).await?,
        days: period.days,
    })
}

/// The step by which the time in calls is shown: weeks for a period of more than 30 days, else
/// days.
fn bucket_of_period(period: Period) -> Bucket {
    if period.days > 30 {
        Bucket::Week
    } else {
        Bucket::Day
    }
}

/// The time in calls of each step of the period, from `from`, ms, on. `hours` has the device time,
/// ms, by hour since the Unix epoch.
fn time_per_bucket(period: Period, hours: &BTreeMap<i64, i64>, from: i64) -> Vec<WeekFacts> {
    let step = if bucket_of_period(period) == Bucket::Day {
        1
    } else {
        7
    };
    let week = |at: i64| {
        let from_ms = from + at * step * f::DAY;
        let first = from_ms / HOUR;
        let together_ms = hours
            .range(first..first + step * 24)
            .map(|(_, ms)| ms)
            .sum();
        WeekFacts {
            from_ms,
            from_at: Stamp(from_ms),
            together_ms,
        }
    };

    (0..(period.days + step - 1) / step).map(week).collect()
}

impl Now {
    /// The people who are perhaps gone, in words.
    #[must_use]
    pub fn perhaps_gone_words(&self) -> Option<String> {
        let found = PerhapsGone {
            devices: self.perhaps_gone,
            silent_since_ms: self.silent_since_ms,
            are_all: self.perhaps_gone > 0 && self.perhaps_gone == self.devices,
        };

        found.words(self.now_ms)
    }
}

impl ServerPage {
    /// The period of the page.
    #[must_use]
    pub fn period(&self) -> Period {
        Period {
            days: self.past.days,
        }
    }

    /// The path of the page.
    #[must_use]
    pub fn href(&self) -> String {
        format!("/servers/{}", f::path_segment(&self.server))
    }

    /// The step of the picture.
    #[must_use]
    pub fn step(&self) -> Bucket {
        bucket_of_period(self.period())
    }

    /// The time in calls by week or day.
    #[must_use]
    pub fn chart(&self) -> Bars {
        let steps = self.past.weeks.iter().map(|step| TimeOfStep {
            from_ms: step.from_ms,
            time_ms: step.together_ms,
        });

        draw_time_bars(&steps.collect::<Vec<_>>())
    }

    /// The share of this server in the time of all servers, in words.
    #[must_use]
    pub fn share(&self) -> String {
        let permille = 1000 * self.past.this.together_ms / self.past.together_all_ms.max(1);
        Rate::words(permille)
    }

    /// How its stays ended, as bands: words, number of stays, start and width (percent), and the
    /// class of the colour.
    #[must_use]
    pub fn bands(&self) -> Vec<(&'static str, i64, Num, Num, &'static str)> {
        let all: i64 = self.past.ends.iter().map(|end| end.stays).sum();
        let mut at = 0;
        let band = |end: &EndFacts| {
            let class = match end.reason {
                EndReason::Left => "h3",
                EndReason::DelayedLeave => "h2",
                EndReason::Expired | EndReason::StickyExpired => "warned",
                _ => "h1",
            };

            let from = Num(100.0 * ratio(at, all));
            at += end.stays;
            (
                end_reason_words(end.reason),
                end.stays,
                from,
                Num(100.0 * ratio(end.stays, all)),
                class,
            )
        };

        self.past.ends.iter().map(band).collect()
    }

    /// The length of the bar of a person with this much time, percent of the first person's.
    #[must_use]
    pub fn part(&self, ms: impl f::WholeNumber) -> Num {
        Num(100.0
            * ratio(
                ms.whole(),
                self.past
                    .people
                    .first()
                    .map_or(0, |first| first.together_ms),
            ))
    }

    /// The position of a rate on the scale, percent of its width. The scale is from 0 to 20 %, or
    /// further if needed.
    #[must_use]
    pub fn on_scale(&self, permille: impl f::WholeNumber) -> Num {
        Num(100.0 * ratio(permille.whole(), self.scale()))
    }

    /// The end of the scale, thousandths.
    #[must_use]
    pub fn scale(&self) -> i64 {
        let most = self
            .past
            .rate
            .map_or(0, |rate| rate.high_permille)
            .max(self.past.median_permille.unwrap_or(0));

        if most <= 200 { 200 } else { 1000 }
    }
}

#[derive(Template)]
#[template(path = "server.html")]
struct Html<'a> {
    page: &'a ServerPage,
    shell: &'a Shell,
    now: i64,
}

impl Page for ServerPage {
    const SECTION: Section = Section::Servers;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}

#[cfg(test)]
mod tests {
    use super::is_under;

    #[test]
    fn an_sfu_is_under_the_name_of_its_server() {
        assert!(is_under("https://livekit.example.org/jwt", "example.org"));
        assert!(is_under("https://example.org:8443/jwt", "example.org:8448"));
        assert!(!is_under("https://livekit.badexample.org", "example.org"));
        assert!(!is_under("https://example.org.evil.example", "example.org"));
    }
}
