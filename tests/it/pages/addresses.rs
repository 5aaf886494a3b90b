//! Addresses as people write them: with `/` or `.json` at the end, and names in any case; and what
//! programs ask for to get small answers.

use crate::pages::browser::{Browser, by_password};
use crate::pages::site::{MINUTE, NOW, ROOM, Site, event, member, quote, text};
use reqwest::Method;
use serde_json::{Value, json};

/// A homeserver whose name ends as the address of JSON does.
const ODD_SERVER: &str = "host.json";

async fn ask(site: &Site, method: Method, path: &str) -> reqwest::Response {
    let request = site
        .client
        .request(method, format!("{}{path}", site.base))
        .send();

    request.await.unwrap()
}

/// A site with a call of a person, in a room, of a server whose names all end in `.json`.
async fn site_with_odd_names(name: &str) -> Site {
    let site = Site::filled(name).await;
    let content = json!({ "application": "m.call", "call_id": "", "device_id": "D",
        "expires": 240 * MINUTE, "focus_active": { "type": "livekit",
        "focus_selection": "multi_sfu" }, "foci_preferred": [{ "type": "livekit",
        "livekit_service_url": "https://sfu.json/jwt", "livekit_alias": "a" }] });
    let user = format!("@ann:{ODD_SERVER}");
    let join = member("$odd:host.json", &user, NOW - 20 * MINUTE, content);
    let alias = event(
        "$alias",
        "m.room.canonical_alias",
        &user,
        "",
        30,
        json!({ "alias": format!("#odd:{ODD_SERVER}") }),
    );
    site.write_to(&format!("!odd:{ODD_SERVER}"), vec![alias, join])
        .await;

    site
}

#[tokio::test]
async fn an_address_with_a_slash_at_its_end_leads_to_the_one_without() {
    let site = Site::filled("slashes").await;
    for (path, to) in [
        ("/calls/", "/calls"),
        ("/calls//", "/calls"),
        ("/calls/?status=ended&q=%2F", "/calls?status=ended&q=%2F"),
        ("/api/v1/calls/", "/api/v1/calls"),
        ("/rooms/%21a%3Ab/", "/rooms/%21a%3Ab"),
        ("/docs/", "/docs"),
        ("/admin/", "/admin"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(&site, method, path).await;
            let place = answer.headers().get("location").unwrap();
            assert_eq!(
                (answer.status().as_u16(), place.to_str().unwrap()),
                (301, to),
                "{path}"
            );
        }
    }

    let posted = ask(&site, Method::POST, "/sign-in/").await;
    assert_eq!(posted.status(), 404, "a form is not sent again");
    assert_eq!(site.get("/").await.status, 200);
    let below = Site::below("/our/calls").await;
    let answer = below.get("/our/calls/rooms/?sort=name").await;
    assert_eq!(
        (answer.status, answer.place.as_str()),
        (301, "/our/calls/rooms?sort=name")
    );
}

#[tokio::test]
async fn no_slash_leads_to_another_host() {
    let site = Site::filled("other-hosts").await;
    for path in [
        "//evil.example/",
        "//evil.example/calls/",
        "/\\evil.example/",
        "//calls/",
        "/nothing/",
        "/%2Fevil.example/",
    ] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.place.as_str()), (404, ""), "{path}");
    }
}

#[tokio::test]
async fn every_page_with_json_has_it_behind_its_own_address() {
    let site = Site::filled("twins").await;
    let call = site.json("/api/v1/calls?status=ended").await["data"][0]["id"].clone();
    let problem = site.json("/api/v1/problems").await["data"][0]["id"].clone();
    let mut checked = 0;
    for address in &site.addresses {
        let json = format!("/api/v1{}", address.path);
        let has_json = site.addresses.iter().any(|other| other.path == json);
        if !has_json {
            continue;
        }

        let page = address
            .path
            .replace(":.+}", "}")
            .replace("calls/{id}", &format!("calls/{}", text(&call)))
            .replace("rooms/{id}", &format!("rooms/{}", quote(ROOM)))
            .replace(
                "problems/{id}",
                &format!("problems/{}", problem.as_str().unwrap_or("none")),
            )
            .replace("{id}", "@alice:example.org")
            .replace("{name}", "example.org")
            .replace("{host}", "sfu.example");
        let answer = site.get(&format!("{page}.json")).await;
        let same = site.get(&format!("/api/v1{page}")).await;
        assert_eq!(answer.status, same.status, "{page}");
        assert_eq!(answer.json(), same.json(), "{page}");
        checked += 1;
    }

    assert!(checked > 15, "{checked}");
    assert!(site.json("/.json").await["people"].is_number());
    let short = site.json("/calls.json?limit=1").await;
    let next = text(&short["next_url"]);
    assert!(next.contains("/api/v1/calls?limit=1&cursor="), "{next}");
    let wrong = site.get("/calls.json?nonsense=1").await;
    assert_eq!(
        (wrong.status, text(&wrong.json()["errcode"])),
        (400, "M_INVALID_PARAM")
    );
    for page in [
        "/docs.json",
        "/sign-in.json",
        "/healthz.json",
        "/calls/active.json",
        "/rooms/x/attendance.csv.json",
        "/api/v1/calls.json",
        "/api/docs.json",
        "/nothing.json",
    ] {
        assert_eq!(site.get(page).await.status, 404, "{page}");
    }
    assert_eq!(ask(&site, Method::POST, "/calls.json").await.status(), 405);
}

