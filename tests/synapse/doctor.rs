//! `callscope doctor` on two real homeservers that federate, with one thing broken at a time.

use crate::front::{Front, FrontFault};
use crate::support::account::Account;
use crate::support::app::Settings;
use crate::support::http::quote;
use crate::support::synapse::{Bed, Homeserver};
use serde_json::{Value, json};
use std::path::Path;
use tokio::net::{TcpListener, TcpStream};

/// What `callscope doctor` prints, and its exit code.
struct Report {
    text: String,
    code: Option<i32>,
}

/// The way of the doctor to the homeservers.
struct Patient<'a> {
    bed: &'a Bed,
    front: Front,
    settings: Settings,
    alice: Account,
    room: String,
}

impl Patient<'_> {
    fn server(&self) -> &Homeserver {
        self.bed.server(0)
    }

    /// Runs the doctor. Its own threads wait for the front, which runs in this one.
    async fn ask_doctor(&self, arguments: &[&str]) -> Report {
        let settings = self.settings.clone();
        let mut all = vec!["doctor".to_owned()];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let run = move || {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            settings.run(&all)
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();

        Report {
            text: format!("{text}{errors}"),
            code: output.status.code(),
        }
    }

    /// The fault is named in the first three lines, and no other is.
    async fn check_named(&self, title: &str) {
        let report = self.ask_doctor(&[]).await;
        let named: Vec<&str> = report
            .text
            .lines()
            .take(3)
            .filter(|line| line.starts_with("  BROKEN") || line.starts_with("  weak"))
            .collect();
        println!("{title}: {}", named.join(" | "));
        assert_eq!(named.len(), 1, "{title}: {}", report.text);
        assert!(
            named[0].contains(&format!(" {title}: ")),
            "{title}: {}",
            report.text
        );
        assert_eq!(
            report.code,
            Some(i32::from(named[0].starts_with("  BROKEN"))),
            "{title}"
        );
    }

    /// Nothing is broken and nothing is weak.
    async fn check_well(&self, when: &str) {
        let report = self.ask_doctor(&[]).await;
        let first = report.text.lines().next().unwrap_or_default();
        assert!(
            first.contains(": nothing is broken, ") && !first.contains("could be better"),
            "{when}: {}",
            report.text
        );
        assert_eq!(report.code, Some(0), "{when}");
    }

    /// A fault in front of the homeserver.
    async fn with_front_fault(&self, title: &str, fault: FrontFault) {
        *self.front.fault.lock().unwrap() = Some(fault);
        self.check_named(title).await;
        *self.front.fault.lock().unwrap() = None;
    }

    /// A fault in the settings or the clock of the homeserver.
    async fn with_setting(&self, title: &str, ahead_s: i32, change: impl FnOnce(&mut Value)) {
        let usual = self.server().settings();
        let mut changed = usual.clone();
        change(&mut changed);
        self.server().restart_with(&changed, ahead_s).await;
        self.check_named(title).await;
        self.server().restart_with(&usual, 0).await;
    }

    /// A fault in the state of the room.
    async fn with_state(&self, title: &str, kind: &str, broken: &Value, well: &Value) {
        self.alice.state(&self.room, kind, "", broken).await;
        self.check_named(title).await;
        self.alice.state(&self.room, kind, "", well).await;
    }

    /// Another homeserver answers at the address of this one.
    async fn with_other_server(&self, title: &str) {
        let usual = self.server().settings();
        let mut changed = usual.clone();
        changed["listeners"].as_array_mut().unwrap().truncate(1);
        self.server().restart_with(&changed, 0).await;
        let from = federation_port(self.server());
        let to = federation_port(self.bed.server(1));
        let forwarder = tokio::spawn(forward(from, to));
        self.check_named(title).await;
        forwarder.abort();
        let _ = forwarder.await;
        self.server().restart_with(&usual, 0).await;
    }
}

