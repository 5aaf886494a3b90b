//! The history of a room: `/messages` backwards with the type filter, and single events.

use super::error::Result;
use super::events::EventBuilder;
use super::id::is_position;
use super::json::{Fields, fields_of_object, for_each_item, text_of_value};
use super::wire::JsonBody;
use super::{Client, TYPES};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// One page of a room's history, newest first. An empty page need not be the last one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessagesPage {
    pub chunk: Vec<Value>,
    /// Where the next page begins. `None` at the room's beginning, where history stops being
    /// visible, and where a homeserver just gives no more.
    pub end: Option<String>,
    /// Ids of events of other types, which were not requested and are left out: they show that the
    /// page is not empty.
    pub others: Vec<String>,
}

impl Client {
    /// One page of a room's history backwards, only of the types in [`TYPES`]. `from` is an `end`
    /// or `prev_batch`, `None` for the newest; `limit` is how many events are wanted. Backwards is
    /// the only direction in which a homeserver fetches missing events from others.
    ///
    /// # Errors
    /// As every request; `is_forbidden` when the room is not ours to see, `is_unknown_position` for
    /// `from`.
    pub async fn messages(
        &self,
        room_id: &str,
        from: Option<&str>,
        limit: u32,
    ) -> Result<MessagesPage> {
        let filter = json!({"types": TYPES, "lazy_load_members": false}).to_string();
        let page = self
            .messages_page(room_id, from, limit, Some(&filter))
            .await?;
        let fields = page.fields()?;
        let mut events = EventBuilder::within_bytes(page.text.len());
        let missing = || page.not_matrix("the list `chunk` is missing");
        let chunk = events
            .list(fields.get("chunk").ok_or_else(missing)?)
            .map_err(|full| page.full(full))?;
        events.tell(&page.asked);
        let chunk = chunk.ok_or_else(missing)?;

        Ok(MessagesPage {
            chunk,
            end: end_of_page(&fields, from),
            others: Vec::new(),
        })
    }

    /// Like [`Self::messages`] without a filter, for a homeserver that gives no more with one. For
    /// other types only the ids are kept.
    ///
    /// # Errors
    /// As [`Self::messages`].
    pub async fn messages_unfiltered(
        &self,
        room_id: &str,
        from: Option<&str>,
        limit: u32,
    ) -> Result<MessagesPage> {
        let page = self.messages_page(room_id, from, limit, None).await?;
        let fields = page.fields()?;
        let missing = || page.not_matrix("the list `chunk` is missing");
        let list = fields.get("chunk").ok_or_else(missing)?;
        let mut events = EventBuilder::within_bytes(page.text.len());
        let chunk = events
            .list_of_types(list)
            .map_err(|full| page.full(full))?
            .ok_or_else(missing)?;
        let mut others = Vec::new();
        for_each_item(list, |raw| {
            others.extend(id_of_other(raw));
            true
        });

        Ok(MessagesPage {
            chunk,
            end: end_of_page(&fields, from),
            others,
        })
    }

    /// Requests one page of history, and returns the answer as text. Without a filter, events of
    /// all types come.
    async fn messages_page(
        &self,
        room_id: &str,
        from: Option<&str>,
        limit: u32,
        filter: Option<&str>,
    ) -> Result<JsonBody> {
        let parts = ["_matrix", "client", "v3", "rooms", room_id, "messages"];
        let mut request = self
            .get(&parts)
            .query("dir", "b")
            .query("limit", &limit.to_string());
        for (key, value) in [("filter", filter), ("from", from)] {
            if let Some(value) = value {
                request = request.query(key, value);
            }
        }

        request.send_for_page().await
    }

    /// One event, raw. If it is too large, only its identifying fields.
    ///
    /// # Errors
    /// As every request; `is_not_found` when it does not exist or we may not see it.
    pub async fn event(&self, room_id: &str, event_id: &str) -> Result<Value> {
        let parts = [
            "_matrix", "client", "v3", "rooms", room_id, "event", event_id,
        ];
        let page = self.get(&parts).send_for_page().await?;
        let id = page
            .fields()?
            .get("event_id")
            .and_then(|id| text_of_value(id))
            .filter(|id| !id.is_empty());
        id.ok_or_else(|| page.not_matrix("`event_id` is missing"))?;

        Ok(EventBuilder::within_bytes(page.text.len()).event(page.raw()?))
    }
}

