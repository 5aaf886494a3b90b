//! One lane of the timeline: the stays of one device as bars, their ends as glyphs, and notes
//! beside them.

use super::{
    Canvas, EndGlyph, Ending, GlyphNote, MemberFacts, Num, StayBar, TimelineRow, end_reason_words,
    span_words,
};
use crate::rtc::words::EndReason;
use crate::web::svg::pin::{self, BarPin};
use crate::web::view::format;

/// Minimum distance of two glyphs, percent (16 px of 1000); nearer ones are merged.
const GLYPH_ROOM: f64 = 1.6;
/// Width of one character of a note, percent (7 px of 700).
const LETTER_ROOM: f64 = 1.0;
/// Minimum width of a bar with a letter, percent.
const CHIP_ROOM: f64 = 3.0;
/// Minimum distance of a renewal from the last one drawn, percent; nearer ones are left out.
const TICK_ROOM: f64 = 0.7;
/// Minimum width of a bar in roomy and in small rows, percent.
const WIDTH_MIN: [f64; 2] = [0.3, 0.4];
/// Minimum length of a silence with words, percent: a numeral, 15 letters and a glyph at 700 px.
const SILENT_ROOM: f64 = 24.0;
/// Maximum gap between two stays that are drawn as one bar, ms: some clients leave and join at the
/// same time.
const TOUCHING_MS: i64 = 0;

/// The stays of each device of one person, which must be in order of arrival, and stay so. Stays
/// without a device id share a lane if they do not overlap; one that lasts ends at `now`, ms.
pub(super) fn lanes_by_device(stays: Vec<&MemberFacts>, now: i64) -> Vec<Vec<&MemberFacts>> {
    let mut lanes: Vec<Vec<&MemberFacts>> = Vec::new();
    for stay in stays {
        let fits = |lane: &Vec<&MemberFacts>| {
            let free = stay.device_id.is_some()
                || lane
                    .last()
                    .is_some_and(|last| last.end_ms(now) <= stay.joined_ms);
            lane[0].device_id == stay.device_id && free
        };

        match lanes.iter_mut().find(|lane| fits(lane)) {
            Some(lane) => lane.push(stay),
            None => lanes.push(vec![stay]),
        }
    }

    lanes
}

/// The place of a lane's bars, px.
#[derive(Clone, Copy)]
pub(super) struct LanePlace {
    /// Their top.
    pub y: i64,
    pub height: i64,
}

/// Draws the stays of one device, in order of arrival, into the row of its person, after what other
/// devices have there. `many` says that the person has several devices.
pub(super) fn draw_lane(
    canvas: &Canvas<'_>,
    lane: &[&MemberFacts],
    place: LanePlace,
    many: bool,
    row: &mut TimelineRow,
) {
    let bars = join_touching(lane, canvas.now);
    // The SFU of the bar before this one. The outer `None` stands for the first bar.
    let mut sfu: Option<Option<&str>> = None;
    let first_glyph = row.glyphs.len();
    for stays in &bars {
        let here = stays[0].sfu();
        let changed = sfu != Some(here);
        let follows_glyph = sfu.is_some()
            && row.glyphs.last().is_some_and(|last| {
                (canvas.axis.x(stays[0].joined_ms) - last.x.0).abs() < GLYPH_ROOM
            });
        let (last, mut solid) = (
            stays[stays.len() - 1],
            draw_bar(canvas, stays, place, changed.then_some(follows_glyph)),
        );
        add_pin(canvas, last, &solid, row);
        let hollow = last
            .gone_since()
            .map(|since| solid.cut(canvas.axis.x(since)));
        row.bars.push(solid);
        row.bars.extend(hollow);
        add_glyph(canvas, last, place, first_glyph, row);
        sfu = Some(here);
    }

    if !canvas.dense {
        add_notes(canvas, &bars, place, first_glyph, many, row);
    }
}

/// The stays of a device, in order of arrival, in groups that are drawn as one bar each: touching
/// stays on one SFU. A stay that lasts ends at `now`, ms.
fn join_touching<'a>(lane: &[&'a MemberFacts], now: i64) -> Vec<Vec<&'a MemberFacts>> {
    let mut bars: Vec<Vec<&MemberFacts>> = Vec::new();
    for stay in lane {
        let touches = |bar: &&mut Vec<&MemberFacts>| {
            bar.last().is_some_and(|last| {
                last.sfu() == stay.sfu()
                    && stay.joined_ms.saturating_sub(last.end_ms(now)) <= TOUCHING_MS
            })
        };

        match bars.last_mut().filter(touches) {
            Some(bar) => bar.push(stay),
            None => bars.push(vec![stay]),
        }
    }

    bars
}

