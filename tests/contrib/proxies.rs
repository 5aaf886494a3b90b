//! People come in through a real nginx, Caddy, `HAProxy` and Apache, each with its file of
//! `contrib/`.

use crate::pages::browser::by_password;
use crate::pages::site::{ROOM, Site, quote};
use crate::proxy_process::{KINDS, NAME, Proxy, ProxyKind};
use callscope::changes::Change;
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::proxy::TrustedProxies;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

const ADMIN: Option<(&str, &str)> = Some(("admin", "a"));
const ALICE: Option<(&str, &str)> = Some(("alice", "b"));
const ZOE: Option<(&str, &str)> = Some(("zoe", "c"));

struct Seen {
    status: u16,
    text: String,
}

impl Seen {
    async fn of(request: RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        Self {
            status: answer.status().as_u16(),
            text: answer.text().await.unwrap(),
        }
    }

    fn tells_of_alice(&self) -> bool {
        self.text.contains("War ")
    }
}

/// A site with the settings that the files name.
async fn site_behind_proxy() -> Site {
    let settings = AccessSettings {
        proxies: TrustedProxies {
            networks: vec!["127.0.0.1/32".parse().unwrap()],
            user_header: "Remote-User".into(),
            user_id: "@{user}:example.org".into(),
        },
        operators: vec!["@admin:example.org".into()],
        ..by_password()
    };

    Site::guarded_at("https://calls.example.org/", settings).await
}

