//! The timeline of one call: a row per person, a lane per device, a bar per stay, a glyph for how
//! it ended.

mod dense;
mod lane;
mod marks;

pub use marks::Mark;

use super::axis::{Axis, Tick};
use super::chart::{self, StepChart};
use super::pin::BarPin;
use super::sfu::{Paint, Sfus};
use super::{Num, shape};
use crate::rtc::words::EndReason;
use crate::web::view::{CallFacts, MemberFacts, RelatedFacts, format};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of people for roomy rows; `DENSE_MAX`: for small rows. More people are drawn as
/// an area.
const ROOMY_MAX: usize = 40;
const DENSE_MAX: usize = 200;
/// Maximum number of lanes per person (roomy, small), and of bars in the picture; the table has the
/// rest.
const LANES_MAX: [usize; 2] = [12, 6];
const BARS_MAX: usize = 600;

/// The picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    pub axis: Axis,
    /// The axis for the browser.
    pub axis_data: String,
    pub ticks: Vec<Tick>,
    /// The position of now; `None` for an ended call.
    pub now_x: Option<Num>,
    /// More than 40 people: small rows by server, without notes.
    pub dense: bool,
    pub groups: Vec<RowGroup>,
    pub sfus: Sfus,
    /// Instead of rows when there are more than 200 people.
    pub area: Option<StepChart>,
    /// The number of stays that only the table has.
    pub hidden: usize,
    /// The glyphs that the legend explains.
    pub key: BTreeSet<Ending>,
    pub renewals: bool,
    /// There are bars that consist of several touching stays.
    pub seams: bool,
    /// Marks above all rows: about the whole room, or about a person without a row.
    pub marks: Vec<Mark>,
    /// The number of people of whom no stay touches the time that the picture shows.
    pub outside: usize,
}

/// Rows under one heading.
#[derive(Debug, Clone, PartialEq)]
pub struct RowGroup {
    pub server: Option<String>,
    pub rows: Vec<TimelineRow>,
    /// The height of all its rows, px.
    pub height: i64,
}

/// One person.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimelineRow {
    pub name: String,
    pub user_id: String,
    pub height: i64,
    /// Its distance below the first row of its group, px.
    pub top: i64,
    pub title: String,
    pub bars: Vec<StayBar>,
    pub glyphs: Vec<EndGlyph>,
    pub notes: Vec<GlyphNote>,
    /// Rings and declines.
    pub marks: Vec<Mark>,
    /// The letters of its SFUs, in order of use: on small bars, colour alone would not be enough to
    /// distinguish them.
    pub sfus: Vec<String>,
    /// Numerals of findings on its bars.
    pub pins: Vec<BarPin>,
    /// A person who was rung or declined, and never came.
    pub absent: bool,
}

impl TimelineRow {
    /// Does its title say everything? Then its parts have no titles of their own.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.bars.iter().all(|bar| bar.title.is_empty())
            && !self.glyphs.iter().any(|glyph| glyph.merged)
    }
}

/// One stay, or several that touch on one SFU.
#[derive(Debug, Clone, PartialEq)]
pub struct StayBar {
    pub x: Num,
    pub w: Num,
    pub y: i64,
    pub h: i64,
    pub paint: Paint,
    /// Empty if the row's title says everything.
    pub title: String,
    /// The SFU's letter at its start, and the letter's distance from the start, px.
    pub chip: Option<(String, i64)>,
    /// The positions of renewals, and of the borders between joined stays.
    pub ticks: Vec<Num>,
    pub renewed: bool,
    pub seams: bool,
}

/// How a stay ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EndGlyph {
    pub x: Num,
    pub y: i64,
    pub ending: Ending,
    pub title: String,
    /// Several ends are at one place; only the title lists all of them.
    pub merged: bool,
}

/// Words to the right of a glyph, with their distance, px.
#[derive(Debug, Clone, PartialEq)]
pub struct GlyphNote {
    pub x: Num,
    pub dx: i64,
    pub y: i64,
    pub text: &'static str,
    pub ending: Ending,
}