#[tokio::test]
async fn a_name_that_ends_in_json_keeps_its_page() {
    let site = site_with_odd_names("odd-names").await;
    let call = site.json("/api/v1/calls?status=active").await;
    assert_eq!(call["data"].as_array().unwrap().len(), 2);
    for page in [
        "/rooms/!odd:host.json",
        "/servers/host.json",
        "/people/@ann:host.json",
        "/transports/sfu.json",
    ] {
        let html = site.html(page).await;
        assert!(html.contains("json"), "{page}");
        let json = site.json(&format!("{page}.json")).await;
        assert_eq!(json, site.json(&format!("/api/v1{page}")).await, "{page}");
    }

    let alias = site.get("/rooms/%23odd:host.json").await;
    assert_eq!(
        (alias.status, alias.place.as_str()),
        (303, "/rooms/!odd:host.json")
    );
    // The id of a member event leads on to the call, as a page and as JSON.
    let answer = site.get("/calls/$odd:host.json").await;
    assert!(
        answer.status == 303 && !answer.place.contains("/api/"),
        "{}",
        answer.place
    );
    let answer = site.get("/calls/$odd:host.json.json").await;
    assert!(
        answer.status == 303 && answer.place.contains("/api/"),
        "{}",
        answer.place
    );
}

#[tokio::test]
async fn names_are_found_in_any_case_and_as_they_are_first() {
    let site = Site::filled("cases").await;
    let alias = event(
        "$named",
        "m.room.canonical_alias",
        "@alice:example.org",
        "",
        30,
        json!({ "alias": "#lobby:example.org" }),
    );
    site.write(vec![alias]).await;
    for (one, other) in [
        ("/servers/Example.ORG", "/servers/example.org"),
        ("/servers/Example.ORG/check", "/servers/example.org/check"),
        ("/people/@Alice:EXAMPLE.org", "/people/@alice:example.org"),
        ("/rooms/%23Lobby:Example.org", "/rooms/%23lobby:example.org"),
        ("/calls?server=EXAMPLE.org", "/calls?server=example.org"),
        (
            "/calls?user=@ALICE:example.ORG",
            "/calls?user=@alice:example.org",
        ),
        (
            "/calls?room=%23LOBBY:example.org",
            "/calls?room=%23lobby:example.org",
        ),
        (
            "/problems?person=@Alice:example.org",
            "/problems?person=@alice:example.org",
        ),
        (
            "/problems?server=Example.org",
            "/problems?server=example.org",
        ),
    ] {
        let answer = site.get(&format!("/api/v1{one}")).await;
        let same = site.get(&format!("/api/v1{other}")).await;
        assert!(answer.status < 400, "{one}: {}", answer.text);
        assert_eq!(
            (answer.place, answer.text),
            (same.place, same.text),
            "{one}"
        );
    }

    let calls = site.json("/api/v1/calls?user=@ALICE:example.ORG").await;
    assert!(!calls["data"].as_array().unwrap().is_empty());
    // Somebody whose old id has capitals is somebody else.
    let content = json!({ "application": "m.call", "call_id": "", "device_id": "D",
        "expires": 240 * MINUTE, "focus_active": { "type": "livekit",
        "focus_selection": "multi_sfu" }, "foci_preferred": [] });
    let join = member("$old", "@Alice:example.org", NOW - 20 * MINUTE, content);
    site.write_to("!old:example.org", vec![join]).await;
    let old = site.json("/api/v1/people/@Alice:example.org").await;
    assert_eq!(old["user_id"], "@Alice:example.org");
    let calls = site.json("/api/v1/calls?user=@Alice:Example.org").await;
    assert_eq!(calls["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_version_is_told_to_everybody_and_no_more() {
    let site = Site::guarded("version", by_password()).await;
    let version = site.json("/api/v1/version").await;
    let migrations = std::fs::read_dir("migrations").unwrap();
    let newest = migrations
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.split('_').next()?.parse::<i64>().ok()
        })
        .max();
    assert_eq!(
        version,
        json!({ "version": env!("CARGO_PKG_VERSION"), "api_version": "v1",
            "schema_version": newest, "rules_version": callscope::rtc::RULES_VERSION,
            "findings_version": callscope::rtc::problem::FINDINGS_VERSION })
    );
    assert_eq!(site.get("/api/v1/version?x=1").await.status, 400);
}

