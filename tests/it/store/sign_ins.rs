//! Sessions, keys and the log of both, on each database.

use crate::support::database::Database;
use callscope::store::sign_in::api_keys::{self, ApiKey, KeyScope};
use callscope::store::sign_in::audit_log::{self, AuditEntry, AuditKind};
use callscope::store::sign_in::operator_secret;
use callscope::store::sign_in::sessions::{self, IDLE_MAX_MS, LENGTH_MAX_MS, Session};
use callscope::store::sign_in::sessions::{SessionIdentity, SignInWay};
use callscope::store::{SignIns, Writer};

const NOW: i64 = 1_795_358_836_000;

async fn open() -> (Database, SignIns) {
    let database = Database::new().await;
    let store = Writer::open(database.url()).await.unwrap();
    let sign_ins = store.sign_ins();
    (database, sign_ins)
}

fn session(hash: &str, identity: SessionIdentity) -> Session {
    Session {
        id_hash: hash.into(),
        identity,
        way: SignInWay::Password,
        address: "192.0.2.1".into(),
        created_ms: NOW,
        room_id: None,
        last_seen_ms: NOW,
    }
}

#[tokio::test]
async fn another_password_ends_the_sessions_of_the_former_one() {
    let (_database, sign_ins) = open().await;
    let by_code = Session {
        way: SignInWay::Code,
        ..session("code", SessionIdentity::User("@a:b".into()))
    };
    for session in [&session("one", SessionIdentity::Operator), &by_code] {
        sessions::add_session(&sign_ins, session).await.unwrap();
    }

    let start = async |fingerprint: &str| {
        operator_secret::end_sessions_of_former_secret(&sign_ins, fingerprint)
            .await
            .unwrap()
    };
    assert_eq!(
        start("a").await,
        1,
        "it is not known of whose password they are"
    );
    assert_eq!(start("a").await, 0);
    let other = session("two", SessionIdentity::Operator);
    sessions::add_session(&sign_ins, &other).await.unwrap();
    assert_eq!(start("b").await, 1);
    assert_eq!(start("b").await, 0);
    let left = sessions::list_sessions(&sign_ins, NOW).await.unwrap();
    assert_eq!(left, [by_code]);

    assert_eq!(
        operator_secret::read_token_hash(&sign_ins).await.unwrap(),
        None
    );
    operator_secret::set_token_hash(&sign_ins, "x")
        .await
        .unwrap();
    operator_secret::set_token_hash(&sign_ins, "y")
        .await
        .unwrap();
    let hash = operator_secret::read_token_hash(&sign_ins).await.unwrap();
    assert_eq!(hash.as_deref(), Some("y"));
}

#[tokio::test]
async fn a_session_ends_by_itself_and_by_hand() {
    let (_database, sign_ins) = open().await;
    let one = session("one", SessionIdentity::Operator);
    let two = session("two", SessionIdentity::User("@a:b".into()));
    for session in [&one, &two] {
        sessions::add_session(&sign_ins, session).await.unwrap();
    }

    let find = async |hash: &str, now| sessions::find_session(&sign_ins, hash, now).await.unwrap();
    assert_eq!(find("one", NOW).await, Some(one.clone()));
    assert_eq!(find("two", NOW).await, Some(two));
    assert_eq!(find("tw", NOW).await, None);
    assert_eq!(find("one", NOW + IDLE_MAX_MS).await, None);

    // What is less than a minute new is not written.
    sessions::note_request(&sign_ins, "one", NOW + 59_999)
        .await
        .unwrap();
    assert_eq!(find("one", NOW).await, Some(one));
    let mut seen = NOW;
    while seen + IDLE_MAX_MS < NOW + LENGTH_MAX_MS {
        seen += IDLE_MAX_MS - 1;
        sessions::note_request(&sign_ins, "one", seen)
            .await
            .unwrap();
        assert_eq!(find("one", seen).await.unwrap().last_seen_ms, seen);
    }

    assert!(find("one", NOW + LENGTH_MAX_MS - 1).await.is_some());
    assert!(find("one", NOW + LENGTH_MAX_MS).await.is_none());

    assert!(sessions::end_session(&sign_ins, "two").await.unwrap());
    assert!(!sessions::end_session(&sign_ins, "two").await.unwrap());
    assert_eq!(
        sessions::list_sessions(&sign_ins, seen)
            .await
            .unwrap()
            .len(),
        1
    );
    sessions::delete_ended_sessions(&sign_ins, NOW + LENGTH_MAX_MS)
        .await
        .unwrap();
    assert_eq!(sessions::end_all_sessions(&sign_ins).await.unwrap(), 0);
}

