//! A browser without a screen at a running program.

use super::app::App;
use super::cookies::{Cookies, client_without_redirects, send_with_cookies, token_of_form};
use reqwest::{Client, RequestBuilder, Response};

/// A browser at the program, without a screen: it keeps cookies, and sends the forms of pages.
#[derive(Debug)]
pub struct Visitor {
    client: Client,
    /// The address of the program.
    pub base: String,
    pub cookies: Cookies,
}

impl Visitor {
    pub fn at(app: &App) -> Self {
        Self {
            client: client_without_redirects(),
            base: app.http.base.clone(),
            cookies: Cookies::new(),
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
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", &token_of_form(&shown))
            .extend_pairs(fields)
            .finish();
        let request = self.client.post(format!("{}{path}", self.base)).body(body);

        self.send(request).await
    }

    /// Sends a form with exactly these fields.
    pub async fn post_fields(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = self.client.post(format!("{}{path}", self.base)).body(body);

        self.send(request).await
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        send_with_cookies(request, &mut self.cookies).await
    }
}
