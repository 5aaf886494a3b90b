//! The time that the picture of a call shows: all of it, a part that was asked for, or without
//! being asked the time in which people were there who are not only ghosts.

use super::call::CallPage;
use crate::rtc::coverage::Span;
use crate::store::read::large_calls::PeopleWithin;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::svg::axis::Axis;
use crate::web::view::{CallFacts, MemberFacts, Stamp};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// The shortest time that a picture shows, ms.
const SPAN_MIN: i64 = 60_000;
/// An hour, ms.
const HOUR: i64 = 3_600_000;
/// A ghost does not stretch the picture: where the call is longer than this many times the time in
/// which others were there, the picture shows that time only.
const STRETCHED: i64 = 2;

/// The time that was asked for with `from` and `to`: `members` are those who were there then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CallWindowFacts)]
pub struct WindowFacts {
    pub from_ms: i64,
    pub from_at: Stamp,
    pub to_ms: i64,
    pub to_at: Stamp,
    /// The number of people who were there then, and of those who only were there at other times.
    pub people: usize,
    pub people_outside: usize,
}

/// A button below the picture: its words, and where it leads. Without an address it does nothing
/// from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowButton {
    pub words: &'static str,
    pub href: Option<String>,
    /// It is what is shown.
    pub here: bool,
}

/// The span that the parameters ask for, within the call, which is known until `now`, ms; `None` if
/// they ask for none. It is empty if the call did not run then.
///
/// # Errors
/// A time that is none.
pub fn span_of_query(query: &Query, call: &CallFacts, now: i64) -> Result<Option<Span>, Error> {
    let (from, to) = (query.time("from", false)?, query.time("to", true)?);
    if from.is_none() && to.is_none() {
        return Ok(None);
    }

    let whole = whole_span(call, now);
    let asked = Span {
        from: from.unwrap_or(i64::MIN),
        to: to.unwrap_or(i64::MAX),
    };
    let shown = asked.within(&whole);
    let nothing = Span {
        from: whole.from,
        to: whole.from,
    };

    Ok(Some(if shown.is_empty() { nothing } else { shown }))
}

/// The time of the whole call, as it is known at `now`, ms.
fn whole_span(call: &CallFacts, now: i64) -> Span {
    let from = call.started_ms;

    Span {
        from,
        to: call.end_ms(now).max(from.saturating_add(SPAN_MIN)),
    }
}

/// Did this stay touch the span? None touches an empty one.
fn was_there(stay: &MemberFacts, span: Span, now: i64) -> bool {
    !span.is_empty() && stay.joined_ms < span.to && stay.end_ms(now) >= span.from
}

/// Keeps the stays that touch the span, and tells how many people that leaves.
pub fn keep_window(call: &mut CallFacts, span: Span, now: i64) -> WindowFacts {
    let people = |members: &[MemberFacts]| {
        let ids: BTreeSet<&str> = members.iter().map(|stay| stay.user_id.as_str()).collect();
        ids.len()
    };
    let before = people(&call.members);
    let upto = call.upto(now);
    call.members.retain(|stay| was_there(stay, span, upto));
    let people = people(&call.members);

    WindowFacts {
        from_ms: span.from,
        from_at: Stamp(span.from),
        to_ms: span.to,
        to_at: Stamp(span.to),
        people,
        people_outside: before - people,
    }
}

impl WindowFacts {
    /// The window with these numbers of people, counted by the database.
    #[must_use]
    pub fn with_counts(self, counted: PeopleWithin) -> Self {
        let number = |count: i64| usize::try_from(count).unwrap_or(0);
        let people = number(counted.within);

        Self {
            people,
            people_outside: number(counted.all).saturating_sub(people),
            ..self
        }
    }
}

/// The time in which somebody was there who is not only believed to be: from the first join of one
/// who is no ghost until the last that was seen of one. `None` if that is nearly the whole call, or
/// if there is nobody else.
fn span_of_people(call: &CallFacts, now: i64) -> Option<Span> {
    let people = call.members.iter().filter(|stay| !stay.ghost);
    let seen_until = |stay: &MemberFacts| stay.seen_until_ms.unwrap_or_else(|| stay.end_ms(now));
    let span = people.fold(
        Span {
            from: i64::MAX,
            to: i64::MIN,
        },
        |span, stay| Span {
            from: span.from.min(stay.joined_ms),
            to: span.to.max(seen_until(stay)),
        },
    );
    if span.is_empty() {
        return None;
    }

    let whole = whole_span(call, now);
    let span = span.within(&whole);
    let is_stretched = length(whole) > STRETCHED.saturating_mul(length(span).max(SPAN_MIN));

    is_stretched.then_some(span)
}

/// The length of a span, ms.
fn length(span: Span) -> i64 {
    span.to.saturating_sub(span.from)
}

