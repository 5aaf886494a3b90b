//! What a viewer may not see changes nothing of what that viewer gets.
//!
//! There are two sites. One has all rooms, the other only those that the viewer may see. Whatever
//! the viewer asks for, both answer with the same bytes. So no name, id, count, sum, badge, feed,
//! error, status or entity tag can tell of the other rooms.

use crate::pages::browser::{USER_HEADER, by_user_header};
use crate::pages::goldens::{Room, rooms_of_the_demo, without_hashes};
use crate::pages::leak_paths::{Asked, Names, list_asked};
use crate::pages::site::{NOW, Site, quote, text};
use callscope::changes::Change;
use callscope::store::derive::pseudonyms;
use callscope::store::sign_in::sessions::{Session, SessionIdentity, SignInWay, add_session};
use callscope::store::sign_in::share_links::{ShareLink, add_link};
use callscope::store::visible::Viewer;
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::secret_text::hash_secret;
use callscope::web::sign_in::widget::{TokenAnswer, TokenChecker};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A room whose events say that its calls are hidden from everybody.
const HIDDEN_EVENT: &str = "org.callscope.visibility";

/// The operator.
const OPERATOR: &str = "@operator:example.org";
/// The observing account, which is shown to all.
const BOT: &str = "@bot:example.org";

/// The secret of the session of a widget.
const WIDGET_SECRET: &str = "csw_of-the-widget";

/// Maximum values of each parameter that are tried: visible ones and hidden ones.
const VALUES_MOST: usize = 3;

/// Maximum answers of one list: the first page, its head, and pages after it.
const PAGES_MOST: usize = 5;

