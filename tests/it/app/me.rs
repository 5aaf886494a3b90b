//! `/me`: a person whom a proxy signs in takes what is stored about them, and gets out.

use crate::app::bed::{Bed, Running, now};
use crate::app::sieve::files_with;
use crate::support::cookies::client_without_redirects;
use crate::support::database::Database;
use crate::support::eventually;
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

const ANN: &str = "@qxann:sim.example";
const BOB: &str = "@bob:sim.example";
const PROXY: [(&str, &str); 3] = [
    ("TRUSTED_PROXIES", "127.0.0.0/8"),
    ("PROXY_USER_HEADER", "Remote-User"),
    ("OPERATORS", "@admin:sim.example"),
];

/// Somebody at the pages, as the proxy names them; nobody if the name is empty.
struct Visitor<'a> {
    app: &'a Running,
    user_id: &'static str,
}

impl Visitor<'_> {
    async fn send(&self, ask: RequestBuilder) -> Response {
        let named = [
            ask.try_clone().unwrap(),
            ask.header("Remote-User", self.user_id),
        ];
        let [nobody, somebody] = named;
        let ask = if self.user_id.is_empty() {
            nobody
        } else {
            somebody
        };

        ask.header("accept", "text/html").send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        let url = format!("{}{path}", self.app.http.base);
        self.send(client_without_redirects().get(url)).await
    }

    /// Opens the page and sends its form with these further fields; the status of the answer.
    async fn opt_out(&self, fields: &str) -> u16 {
        let page = self.get("/me").await;
        let cookie = page.headers()[SET_COOKIE].to_str().unwrap().to_owned();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let text = page.text().await.unwrap();
        let (_, rest) = text.split_once("name=\"token\" value=\"").unwrap();
        let token = rest.split('"').next().unwrap();
        let url = format!("{}/me/opt-out", self.app.http.base);
        let ask = client_without_redirects()
            .post(url)
            .header(COOKIE, cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}{fields}"));

        self.send(ask).await.status().as_u16()
    }
}

#[tokio::test]
async fn a_person_takes_what_is_stored_and_gets_out() {
    let bed = Bed::new().await;
    let room = bed.room(&[ANN, BOB]);
    bed.joins(&room, ANN, "QXDEV", now() - 600_000);
    bed.leaves(&room, ANN, "QXDEV", now() - 500_000);
    bed.joins(&room, BOB, "BD", now() - 550_000);
    let app = bed.start_with(&PROXY).await;
    app.ready().await;
    let visitor = |user_id| Visitor { app: &app, user_id };
    let (ann, bob, operator) = (visitor(ANN), visitor(BOB), visitor("@admin:sim.example"));
    let stays = async |visitor: &Visitor<'_>| {
        let text = visitor.get("/me/export.json").await.text().await.unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        document["stays"].as_array().unwrap().len()
    };
    eventually("her stay", 30, async || {
        (stays(&ann).await == 1).then_some(())
    })
    .await;
    assert_eq!(stays(&bob).await, 1);
    let text = ann.get("/me/export.json").await.text().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let left_out = document["left_out"].as_array().unwrap();
    for part in ["log_entries", "sign_in_sessions", "accounts", "opt_outs"] {
        assert!(
            left_out.contains(&Value::from(part)),
            "{part}: {left_out:?}"
        );
        assert!(document.get(part).is_none(), "{part}");
    }

    for stranger in [visitor(""), visitor("@admin:sim.example")] {
        assert_eq!(stranger.get("/me").await.status(), 404);
        assert_eq!(stranger.get("/me/export.json").await.status(), 404);
    }

    assert_eq!(ann.opt_out("").await, 400, "it is not sure");
    let url = format!("{}/me/opt-out", app.http.base);
    let forged = client_without_redirects()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("token=x&sure=yes");
    assert_eq!(ann.send(forged).await.status(), 403, "no page of ours");
    assert_eq!(stays(&ann).await, 1);

    assert_eq!(ann.opt_out("&sure=yes").await, 303);
    eventually("she is out", 60, async || {
        let page = ann.get("/me").await.text().await.unwrap();
        page.contains("You are not recorded").then_some(())
    })
    .await;
    assert_eq!(stays(&ann).await, 0);
    assert_eq!(stays(&bob).await, 1);
    bed.joins(&room, ANN, "QXDEV2", now());
    let calls = async || {
        let text = operator.get("/api/v1/calls").await.text().await.unwrap();
        assert!(!text.contains("qxann") && !text.contains("QXDEV"), "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["data"].clone()
    };
    eventually("she is counted", 30, async || {
        (calls().await[0]["people"] == 2).then_some(())
    })
    .await;
    let log = operator.get("/admin").await.text().await.unwrap();
    assert!(log.contains("Asked not to be recorded") && log.contains("@forgotten-"));
    assert!(
        log.contains("Took what is stored") && !log.contains("qxann"),
        "{log}"
    );
    app.app.stop().await;
    if Database::are_files() {
        for trace in ["qxann", "QXDEV"] {
            assert_eq!(files_with(bed.folder.path(), trace), Vec::<String>::new());
        }
    }
}
