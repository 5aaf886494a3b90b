//! A running site on its own database, and requests to it.

use crate::support::cookies::client_without_redirects;
use crate::support::database::Database;
use callscope::changes::{Change, Changes};
use callscope::clock::Clock;
use callscope::rtc::event::RoomEvent;
use callscope::rtc::fold::Rules;
use callscope::rtc::words::{Mode, Source, Watch};
use callscope::store::Writer;
use callscope::store::ingest::batch::{Arrival, Batch, RoomBatch};
use callscope::store::ingest::{vantages, write};
use callscope::web::routes::Address;
use callscope::web::sign_in::access::{Access, AccessSettings};
use callscope::web::{self, KeptTimes, Options, SharedMemory, Web};
use reqwest::Client;
use serde_json::{Value, json};
use std::net::TcpListener;

/// 2026-11-22 14:47:16 UTC
pub const NOW: i64 = 1_795_358_836_000;
pub const CALL: &str = "org.matrix.msc3401.call.member";
pub const MINUTE: i64 = 60_000;
pub const ROOM: &str = "!room/with+odd:example.org";
pub const EVIL: &str = "<script>alert('x')</script>\u{202e}";

pub struct Site {
    pub base: String,
    pub client: Client,
    pub store: Writer,
    pub changes: Changes,
    pub clock: Clock,
    /// Every address of the program.
    pub addresses: Vec<Address>,
    database: Database,
}

pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub place: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        assert!(
            self.kind.starts_with("application/json"),
            "{}: {}",
            self.kind,
            self.text
        );

        serde_json::from_str(&self.text).unwrap()
    }
}

impl Site {
    pub async fn empty(name: &str) -> Self {
        Self::at(name, Some("https://calls.example/"), None).await
    }

    /// Where not everybody may come in.
    pub async fn guarded(name: &str, settings: AccessSettings) -> Self {
        Self::at(name, None, Some(settings)).await.fill().await
    }

    /// The same, with this public URL.
    pub async fn guarded_at(public_url: &str, settings: AccessSettings) -> Self {
        Self::at("guarded", Some(public_url), Some(settings))
            .await
            .fill()
            .await
    }

    /// Below this path of its public URL.
    pub async fn below(path: &str) -> Self {
        let public_url = format!("https://calls.example{path}/");
        Self::at("below", Some(&public_url), None)
            .await
            .fill()
            .await
    }

    /// The same without a public URL, where the settings name the site's own address.
    pub async fn guarded_there(settings: impl FnOnce(&str) -> AccessSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = settings(&address_of(&listener));
        let site = Self::listening(listener, "there", None, Some(settings));

        site.await.fill().await
    }

    async fn at(name: &str, public_url: Option<&str>, settings: Option<AccessSettings>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::listening(listener, name, public_url, settings).await
    }

    async fn listening(
        listener: TcpListener,
        name: &str,
        public_url: Option<&str>,
        settings: Option<AccessSettings>,
    ) -> Self {
        let database = Database::new().await;
        Self::listening_over(database, listener, name, public_url, settings).await
    }

    /// Over this database, with what is in it.
    pub async fn over(database: Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let public_url = Some("https://calls.example/");
        Self::listening_over(database, listener, "over", public_url, None).await
    }

