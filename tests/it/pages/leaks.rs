//! What a viewer may not see changes nothing of what that viewer gets.
//!
//! There are two sites. One has all rooms, the other only those that the viewer may see. Whatever
//! the viewer asks for, both answer with the same bytes. So no name, id, count, sum, badge, feed,
//! error, status or entity tag can tell of the other rooms.

use crate::pages::goldens::{Room, rooms_of_the_demo, without_hashes};
use crate::pages::site::{NOW, Site, quote, text};
use callscope::changes::Change;
use callscope::store::derive::pseudonyms;
use callscope::store::sign_in::sessions::{Session, SessionIdentity, SignInWay, add_session};
use callscope::store::sign_in::share_links::{ShareLink, add_link};
use callscope::store::visible::Viewer;
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::proxy::TrustedProxies;
use callscope::web::sign_in::secret_text::hash_secret;
use callscope::web::sign_in::widget::{TokenAnswer, TokenChecker};
use reqwest::Response;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A room whose events say that its calls are hidden from everybody.
const HIDDEN_EVENT: &str = "org.callscope.visibility";

/// How the proxy names who asks, and who the operator is.
const USER_HEADER: &str = "x-user";
const OPERATOR: &str = "@operator:example.org";
/// The observing account, which is shown to all.
const BOT: &str = "@bot:example.org";

/// The secret of the session of a widget.
const WIDGET_SECRET: &str = "csw_of-the-widget";

/// Maximum values of each parameter that are tried: visible ones and hidden ones.
const VALUES_MOST: usize = 3;

/// Who is in the room now, and whether its history was always open to members.
fn members_of_room(room: &Room) -> BTreeSet<String> {
    let mut standing = BTreeMap::new();
    for event in &room.events {
        if event["type"] == "m.room.member" {
            let is_join = event["content"]["membership"] == "join";
            standing.insert(text(&event["state_key"]).to_owned(), is_join);
        }
    }

    standing
        .into_iter()
        .filter_map(|(user_id, is_joined)| is_joined.then_some(user_id))
        .collect()
}

/// The last value of this key in the state events of a type.
fn last_in_state<'r>(room: &'r Room, kind: &str, key: &str) -> Option<&'r str> {
    room.events
        .iter()
        .rev()
        .find(|event| event["type"] == kind)
        .and_then(|event| event["content"][key].as_str())
}

fn is_hidden(room: &Room) -> bool {
    last_in_state(room, HIDDEN_EVENT, "visibility") == Some("hidden")
}

fn is_public(room: &Room) -> bool {
    let history = last_in_state(room, "m.room.history_visibility", "history_visibility");

    !is_hidden(room) && history == Some("world_readable")
}

fn is_closed(room: &Room) -> bool {
    room.events.iter().any(|event| {
        let word = event["content"]["history_visibility"].as_str();
        matches!(word, Some("joined" | "invited"))
    })
}

/// May this viewer see the room?
fn may_see(viewer: &Viewer, room: &Room) -> bool {
    match viewer {
        Viewer::Operator => true,
        Viewer::Anonymous => is_public(room),
        Viewer::Account { user_id } => {
            is_public(room) || (!is_hidden(room) && members_of_room(room).contains(user_id))
        }
        Viewer::AccountInRoom { user_id, room_id } => {
            let account = Viewer::Account {
                user_id: user_id.clone(),
            };
            room.id == *room_id && may_see(&account, room)
        }
        Viewer::HasShareLink { .. } => unreachable!("it sees a call, not rooms"),
    }
}

/// Somebody who is in some of the rooms, but not in all, and in none whose history was closed.
fn account_in_some_rooms(rooms: &[Room]) -> String {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for room in rooms.iter().filter(|room| !is_hidden(room)) {
        for user_id in members_of_room(room) {
            *count.entry(user_id).or_default() += 1;
        }
    }

    for room in rooms.iter().filter(|room| is_closed(room)) {
        for user_id in members_of_room(room) {
            count.remove(&user_id);
        }
    }

    let (user_id, _) = count
        .into_iter()
        .filter(|(_, rooms)| (2..6).contains(rooms))
        .max_by_key(|(_, rooms)| *rooms)
        .expect("somebody is in some rooms");

    user_id
}

/// Another account, which sees rooms that this viewer may not see.
fn account_in_other_rooms(rooms: &[Room], viewer: &Viewer) -> Viewer {
    let hidden = rooms
        .iter()
        .filter(|room| !is_hidden(room) && !may_see(viewer, room));
    let user_id = hidden.flat_map(members_of_room).next();

    Viewer::Account {
        user_id: user_id.expect("somebody is in a room that is not visible"),
    }
}

