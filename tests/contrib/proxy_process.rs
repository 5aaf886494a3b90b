//! Runs a proxy with the file of `contrib/` that is for it.

use crate::programs::find_program;
use crate::support::{eventually, project};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, RequestBuilder};
use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The name under which all four serve the pages.
pub const NAME: &str = "calls.example.org";

/// Names and passwords, as a password file of nginx and Apache has them.
const USERS_FILE: &str = "admin:{SHA}hvfkN/qlp/zhXR3cuerq6jd2Z7g=\n\
                          alice:{SHA}6dcfXufJLW3J6S/9rRe4vUlBj5g=\n\
                          zoe:{SHA}hKUWhBuneltGSN4s0N/LMOpG27Q=\n";

/// The same in a Caddyfile.
const USERS_OF_CADDY: &str = "admin $2y$04$eR1g.EofS6z1S89OivkkFO4vGj4rWmaq/7gwxBEw/87RuHNLBEkmm\n\
                              alice $2y$04$v8.kbFnKzcJfdGXTHO8QyOMbhn/3DMyhjLngfMHxSe4hrY2fvwnxK\n\
                              zoe $2y$04$/HDkNZEYESNLJG.te37o6OyFdTz1U5699XWQ9J4iC9kyw.DnVDwxe\n";

/// The same for `HAProxy`.
const USERS_OF_HAPROXY: &str = "user admin insecure-password a\n\
                                user alice insecure-password b\n\
                                user zoe insecure-password c\n";

/// A program that can stand before Callscope.
#[derive(Debug, Clone, Copy)]
pub struct ProxyKind {
    pub program: &'static str,
    /// Its file in `contrib/`.
    file: &'static str,
    /// The whole configuration, made of that file.
    configure: fn(shown: &str, place: &Place) -> String,
    /// `CONFIG` and `FOLDER` stand for paths.
    args: &'static [&'static str],
}

pub const KINDS: [ProxyKind; 4] = [
    ProxyKind {
        program: "nginx",
        file: "nginx.conf",
        configure: configure_nginx,
        args: &["-c", "CONFIG", "-p", "FOLDER", "-e", "FOLDER/error.log"],
    },
    ProxyKind {
        program: "caddy",
        file: "Caddyfile",
        configure: configure_caddy,
        args: &["run", "--adapter", "caddyfile", "--config", "CONFIG"],
    },
    ProxyKind {
        program: "haproxy",
        file: "haproxy.cfg",
        configure: configure_haproxy,
        args: &["-db", "-f", "CONFIG"],
    },
    ProxyKind {
        program: "apache2",
        file: "apache.conf",
        configure: configure_apache,
        args: &["-X", "-d", "FOLDER", "-f", "CONFIG"],
    },
];

/// Where the proxy is and what it has there.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
    address: SocketAddr,
    /// The address of Callscope, or of what stands for it.
    upstream: SocketAddr,
}

impl Place {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The file as it is shown to users: only addresses and paths are others.
    fn adapt(&self, shown: &str) -> String {
        let (address, upstream) = (self.address.to_string(), self.upstream.to_string());
        let port = format!("listen {address}");
        let places = [
            ("listen 443", port.as_str()),
            ("*:443", &address),
            ("bind :443", &format!("bind {address}")),
            ("127.0.0.1:8080", &upstream),
        ]
        .into_iter()
        .fold(shown.to_owned(), |text, (from, to)| text.replace(from, to));

        ["nginx", "apache2", "haproxy"]
            .into_iter()
            .fold(places, |text, program| {
                let folder = format!("/etc/{program}/");
                text.replace(&folder, &self.path(""))
            })
    }
}

/// With further lines in the place of the one that begins so.
fn replace_line(text: &str, begin: &str, with: &str) -> String {
    let is_it = |line: &&str| line.trim_start().starts_with(begin);
    let line = text.lines().find(is_it).unwrap();
    text.replace(line, with)
}

fn configure_nginx(shown: &str, place: &Place) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};", place.path(kind)))
        .join(" ");
    format!(
        "daemon off; master_process off; pid {}; error_log {} notice;\nevents {{}}\nhttp {{ \
         access_log off; {temporary}\n{}\n}}\n",
        place.path("pid"),
        place.path("error.log"),
        place.adapt(shown),
    )
}

