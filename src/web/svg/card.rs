//! The picture of a call that goes with a link to it: who was there, from when to when.

use super::sfu::{Paint, Sfus};
use super::{Num, ratio, to_float};
use crate::web::svg::shape::{self, StepPaths};
use crate::web::view::format as f;
use crate::web::view::{CallFacts, MemberFacts};

/// Size of the picture, px.
pub const WIDTH: u32 = 1200;
pub const HEIGHT: u32 = 630;

/// Where bars begin, how wide they are at most, where the first row begins, and how high a row may
/// be, px.
const LEFT: f64 = 350.0;
const BARS: f64 = 790.0;
const TOP: f64 = 262.0;
const PITCH_MAX: f64 = 44.0;
const ROWS_HEIGHT: f64 = 312.0;
/// Maximum number of people with a row, and of bars; more are drawn as an area.
const ROWS_MAX: usize = 10;
const BARS_MAX: usize = 300;
/// Minimum width of a bar, px.
const BAR_MIN: f64 = 3.0;
/// Maximum number of letters of a name beside the bars.
const NAME_MAX: usize = 21;

/// What is drawn below the words.
#[derive(Debug, Clone, PartialEq)]
pub enum CardPlot {
    Rows(Vec<CardRow>),
    Area(StepPaths),
}

/// A person.
#[derive(Debug, Clone, PartialEq)]
pub struct CardRow {
    pub name: String,
    /// The line on which the name stands, px.
    pub base: Num,
    pub bars: Vec<CardBar>,
}

/// A stay, px.
#[derive(Debug, Clone, PartialEq)]
pub struct CardBar {
    pub x: Num,
    pub y: Num,
    pub w: Num,
    pub h: Num,
    /// A colour as in CSS.
    pub color: &'static str,
    pub is_gone: bool,
}

/// Draws the call until `now`, ms: rows for few people, else an area.
#[must_use]
pub fn draw_card(call: &CallFacts, now: i64) -> CardPlot {
    let mut people: Vec<Vec<&MemberFacts>> = Vec::new();
    for member in &call.members {
        let is_same = |stays: &Vec<&MemberFacts>| stays[0].user_id == member.user_id;
        match people.iter().position(is_same) {
            Some(index) => people[index].push(member),
            None if people.len() == ROWS_MAX => return area_of_call(call, now),
            None => people.push(vec![member]),
        }
    }

    if !call.members_whole || call.members.len() > BARS_MAX {
        return area_of_call(call, now);
    }

    let sfus = Sfus::from_urls(call.members.iter().filter_map(MemberFacts::sfu));
    let pitch = (ROWS_HEIGHT / to_float(people.len().max(1))).min(PITCH_MAX);
    let rows = people.iter().enumerate().map(|(index, stays)| {
        let top = TOP + pitch * to_float(index);
        let bars = stays
            .iter()
            .flat_map(|stay| bars_of_stay(call, stay, &sfus, top, pitch, now));

        CardRow {
            name: name_in_row(stays[0]),
            base: Num(top + pitch / 2.0 + 8.0),
            bars: bars.collect(),
        }
    });

    CardPlot::Rows(rows.collect())
}

fn area_of_call(call: &CallFacts, now: i64) -> CardPlot {
    let counts = shape::device_counts(call, now);
    let most = counts.iter().map(|(_, devices)| *devices).max();
    let (from, to) = (call.started_ms, call.end_ms(now));

    CardPlot::Area(shape::step_paths(
        &counts,
        from,
        to,
        500,
        most.unwrap_or(1),
        ROWS_HEIGHT,
    ))
}

/// One bar, and a second one for the time in which the device was probably gone.
fn bars_of_stay(
    call: &CallFacts,
    stay: &MemberFacts,
    sfus: &Sfus,
    top: f64,
    pitch: f64,
    now: i64,
) -> Vec<CardBar> {
    let (start, end) = (call.started_ms, call.end_ms(now));
    let place = |ms: i64| {
        let share = ratio(ms.saturating_sub(start), end.saturating_sub(start).max(1));
        LEFT + BARS * share.clamp(0.0, 1.0)
    };
    let bar = |from: f64, to: f64, is_gone: bool| CardBar {
        x: Num(from.min(LEFT + BARS - BAR_MIN)),
        y: Num(top + pitch * 0.22),
        w: Num((to - from).max(BAR_MIN)),
        h: Num(pitch * 0.56),
        color: color_of_paint(sfus.paint(stay.sfu())),
        is_gone,
    };

    let (from, to) = (place(stay.joined_ms), place(stay.end_ms(now)));
    match stay.gone_since().map(|since| place(since).clamp(from, to)) {
        Some(gone) => vec![bar(from, gone, false), bar(gone, to, true)],
        None => vec![bar(from, to, false)],
    }
}