/// Who is in the room now, and whether its history was always open to members.
pub fn members_of_room(room: &Room) -> BTreeSet<String> {
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

pub fn is_hidden(room: &Room) -> bool {
    last_in_state(room, HIDDEN_EVENT, "visibility") == Some("hidden")
}

pub fn is_public(room: &Room) -> bool {
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
pub fn may_see(viewer: &Viewer, room: &Room) -> bool {
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
pub async fn rooms_of_the_world() -> Vec<Room> {
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
pub async fn site_with_rooms<'r>(rooms: impl Iterator<Item = &'r Room>) -> Site {
    let settings = AccessSettings {
        operators: vec![OPERATOR.to_owned()],
        // No session begins by one here.
        widgets: Some(TokenChecker::new(|_| async {
            TokenAnswer::Refused("nobody is asked".to_owned())
        })),
        ..by_user_header()
    };
    let site = Site::guarded_at("https://calls.example/", settings).await;
    let mut room_ids = Vec::new();
    for room in rooms {
        site.write_to(&room.id, room.events.clone()).await;
        room_ids.push(room.id.as_str());
    }

    // Every room is a space, too, which names all of them.
    let in_space = |space_id: &str| {
        let row = |room_id: &&str| format!("('{space_id}', '{room_id}')");
        let rows: Vec<String> = room_ids.iter().map(row).collect();
        format!(
            "insert into space_rooms (space_id, room_id) values {}",
            rows.join(", ")
        )
    };
    let statements: Vec<String> = room_ids.iter().map(|id| in_space(id)).collect();
    site.change(&statements).await;

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

/// A request of a viewer.
fn request_of(site: &Site, viewer: &Viewer, method: Method, path: &str) -> RequestBuilder {
    let request = site.client.request(method, format!("{}{path}", site.base));
    match viewer {
        Viewer::Operator => request.header(USER_HEADER, OPERATOR),
        Viewer::Account { user_id } => request.header(USER_HEADER, user_id),
        Viewer::AccountInRoom { .. } => request.bearer_auth(WIDGET_SECRET),
        // Who has a link has its address.
        Viewer::Anonymous | Viewer::HasShareLink { .. } => request,
    }
}

/// The answer to a viewer.
async fn ask(site: &Site, viewer: &Viewer, path: &str) -> Response {
    let request = request_of(site, viewer, Method::GET, path);

    request.send().await.unwrap()
}

/// What a viewer gets as JSON.
pub async fn ask_json(site: &Site, viewer: &Viewer, path: &str) -> Value {
    let answer = ask(site, viewer, path).await;
    assert_eq!(answer.status(), 200, "{path}");

    answer.json().await.unwrap()
}

/// Status and headers, as one text.
fn head_of_answer(answer: &Response) -> String {
    let mut headers: Vec<String> = answer
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();

    format!("{}\n{}", answer.status(), headers.join("\n"))
}

/// Everything of an answer: status, headers and body.
async fn whole_answer(site: &Site, viewer: &Viewer, path: &str) -> String {
    read_whole(site, ask(site, viewer, path).await).await
}

async fn read_whole(site: &Site, answer: Response) -> String {
    let head = head_of_answer(&answer);
    let body = answer.text().await.unwrap();
    let body = without_hashes(&body.replace(&site.base, "http://site"));
    let whole = format!("{head}\n\n{body}");

    without_chance(&whole)
}

/// The text without what is drawn at random for each visitor: what forms are bound to.
fn without_chance(text: &str) -> String {
    let mut found = text.to_owned();
    for (before, after) in [("callscope-form=", ';'), ("name=\"token\" value=\"", '"')] {
        let mut parts = found.split(before);
        let first = parts.next().unwrap_or_default().to_owned();
        found = parts.fold(first, |kept, part| {
            let rest = part.split_once(after).map_or("", |(_, rest)| rest);
            format!("{kept}{before}{after}{rest}")
        });
    }

    found
}

/// Everything that a viewer gets who asks for this; of a list also the pages after the first.
async fn whole_answers(site: &Site, viewer: &Viewer, asked: &Asked) -> String {
    match asked {
        Asked::Stream(path) => head_of_answer(&ask(site, viewer, path).await),
        Asked::Form(path, fields) => {
            let field = |(name, value): &(String, String)| format!("{name}={}", quote(value));
            let fields: Vec<String> = fields.iter().map(field).collect();
            let request = request_of(site, viewer, Method::POST, path)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(fields.join("&"));
            read_whole(site, request.send().await.unwrap()).await
        }
        Asked::Page(path) => {
            let first = whole_answer(site, viewer, path).await;
            let mut page = first.clone();
            let mut answers = vec![first];
            // Parameters are read alike for both.
            if !path.contains('?') {
                let of_head = request_of(site, viewer, Method::HEAD, path);
                let head = without_chance(&head_of_answer(&of_head.send().await.unwrap()));
                assert_that_head_is_like(&head, &answers[0], path);
                answers.push(head);
            }

            while answers.len() < PAGES_MOST
                && let Some(next) = next_page(&page, path)
            {
                page = whole_answer(site, viewer, &next).await;
                answers.push(page.clone());
            }

            answers.join("\n\n")
        }
    }
}

/// The address of the page of a list after this one, by its JSON or by the button of a page; `path`
/// is the address of this one.
fn next_page(answer: &str, path: &str) -> Option<String> {
    let (_, body) = answer.split_once("\n\n")?;
    if let Ok(json) = serde_json::from_str::<Value>(body) {
        let cursor = json["next"].as_str().map(quote)?;
        let asked = path.split("cursor=").next()?.trim_end_matches(['?', '&']);
        let sign = if asked.contains('?') { '&' } else { '?' };

        return Some(format!("{asked}{sign}cursor={cursor}"));
    }

    let (_, link) = body.split_once("class=\"btn\" rel=\"next\" href=\"")?;
    let (href, _) = link.split_once('"')?;

    Some(href.replace("&amp;", "&").replace("&#38;", "&"))
}

/// HEAD says what GET says: status, entity tag and length.
fn assert_that_head_is_like(head: &str, whole: &str, path: &str) {
    let of_get = whole.split("\n\n").next().unwrap();
    assert_eq!(head.lines().next(), of_get.lines().next(), "HEAD {path}");
    for name in ["etag: ", "content-length: ", "content-type: "] {
        let line = |text: &str| {
            let mut lines = text.lines();
            lines.find(|line| line.starts_with(name)).map(str::to_owned)
        };
        if let (Some(one), Some(other)) = (line(head), line(of_get)) {
            assert_eq!(one, other, "HEAD {path}");
        }
    }

    let is_tagged = |text: &str| text.contains("\netag: ");
    assert_eq!(
        is_tagged(head),
        is_tagged(of_get),
        "HEAD {path}:\n{head}\n{of_get}"
    );
}

/// Names of rooms that are visible and of some that are not.
pub fn names_of_rooms(
    all: &[Room],
    may_see: impl Fn(&Room) -> bool,
    ids: &BTreeMap<String, IdsOfRoom>,
) -> Names {
    let mut names = Names::default();
    for visible in [true, false] {
        let rooms: Vec<&Room> = all.iter().filter(|room| may_see(room) == visible).collect();
        for room in rooms.iter().take(VALUES_MOST) {
            names.rooms.push(room.id.clone());
            if let Some(ids) = ids.get(&room.id) {
                let first =
                    |ids: &[String]| ids.iter().take(VALUES_MOST).cloned().collect::<Vec<_>>();
                names.calls.extend(first(&ids.calls));
                names.problems.extend(first(&ids.problems));
            }

            names
                .words
                .extend(last_in_state(room, "m.room.name", "name").map(ToOwned::to_owned));
            names
                .sfus
                .extend(hosts_of_sfus(room).into_iter().take(VALUES_MOST));
            let people = members_of_room(room);
            for user_id in people.iter().take(VALUES_MOST) {
                names.people.push(user_id.clone());
                names
                    .servers
                    .extend(user_id.split_once(':').map(|(_, server)| server.to_owned()));
            }
        }
    }

    for list in [
        &mut names.servers,
        &mut names.sfus,
        &mut names.people,
        &mut names.words,
    ] {
        let unique: BTreeSet<String> = list.drain(..).collect();
        list.extend(unique);
    }

    names
}

/// The hosts of the SFUs that members in this room name.
fn hosts_of_sfus(room: &Room) -> BTreeSet<String> {
    let url = |event: &Value| {
        let focus = event.pointer("/content/foci_preferred/0/livekit_service_url")?;
        let host = focus.as_str()?.split('/').nth(2)?;
        Some(host.to_owned())
    };

    room.events.iter().filter_map(url).collect()
}

/// What a room has that has an id.
#[derive(Debug, Default)]
pub struct IdsOfRoom {
    calls: Vec<String>,
    problems: Vec<String>,
}

/// The ids of all calls and problems, by room.
pub async fn ids_by_room(rooms: &[Room]) -> BTreeMap<String, IdsOfRoom> {
    let site = site_with_rooms(rooms.iter()).await;
    let ids_of = async |path: &str| {
        let list = ask_json(&site, &Viewer::Operator, path).await;
        let id_of_room = |one: &Value| {
            let room_id = text(&one["room"]["room_id"]).to_owned();
            (room_id, text(&one["id"]).to_owned())
        };
        let ids = list["data"].as_array().unwrap().iter().map(id_of_room);
        ids.collect::<Vec<_>>()
    };
    let mut by_room: BTreeMap<String, IdsOfRoom> = BTreeMap::new();
    for (room_id, id) in ids_of("/api/v1/calls?limit=500").await {
        by_room.entry(room_id).or_default().calls.push(id);
    }

    for (room_id, id) in ids_of("/api/v1/problems?limit=500").await {
        by_room.entry(room_id).or_default().problems.push(id);
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
    let visible: Vec<Room> = rooms
        .iter()
        .filter(|room| may_see(&viewer, room))
        .cloned()
        .collect();
    let sees = |room: &Room| may_see(&viewer, room);
    let ids = ids_by_room(rooms).await;
    let names = names_of_rooms(rooms, sees, &ids);
    assert_same_answers(&viewer, rooms, &visible, &names).await;
    assert_that_nothing_is_told_live(&viewer, rooms).await;
}

/// What happens in rooms that the viewer may not see is no live event for that viewer.
async fn assert_that_nothing_is_told_live(viewer: &Viewer, rooms: &[Room]) {
    let site = site_with_rooms(rooms.iter()).await;
    begin_widget_session(&site, viewer).await;
    let (visible, hidden): (Vec<&Room>, Vec<&Room>) =
        rooms.iter().partition(|room| may_see(viewer, room));
    let mut stream = ask(&site, viewer, "/api/v1/live").await;
    assert_eq!(stream.status(), 200);
    assert!(!hidden.is_empty());
    for room in hidden {
        let room_id = room.id.clone();
        let slot_id = "m.call#ROOM".to_owned();
        site.changes.announce(Change::Slot { room_id, slot_id });
        let room_id = room.id.clone();
        site.changes.announce(Change::Room { room_id });
    }

    let room_id = visible[0].id.clone();
    site.changes.announce(Change::Room { room_id });
    site.changes.announce(Change::Observer);

    let mut told = String::new();
    while !told.contains("data: {}") {
        let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
        told.push_str(&String::from_utf8_lossy(&chunk));
    }

    let lines: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("data"))
        .collect();
    let of_visible = format!("data: {{\"room_id\":\"{}\"}}", visible[0].id);
    assert_eq!(lines, [of_visible.as_str(), "data: {}"]);
}

/// Asks for everything on a site with all rooms, and on one with only what the viewer may see of
/// them.
pub async fn assert_same_answers(viewer: &Viewer, rooms: &[Room], visible: &[Room], names: &Names) {
    let all = site_with_rooms(rooms.iter()).await;
    let part = site_with_rooms(visible.iter()).await;
    for site in [&all, &part] {
        begin_widget_session(site, viewer).await;
    }

    let other = account_in_other_rooms(rooms, viewer);
    let ids = ids_of_rooms(rooms);
    let mut leaks = Vec::new();
    let document = ask_json(&part, &Viewer::Anonymous, "/api/v1/openapi.json").await;
    let asked = list_asked(&part, &document, names).await;
    for one in &asked {
        // What others were told a moment ago is not told to this viewer.
        all.changes.announce(Change::Observer);
        part.changes.announce(Change::Observer);
        if let Asked::Page(path) = one {
            for before in [&Viewer::Operator, &other] {
                // To its end: a file that is still being read keeps others waiting.
                ask(&all, before, path).await.bytes().await.unwrap();
            }
        }

        let (of_all, of_part) = (
            whole_answers(&all, viewer, one).await,
            whole_answers(&part, viewer, one).await,
        );
        if let (Viewer::Anonymous, Asked::Page(path)) = (viewer, one) {
            let leaked = ids.iter().find(|id| {
                of_all.contains(id.as_str()) && !path.contains(&quote(id)) && *id != BOT
            });
            // Its examples are of the demonstration, and the same in every Callscope.
            let leaked = leaked.filter(|_| path != "/api/v1/openapi.json");
            leaks.extend(leaked.map(|id| format!("{path} names {id}")));
        }
        if of_all != of_part {
            leaks.push(format!("{one:?}{}", first_difference(&of_all, &of_part)));
        }
    }

    assert!(
        leaks.is_empty(),
        "{} leaks:\n{}",
        leaks.len(),
        leaks.join("\n")
    );
    let seen = ask_json(&all, viewer, "/api/v1/calls?limit=500").await;
    assert!(!seen["data"].as_array().unwrap().is_empty());
    assert!(asked.len() > 400, "{}", asked.len());
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
    let ids = ids_by_room(&rooms).await;
    let all = site_with_rooms(rooms.iter()).await;
    let mut shared = 0;
    for room in rooms.iter().filter(|room| ids.contains_key(&room.id)) {
        let part = site_with_rooms(std::iter::once(room)).await;
        let of_room = &ids[&room.id].calls;
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
    let ids = ids_by_room(&rooms).await;
    let room = rooms.iter().find(|room| {
        let has_calls = ids.get(&room.id).is_some_and(|ids| !ids.calls.is_empty());
        has_calls && !is_hidden(room) && members_of_room(room).contains(&user_id)
    });
    let room_id = room.expect("a room with calls").id.clone();
    assert_that_nothing_leaks(Viewer::AccountInRoom { user_id, room_id }, &rooms).await;
}
