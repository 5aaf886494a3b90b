//! Rooms without a name are named by their people, for those who may see the people.

use crate::pages::browser::{USER_HEADER, by_user_header};
use crate::pages::site::{CALL, NOW, Site, event, quote};
use callscope::rtc::fold::Rules;
use callscope::rtc::forgotten::ForgottenKind;
use callscope::store::derive::room_titles::add_missing_titles;
use callscope::store::rights::forget::{NameToForget, forget_name};
use serde_json::{Value, json};

const DIRECT: &str = "!direct:example.org";
const OPEN: &str = "!open:example.org";
const ADA: &str = "@ada:example.org";
const BEN: &str = "@ben:other.example";

/// Membership of the room with a display name.
fn member(id: &str, user: &str, name: &str, membership: &str, minutes_ago: i64) -> Value {
    let content = json!({"membership": membership, "displayname": name});

    event(id, "m.room.member", user, user, minutes_ago, content)
}

/// A room of Ada, Ben and our account, in which there was a call.
fn events_of_room(prefix: &str, history: &str) -> Vec<Value> {
    let id = |word: &str| format!("${prefix}-{word}");
    let join = json!({"application": "m.call", "call_id": "", "device_id": "A",
        "expires": 7_200_000, "foci_preferred": [], "focus_active": {"type": "livekit"}});
    let visibility = json!({"history_visibility": history});

    vec![
        event(
            &id("create"),
            "m.room.create",
            ADA,
            "",
            100,
            json!({"room_version": "11"}),
        ),
        event(
            &id("see"),
            "m.room.history_visibility",
            ADA,
            "",
            99,
            visibility,
        ),
        member(&id("ada"), ADA, "Countess Ada", "join", 98),
        member(&id("ben"), BEN, "Ben\u{202e} <b>", "join", 97),
        member(&id("bot"), "@bot:example.org", "Callscope", "join", 96),
        event(&id("in"), CALL, ADA, &format!("_{ADA}_A_m.call"), 30, join),
    ]
}

#[tokio::test]
async fn a_direct_room_is_named_by_who_is_in_it() {
    let site = Site::filled("room_titles").await;
    site.write_to(DIRECT, events_of_room("d", "shared")).await;
    let path = format!("/api/v1/rooms/{}", quote(DIRECT));
    let room = site.json(&path).await;
    assert_eq!(room["name"], Value::Null);
    assert_eq!(room["title"], "Countess Ada and Ben <b>");
    let page = site.html(&format!("/rooms/{}", quote(DIRECT))).await;
    assert!(page.contains("Countess Ada and Ben &#60;b&#62;"), "{page}");

    for path in [
        "/api/v1/rooms?q=countess",
        "/api/v1/calls?q=countess%20ada%20and",
    ] {
        let found = site.json(path).await["data"][0].clone();
        let room = found.get("room").unwrap_or(&found);
        assert_eq!(room["room_id"], DIRECT, "{path}");
        assert_eq!(room["title"], "Countess Ada and Ben <b>");
    }

    // As an older version left it.
    site.change(&["delete from room_titles".to_owned()]).await;
    assert_eq!(site.json(&path).await["title"], DIRECT);
    add_missing_titles(&site.store).await.unwrap();
    let title = &site.json(&path).await["title"];
    assert_eq!(title, "Countess Ada and Ben <b>");

    let away = member("$away", BEN, "Ben", "leave", 20);
    site.write_to(DIRECT, vec![away]).await;
    assert_eq!(site.json(&path).await["title"], "Countess Ada");
    let wish = NameToForget {
        kind: ForgottenKind::Person,
        name: ADA.to_owned(),
    };
    forget_name(&site.store, &Rules::default(), &wish, NOW, [1; 32])
        .await
        .unwrap();
    let title = site.json(&path).await["title"].clone();
    assert!(title.as_str().unwrap().starts_with("forgotten-"), "{title}");

    let name = event(
        "$name",
        "m.room.name",
        BEN,
        "",
        10,
        json!({"name": "Named"}),
    );
    site.write_to(DIRECT, vec![name]).await;
    assert_eq!(site.json(&path).await["title"], "Named");
}

#[tokio::test]
async fn who_sees_pseudonyms_sees_no_title_of_people() {
    let site = Site::guarded_at("https://calls.example/", by_user_header()).await;
    site.write_to(OPEN, events_of_room("o", "world_readable"))
        .await;
    let ask = async |user: Option<&str>, path: &str| {
        let request = site.client.get(format!("{}{path}", site.base));
        let request = match user {
            Some(user) => request.header(USER_HEADER, user),
            None => request,
        };

        request.send().await.unwrap().text().await.unwrap()
    };

    for path in ["/api/v1/rooms", "/api/v1/calls?limit=500", "/rooms"] {
        let text = ask(None, path).await;
        assert!(
            text.contains("!open:example.org") || text.contains("%21open"),
            "{path}: {text}"
        );
        assert!(!text.contains("Countess"), "{path}: {text}");
        let text = ask(Some(ADA), path).await;
        assert!(text.contains("Countess Ada and Ben"), "{path}: {text}");
    }

    let found: Value = serde_json::from_str(&ask(None, "/api/v1/rooms?q=countess").await).unwrap();
    assert_eq!(found["data"], json!([]), "a search does not tell, either");
}
