//! Findings in a timeline: a numeral in the axis for each, and a band where people were apart.

use super::Num;
use super::axis::Axis;
use crate::web::facts::FindingFacts;

/// Numerals nearer than this, in percent, would cover each other.
const APART: f64 = 2.4;
/// A band is at least so wide, in percent.
const WIDTH_MIN: f64 = 0.3;

/// The mark of one finding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pin {
    /// Its place in the list below the picture, from 1 on.
    pub number: usize,
    pub class: &'static str,
    /// Where the numeral stands, in percent.
    pub x: Num,
    /// Where the band begins, and its width, in percent; none for what is about one device.
    pub band: Option<(Num, Num)>,
}

/// The marks of these findings; a goodbye that never came is on its bar already. `upto`: until when the call is known, ms.
#[must_use]
pub fn pins(findings: &[FindingFacts], axis: &Axis, upto: i64) -> Vec<Pin> {
    let mut taken: Vec<f64> = Vec::new();
    let drawn = findings.iter().enumerate().filter(|(_, finding)| finding.kind != "no_goodbye");
    drawn
        .map(|(at, finding)| {
            let from = axis.x(finding.from_ms);
            let width = (axis.x(finding.until_ms.unwrap_or(upto)) - from).max(WIDTH_MIN);
            let band = (finding.kind == "apart").then_some((Num(from), Num(width)));
            let x = free(&taken, if band.is_some() { from + width / 2.0 } else { from });
            taken.push(x);
            Pin { number: at + 1, class: finding.pill().0, x: Num(x), band }
        })
        .collect()
}

/// The next place to the right, or where there is none to the left, that no other numeral covers.
fn free(taken: &[f64], wanted: f64) -> f64 {
    let covered = |x: f64| taken.iter().any(|other| (other - x).abs() < APART - 0.01);
    let steps = || (0..=taken.len()).map(|step| super::float(step) * APART);
    let right = steps().map(|step| wanted + step).find(|x| !covered(*x) && *x <= 99.0);
    right.or_else(|| steps().map(|step| wanted - step).find(|x| !covered(*x))).unwrap_or(wanted).clamp(1.0, 99.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerals_do_not_cover_each_other() {
        let place = |taken: &[f64], wanted| Num(free(taken, wanted)).to_string();
        assert_eq!(place(&[], 50.0), "50");
        assert_eq!(place(&[50.0], 50.0), "52.4");
        assert_eq!(place(&[50.0, 52.4], 51.0), "55.8");
        assert_eq!(place(&[98.5], 98.5), "96.1", "not out of the picture");
    }
}