/// Draws one bar for these stays of one group, at least one, in order of arrival. `chip` is `Some`
/// if the SFU is new here, so that the bar needs a letter; its value says whether a glyph is at the
/// start, beside which the letter must stand.
fn draw_bar(
    canvas: &Canvas<'_>,
    stays: &[&MemberFacts],
    place: LanePlace,
    chip: Option<bool>,
) -> StayBar {
    let axis = &canvas.axis;
    let start = stays[0].joined_ms;
    let end = stays
        .iter()
        .map(|stay| stay.end_ms(canvas.now))
        .max()
        .unwrap_or(start);
    // A bar is visible however short it is, and does not extend beyond now.
    let least = WIDTH_MIN[usize::from(canvas.dense)];
    let x = axis.x(start).min(canvas.now_x.unwrap_or(100.0) - least);
    let w = (axis.x(end) - x).max(least);
    let sfu = canvas.sfus.find(stays[0].sfu());
    let chip = chip.filter(|_| w > CHIP_ROOM && !canvas.dense).zip(sfu);
    let (ticks, renewed) = bar_ticks(canvas, stays, start, end);
    let titles: Vec<String> = stays
        .iter()
        .take(4)
        .map(|stay| stay_title(canvas, stay))
        .collect();

    StayBar {
        x: Num(x),
        w: Num(w),
        y: place.y,
        h: place.height,
        paint: canvas.sfus.paint(stays[0].sfu()),
        title: titles.join("; "),
        chip: chip.map(|(after_glyph, sfu)| (sfu.letter.clone(), if after_glyph { 6 } else { 0 })),
        ticks,
        renewed,
        seams: stays.len() > 1,
    }
}

/// What a bar says of one of its stays: its SFU, its device, its times.
fn stay_title(canvas: &Canvas<'_>, stay: &MemberFacts) -> String {
    let on = canvas
        .sfus
        .letter(stay.sfu())
        .map(|letter| format!("SFU {letter}, "))
        .unwrap_or_default();
    let device = stay
        .device_id
        .as_deref()
        .map(|id| format!("device {}, ", format::sanitize_line(id)))
        .unwrap_or_default();

    format!("{on}{device}{}", span_words(canvas, stay.joined_ms, stay))
}

impl StayBar {
    /// Cuts the bar at the position of the device's last event, percent. Returns the rest as a
    /// hollow bar, because it is in doubt.
    fn cut(&mut self, x: f64) -> Self {
        let end = self.x.0 + self.w.0;
        let x = x.clamp(self.x.0, end);
        self.w = Num(x - self.x.0);
        let (x, w, paint) = (Num(x), Num(end - x), self.paint.gone());
        let (title, ticks, renewed, seams) = (String::new(), Vec::new(), false, false);

        Self {
            x,
            w,
            paint,
            title,
            chip: None,
            ticks,
            renewed,
            seams,
            ..*self
        }
    }
}

/// Adds the numeral of the finding about a stay to its bar, with a note beside it if there is room.
fn add_pin(canvas: &Canvas<'_>, stay: &MemberFacts, bar: &StayBar, row: &mut TimelineRow) {
    let (from, until) = (bar.x.0, bar.x.0 + bar.w.0);
    let pin = pin::pin_on_bar(
        canvas.call,
        stay,
        &canvas.axis,
        (from, until),
        bar.chip.is_some(),
    );
    let Some(pin) = pin.filter(|_| !canvas.dense) else {
        return;
    };

    let y = bar.y + bar.h / 2;
    row.pins.push(BarPin { y, ..pin });

    if stay.gone_since().is_some() && until - pin.x.0 >= SILENT_ROOM {
        let text = "no sign of life";
        row.notes.push(GlyphNote {
            x: pin.x,
            dx: pin.dx + 14,
            y: y + 4,
            text,
            ending: Ending::Gone,
        });
    }
}

