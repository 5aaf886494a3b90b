//! Rooms: which ones we are in, their current state, joining and leaving.

use super::error::Result;
use super::events::EventBuilder;
use super::id::is_room_id;
use super::split::{Found, Taker, Want};
use super::stream::{EVENT_TEXT_MAX, Stream, event_of};
use super::wire::Answer;
use super::{Client, TYPES};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::Duration;

/// Timeout of a join: over federation it asks several servers in turn.
const JOIN_TIMEOUT: Duration = Duration::from_mins(3);

/// Timeout of a room's state: with very many people it takes long.
const STATE_TIMEOUT: Duration = Duration::from_mins(5);
/// Maximum memory of a state that is kept whole, bytes.
const STATE_MAX: usize = 512 * 1024 * 1024;
/// A part of the state is returned once it takes this much memory, bytes.
const STATE_PIECE: usize = 8 * 1024 * 1024;

/// The current state of a room, as it comes.
pub struct StateParts<'a> {
    stream: Stream<'a>,
    reader: StateReader,
}

impl std::fmt::Debug for StateParts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateParts").finish_non_exhaustive()
    }
}

impl StateParts<'_> {
    /// The next events, about `STATE_PIECE` bytes of them; `None` at the end.
    ///
    /// # Errors
    /// The answer breaks off, or is no list of JSON.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        while self.reader.events.used() < STATE_PIECE {
            if !self.stream.next(&mut self.reader).await? {
                break;
            }
        }

        if self.reader.is_other {
            return Err(self
                .stream
                .not_matrix("the list of state events is missing"));
        }

        let part = self.reader.take_part();

        Ok((!part.is_empty()).then_some(part))
    }

    /// Checks that the answer was the complete state of a room.
    ///
    /// # Errors
    /// It lacks the room's creation.
    pub fn end(self) -> Result<()> {
        // Every room has a creation event. An answer without it comes from a proxy or a failing
        // homeserver, and to believe it would end every call.
        if self.reader.has_creation {
            Ok(())
        } else {
            Err(self
                .stream
                .not_matrix("the room's state lacks the m.room.create event"))
        }
    }
}

/// Takes the events out of a list of state events as it comes.
struct StateReader {
    /// The events since the last part.
    found: Vec<Value>,
    events: EventBuilder,
    has_creation: bool,
    /// The answer is no list.
    is_other: bool,
    /// Memory of all parts returned so far, bytes.
    handed_over: usize,
}

/// The type of an event, read without the rest of it.
#[derive(Deserialize)]
struct TypeOnly<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

impl Taker for StateReader {
    /// Each event of the list is wanted, as text. The list itself has an empty path.
    fn wants(&mut self, path: &[String]) -> Want {
        if path.is_empty() {
            Want::List
        } else {
            Want::Text(EVENT_TEXT_MAX)
        }
    }

    /// Keeps an event. Anything else than a list of events is noted in `is_other`.
    fn takes(&mut self, _: &[String], found: Found<'_>) {
        match found {
            Found::Text(text) => self.add(text),
            Found::Other(_) => self.is_other = true,
            Found::TooLong | Found::End => {}
        }
    }
}

impl StateReader {
    /// A reader before the first byte; each part may take [`STATE_PIECE`] bytes of memory.
    fn new() -> Self {
        Self {
            found: Vec::new(),
            events: EventBuilder::within_bytes(STATE_PIECE),
            has_creation: false,
            is_other: false,
            handed_over: 0,
        }
    }

    /// Keeps an event of our types, or without a type, which is counted. Others are left out before
    /// they are built.
    fn add(&mut self, text: &[u8]) {
        let kind = serde_json::from_slice::<TypeOnly<'_>>(text);
        let kind = kind.ok().and_then(|kind| kind.kind);
        if kind.is_some_and(|kind| !kind.is_empty() && !TYPES.contains(&kind.as_ref())) {
            return;
        }

        let Some(streamed) = event_of(&mut self.events, text) else {
            return;
        };

        self.has_creation |= is_create(&streamed.event);
        self.found.push(streamed.event);
    }

    /// Takes the events since the last part out of the reader, and begins the next part.
    fn take_part(&mut self) -> Vec<Value> {
        self.handed_over += self.events.used();
        self.events = EventBuilder::within_bytes(STATE_PIECE);
        std::mem::take(&mut self.found)
    }
}

