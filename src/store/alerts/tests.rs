//! The tables of alerts and of the outbox, on both databases.

use super::outbox::{self, Attempt, NewMessage, OutboxState};
use super::state;
use crate::rtc::alert::step::{Alert, AlertChange, AlertKey, AlertState, Telling};
use crate::rtc::alert::{AlertFacts, AlertKind, AlertRoom, Condition};
use crate::store::Writer;
use crate::store::test_database::Database;

async fn open() -> (Database, Writer) {
    let database = Database::new().await;
    let store = Writer::open(database.url()).await.unwrap();

    (database, store)
}

fn message(key: &str, subject: &str) -> NewMessage {
    NewMessage {
        key: key.to_owned(),
        channel: "ops".to_owned(),
        subject: subject.to_owned(),
        thread: subject.to_owned(),
        room_id: "!r:x".to_owned(),
        payload: "{}".to_owned(),
    }
}

fn alert(subject: &str) -> Alert {
    Alert {
        key: AlertKey {
            rule: "r".to_owned(),
            kind: AlertKind::Split,
            subject: subject.to_owned(),
        },
        state: AlertState::Firing,
        condition: Condition {
            kind: AlertKind::Split,
            subject: subject.to_owned(),
            former_subjects: Vec::new(),
            room: Some(AlertRoom {
                room_id: "!r:x".to_owned(),
                alias: None,
                title: Some("Lobby \u{1F600} '".to_owned()),
            }),
            servers: vec!["x".to_owned()],
            severity: AlertKind::Split.severity(),
            since_ms: 5,
            facts: AlertFacts::default(),
        },
        opened_ms: 5,
        seen_ms: 6,
        told_ms: Some(7),
        sequence: 1,
        is_held: true,
        ended_ms: None,
    }
}

fn change(alert: Alert, is_gone: bool) -> AlertChange {
    AlertChange {
        alert,
        is_gone,
        telling: Telling::Nothing,
    }
}

#[tokio::test]
async fn alerts_and_their_messages_are_written_together_or_not_at_all() {
    let (database, store) = open().await;
    let changes = [change(alert("a"), false), change(alert("b"), false)];
    let messages = [message("k1", "a"), message("k2", "b")];
    state::write_changes(&store, &changes, &messages, 10)
        .await
        .unwrap();
    assert_eq!(
        state::list_alerts(&store).await.unwrap(),
        [alert("a"), alert("b")]
    );
    let waiting = outbox::list_waiting(&store, "ops", 10).await.unwrap();
    let keys: Vec<&str> = waiting.iter().map(|one| one.message.key.as_str()).collect();
    assert_eq!(keys, ["k1", "k2"]);

    let gone = [change(alert("a"), true)];
    // Only a file can be made to refuse what is written.
    if database.url().starts_with("sqlite:") {
        store.refuse_writes(true).await.unwrap();
        let refused = state::write_changes(&store, &gone, &[message("k3", "a")], 11).await;
        assert!(refused.is_err());
        store.refuse_writes(false).await.unwrap();
    }

    assert_eq!(state::list_alerts(&store).await.unwrap().len(), 2);
    assert_eq!(
        outbox::list_waiting(&store, "ops", 10).await.unwrap().len(),
        2
    );
    state::write_changes(&store, &gone, &[message("k3", "a")], 11)
        .await
        .unwrap();
    assert_eq!(state::list_alerts(&store).await.unwrap(), [alert("b")]);
    store.close().await;
}

#[tokio::test]
async fn a_message_is_there_once_and_settled_once() {
    let (_database, store) = open().await;
    let both = [message("k1", "a"), message("k2", "a")];
    for _ in 0..2 {
        outbox::add_messages(&store, &both, 10).await.unwrap();
    }

    let again = Attempt::Again {
        due_ms: 50,
        why: "down\0".to_owned(),
    };
    outbox::record_attempt(&store, "k1", &again, 11)
        .await
        .unwrap();
    let waiting = outbox::list_waiting(&store, "ops", 10).await.unwrap();
    assert_eq!(waiting.len(), 2);
    assert_eq!((waiting[0].due_ms, waiting[0].attempts), (50, 1));
    let sent = Attempt::Sent {
        receipt: Some("$e".to_owned()),
    };
    outbox::record_attempt(&store, "k1", &sent, 60)
        .await
        .unwrap();
    let failed = Attempt::Failed {
        why: "late".to_owned(),
    };
    outbox::record_attempt(&store, "k1", &failed, 61)
        .await
        .unwrap();
    outbox::record_attempt(&store, "k2", &failed, 61)
        .await
        .unwrap();
    let newest = outbox::list_newest(&store, 10).await.unwrap();
    let states: Vec<OutboxState> = newest.iter().map(|one| one.state).collect();
    assert_eq!(states, [OutboxState::Failed, OutboxState::Sent]);
    let receipt = outbox::first_receipt(&store, "ops", "a").await.unwrap();
    assert_eq!(receipt.as_deref(), Some("$e"));
    assert_eq!(
        outbox::sent_times(&store, "ops", 0, 100).await.unwrap(),
        [60]
    );
    assert!(
        outbox::sent_times(&store, "ops", 60, 100)
            .await
            .unwrap()
            .is_empty()
    );

    assert!(
        !outbox::delete_old(&store, outbox::KEPT_MS, 61 + outbox::KEPT_MS)
            .await
            .unwrap()
    );
    assert_eq!(outbox::list_newest(&store, 10).await.unwrap().len(), 1);
    store.close().await;
}

#[tokio::test]
async fn many_messages_become_one_in_one_transaction() {
    let (_database, store) = open().await;
    let all: Vec<NewMessage> = (0..30)
        .map(|number| message(&format!("k{number}"), "a"))
        .collect();
    outbox::add_messages(&store, &all, 10).await.unwrap();
    let keys: Vec<String> = all.iter().skip(1).map(|one| one.key.clone()).collect();
    outbox::tell_in_one(&store, &keys, &message("sum", "flood"), 11)
        .await
        .unwrap();
    let waiting = outbox::list_waiting(&store, "ops", 100).await.unwrap();
    let left: Vec<&str> = waiting.iter().map(|one| one.message.key.as_str()).collect();
    assert_eq!(left, ["k0", "sum"]);
    let counts = outbox::count_messages(&store).await.unwrap();
    assert_eq!((counts.len(), counts[0].count), (1, 2));
    let others = ["other".to_owned()];
    let given_up = outbox::give_up_other_channels(&store, &others, 12).await;
    assert_eq!(given_up.unwrap(), 2);
    store.close().await;
}

#[tokio::test]
async fn a_rule_that_comes_back_is_new() {
    let (_database, store) = open().await;
    let key = ("r".to_owned(), AlertKind::CallBegan);
    let sights = async |rules: &[(String, AlertKind)], now| {
        state::record_first_sights(&store, rules, now)
            .await
            .unwrap();
        state::read_first_sights(&store).await.unwrap()
    };
    assert_eq!(sights(std::slice::from_ref(&key), 10).await[&key], 10);
    assert_eq!(sights(std::slice::from_ref(&key), 20).await[&key], 10);
    assert!(sights(&[], 30).await.is_empty());
    assert_eq!(sights(std::slice::from_ref(&key), 40).await[&key], 40);
    store.close().await;
}