/// The rooms of the demo, one of them hidden by its moderators.
async fn rooms_of_the_world() -> Vec<Room> {
    let site = Site::empty("world").await;
    let mut rooms = rooms_of_the_demo(&site).await;
    let hidden = rooms
        .iter_mut()
        .filter(|room| !is_public(room))
        .max_by_key(|room| members_of_room(room).len())
        .unwrap();
    let mut event = hidden.events[0].clone();
    event["event_id"] = "$hidden".into();
    event["type"] = HIDDEN_EVENT.into();
    event["content"] = serde_json::json!({ "visibility": "hidden" });
    hidden.events.push(event);

    rooms
}

/// A site with these rooms, where a proxy says who asks.
async fn site_with_rooms<'r>(rooms: impl Iterator<Item = &'r Room>) -> Site {
    let settings = AccessSettings {
        proxies: TrustedProxies {
            networks: vec!["127.0.0.0/8".parse().unwrap()],
            user_header: USER_HEADER.to_owned(),
            user_id: "{user}".to_owned(),
        },
        operators: vec![OPERATOR.to_owned()],
        // No session begins by one here.
        widgets: Some(TokenChecker::new(|_| async {
            TokenAnswer::Refused("nobody is asked".to_owned())
        })),
        ..AccessSettings::default()
    };
    let site = Site::guarded_at("https://calls.example/", settings).await;
    for room in rooms {
        site.write_to(&room.id, room.events.clone()).await;
    }

    // Each installation has a key of its own; these two are compared.
    pseudonyms::renew_pseudonyms(&site.store, [7; 32])
        .await
        .unwrap();

    site
}

/// Begins the session of a widget, if it is one that asks.
async fn begin_widget_session(site: &Site, viewer: &Viewer) {
    let Viewer::AccountInRoom { user_id, room_id } = viewer else {
        return;
    };

    let session = Session {
        id_hash: hash_secret(WIDGET_SECRET),
        identity: SessionIdentity::User(user_id.clone()),
        way: SignInWay::Widget,
        address: "127.0.0.1".to_owned(),
        created_ms: NOW,
        last_seen_ms: NOW,
        room_id: Some(room_id.clone()),
    };
    add_session(&site.store.sign_ins(), &session).await.unwrap();
}

/// Every user id and event id of these rooms.
fn ids_of_rooms(rooms: &[Room]) -> BTreeSet<String> {
    let events = rooms.iter().flat_map(|room| &room.events);

    events
        .flat_map(|event| [&event["event_id"], &event["sender"], &event["state_key"]])
        .filter_map(|id| id.as_str())
        .filter(|id| id.starts_with(['@', '$']))
        .map(ToOwned::to_owned)
        .collect()
}

/// The answer to a viewer.
async fn ask(site: &Site, viewer: &Viewer, path: &str) -> Response {
    let request = site.client.get(format!("{}{path}", site.base));
    let request = match viewer {
        Viewer::Operator => request.header(USER_HEADER, OPERATOR),
        Viewer::Account { user_id } => request.header(USER_HEADER, user_id),
        Viewer::AccountInRoom { .. } => request.bearer_auth(WIDGET_SECRET),
        // Who has a link has its address.
        Viewer::Anonymous | Viewer::HasShareLink { .. } => request,
    };

    request.send().await.unwrap()
}

/// What a viewer gets as JSON.
async fn ask_json(site: &Site, viewer: &Viewer, path: &str) -> Value {
    let answer = ask(site, viewer, path).await;
    assert_eq!(answer.status(), 200, "{path}");

    answer.json().await.unwrap()
}

/// Everything of an answer: status, headers and body.
async fn whole_answer(site: &Site, viewer: &Viewer, path: &str) -> String {
    let answer = ask(site, viewer, path).await;
    let mut headers: Vec<String> = answer
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let status = answer.status();
    let body = answer.text().await.unwrap();
    let body = without_hashes(&body.replace(&site.base, "http://site"));

    format!("{status}\n{}\n\n{body}", headers.join("\n"))
}

/// Values of parameters: the first few that exist, and the first few that only exist elsewhere.
#[derive(Debug, Default)]
struct Names {
    calls: Vec<String>,
    rooms: Vec<String>,
    servers: Vec<String>,
    people: Vec<String>,
    words: Vec<String>,
}