    async fn listening_over(
        database: Database,
        listener: TcpListener,
        name: &str,
        public_url: Option<&str>,
        settings: Option<AccessSettings>,
    ) -> Self {
        let store = Writer::open(database.url()).await.unwrap();
        let base = address_of(&listener);
        let changes = Changes::default();
        let (of_web, clock) = (changes.clone(), Clock::fixed(NOW));
        let of_site = clock.clone();
        let options = Options {
            public_names: vec!["https://calls.example.net".into()],
            cors_origins: vec!["https://app.example".into()],
            metrics_room_labels: true,
            probing: name == "probed",
            checks_own_server: true,
            rejoin_grace_ms: callscope::rtc::broken_call::REJOIN_GRACE_MS,
            kept: KeptTimes {
                reads_history: true,
                ..KeptTimes::default()
            },
            ..Options::default()
        };

        let access = settings.map_or_else(Access::open, |settings| {
            Access::new(settings, store.sign_ins())
        });
        let web = Web {
            store: store.reader(),
            changes: of_web,
            clock,
            public_url: public_url.map(ToOwned::to_owned),
            access,
            options,
            memory: SharedMemory::default(),
        };

        let addresses = web::list_addresses(&web);
        tokio::spawn(web::serve(listener, web).unwrap());
        Self {
            base,
            client: client_without_redirects(),
            store,
            changes,
            clock: of_site,
            addresses,
            database,
        }
    }

    pub async fn filled(name: &str) -> Self {
        Self::empty(name).await.fill().await
    }

    /// Without a public URL.
    pub async fn local(name: &str) -> Self {
        Self::at(name, None, None).await.fill().await
    }

    pub async fn fill(self) -> Self {
        let site = self;
        let start = vantages::VantageStart {
            id: "v",
            user_id: "@bot:example.org",
            homeserver: "https://example.org",
            device_id: None,
            mode: Mode::Follow,
            software: Some("Synapse 1.157.1"),
            delayed_events: true,
            sticky_events: false,
            now: NOW - 60 * MINUTE,
        };

        vantages::record_start(&site.store, &start).await.unwrap();
        site.write(events()).await;

        site
    }

    pub async fn write(&self, events: Vec<Value>) {
        self.write_at(ROOM, events, NOW - MINUTE, None).await;
    }

    pub async fn write_to(&self, room: &str, events: Vec<Value>) {
        self.write_at(room, events, NOW - MINUTE, None).await;
    }

    /// Writes events as if they had just come by the sync stream.
    pub async fn write_live(&self, events: Vec<Value>, came: i64) {
        self.write_at(ROOM, events, came, Some(came)).await;
    }

    async fn write_at(&self, room: &str, events: Vec<Value>, seen_ms: i64, received: Option<i64>) {
        let arrival = |json: Value| Arrival {
            event: RoomEvent::from_json(&json, received).unwrap().into(),
            json: json.to_string(),
            in_timeline: true,
        };

        let arrivals = events.into_iter().map(arrival).collect();
        let room = RoomBatch {
            arrivals,
            watch: Some(Watch::Joined),
            ..RoomBatch::new(room, Source::Sync)
        };

        let batch = Batch {
            vantage_id: "v".into(),
            seen_ms,
            position: Some("s1".into()),
            rooms: vec![room],
            invitations: vec![],
        };

        self.store_batch(&batch).await;
        self.changes.announce(Change::Observer);
    }

    /// An answer of the sync stream without events: it is stored, and nothing is announced.
    pub async fn hear(&self, came: i64) {
        self.store_batch(&Batch {
            vantage_id: "v".into(),
            seen_ms: came,
            position: Some("s1".into()),
            rooms: vec![],
            invitations: vec![],
        })
        .await;
    }

    async fn store_batch(&self, batch: &Batch) {
        write::write_batch(&self.store, &Rules::default(), batch)
            .await
            .unwrap();
    }

    /// Pretends that the homeserver has been received since then, and never before.
    pub async fn watched_since(&self, from: i64) {
        self.change(&[
            format!("update coverage set from_ms = {from}, to_ms = {NOW}"),
            format!("update rooms set first_seen_ms = {from}"),
            format!("update vantages set started_ms = {from}, last_sync_ms = {NOW}"),
        ])
        .await;
    }

    pub fn database_url(&self) -> &str {
        self.database.url()
    }

    /// Changes the database directly, without our code.
    pub async fn change(&self, statements: &[String]) {
        for sql in statements {
            self.database.execute(sql).await;
        }
    }

