//! The geometry of the timeline: rows, lanes, bars, glyphs, notes, and what happens when there is
//! too much.

use super::*;
use crate::rtc::words::EndReason;
use crate::web::fixtures;

fn timeline(call: &CallFacts) -> Timeline {
    draw_timeline(call, &[], &[], fixtures::NOW, None, 0)
}

fn row<'a>(picture: &'a Timeline, name: &str) -> &'a TimelineRow {
    picture
        .groups
        .iter()
        .flat_map(|group| &group.rows)
        .find(|row| row.name == name)
        .unwrap()
}

#[test]
fn a_row_a_person_and_a_lane_a_device() {
    let picture = timeline(&fixtures::war_room_call());
    assert_eq!(picture.groups.len(), 1);
    assert_eq!(picture.groups[0].rows[0].name, "Alice Moreau");
    let alice = row(&picture, "Alice Moreau");
    assert_eq!((alice.height, alice.bars.len()), (52, 2));
    assert_eq!(
        (alice.bars[0].y, alice.bars[1].y, alice.bars[0].h),
        (8, 30, 14)
    );
    assert_eq!(alice.bars[0].chip, Some(("A".to_owned(), 0)));
    assert_eq!(alice.notes[0].text, "this device left");
    assert_eq!(row(&picture, "Bob").height, 30);
}

#[test]
fn ends_have_their_glyphs_and_a_running_stay_has_none() {
    let picture = timeline(&fixtures::war_room_call());
    let bob = row(&picture, "Bob");
    assert_eq!(
        bob.glyphs
            .iter()
            .map(|glyph| glyph.ending)
            .collect::<Vec<_>>(),
        [Ending::Lost]
    );
    let last = bob.bars.last().unwrap();
    assert!((last.x.0 + last.w.0 - picture.now_x.unwrap().0).abs() < 0.001);
    let carol = row(&picture, "Carol Okafor");
    assert_eq!(carol.bars[1].chip, Some(("A".to_owned(), 6)));
    assert_eq!(carol.glyphs[0].ending.glyph(), "e-move");
    assert!(
        carol.notes.is_empty(),
        "no room between two bars that touch"
    );
    assert!(picture.key.contains(&Ending::Lost));
}

#[test]
fn glyphs_that_would_touch_become_one_that_tells_both() {
    let mut call = fixtures::war_room_call();
    let mut stay = call.members[1].clone();
    let start = stay.joined_ms;
    call.members.clear();
    for (from, to, reason) in [
        (0, 600, EndReason::Left),
        (605, 610, EndReason::DelayedLeave),
    ] {
        stay.joined_ms = start + from * 1000;
        stay.left_ms = Some(start + to * 1000);
        stay.end_reason = Some(reason);
        call.members.push(stay.clone());
    }

    let picture = timeline(&call);
    let row = &picture.groups[0].rows[0];
    assert_eq!((row.bars.len(), row.glyphs.len()), (2, 1));
    assert_eq!(row.glyphs[0].ending, Ending::Lost);
    assert!(
        row.glyphs[0].title.contains("left") && row.glyphs[0].title.contains("lost connection")
    );
    assert_eq!(row.notes.len(), 1);
}

#[test]
fn who_left_just_now_has_no_note_across_now() {
    let mut call = fixtures::war_room_call();
    let noted = |call: &CallFacts| row(&timeline(call), "Bob").notes.len();
    call.members.retain(|stay| stay.left_ms.is_some());
    assert_eq!(noted(&call), 1);
    let bob = call
        .members
        .iter_mut()
        .find(|stay| stay.name.as_deref() == Some("Bob"))
        .unwrap();
    (bob.left_ms, bob.end_reason) = (Some(fixtures::NOW - 100_000), Some(EndReason::Left));
    assert_eq!(noted(&call), 0);
}

#[test]
fn who_came_just_now_is_seen_and_not_beyond_now() {
    for people in [3, 60] {
        let mut call = fixtures::crowd_call(people);
        call.members[1].joined_ms = fixtures::NOW;
        call.members[2].joined_ms = fixtures::NOW - 2000;
        call.members[2].left_ms = Some(fixtures::NOW - 1000);
        let picture = timeline(&call);
        let now = picture.now_x.unwrap().0;
        for bar in picture
            .groups
            .iter()
            .flat_map(|group| &group.rows)
            .flat_map(|row| &row.bars)
        {
            assert!(
                bar.w.0 > 0.2 && bar.x.0 + bar.w.0 <= now + 0.001,
                "{bar:?} {now}"
            );
        }
    }
}

