//! A provider of OpenID Connect in a process of its own, and people who log in there.

use crate::support::cookies::{Cookies, client_without_redirects, send_with_cookies};
use crate::support::lines::Lines;
use reqwest::Client;
use serde_json::{Value, json};
use url::Url;

/// Our client at the provider, and another one.
pub const CLIENT: &str = "callscope";
pub const OTHER_CLIENT: &str = "another";
pub const SECRET: &str = "the-secret-of-the-client";
const OTHER_PLACE: &str = "http://127.0.0.1:9/callback";

#[derive(Debug)]
pub struct Provider {
    pub issuer: String,
    lines: Lines,
    client: Client,
}

impl Provider {
    /// A provider that has a port, and does not answer yet.
    pub async fn listen() -> Self {
        Self::listen_at(0).await
    }

    /// The same at this port.
    pub async fn listen_at(port: u16) -> Self {
        let mut lines = Lines::start("openid.mjs").await;
        let listening = lines.call("listen", json!({"port": port})).await;
        Self {
            issuer: listening["issuer"].as_str().unwrap().to_owned(),
            lines,
            client: client_without_redirects(),
        }
    }

    /// Answers from now on, for our client at this address of the site and for another client.
    pub async fn serve(&mut self, site: &str, in_token: bool) {
        let client = |id: &str, place: &str| json!({"client_id": id, "client_secret": SECRET, "redirect_uris": [place]});
        let clients = [
            client(CLIENT, &callback(site)),
            client(OTHER_CLIENT, OTHER_PLACE),
        ];
        let issuer = self.issuer.clone();
        let how = json!({"issuer": issuer, "clients": clients, "in_token": in_token});
        self.lines.call("serve", how).await;
    }

    /// Gives this token of who it is in place of the right one.
    pub async fn swap(&mut self, id_token: Option<&str>) {
        let swapped = json!({"id_token": id_token});
        self.lines.call("swap", swapped).await;
    }

    /// Logs in as this person; returns the address that the browser is sent back to.
    pub async fn log_in(&self, url: &str, name: &str) -> String {
        let mut cookies = Cookies::new();
        let mut answer = send_with_cookies(self.client.get(url), &mut cookies).await;
        loop {
            if let Some(place) = answer.headers().get("location") {
                let place = answer.url().join(place.to_str().unwrap()).unwrap();
                if !place.as_str().starts_with(&self.issuer) {
                    return place.into();
                }

                answer = send_with_cookies(self.client.get(place), &mut cookies).await;
            } else {
                let place = answer.url().clone();
                assert_eq!(answer.status(), 200, "{place}");
                let fields = [("prompt", "login"), ("login", name), ("password", "any")];
                let body = form(&fields);
                let request = self
                    .client
                    .post(place)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body);
                answer = send_with_cookies(request, &mut cookies).await;
            }
        }
    }

    /// A token of who it is that was made for a client, with this nonce.
    pub async fn id_token(&self, client: &str, site: &str, name: &str, nonce: &str) -> String {
        let place = if client == CLIENT {
            callback(site)
        } else {
            OTHER_PLACE.to_owned()
        };
        let wish = form(&[
            ("client_id", client),
            ("redirect_uri", &place),
            ("response_type", "code"),
            ("scope", "openid profile"),
            ("nonce", nonce),
        ]);
        let back = self
            .log_in(&format!("{}/auth?{wish}", self.issuer), name)
            .await;
        let tokens = self.tokens(client, &place, &parameter(&back, "code")).await;

        tokens["id_token"].as_str().expect("a token").to_owned()
    }

    /// What the provider gives a client for a code, without a proof of who began.
    pub async fn tokens(&self, client: &str, place: &str, code: &str) -> Value {
        let fields = form(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", place),
        ]);
        let request = self
            .client
            .post(format!("{}/token", self.issuer))
            .basic_auth(client, Some(SECRET))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(fields);

        let text = request.send().await.unwrap().text().await.unwrap();

        serde_json::from_str(&text).unwrap()
    }
}

/// Our address that browsers come back to.
pub fn callback(site: &str) -> String {
    format!("{site}/sign-in/openid/callback")
}

/// The value of a parameter in an address.
pub fn parameter(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(other, _)| other == name);

    found.expect(name).1.into_owned()
}

fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}