/// The room of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedAlias {
    pub room_id: String,
    /// Servers that are in the room, to use as `via`.
    pub servers: Vec<String>,
}

impl Client {
    /// The rooms we are in. A filtered sync leaves out rooms in which nothing matched; this list is
    /// complete.
    ///
    /// # Errors
    /// As every request.
    pub async fn joined_rooms(&self) -> Result<Vec<String>> {
        let mut answer = self
            .get(&["_matrix", "client", "v3", "joined_rooms"])
            .send()
            .await?;
        let rooms = answer.take_list("joined_rooms")?;
        let mut rooms = texts_of_list(&rooms);
        rooms.retain(|room_id| is_room_id(room_id));

        Ok(rooms)
    }

    /// The current state of a room, raw: events of the types in [`super::TYPES`], and events
    /// without a type. If an event is too large, only its identifying fields are returned, with the
    /// content `too_large`. This also works in a world-readable room that we were never in. After
    /// leaving, Synapse returns the state at that time.
    ///
    /// # Errors
    /// As every request; `is_forbidden` when the room is not ours to see.
    pub async fn room_state(&self, room_id: &str) -> Result<Vec<Value>> {
        let mut parts = self.room_state_parts(room_id).await?;
        let mut state = Vec::new();
        while let Some(part) = parts.next().await? {
            if parts.reader.handed_over > STATE_MAX {
                return Err(parts
                    .stream
                    .not_matrix("more small events than fit into memory"));
            }

            state.extend(part);
        }

        parts.end()?;

        Ok(state)
    }

    /// Like [`Self::room_state`], in parts as the answer comes, however large it is.
    ///
    /// # Errors
    /// As every request.
    pub async fn room_state_parts(&self, room_id: &str) -> Result<StateParts<'_>> {
        let parts = ["_matrix", "client", "v3", "rooms", room_id, "state"];
        let body = self.get(&parts).within(STATE_TIMEOUT).open().await?;

        Ok(StateParts {
            stream: Stream::new(body),
            reader: StateReader::new(),
        })
    }

    /// One event of a room's current state, raw; `None` if the homeserver gives only its content,
    /// or has none.
    ///
    /// # Errors
    /// As every request.
    pub async fn state_event(
        &self,
        room_id: &str,
        kind: &str,
        state_key: &str,
    ) -> Result<Option<Value>> {
        let parts = [
            "_matrix", "client", "v3", "rooms", room_id, "state", kind, state_key,
        ];
        let page = match self
            .get(&parts)
            .query("format", "event")
            .send_for_page()
            .await
        {
            Err(error) if error.is_not_found() => return Ok(None),
            page => page?,
        };

        let event = EventBuilder::within_bytes(page.text.len()).event(page.raw()?);

        Ok(event.get("event_id").is_some().then_some(event))
    }

    /// Joins a room by id or alias and returns its id. `via` names servers that are in the room: an
    /// id of room version 12 contains no server, so it cannot be joined over federation without
    /// `via`.
    ///
    /// # Errors
    /// As every request; a 429 is likely, Synapse allows few joins.
    pub async fn join(&self, room_id_or_alias: &str, via: &[String]) -> Result<String> {
        let parts = ["_matrix", "client", "v3", "join", room_id_or_alias];
        let mut request = self.post(&parts, json!({}));
        for server in via {
            // The first name is the newer one; older homeservers know only the second.
            request = request.query("via", server).query("server_name", server);
        }

        let timeout = JOIN_TIMEOUT.max(self.settings().request_timeout);

        room_id_of(&request.within(timeout).send().await?)
    }

    /// The room id of an alias.
    ///
    /// # Errors
    /// As every request; `is_not_found` when nobody has the alias.
    pub async fn resolve_alias(&self, alias: &str) -> Result<ResolvedAlias> {
        let answer = self
            .get(&["_matrix", "client", "v3", "directory", "room", alias])
            .send()
            .await?;
        let servers = answer
            .value
            .get("servers")
            .and_then(Value::as_array)
            .map_or_else(Vec::new, |list| texts_of_list(list));

        Ok(ResolvedAlias {
            room_id: room_id_of(&answer)?,
            servers,
        })
    }

    /// Leaves a room, or rejects an invite.
    ///
    /// # Errors
    /// As every request.
    pub async fn leave(&self, room_id: &str) -> Result<()> {
        self.post(
            &["_matrix", "client", "v3", "rooms", room_id, "leave"],
            json!({}),
        )
        .send()
        .await?;

        Ok(())
    }

    /// Forgets a room that was left.
    ///
    /// # Errors
    /// As every request.
    pub async fn forget(&self, room_id: &str) -> Result<()> {
        self.post(
            &["_matrix", "client", "v3", "rooms", room_id, "forget"],
            json!({}),
        )
        .send()
        .await?;

        Ok(())
    }
}

