//! Receive times that were doubted, restored, or doubted afterwards; on stored events.

use super::*;
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::Rules;
use crate::store::ingest::batch::Arrival;
use crate::store::ingest::write::write_batch_by_clock;
use crate::store::read::tests::{Bed, ROOM};
use serde_json::json;

const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

/// An answer that came at this time by our clock, with one event.
fn answer(seen_ms: i64, event_id: &str, stamp: i64) -> Batch {
    let raw = json!({
        "event_id": event_id, "type": "org.matrix.msc3401.call.member", "sender": "@a:h",
        "state_key": event_id,
        "origin_server_ts": stamp,
        "content": { "application": "m.call", "call_id": "", "device_id": event_id,
        "focus_active": { "type": "livekit" } },
    });
    let mut room = RoomBatch::new(ROOM, Source::Sync);
    room.arrivals.push(Arrival {
        event: RoomEvent::from_json(&raw, Some(seen_ms)).unwrap().into(),
        json: raw.to_string(),
        in_timeline: true,
    });

    Batch {
        vantage_id: "v".to_owned(),
        seen_ms,
        position: None,
        rooms: vec![room],
        invitations: Vec::new(),
    }
}

async fn store(bed: &Bed, batch: &Batch, clock: OurClock) {
    write_batch_by_clock(&bed.store, &Rules::default(), batch, clock)
        .await
        .unwrap();
}

async fn received(bed: &Bed, event_id: &str) -> Option<i64> {
    sqlx::query_scalar("select received_ms from events where event_id = $1")
        .bind(event_id)
        .fetch_one(&bed.store.read)
        .await
        .unwrap()
}

async fn mended(bed: &Bed) -> usize {
    correct_receive_times(&bed.store, None).await.unwrap()
}

/// Our clock while it is off by so many ms; the latest time that it can be, ms.
fn doubted_clock(off_ms: i64, latest_ms: i64) -> OurClock {
    OurClock {
        doubt: Some(ClockDoubt { off_ms, latest_ms }),
        is_confirmed: false,
    }
}

async fn doubted_readings(bed: &Bed) -> i64 {
    let doubts = count_clock_doubts(&bed.store).await.unwrap();
    doubts.readings
}

const SPAN: OwnClockSpan = OwnClockSpan {
    from_ms: NOW,
    to_ms: NOW + 10,
    after_stream: 0,
};

fn withdrawal(after_stream: i64, from_ms: i64, back_by_ms: i64) -> Withdrawal {
    Withdrawal {
        from_ms,
        found_by: ClockWitness::Counting,
        to_ms: NOW + 10,
        back_by_ms,
        after_stream: Some(after_stream),
    }
}

#[tokio::test]
async fn what_of_an_answer_is_written_after_a_step_is_given_back_with_it() {
    let bed = Bed::new().await;
    let doubted = |off_ms| doubted_clock(off_ms, NOW + 1000);
    store(&bed, &answer(NOW - 9, "$other", NOW - 9), doubted(-HOUR)).await;
    store(&bed, &answer(NOW, "$first", NOW), OurClock::default()).await;
    let after_stream = last_stream(&bed.store).await.unwrap();
    // The clock was set at NOW + 5; the answer had begun before.
    store(&bed, &answer(NOW, "$second", NOW), doubted(HOUR)).await;
    store(&bed, &answer(NOW + 8, "$next", NOW), doubted(HOUR)).await;
    withdraw_doubt(&bed.store, withdrawal(after_stream, NOW + 5, 0))
        .await
        .unwrap();
    assert_eq!(mended(&bed).await, 2);
    assert_eq!(received(&bed, "$other").await, None);
    assert_eq!(received(&bed, "$first").await, Some(NOW));
    assert_eq!(received(&bed, "$second").await, Some(NOW));
    assert_eq!(received(&bed, "$next").await, Some(NOW + 8));
}

#[tokio::test]
async fn what_was_doubted_wrongly_gets_its_receive_time_back() {
    let bed = Bed::new().await;
    let doubted = doubted_clock(HOUR, NOW + 1000);
    store(&bed, &answer(NOW, "$a", NOW - 100), doubted).await;
    store(&bed, &answer(NOW + 1, "$future", NOW + 10 * HOUR), doubted).await;
    assert_eq!(received(&bed, "$a").await, None);
    assert_eq!(received(&bed, "$future").await, Some(NOW + 1000));
    assert_eq!(mended(&bed).await, 0, "a rebuild changes nothing of it");
    assert_eq!(doubted_readings(&bed).await, 2);

    // The machine had slept: the right time was an hour later.
    withdraw_doubt(&bed.store, withdrawal(0, NOW, HOUR))
        .await
        .unwrap();
    assert_eq!(mended(&bed).await, 2);
    assert_eq!(received(&bed, "$a").await, Some(NOW + HOUR));
    assert_eq!(received(&bed, "$future").await, Some(NOW + 1 + HOUR));
    assert_eq!(mended(&bed).await, 0);
    assert_eq!(doubted_readings(&bed).await, 0);

    // After all the clock had been an hour ahead.
    record_late_doubt(&bed.store, SPAN, HOUR).await.unwrap();
    assert_eq!(mended(&bed).await, 2);
    assert_eq!(received(&bed, "$a").await, Some(NOW - HOUR));
    assert_eq!(received(&bed, "$future").await, Some(NOW + 1 - HOUR));
}

