//! Direct rooms: making one, asking somebody in, and writing to them. Only codes for signing in are
//! ever written.

use super::Client;
use super::error::Result;
use super::id::is_room_id;
use super::secret::Secret;
use serde_json::{Value, json};
use std::time::Duration;

/// Timeout of an invitation: over federation the other server has to answer.
const INVITE_TIMEOUT: Duration = Duration::from_mins(1);

/// The type of the rooms that we make, by which they are known before their making is answered.
pub const DIRECT_ROOM_TYPE: &str = "org.callscope.direct";

/// The parts of the path of a user's membership in a room.
fn parts_of_membership<'a>(room_id: &'a str, user_id: &'a str) -> [&'a str; 8] {
    [
        "_matrix",
        "client",
        "v3",
        "rooms",
        room_id,
        "state",
        "m.room.member",
        user_id,
    ]
}

impl Client {
    /// Makes a direct room without encryption in which nobody else is yet; returns its id. Only we
    /// may invite or change anything.
    ///
    /// # Errors
    /// As every request.
    pub async fn create_direct_room(&self, topic: &str) -> Result<String> {
        let body = json!({
            "preset": "private_chat",
            "visibility": "private",
            "is_direct": true,
            "topic": topic,
            "creation_content": {"type": DIRECT_ROOM_TYPE},
            "power_level_content_override": {"invite": 100, "state_default": 100},
        });
        let parts = ["_matrix", "client", "v3", "createRoom"];
        let answer = self.post(&parts, body).send().await?;
        let room_id = answer.text("room_id")?;
        if is_room_id(&room_id) {
            Ok(room_id)
        } else {
            Err(answer.not_matrix("`room_id` is no id of a room"))
        }
    }

    /// Asks somebody into a direct room of ours.
    ///
    /// # Errors
    /// As every request; `is_forbidden` where that user was banned or is not to be invited.
    pub async fn invite_to_direct_room(&self, room_id: &str, user_id: &str) -> Result<()> {
        let parts = parts_of_membership(room_id, user_id);
        // Not the endpoint for invitations: it cannot say that the room is direct.
        let body = json!({"membership": "invite", "is_direct": true});
        self.put(&parts, body)
            .within(INVITE_TIMEOUT.max(self.settings().request_timeout))
            .send()
            .await?;

        Ok(())
    }

    /// The membership of a user in a room of ours; `None` if there is none.
    ///
    /// # Errors
    /// As every request; `is_forbidden` when we are not in the room.
    pub async fn membership_of(&self, room_id: &str, user_id: &str) -> Result<Option<String>> {
        let parts = parts_of_membership(room_id, user_id);

        match self.get(&parts).send().await {
            Ok(answer) => Ok(answer
                .value
                .get("membership")
                .and_then(Value::as_str)
                .map(ToOwned::to_owned)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who is in a room of ours, by id.
    ///
    /// # Errors
    /// As every request; `is_forbidden` when we are not in the room.
    pub async fn joined_members(&self, room_id: &str) -> Result<Vec<String>> {
        let parts = [
            "_matrix",
            "client",
            "v3",
            "rooms",
            room_id,
            "joined_members",
        ];
        let answer = self.get(&parts).send().await?;
        let joined = answer.value.get("joined").and_then(Value::as_object);

        match joined {
            Some(joined) => Ok(joined.keys().cloned().collect()),
            None => Err(answer.not_matrix("`joined` is no object")),
        }
    }

    /// Writes a text into a room. `transaction` makes sure that it is sent once. The text is kept
    /// out of errors.
    ///
    /// # Errors
    /// As every request.
    pub async fn send_text(&self, room_id: &str, transaction: &str, text: &Secret) -> Result<()> {
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
        // Clients tell people of texts, and mostly not of notices.
        let body = json!({"msgtype": "m.text", "body": text.expose()});
        self.put(&parts, body).hiding(text).send().await?;

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Stub, json_reply};
    use super::*;

    #[tokio::test]
    async fn a_direct_room_is_made_and_written_to_and_errors_do_not_repeat_the_text() {
        let text = Secret::new("the code is 1234 5678");
        let echo = json!({"errcode": "M_FORBIDDEN", "error": text.expose()});
        let stub = Stub::start(vec![
            json_reply(200, &json!({"room_id": "!d:x"})),
            json_reply(200, &json!({"event_id": "$i"})),
            json_reply(200, &json!({"membership": "join"})),
            json_reply(404, &json!({"errcode": "M_NOT_FOUND"})),
            json_reply(200, &json!({"event_id": "$m"})),
            json_reply(403, &echo),
            json_reply(200, &json!({"room_id": 7})),
            json_reply(200, &json!({"joined": {"@a:y": {}, "@bot:x": {}}})),
            json_reply(200, &json!({})),
        ]);
        let client = stub.client();
        assert_eq!(client.create_direct_room("Codes").await.unwrap(), "!d:x");
        client.invite_to_direct_room("!d:x", "@a:y").await.unwrap();
        let member = client.membership_of("!d:x", "@a:y").await.unwrap();
        assert_eq!(member.as_deref(), Some("join"));
        assert_eq!(client.membership_of("!d:x", "@b:y").await.unwrap(), None);
        client.send_text("!d:x", "t1", &text).await.unwrap();
        let error = client.send_text("!d:x", "t2", &text).await.unwrap_err();
        assert!(
            error.is_forbidden() && !error.to_string().contains("1234"),
            "{error}"
        );
        assert!(client.create_direct_room("Codes").await.is_err());
        let joined = client.joined_members("!d:x").await.unwrap();
        assert_eq!(joined, ["@a:y", "@bot:x"]);
        assert!(client.joined_members("!d:x").await.is_err());

        let asked = stub.requests();
        assert!(asked[0].starts_with("POST /_matrix/client/v3/createRoom "));
        for part in [DIRECT_ROOM_TYPE, "\"invite\":100", "\"state_default\":100"] {
            assert!(asked[0].contains(part), "{}", asked[0]);
        }

        assert!(
            asked[1].starts_with("PUT /_matrix/client/v3/rooms/!d:x/state/m.room.member/@a:y ")
        );
        assert!(asked[4].starts_with("PUT /_matrix/client/v3/rooms/!d:x/send/m.room.message/t1 "));
    }
}
