//! The address of a shared call shows this call and nothing else, until it ends or is revoked.

use crate::pages::browser::{Browser, by_password};
use crate::pages::site::{NOW, Site};
use callscope::store::sign_in::audit_log::{AuditKind, list_entries};
use std::time::Duration;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// The ids of two calls of the site's room.
async fn two_calls(operator: &mut Browser<'_>) -> [String; 2] {
    let list = operator.get("/api/v1/calls?limit=2").await.text;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();

    [0, 1].map(|row: usize| list["data"][row]["id"].as_str().unwrap().to_owned())
}

/// Makes an address for the call, and returns its path.
async fn share(operator: &mut Browser<'_>, call: &str, names: &str) -> String {
    let form = operator.get(&format!("/admin/share?call={call}")).await;
    let token = form.token();
    let wish = [
        ("token", &*token),
        ("call", call),
        ("names", names),
        ("days", "7"),
    ];
    let made = operator.post("/admin/share/add", &wish).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let (_, address) = made.text.split_once("class=\"secret\">").unwrap();
    let address = address.split('<').next().unwrap();
    let (_, path) = address.split_once("/shared/").unwrap();

    format!("/shared/{path}")
}

#[tokio::test]
async fn whoever_has_the_address_sees_this_call_only() {
    let site = Site::guarded("shared", by_password()).await;
    let mut operator = Browser::of_operator(&site).await;
    let [call, other] = two_calls(&mut operator).await;
    let whole = operator.get(&format!("/calls/{call}")).await.text;
    assert!(whole.contains(&format!("/admin/share?call={call}")));
    let path = share(&mut operator, &call, "yes").await;

    let mut stranger = Browser::new(&site);
    let page = stranger.get(&path).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(page.header("cache-control"), "private, no-store");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert!(page.text.contains("Alice Moreau"), "{}", page.text);
    assert!(!page.text.contains(&other), "the other call");
    for part in ["/rooms/", "/calls/", "/servers/", "/admin", "/status"] {
        let link = format!("href=\"{part}");
        assert!(!page.text.contains(&link), "it leads to {part}");
    }

    assert!(!stranger.sees_all().await, "nothing else is seen");
    assert_eq!(stranger.get(&format!("/calls/{call}")).await.status, 404);
    assert_eq!(stranger.get(&format!("{path}x")).await.status, 404);
    // The operator sees there what others see.
    let own = operator.get(&path).await.text;
    assert!(!own.contains(&other) && !own.contains("/admin"));
}

#[tokio::test]
async fn without_names_people_are_pseudonyms() {
    let site = Site::guarded("shared-nameless", by_password()).await;
    let mut operator = Browser::of_operator(&site).await;
    let [call, _] = two_calls(&mut operator).await;
    let path = share(&mut operator, &call, "no").await;
    let page = Browser::new(&site).get(&path).await;
    assert_eq!(page.status, 200);
    for name in ["Alice", "@alice", "@bob", "other.example", "sfu.example"] {
        assert!(!page.text.contains(name), "{name}: {}", page.text);
    }
}

#[tokio::test]
async fn an_address_ends_and_is_revoked() {
    let site = Site::guarded("shared-end", by_password()).await;
    let mut operator = Browser::of_operator(&site).await;
    let [call, other] = two_calls(&mut operator).await;
    let path = share(&mut operator, &call, "yes").await;
    let lasting = share(&mut operator, &other, "yes").await;
    let mut stranger = Browser::new(&site);
    assert_eq!(stranger.get(&path).await.status, 200);

    let list = operator.get("/admin/share").await;
    let secret = path.strip_prefix("/shared/").unwrap();
    assert!(!list.text.contains(secret), "it is shown once");
    let row = list.text.split("<li>").find(|row| row.contains(&call));
    let (_, id) = row.unwrap().split_once("name=\"link\" value=\"").unwrap();
    let id = id.split('"').next().unwrap();
    let token = list.token();
    let forged = [("link", id)];
    assert_eq!(
        operator.post("/admin/share/revoke", &forged).await.status,
        403
    );
    let revoke = [("token", &*token), ("link", id)];
    assert_eq!(
        operator.post("/admin/share/revoke", &revoke).await.status,
        303
    );
    assert_eq!(stranger.get(&path).await.status, 404, "revoked");
    assert_eq!(stranger.get(&lasting).await.status, 200);
    site.clock.set(NOW + 7 * DAY + 1);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(stranger.get(&lasting).await.status, 404, "expired");

    let log = list_entries(&site.store.sign_ins(), None, 9).await.unwrap();
    let kinds: Vec<AuditKind> = log.entries.iter().map(|entry| entry.kind).collect();
    assert!(kinds.contains(&AuditKind::CallShared) && kinds.contains(&AuditKind::ShareRevoked));
    let metrics = stranger.get("/metrics").await;
    assert_eq!(metrics.status, 401, "{}", metrics.text);
}

#[tokio::test]
async fn only_an_operator_shares() {
    let site = Site::guarded("shared-who", by_password()).await;
    let mut stranger = Browser::new(&site);
    for path in ["/admin/share", "/admin/share/add", "/admin/share/revoke"] {
        assert_eq!(stranger.post(path, &[]).await.status / 100, 4, "{path}");
    }

    assert_eq!(stranger.get("/admin/share").await.status, 404);
    assert_eq!(stranger.get("/shared/").await.status, 404);
}
