//! The events of one answer, from text to values, one at a time. An event that is too large, or
//! takes too much memory for its size, is replaced by a stand-in that can still be counted.

use super::json::{
    Fields, build_value, estimate_memory, fields_of_object, for_each_item, max_value_count,
    text_of_value,
};
use crate::rtc::sieve;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Maximum text of an event, bytes. The specification's limit is 64 KiB; servers add `unsigned` to
/// it.
const EVENT_MAX: usize = 100 * 1024;
/// Maximum values in an event. No honest event has more.
const NODES_MAX: usize = 5_000;
/// Maximum memory of an event as a multiple of its text ...
const RATIO: usize = 12;
/// ... or this many bytes, if that is more. Usual events take 5 to 10 times their text.
const WEIGHT_FREE: usize = 8 * 1024;
/// Memory that the events of one answer may take in addition to `RATIO` times its text, bytes.
const ANSWER_FREE: usize = 16 * 1024 * 1024;
/// Maximum length of an id, bytes. A longer one is dropped.
const PART_MAX: usize = 2 * 1024;
/// The fields of a stand-in.
const KEPT: [&str; 5] = [
    "event_id",
    "type",
    "sender",
    "state_key",
    "origin_server_ts",
];

/// The fields that make an event sticky, and their maximum length, bytes. A longer one is ignored.
const STICKY: [&str; 2] = ["msc4354_sticky", "sticky"];
const STICKY_MAX: usize = 256;

/// Even the stand-ins of an answer take too much memory: no working homeserver sends such an
/// answer.
#[derive(Debug)]
pub(super) struct AnswerTooLarge;

/// Builds the events of one answer.
#[derive(Debug)]
pub(super) struct EventBuilder {
    /// Events are built completely up to this many bytes of memory ...
    budget: usize,
    /// ... of which this many are used.
    used: usize,
    /// How many events were replaced by a stand-in.
    stand_ins: usize,
}

impl EventBuilder {
    /// A builder for an answer of `bytes` bytes; the length of the answer bounds the memory of its
    /// events.
    pub(super) fn within_bytes(bytes: usize) -> Self {
        Self {
            budget: bytes.saturating_mul(RATIO).saturating_add(ANSWER_FREE),
            used: 0,
            stand_ins: 0,
        }
    }

    /// Bytes of memory that the events so far take.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// All events of a list; `None` if it is no list.
    pub(super) fn list(&mut self, raw: &RawValue) -> Result<Option<Vec<Value>>, AnswerTooLarge> {
        self.list_where(raw, |_| true)
    }

    /// The events of a list whose type is one of [`sieve::TYPES`], or that have no type: these are
    /// stored and counted. `None` if it is no list.
    pub(super) fn list_of_types(
        &mut self,
        raw: &RawValue,
    ) -> Result<Option<Vec<Value>>, AnswerTooLarge> {
        self.list_where(raw, |raw| {
            let kind = fields_of_object(raw)
                .and_then(|fields| text_of_value(fields.get("type")?))
                .unwrap_or_default();
            kind.is_empty() || sieve::is_ours(&kind)
        })
    }

    /// The events of a list that are wanted, in its order; `None` if it is no list. An error if all
    /// events of this builder take twice the memory that is allowed for whole ones: stand-ins are
    /// made beyond that budget too, so only an answer of very many small events does.
    fn list_where(
        &mut self,
        raw: &RawValue,
        wanted: impl Fn(&RawValue) -> bool,
    ) -> Result<Option<Vec<Value>>, AnswerTooLarge> {
        if !raw.get().starts_with('[') {
            return Ok(None);
        }

        let mut events = Vec::new();
        let all = for_each_item(raw, |event| {
            if wanted(event) {
                events.push(self.event(event));
            }

            self.used <= self.budget.saturating_mul(2)
        });

        all.map(|()| Some(events)).ok_or(AnswerTooLarge)
    }

