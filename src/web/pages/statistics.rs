//! `/statistics`: calls, people and time over a period, compared with the one before; how long, how
//! many, when, where.

use super::capacity;
use super::period::{Bucket, Period};
use super::servers;
use super::space::{SpaceChoice, SpaceFacts, list_space_facts, site_of_space, space_choices};
use crate::store::Reader;
use crate::store::ingest::rooms;
use crate::store::read::coverage;
use crate::store::read::rings::{self, RingCounts};
use crate::store::stats::distributions::{self, CallClass, CallsOfSpan, LENGTHS, PEOPLE};
use crate::store::stats::scope::Scope;
use crate::store::stats::{calls_ever, usage};
use crate::web::http::assets;
use crate::web::http::cost_cache::CostCache;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::svg::bars::{self, BarData, Bars};
use crate::web::svg::flows::{Flow, Flows, draw_flows};
use crate::web::svg::week::{self, Week};
use crate::web::svg::{Num, ratio};
use crate::web::view::format as f;
use crate::web::view::liveness::LookedFacts;
use crate::web::view::{
    AtOnceStep, CapacityFacts, CarriedFacts, RoomTime, ServerFacts, Stamp, SumFacts, top_room_ids,
    top_rooms,
};
use crate::web::{Web, view};
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use utoipa::ToSchema;

/// Parameters of the page.
pub const KNOWN: &[&str] = &["period", "step", "space"];
/// Maximum number of rooms and servers in the lists.
const TOP: usize = 10;
/// Maximum number of notifications read, the newest.
pub(super) const RINGS: i64 = 2000;
const ROOMS_SHOWN: usize = 6;

/// The page.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a key of the JSON of its own"
)]
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Statistics {
    /// When this was computed: what took long is kept for a while.
    pub now_ms: i64,
    pub now_at: Stamp,
    /// Some of it is from older rules or other settings: calls are just being derived again.
    pub older_rules: bool,
    /// `7d`, `30d`, `90d` or `365d`.
    pub period: &'static str,
    pub this: SumFacts,
    /// As many days before, up to the same time of day.
    pub before: SumFacts,
    /// Whether anything is known of all of these days. If not, no page compares with them: they
    /// count less than there was.
    pub compared: bool,
    /// The median length of the calls that began in the period.
    pub usual_length_ms: Option<i64>,
    pub usual_length_before_ms: Option<i64>,
    /// False if more calls claim an impossible start than are checked: then the usual length is
    /// unknown, and `lengths` are as claimed.
    pub lengths_known: bool,
    pub lengths_before_known: bool,
    /// The unit of `days`: `day`, `week` (the default for a year) or `month`.
    pub step: Bucket,
    /// The period by days (UTC), by weeks from its first day on, or by calendar months; the first
    /// and last month are cut by the period.
    pub days: Vec<DayFacts>,
    /// Calls by length, and by the number of different people.
    pub lengths: Vec<ClassFacts>,
    pub sizes: Vec<ClassFacts>,
    /// Device time of each hour of the week, ms, from Monday midnight UTC: 168 numbers.
    pub hours: Vec<i64>,
    pub rooms: Vec<RoomTime>,
    pub servers: Vec<ServerFacts>,
    pub rings: RingCounts,
    /// How many people were in calls at once, with ghosts and without, and whose SFUs carried them.
    pub capacity: CapacityFacts,
    /// The unit of its steps: `day`, for 90 days `week`, for a year `month`.
    pub capacity_step: Bucket,
    #[serde(flatten)]
    pub looked: LookedFacts,
    pub watched_rooms: usize,
    pub calls_ever: i64,
    /// The spaces whose rooms can be counted alone, and the request. For the page only.
    #[serde(skip)]
    spaces: Vec<SpaceFacts>,
    #[serde(skip)]
    query: Query,
    #[serde(skip)]
    days_in_period: i64,
}

/// A day, a week or a month of the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct DayFacts {
    pub from_ms: i64,
    pub from_at: Stamp,
    /// Calls that began in it, and those among them with only one person.
    pub calls: i64,
    pub calls_alone: i64,
    /// Calls that began in the same days of the period before.
    pub calls_before: i64,
    /// Distinct people in calls; the number for a week is not the sum of its days.
    pub people: i64,
    /// Device time in calls: ten devices for six minutes are one hour.
    pub together_ms: i64,
}

/// Calls of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClassFacts {
    pub from: i64,
    /// Where the next class begins; null for the last.
    pub below: Option<i64>,
    pub calls: i64,
}

/// `GET /stats`: redirects to the long address.
pub async fn redirect_stats(req: HttpRequest) -> HttpResponse {
    let mut to = "/statistics".to_owned();
    if !req.query_string().is_empty() {
        to.push('?');
        to.push_str(req.query_string());
    }

    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, to))
        .finish()
}

