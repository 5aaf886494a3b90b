//! Who carries whose time: names on the left, names on the right, and between them ribbons as wide
//! as the time.

use super::{Num, ratio, to_float};
use std::collections::BTreeMap;

/// The most names on a side; others are one name together.
const NAMES_MAX: usize = 6;
/// The least height of a name, the height beyond it that all names of a side share, and the gap
/// below each, px.
const LEAST: f64 = 22.0;
const SHARED: f64 = 90.0;
const GAP: f64 = 6.0;
/// The width in which the ribbons are drawn; the picture stretches it.
const WIDTH: i64 = 1000;
/// The most characters of a name: two of them stand side by side on a phone.
const LABEL_MAX: usize = 24;

/// How much of one goes to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub from: String,
    pub to: String,
    pub value: i64,
}

/// The picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Flows {
    pub width: i64,
    pub height: i64,
    pub left: Vec<FlowName>,
    pub right: Vec<FlowName>,
    pub ribbons: Vec<Ribbon>,
}

/// A name at an edge.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowName {
    /// The whole name; `None` for all that have none of their own.
    pub name: Option<String>,
    pub label: String,
    pub y: Num,
    pub h: Num,
    pub value: i64,
}

/// What goes from one name to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Ribbon {
    pub path: String,
    pub from: String,
    pub to: String,
    pub value: i64,
}

/// The names of one side, in order, each with its place.
struct Side {
    names: Vec<FlowName>,
    /// Where the next ribbon of each begins, px.
    next: Vec<f64>,
    /// Those that have a name of their own.
    places: BTreeMap<String, usize>,
}

impl Side {
    /// Lays out the names of these flows, those with most first.
    fn lay(flows: &[Flow], name: impl Fn(&Flow) -> &str, others: &str) -> Self {
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for flow in flows {
            *sums.entry(name(flow)).or_default() += flow.value;
        }

        let mut order: Vec<(&str, i64)> = sums.into_iter().collect();
        order.sort_by_key(|&(name, value)| (std::cmp::Reverse(value), name));
        let shown = if order.len() > NAMES_MAX {
            NAMES_MAX - 1
        } else {
            order.len()
        };
        let total: i64 = order.iter().map(|(_, value)| value).sum();
        let rest: i64 = order[shown..].iter().map(|(_, value)| value).sum();
        let mut rows: Vec<(Option<&str>, i64)> = order[..shown]
            .iter()
            .map(|&(name, value)| (Some(name), value))
            .collect();
        if shown < order.len() {
            rows.push((None, rest));
        }

        let mut names = Vec::new();
        let mut y = 0.0;
        for (name, value) in rows {
            let h = LEAST + SHARED * ratio(value, total);
            let label = name.map_or_else(
                || format!("{} {others}", order.len() - shown),
                shorten_label,
            );
            names.push(FlowName {
                name: name.map(ToOwned::to_owned),
                label,
                y: Num(y),
                h: Num(h),
                value,
            });
            y += h + GAP;
        }

        let place = |(at, (name, _)): (usize, &(&str, i64))| ((*name).to_owned(), at);

        Self {
            next: names.iter().map(|name| name.y.0).collect(),
            places: order[..shown].iter().enumerate().map(place).collect(),
            names,
        }
    }

    /// The place of a name: its own, or that of the others.
    fn place(&self, name: &str) -> usize {
        let last = self.names.len().saturating_sub(1);
        self.places.get(name).copied().unwrap_or(last)
    }

    /// Takes the part of a name that a value has: its top and its bottom, px.
    fn take_span(&mut self, place: usize, value: i64) -> (Num, Num) {
        let name = &self.names[place];
        let top = self.next[place];
        let bottom = top + name.h.0 * ratio(value, name.value);
        self.next[place] = bottom;

        (Num(top), Num(bottom))
    }

    fn height(&self) -> f64 {
        self.names.last().map_or(0.0, |name| name.y.0 + name.h.0)
    }
}

