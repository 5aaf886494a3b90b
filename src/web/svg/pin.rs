//! Findings in a timeline: a numeral for each, on the bar that it is about or on the axis, and a
//! band for time in which people were apart.

use super::Num;
use super::axis::Axis;
use super::timeline::Timeline;
use crate::web::view::{CallFacts, FindingFacts, MemberFacts};

/// Maximum number of findings in the picture and below it.
pub const MOST: usize = 9;
/// Minimum distance of two numerals, percent, so that they do not cover each other: they are 18 px
/// wide, on a phone too.
const APART: f64 = 5.8;
/// Minimum width of a band, percent.
const WIDTH_MIN: f64 = 0.3;
/// Minimum length of the bar to the right of a numeral, percent; enough also on a phone with a
/// glyph at the bar's end.
const BAR_ROOM: f64 = 9.0;
/// A numeral nearer than this to the bar's start, percent, is put to the right of the letter there.
const CHIP_ROOM: f64 = 6.0;
/// Distance of a numeral on a bar to the right of its moment, px: without and with a letter there.
const BESIDE: [i64; 2] = [12, 30];

/// The mark of one finding on the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pin {
    /// Its number in the list below the picture, from 1.
    pub number: usize,
    pub class: &'static str,
    /// The position of the numeral, percent.
    pub x: Num,
    /// The start and width of the band, percent; `None` for a finding about one device.
    pub band: Option<(Num, Num)>,
}

/// The mark of one finding on the bar that it is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BarPin {
    pub number: usize,
    pub class: &'static str,
    pub x: Num,
    /// Its distance to the right of `x`, px.
    pub dx: i64,
    pub y: i64,
}

/// The marks on the axis, for all of these findings without a mark on a bar, in their order. The
/// bars of `picture` must have their marks already. `findings` must be the first ones of the call,
/// since a mark bears the position in the list. `upto` is the time until which the call is known,
/// ms: the end of a band that still lasts.
#[must_use]
pub fn axis_pins(findings: &[FindingFacts], picture: &Timeline, upto: i64) -> Vec<Pin> {
    let axis = &picture.axis;
    let mut taken: Vec<f64> = picture.marks.iter().map(|mark| mark.x.0).collect();
    let on_bars: Vec<usize> = picture
        .rows()
        .flat_map(|row| &row.pins)
        .map(|pin| pin.number)
        .collect();
    let drawn = findings
        .iter()
        .enumerate()
        .filter(|(at, _)| !on_bars.contains(&(at + 1)))
        // One of another time has no place here.
        .filter(|(_, finding)| {
            finding.from_ms <= axis.to && finding.until_ms.unwrap_or(upto) >= axis.from
        });

    drawn
        .map(|(at, finding)| {
            let from = axis.x(finding.from_ms);
            let width = (axis.x(finding.until_ms.unwrap_or(upto)) - from).max(WIDTH_MIN);
            let band = finding.is_apart().then_some((Num(from), Num(width)));
            let x = free_position(
                &taken,
                if band.is_some() {
                    from + width / 2.0
                } else {
                    from
                },
            );
            taken.push(x);
            Pin {
                number: at + 1,
                class: finding.pill().0,
                x: Num(x),
                band,
            }
        })
        .collect()
}

/// The words of the legend for the bands of people who were apart, that is in one call without
/// hearing each other; `None` if there are no bands.
#[must_use]
pub fn band_legend(findings: &[FindingFacts]) -> Option<&'static str> {
    let apart: Vec<&FindingFacts> = findings
        .iter()
        .filter(|finding| finding.is_apart())
        .collect();
    if apart.is_empty() {
        return None;
    }

    let is_mutual = apart.iter().all(|finding| finding.mutual);

    Some(if is_mutual {
        "Could not hear each other"
    } else {
        "Some could not hear others"
    })
}

/// The mark of the first finding about this stay; `None` if there is none among the first [`MOST`]
/// of the call, or if its bar has no room for it. `bar` is where the bar begins and ends, percent;
/// `chip` says that a letter is at its start. The caller sets `y`, which is 0 here.
#[must_use]
pub fn pin_on_bar(
    call: &CallFacts,
    stay: &MemberFacts,
    axis: &Axis,
    bar: (f64, f64),
    chip: bool,
) -> Option<BarPin> {
    let shown = call.findings.iter().take(MOST).enumerate();
    let (at, finding) = shown.into_iter().find(|(_, finding)| finding.is_of(stay))?;
    let x = axis.x(finding.from_ms).max(bar.0);
    let beside = chip && x - bar.0 < CHIP_ROOM;
    let room = BAR_ROOM + if beside { CHIP_ROOM } else { 0.0 };

    (bar.1 - x >= room).then(|| BarPin {
        number: at + 1,
        class: finding.pill().0,
        x: Num(x),
        dx: BESIDE[usize::from(beside)],
        y: 0,
    })
}

/// The position nearest to `wanted` that no numeral at one of the positions `taken` covers, first
/// to the right, then to the left; all in percent. If there is none, `wanted` itself.
fn free_position(taken: &[f64], wanted: f64) -> f64 {
    let covered = |x: f64| taken.iter().any(|other| (other - x).abs() < APART - 0.01);
    let steps = || (0..=taken.len()).map(|step| super::to_float(step) * APART);
    let right = steps()
        .map(|step| wanted + step)
        .find(|x| !covered(*x) && *x <= 99.0);

    right
        .or_else(|| steps().map(|step| wanted - step).find(|x| !covered(*x)))
        .unwrap_or(wanted)
        .clamp(1.0, 99.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerals_do_not_cover_each_other() {
        let place = |taken: &[f64], wanted| Num(free_position(taken, wanted)).to_string();
        assert_eq!(place(&[], 50.0), "50");
        assert_eq!(place(&[50.0], 50.0), "55.8");
        assert_eq!(place(&[50.0, 55.8], 51.0), "62.6");
        assert_eq!(place(&[98.5], 98.5), "92.7", "not out of the picture");
    }
}