    /// The value of one event. If its type was not requested, only its identifying fields are kept:
    /// the sieve counts it. If it is too large, a stand-in.
    pub(super) fn event(&mut self, raw: &RawValue) -> Value {
        if let Some(event) = foreign_event_fields(raw) {
            self.used += estimate_memory(&event);
            return event;
        }

        if let Some(event) = self.build_within_limits(raw.get()) {
            self.used += estimate_memory(&event);
            return event;
        }

        self.stand_ins += 1;
        let event = stand_in(raw);
        self.used += estimate_memory(&event);

        event
    }

    /// The value of one event; `None` if it is too large, has too many values, or takes too much
    /// memory for its size or for what is left of this answer.
    fn build_within_limits(&self, text: &str) -> Option<Value> {
        let fits = text.len() <= EVENT_MAX && max_value_count(text) <= NODES_MAX;
        let event = fits.then(|| build_value(text).ok())??;
        let weight = estimate_memory(&event);
        let is_light = weight <= WEIGHT_FREE.max(text.len().saturating_mul(RATIO));

        (is_light && self.used + weight <= self.budget).then_some(event)
    }

    /// Logs the number of stand-ins among the events, if there are any.
    pub(super) fn tell(&self, asked: &str) {
        if self.stand_ins > 0 {
            tracing::info!(
                asked,
                events = self.stand_ins,
                "events that are too large are kept without their content"
            );
        }
    }
}

/// A small value in place of an event that is too large: its identifying fields, with a content
/// that says so.
fn stand_in(raw: &RawValue) -> Value {
    let Some(fields) = fields_of_object(raw) else {
        return Value::String("too_large".to_owned());
    };

    let mut event = identifying_fields(&fields);
    event.insert("content".to_owned(), "too_large".into());

    Value::Object(event)
}

/// The identifying fields of an event whose type is not ours, and how long it is sticky; `None` if
/// the type is ours.
fn foreign_event_fields(raw: &RawValue) -> Option<Value> {
    let fields = fields_of_object(raw)?;
    let kind = text_of_value(fields.get("type")?)?;
    if sieve::is_ours(&kind) {
        return None;
    }

    let mut event = identifying_fields(&fields);
    for key in STICKY {
        if let Some(sticky) = fields
            .get(key)
            .filter(|part| part.get().len() <= STICKY_MAX)
        {
            event.insert(key.to_owned(), build_value(sticky.get()).ok()?);
        }
    }

    Some(Value::Object(event))
}