fn configure_caddy(shown: &str, place: &Place) -> String {
    let site = format!("{NAME} {{");
    let with_address = format!(
        "https://{NAME}:{} {{\nbind 127.0.0.1\ntls {} {}\n",
        place.address.port(),
        place.path("calls.example.org.crt"),
        place.path("calls.example.org.key"),
    );
    let shown = place.adapt(shown).replace(&site, &with_address);

    format!(
        "{{\nadmin off\nauto_https disable_redirects\nstorage file_system {}\n}}\n{}",
        place.path("caddy"),
        replace_line(&shown, "alice ", USERS_OF_CADDY),
    )
}

fn configure_haproxy(shown: &str, place: &Place) -> String {
    // The times of Debian's own file: those of contrib have to go before them.
    format!(
        "defaults\ntimeout connect 5000\ntimeout client 50000\ntimeout server 50000\n{}",
        replace_line(&place.adapt(shown), "user alice ", USERS_OF_HAPROXY),
    )
}

fn configure_apache(shown: &str, place: &Place) -> String {
    let modules = "mpm_event authn_core authn_file authz_core authz_user auth_basic headers proxy \
                   proxy_http ssl socache_shmcb";
    let modules: Vec<String> = modules
        .split_whitespace()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"))
        .collect();
    let modules = modules.join("\n");
    format!(
        "{modules}\nUser www-data\nGroup www-data\nServerName {NAME}\nPidFile {}\nErrorLog {}\n\
         DefaultRuntimeDir {}\nMutex file:{} default\nListen {}\n{}",
        place.path("pid"),
        place.path("error.log"),
        place.path(""),
        place.path(""),
        place.address,
        place.adapt(shown),
    )
}

/// A running proxy. Dropped, it ends.
pub struct Proxy {
    child: Child,
    client: Client,
    base: String,
    place: Place,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for file in ["error.log", "output"] {
                let said = fs::read_to_string(self.place.path(file));
                eprintln!("{file}: {}", said.unwrap_or_default());
            }
        }
    }
}

impl Proxy {
    /// Starts it before this address; `None`, with a line, where the program is not installed.
    pub async fn start(kind: ProxyKind, upstream: SocketAddr) -> Option<Self> {
        let program = find_program(kind.program)?;
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            address: free.local_addr().unwrap(),
            upstream,
        };
        drop(free);

        // Apache's own user reads the passwords.
        fs::set_permissions(place.folder.path(), Permissions::from_mode(0o755)).unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let (cert, key) = (cert.pem(), signing_key.serialize_pem());
        let shown = fs::read_to_string(project().join("contrib").join(kind.file)).unwrap();
        for (file, text) in [
            ("calls.example.org.crt", &cert),
            ("calls.example.org.key", &key),
            ("calls.example.org.pem", &format!("{cert}{key}")),
            ("callscope.users", &USERS_FILE.to_owned()),
            ("config", &(kind.configure)(&shown, &place)),
        ] {
            fs::write(place.path(file), text).unwrap();
        }

        let args = kind.args.iter().map(|arg| {
            arg.replace("CONFIG", &place.path("config"))
                .replace("FOLDER/", &place.path(""))
                .replace("FOLDER", &place.path(""))
        });
        let output = File::create(place.path("output")).unwrap();
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .resolve(NAME, place.address)
            .tls_certs_only([Certificate::from_pem(cert.as_bytes()).unwrap()])
            .build()
            .unwrap();
        let proxy = Self {
            child,
            client,
            base: format!("https://{NAME}:{}", place.address.port()),
            place,
        };
        eventually(kind.program, 30, async || {
            let asked = proxy.get("/healthz", None).send().await;
            asked
                .is_ok_and(|answer| answer.status() == 200)
                .then_some(())
        })
        .await;

        Some(proxy)
    }

    /// A request as whom the proxy knows by name and password.
    pub fn get(&self, path: &str, user: Option<(&str, &str)>) -> RequestBuilder {
        let request = self.client.get(format!("{}{path}", self.base));
        match user {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        }
    }
}
