//! A device in a call: the real `MatrixRTC` session of matrix-js-sdk, in a process of its own.

use super::account::Account;
use super::lines::Lines;
use serde_json::{Value, json};

/// A running client of one user and device.
#[derive(Debug)]
pub struct Device {
    pub account: Account,
    lines: Lines,
}

/// Time after the last sign of life at which a device of [`Device::join`] is removed from the call,
/// ms.
pub const DELAY_MS: i64 = 4000;

/// Time between signs of life of such a device, ms.
pub const RESTART_MS: i64 = 1000;

impl Device {
    /// Starts a client for the account's own device and waits for its first sync.
    pub async fn start(account: &Account) -> Self {
        let mut lines = Lines::start("device.mjs").await;
        let credentials = json!({
            "base_url": account.http.base, "access_token": account.token,
            "user_id": account.user_id, "device_id": account.device_id,
        });
        lines.call("start", credentials).await;

        Self {
            account: account.clone(),
            lines,
        }
    }

    /// Joins the room's call; returns the membership as the SDK sees it (`event_id`, `kind`, …).
    pub async fn join(&mut self, room: &str) -> Value {
        self.join_with(room, json!({})).await
    }

    /// Joins with `sticky`, `slot`, `intent`, `expires_ms`, `delay_ms`, …
    pub async fn join_with(&mut self, room: &str, mut options: Value) -> Value {
        options["room"] = json!(room);
        for (name, ms) in [("delay_ms", DELAY_MS), ("restart_ms", RESTART_MS)] {
            if options[name].is_null() {
                options[name] = json!(ms);
            }
        }

        self.lines.call("join", options).await
    }

    pub async fn leave(&mut self, room: &str) {
        let done = self.lines.call("leave", json!({"room": room})).await;
        assert_eq!(done["left"], true, "the SDK left");
    }

    /// Changes the intent of the call: `audio` or `video`.
    pub async fn intent(&mut self, room: &str, value: &str) {
        let change = json!({"room": room, "value": value});
        self.lines.call("intent", change).await;
    }

    /// Who is in the call, as this client sees it.
    pub async fn memberships(&mut self, room: &str) -> Value {
        self.lines.call("memberships", json!({"room": room})).await
    }

    /// When (ms since the epoch) the homeserver answered the sending of an event.
    pub fn sent_ms(&self, event_id: &str) -> Option<i64> {
        let told = self.lines.told();
        let sent = told.iter().find(|t| t["event_id"] == event_id)?;
        sent["ts"].as_i64()
    }

    /// Kills the client without a goodbye (SIGKILL).
    pub fn crash(mut self) {
        self.lines.kill();
    }
}
