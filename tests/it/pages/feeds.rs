//! A secret address of a feed shows what its owner may see, in feeds and nowhere else.

use crate::pages::browser::{Browser, by_password, by_user_header};
use crate::pages::site::{ROOM, Site, event, quote};
use serde_json::json;

/// Makes a secret address, and returns its key.
async fn make_key(person: &mut Browser<'_>) -> String {
    let token = person.get("/feeds").await.token();
    let made = person.post("/feeds/renew", &[("token", &*token)]).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let (_, rest) = made.text.split_once("/feed/calls.atom?key=").unwrap();

    rest.split('<').next().unwrap().to_owned()
}

#[tokio::test]
async fn the_operators_address_shows_all_calls_until_it_is_renewed() {
    let site = Site::guarded("feeds", by_password()).await;
    let mut operator = Browser::of_operator(&site).await;
    let key = make_key(&mut operator).await;
    let mut reader = Browser::new(&site);
    let room = format!("/feed/rooms/{}/calls.ics", quote(ROOM));
    for feed in ["/feed/calls.atom", "/feed/calls.ics", &room] {
        let feed = reader.get(&format!("{feed}?limit=5&key={key}")).await;
        assert_eq!(feed.status, 200, "{}", feed.text);
        assert!(feed.text.contains("War "), "{}", feed.text);
        assert!(!feed.text.contains(&key), "the key is in the feed");
        assert_eq!(feed.header("cache-control"), "private, no-store");
    }

    let empty = reader.get("/feed/calls.atom").await;
    assert!(!empty.text.contains("War "), "{}", empty.text);
    for elsewhere in ["/calls", "/api/v1/calls", "/admin", "/metrics"] {
        let answer = reader.get(&format!("{elsewhere}?key={key}")).await;
        answer.tells_nothing(elsewhere);
    }
    let mut program = Browser::with(&site, "x-api-key", &key);
    program.get("/calls").await.tells_nothing("/calls");
    let page = operator.get("/feeds").await;
    assert!(page.text.contains("last used") && !page.text.contains(&key));

    let renewed = make_key(&mut operator).await;
    let feed = async |reader: &mut Browser<'_>, key: &str| {
        reader
            .get(&format!("/feed/calls.atom?key={key}"))
            .await
            .status
    };
    assert_eq!(feed(&mut reader, &key).await, 401, "the old one");
    assert_eq!(feed(&mut reader, &renewed).await, 200);
    let token = operator.get("/feeds").await.token();
    assert_eq!(operator.post("/feeds/delete", &[]).await.status, 403);
    let ended = operator.post("/feeds/delete", &[("token", &*token)]).await;
    assert_eq!(ended.status, 303);
    assert_eq!(feed(&mut reader, &renewed).await, 401, "ended");
    assert_eq!(feed(&mut reader, "").await, 401);
}

#[tokio::test]
async fn a_persons_address_shows_what_the_person_may_see() {
    let site = Site::guarded("feeds-of-people", by_user_header()).await;
    let joined = json!({"membership": "join"});
    let alice = "@alice:example.org";
    let join = event("$in", "m.room.member", alice, alice, 59, joined);
    site.write_to(ROOM, vec![join]).await;
    let mut member = Browser::with(&site, "x-user", alice);
    let mut outsider = Browser::with(&site, "x-user", "@nobody:example.org");
    let (of_member, of_outsider) = (make_key(&mut member).await, make_key(&mut outsider).await);
    let mut reader = Browser::new(&site);
    let seen = reader
        .get(&format!("/feed/calls.atom?key={of_member}"))
        .await;
    assert!(seen.text.contains("War "), "{}", seen.text);
    let other = reader
        .get(&format!("/feed/calls.atom?key={of_outsider}"))
        .await;
    other.tells_nothing("/feed/calls.atom");

    let mut stranger = Browser::new(&site);
    let page = stranger.get("/feeds").await;
    assert!(page.status == 200 && !page.text.contains("<form"));
    assert_eq!(stranger.post("/feeds/renew", &[]).await.status, 404);
}