/// The kinds of end that have a glyph of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Left,
    Lost,
    Computed,
    Moved,
    Removed,
    /// It still counts, but is probably gone.
    Gone,
}

impl Ending {
    /// The kind of an end reason.
    #[must_use]
    pub fn of_reason(reason: EndReason) -> Self {
        match reason {
            EndReason::Left => Self::Left,
            EndReason::DelayedLeave => Self::Lost,
            EndReason::Expired | EndReason::StickyExpired => Self::Computed,
            EndReason::Switched | EndReason::Superseded | EndReason::Overwritten => Self::Moved,
            EndReason::RoomLeft
            | EndReason::RoomKicked
            | EndReason::RoomBanned
            | EndReason::SlotClosed
            | EndReason::Redacted
            | EndReason::InvalidContent => Self::Removed,
        }
    }

    /// The id of its glyph in the page.
    #[must_use]
    pub fn glyph(self) -> &'static str {
        match self {
            Self::Left => "e-left",
            Self::Lost => "e-lost",
            Self::Computed => "e-exp",
            Self::Moved => "e-move",
            Self::Removed => "e-cross",
            Self::Gone => "e-ghost",
        }
    }

    /// Does it need a look?
    #[must_use]
    pub fn is_loud(self) -> bool {
        !matches!(self, Self::Left | Self::Moved)
    }

    /// The class of its glyph; normal ends have an inconspicuous one.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Left | Self::Moved => "",
            Self::Lost | Self::Removed | Self::Gone => "warn",
            Self::Computed => "blind",
        }
    }

    /// Its entry in the legend.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Left => "Left",
            Self::Lost => "Lost connection",
            Self::Computed => "End computed",
            Self::Moved => "Moved or replaced",
            Self::Removed => "Removed",
            Self::Gone => "Probably gone",
        }
    }
}

impl Timeline {
    /// What the ticks on bars mean, for the legend; `None` if there are none.
    #[must_use]
    pub fn ticked(&self) -> Option<&'static str> {
        match (self.renewals, self.seams) {
            _ if self.dense => None,
            (true, true) => Some("Renewed or begun anew"),
            (true, false) => Some("Renewed"),
            (false, true) => Some("Begun anew"),
            (false, false) => None,
        }
    }
}

/// An end reason in words.
#[must_use]
pub fn end_reason_words(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Left => "left",
        EndReason::DelayedLeave => "lost connection",
        EndReason::Expired => "expired",
        EndReason::StickyExpired => "expired, not renewed",
        EndReason::RoomLeft => "left the room",
        EndReason::RoomKicked => "removed from the room",
        EndReason::RoomBanned => "banned from the room",
        EndReason::Superseded => "replaced by a new session",
        EndReason::Switched => "moved to another SFU",
        EndReason::Overwritten => "overwritten by another event",
        EndReason::SlotClosed => "call closed for all",
        EndReason::Redacted => "event redacted",
        EndReason::InvalidContent => "event not readable",
    }
}

impl MemberFacts {
    /// How the stay ended, in words; `None` while it lasts.
    #[must_use]
    pub fn end_words(&self) -> Option<&'static str> {
        self.end_reason.map(end_reason_words)
    }
}

/// A renewal of a membership: whose, which device, when (ms).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    pub user_id: String,
    pub device_id: Option<String>,
    pub ms: i64,
}

/// The values that every lane needs.
struct Canvas<'a> {
    call: &'a CallFacts,
    axis: Axis,
    /// Until when bars that last are drawn, ms.
    now: i64,
    /// The position of the line of now, if the call runs.
    now_x: Option<f64>,
    dense: bool,
    dated: bool,
    /// The picture shows only a part of the call.
    part: bool,
    sfus: &'a Sfus,
    renewals: &'a [Renewal],
}