#[tokio::test]
async fn a_reading_that_only_the_homeserver_confirms_stays_believed_in_a_rebuild() {
    let bed = Bed::new().await;
    let confirmed = OurClock {
        doubt: None,
        is_confirmed: true,
    };
    store(
        &bed,
        &answer(NOW + 24 * HOUR, "$ahead", NOW),
        OurClock::default(),
    )
    .await;
    // The event's stamp proves nothing: that server's clock is wrong.
    store(&bed, &answer(NOW, "$a", NOW + 23 * HOUR), confirmed).await;
    store(&bed, &answer(NOW + 5, "$b", NOW), OurClock::default()).await;
    assert_eq!(received(&bed, "$a").await, Some(NOW));
    assert_eq!(received(&bed, "$b").await, Some(NOW + 5));
    assert_eq!(mended(&bed).await, 0);
    // An answer without new events says nothing about the next one.
    store(&bed, &answer(NOW - HOUR, "$b", NOW), confirmed).await;
    let doubted = doubted_clock(HOUR, NOW + 10);
    store(&bed, &answer(NOW + 9, "$c", NOW), doubted).await;
    mended(&bed).await;
    assert_eq!(received(&bed, "$c").await, None);
}

#[tokio::test]
async fn an_answer_that_is_doubted_and_brings_nothing_new_doubts_nothing_later() {
    let bed = Bed::new().await;
    let confirmed = OurClock {
        doubt: None,
        is_confirmed: true,
    };
    let doubted = doubted_clock(HOUR, NOW + 1000);
    store(&bed, &answer(NOW, "$known", NOW - 100), confirmed).await;
    store(&bed, &answer(NOW + 5, "$known", NOW - 100), doubted).await;
    assert_eq!(doubted_readings(&bed).await, 0);
    store(&bed, &answer(NOW + 10, "$new", NOW), confirmed).await;
    store(&bed, &answer(NOW + 20, "$newer", NOW), confirmed).await;
    assert_eq!(mended(&bed).await, 0);
    assert_eq!(received(&bed, "$new").await, Some(NOW + 10));
    assert_eq!(received(&bed, "$newer").await, Some(NOW + 20));
}

#[tokio::test]
async fn pieces_of_one_answer_are_doubted_each_by_itself() {
    let bed = Bed::new().await;
    let doubted = doubted_clock(HOUR, NOW + 1000);
    store(&bed, &answer(NOW, "$a", NOW), OurClock::default()).await;
    // The clock was set while the answer came.
    store(&bed, &answer(NOW, "$b", NOW), doubted).await;
    store(&bed, &answer(NOW, "$c", NOW), doubted).await;
    store(&bed, &answer(NOW, "$d", NOW), OurClock::default()).await;
    assert_eq!(mended(&bed).await, 0);
    assert_eq!(received(&bed, "$a").await, Some(NOW));
    assert_eq!(received(&bed, "$b").await, None);
    assert_eq!(received(&bed, "$c").await, None);
    assert_eq!(received(&bed, "$d").await, Some(NOW));
}

#[tokio::test]
async fn what_an_earlier_process_read_is_not_doubted_with_this_one() {
    let bed = Bed::new().await;
    let clock = OurClock::default();
    store(&bed, &answer(NOW, "$before", NOW - 100), clock).await;
    let after_stream = last_stream(&bed.store).await.unwrap();
    store(&bed, &answer(NOW + 5, "$now", NOW - 100), clock).await;
    let span = OwnClockSpan {
        after_stream,
        ..SPAN
    };
    record_late_doubt(&bed.store, span, -HOUR).await.unwrap();
    assert_eq!(mended(&bed).await, 1);
    assert_eq!(received(&bed, "$before").await, Some(NOW));
    assert_eq!(received(&bed, "$now").await, None);
}

#[tokio::test]
async fn the_newest_times_at_which_our_clock_was_wrong_are_kept() {
    let bed = Bed::new().await;
    let off = |from_ms| ClockError {
        from_ms,
        to_ms: Some(from_ms + 1),
        off_ms: 5,
        found_by: ClockWitness::Counting,
    };
    let all: Vec<ClockError> = (0..OFFS_MAX + 7).map(off).collect();
    record_clock_errors(&bed.store, &all).await.unwrap();
    let kept = list_clock_errors(&bed.store, i64::MAX).await.unwrap();
    assert_eq!(kept.len(), usize::try_from(OFFS_MAX).unwrap() + 1);
    assert_eq!(kept[0].from_ms, OFFS_MAX + 6);
}
