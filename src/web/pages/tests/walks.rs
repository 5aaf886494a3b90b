//! The progress of reading history, on the room's page and on the status page.

use super::*;
use crate::rtc::words::{JobEnd, JobKind};
use crate::store::ingest::history_jobs::job::HistoryJob;
use crate::store::read::history_progress::ReadProgress;
use crate::web::view::WalkFacts;

/// A read with most of the time left.
pub fn history() -> ReadProgress {
    let room = RoomName {
        room_id: NASTY.to_owned(),
        name: Some(NASTY.to_owned()),
        alias: None,
        people_title: None,
    };

    ReadProgress {
        room,
        created_ms: Some(NOW - MINUTE - 1000 * DAY),
        job: HistoryJob {
            opened_ms: NOW - MINUTE,
            due_ms: Some(0),
            reached_ms: Some(NOW - MINUTE - 250 * DAY),
            pages: 40,
            found: 9000,
            spent_ms: 60_000,
            ..HistoryJob::default()
        },
    }
}

/// The same, done.
pub fn done(ended_by: JobEnd) -> ReadProgress {
    let mut read = history();
    read.job.done_ms = Some(NOW - 1000);
    read.job.ended_by = Some(ended_by);
    read.job.due_ms = None;

    read
}

/// A read that ended because the homeserver returned no more.
pub fn short() -> ReadProgress {
    let mut read = done(JobEnd::NoMore);
    read.job.due_ms = Some(NOW + 5 * MINUTE);
    read.job.tries = 2;

    read
}

/// A read that has not begun.
pub fn gap() -> ReadProgress {
    ReadProgress {
        room: fixtures::room_name("Lobby", "#lobby:example.org"),
        created_ms: None,
        job: HistoryJob {
            kind: JobKind::Gap,
            opened_ms: NOW - 2000,
            due_ms: Some(0),
            since_ms: Some(NOW - HOUR),
            ..HistoryJob::default()
        },
    }
}

#[test]
fn what_is_being_read_says_how_far_it_is() {
    let page = html(&status());
    assert!(
        page.contains("2 rooms of 42 still; 900 pages and 80,000 events so far, 150 a second now"),
        "{page}"
    );
    assert!(page.contains("40 pages, 9,000 events"));
    assert!(
        page.contains(
            "about 75 % of the time still ahead, about 3 min at this pace, 150 events a second"
        ),
        "{page}"
    );
    assert!(page.contains("Not begun</span>") && !page.contains("100 % of the time"));
    assert!(
        page.contains("id=\"walks-short\"") && page.contains("gave no more; it is asked again"),
        "{page}"
    );
    let room = html(&one_room());
    assert!(
        room.contains("being read, 40 pages, 9,000 events; back to")
            && room.contains("about 75 % of the time")
    );
    assert!(room.contains("<dt>Gap</dt>"));
    let mut quiet = status();
    quiet.walks.clear();
    assert!(
        !html(&quiet).contains("id=\"walks\""),
        "nothing to read, nothing to say"
    );
}

#[test]
fn a_read_that_is_done_says_why() {
    let mut page = one_room();
    // Nothing may be hidden: otherwise the beginning would not count as read.
    page.coverage.retain(|interval| !interval.is_blind());

    for (why, words) in [
        (JobEnd::Beginning, "read to the room’s beginning, 40 pages"),
        (JobEnd::Horizon, "read as far back as configured"),
        (JobEnd::NotVisible, "read as far as we may see"),
        (JobEnd::NoMore, "the homeserver gave no more"),
        (JobEnd::Circle, "turn in a circle"),
        (JobEnd::Endless, "page after page with nothing new"),
        (JobEnd::Refused, "refuses more"),
    ] {
        page.walks = vec![WalkFacts::from(done(why))];
        let html = html(&page);
        assert!(
            html.contains(words) && !html.contains("still ahead") && !html.contains("<dt>Gap</dt>"),
            "{why}"
        );
    }
}

#[test]
fn json_says_the_same() {
    let walk = serde_json::to_value(WalkFacts::from(history())).unwrap();
    assert_eq!(
        (
            &walk["ahead_percent"],
            &walk["ahead_ms"],
            &walk["events_per_second"]
        ),
        (&75.into(), &180_000.into(), &150.into())
    );
    assert!(
        walk["done_ms"].is_null() && walk["ended_by"].is_null() && walk["reached_at"].is_string()
    );
    let again = serde_json::to_value(WalkFacts::from(short())).unwrap();
    assert_eq!(
        (&again["tries"], &again["again_ms"]),
        (&2.into(), &(NOW + 5 * MINUTE).into())
    );
    let status = serde_json::to_value(status()).unwrap();
    assert_eq!(status["walks_short"][0]["ended_by"], "no_more");
    assert_eq!(
        (
            &status["history"]["rooms_open"],
            &status["walks"][1]["events"]
        ),
        (&2.into(), &9000.into())
    );
}