#[test]
fn touching_stays_on_one_sfu_are_one_bar_with_a_seam() {
    let mut call = fixtures::war_room_call();
    let mut first = call.members[0].clone();
    first.left_ms = Some(first.joined_ms + 1_000_000);
    first.end_reason = Some(EndReason::Superseded);
    let mut second = call.members[0].clone();
    second.joined_ms = first.joined_ms + 1_000_000;
    call.members = vec![first, second];
    let mut picture = timeline(&call);
    assert_eq!(picture.ticked(), Some("Begun anew"), "nothing was renewed");
    let row = picture.groups.remove(0).rows.remove(0);
    assert_eq!(
        (row.bars.len(), row.bars[0].ticks.len(), row.glyphs.len()),
        (1, 1, 0)
    );
}

#[test]
fn renewals_are_ticks_with_room_between_them() {
    let call = fixtures::war_room_call();
    let alice = &call.members[0];
    let renewal = |seconds: i64| Renewal {
        user_id: alice.user_id.clone(),
        device_id: alice.device_id.clone(),
        ms: alice.joined_ms + seconds * 1000,
    };

    let renewals: Vec<_> = [-5, 0, 600, 601, 1200, 999_999].map(renewal).into();
    let picture = draw_timeline(&call, &renewals, &[], fixtures::NOW, None, 0);
    assert_eq!(row(&picture, "Alice Moreau").bars[0].ticks.len(), 2);
    assert_eq!(picture.ticked(), Some("Renewed"));
}

#[test]
fn many_people_are_small_rows_by_server_and_very_many_an_area() {
    let picture = timeline(&fixtures::crowd_call(60));
    assert!(picture.dense && picture.area.is_none());
    assert!(picture.groups.len() > 1 && picture.groups.iter().all(|group| group.server.is_some()));
    let row = &picture.groups[0].rows[0];
    assert_eq!(
        (
            row.height,
            row.bars[0].h,
            row.bars[0].chip.is_none(),
            row.notes.len()
        ),
        (24, 8, true, 0)
    );
    let picture = timeline(&fixtures::crowd_call(201));
    assert!(picture.groups.is_empty());
    // It runs: the steps end now, for what comes then nobody knows.
    assert_eq!(
        (picture.axis.to, picture.now_x),
        (fixtures::NOW, Some(Num(100.0)))
    );
    let lines: Vec<String> = picture
        .area
        .unwrap()
        .lines
        .into_iter()
        .map(|line| line.label)
        .collect();
    assert_eq!(lines, ["0", "100", "200"]);
}

#[test]
fn what_is_drawn_has_an_end() {
    let mut call = fixtures::war_room_call();
    let stay = call.members[1].clone();
    call.members = (0..5000)
        .map(|index| {
            let mut stay = stay.clone();
            stay.device_id = Some(format!("D{}", index % 40));
            stay.joined_ms += index * 60_000;
            stay.left_ms = Some(stay.joined_ms + 30_000);
            stay
        })
        .collect();
    let picture = timeline(&call);
    let bars: usize = picture.groups[0].rows[0].bars.len();
    assert!(bars <= BARS_MAX, "{bars}");
    assert_eq!(picture.hidden + bars, 5000);
    assert!(picture.groups[0].rows[0].height < 300);
}

#[test]
fn times_at_the_ends_of_the_calendar_stay_in_the_picture() {
    let mut call = fixtures::war_room_call();
    call.started_ms = 0;
    call.members[0].joined_ms = 0;
    call.members[1].joined_ms = i64::MIN / 2;
    call.members[2].left_ms = Some(i64::MAX);
    let picture = timeline(&call);
    for bar in picture
        .groups
        .iter()
        .flat_map(|group| &group.rows)
        .flat_map(|row| &row.bars)
    {
        assert!((0.0..=100.0).contains(&bar.x.0) && (0.0..=100.0).contains(&(bar.x.0 + bar.w.0)));
    }

    assert!(picture.ticks.len() <= 9);
}

#[test]
fn words_of_strangers_are_harmless() {
    assert_eq!(end_reason_words(EndReason::DelayedLeave), "lost connection");
}
