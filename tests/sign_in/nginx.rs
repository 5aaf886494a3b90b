//! People come in through a real nginx with the configuration of `contrib/nginx.conf`.

use crate::pages::browser::by_password;
use crate::pages::site::Site;
use crate::support::{eventually, project};
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::proxy::TrustedProxies;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder};
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const NAME: &str = "calls.example.org";

/// A running nginx before a site. Dropped, it ends.
struct Nginx {
    child: Child,
    client: Client,
    base: String,
    folder: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = fs::read_to_string(self.folder.path().join("error.log"));
            eprintln!("nginx said: {}", said.unwrap_or_default());
        }
    }
}

impl Nginx {
    /// Starts nginx with the file that is shown to users: only addresses and paths are others.
    async fn start(site: &Site) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);

        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([NAME.to_owned()]).unwrap();
        fs::write(path("tls.crt"), cert.pem()).unwrap();
        fs::write(path("tls.key"), signing_key.serialize_pem()).unwrap();
        let users = "admin:{PLAIN}a\nalice:{PLAIN}b\nzoe:{PLAIN}c\n";
        fs::write(path("users"), users).unwrap();

        let shown = fs::read_to_string(project().join("contrib/nginx.conf")).unwrap();
        let server = shown
            .replace("listen 443", &format!("listen {address}"))
            .replace("/etc/nginx/calls.example.org.crt", &path("tls.crt"))
            .replace("/etc/nginx/calls.example.org.key", &path("tls.key"))
            .replace("/etc/nginx/callscope.users", &path("users"))
            .replace("http://127.0.0.1:8080", &site.base);
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};", path(kind)))
            .join(" ");
        let whole = format!(
            "daemon off; master_process off; pid {}; error_log {} notice;\nevents {{}}\nhttp {{ \
             access_log off; {places}\n{server}\n}}\n",
            path("pid"),
            path("error.log"),
        );
        fs::write(path("nginx.conf"), whole).unwrap();
        let child = Command::new(program())
            .args([
                "-c",
                &path("nginx.conf"),
                "-p",
                &path(""),
                "-e",
                &path("error.log"),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("no nginx: `scripts/test sign_in` installs it");
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .resolve(NAME, address)
            .tls_certs_only([Certificate::from_pem(cert.pem().as_bytes()).unwrap()])
            .build()
            .unwrap();
        let nginx = Self {
            child,
            client,
            base: format!("https://{NAME}:{}", address.port()),
            folder,
        };
        eventually("nginx answers", 30, async || {
            let asked = nginx.get("/healthz", None).send().await;
            asked
                .is_ok_and(|answer| answer.status() == 200)
                .then_some(())
        })
        .await;

        nginx
    }

    /// A request as whom nginx knows by name and password.
    fn get(&self, path: &str, user: Option<(&str, &str)>) -> RequestBuilder {
        let request = self.client.get(format!("{}{path}", self.base));
        match user {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        }
    }
}

/// Debian's nginx, which is not on the path of everybody.
fn program() -> &'static str {
    let of_debian = "/usr/sbin/nginx";
    if Path::new(of_debian).exists() {
        of_debian
    } else {
        "nginx"
    }
}

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

async fn site_behind_nginx() -> Site {
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

#[tokio::test]
#[ignore = "needs nginx: `scripts/test sign_in`"]
async fn whom_nginx_signs_in_sees_what_is_theirs() {
    let site = site_behind_nginx().await;
    let nginx = Nginx::start(&site).await;

    let nobody = Seen::of(nginx.get("/calls", None)).await;
    assert_eq!(nobody.status, 401, "nginx asks for a password");
    let wrong = Seen::of(nginx.get("/calls", Some(("alice", "a")))).await;
    assert_eq!(wrong.status, 401);

    let alice = Seen::of(nginx.get("/calls", Some(("alice", "b")))).await;
    assert!(
        alice.status == 200 && alice.tells_of_alice(),
        "{}",
        alice.text
    );
    let admin = Seen::of(nginx.get("/admin", Some(("alice", "b")))).await;
    assert_eq!(admin.status, 404);
    let zoe = Seen::of(nginx.get("/calls", Some(("zoe", "c")))).await;
    assert!(zoe.status == 200 && !zoe.tells_of_alice());
    let admin = Seen::of(nginx.get("/admin", Some(("admin", "a")))).await;
    assert_eq!(admin.status, 200);
}

#[tokio::test]
#[ignore = "needs nginx: `scripts/test sign_in`"]
async fn what_a_visitor_says_of_himself_counts_for_nothing() {
    let site = site_behind_nginx().await;
    let nginx = Nginx::start(&site).await;

    // nginx takes the header away, in whatever way it is written.
    for name in ["Remote-User", "remote-user", "REMOTE-USER", "Remote_User"] {
        let lie = nginx
            .get("/admin", Some(("zoe", "c")))
            .header(name, "admin");
        assert_eq!(Seen::of(lie).await.status, 404, "{name}");
        let lie = nginx
            .get("/calls", Some(("zoe", "c")))
            .header(name, "alice");
        assert!(!Seen::of(lie).await.tells_of_alice(), "{name}");
        let lie = nginx.get("/metrics", None).header(name, "admin");
        assert_eq!(Seen::of(lie).await.status, 401, "{name}");
        let lie = nginx.get("/feed/calls.atom", None).header(name, "alice");
        assert!(!Seen::of(lie).await.tells_of_alice(), "{name}");
    }

    let metrics = nginx.get("/metrics", Some(("admin", "a")));
    assert_eq!(Seen::of(metrics).await.status, 401, "there nobody signs in");
    let counted = async || {
        let page = nginx.get("/status", Some(("admin", "a")));
        assert_eq!(Seen::of(page).await.status, 200);
        refused_users(&site).await
    };
    assert_eq!(counted().await, 0, "nothing of it came through");

    // Another machine, which goes past nginx.
    let elsewhere = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .local_address(IpAddr::from([127, 0, 0, 2]))
        .resolve(NAME, address_of(&site))
        .build()
        .unwrap();
    for path in ["/admin", "/calls", "/api/v1/calls"] {
        let place = format!("http://{NAME}:{}{path}", address_of(&site).port());
        let lie = elsewhere
            .get(place)
            .header("remote-user", "admin")
            .header("x-forwarded-for", "127.0.0.1");
        let seen = Seen::of(lie).await;
        assert!(!seen.tells_of_alice(), "{path}");
        assert_ne!((path, seen.status), ("/admin", 200));
    }

    assert_eq!(counted().await, 3);
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