#[tokio::test]
async fn keys_are_found_by_their_hash_and_revoked_once() {
    let (_database, sign_ins) = open().await;
    let key = |id: &str, expires_ms| ApiKey {
        id: id.into(),
        name: "Grafana 'ü'".into(),
        scope: KeyScope::Metrics,
        created_ms: NOW,
        expires_ms,
        revoked_ms: None,
        last_used_ms: None,
    };
    let (one, two) = (key("1", None), key("2", Some(NOW + 10)));
    for key in [&one, &two] {
        let hash = format!("hash {}", key.id);
        api_keys::add_key(&sign_ins, key, &hash, None)
            .await
            .unwrap();
    }

    let found = api_keys::find_key(&sign_ins, "hash 2").await.unwrap();
    assert_eq!(found, Some(two.clone()));
    assert!(two.is_good(NOW + 9) && !two.is_good(NOW + 10) && one.is_good(i64::MAX));
    assert_eq!(api_keys::find_key(&sign_ins, "2").await.unwrap(), None);

    api_keys::note_use(&sign_ins, &one, NOW, "192.0.2.1")
        .await
        .unwrap();
    let used = api_keys::find_key(&sign_ins, "hash 1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(used.last_used_ms, Some(NOW));
    assert!(!api_keys::is_use_due(&used, NOW + 59_999));
    assert!(api_keys::is_use_due(&used, NOW + 60_000));

    let revoked = api_keys::revoke_key(&sign_ins, "1", NOW + 5, None)
        .await
        .unwrap();
    assert!(!revoked.unwrap().is_good(NOW + 5));
    assert_eq!(
        api_keys::revoke_key(&sign_ins, "1", NOW, None)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        api_keys::revoke_key(&sign_ins, "3", NOW, None)
            .await
            .unwrap(),
        None
    );
    let keys = api_keys::list_keys(&sign_ins).await.unwrap();
    let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    assert_eq!(ids, ["2", "1"], "those that are revoked come last");

    let log = audit_log::list_entries(&sign_ins, None, 10).await.unwrap();
    let kinds: Vec<AuditKind> = log.entries.iter().map(|entry| entry.kind).collect();
    let (added, used, revoked) = (
        AuditKind::KeyAdded,
        AuditKind::KeyUsed,
        AuditKind::KeyRevoked,
    );
    assert_eq!(kinds, [revoked, used, added, added]);
}

#[tokio::test]
async fn the_log_is_read_in_parts_and_kept_for_180_days() {
    let (_database, sign_ins) = open().await;
    let entry = |at_ms| AuditEntry {
        at_ms,
        kind: AuditKind::SignIn,
        identity: Some("operator".into()),
        detail: None,
        address: Some("2001:db8::1".into()),
    };
    for at in 0..7 {
        audit_log::record_entry(&sign_ins, &entry(NOW + at))
            .await
            .unwrap();
    }

    let mut found = Vec::new();
    let mut place = None;
    loop {
        let page = audit_log::list_entries(&sign_ins, place, 3).await.unwrap();
        found.extend(page.entries.iter().map(|entry| entry.at_ms - NOW));
        place = page.older;
        if place.is_none() {
            break;
        }
    }

    assert_eq!(found, [6, 5, 4, 3, 2, 1, 0]);
    let late = NOW + 3 + 180 * 24 * 60 * 60 * 1000;
    audit_log::record_entry(&sign_ins, &entry(late))
        .await
        .unwrap();
    let page = audit_log::list_entries(&sign_ins, None, 10).await.unwrap();
    let left: Vec<i64> = page.entries.iter().map(|entry| entry.at_ms - NOW).collect();
    assert_eq!(left, [late - NOW, 6, 5, 4]);

    let many = (0..8).map(|_| {
        let sign_ins = sign_ins.clone();
        tokio::spawn(async move { audit_log::record_entry(&sign_ins, &entry(late)).await })
    });
    for added in many.collect::<Vec<_>>() {
        added.await.unwrap().unwrap();
    }

    let page = audit_log::list_entries(&sign_ins, None, 50).await.unwrap();
    assert_eq!(page.entries.len(), 12);
}
