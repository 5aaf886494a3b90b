//! The real app on port 0 against the simulated homeserver, both in this process, over real HTTP.

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::http::{Http, quote};
use callscope::app::App;
use callscope::clock::Clock;
use callscope::config::Config;
use callscope::matrix::probe::Prober;
use callscope::sim::{Homeserver, NewRoom};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const MEMBER: &str = "org.matrix.msc3401.call.member";

/// A homeserver with a bot account, and the folder of the app.
pub struct Bed {
    pub hs: Homeserver,
    pub bot: String,
    pub token: String,
    pub folder: TempDir,
    /// A file in the folder, or on the server of the tests.
    pub database: Database,
}

impl Bed {
    pub async fn new() -> Self {
        let hs = Homeserver::start(0).await.unwrap();
        let (bot, token) = hs.register("bot", "secret");

        Self::at(hs, bot, token).await
    }

    /// Uses a homeserver where the bot already has an account.
    pub async fn at(hs: Homeserver, bot: String, token: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::in_folder(folder.path()).await;

        Self {
            hs,
            bot,
            token,
            folder,
            database,
        }
    }

    /// A room that the bot is in, with these users of the simulated server.
    pub fn room(&self, users: &[&str]) -> String {
        self.room_like(
            NewRoom {
                name: Some("A room".into()),
                ..NewRoom::default()
            },
            users,
        )
    }

    pub fn room_like(&self, like: NewRoom, users: &[&str]) -> String {
        let room = self.hs.create_room(like);
        self.hs.join_user(&room, &self.bot, now() - 1_000_000);
        for user in users {
            self.hs.join_user(&room, user, now() - 1_000_000);
        }

        room
    }

    /// The number of logins; requests for the login flows do not count.
    pub fn logins(&self) -> usize {
        let asked = self.hs.requests();
        let logins = asked
            .iter()
            .filter(|(method, path)| method == "POST" && path.contains("/login"));

        logins.count()
    }

    pub fn settings(&self) -> Vec<(String, String)> {
        [
            ("HOMESERVER_URL", self.hs.url()),
            // Made-up names lead nowhere.
            ("PROBE_OWN_SERVER", "false".to_owned()),
            ("ACCESS_TOKEN", self.token.clone()),
            ("DATABASE_URL", self.database.url().to_owned()),
            ("BIND", "127.0.0.1:0".into()),
        ]
        .map(|(key, value)| (format!("CALLSCOPE_{key}"), value))
        .into()
    }

    pub async fn start(&self) -> Running {
        self.start_with(&[]).await
    }

    /// Starts the app with additional keys; if a key is given twice, the last one counts.
    pub async fn start_with(&self, more: &[(&str, &str)]) -> Running {
        self.start_at(Clock::System, more).await
    }

    /// The same, with a clock of the test's own.
    pub async fn start_at(&self, clock: Clock, more: &[(&str, &str)]) -> Running {
        self.start_by(clock, more, Prober::new).await
    }

    /// Starts the app so that it finds every other server and SFU at the simulated homeserver.
    pub async fn start_probing(&self, more: &[(&str, &str)]) -> Running {
        let place = self
            .hs
            .url()
            .strip_prefix("http://")
            .unwrap()
            .parse()
            .unwrap();

        self.start_by(Clock::System, more, || Prober::towards(place))
            .await
    }

    async fn start_by(
        &self,
        clock: Clock,
        more: &[(&str, &str)],
        prober: impl Fn() -> Result<Prober, callscope::matrix::Error>,
    ) -> Running {
        let mut settings: std::collections::BTreeMap<String, String> =
            self.settings().into_iter().collect();
        settings.extend(
            more.iter()
                .map(|(key, value)| (format!("CALLSCOPE_{key}"), (*value).to_owned())),
        );
        let config = Config::load(None, settings.into_iter()).unwrap();
        if std::env::var_os("SHOW_LOG").is_some() {
            let _ = callscope::telemetry::start_log(
                "debug,hyper_util=info,h2=info,sqlx=info,reqwest=info",
            );
        }

        // A process that another test starts holds our locks between fork and exec.
        let app = eventually("the database is free", 10, async || match App::start_with(
            &config,
            clock.clone(),
            &prober,
        )
        .await
        {
            Err(callscope::app::Error::Store(callscope::store::Error::Held { .. })) => None,
            started => Some(started.unwrap()),
        })
        .await;
        let http = Http::new(&format!("http://{}", app.address), None);

        Running { app, http }
    }
}

pub struct Running {
    pub app: App,
    pub http: Http,
}

impl Running {
    pub async fn json(&self, path: &str) -> Value {
        self.http.get(path).await.ok()
    }

    /// A page as text.
    pub async fn page(&self, path: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let ask = client
            .get(format!("{}{path}", self.http.base))
            .header("accept", "text/html");

        ask.send().await.unwrap().text().await.unwrap()
    }

    pub async fn ready(&self) {
        eventually("the first sync", 30, async || {
            (self.http.get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }

    /// All calls, newest first.
    pub async fn calls(&self) -> Vec<Value> {
        self.json("/api/v1/calls?limit=500").await["data"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// Waits until `right` accepts the calls.
    pub async fn calls_until(&self, what: &str, right: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        eventually(what, 60, async || {
            Some(self.calls().await).filter(|calls| right(calls))
        })
        .await
    }

    pub async fn status_until(&self, what: &str, right: impl Fn(&Value) -> bool) -> Value {
        eventually(what, 60, async || {
            Some(self.json("/api/v1/status").await).filter(|status| right(status))
        })
        .await
    }

    /// A room, once it is known.
    pub async fn room(&self, room: &str) -> Value {
        let path = format!("/api/v1/rooms/{}", quote(room));
        eventually("the room is known", 30, async || {
            Some(self.http.get(&path).await)
                .filter(|answer| answer.status == 200)
                .map(|answer| answer.body)
        })
        .await
    }

    /// The room, once no read of its history is open.
    pub async fn once_read(&self, room: &str) -> Value {
        let closed = |room: &Value| room["history_open"] == false;
        eventually("the read ends", 120, async || {
            Some(self.room(room).await).filter(closed)
        })
        .await
    }
}

pub fn now() -> i64 {
    Clock::System.now_ms()
}

/// The flat content of a join, as clients send it today.
pub fn join(device: &str) -> Value {
    json!({
        "application": "m.call", "call_id": "", "scope": "m.room", "device_id": device,
        "expires": 14_400_000,
        "focus_active": {"type": "livekit", "focus_selection": "multi_sfu"},
        "m.call.intent": "video",
        "foci_preferred": [{"type": "livekit", "livekit_service_url": "https://sfu.example/",
        "livekit_alias": "!x"}],
    })
}

pub fn key(user: &str, device: &str) -> String {
    format!("_{user}_{device}_m.call")
}

impl Bed {
    pub fn joins(&self, room: &str, user: &str, device: &str, at: i64) -> String {
        self.hs
            .send_state(room, user, MEMBER, &key(user, device), join(device), at)
    }

    pub fn leaves(&self, room: &str, user: &str, device: &str, at: i64) -> String {
        self.hs
            .send_state(room, user, MEMBER, &key(user, device), json!({}), at)
    }
}
