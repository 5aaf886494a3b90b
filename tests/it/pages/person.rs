//! The page of one person.

use crate::pages::site::{Site, quote, text};
use serde_json::Value;

/// The members of the newest calls.
async fn members(site: &Site) -> Vec<Value> {
    let list = site.json("/api/v1/calls?limit=50").await;
    let calls = list["data"].as_array().unwrap().clone();
    let members = calls
        .iter()
        .flat_map(|call| call["members"].as_array().unwrap().clone());

    members.collect()
}

#[tokio::test]
async fn a_person_has_calls_rooms_and_companions() {
    let site = Site::filled("person").await;
    for member in members(&site).await.iter().take(20) {
        let id = quote(text(&member["user_id"]));
        let person = site.json(&format!("/api/v1/people/{id}?period=365d")).await;
        let calls = site
            .json(&format!("/api/v1/calls?user={id}&limit=500"))
            .await;
        let listed = calls["data"].as_array().unwrap().len();
        assert_eq!(person["calls"], listed, "{id}");
        let steps = person["steps"].as_array().unwrap().iter();
        let sum: i64 = steps.map(|step| step["present_ms"].as_i64().unwrap()).sum();
        assert_eq!(person["present_ms"], sum);
        for companion in person["companions"].as_array().unwrap() {
            assert_ne!(companion["user_id"], member["user_id"]);
            assert!(companion["together_ms"].as_i64().unwrap() > 0);
        }

        let page = site.get(&format!("/people/{id}")).await;
        assert!(page.status == 200 && page.text.contains("How stays end"));
        assert!(!page.text.contains("<script>alert"), "{}", page.text);
    }
}

#[tokio::test]
async fn who_was_never_seen_has_no_page() {
    let site = Site::filled("person_none").await;
    let answer = site.get("/people/%40nobody%3Anone.example").await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.text.contains("Nobody with this id"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn people_are_found_by_name_and_by_id() {
    let site = Site::filled("people_search").await;
    let all = site.json("/api/v1/people?limit=500").await;
    let all = all["data"].as_array().unwrap().clone();
    assert!(all.len() > 1, "{all:?}");
    assert!(
        all.is_sorted_by_key(|one| std::cmp::Reverse(one["last_ms"].as_i64())),
        "{all:?}"
    );
    for person in &all {
        let id = text(&person["user_id"]);
        let found = site
            .json(&format!("/api/v1/people?q={}", quote(&id.to_uppercase())))
            .await;
        let found = found["data"].as_array().unwrap();
        assert!(found.contains(person), "{id}: {found:?}");
        if let Some(name) = person["name"].as_str() {
            let found = site
                .json(&format!("/api/v1/people?q={}", quote(&name.to_lowercase())))
                .await;
            let found = found["data"].as_array().unwrap();
            assert!(found.contains(person), "{name}: {found:?}");
        }
    }

    let page = site.html("/people").await;
    assert!(page.contains("id=\"people\"") && !page.contains("<script>alert"));
    let first = quote(text(&all[0]["user_id"]));
    assert!(page.contains("/people/"), "{first}");
    for nothing in ["%25", "nobody-has-this-name"] {
        let page = site.html(&format!("/people?q={nothing}")).await;
        assert!(page.contains("No person fits your search"), "{page}");
    }

    let few = site.json("/api/v1/people?limit=1").await;
    assert_eq!(few["has_more"], true);
}
