//! Small rows: the rows of one server are one drawing, 1000 wide and as high as its rows; each
//! device is a stroke in it.

use super::{EndGlyph, RowGroup, TimelineRow};
use std::collections::BTreeMap;
use std::fmt::Write;

impl RowGroup {
    /// Puts the rows of the group below each other, and sets its height.
    pub(super) fn stack(&mut self) {
        self.height = 0;
        for row in &mut self.rows {
            row.top = self.height;
            self.height += row.height;
        }
    }

    /// The letter of the SFU that all rows of the group use; `None` if they use several.
    #[must_use]
    pub fn sfu(&self) -> Option<&str> {
        let first = self.rows.first()?;
        let [letter] = first.sfus.as_slice() else {
            return None;
        };

        self.rows
            .iter()
            .all(|row| row.sfus == first.sfus)
            .then_some(letter)
    }

    /// Is there something to draw above the strokes?
    #[must_use]
    pub fn has_signs(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row.loud().next().is_some() || !row.marks.is_empty())
    }
}

impl TimelineRow {
    /// The bars as path data inside the group's drawing, by the class of their colour.
    #[must_use]
    pub fn strokes(&self) -> BTreeMap<String, String> {
        let mut strokes: BTreeMap<String, String> = BTreeMap::new();
        for bar in &self.bars {
            let (x, y) = (to_permille(bar.x.0), self.top + bar.y + bar.h / 2);
            let length = to_permille(bar.x.0 + bar.w.0) - x;
            let _ = write!(
                strokes.entry(bar.paint.slot()).or_default(),
                "M{x} {y}h{length}"
            );
        }

        strokes
    }

    /// The part of the id before the server; the server is in the heading above the rows.
    #[must_use]
    pub fn local(&self) -> &str {
        self.user_id.split(':').next().unwrap_or_default()
    }

    /// The letters of its SFUs: `A`, or `A B`; only the first few if the person changed often.
    #[must_use]
    pub fn letters(&self) -> String {
        self.sfus
            .iter()
            .take(4)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// How many devices it shows, if more than one.
    #[must_use]
    pub fn lanes(&self) -> Option<i64> {
        Some((self.height - 24) / 12 + 1).filter(|lanes| *lanes > 1)
    }

    /// The ends that need a look. Normal ends have no glyph among many rows: the end of the stroke
    /// is enough.
    pub fn loud(&self) -> impl Iterator<Item = &EndGlyph> {
        self.glyphs.iter().filter(|glyph| glyph.ending.is_loud())
    }

    /// The renewals of all bars as path data, 1000 wide.
    #[must_use]
    pub fn renewals(&self) -> String {
        let ticks = self
            .bars
            .iter()
            .flat_map(|bar| bar.ticks.iter().map(move |x| (x, bar)));

        ticks.fold(String::new(), |mut path, (x, bar)| {
            let _ = write!(path, "M{} {}v{}", to_permille(x.0), bar.y + 3, bar.h - 6);
            path
        })
    }
}

/// Converts percent to thousandths.
#[expect(clippy::cast_possible_truncation, reason = "a place in the picture")]
fn to_permille(percent: f64) -> i64 {
    (percent * 10.0).round() as i64
}

#[cfg(test)]
mod tests {
    use crate::web::fixtures::{self, NOW};
    use crate::web::svg::timeline::{Ending, draw_timeline};

    #[test]
    fn rows_of_one_server_are_one_drawing() {
        let picture = draw_timeline(&fixtures::crowd_call(60), &[], &[], NOW, None, 0);
        let group = &picture.groups[0];
        assert_eq!((group.rows[0].top, group.rows[1].top), (0, 24));
        assert_eq!(group.height, 24 * i64::try_from(group.rows.len()).unwrap());
        let strokes = group.rows[1].strokes();
        assert_eq!(strokes.len(), 1);
        assert!(
            strokes
                .values()
                .all(|path| path.starts_with('M') && path.contains(" 36h")),
            "{strokes:?}"
        );
        assert!(
            picture.groups.iter().all(|group| !group.has_signs()),
            "to leave is quiet"
        );
    }

    #[test]
    fn devices_are_lanes_and_only_loud_ends_are_drawn() {
        let picture = draw_timeline(&fixtures::war_room_call(), &[], &[], NOW, None, 1);
        let row = |name| {
            picture
                .groups
                .iter()
                .flat_map(|group| &group.rows)
                .find(|row| row.name == name)
                .unwrap()
        };

        assert_eq!(
            (row("Alice Moreau").lanes(), row("Bob").lanes()),
            (Some(2), None)
        );
        assert_eq!(
            row("Bob")
                .loud()
                .map(|glyph| glyph.ending)
                .collect::<Vec<_>>(),
            [Ending::Lost]
        );
        assert_eq!(
            row("Carol Okafor").strokes().len(),
            2,
            "two SFUs, two colours"
        );
        assert!(
            draw_timeline(&fixtures::war_room_call(), &[], &[], NOW, None, 3)
                .area
                .is_some()
        );
    }
}