/// `GET /statistics` and `GET /api/v1/statistics`: the statistics of a period in steps of a day,
/// week or month, as a page or as JSON. They may be kept from an earlier request; only the numbers
/// of now and the time of our last look are always read anew.
pub async fn get_statistics(
    req: HttpRequest,
    web: Web,
    kept: http::Data<CostCache<Statistics>>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = async {
        let query = ask.read_query(KNOWN)?;
        let spaces = list_space_facts(&web).await?;
        let looked = LookedFacts::read(&web, ask.now).await?;
        let web = site_of_space(&web, &query).await?;
        let period = Period::period_of_query(&query)?;
        let step = Bucket::step_of_query(&query, period)?;
        // Results computed while calls are being derived again are not cached beyond that time.
        let older_rules = web.store.has_older_rules();
        let key = format!("{} {step} {older_rules}", period.word());
        let mut page = kept
            .get(
                &web.cache_key(&key),
                read_statistics_in_period(&web, &ask, period, step),
            )
            .await?;
        servers::add_now(&web, &ask, &mut page.servers).await?;
        page.looked = looked;
        page.spaces = spaces;
        page.query = query;
        Ok(PageAnswer::from(page))
    };

    let answer = Box::pin(answer).await;

    response::send_page(&web, &ask, answer).await
}

/// Computes the page for a period, without what is said of now.
async fn read_statistics_in_period(
    web: &Web,
    ask: &PageRequest,
    period: Period,
    step: Bucket,
) -> Result<Statistics, Error> {
    let now = ask.now;
    let (span, before) = (period.span(now), period.before(now));
    let capacity_step = Bucket::coarse_step(period);
    let gone = super::read_gone_members(web, ask).await?;
    // Coverage and counts are read from one snapshot, so that everything reported as known was
    // counted.
    let moment = web.store.at_one_moment().await?;
    let store = moment.reader();
    let (sums, sums_before) = tokio::try_join!(
        usage::sums_of_span(store, Scope::All, span, now, &gone),
        usage::sums_of_span(store, Scope::All, before, now, &gone)
    )?;
    let calls = CallsOfSpan::read(store, span, now).await?;
    let calls_before = CallsOfSpan::read(store, before, now).await?;
    let (classes, classes_before) = (calls.classes(), calls_before.classes());
    let usual_length_ms = calls.usual_length();
    let usual_length_before_ms = calls_before.usual_length();
    let (hours, rows) = tokio::try_join!(
        usage::stay_hours(store, Scope::All, span, now),
        distributions::servers_in_calls(store, span.from, now)
    )?;
    let hours = usage::time_by_hour(&hours);
    let names = distributions::room_names(store, &top_room_ids(&sums, TOP)).await?;
    let mut top = view::servers_with_time(&sums, rows);
    top.truncate(TOP);
    servers::add_clocks(store, span, &mut top).await?;

    Ok(Statistics {
        now_ms: now,
        now_at: Stamp(now),
        older_rules: store.has_older_rules(),
        period: period.word(),
        this: SumFacts::new(&sums, span),
        before: SumFacts::new(&sums_before, before),
        compared: coverage::is_known_from(store, before.from).await?,
        usual_length_ms,
        usual_length_before_ms,
        // If there are calls, they have a median length.
        lengths_known: usual_length_ms.is_some() || classes.is_empty(),
        lengths_before_known: usual_length_before_ms.is_some() || classes_before.is_empty(),
        step,
        days: numbers_per_bucket(store, ask, period, step, &classes, &classes_before, &hours)
            .await?,
        lengths: count_by_class(&LENGTHS, &classes, |class| class.length_ms),
        sizes: count_by_class(&PEOPLE, &classes, |class| class.people),
        hours: week::fold_into_week(&hours),
        rooms: top_rooms(&sums, &names, TOP),
        servers: top,
        rings: rings::rings_within(store, Scope::All, span, now, RINGS).await?,
        capacity: Box::pin(capacity::read_capacity(
            store,
            span,
            &capacity_step.spans(period, now),
            now,
            &gone,
        ))
        .await?,
        capacity_step,
        looked: LookedFacts::default(),
        watched_rooms: rooms::list_watched_rooms(store).await?.len(),
        calls_ever: calls_ever::count_calls_begun(store, now).await?,
        spaces: Vec::new(),
        query: Query::default(),
        days_in_period: period.days,
    })
}