/// Draws a call. A higher level of `halvings` draws less: 0 everything; 1 only small rows; 2 small
/// rows with no text but names; from 3 on an area. `now`, ms, is until when the call is known, if
/// it runs; `renewals` and `related` need no order. `part` is the time that is shown; `None` = all
/// of the call.
#[must_use]
pub fn draw_timeline(
    call: &CallFacts,
    renewals: &[Renewal],
    related: &[RelatedFacts],
    now: i64,
    part: Option<Axis>,
    halvings: u32,
) -> Timeline {
    let mut axis = part.unwrap_or_else(|| Axis::around(call.started_ms, call.end_ms(now)));
    let all = stays_by_person(call.members.iter());
    let shown = |stay: &&MemberFacts| {
        part.is_none() || (stay.joined_ms <= axis.to && stay.end_ms(now) >= axis.from)
    };
    let people = stays_by_person(call.members.iter().filter(shown));
    let outside = all.len() - people.len();
    let is_area = people.len() > DENSE_MAX || halvings > 2;
    if is_area && call.active && axis.to > now {
        // Do not draw steps after now: the future is unknown.
        axis.to = now.max(axis.from + 1);
    }

    let dense = people.len() > ROOMY_MAX || halvings > 0;
    let sfus = Sfus::from_urls(call.members.iter().filter_map(MemberFacts::sfu));
    let dated = axis.span() > format::DAY
        || format::start_of_day(axis.from) != format::start_of_day(axis.to);
    let mark = (call.active && axis.shows(now)).then_some(now);
    let mut picture = Timeline {
        axis,
        axis_data: axis.data(mark),
        ticks: axis.ticks(mark),
        now_x: mark.map(|now| Num(axis.x(now))),
        dense,
        groups: Vec::new(),
        area: None,
        hidden: 0,
        key: BTreeSet::new(),
        renewals: false,
        seams: false,
        marks: Vec::new(),
        sfus: Sfus::default(),
        outside,
    };

    if is_area {
        picture.area = Some(chart::draw_step_chart(
            &shape::device_counts(call, now),
            std::iter::empty(),
            axis,
            mark,
        ));
    } else {
        let now_x = picture.now_x.map(|x| x.0);
        let canvas = Canvas {
            call,
            axis,
            now,
            now_x,
            dense,
            dated,
            part: part.is_some(),
            sfus: &sfus,
            renewals,
        };

        picture.add_rows(&canvas, people);
        if halvings > 1 {
            picture
                .groups
                .iter_mut()
                .flat_map(|group| &mut group.rows)
                .for_each(|row| row.title.clear());
        }

        let related: Vec<&RelatedFacts> = related
            .iter()
            .filter(|event| part.is_none() || axis.shows(event.at_ms))
            .collect();
        picture.add_marks(&related, &axis, dated);
    }

    picture.sfus = sfus;

    picture
}

impl Timeline {
    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = &TimelineRow> {
        self.groups.iter().flat_map(|group| &group.rows)
    }

    /// Draws a row for each person into the picture; with small rows, grouped by server. Counts the
    /// stays for which there is no room.
    fn add_rows(&mut self, canvas: &Canvas<'_>, people: Vec<Vec<&MemberFacts>>) {
        let mut left = BARS_MAX;
        let mut by_server: BTreeMap<String, Vec<TimelineRow>> = BTreeMap::new();
        for stays in people {
            let server = if canvas.dense {
                format::sanitize_line(&stays[0].server)
            } else {
                String::new()
            };

            let all = stays.len();
            let (row, drawn) = draw_person_row(canvas, stays, &mut left);
            self.hidden += all - drawn;
            self.key.extend(row.glyphs.iter().map(|glyph| glyph.ending));
            self.renewals |= row.bars.iter().any(|bar| bar.renewed);
            self.seams |= row.bars.iter().any(|bar| bar.seams);
            by_server.entry(server).or_default().push(row);
        }

        let group = |(server, rows)| RowGroup {
            server: canvas.dense.then_some(server),
            rows,
            height: 0,
        };

        self.groups = by_server.into_iter().map(group).collect();
    }
}