/// The colours of SFUs in the style sheet, those of the light theme.
fn color_of_paint(paint: Paint) -> &'static str {
    match paint.slot().as_str() {
        "1" => "#164b94",
        "2" => "#cf7217",
        "3" => "#03a58a",
        "4" => "#6e0059",
        "5" => "#534220",
        "6" => "#9275dc",
        "7" => "#94565a",
        "8" => "#187b99",
        _ => "#656a6e",
    }
}

/// The name of the person as far as it can be drawn, else the id.
fn name_in_row(stay: &MemberFacts) -> String {
    let title = drawable_text(&stay.title(), NAME_MAX);
    let id = || drawable_text(&stay.user_id, NAME_MAX);

    title.or_else(id).unwrap_or_else(|| "(a name)".to_owned())
}

/// A stranger's text for a picture: harmless, of at most `most` letters, and only of letters that
/// our font has; `None` if it has hardly any of them.
#[must_use]
pub fn drawable_text(text: &str, most: usize) -> Option<String> {
    let clean = f::sanitize_line(text);
    let drawn: String = clean
        .chars()
        .filter(|letter| is_drawable(*letter))
        .collect();
    let (drawn, all) = (drawn.trim(), clean.chars().count());
    if drawn.is_empty() || drawn.chars().count() * 2 < all {
        return None;
    }

    if drawn.chars().count() <= most {
        return Some(drawn.to_owned());
    }

    Some(drawn.chars().take(most - 1).chain(['…']).collect())
}

/// Does our font have the letter? It is a part of Noto Sans.
fn is_drawable(letter: char) -> bool {
    matches!(letter, ' '..='~' | '\u{a0}'..='\u{24f}' | '\u{370}'..='\u{373}'
        | '\u{376}'..='\u{377}' | '\u{37a}'..='\u{37f}' | '\u{384}'..='\u{38a}' | '\u{38c}'
        | '\u{38e}'..='\u{3a1}' | '\u{3a3}'..='\u{45f}' | '\u{1e00}'..='\u{1eff}' | '–' | '—'
        | '‘'..='‚' | '“'..='„' | '…' | '€')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures;

    #[test]
    fn few_people_have_rows_and_many_an_area() {
        let now = fixtures::NOW;
        let CardPlot::Rows(rows) = draw_card(&fixtures::war_room_call(), now) else {
            panic!("no rows")
        };
        assert!(!rows.is_empty() && rows.len() <= ROWS_MAX);
        for bar in rows.iter().flat_map(|row| &row.bars) {
            assert!(bar.x.0 >= LEFT && bar.x.0 + bar.w.0 <= LEFT + BARS + BAR_MIN);
            assert!(bar.y.0 + bar.h.0 <= TOP + ROWS_HEIGHT);
        }

        let crowd = draw_card(&fixtures::crowd_call(42), now);
        assert!(matches!(crowd, CardPlot::Area(_)));
    }

    #[test]
    fn a_call_of_no_length_and_strange_times_draw_something() {
        let mut call = fixtures::war_room_call();
        call.started_ms = i64::MAX - 1;
        assert!(matches!(draw_card(&call, 0), CardPlot::Rows(_)));
        call.members.clear();
        assert_eq!(draw_card(&call, 0), CardPlot::Rows(Vec::new()));
    }

    #[test]
    fn only_letters_of_our_font_are_drawn() {
        let drawn = |text: &str| drawable_text(text, 8);
        assert_eq!(drawn("Zoë 🎉").as_deref(), Some("Zoë"));
        assert_eq!(drawn("Анна Ωμέγα").as_deref(), Some("Анна Ωμ…"));
        assert_eq!(drawn("مجلس"), None);
        assert_eq!(drawn("会议 a"), None);
        assert_eq!(drawn(""), Some("(no vis…".to_owned()));
    }
}