/// Draws these flows as ribbons between two columns of names (a Sankey diagram). Flows without a
/// value are left out. Each column has only the largest names; the two texts are for all others.
#[must_use]
pub fn draw_flows(flows: &[Flow], others_left: &str, others_right: &str) -> Flows {
    let flows: Vec<Flow> = flows
        .iter()
        .filter(|flow| flow.value > 0)
        .cloned()
        .collect();
    let mut left = Side::lay(&flows, |flow| &flow.from, others_left);
    let mut right = Side::lay(&flows, |flow| &flow.to, others_right);
    let mut sums: BTreeMap<(usize, usize), i64> = BTreeMap::new();
    for flow in &flows {
        let places = (left.place(&flow.from), right.place(&flow.to));
        *sums.entry(places).or_default() += flow.value;
    }

    let ribbon = |((from, to), value): ((usize, usize), i64)| {
        let (from_top, from_bottom) = left.take_span(from, value);
        let (to_top, to_bottom) = right.take_span(to, value);
        let middle = WIDTH / 2;

        Ribbon {
            path: format!(
                "M0 {from_top}C{middle} {from_top} {middle} {to_top} {WIDTH} {to_top}V{to_bottom}C{middle} \
                 {to_bottom} {middle} {from_bottom} 0 {from_bottom}Z"
            ),
            from: left.names[from].label.clone(),
            to: right.names[to].label.clone(),
            value,
        }
    };
    let ribbons = sums.into_iter().map(ribbon).collect();
    let height = left.height().max(right.height());

    Flows {
        width: WIDTH,
        height: whole_pixels(height),
        left: left.names,
        right: right.names,
        ribbons,
    }
}

/// A name that fits beside another one.
fn shorten_label(name: &str) -> String {
    if name.chars().count() <= LABEL_MAX {
        return name.to_owned();
    }

    let mut label: String = name.chars().take(LABEL_MAX - 1).collect();
    label.push('…');

    label
}

/// A height in whole pixels, no less than it.
fn whole_pixels(height: f64) -> i64 {
    let mut pixels = 0;
    while to_float(usize::try_from(pixels).unwrap_or(0)) < height {
        pixels += 1;
    }

    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(from: &str, to: &str, value: i64) -> Flow {
        Flow {
            from: from.to_owned(),
            to: to.to_owned(),
            value,
        }
    }

    #[test]
    fn names_are_as_high_as_what_they_have_and_ribbons_fill_them() {
        let flows = [
            flow("a", "x", 60),
            flow("a", "y", 20),
            flow("b", "x", 20),
            flow("c", "y", 0),
        ];
        let picture = draw_flows(&flows, "other servers", "other SFUs");
        let names: Vec<(&str, i64)> = picture
            .left
            .iter()
            .map(|name| (name.label.as_str(), name.value))
            .collect();
        assert_eq!(names, [("a", 80), ("b", 20)]);
        assert_eq!(picture.right[0].value, 80);
        assert_eq!(picture.ribbons.len(), 3);
        // The ribbons of a name are on top of each other without a gap.
        let a = &picture.left[0];
        let (first, second) = (&picture.ribbons[0], &picture.ribbons[1]);
        assert!(first.path.starts_with("M0 0C"), "{}", first.path);
        let middle = Num(a.h.0 * 0.75);
        assert!(second.path.starts_with(&format!("M0 {middle}C")));
        assert!(second.path.ends_with(&format!(" 0 {}Z", a.h)));
    }

    #[test]
    fn what_is_too_much_for_the_picture_stands_together() {
        let flows: Vec<Flow> = (1..=20)
            .map(|nth| flow(&format!("s{nth}.example"), "sfu.example", nth))
            .collect();
        let picture = draw_flows(&flows, "other servers", "other SFUs");
        assert_eq!(picture.left.len(), NAMES_MAX);
        let last = picture.left.last().unwrap();
        assert_eq!((last.label.as_str(), last.value), ("15 other servers", 120));
        assert_eq!((picture.right.len(), picture.ribbons.len()), (1, NAMES_MAX));
        assert_eq!(
            picture.ribbons.iter().map(|one| one.value).sum::<i64>(),
            210
        );
        assert_eq!(draw_flows(&[], "", "").height, 0);
        assert_eq!(shorten_label(&"x".repeat(40)).chars().count(), LABEL_MAX);
    }
}
