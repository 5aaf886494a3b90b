//! Hatches the unwatched time behind a drawing, so that it does not look like "nothing happened".

use super::Num;
use super::axis::Axis;
use crate::rtc::coverage::{Interval, Span};

/// Maximum number of bands in a picture.
const BANDS_MAX: usize = 200;
/// Minimum width of a band, percent.
const WIDTH_MIN: f64 = 0.15;

/// A hatched span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    pub x: Num,
    pub w: Num,
}

/// The unwatched spans of a coverage.
pub fn unobserved_spans(cover: &[Interval]) -> impl Iterator<Item = Span> + '_ {
    cover
        .iter()
        .filter(|interval| interval.cover.is_blind())
        .map(|interval| interval.span)
}

/// The bands of these spans on an axis, cut to the picture; at most `BANDS_MAX`.
#[must_use]
pub fn bands_on_axis(spans: impl Iterator<Item = Span>, axis: &Axis) -> Vec<Band> {
    let whole = Span {
        from: axis.from,
        to: axis.to,
    };

    let inside = spans
        .map(|span| span.within(&whole))
        .filter(|span| !span.is_empty());
    let band = |span: Span| Band {
        x: Num(axis.x(span.from)),
        w: Num((axis.x(span.to) - axis.x(span.from)).max(WIDTH_MIN)),
    };

    inside.take(BANDS_MAX).map(band).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_stay_inside_the_picture() {
        let axis = Axis {
            from: 1000,
            to: 2000,
        };

        let spans = [
            Span { from: 0, to: 900 },
            Span { from: 0, to: 1100 },
            Span {
                from: 1500,
                to: 1500,
            },
            Span {
                from: 1900,
                to: i64::MAX,
            },
        ];
        let found: Vec<(f64, f64)> = bands_on_axis(spans.into_iter(), &axis)
            .iter()
            .map(|band| (band.x.0, band.w.0))
            .collect();
        assert_eq!(found, [(0.0, 10.0), (90.0, 10.0)]);
    }
}