/// The numbers of each step of the period, oldest first. `classes` are its calls and `before` those
/// of the period before, by class and day since the Unix epoch; `hours` is the device time, ms, by
/// hour since the Unix epoch. The last step ends where the period does.
async fn numbers_per_bucket(
    store: &Reader,
    ask: &PageRequest,
    period: Period,
    step: Bucket,
    classes: &[CallClass],
    before: &[CallClass],
    hours: &BTreeMap<i64, i64>,
) -> Result<Vec<DayFacts>, Error> {
    let (span, mut found) = (period.span(ask.now), Vec::new());
    let steps = step.cut(span.from / f::DAY, period.days);
    let spans = step.spans(period, ask.now);
    let people = usage::count_people_per_step(store, &spans).await?;
    for ((days, span), people) in steps.into_iter().zip(spans).zip(people) {
        // Of these days, the calls with at most so many people.
        let calls = |classes: &[CallClass], days: &Range<i64>, most: i64| {
            let counts = |class: &&CallClass| days.contains(&class.day) && class.people <= most;
            classes.iter().filter(counts).map(|class| class.calls).sum()
        };

        let earlier = days.start - period.days..days.end - period.days;
        found.push(DayFacts {
            from_ms: span.from,
            from_at: Stamp(span.from),
            calls: calls(classes, &days, i64::MAX),
            calls_alone: calls(classes, &days, 1),
            calls_before: calls(before, &earlier, i64::MAX),
            people,
            together_ms: hours
                .range(days.start * 24..days.end * 24)
                .map(|(_, ms)| ms)
                .sum(),
        });
    }

    Ok(found)
}

/// The number of calls in each class, in the order of `bounds`, which rise. A class begins at one
/// of these bounds and ends before the next; `key` gives the bound of the class that a call counts
/// in.
fn count_by_class(
    bounds: &[i64],
    classes: &[CallClass],
    key: impl Fn(&CallClass) -> i64,
) -> Vec<ClassFacts> {
    let class = |(at, from): (usize, &i64)| ClassFacts {
        from: *from,
        below: bounds.get(at + 1).copied(),
        calls: classes
            .iter()
            .filter(|class| key(class) == *from)
            .map(|class| class.calls)
            .sum(),
    };

    bounds.iter().enumerate().map(class).collect()
}

impl Statistics {
    /// The period of the page.
    #[must_use]
    pub fn period(&self) -> Period {
        Period {
            days: self.days_in_period,
        }
    }

    /// The choices of period, with the space as it is.
    #[must_use]
    pub fn period_choices(&self) -> Vec<(String, &'static str, bool)> {
        self.with_space(self.period().choices("/statistics"))
    }

    /// The choices of step, in this period.
    #[must_use]
    pub fn step_choices(&self) -> Vec<(String, &'static str, bool)> {
        self.with_space(self.step.choices(self.period()))
    }

    /// The choices of space; none if there is no space.
    #[must_use]
    pub fn space_choices(&self) -> Vec<SpaceChoice> {
        space_choices(&self.spaces, "/statistics", &self.query)
    }

    /// The parameter `space` with `&` before it, to be added to an address; empty if it is not
    /// given.
    #[must_use]
    pub fn and_space(&self) -> String {
        let Some(space) = self.query.get("space") else {
            return String::new();
        };
        let others = ["period", "step"];
        let query = self.query.with(&others, Some(("space", space)));

        query.replacen('?', "&", 1)
    }

