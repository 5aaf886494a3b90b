//! Events that a stored one replaced and that cannot be obtained.

use crate::store::*;
use callscope::rtc::words::JobEnd;

/// An event that names an unavailable one.
pub async fn of_the_missing_events(store: &Writer) {
    let mut leave = joined();
    (leave["event_id"], leave["content"]) = ("$l".into(), json!({}));
    (leave["origin_server_ts"], leave["unsigned"]) =
        (LATER.into(), json!({"replaces_state": "$unseen"}));
    let mut other = batch(arrivals(&[leave]));
    other.rooms[0].room_id = "!unread:h0".into();
    write_batch(store, &Rules::default(), &other).await.unwrap();
    missing_events::find_missing_events(store, None)
        .await
        .unwrap();
    missing_events::find_missing_events(store, Some(LATER))
        .await
        .unwrap();
    let todo = job::list_due_jobs(store, JobTurn::Event, 1).await.unwrap();
    assert_eq!(
        todo.iter()
            .map(|missing| missing.event_id.as_str())
            .collect::<Vec<_>>(),
        ["$unseen"]
    );
    job::postpone_job(store, &todo[0], JobEnd::NotVisible, 1)
        .await
        .unwrap();
    assert_eq!(
        job::next_due_time(store, 1).await.unwrap(),
        Some(10_001),
        "it is asked for again"
    );
}