/// Names of rooms that are visible and of some that are not.
fn names_of_rooms(all: &[Room], viewer: &Viewer, calls: &BTreeMap<String, Vec<String>>) -> Names {
    let mut names = Names::default();
    for visible in [true, false] {
        let rooms: Vec<&Room> = all
            .iter()
            .filter(|room| may_see(viewer, room) == visible)
            .collect();
        for room in rooms.iter().take(VALUES_MOST) {
            names.rooms.push(room.id.clone());
            let of_room = calls.get(&room.id).into_iter().flatten();
            names.calls.extend(of_room.take(VALUES_MOST).cloned());
            names
                .words
                .extend(last_in_state(room, "m.room.name", "name").map(ToOwned::to_owned));
            let people = members_of_room(room);
            for user_id in people.iter().take(VALUES_MOST) {
                names.people.push(user_id.clone());
                names
                    .servers
                    .extend(user_id.split_once(':').map(|(_, server)| server.to_owned()));
            }
        }
    }

    for list in [&mut names.servers, &mut names.people, &mut names.words] {
        let unique: BTreeSet<String> = list.drain(..).collect();
        list.extend(unique);
    }

    names
}

/// Each path of the program's own document with each value of its parameters, and the pages.
async fn paths_to_ask(site: &Site, names: &Names) -> Vec<String> {
    let document = ask_json(site, &Viewer::Anonymous, "/api/v1/openapi.json").await;
    let mut templates: Vec<String> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|path| *path != "/api/v1/live")
        .cloned()
        .collect();
    assert!(templates.len() > 30, "{templates:?}");
    // Each JSON has a page beside it.
    let pages: Vec<String> = templates
        .iter()
        .filter_map(|path| path.strip_prefix("/api/v1"))
        .map(ToOwned::to_owned)
        .collect();
    templates.extend(pages);
    for page in [
        "/",
        "/calls?status=ended&sort=-duration",
        "/calls?sort=-people",
    ] {
        templates.push(page.to_owned());
    }

    let mut paths = BTreeSet::new();
    for template in &templates {
        let of_kind = |start: &str| template.contains(start);
        let values = match () {
            () if of_kind("/calls/{") => &names.calls,
            () if of_kind("/rooms/{") => &names.rooms,
            () if of_kind("/servers/{") => &names.servers,
            () => {
                paths.insert(template.clone());
                continue;
            }
        };
        let (before, rest) = template.split_once('{').unwrap();
        let (_, after) = rest.split_once('}').unwrap();
        for value in values {
            paths.insert(format!("{before}{}{after}", quote(value)));
        }
    }

    for list in [
        "/calls",
        "/api/v1/calls",
        "/api/v1/calls.csv",
        "/rooms",
        "/servers",
    ] {
        for word in names.words.iter().chain(&names.people) {
            paths.insert(format!("{list}?q={}", quote(word)));
        }
    }
    for list in ["/calls", "/api/v1/calls", "/api/v1/calls.ndjson"] {
        for (parameter, values) in [
            ("room", &names.rooms),
            ("server", &names.servers),
            ("user", &names.people),
        ] {
            for value in values {
                paths.insert(format!("{list}?{parameter}={}", quote(value)));
            }
        }
    }
    for period in ["7d", "30d", "365d"] {
        for page in [
            "/statistics",
            "/api/v1/statistics",
            "/servers",
            "/transports",
        ] {
            paths.insert(format!("{page}?period={period}"));
        }
    }

    paths.into_iter().collect()
}

/// The ids of all calls, by room.
async fn calls_by_room(rooms: &[Room]) -> BTreeMap<String, Vec<String>> {
    let site = site_with_rooms(rooms.iter()).await;
    let calls = ask_json(&site, &Viewer::Operator, "/api/v1/calls?limit=500").await;
    let mut by_room: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in calls["data"].as_array().unwrap() {
        by_room
            .entry(text(&call["room"]["room_id"]).to_owned())
            .or_default()
            .push(text(&call["id"]).to_owned());
    }

    by_room
}

/// The first line in which two texts differ.
fn first_difference(one: &str, other: &str) -> String {
    let lines = one.lines().zip(other.lines().chain(std::iter::repeat("")));

    let short = |line: &str| line.chars().take(300).collect::<String>();
    let differing: Vec<String> = lines
        .filter(|(one, other)| one != other)
        .take(2)
        .map(|(one, other)| format!("\n  - {}\n  + {}", short(one), short(other)))
        .collect();

    differing.concat()
}