impl CallPage {
    /// The axis of the picture; `None` if it shows the whole call.
    pub(super) fn axis_shown(&self, now: i64) -> Option<Axis> {
        let upto = self.call.upto(now);
        if let Some(span) = self.asked {
            let whole = whole_span(&self.call, upto);
            if span == whole {
                return None;
            }

            // Room for the line of now and what stands there.
            let after = if span.to == whole.to {
                length(span) / 20
            } else {
                0
            };
            return Some(Axis {
                from: span.from,
                to: span.to.saturating_add(after),
            });
        }

        span_of_people(&self.call, upto).map(|span| Axis::around(span.from, span.to))
    }

    /// The span of the call that the picture shows.
    fn shown_span(&self, now: i64) -> Span {
        let upto = self.call.upto(now);
        let whole = whole_span(&self.call, upto);
        let asked = self.asked.or_else(|| span_of_people(&self.call, upto));

        asked.map_or(whole, |span| span.within(&whole))
    }

    /// The buttons that show another part of the call. None if the call is too short for that.
    #[must_use]
    pub fn window_buttons(&self, now: &i64) -> Vec<WindowButton> {
        let upto = self.call.upto(*now);
        let (whole, shown) = (whole_span(&self.call, upto), self.shown_span(*now));
        if length(whole) <= 2 * SPAN_MIN {
            return Vec::new();
        }

        let wide = length(shown).max(SPAN_MIN);
        let moved = |by: i64| {
            let from = shown.from.saturating_add(by);
            let from = from.clamp(whole.from, (whole.to - wide).max(whole.from));
            Span {
                from,
                to: from + wide,
            }
        };
        // What touches now stays with it.
        let is_last = self.call.active && shown.to == whole.to;
        let resized = |wide: i64| {
            let wide = wide.clamp(SPAN_MIN, length(whole));
            let middle = shown.from + length(shown) / 2;
            let from = if is_last {
                shown.to - wide
            } else {
                middle - wide / 2
            };
            let from = from.clamp(whole.from, whole.to - wide);
            Span {
                from,
                to: from + wide,
            }
        };
        let last_hour = Span {
            from: (whole.to - HOUR).max(whole.from),
            to: whole.to,
        };
        let choices = [
            ("Earlier", moved(-wide / 2)),
            ("Later", moved(wide / 2)),
            ("Zoom in", resized(wide / 2)),
            ("Zoom out", resized(wide.saturating_mul(2))),
            ("Whole call", whole),
            ("Last hour", last_hour),
        ];
        let button = |(words, span): (&'static str, Span)| WindowButton {
            words,
            here: span == shown && ["Whole call", "Last hour"].contains(&words),
            href: (span != shown).then(|| self.window_href(span, whole)),
        };

        choices
            .into_iter()
            .filter(|(words, _)| *words != "Last hour" || length(whole) > HOUR)
            .map(button)
            .collect()
    }

    /// The address of the whole call in the picture.
    #[must_use]
    pub fn whole_href(&self, now: &i64) -> String {
        let whole = whole_span(&self.call, self.call.upto(*now));
        self.window_href(whole, whole)
    }

    /// The address of the page with this part in the picture. What ends with the call has no end of
    /// its own, so that it goes on with the call.
    fn window_href(&self, span: Span, whole: Span) -> String {
        let to = if span.to >= whole.to {
            String::new()
        } else {
            format!("&to={}", span.to)
        };

        format!("{}?from={}{to}#h-tl", self.call.href(), span.from)
    }

