//! Marks of rings, notifications and declines: on the lane of the person concerned, or above all
//! lanes if they concern the room.

use super::{ROOMY_MAX, RowGroup, Timeline, TimelineRow};
use crate::rtc::related::RelatedKind;
use crate::web::svg::Num;
use crate::web::svg::axis::Axis;
use crate::web::view::{RelatedFacts, format, person_title};

/// Maximum number of marks in one picture; the list below has more.
const MARKS_MAX: usize = 200;
/// Height of a mark above the first lane of a roomy row, px.
const ROOM: i64 = 10;
/// Minimum distance of two marks, percent (16 px of 1000); nearer ones are merged.
const NEAR: f64 = 1.6;
/// Maximum number of people who were rung, never came, and get a row of their own.
const ABSENT_MAX: usize = 10;
/// Maximum number of people concerned for marks on small rows; if there are more, the mark is above
/// all rows.
const SMALL_MAX: usize = 8;
/// Minimum space for a note to the right of a mark of a person who never came, percent.
const NOTE_ROOM: f64 = 20.0;

/// One mark.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub x: Num,
    pub y: i64,
    /// The id of its glyph in the page, and its state class.
    pub glyph: &'static str,
    pub class: &'static str,
    pub title: String,
    /// The event behind it.
    pub event_id: String,
    /// Words beside it, if there is room.
    pub note: Option<&'static str>,
}

impl Timeline {
    /// Puts a mark for each ring, decline and slot change on the rows of the people concerned, or
    /// above all rows; then it lays out the rows. `related` must be in order of time, since a mark
    /// is merged only with the last one; of more than [`MARKS_MAX`], the latest get none. `dated`
    /// says that times need their day.
    pub(super) fn add_marks(&mut self, related: &[&RelatedFacts], axis: &Axis, dated: bool) {
        for event in related.iter().take(MARKS_MAX) {
            let (glyph, class) = event.mark();
            // The event may be from before the picture's beginning.
            let dated =
                dated || format::start_of_day(event.at_ms) != format::start_of_day(axis.from);
            let mark = Mark {
                x: Num(axis.x(event.at_ms)),
                y: 7,
                glyph,
                class,
                title: format!(
                    "{}, {} UTC",
                    event.words(),
                    format::plain_time(event.at_ms, dated)
                ),
                event_id: event.event_id.clone(),
                note: None,
            };

            let whom = people_concerned(event, if self.dense { SMALL_MAX } else { usize::MAX });
            let placed = whom
                .iter()
                .filter(|user_id| self.mark_row(user_id, event, &mark))
                .count();
            if placed < whom.len() || whom.is_empty() {
                add_or_merge_mark(&mut self.marks, mark);
            }
        }

        let rows = self
            .groups
            .iter_mut()
            .flat_map(|group| &mut group.rows)
            .filter(|row| !row.marks.is_empty());
        for row in rows.filter(|_| !self.dense) {
            row.make_room();
        }

        self.groups.iter_mut().for_each(RowGroup::stack);
    }

    /// Puts a mark on the row of a person, who gets a row if there is room for one. Returns false
    /// if the person has no row and gets none.
    fn mark_row(&mut self, user_id: &str, event: &RelatedFacts, mark: &Mark) -> bool {
        let shown = format::sanitize_line(user_id);
        let mut rows = self.groups.iter_mut().flat_map(|group| &mut group.rows);
        if let Some(row) = rows.find(|row| row.user_id == shown) {
            let y = if self.dense { row.height / 2 } else { ROOM };
            add_or_merge_mark(
                &mut row.marks,
                Mark {
                    y,
                    note: None,
                    ..mark.clone()
                },
            );
            if row.absent && event.kind == RelatedKind::Decline {
                row.name = event.title();
                row.title = format!(
                    "{}, declined and did not come",
                    format::isolate_bidi(&row.name)
                );
            }

            return true;
        }

        let people: usize = self.groups.iter().map(|group| group.rows.len()).sum();
        let absent = self
            .groups
            .iter()
            .flat_map(|group| &group.rows)
            .filter(|row| row.absent)
            .count();
        let Some(group) = self
            .groups
            .last_mut()
            .filter(|_| !self.dense && self.area.is_none())
        else {
            return false;
        };

        if people >= ROOMY_MAX || absent >= ABSENT_MAX {
            return false;
        }

        let note = (mark.x.0 + NOTE_ROOM <= 100.0).then_some(match event.kind {
            RelatedKind::Decline => "declined",
            RelatedKind::Ring => "rung, did not come",
            _ => "told, did not come",
        });
        let name = if event.user_id == user_id {
            event.title()
        } else {
            person_title(None, user_id)
        };

        let title = format!(
            "{}, {}",
            format::isolate_bidi(&name),
            if event.kind == RelatedKind::Decline {
                "declined"
            } else {
                "did not come"
            }
        );
        let marks = vec![Mark {
            y: ROOM,
            note,
            ..mark.clone()
        }];
        group.rows.push(TimelineRow {
            name,
            user_id: shown,
            height: 30,
            title,
            marks,
            absent: true,
            ..TimelineRow::default()
        });

        true
    }
}