/// A bed whose first homeserver stands behind a front, and the way to it.
async fn lay_patient(bed: &Bed) -> Patient<'_> {
    let server = bed.server(0);
    let front = Front::start(&server.url);
    let mut settings = server.settings();
    settings["public_baseurl"] = json!(format!("{}/", front.url));
    let transports =
        json!([{"type": "livekit", "livekit_service_url": format!("{}/jwt", front.url)}]);
    settings["matrix_rtc"]["transports"] = transports.clone();
    settings["extra_well_known_client_content"] =
        json!({"org.matrix.msc4143.rtc_foci": transports});
    server.restart_with(&settings, 0).await;
    let watcher = bed.user(0, "watcher").await;
    let alice = bed.user(0, "alice").await;
    let room = alice.create_room(json!({"name": "Tree house"})).await;
    watcher.join(&room, &alice).await;
    let folder = bed.folder("doctor");
    let settings = Settings::observe(&watcher, &folder)
        .without("CALLSCOPE_HOMESERVER_URL")
        .with("CALLSCOPE_HOMESERVER_URL", &front.url)
        .with("SSL_CERT_FILE", &authority(&folder));

    Patient {
        bed,
        front,
        settings,
        alice,
        room,
    }
}

/// The port of the federation API, which is in the server's name.
fn federation_port(server: &Homeserver) -> u16 {
    server.name.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Passes connections at one port on to another, for ever.
async fn forward(from: u16, to: u16) {
    let listener = TcpListener::bind(("127.0.0.1", from)).await.unwrap();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

fn authority(folder: &Path) -> String {
    let path = folder.parent().unwrap().join("authority.pem");
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Synapse: `scripts/test synapse`"]
async fn each_of_fourteen_faults_is_named_and_nothing_else() {
    let bed = Bed::start(2).await;
    let patient = lay_patient(&bed).await;
    patient.check_well("before").await;

    for (title, fault) in [
        ("Well-known for clients", FrontFault::WellKnown),
        ("Access for browsers (CORS)", FrontFault::Cors),
        ("Transports endpoint", FrontFault::Transports),
        ("Token service", FrontFault::TokenService),
        ("SFU", FrontFault::Sfu),
    ] {
        patient.with_front_fault(title, fault).await;
    }

    patient
        .with_setting("TLS certificates", 0, |settings| {
            let usual = settings["tls_certificate_path"].as_str().unwrap();
            settings["tls_certificate_path"] = json!(usual.replace("tls.crt", "expired.crt"));
        })
        .await;
    patient.with_setting("Clock", 10, |_| {}).await;
    patient
        .with_setting("Delayed events", 0, |settings| {
            let all = settings.as_object_mut().unwrap();
            all.remove("max_event_delay_duration");
        })
        .await;
    patient
        .with_setting("Longest delay", 0, |settings| {
            settings["max_event_delay_duration"] = json!("5s");
        })
        .await;
    patient
        .with_setting("Sticky events", 0, |settings| {
            settings["experimental_features"]["msc4354_enabled"] = json!(false);
        })
        .await;
    patient
        .with_setting("Federation", 0, |settings| {
            settings["listeners"].as_array_mut().unwrap().truncate(1);
        })
        .await;

    patient.with_other_server("Server name").await;

    let path = format!(
        "/_matrix/client/v3/rooms/{}/state/m.room.power_levels",
        quote(&patient.room)
    );
    let levels = patient.alice.http.get(&path).await.ok();
    let mut powerless = levels.clone();
    powerless["events"]["org.matrix.msc3401.call.member"] = json!(50);
    patient
        .with_state(
            "Power levels of rooms",
            "m.room.power_levels",
            &powerless,
            &levels,
        )
        .await;
    let (open, shut) = (
        json!({"allow": ["*"]}),
        json!({"allow": ["*"], "deny": ["localhost"]}),
    );
    patient
        .with_state("Server ACL of rooms", "m.room.server_acl", &shut, &open)
        .await;
    patient.check_well("after").await;
}