async fn assert_that_nothing_leaks(viewer: Viewer, rooms: &[Room]) {
    let calls = calls_by_room(rooms).await;
    let all = site_with_rooms(rooms.iter()).await;
    let visible = rooms.iter().filter(|room| may_see(&viewer, room));
    let part = site_with_rooms(visible).await;
    for site in [&all, &part] {
        begin_widget_session(site, &viewer).await;
    }

    let names = names_of_rooms(rooms, &viewer, &calls);
    let other = account_in_other_rooms(rooms, &viewer);
    let ids = ids_of_rooms(rooms);
    let mut leaks = Vec::new();
    let mut asked = 0;
    for path in paths_to_ask(&part, &names).await {
        asked += 1;
        // What others were told a moment ago is not told to this viewer.
        all.changes.announce(Change::Observer);
        part.changes.announce(Change::Observer);
        ask(&all, &Viewer::Operator, &path).await;
        ask(&all, &other, &path).await;
        let (of_all, of_part) = (
            whole_answer(&all, &viewer, &path).await,
            whole_answer(&part, &viewer, &path).await,
        );
        if viewer == Viewer::Anonymous {
            let leaked = ids.iter().find(|id| {
                of_all.contains(id.as_str()) && !path.contains(&quote(id)) && *id != BOT
            });
            leaks.extend(leaked.map(|id| format!("{path} names {id}")));
        }
        if of_all != of_part {
            leaks.push(format!("{path}{}", first_difference(&of_all, &of_part)));
        }
    }

    assert!(
        leaks.is_empty(),
        "{} leaks:\n{}",
        leaks.len(),
        leaks.join("\n")
    );
    let seen = ask_json(&all, &viewer, "/api/v1/calls?limit=500").await;
    assert!(!seen["data"].as_array().unwrap().is_empty());
    assert!(asked > 200, "{asked}");
}

#[tokio::test]
async fn what_an_account_may_not_see_changes_nothing_for_it() {
    let rooms = rooms_of_the_world().await;
    let user_id = account_in_some_rooms(&rooms);
    assert_that_nothing_leaks(Viewer::Account { user_id }, &rooms).await;
}

#[tokio::test]
async fn what_nobody_may_see_changes_nothing_for_anybody() {
    let rooms = rooms_of_the_world().await;
    assert_that_nothing_leaks(Viewer::Anonymous, &rooms).await;
}

/// Makes the address `/shared/SECRET` of this call on a site.
async fn share_call(site: &Site, secret: &str, call_id: &str, room_id: &str, with_names: bool) {
    let link = ShareLink {
        id: secret.to_owned(),
        call_id: call_id.to_owned(),
        room_id: room_id.to_owned(),
        with_names,
        created_ms: NOW,
        expires_ms: NOW + 1000,
        revoked_ms: None,
        last_used_ms: None,
    };
    let added = add_link(&site.store.sign_ins(), &link, &hash_secret(secret)).await;
    assert!(added.unwrap());
}

#[tokio::test]
async fn a_shared_call_tells_nothing_of_other_rooms_and_calls() {
    let rooms = rooms_of_the_world().await;
    let calls = calls_by_room(&rooms).await;
    let all = site_with_rooms(rooms.iter()).await;
    let mut shared = 0;
    for room in rooms.iter().filter(|room| calls.contains_key(&room.id)) {
        let part = site_with_rooms(std::iter::once(room)).await;
        let of_room = &calls[&room.id];
        for call_id in of_room.iter().take(2) {
            for with_names in [true, false] {
                shared += 1;
                let secret = format!("secret{shared}");
                for site in [&all, &part] {
                    share_call(site, &secret, call_id, &room.id, with_names).await;
                }

                let path = format!("/shared/{secret}");
                let of_all = whole_answer(&all, &Viewer::Anonymous, &path).await;
                let of_part = whole_answer(&part, &Viewer::Anonymous, &path).await;
                assert!(of_all.starts_with("200"), "{call_id}: {of_all}");
                let difference = first_difference(&of_all, &of_part);
                assert_eq!(difference, "", "{call_id}");
                let others = of_room.iter().filter(|other| *other != call_id);
                for other in others {
                    assert!(!of_all.contains(other.as_str()), "{call_id} tells {other}");
                }
            }
        }
    }

    assert!(shared > 20, "{shared}");
}

#[tokio::test]
async fn what_a_widget_may_not_show_changes_nothing_in_it() {
    let rooms = rooms_of_the_world().await;
    let user_id = account_in_some_rooms(&rooms);
    let calls = calls_by_room(&rooms).await;
    let room = rooms.iter().find(|room| {
        let has_calls = calls.get(&room.id).is_some_and(|calls| !calls.is_empty());
        has_calls && !is_hidden(room) && members_of_room(room).contains(&user_id)
    });
    let room_id = room.expect("a room with calls").id.clone();
    assert_that_nothing_leaks(Viewer::AccountInRoom { user_id, room_id }, &rooms).await;
}