impl TimelineRow {
    /// Moves the lanes of a row down below its marks. In a row without lanes the marks are in the
    /// middle. The row must have marks, and this must run once, after the last of them.
    fn make_room(&mut self) {
        if self.absent {
            self.marks
                .iter_mut()
                .for_each(|mark| mark.y = self.height / 2);
            // The last mark has the outcome.
            let last = self.marks.len() - 1;
            self.marks[..last]
                .iter_mut()
                .for_each(|mark| mark.note = None);
            return;
        }

        self.bars.iter_mut().for_each(|bar| bar.y += ROOM);
        self.glyphs.iter_mut().for_each(|glyph| glyph.y += ROOM);
        self.notes.iter_mut().for_each(|note| note.y += ROOM);
        self.pins.iter_mut().for_each(|pin| pin.y += ROOM);
        self.height += ROOM;
    }
}

/// The people whom an event concerns; empty if it concerns the room, or more than `most` people.
fn people_concerned(event: &RelatedFacts, most: usize) -> Vec<&str> {
    match event.kind {
        RelatedKind::Decline => vec![&event.user_id],
        RelatedKind::Ring | RelatedKind::Notification
            if !event.whole_room && event.whom.len() <= most =>
        {
            event.whom.iter().map(String::as_str).collect()
        }
        _ => Vec::new(),
    }
}