/// Where the page after that of these `fields` begins; `None` if this is the last. `from` is where
/// this one began. A page that ends where it began counts as the last, because it would be
/// requested again for ever.
fn end_of_page(fields: &Fields<'_>, from: Option<&str>) -> Option<String> {
    let end = fields.get("end").and_then(|end| text_of_value(end));
    end.filter(|end| is_position(end) && Some(end.as_str()) != from)
}

/// The id of an event whose type is not ours; `None` if the type is ours.
fn id_of_other(raw: &RawValue) -> Option<String> {
    let fields = fields_of_object(raw)?;
    let kind = text_of_value(fields.get("type")?)?;
    if TYPES.contains(&kind.as_str()) {
        return None;
    }

    text_of_value(fields.get("event_id")?)
}

#[cfg(test)]
mod tests {
    use super::super::stub::{Stub, json_reply};
    use serde_json::json;

    #[tokio::test]
    async fn a_page_may_be_empty_and_the_last_one_has_no_end() {
        let stub = Stub::start(vec![
            json_reply(200, &json!({"chunk": [], "start": "t0", "end": "t1"})),
            json_reply(
                200,
                &json!({"chunk": [{"event_id": "$1"}], "start": "t1", "end": "t1"}),
            ),
            json_reply(200, &json!({"chunk": [7]})),
            json_reply(200, &json!({})),
        ]);
        let client = stub.client();
        let first = client.messages("!r:x", None, 100).await.unwrap();
        assert_eq!((first.chunk.len(), first.end.as_deref()), (0, Some("t1")));
        let second = client.messages("!r:x", Some("t1"), 100).await.unwrap();
        assert_eq!((second.chunk.len(), second.end), (1, None));
        assert_eq!(
            client.messages("!r:x", None, 5).await.unwrap().chunk,
            [json!(7)]
        );
        assert!(
            client
                .messages("!r:x", None, 5)
                .await
                .unwrap_err()
                .is_transient()
        );
        let asked = stub.requests();
        assert!(
            asked[0].contains("dir=b&limit=100&filter=%7B") && !asked[0].contains("&from="),
            "{}",
            asked[0]
        );
        assert!(
            asked[0].contains("org.matrix.msc3401.call.member") && asked[1].contains("&from=t1 ")
        );
    }

    #[tokio::test]
    async fn without_a_filter_only_ids_of_other_types_are_kept() {
        let chunk = json!([
            {"event_id": "$1", "type": "m.room.message", "content": {"body": "secret"}},
            {"event_id": "$2", "type": "m.call.member"},
            {"event_id": "", "type": "m.room.message"},
        ]);
        let stub = Stub::start(vec![json_reply(200, &json!({"chunk": chunk, "end": "t1"}))]);
        let page = stub
            .client()
            .messages_unfiltered("!r:x", Some("t2"), 9)
            .await
            .unwrap();
        assert_eq!(
            page.chunk,
            [json!({"event_id": "$2", "type": "m.call.member"})]
        );
        assert_eq!(
            (page.end.as_deref(), page.others[0].as_str()),
            (Some("t1"), "$1")
        );
        let asked = stub.requests().remove(0);
        assert!(asked.contains("?dir=b&limit=9&from=t2 HTTP"), "{asked}");
    }

    #[tokio::test]
    async fn what_is_too_large_comes_without_its_content() {
        let event = |content: serde_json::Value| json!({"event_id": "$1", "content": content});
        let large = event(vec![json!({"a": 1}); 9_000].into());
        let answers = vec![
            json_reply(200, &json!({"chunk": [large]})),
            json_reply(200, &large),
        ];
        let stub = Stub::start(answers);
        assert_eq!(
            stub.client().messages("!r:x", None, 9).await.unwrap().chunk,
            [event("too_large".into())]
        );
        assert_eq!(
            stub.client().event("!r:x", "$1").await.unwrap(),
            event("too_large".into())
        );
    }

    #[tokio::test]
    async fn event_ids_with_slashes_stay_one_part_of_the_path() {
        let stub = Stub::start(vec![
            json_reply(200, &json!({"event_id": "$a/b+c=?"})),
            json_reply(200, &json!({})),
        ]);
        let client = stub.client();
        assert_eq!(
            client.event("!r/x:h", "$a/b+c=?").await.unwrap()["event_id"],
            "$a/b+c=?"
        );
        assert!(
            client.event("!r:h", "$b").await.is_err(),
            "an event without an id is none"
        );
        let asked = stub.requests().remove(0);
        assert!(
            asked.starts_with("GET /_matrix/client/v3/rooms/!r%2Fx:h/event/$a%2Fb%2Bc%3D%3F HTTP"),
            "{asked}"
        );
    }
}