    /// The choices with the space of this page in their addresses.
    fn with_space(
        &self,
        choices: Vec<(String, &'static str, bool)>,
    ) -> Vec<(String, &'static str, bool)> {
        let space = self.and_space();
        let with_space = |(href, name, is_here)| (format!("{href}{space}"), name, is_here);

        choices.into_iter().map(with_space).collect()
    }

    /// Calls by day, week or month, with the period before.
    #[must_use]
    pub fn chart(&self) -> Bars {
        let last = self.days.len().saturating_sub(1);
        let column = |(at, day): (usize, &DayFacts)| {
            let of = if self.step == Bucket::Week {
                "week of "
            } else {
                ""
            };

            let name = self.step.name(day.from_ms);
            let label = label_of_step(self.step, day.from_ms, at, last);
            let calls = f::count_with_noun(day.calls, "call", "calls");
            let before = || format!(", {} before", f::group_digits(day.calls_before));
            let before = if self.compared {
                before()
            } else {
                String::new()
            };

            BarData {
                title: format!("{of}{name}: {calls}{before}"),
                value: day.calls,
                before: Some(day.calls_before).filter(|_| self.compared && self.before.calls > 0),
                label,
                now: at == last,
            }
        };

        // 170 px high, with lines at round numbers of calls.
        bars::draw_bars(
            &self.days.iter().enumerate().map(column).collect::<Vec<_>>(),
            170,
            1,
            f::group_digits,
        )
    }

    /// The most people in calls at once by day, week or month.
    #[must_use]
    pub fn capacity_chart(&self) -> Bars {
        draw_people_at_once(&self.capacity.steps, self.capacity_step)
    }

    /// The picture of whose SFU carried whose time.
    #[must_use]
    pub fn flows(&self) -> Flows {
        let flow = |row: &CarriedFacts| Flow {
            from: f::sanitize_line(&row.server),
            to: f::sanitize_line(row.carrier()),
            value: row.seen_ms,
        };
        let flows: Vec<Flow> = self.capacity.carried.iter().map(flow).collect();

        draw_flows(&flows, "other servers", "others")
    }

    /// The calls by length, in minutes if no other unit is named.
    #[must_use]
    pub fn length_chart(&self) -> Bars {
        let names = [
            "< 1", "1 to 5", "5 to 15", "15 to 30", "30 to 60", "1 to 2 h", "2 to 4 h", "longer",
        ];
        distribution_chart(&self.lengths, &names)
    }

    /// The calls by number of different people.
    #[must_use]
    pub fn size_chart(&self) -> Bars {
        distribution_chart(
            &self.sizes,
            &[
                "1", "2", "3", "4 to 5", "6 to 9", "10 to 19", "20 to 49", "50 +",
            ],
        )
    }

    /// The picture of the hours of a week, by device time.
    #[must_use]
    pub fn week(&self) -> Week {
        week::draw_week(&self.hours)
    }

    /// The first rooms of the list: the JSON has more.
    #[must_use]
    pub fn top_rooms(&self) -> &[RoomTime] {
        &self.rooms[..self.rooms.len().min(ROOMS_SHOWN)]
    }

    /// Calls with one person only.
    #[must_use]
    pub fn alone(&self) -> i64 {
        self.sizes.first().map_or(0, |class| class.calls)
    }

    /// The length of a bar in a ranked list, percent of the first one: in the list of rooms, or
    /// with `rooms` false in that of servers. `part` is a device time, ms.
    #[must_use]
    pub fn share(&self, part: impl f::WholeNumber, rooms: bool) -> Num {
        let first = if rooms {
            self.rooms.first().map(|room| room.together_ms)
        } else {
            self.servers.first().map(|server| server.together_ms)
        };

        Num(100.0 * ratio(part.whole(), first.unwrap_or(0)))
    }
}

/// The label of the column at an index, which begins at `from_ms`. Every so many columns have one,
/// and none near the last one, which has "today".
fn label_of_step(unit: Bucket, from_ms: i64, at: usize, last: usize) -> Option<String> {
    let every = ((last + 1) / 7).max(1);

    (at.is_multiple_of(every) && at + every / 2 < last).then(|| unit.label(from_ms))
}

/// The most people in calls at once in each of these steps, which are units of this kind.
#[must_use]
pub fn draw_people_at_once(steps: &[AtOnceStep], unit: Bucket) -> Bars {
    let last = steps.len().saturating_sub(1);
    let column = |(at, step): (usize, &AtOnceStep)| {
        let people = step.people;
        BarData {
            title: format!(
                "{}: {} at once, 95 %: {}",
                unit.label(step.from_ms),
                f::group_digits(people.peak),
                f::group_digits(people.p95)
            ),
            value: people.peak,
            before: None,
            label: label_of_step(unit, step.from_ms, at, last),
            now: at == last,
        }
    };
    let columns: Vec<BarData> = steps.iter().enumerate().map(column).collect();

    bars::draw_bars(&columns, 130, 1, f::group_digits)
}

/// A column for each class: the number of its calls above its name. There is no period before.
fn distribution_chart(classes: &[ClassFacts], names: &[&str]) -> Bars {
    let column = |(class, name): (&ClassFacts, &&str)| BarData {
        title: format!(
            "{name}: {}",
            f::count_with_noun(class.calls, "call", "calls")
        ),
        value: class.calls,
        before: None,
        label: Some((*name).to_owned()),
        // It colours nothing in these pictures. On a phone it hides the labels at the right end.
        now: true,
    };

    // 120 px high, with lines at round numbers of calls.
    bars::draw_bars(
        &classes.iter().zip(names).map(column).collect::<Vec<_>>(),
        120,
        1,
        f::group_digits,
    )
}

#[derive(Template)]
#[template(path = "statistics.html")]
struct Html<'a> {
    page: &'a Statistics,
    shell: &'a Shell,
    now: i64,
}

impl Page for Statistics {
    const SECTION: Section = Section::Statistics;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html {
            page: self,
            shell,
            now: shell.now_ms,
        }
        .render()
    }
}
