//! What the pages of SFUs and of a room show for missing and for unknown data.

use super::*;
use crate::rtc::words::JobEnd;
use crate::store::stats::transport_usage::TransportUsage;

fn carried(service_url: Option<String>, together_ms: i64) -> TransportUsage {
    TransportUsage {
        kind: "livekit".to_owned(),
        service_url,
        together_ms,
        calls: 2,
        ..TransportUsage::default()
    }
}

#[test]
fn no_two_sfus_of_the_list_have_one_colour_while_others_are_free() {
    // The first two have the same preferred colour.
    let names = [
        "call.verein.example/livekit",
        "rtc.hackerspace.example/livekit",
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
    ];
    let rows = names
        .iter()
        .zip(0..)
        .map(|(name, index)| carried(Some(format!("https://{name}/jwt")), 100 - index));
    let mut page = transports::transports_page(rows.collect(), 0, period::Period { days: 30 }, NOW);
    let colour = |row: &transports::TransportRow| row.paint().plain();
    let colours: Vec<_> = page.data.iter().map(colour).collect();
    for slot in 1..=8 {
        assert!(
            colours.contains(&format!("var(--sfu-{slot})")),
            "{colours:?}"
        );
    }

    page.data.drain(..3);
    assert_eq!(
        page.data.iter().map(colour).collect::<Vec<_>>(),
        colours[3..],
        "the next page has the same colours"
    );
}

#[test]
fn what_carried_nobody_is_not_said_to_have_carried() {
    let rows = vec![
        carried(Some("https://sfu.example".to_owned()), 3 * HOUR),
        carried(None, 2 * HOUR),
    ];
    let page = html(&transports::transports_page(
        rows,
        0,
        period::Period { days: 30 },
        NOW,
    ));
    assert!(
        page.contains(">SFU<") && page.contains("3 h 00 carried. 1 more entry"),
        "{page}"
    );
    assert!(
        !page.contains("carry nobody") && page.contains("</bdi> <span class=\"pill warn\">"),
        "{page}"
    );
    assert_eq!(page.matches("named, not carried").count(), 1);
}

/// A room that is known from the 38th day on, with calls on two of the last days.
fn known(cover: Vec<Interval>) -> room::RoomPage {
    let year = vec![(NOW - 2 * DAY, 3), (NOW - DAY, 2)];
    room::room_page(
        rooms().remove(1),
        Vec::new(),
        year,
        Vec::new(),
        cover,
        month(),
    )
}

#[test]
fn days_before_the_room_are_no_days_without_a_call() {
    let part = |from, to, cover| Interval {
        span: Span { from, to },
        cover,
    };

    let page = html(&known(vec![part(NOW - 37 * DAY, NOW, Cover::Live)]));
    assert!(page.contains("2 of 38"), "{page}");
    assert_eq!(
        page.matches("<svg class=\"heat\"").count(),
        1,
        "half a year of which nothing is known is left out"
    );
    let page = html(&known(vec![
        part(NOW - 37 * DAY, NOW - 20 * DAY, Cover::NotVisible),
        part(NOW - 20 * DAY, NOW, Cover::Live),
    ]));
    assert!(
        page.contains("2 of 21") && page.contains("class=\"hx\""),
        "hidden days are hatched, not without a call"
    );
}

#[test]
fn history_is_hidden_or_read_to_its_beginning_and_never_both() {
    let part = |from, to, cover| Interval {
        span: Span { from, to },
        cover,
    };

    let hidden = "before it, history is hidden from us";
    let page = |until| {
        let mut page = known(vec![
            part(NOW - 37 * DAY, until, Cover::NotVisible),
            part(until, NOW, Cover::Live),
        ]);
        page.walks = vec![walks::done(JobEnd::Beginning).into()];
        html(&page)
    };

    let moments = page(NOW - 37 * DAY + MINUTE);
    assert!(
        !moments.contains(hidden) && moments.contains("read to the room’s beginning"),
        "a minute is no time"
    );
    let weeks = page(NOW - 20 * DAY);
    assert!(weeks.contains(hidden) && !weeks.contains("read to the room’s beginning"));
    assert!(weeks.contains("read as far as we may see"));
}