/// The positions on a bar, percent of the axis, of renewals and of borders between its stays; those
/// too near to the one before are left out. The bar reaches from `start` to `end`, ms, and has no
/// ticks there. The second value says whether there are any renewals.
fn bar_ticks(
    canvas: &Canvas<'_>,
    stays: &[&MemberFacts],
    start: i64,
    end: i64,
) -> (Vec<Num>, bool) {
    let (user_id, device_id) = (&stays[0].user_id, &stays[0].device_id);
    let mine = canvas
        .renewals
        .iter()
        .filter(|renewal| renewal.user_id == *user_id && renewal.device_id == *device_id);
    let mut times: Vec<i64> = mine
        .map(|renewal| renewal.ms)
        .filter(|ms| (start + 1..end).contains(ms) && canvas.axis.shows(*ms))
        .collect();
    let renewed = !times.is_empty();
    times.extend(
        stays
            .iter()
            .skip(1)
            .map(|stay| stay.joined_ms)
            .filter(|ms| (start + 1..end).contains(ms) && canvas.axis.shows(*ms)),
    );
    times.sort_unstable();
    let mut drawn: Vec<Num> = Vec::new();
    for x in times.into_iter().map(|ms| canvas.axis.x(ms)) {
        if drawn.last().is_none_or(|last| x - last.0 >= TICK_ROOM) {
            drawn.push(Num(x));
        }
    }

    (drawn, renewed)
}

/// Adds the glyph for how a stay ended, if it did or is probably gone. One that would touch the
/// glyph before it in this lane is merged with it. `first` is where the glyphs of the lane begin in
/// the row.
fn add_glyph(
    canvas: &Canvas<'_>,
    stay: &MemberFacts,
    place: LanePlace,
    first: usize,
    row: &mut TimelineRow,
) {
    let time = |ms: i64| format::plain_time(ms, canvas.dated);
    let (ms, ending, title) = match (stay.left_ms, stay.end_reason, stay.gone_since()) {
        (Some(ms), Some(reason), _) => (
            ms,
            Ending::of_reason(reason),
            format!("{} UTC, {}", time(ms), end_reason_words(reason)),
        ),
        (.., Some(since)) => (
            canvas.now,
            Ending::Gone,
            format!("last heard {} UTC, probably gone", time(since)),
        ),
        _ => return,
    };

    if canvas.part && !canvas.axis.shows(ms) {
        return;
    }

    let x = canvas.axis.x(ms);
    let mut glyph = EndGlyph {
        x: Num(x),
        y: place.y + place.height / 2,
        ending,
        title,
        merged: false,
    };

    let near = row.glyphs.len() > first
        && row
            .glyphs
            .last()
            .is_some_and(|last| x - last.x.0 < GLYPH_ROOM);
    if let Some(before) = row.glyphs.pop_if(|_| near) {
        // The later glyph is shown; the title has both.
        glyph.title = shorten_title(format!("{}; {}", before.title, glyph.title));
        glyph.merged = true;
    }

    row.glyphs.push(glyph);
}

/// The title, cut if it is long: there may be a thousand ends at one place.
fn shorten_title(title: String) -> String {
    if title.len() > 400 {
        format!("{}…", title.chars().take(300).collect::<String>())
    } else {
        title
    }
}

/// Adds words beside the glyphs of this lane where it is free to the right of them. `first` is
/// where its glyphs begin in the row; `many` says that the person has several devices.
fn add_notes(
    canvas: &Canvas<'_>,
    bars: &[Vec<&MemberFacts>],
    place: LanePlace,
    first: usize,
    many: bool,
    row: &mut TimelineRow,
) {
    for index in first..row.glyphs.len() {
        let glyph = &row.glyphs[index];
        let ended = bars.iter().filter_map(|bar| bar.last()).rfind(|stay| {
            stay.left_ms
                .is_some_and(|ms| (canvas.axis.x(ms) - glyph.x.0).abs() < 0.001)
        });
        let Some(reason) = ended.and_then(|stay| stay.end_reason) else {
            continue;
        };

        let text = end_reason_words(reason);
        let text = if many && reason == EndReason::Left {
            "this device left"
        } else {
            text
        };

        let room = GLYPH_ROOM + LETTER_ROOM * crate::web::svg::to_float(text.chars().count());
        // The next bar and the line of now limit the space.
        let next = bars
            .iter()
            .map(|bar| canvas.axis.x(bar[0].joined_ms))
            .chain(canvas.now_x);
        let next = next
            .filter(|x| *x > glyph.x.0 - 0.001)
            .fold(100.0, f64::min);
        if glyph.x.0 + room <= next {
            row.notes.push(GlyphNote {
                x: glyph.x,
                dx: 12,
                y: place.y + place.height / 2 + 4,
                text,
                ending: glyph.ending,
            });
        }
    }
}