/// Adds a mark to those of a row, which are in order of time. If it would touch the last one, they
/// are merged at the place of the new one, with both texts.
fn add_or_merge_mark(marks: &mut Vec<Mark>, mut mark: Mark) {
    if let Some(before) = marks.pop_if(|last| (mark.x.0 - last.x.0).abs() < NEAR) {
        mark.title = format!("{}; {}", before.title, mark.title)
            .chars()
            .take(400)
            .collect();
        mark.note = mark.note.or(before.note);
    }

    marks.push(mark);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures::{self, MINUTE, NOW};
    use crate::web::svg::timeline::draw_timeline;
    use crate::web::view::Stamp;

    fn event(kind: RelatedKind, who: &str, whom: &[&str], minutes_ago: i64) -> RelatedFacts {
        let at_ms = NOW - minutes_ago * MINUTE;
        RelatedFacts {
            kind,
            event_id: format!("${kind}{minutes_ago}"),
            user_id: who.to_owned(),
            name: None,
            whom: whom.iter().map(|user| (*user).to_owned()).collect(),
            whom_names: Vec::new(),
            whole_room: false,
            at_ms,
            at_at: Stamp(at_ms),
            lifetime_ms: None,
            intent: None,
            relates_to: None,
            slot_id: None,
            outcome: None,
            answered_ms: None,
            answered_at: None,
        }
    }

    const ALICE: &str = "@alice:example.org";
    const BOB: &str = "@bob:matrix.example.net";
    const ERIN: &str = "@erin:example.org";

    fn row<'a>(picture: &'a Timeline, user_id: &str) -> &'a TimelineRow {
        picture
            .groups
            .iter()
            .flat_map(|group| &group.rows)
            .find(|row| row.user_id == user_id)
            .unwrap()
    }

    #[test]
    fn a_ring_stands_on_the_lane_of_whom_it_rang() {
        let plain = draw_timeline(&fixtures::war_room_call(), &[], &[], NOW, None, 0);
        let declined =
            event(RelatedKind::Decline, ERIN, &[], 40).with_names(|_| Some("Erin".to_owned()));
        let related = [
            event(RelatedKind::Ring, ALICE, &[BOB, ERIN], 45),
            declined.clone(),
        ];
        let picture = draw_timeline(&fixtures::war_room_call(), &[], &related, NOW, None, 0);
        assert!(picture.marks.is_empty(), "all of them have a lane");
        let (bob, before) = (row(&picture, BOB), row(&plain, BOB));
        assert_eq!(
            (bob.marks.len(), bob.marks[0].glyph, bob.height),
            (1, "e-ring", before.height + ROOM)
        );
        assert_eq!(
            (bob.bars[0].y, bob.glyphs[0].y),
            (before.bars[0].y + ROOM, before.glyphs[0].y + ROOM)
        );
        assert!(
            bob.marks[0]
                .title
                .starts_with("alice rang bob and 1 more, 14:02"),
            "{}",
            bob.marks[0].title
        );
        assert_eq!(
            row(&picture, ALICE),
            row(&plain, ALICE),
            "who rings is not rung"
        );
        let erin = row(&picture, ERIN);
        let glyphs: Vec<_> = erin
            .marks
            .iter()
            .map(|mark| (mark.glyph, mark.note))
            .collect();
        assert_eq!(glyphs, [("e-ring", None), ("e-no", None)]);
        assert_eq!(
            (erin.absent, erin.title.as_str()),
            (true, "Erin, declined and did not come")
        );
        assert_eq!(
            row(
                &draw_timeline(&fixtures::war_room_call(), &[], &[declined], NOW, None, 0),
                ERIN
            )
            .name,
            "Erin"
        );
    }

    #[test]
    fn a_ring_of_the_evening_before_has_its_day() {
        let related = [
            event(RelatedKind::Ring, ALICE, &[BOB], 15 * 60),
            event(RelatedKind::Ring, ALICE, &["@grace:matrix.example.net"], 40),
        ];
        let picture = draw_timeline(&fixtures::war_room_call(), &[], &related, NOW, None, 0);
        let title = |user_id| row(&picture, user_id).marks[0].title.clone();
        assert!(
            title(BOB).ends_with("21 Nov 2026 23:47:16 UTC"),
            "{}",
            title(BOB)
        );
        assert!(title("@grace:matrix.example.net").ends_with("grace, 14:07:16 UTC"));
    }

    #[test]
    fn what_concerns_the_room_stands_above() {
        let ring = RelatedFacts {
            whole_room: true,
            ..event(RelatedKind::Ring, ALICE, &[BOB], 45)
        };

        let related = [
            ring,
            event(RelatedKind::SlotClosed, ALICE, &[], 20),
            event(RelatedKind::SlotOpened, ALICE, &[], 20),
        ];
        let picture = draw_timeline(&fixtures::war_room_call(), &[], &related, NOW, None, 0);
        let glyphs: Vec<_> = picture.marks.iter().map(|mark| mark.glyph).collect();
        assert_eq!(glyphs, ["e-ring", "e-left"], "two at one moment are one");
        assert!(
            picture.marks[1].title.contains("closed the slot")
                && picture.marks[1].title.contains("opened")
        );
        assert!(row(&picture, BOB).marks.is_empty());
    }

    #[test]
    fn small_rows_keep_their_height_and_strangers_get_none() {
        let related = [event(
            RelatedKind::Ring,
            ALICE,
            &["@person3:server3.example", ERIN],
            45,
        )];
        let picture = draw_timeline(&fixtures::crowd_call(120), &[], &related, NOW, None, 0);
        let rung = row(&picture, "@person3:server3.example");
        assert_eq!((rung.height, rung.marks[0].y), (24, 12));
        assert_eq!(picture.marks.len(), 1, "for the one without a row");
        assert!(
            draw_timeline(&fixtures::crowd_call(300), &[], &related, NOW, None, 0)
                .groups
                .is_empty()
        );
        let many: Vec<String> = (0..100).map(|index| format!("@u{index}:h")).collect();
        let whom: Vec<&str> = many.iter().map(String::as_str).collect();
        let picture = draw_timeline(
            &fixtures::war_room_call(),
            &[],
            &[event(RelatedKind::Ring, ALICE, &whom, 45)],
            NOW,
            None,
            0,
        );
        assert_eq!(
            picture.groups[0]
                .rows
                .iter()
                .filter(|row| row.absent)
                .count(),
            ABSENT_MAX
        );
    }
}