#[tokio::test]
async fn an_answer_is_cut_to_the_keys_that_are_asked_for() {
    let site = Site::filled("fields").await;
    let cut = site.json("/api/v1/calls?fields=duration_ms,peak").await;
    let whole = site.json("/api/v1/calls").await;
    for (cut, whole) in cut["data"]
        .as_array()
        .unwrap()
        .iter()
        .zip(whole["data"].as_array().unwrap())
    {
        assert_eq!(
            *cut,
            json!({ "id": whole["id"], "duration_ms": whole["duration_ms"], "peak": whole["peak"] })
        );
    }
    assert_eq!(cut["looked"], whole["looked"]);
    assert_eq!(cut["rooms_followed"], whole["rooms_followed"]);

    let page = site.json("/api/v1/calls?fields=peak&limit=1").await;
    assert!(text(&page["next_url"]).contains("fields=peak"));
    let about = site.json("/api/v1/about?fields=version").await;
    assert_eq!(about, json!({ "version": env!("CARGO_PKG_VERSION") }));
    // The keys are known where there is nothing to cut, too.
    let none = site
        .get("/api/v1/calls?status=ended&q=nobody&fields=nonsense")
        .await;
    assert_eq!(none.status, 400);
    let error = none.json();
    assert!(
        text(&error["error"]).contains("nonsense") && text(&error["error"]).contains("duration_ms")
    );
    assert_eq!(
        site.get("/calls?fields=nonsense").await.status,
        200,
        "pages ignore it"
    );
    assert_eq!(
        site.get("/api/v1/calls.csv?fields=peak").await.status,
        400,
        "a file is whole"
    );
}

#[tokio::test]
async fn members_of_calls_can_be_left_out() {
    let site = Site::filled("members").await;
    let id = site.json("/api/v1/calls?status=ended").await["data"][0]["id"].clone();
    for path in [
        "/api/v1/calls".to_owned(),
        "/api/v1/calls/active".to_owned(),
        format!("/api/v1/calls/{}", text(&id)),
        "/api/v1/overview".to_owned(),
    ] {
        let whole = site.json(&path).await;
        let cut = site.json(&format!("{path}?members=false")).await;
        let people = |json: &Value| json.to_string().matches("\"device_id\"").count();
        assert!(people(&whole) > people(&cut), "{path}");
        assert!(
            cut.to_string().contains("\"members_whole\":false"),
            "{path}"
        );
    }
    assert_eq!(site.get("/api/v1/calls?members=no").await.status, 400);
    assert_eq!(site.get("/api/v1/rooms?members=false").await.status, 400);
}

#[tokio::test]
async fn a_small_answer_has_a_tag_of_its_own() {
    for site in [
        Site::filled("tags-of-fields").await,
        Site::guarded("tags", by_password()).await,
    ] {
        let tag = async |path: &str| {
            let answer = ask(&site, Method::GET, path).await;
            answer.headers()["etag"].to_str().unwrap().to_owned()
        };
        let whole = tag("/api/v1/about").await;
        let cut = tag("/api/v1/about?fields=version").await;
        assert_ne!(whole, cut);
        let again = site
            .client
            .get(format!("{}/api/v1/about?fields=version", site.base))
            .header("if-none-match", cut)
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), 304);
    }
}

#[tokio::test]
async fn a_list_says_how_many_entries_it_has_in_all() {
    let site = Site::filled("totals").await;
    let total = |json: &Value| json["entries_total"].clone();
    let all = site.json("/api/v1/calls").await;
    let count = all["data"].as_array().unwrap().len();
    assert_eq!(total(&all), json!({ "count": count, "more_than": false }));
    let ended = site.json("/api/v1/calls?status=ended&limit=1").await;
    assert_eq!(total(&ended), json!({ "count": 1, "more_than": false }));
    let first = site.json("/api/v1/calls?limit=1").await;
    assert_eq!(total(&first), total(&all), "of all pages together");
    let next = text(&first["next_url"]).replace("https://calls.example", "");
    assert_eq!(
        total(&site.json(&next).await),
        Value::Null,
        "it was counted before"
    );
    for path in [
        "/api/v1/rooms",
        "/api/v1/servers",
        "/api/v1/transports",
        "/api/v1/problems",
        "/api/v1/rejected",
        "/api/v1/people",
        "/api/v1/calls/active",
    ] {
        let list = site.json(path).await;
        let count = list["data"].as_array().unwrap().len();
        assert_eq!(
            total(&list),
            json!({ "count": count, "more_than": false }),
            "{path}"
        );
    }
    let one = site.json("/api/v1/people?limit=1").await;
    assert_eq!(total(&one), json!({ "count": 1, "more_than": true }));
}

#[tokio::test]
async fn json_behind_a_page_is_for_those_who_may_see_it() {
    let site = Site::guarded("guarded-twins", by_password()).await;
    let path = format!("/rooms/{}.json", quote(ROOM));
    assert_eq!(site.get(&path).await.status, 404);
    let mut operator = Browser::of_operator(&site).await;
    let room = operator.get(&path).await;
    assert_eq!(room.status, 200);
    assert_eq!(room.headers["content-type"], "application/json");
}