/// The room id in an answer. An error if there is none, or it is too long.
fn room_id_of(answer: &Answer) -> Result<String> {
    let room_id = answer.text("room_id")?;
    if is_room_id(&room_id) {
        Ok(room_id)
    } else {
        Err(answer.not_matrix("`room_id` is no id of a room"))
    }
}

/// Is it the room's creation?
fn is_create(event: &Value) -> bool {
    event.get("type").and_then(Value::as_str) == Some("m.room.create")
}

/// The texts of a list; other values are left out.
fn texts_of_list(list: &[Value]) -> Vec<String> {
    list.iter()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Stub, json_reply};
    use serde_json::json;

    #[tokio::test]
    async fn path_parts_are_escaped_and_via_is_given_under_both_names() {
        let stub = Stub::start(vec![json_reply(200, &json!({"room_id": "!abc"}))]);
        let via = ["a.example".to_owned(), "b.example:8448".to_owned()];
        assert_eq!(
            stub.client()
                .join("#ro/om?x%:a.example", &via)
                .await
                .unwrap(),
            "!abc"
        );
        let asked = stub.requests().remove(0);
        let query =
            "via=a.example&server_name=a.example&via=b.example%3A8448&server_name=b.example%3A8448";
        let path = "POST /_matrix/client/v3/join/%23ro%2Fom%3Fx%25:a.example?";
        assert!(
            asked.starts_with(&format!("{path}{query} HTTP/1.1")),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn state_must_be_a_list_and_is_passed_on_raw() {
        let state =
            json!([{"type": 3}, null, {"type": "m.room.create", "state_key": "", "content": {}}]);
        let odd = [json!({}), json!([]), json!([{"type": "m.room.name"}, 5])];
        let replies = std::iter::once(&state)
            .chain(&odd)
            .map(|body| json_reply(200, body));
        let stub = Stub::start(replies.collect());
        let client = stub.client();
        assert_eq!(
            client.room_state("!r:x").await.unwrap(),
            *state.as_array().unwrap()
        );

        for _ in odd {
            let error = client.room_state("!r:x").await.unwrap_err();
            assert!(
                error.is_transient() && error.to_string().contains("not Matrix"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn of_a_state_only_known_types_come_and_what_is_too_large_comes_without_content() {
        let member = |content: serde_json::Value| {
            json!({"type": "m.call.member", "event_id": "$1",
            "content": content})
        };
        let create = json!({"type": "m.room.create", "state_key": ""});
        let state = json!([create, {"type": "m.room.pinned_events"},
            member(vec![json!({"a": 1}); 9_000].into())]);
        let stub = Stub::start(vec![json_reply(200, &state)]);
        assert_eq!(
            stub.client().room_state("!r:x").await.unwrap(),
            [create, member("too_large".into())]
        );
    }

    #[tokio::test]
    async fn rooms_and_aliases_are_read() {
        let stub = Stub::start(vec![
            json_reply(200, &json!({"joined_rooms": ["!a:x", 5, "!b"]})),
            json_reply(200, &json!({"room_id": "!b", "servers": ["x", null]})),
            json_reply(404, &json!({"errcode": "M_NOT_FOUND", "error": "no alias"})),
            json_reply(200, &json!({})),
        ]);
        let client = stub.client();
        assert_eq!(client.joined_rooms().await.unwrap(), ["!a:x", "!b"]);
        let resolved = client.resolve_alias("#b:x").await.unwrap();
        assert_eq!(
            (resolved.room_id.as_str(), resolved.servers),
            ("!b", vec!["x".to_owned()])
        );
        assert!(
            client
                .resolve_alias("#c:x")
                .await
                .unwrap_err()
                .is_not_found()
        );
        assert!(client.joined_rooms().await.unwrap_err().is_transient());
    }
}
