//! Real Synapse homeservers on loopback: one, or two that federate over TLS.
//!
//! Each has a temporary folder and ends with the test program, however that ends.

use super::account::Account;
use super::http::{Http, quote};
use super::{eventually, project};
use rand::RngExt;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use tempfile::TempDir;

#[path = "synapse_config.rs"]
mod config;

/// Runs Synapse until standard input ends, which happens when the test program ends.
///
/// The wall clock of its Python code is ahead by `AHEAD_S` seconds. A library that is preloaded
/// could do that too, but it bends the clocks of Python's own locks with it, and one that is behind
/// then makes each thread spin.
const LIFELINE: &str = "
import os, sys, threading, time

def shift_clock(ahead_s):
    now, now_ns, gmtime = time.time, time.time_ns, time.gmtime
    time.time = lambda: now() + ahead_s
    time.time_ns = lambda: now_ns() + ahead_s * 1_000_000_000
    time.gmtime = lambda at=None: gmtime(time.time() if at is None else at)

shift_clock(int(os.environ['AHEAD_S']))
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
from synapse.app.homeserver import main
main()
";

/// How the homeservers of a bed differ from the usual ones.
#[derive(Debug, Clone, Copy)]
pub struct Oddities {
    /// How far the clock of each is ahead of this machine's, s; below zero: behind it.
    pub ahead_s: [i32; 2],
    /// Whether an account may log in by its password.
    pub passwords: bool,
}

impl Oddities {
    pub const NONE: Self = Self {
        ahead_s: [0, 0],
        passwords: true,
    };
}

/// One or two homeservers, all of them up.
#[derive(Debug)]
pub struct Bed {
    servers: Vec<Homeserver>,
    folder: TempDir,
}

impl Bed {
    /// Starts `count` (1 or 2) homeservers and waits until they answer.
    pub async fn start(count: usize) -> Self {
        Self::start_odd(count, Oddities::NONE).await
    }

    /// The same with homeservers that are not as usual.
    pub async fn start_odd(count: usize, oddities: Oddities) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("callscope-bed-")
            .tempdir()
            .unwrap();
        certificates(folder.path());
        let servers: Vec<_> = (0..count)
            .map(|n| Homeserver::lay(folder.path(), n, oddities))
            .collect();
        for server in &servers {
            server.launch();
        }

        let bed = Self { servers, folder };
        for server in &bed.servers {
            server.healthy().await;
        }

        bed
    }

    pub fn server(&self, index: usize) -> &Homeserver {
        &self.servers[index]
    }

    /// Registers a new user on one of the servers.
    pub async fn user(&self, server: usize, name: &str) -> Account {
        self.servers[server].register(name).await
    }

    /// An empty folder of its own beside the servers' files.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.servers.iter().for_each(Homeserver::kill);
        if std::thread::panicking() {
            // Keep the servers' logs for a failed test.
            self.folder.disable_cleanup(true);
            eprintln!(
                "the homeservers' logs are in {}",
                self.folder.path().display()
            );
        }
    }
}

/// One Synapse.
#[derive(Debug)]
pub struct Homeserver {
    pub name: String,
    pub url: String,
    secret: String,
    folder: PathBuf,
    /// How far its clock is ahead from the next launch on, s.
    ahead_s: AtomicI32,
    passwords: bool,
    child: Mutex<Option<Child>>,
}

impl Homeserver {
    fn lay(root: &Path, index: usize, oddities: Oddities) -> Self {
        let folder = root.join(format!("server{index}"));
        fs::create_dir_all(&folder).unwrap();
        let (client, federation) = free_ports();
        let secret = random_text(32);
        let server = Self {
            name: format!("localhost:{federation}"),
            url: format!("http://127.0.0.1:{client}"),
            secret,
            ahead_s: AtomicI32::new(oddities.ahead_s[index]),
            passwords: oddities.passwords,
            child: Mutex::new(None),
            folder,
        };

        // 32 bytes are 43 characters of base64; the last one has only four bits.
        let key = format!("ed25519 a_test {}A\n", random_text(42));
        let file = |name: &str, text: String| fs::write(server.folder.join(name), text).unwrap();
        file("signing.key", key);
        file("log.yaml", config::log(&server.folder).to_string());
        let settings = config::homeserver(&server, root, client, federation);
        // JSON is YAML.
        file("homeserver.yaml", settings.to_string());

        server
    }