    /// Requests after a change, so that no cached answer is used.
    pub async fn get(&self, path: &str) -> Answer {
        self.changes.announce(Change::Observer);
        self.get_kept(path).await
    }

    /// Requests without a change since the last request.
    pub async fn get_kept(&self, path: &str) -> Answer {
        let answer = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap();
        let header = |name| {
            answer
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
                .unwrap_or_default()
        };

        let (kind, place, status) = (
            header("content-type"),
            header("location"),
            answer.status().as_u16(),
        );
        assert!(
            header("content-security-policy").contains("script-src 'self'"),
            "{path}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");

        Answer {
            status,
            kind,
            place,
            text: answer.text().await.unwrap(),
        }
    }

    pub async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    pub async fn html(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(
            (answer.status, answer.kind.as_str()),
            (200, "text/html; charset=utf-8"),
            "{path}: {}",
            answer.text
        );
        let head = answer.text.find("<main").unwrap();

        answer.text[head..].to_owned()
    }
}

fn address_of(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().unwrap())
}

pub fn event(
    id: &str,
    kind: &str,
    sender: &str,
    state_key: &str,
    minutes_ago: i64,
    content: Value,
) -> Value {
    let mut event = json!({ "event_id": id, "type": kind, "sender": sender, "state_key": state_key,
        "origin_server_ts": NOW - minutes_ago * MINUTE });
    event["content"] = content;
    event
}

/// A member event of this person's device `D` in the room's call, at this moment.
pub fn member(id: &str, user: &str, at_ms: i64, content: Value) -> Value {
    let mut event = event(id, CALL, user, &format!("_{user}_D_m.call"), 0, content);
    event["origin_server_ts"] = at_ms.into();
    event
}

/// One ended call (Alice and Bob), one running call (Alice), and one event that cannot be used.
fn events() -> Vec<Value> {
    let (alice, bob, eve) = (
        "@alice:example.org",
        "@bob:other.example",
        "@eve:evil.example",
    );
    let join = |device: &str| {
        json!({ "application": "m.call", "call_id": "", "scope": "m.room", "device_id": device,
            "expires": 14_400_000,
            "focus_active": { "type": "livekit", "focus_selection": "multi_sfu" },
            "foci_preferred": [{ "type": "livekit",
            "livekit_service_url": "https://sfu.example/jwt" }] })
    };

    let member = |name: &str| json!({ "membership": "join", "displayname": name });
    let key = |user: &str, device: &str| format!("_{user}_{device}_m.call");
    let bad = json!({ "application": EVIL, "device_id": 7 });

    vec![
        event(
            "$create",
            "m.room.create",
            alice,
            "",
            900,
            json!({ "room_version": "11" }),
        ),
        event(
            "$name",
            "m.room.name",
            alice,
            "",
            899,
            json!({ "name": format!("War {EVIL}") }),
        ),
        event(
            "$alias",
            "m.room.canonical_alias",
            alice,
            "",
            899,
            json!({ "alias": "#war:example.org" }),
        ),
        event(
            "$a",
            "m.room.member",
            alice,
            alice,
            899,
            member("Alice Moreau"),
        ),
        event("$b", "m.room.member", bob, bob, 898, member(EVIL)),
        event("$e", "m.room.member", eve, eve, 898, member("Eve")),
        event("$join/a", CALL, alice, &key(alice, "AA"), 300, join("AA")),
        event("$join_b", CALL, bob, &key(bob, "BB"), 290, join("BB")),
        event("$leave_b", CALL, bob, &key(bob, "BB"), 250, json!({})),
        event("$leave_a", CALL, alice, &key(alice, "AA"), 240, json!({})),
        event("$again_a", CALL, alice, &key(alice, "AA"), 10, join("AA")),
        event("$bad", CALL, eve, &key(eve, "EE"), 20, bad),
    ]
}

/// A path segment.
pub fn quote(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        write!(out, "%{byte:02X}").unwrap();
        out
    })
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
