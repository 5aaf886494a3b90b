//! Finds which times of a room are hidden from us. That depends on the history visibility at that
//! time and on whether we were in the room.

use super::coverage::Span;
use super::event::{EventKind, RoomEvent};
use super::order::sort_by_effective_time;
use serde_json::Value;
use std::collections::HashMap;

const VISIBILITY: &str = "m.room.history_visibility";

/// The spans in which the room's history was visible only to members (`joined`) or to invited
/// people (`invited`), and none of `users` was that. In order, disjoint; the last may extend into
/// the far future.
#[must_use]
pub fn hidden_spans<'a>(
    events: impl IntoIterator<Item = &'a RoomEvent>,
    users: &[String],
) -> Vec<Span> {
    let concerns = |event: &&RoomEvent| match &event.state_key {
        Some(key) => {
            (event.kind == VISIBILITY && key.is_empty())
                || (EventKind::of_event_type(&event.kind) == EventKind::Presence
                    && users.contains(key))
        }
        None => false,
    };

    let mut visibility = "shared";
    let mut standing: HashMap<&str, &str> = HashMap::new();
    let mut found: Vec<Span> = Vec::new();
    for (time, event) in sort_by_effective_time(events.into_iter().filter(concerns)) {
        let word = |key: &str| event.content.get(key).and_then(Value::as_str);
        if event.kind == VISIBILITY {
            visibility = word("history_visibility").unwrap_or("shared");
        } else {
            standing.insert(
                event.state_key.as_deref().unwrap_or_default(),
                word("membership").unwrap_or("leave"),
            );
        }

        let is_any = |words: &[&str]| standing.values().any(|standing| words.contains(standing));
        let is_hidden = match visibility {
            "joined" => !is_any(&["join"]),
            "invited" => !is_any(&["join", "invite"]),
            _ => false,
        };

        match found.last_mut().filter(|last| last.to == i64::MAX) {
            Some(last) if !is_hidden => last.to = time,
            None if is_hidden => found.push(Span {
                from: time,
                to: i64::MAX,
            }),
            _ => {}
        }
    }

    found.retain(|span| !span.is_empty());

    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(ts: i64, kind: &str, key: &str, content: &Value) -> RoomEvent {
        let json = json!({"event_id": format!("${ts}"), "type": kind, "state_key": key,
            "sender": "@a:a",
            "origin_server_ts": ts, "content": content});
        RoomEvent::from_json(&json, None).unwrap()
    }

    fn visibility(ts: i64, word: &str) -> RoomEvent {
        event(ts, VISIBILITY, "", &json!({"history_visibility": word}))
    }

    fn bot(ts: i64, word: &str) -> RoomEvent {
        event(ts, "m.room.member", "@bot:h", &json!({"membership": word}))
    }

    fn hidden_spans_of(events: &[RoomEvent]) -> Vec<(i64, i64)> {
        hidden_spans(events, &["@bot:h".to_owned()])
            .iter()
            .map(|span| (span.from, span.to))
            .collect()
    }

    #[test]
    fn members_only_hides_what_was_before_the_join_and_after_the_leave() {
        assert_eq!(
            hidden_spans_of(&[visibility(10, "joined"), bot(50, "invite"), bot(60, "join")]),
            [(10, 60)]
        );
        assert_eq!(
            hidden_spans_of(&[
                visibility(10, "invited"),
                bot(50, "invite"),
                bot(60, "join")
            ]),
            [(10, 50)]
        );
        assert_eq!(
            hidden_spans_of(&[visibility(10, "shared"), bot(60, "join")]),
            []
        );
        let all = [
            visibility(10, "joined"),
            bot(20, "join"),
            bot(30, "leave"),
            bot(40, "join"),
            bot(70, "ban"),
        ];
        assert_eq!(hidden_spans_of(&all), [(10, 20), (30, 40), (70, i64::MAX)]);
        assert_eq!(
            hidden_spans_of(&[
                visibility(10, "joined"),
                visibility(30, "shared"),
                bot(60, "join")
            ]),
            [(10, 30)]
        );
        assert_eq!(
            hidden_spans(
                &[
                    visibility(10, "joined"),
                    event(9, "m.room.member", "@x:h", &json!({"membership": "join"}))
                ],
                &[]
            )
            .len(),
            1
        );
    }
}