/// Groups stays by person, for one row each. The people stand in order of their first arrival, and
/// the stays of each in order of time.
fn stays_by_person<'a>(
    members: impl Iterator<Item = &'a MemberFacts>,
) -> Vec<Vec<&'a MemberFacts>> {
    let mut by_arrival: Vec<&MemberFacts> = members.collect();
    by_arrival.sort_by_key(|member| member.joined_ms);
    // The index in `people`, by user id.
    let mut indices: BTreeMap<&str, usize> = BTreeMap::new();
    let mut people: Vec<Vec<&MemberFacts>> = Vec::new();
    for member in by_arrival {
        let index = *indices.entry(&member.user_id).or_insert(people.len());
        match people.get_mut(index) {
            Some(stays) => stays.push(member),
            None => people.push(vec![member]),
        }
    }

    people
}

/// The row of one person, whose stays must be in order of arrival, and the number of stays drawn in
/// it. `left` is how many bars the picture may still have, and goes down by that number.
fn draw_person_row(
    canvas: &Canvas<'_>,
    stays: Vec<&MemberFacts>,
    left: &mut usize,
) -> (TimelineRow, usize) {
    let name = stays[0].title();
    let (user_id, title, one) = (
        format::sanitize_line(&stays[0].user_id),
        row_summary(canvas, &stays),
        stays.len() == 1,
    );
    let mut row = TimelineRow {
        name,
        user_id,
        title,
        ..TimelineRow::default()
    };

    row.sfus = stays
        .iter()
        .filter_map(|stay| canvas.sfus.letter(stay.sfu()))
        .map(ToOwned::to_owned)
        .collect();
    row.sfus.dedup();
    let lanes = lane::lanes_by_device(stays, canvas.now);
    let many = lanes.len() > 1;
    // A name beside a row is a link: 24 px high, so that a finger hits it.
    let (top, bar, pitch) = if canvas.dense {
        (8, 8, 12)
    } else {
        (8, 14, 22)
    };

    let (mut y, mut drawn) = (top, 0);
    for (index, lane) in lanes
        .into_iter()
        .take(LANES_MAX[usize::from(canvas.dense)])
        .enumerate()
    {
        let lane: Vec<_> = lane.into_iter().take(*left).collect();
        if lane.is_empty() {
            break;
        }

        *left -= lane.len();
        drawn += lane.len();
        y = top + pitch * i64::try_from(index).unwrap_or(0);
        let place = lane::LanePlace { y, height: bar };
        lane::draw_lane(canvas, &lane, place, many, &mut row);
    }

    row.height = y + bar + top;
    // The hollow part of a bar (its uncertain end) has no title of its own.
    if let Some(bar) = row.bars.first_mut()
        && one
        && !canvas.dense
    {
        row.title = std::mem::take(&mut bar.title);
    }

    (row, drawn)
}

/// The stays of a person in one sentence, without the name, which is beside it.
fn row_summary(canvas: &Canvas<'_>, stays: &[&MemberFacts]) -> String {
    let Some(last) = stays.iter().max_by_key(|stay| stay.end_ms(canvas.now)) else {
        return String::new();
    };

    let times = if stays.len() == 1 {
        String::new()
    } else {
        format!(", {} stays", stays.len())
    };

    format!("{}{times}", span_words(canvas, stays[0].joined_ms, last))
}

/// From when, ms, and until when or how this stay ended, in words.
fn span_words(canvas: &Canvas<'_>, from: i64, stay: &MemberFacts) -> String {
    let time = |ms: i64| format::plain_time(ms, canvas.dated);
    let from = time(from);

    match (stay.left_ms, stay.end_reason, stay.gone_since()) {
        (Some(ms), Some(reason), _) => {
            format!("{from} to {} UTC, {}", time(ms), end_reason_words(reason))
        }
        (.., Some(since)) => format!("{from} UTC, last heard {} UTC, probably gone", time(since)),
        _ => format!("{from} UTC until now"),
    }
}

#[cfg(test)]
mod tests;