/// The identifying fields of an event, without those that are long or structured.
fn identifying_fields(fields: &Fields<'_>) -> Map<String, Value> {
    let part = |key: &str| {
        let part = fields.get(key)?.get();
        let is_plain = part.len() <= PART_MAX && !part.starts_with(['{', '[']);
        is_plain.then(|| build_value(part).ok())?
    };

    KEPT.iter()
        .filter_map(|key| Some(((*key).to_owned(), part(key)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn event(content: &str) -> String {
        format!(
            "{{\"event_id\":\"$1\",\"type\":\"m.call.member\",\"sender\":\"@a:x\",\"state_key\":\"_@a:x_D\",\"origin_server_ts\":5,\"unsigned\":{{}},\"content\":{content}}}"
        )
    }

    fn read(text: &str) -> Value {
        EventBuilder::within_bytes(text.len()).event(&raw(text))
    }

    #[test]
    fn what_is_too_large_is_replaced_by_what_tells_it_apart() {
        let small = json!({
            "event_id": "$1", "type": "m.call.member", "sender": "@a:x", "state_key": "_@a:x_D",
            "origin_server_ts": 5, "content": "too_large",
        });
        let long = format!("\"{}\"", "x".repeat(EVENT_MAX));
        let many = format!("[{}1]", "\"aaaaaaaaaaaaa\",".repeat(NODES_MAX));
        let heavy = format!("[{}1]", "{\"a\":1},".repeat(1_000));
        for content in [long, many, heavy] {
            assert_eq!(read(&event(&content)), small, "{} bytes", content.len());
        }

        assert_eq!(read(&format!("\"{}\"", "x".repeat(EVENT_MAX))), "too_large");
        let ids = format!(
            "{{\"event_id\":\"{}\",\"sender\":[{}]}}",
            "x".repeat(EVENT_MAX),
            "1,".repeat(9_000) + "1"
        );
        assert_eq!(read(&ids), json!({"content": "too_large"}));
    }

    #[test]
    fn usual_and_largest_lawful_events_stay_whole() {
        let focus = r#"{"type":"livekit","livekit_service_url":"https://x","livekit_alias":"!r"}"#;
        let member = format!(
            r#"{{"application":"m.call","m.x":{{"a":{{"b":{{"c":1}}}}}},"foci_preferred":[{focus},{focus}],"focus_active":{focus}}}"#
        );
        let text = format!("{{\"t\":\"{},\"}}", "x,".repeat(40_000));
        let list = format!("[{}\"\"]", "\"@user:example.org\",".repeat(3_000));

        for content in [member, text, list, "{}".to_owned(), "7".to_owned()] {
            let event = event(&content);
            assert_eq!(read(&event), serde_json::from_str::<Value>(&event).unwrap());
        }
    }

    #[test]
    fn of_a_state_only_what_is_asked_for_is_built() {
        let state = r#"[{"type":"m.room.pinned_events"},{"type":"m.room.create"},{"type":7},{"a":1},null,{"type":""}]"#;
        let kept = EventBuilder::within_bytes(state.len())
            .list_of_types(&raw(state))
            .unwrap()
            .unwrap();
        assert_eq!(
            kept,
            [
                json!({"type": "m.room.create"}),
                json!({"type": 7}),
                json!({"a": 1}),
                json!(null),
                json!({"type": ""})
            ]
        );
        assert!(
            EventBuilder::within_bytes(9)
                .list(&raw("{}"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn forty_megabytes_of_hostile_events_stay_small() {
        const BYTES: usize = 40_000_000;
        let inner = ["{\"a\":1},", "{\"\":{\"\":{}}},", "{},", "[[]],", "1,"];
        let one = |inner: &str| event(&format!("[{}1]", inner.repeat(60_000 / inner.len())));
        let all: String = inner.iter().map(|inner| one(inner) + ",").collect();
        let list = format!("[{}7]", all.repeat(BYTES / all.len()));
        let mut events = EventBuilder::within_bytes(list.len());
        let kept = events.list(&raw(&list)).unwrap().unwrap();
        assert_eq!(kept.len(), BYTES / all.len() * inner.len() + 1);
        assert_eq!(events.stand_ins, kept.len() - 1);
        let values: usize = kept
            .iter()
            .map(|event| max_value_count(&event.to_string()))
            .sum();
        assert_eq!(values, events.stand_ins * 7 + 1);
    }

    #[test]
    fn many_small_hostile_events_share_a_budget() {
        for inner in ["{\"a\":1},", "{\"\":{\"\":{}}},", "{},", "[[]],", "1,"] {
            for content in [9_000, 100] {
                let one = event(&format!("[{}1]", inner.repeat(content / inner.len())));
                let list = format!("[{}{one}]", format!("{one},").repeat(600_000 / one.len()));
                let mut events = EventBuilder {
                    budget: list.len() * RATIO,
                    ..EventBuilder::within_bytes(0)
                };

                let kept = events.list(&raw(&list)).unwrap().unwrap();
                assert_eq!(kept.len(), 600_000 / one.len() + 1);
                assert!(
                    kept.iter().all(|event| event["event_id"] == "$1"),
                    "{inner} {content}"
                );
                let bytes: usize = kept.iter().map(estimate_memory).sum();
                assert!(
                    bytes <= list.len() * RATIO * 3 / 2,
                    "{bytes} bytes of {} of {inner} {content}",
                    list.len()
                );
            }
        }
    }

    #[test]
    fn a_list_of_endless_nothings_is_given_up() {
        let list = format!("[{}1]", "{\"a\":1},".repeat(1_000_000));
        assert!(
            EventBuilder::within_bytes(list.len())
                .list(&raw(&list))
                .is_err()
        );
    }
}
