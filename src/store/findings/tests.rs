//! The findings of calls are stored, whatever else happens to the database.

use super::derive::{self, derive_calls_singly, derive_findings_of_calls, list_next_calls};
use crate::rtc::fold::Rules;
use crate::store::derive::dirty::Dirty;
use crate::store::ingest::batch::Changed;
use crate::store::ingest::write::update_derived;
use crate::store::read::tests::Bed;

const NOW: i64 = 1_800_000_000_000;
const GRACE: i64 = 60_000;

async fn settled(bed: &Bed, id: &str) -> Option<String> {
    let query = "select findings from sessions where id = $1";
    sqlx::query_scalar(query)
        .bind(id)
        .fetch_one(&bed.store.read)
        .await
        .unwrap()
}

/// Two calls that are over, one of which has a stay that cannot be read.
async fn bed_with_bad_call() -> Bed {
    let bed = Bed::new().await;
    bed.call("call", 1000, 2000).await;
    bed.call("bad", 90_000_000, 90_001_000).await;
    bed.stay("@a:h", "'D'", "a", 1000, 2000).await;
    bed.stay("@b:h", "'D'", "b", 90_000_000, 90_001_000).await;
    bed.run(
        "update memberships set session_id = 'bad', end_reason = 'nonsense' where user_id = '@b:h'",
    )
    .await;

    bed
}

#[tokio::test]
async fn a_bad_call_does_not_stop_the_others() {
    let bed = bed_with_bad_call().await;
    let ids = list_next_calls(&bed.store, NOW, GRACE).await.unwrap();
    assert_eq!(ids.len(), 2);
    let together = derive_findings_of_calls(&bed.store, &ids, NOW, GRACE).await;
    assert!(together.is_err(), "a stay cannot be read");

    derive_calls_singly(&bed.store, &ids, NOW, GRACE)
        .await
        .unwrap();
    let (good, bad) = (settled(&bed, "call").await, settled(&bed, "bad").await);
    assert!(!good.unwrap().starts_with("failed"));
    assert!(bad.unwrap().starts_with("failed"));
    let left = list_next_calls(&bed.store, NOW, GRACE).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    let underived = derive::list_underived_calls(&bed.store, NOW, 10).await;
    assert!(underived.unwrap().is_empty(), "it would fail on pages, too");

    let is_outdated = derive::has_outdated_calls(&bed.store, GRACE).await;
    assert!(!is_outdated.unwrap(), "it is not tried again");
    let is_outdated = derive::has_outdated_calls(&bed.store, GRACE + 1).await;
    assert!(is_outdated.unwrap());

    // By other rules it may succeed.
    let again = list_next_calls(&bed.store, NOW, GRACE + 1).await.unwrap();
    assert_eq!(again.len(), 2);
}

#[tokio::test]
async fn what_changes_while_it_is_derived_is_not_settled() {
    let bed = Bed::new().await;
    bed.call("same", 1000, 2000).await;
    bed.call("new", 90_000_000, 90_001_000).await;
    bed.run("update sessions set findings = '' where id = 'same'")
        .await;
    let ids = ["new".to_owned(), "same".to_owned()];
    let mut tx = bed.store.writing().await.unwrap();
    let settled_ids = derive::settle_calls(&mut tx, &ids, "stamp").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(settled_ids.into_iter().collect::<Vec<_>>(), ["same"]);
    assert_eq!(settled(&bed, "same").await.as_deref(), Some("stamp"));
    assert_eq!(settled(&bed, "new").await, None);
}

#[tokio::test]
async fn who_is_in_a_room_changes_the_findings_of_lone_calls() {
    let bed = Bed::new().await;
    bed.call("lone", 1000, 2000).await;
    bed.call("two", 3000, 4000).await;
    bed.run("update sessions set users = 2 where id = 'two'")
        .await;
    let levels = r#"{"content":{"users":{"@a:h":100},"events":{"member":50}}}"#;
    bed.run(&format!(
        "insert into room_rules (room_id, kind, time_ms, event_id, sender, json)
        values ('!r:h', 'm.room.power_levels', 1, '$p', '@a:h', '{levels}')"
    ))
    .await;
    bed.run(
        "insert into call_types (room_id, kind, is_state, last_ms) values ('!r:h', 'member', 1, 5)",
    )
    .await;
    bed.run("update rooms set members_ms = 1").await;

    for user in ["@b:h", "@c:h"] {
        bed.run(&format!(
            "insert into room_members (room_id, user_id, joined, event_ms, event_id)
            values ('!r:h', '{user}', 1, 1, '${user}')"
        ))
        .await;
        for again in [false, true] {
            bed.run("update sessions set findings = 'stamp'").await;
            let mut tx = bed.store.writing().await.unwrap();
            let rules = Rules::default();
            let derivation = bed.store.derivation(&rules);
            let mut dirty = Dirty {
                accounts: true,
                ..Dirty::default()
            };
            update_derived(
                &mut tx,
                derivation,
                "!r:h",
                &mut dirty,
                &mut Changed::default(),
            )
            .await
            .unwrap();
            tx.commit().await.unwrap();
            assert_eq!(settled(&bed, "lone").await.is_some(), again, "{user}");
            assert!(settled(&bed, "two").await.is_some());
        }
    }
}
