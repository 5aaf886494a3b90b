//! A browser without a screen: it keeps cookies, and sends the forms of pages.

use crate::pages::site::Site;
use crate::support::cookies::{Cookies, send_with_cookies, token_of_form};
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::password::{PasswordHash, hash_password};
use callscope::web::sign_in::proxy::TrustedProxies;
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use std::sync::LazyLock;
use url::form_urlencoded;

/// Who asks, as [`by_user_header`] has it.
pub const USER_HEADER: &str = "x-user";
pub const PASSWORD: &str = "correct horse battery";
/// What nobody may see who may see nothing.
pub const NAMES: [&str; 6] = [
    "Alice",
    "War ",
    "@alice",
    "other.example",
    "sfu.example",
    "$join",
];

static HASH: LazyLock<String> = LazyLock::new(|| hash_password(PASSWORD).unwrap());

/// Only who has the password may come in.
pub fn by_password() -> AccessSettings {
    AccessSettings {
        password: Some(PasswordHash::new(HASH.clone())),
        ..AccessSettings::default()
    }
}

/// A proxy on this machine says in the header `x-user` who asks.
pub fn by_user_header() -> AccessSettings {
    AccessSettings {
        proxies: TrustedProxies {
            networks: vec!["127.0.0.0/8".parse().unwrap()],
            user_header: USER_HEADER.to_owned(),
            user_id: "{user}".to_owned(),
        },
        ..AccessSettings::default()
    }
}

pub struct Browser<'s> {
    site: &'s Site,
    pub cookies: Cookies,
    /// Headers that it sends with each request.
    pub headers: Vec<(&'static str, String)>,
}

pub struct Reply {
    pub status: u16,
    pub place: String,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The token in its first form.
    pub fn token(&self) -> String {
        token_of_form(&self.text)
    }

    #[track_caller]
    pub fn tells_nothing(&self, path: &str) {
        for name in NAMES {
            assert!(
                !self.text.contains(name),
                "{path} tells {name}: {}",
                self.text
            );
        }
    }
}

impl<'s> Browser<'s> {
    pub fn new(site: &'s Site) -> Self {
        Self {
            site,
            cookies: Cookies::new(),
            headers: Vec::new(),
        }
    }

    /// A client that sends this header with each request.
    pub fn with(site: &'s Site, name: &'static str, value: &str) -> Self {
        let mut browser = Self::new(site);
        browser.headers.push((name, value.to_owned()));
        browser
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        let request = self.site.client.get(format!("{}{path}", self.site.base));
        self.send(request).await
    }

    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.post_with(path, fields, &[]).await
    }

    pub async fn post_with(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = self.site.client.post(format!("{}{path}", self.site.base));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });

        self.send(request.body(body)).await
    }

    async fn send(&mut self, request: RequestBuilder) -> Reply {
        self.site
            .changes
            .announce(callscope::changes::Change::Observer);
        let request = self.headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, value)
        });
        let answer = send_with_cookies(request, &mut self.cookies).await;
        let headers = answer.headers().clone();
        let place = headers.get("location");

        Reply {
            status: answer.status().as_u16(),
            place: place.map_or("", |place| place.to_str().unwrap()).to_owned(),
            headers,
            text: answer.text().await.unwrap(),
        }
    }

    /// Opens the form and sends it with this password.
    pub async fn sign_in(&mut self, password: &str, next: &str) -> Reply {
        let token = self.get("/sign-in").await.token();
        let fields = [("token", &*token), ("password", password), ("next", next)];
        self.post("/sign-in", &fields).await
    }

    /// A browser in which the operator signed in.
    pub async fn of_operator(site: &'s Site) -> Self {
        let mut browser = Self::new(site);
        let reply = browser.sign_in(PASSWORD, "/").await;
        assert_eq!(reply.status, 303, "{}", reply.text);
        browser
    }

    /// Does it see everything?
    pub async fn sees_all(&mut self) -> bool {
        let reply = self.get("/calls").await;
        if reply.status == 200 && reply.text.contains("War ") {
            return true;
        }

        reply.tells_nothing("/calls");

        false
    }
}
