//! What a browser without a screen does: it keeps cookies, stays where it is when it is sent
//! elsewhere, and finds the token of a form.

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use std::collections::BTreeMap;

/// Cookies by their names.
pub type Cookies = BTreeMap<String, String>;

/// A client that does not follow redirects.
pub fn client_without_redirects() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .build()
        .unwrap()
}

/// Sends a request with these cookies, and keeps those that the answer sets. An empty one is
/// deleted.
pub async fn send_with_cookies(request: RequestBuilder, cookies: &mut Cookies) -> Response {
    let sent: Vec<String> = cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let answer = request
        .header("cookie", sent.join("; "))
        .send()
        .await
        .unwrap();
    for cookie in answer.headers().get_all("set-cookie") {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        if value.is_empty() {
            cookies.remove(name);
        } else {
            cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    answer
}

/// The token in the first form of a page.
pub fn token_of_form(html: &str) -> String {
    let start = "name=\"token\" value=\"";
    let (_, rest) = html.split_once(start).expect("a form with a token");

    rest.split('"').next().unwrap().to_owned()
}