    /// Starts the process; `healthy` waits for it.
    pub fn launch(&self) {
        let output = File::create(self.folder.join("output.log")).unwrap();
        let ahead_s = self.ahead_s.load(Ordering::Relaxed);
        let child = Command::new(python())
            .args(["-c", LIFELINE, "-c"])
            .arg(self.folder.join("homeserver.yaml"))
            .current_dir(&self.folder)
            .env_remove("PYTHONPATH")
            .env("AHEAD_S", ahead_s.to_string())
            .env("SYNAPSE_CACHE_FACTOR", "1.0")
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("Synapse starts");
        *self.child.lock().unwrap() = Some(child);
    }

    /// Waits until the server answers.
    pub async fn healthy(&self) {
        let http = Http::new(&self.url, None);
        eventually(&format!("{} is up", self.name), 120, async || {
            if let Some(child) = self.child.lock().unwrap().as_mut()
                && let Some(status) = child.try_wait().unwrap()
            {
                let said = fs::read_to_string(self.folder.join("output.log")).unwrap();
                panic!("Synapse ended, {status}: {said}");
            }

            let answer = http.send(reqwest::Method::GET, "/health", None).await;
            answer.is_ok_and(|a| a.status == 200).then_some(())
        })
        .await;
    }

    /// The present settings, as Synapse reads them.
    pub fn settings(&self) -> Value {
        let text = fs::read_to_string(self.folder.join("homeserver.yaml")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Starts it anew with these settings, its clock ahead by so many seconds, and waits until it
    /// answers.
    pub async fn restart_with(&self, settings: &Value, ahead_s: i32) {
        self.kill();
        fs::write(self.folder.join("homeserver.yaml"), settings.to_string()).unwrap();
        self.ahead_s.store(ahead_s, Ordering::Relaxed);
        self.launch();
        self.healthy().await;
    }

    /// An outage: the process is gone at once. `launch` and `healthy` bring it back.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    async fn register(&self, name: &str) -> Account {
        let http = Http::new(&self.url, None);
        let path = "/_synapse/admin/v1/register";
        let nonce = http.get(path).await.ok()["nonce"].clone();
        let password = format!("password-of-{name}");
        let parts = [nonce.as_str().unwrap(), name, &password, "notadmin"];
        let body = json!({
            "nonce": nonce, "username": name, "password": password, "admin": false,
            "mac": sign(&self.secret, &parts.join("\0")),
        });
        let answer = http.post(path, &body).await.ok();

        Account::new(&self.url, &answer, password)
    }

    /// The server's directory entry of a room's alias.
    pub async fn resolve(&self, alias: &str) -> Value {
        let path = format!("/_matrix/client/v3/directory/room/{}", quote(alias));
        Http::new(&self.url, None).get(&path).await.ok()
    }
}

fn sign(secret: &str, text: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    use std::fmt::Write;
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    let bytes = mac.finalize().into_bytes();

    bytes.iter().fold(String::new(), |mut out, b| {
        write!(out, "{b:02x}").unwrap();
        out
    })
}

/// The Python with Synapse: `scripts/test` installs it, `CALLSCOPE_TEST_PYTHON` names another.
fn python() -> PathBuf {
    let path = std::env::var_os("CALLSCOPE_TEST_PYTHON").map_or_else(
        || project().join(".cache/synapse/bin/python"),
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "no Synapse at {}: `scripts/test synapse` installs it",
        path.display()
    );

    path
}

fn random_text(length: usize) -> String {
    let mut random = rand::rng();
    (0..length)
        .map(|_| char::from(random.sample(rand::distr::Alphanumeric)))
        .collect()
}

/// Two ports that were free a moment ago.
fn free_ports() -> (u16, u16) {
    let one = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();

    (
        one.local_addr().unwrap().port(),
        other.local_addr().unwrap().port(),
    )
}

/// An authority for this bed only, and a certificate for `localhost` by it.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // If both have the same name, OpenSSL treats the leaf as self-signed.
    authority
        .distinguished_name
        .push(DnType::CommonName, "Authority of a test bed");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    leaf.use_authority_key_identifier_extension = true;
    let mut expired = leaf.clone();
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = expired.signed_by(&key, &authority).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    fs::write(folder.join("expired.crt"), expired.pem()).unwrap();
    fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    fs::write(folder.join("tls.crt"), leaf.pem()).unwrap();
    fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}
