//! Notices: messages of ours in rooms, which other bots do not answer.

use super::Client;
use super::error::Result;
use serde_json::Value;

impl Client {
    /// Sends a message with this content into a room; returns the id of its event. With the same
    /// `transaction` it is sent once, however often it is asked for.
    ///
    /// # Errors
    /// As every request; `is_forbidden` when we are not in the room, or may not write there.
    pub async fn send_notice(
        &self,
        room_id: &str,
        transaction: &str,
        content: Value,
    ) -> Result<String> {
        let parts = [
            "_matrix",
            "client",
            "v3",
            "rooms",
            room_id,
            "send",
            "m.room.message",
            transaction,
        ];
        let answer = self.put(&parts, content).send().await?;

        answer.text("event_id")
    }
}
