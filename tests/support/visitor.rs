//! A browser without a screen at a running program.

use super::app::App;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use std::collections::BTreeMap;

/// A browser at the program, without a screen: it keeps cookies, and sends the forms of pages.
#[derive(Debug)]
pub struct Visitor {
    client: Client,
    /// The address of the program.
    pub base: String,
    pub cookies: BTreeMap<String, String>,
}

impl Visitor {
    pub fn at(app: &App) -> Self {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .build()
            .unwrap();

        Self {
            client,
            base: app.http.base.clone(),
            cookies: BTreeMap::new(),
        }
    }

    pub async fn open(&mut self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.base));
        self.send(request).await
    }

    pub async fn get(&mut self, path: &str) -> String {
        self.open(path).await.text().await.unwrap()
    }

    /// Sends the first form of a page with these fields.
    pub async fn post(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Response {
        let shown = self.get(page).await;
        let (_, rest) = shown
            .split_once("name=\"token\" value=\"")
            .expect("a form with a token");
        let token = rest.split('"').next().unwrap();
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .extend_pairs(fields)
            .finish();
        let request = self.client.post(format!("{}{path}", self.base)).body(body);

        self.send(request).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Response {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let answer = request
            .header("cookie", cookies.join("; "))
            .send()
            .await
            .unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }

        answer
    }
}
