//! Pictures drawn on the server: pure geometry from facts; the templates write the SVG.

pub mod axis;
pub mod bars;
pub mod blind;
pub mod card;
pub mod chart;
pub mod flows;
pub mod heat;
pub mod pin;
pub mod png;
pub mod sfu;
pub mod shape;
pub mod timeline;
pub mod week;

use askama::filters::HtmlSafe;
use std::fmt;

/// A number of a drawing: at most two decimals, no trailing zeros, never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Num(pub f64);

impl fmt::Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = if self.0.is_finite() { self.0 } else { 0.0 };
        let text = format!("{number:.2}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if text == "-0" { "0" } else { text })
    }
}

impl HtmlSafe for Num {}

impl Num {
    /// The number plus `by`.
    #[must_use]
    pub fn plus(self, by: f64) -> Self {
        Self(self.0 + by)
    }
}

/// `part / whole` as a float; 0 if `whole` is 0.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a drawing has no use for more than 52 bits"
)]
pub fn ratio(part: i64, whole: i64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// A whole number as a float.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a drawing has no use for more than 52 bits"
)]
pub fn to_float(number: usize) -> f64 {
    number as f64
}