    /// The number of people of whom the picture shows nothing, in words; `None` if there is none.
    #[must_use]
    pub fn outside_words(&self, outside: &usize) -> Option<String> {
        use crate::web::view::format as f;
        let people = f::count_with_noun(*outside, "person", "people");
        let listed = if self.call.members_whole {
            String::new()
        } else {
            // The picture has a part of the stays.
            format!(
                " of the {} listed",
                f::count_with_noun(self.call.members.len(), "stay", "stays")
            )
        };

        (*outside > 0).then(|| format!("{people}{listed} outside this window"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures::{self, MINUTE, NOW};
    use crate::web::pages::call::call_page;

    fn page(call: CallFacts) -> CallPage {
        call_page(call, Vec::new(), 0, Vec::new(), NOW)
    }

    fn span_asked(query: &str, call: &CallFacts) -> Result<Option<Span>, Error> {
        span_of_query(&Query::read(query, &["from", "to"])?, call, NOW)
    }

    #[test]
    fn a_window_is_cut_to_the_call() {
        let call = fixtures::war_room_call();
        let (start, end) = (call.started_ms, NOW);
        assert_eq!(span_asked("", &call).unwrap(), None);
        let from = start + 5 * MINUTE;
        let asked = span_asked(&format!("from={from}"), &call).unwrap();
        assert_eq!(asked, Some(Span { from, to: end }));
        let asked = span_asked("from=1970-01-01", &call).unwrap();
        assert_eq!(
            asked,
            Some(Span {
                from: start,
                to: end
            })
        );
        assert!(span_asked("from=x", &call).is_err());
        for empty in ["from=5&to=5", "to=1970-01-02", "from=9999-01-01"] {
            let asked = span_asked(empty, &call).unwrap().unwrap();
            assert!(asked.is_empty() && asked.from == start, "{empty}");
        }
    }

    #[test]
    fn a_ghost_does_not_stretch_the_picture() {
        let mut call = fixtures::war_room_call();
        assert_eq!(page(call.clone()).axis_shown(NOW), None);
        let first = call.members.iter().map(|stay| stay.joined_ms).min();
        let mut ghost = call.members[0].clone();
        ghost.user_id = "@ghost:example.org".to_owned();
        ghost.joined_ms -= 11 * HOUR;
        (ghost.ghost, ghost.silent_since_ms) = (true, Some(ghost.joined_ms + HOUR));
        call.started_ms = ghost.joined_ms;
        call.members.push(ghost);
        let shown = page(call.clone()).axis_shown(NOW).unwrap();
        assert_eq!(shown, Axis::around(first.unwrap(), NOW));
        // Alone it is all there is.
        call.members.retain(|stay| stay.ghost);
        assert_eq!(page(call).axis_shown(NOW), None);
    }

    #[test]
    fn buttons_lead_through_the_call_and_not_beyond() {
        let mut page = page(fixtures::war_room_call());
        let (start, end) = (page.call.started_ms, NOW);
        let spans = |page: &CallPage| -> Vec<(&'static str, Option<Span>)> {
            let buttons = page.window_buttons(&NOW).into_iter();
            let span = |href: String| {
                let query = href.split('?').nth(1).unwrap().split('#').next().unwrap();
                span_asked(query, &page.call).unwrap().unwrap()
            };
            buttons
                .map(|button| (button.words, button.href.map(span)))
                .collect()
        };
        let at_first = spans(&page);
        let found = |words: &str| {
            at_first
                .iter()
                .find(|(other, _)| *other == words)
                .unwrap()
                .1
        };
        assert_eq!(found("Earlier"), None);
        assert_eq!(found("Later"), None);
        assert_eq!(found("Zoom out"), None);
        assert_eq!(found("Whole call"), None);
        let half = (end - start) / 2;
        assert_eq!(
            found("Zoom in"),
            Some(Span {
                from: end - half,
                to: end
            })
        );

        let asked = Span {
            from: start + 10 * MINUTE,
            to: start + 14 * MINUTE,
        };
        page.asked = Some(asked);
        let then = spans(&page);
        let found = |words: &str| then.iter().find(|(other, _)| *other == words).unwrap().1;
        let by = |from: i64, to: i64| {
            Some(Span {
                from: asked.from + from * MINUTE,
                to: asked.to + to * MINUTE,
            })
        };
        assert_eq!(found("Earlier"), by(-2, -2));
        assert_eq!(found("Later"), by(2, 2));
        assert_eq!(found("Zoom in"), by(1, -1));
        assert_eq!(found("Zoom out"), by(-2, 2));
        assert_eq!(
            found("Whole call"),
            Some(Span {
                from: start,
                to: end
            })
        );
    }

    #[test]
    fn of_a_part_of_the_stays_it_says_so() {
        let mut page = page(fixtures::war_room_call());
        let words = page.outside_words(&2).unwrap();
        assert_eq!(words, "2 people outside this window");
        page.call.members_whole = false;
        let listed = page.call.members.len();
        assert_eq!(
            page.outside_words(&2).unwrap(),
            format!("2 people of the {listed} stays listed outside this window")
        );
        let span = Span { from: 0, to: 1 };
        let counted = PeopleWithin {
            all: 2500,
            within: 900,
        };
        let told = keep_window(&mut page.call, span, NOW).with_counts(counted);
        assert_eq!((told.people, told.people_outside), (900, 1600));
    }

    #[test]
    fn who_was_there_at_another_time_is_counted() {
        let mut call = fixtures::war_room_call();
        let before = call.members.len();
        let all: BTreeSet<String> = call
            .members
            .iter()
            .map(|stay| stay.user_id.clone())
            .collect();
        let span = Span {
            from: call.started_ms,
            to: call.started_ms + 1,
        };
        let told = keep_window(&mut call, span, NOW);
        assert!(call.members.len() < before);
        assert_eq!(told.people + told.people_outside, all.len());
        assert!(told.people >= 1 && told.people_outside >= 1);
    }
}