/// Runs the test of a site behind each of the four.
async fn behind_each(test: impl AsyncFn(&Site, &Proxy, ProxyKind)) {
    for kind in KINDS {
        let site = site_behind_proxy().await;
        if let Some(proxy) = Proxy::start(kind, address_of(&site)).await {
            test(&site, &proxy, kind).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs nginx, Caddy, HAProxy and Apache: `scripts/test contrib`"]
async fn whom_the_proxy_signs_in_sees_what_is_theirs() {
    behind_each(async |_, proxy, kind| {
        let nobody = Seen::of(proxy.get("/calls", None)).await;
        assert_eq!(
            nobody.status, 401,
            "{}: it asks for a password",
            kind.program
        );
        let wrong = Seen::of(proxy.get("/calls", Some(("alice", "a")))).await;
        assert_eq!(wrong.status, 401, "{}", kind.program);

        let room = format!("/rooms/{}", quote(ROOM));
        for path in ["/calls", room.as_str()] {
            let alice = Seen::of(proxy.get(path, ALICE)).await;
            assert!(
                alice.status == 200 && alice.tells_of_alice(),
                "{} {path}: {}",
                kind.program,
                alice.text
            );
        }

        let admin = Seen::of(proxy.get("/admin", ALICE)).await;
        assert_eq!(admin.status, 404, "{}", kind.program);
        let zoe = Seen::of(proxy.get("/calls", ZOE)).await;
        assert!(
            zoe.status == 200 && !zoe.tells_of_alice(),
            "{}",
            kind.program
        );
        let admin = Seen::of(proxy.get("/admin", ADMIN)).await;
        assert_eq!(admin.status, 200, "{}", kind.program);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs nginx, Caddy, HAProxy and Apache: `scripts/test contrib`"]
async fn what_a_visitor_says_of_himself_counts_for_nothing() {
    behind_each(async |site, proxy, kind| {
        // The proxy takes the header away, in whatever way it is written.
        for name in ["Remote-User", "remote-user", "REMOTE-USER", "Remote_User"] {
            let at = format!("{} {name}", kind.program);
            let lie = proxy.get("/admin", ZOE).header(name, "admin");
            assert_eq!(Seen::of(lie).await.status, 404, "{at}");
            let lie = proxy.get("/calls", ZOE).header(name, "alice");
            assert!(!Seen::of(lie).await.tells_of_alice(), "{at}");
            let lie = proxy.get("/metrics", None).header(name, "admin");
            assert_eq!(Seen::of(lie).await.status, 401, "{at}");
            let lie = proxy.get("/feed/calls.atom", None).header(name, "alice");
            assert!(!Seen::of(lie).await.tells_of_alice(), "{at}");
            // The name alone, without the password, where nobody signs in.
            let lie = proxy.get("/metrics", Some(("admin", "wrong")));
            assert_eq!(
                Seen::of(lie.header(name, "admin")).await.status,
                401,
                "{at}"
            );
        }

        let metrics = Seen::of(proxy.get("/metrics", ADMIN)).await;
        assert_eq!(metrics.status, 401, "{}: nobody signs in", kind.program);
        let counted = async || {
            let page = Seen::of(proxy.get("/status", ADMIN)).await;
            assert_eq!(page.status, 200, "{}", kind.program);
            refused_users(site).await
        };
        assert_eq!(
            counted().await,
            0,
            "{}: nothing of it came through",
            kind.program
        );

        // Another machine, which goes past the proxy.
        let elsewhere = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .local_address(IpAddr::from([127, 0, 0, 2]))
            .resolve(NAME, address_of(site))
            .build()
            .unwrap();
        for path in ["/admin", "/calls", "/api/v1/calls"] {
            let place = format!("http://{NAME}:{}{path}", address_of(site).port());
            let lie = elsewhere
                .get(place)
                .header("remote-user", "admin")
                .header("x-forwarded-for", "127.0.0.1");
            let seen = Seen::of(lie).await;
            assert!(!seen.tells_of_alice(), "{} {path}", kind.program);
            assert_ne!((path, seen.status), ("/admin", 200));
        }

        assert_eq!(counted().await, 3, "{}", kind.program);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs nginx, Caddy, HAProxy and Apache: `scripts/test contrib`"]
async fn a_live_update_comes_through_at_once() {
    behind_each(async |site, proxy, kind| {
        let request = proxy.get("/api/v1/live", ADMIN);
        let mut live = timeout(Duration::from_secs(5), request.send())
            .await
            .unwrap_or_else(|_| panic!("{}: no head of the stream", kind.program))
            .unwrap();
        assert_eq!(live.status(), 200, "{}", kind.program);

        // Each change by itself: what is held back until more of it comes would be late.
        for _ in 0..3 {
            site.changes.announce(Change::Observer);
            let mut text = String::new();
            while !text.contains("event: change") {
                let piece = timeout(Duration::from_secs(3), live.chunk()).await;
                let piece = piece.unwrap_or_else(|_| panic!("{}: {text}", kind.program));
                text += &String::from_utf8_lossy(&piece.unwrap().unwrap());
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs nginx, Caddy, HAProxy and Apache: `scripts/test contrib`"]
async fn a_proxy_says_who_asks_from_where() {
    for kind in KINDS {
        let (address, mut heads) = listen_for_heads().await;
        let Some(proxy) = Proxy::start(kind, address).await else {
            continue;
        };

        for (path, user, named) in [
            ("/calls", ALICE, vec!["alice"]),
            ("/metrics", None, vec![]),
            ("/metrics", ALICE, vec![]),
        ] {
            while heads.try_recv().is_ok() {}
            let asked = proxy
                .get(path, user)
                .header("remote-user", "admin")
                .header("x-forwarded-for", "192.0.2.7")
                .header("x-forwarded-proto", "http");
            assert_eq!(Seen::of(asked).await.status, 200, "{}", kind.program);
            let head = heads.recv().await.unwrap();
            let at = format!("{} {path}: {head}", kind.program);

            let users = values_of(&head, "remote-user");
            let users: Vec<&str> = users.into_iter().filter(|user| !user.is_empty()).collect();
            assert_eq!(users, named, "{at}");
            assert_eq!(values_of(&head, "x-forwarded-proto"), ["https"], "{at}");
            let host = values_of(&head, "host").join(",");
            assert_eq!(host.split(':').next(), Some(NAME), "{at}");
            // The last one is what counts, whatever the visitor put before it.
            let clients = values_of(&head, "x-forwarded-for").join(",");
            let client = clients.rsplit(',').next().map(str::trim);
            assert_eq!(client, Some("127.0.0.1"), "{at}");
        }
    }
}

/// The values of all header lines of this name.
fn values_of<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|line| line.0.eq_ignore_ascii_case(name))
        .map(|line| line.1.trim())
        .collect()
}

/// Stands in the place of Callscope: answers everything, and tells the heads of the requests.
async fn listen_for_heads() -> (SocketAddr, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (send, heads) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let send = send.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    if connection.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }

                let _ = send.send(String::from_utf8_lossy(&head).into_owned());
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                let _ = connection.write_all(answer).await;
            });
        }
    });

    (address, heads)
}

fn address_of(site: &Site) -> SocketAddr {
    site.base.strip_prefix("http://").unwrap().parse().unwrap()
}

/// How many requests named a user in vain, by the metrics that the operator sees.
async fn refused_users(site: &Site) -> u64 {
    let asked = site
        .client
        .get(format!("{}/metrics", site.base))
        .header("remote-user", "admin");
    let metrics = Seen::of(asked).await.text;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("callscope_ignored_proxy_users_total"));

    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}
