//! Who may see the calls of a room: everybody, its members, or only the operator. A member may see
//! what the room's history visibility shows to members.

use super::coverage::Span;
use super::event::{EventKind, RoomEvent};
use super::id::hash;
use super::order::sort_by_effective_time;
use super::power::PowerLevels;
use super::visibility::hidden_spans;
use super::words::words;
use serde_json::Value;

/// The state event by which a room's moderators say who may see its calls:
/// `{"visibility": "public" | "members" | "hidden"}`.
pub const VISIBILITY_EVENT: &str = "org.callscope.visibility";

/// The topic of a room, which may have a tag in the place of that event: `[callscope: hidden]`,
/// `members`, `public` or `off`. Only the tag is kept of it, as the content of that event.
pub const TOPIC_EVENT: &str = "m.room.topic";
/// The key of what the room asks for.
pub const VISIBILITY_KEY: &str = "visibility";
/// The word by which a room asks that its calls are not recorded.
const NONE: &str = "none";
/// What is kept of a tag that nobody knows.
const UNKNOWN: &str = "unknown";
/// How a tag begins, in lower case.
const TAG: &str = "[callscope:";
/// What may stand in a tag, and the word of the state event that it means.
const TAG_WORDS: [(&str, &str); 5] = [
    ("off", NONE),
    (NONE, NONE),
    ("hidden", "hidden"),
    ("members", "members"),
    ("public", "public"),
];

/// What the first tag in a topic asks for, in the word of the state event; `None` if there is no
/// tag.
#[must_use]
pub fn tag_of_topic(topic: &str) -> Option<&'static str> {
    // The length in bytes stays the same.
    let topic = topic.to_ascii_lowercase();
    let (_, rest) = topic.split_once(TAG)?;
    let (word, _) = rest.split_once(']')?;
    let known = TAG_WORDS.iter().find(|(tag, _)| *tag == word.trim());

    Some(known.map_or(UNKNOWN, |(_, word)| *word))
}

/// The word, if it is one that is kept of a topic.
#[must_use]
pub fn known_word(word: &str) -> Option<&'static str> {
    let words = TAG_WORDS.iter().map(|(_, word)| *word).chain([UNKNOWN]);
    words.into_iter().find(|known| *known == word)
}

/// What decides who may see the calls of a room, and whether they are recorded: its state event or,
/// if it has none, the tag of its topic. `None` if neither says something. Both are the newest ones.
#[must_use]
pub fn event_that_decides<'e>(
    event: Option<&'e RoomEvent>,
    topic: Option<&'e RoomEvent>,
) -> Option<&'e RoomEvent> {
    event.or(topic.filter(|topic| topic.content.get(VISIBILITY_KEY).is_some()))
}

/// Does the room ask that its calls are not recorded? What was recorded is deleted then, so it takes
/// the power of a moderator. Whoever has less power hides the calls by it.
#[must_use]
pub fn is_opt_out(event: &RoomEvent, levels: Option<&PowerLevels>) -> bool {
    let power = levels.map_or(0, |levels| levels.of_user(&event.sender));

    asks_for_no_record(event) && power >= POWER_TO_PUBLISH
}

/// Does the event ask that calls are not recorded, whoever sent it?
#[must_use]
pub fn asks_for_no_record(event: &RoomEvent) -> bool {
    let word = event.content.get(VISIBILITY_KEY);
    word.is_some_and(|word| word == NONE)
}

/// A number of the event by which a room opted out, by which it is known again; never 0.
#[must_use]
pub fn number_of_opt_out(event: &RoomEvent) -> i64 {
    let digits = hash(&["opt-out", &event.event_id], 7);
    i64::from_str_radix(&digits, 16).map_or(1, |number| number.max(1))
}

words! {
    /// Who may see the calls of a room.
    pub enum RoomVisibility {
        /// Everybody.
        Public = "public",
        /// Those who are or were in the room.
        Members = "members",
        /// Only the operator.
        Hidden = "hidden",
    }
}

/// What decides who may see the calls of a room.
#[derive(Debug, Clone, Copy, Default)]
pub struct VisibilityFacts<'a> {
    /// The operator's decision about this room.
    pub by_operator: Option<RoomVisibility>,
    /// What the room's moderators ask for.
    pub by_room: Option<RoomVisibility>,
    /// The room's history visibility; `None` if unknown.
    pub history_visibility: Option<&'a str>,
    /// The room's join rule; `None` if unknown.
    pub join_rule: Option<&'a str>,
    /// The operator said that rooms that everybody may join are public.
    pub open_rooms_are_public: bool,
}

/// Who may see the calls of a room. The operator's decision goes before that of the moderators, and
/// both before what the room's own rules suggest. A room of which nothing is known is not public.
#[must_use]
pub fn visibility_of_room(facts: &VisibilityFacts) -> RoomVisibility {
    if let Some(decided) = facts.by_operator.or(facts.by_room) {
        return decided;
    }

    let is_readable = facts.history_visibility == Some("world_readable");
    let is_open = facts.open_rooms_are_public && facts.join_rule == Some("public");
    if is_readable || is_open {
        RoomVisibility::Public
    } else {
        RoomVisibility::Members
    }
}

/// The power that it takes at least to make the calls of a room public, or to have them deleted.
const POWER_TO_PUBLISH: i64 = 50;

/// What the event of a room's moderators asks for. A word that is none of ours hides the calls:
/// somebody wanted something, and showing too little can be mended. `levels` are the power levels at
/// that time, if they are known. Whoever has too little power may hide the calls, but not publish
/// them.
#[must_use]
pub fn visibility_of_event(event: &RoomEvent, levels: Option<&PowerLevels>) -> RoomVisibility {
    let word = event.content.get("visibility").and_then(Value::as_str);
    let asked = word.and_then(|word| word.parse().ok());
    let power = levels.map_or(0, |levels| levels.of_user(&event.sender));
    match asked {
        Some(RoomVisibility::Public) if power < POWER_TO_PUBLISH => RoomVisibility::Members,
        Some(asked) => asked,
        None => RoomVisibility::Hidden,
    }
}

/// The time of a room that everybody may see: that in which its history was readable by everybody,
/// or if the room is `open` to everybody who wants to come in, that in which it was open to those
/// who come later. In order, disjoint. `events` are those of the room's history visibility, in any
/// order.
#[must_use]
pub fn spans_visible_to_everybody(events: &[RoomEvent], open: bool) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut is_visible = None;
    for (time, event) in
        sort_by_effective_time(events.iter().filter(|event| is_history_visibility(event)))
    {
        let word = event
            .content
            .get("history_visibility")
            .and_then(Value::as_str);
        let becomes_visible = match word {
            Some("world_readable") => true,
            Some("joined" | "invited") => false,
            _ => open,
        };
        // Nothing else is known of the time before the first one.
        let from = if is_visible.is_none() { 0 } else { time };
        match spans.last_mut().filter(|span| span.to == i64::MAX) {
            Some(last) if !becomes_visible => last.to = from,
            None if becomes_visible => spans.push(Span { from, to: i64::MAX }),
            _ => {}
        }

        is_visible = Some(becomes_visible);
    }

    if is_visible.is_none() && open {
        spans.push(ALWAYS);
    }

    spans.retain(|span| !span.is_empty());

    spans
}

/// All time, as far as events have times.
const ALWAYS: Span = Span {
    from: 0,
    to: i64::MAX,
};

/// What is known of an account in a room beside the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The account is in the room.
    pub is_joined: bool,
    /// When the last event about it was sent, ms.
    pub since_ms: i64,
}

/// The time of a room that an account may see as its member: what its history visibility showed
/// then, up to the last moment at which the account was in the room. In order, disjoint; from 0 to
/// `i64::MAX` for somebody who is in a room whose history was always open to members. `events` are
/// those of the room's history visibility and of its members, in any order. Some accounts leave
/// without an event, by a state reset; they see nothing after the last event about them.
#[must_use]
pub fn spans_visible_to_member(
    events: &[RoomEvent],
    user_id: &str,
    standing: Standing,
) -> Vec<Span> {
    let mut events = events.to_vec();
    for event in &mut events {
        // A server may state an earlier time for a join than that at which it came.
        if let Some(received_ts) = event.received_ts.take() {
            event.origin_server_ts = event.origin_server_ts.max(received_ts);
        }
    }

    let end = match end_of_last_stay(&events, user_id) {
        Some(i64::MAX) if !standing.is_joined => Some(standing.since_ms),
        end => end,
    };
    let Some(last) = end else {
        return Vec::new();
    };

    let visibility = events.iter().filter(|event| is_history_visibility(event));
    let earliest = sort_by_effective_time(visibility)
        .first()
        .map(|(_, event)| event.event_id.clone());
    // Of the time before the first visibility that we know, nothing else is known. What it hides
    // was not shown before either, as far as we can say.
    for event in events
        .iter_mut()
        .filter(|event| Some(&event.event_id) == earliest.as_ref())
    {
        event.origin_server_ts = 0;
        event.replaces_state = None;
    }

    let mut spans = Vec::new();
    let mut from = 0;
    for hidden in hidden_spans(&events, &[user_id.to_owned()]) {
        spans.push(Span {
            from,
            to: hidden.from.min(last),
        });
        from = hidden.to;
    }

    spans.push(Span { from, to: last });
    spans.retain(|span| !span.is_empty());

    spans
}

fn is_history_visibility(event: &RoomEvent) -> bool {
    event.kind == "m.room.history_visibility" && event.state_key.as_deref() == Some("")
}

/// When the account was last in the room, ms; `i64::MAX` if it is in the room, `None` if it never
/// was.
fn end_of_last_stay(events: &[RoomEvent], user_id: &str) -> Option<i64> {
    let of_user = events.iter().filter(|event| {
        EventKind::of_event_type(&event.kind) == EventKind::Presence
            && event.state_key.as_deref() == Some(user_id)
    });

    let mut end = None;
    for (time, event) in sort_by_effective_time(of_user) {
        let is_join = event
            .content
            .get("membership")
            .is_some_and(|word| word == "join");
        if is_join {
            end = Some(i64::MAX);
        } else if end == Some(i64::MAX) {
            end = Some(time);
        }
    }

    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::power::RoomCreation;
    use serde_json::json;

    #[test]
    fn a_tag_in_a_topic_says_who_may_see() {
        let topics = [
            ("Welcome [callscope: off] all", Some("none")),
            ("[Callscope:HIDDEN]", Some("hidden")),
            ("[callscope:  members ]", Some("members")),
            ("[callscope: public] [callscope: off]", Some("public")),
            ("[callscope: please not]", Some("unknown")),
            ("[callscope: off", None),
            ("callscope: off", None),
            ("", None),
        ];
        for (topic, word) in topics {
            assert_eq!(tag_of_topic(topic), word, "{topic}");
        }
    }

    #[test]
    fn to_opt_out_takes_the_power_of_a_moderator() {
        let creation = RoomCreation::read("@c:a", &json!({}));
        let asks = event(1, VISIBILITY_EVENT, "", &json!({"visibility": "none"}));
        let levels = |power: i64| PowerLevels::read(&json!({"users": {"@a:a": power}}), &creation);
        assert!(is_opt_out(&asks, Some(&levels(50))));
        assert!(!is_opt_out(&asks, Some(&levels(49))));
        assert!(!is_opt_out(&asks, None));
        assert_eq!(
            visibility_of_event(&asks, Some(&levels(0))),
            RoomVisibility::Hidden
        );
        let other = event(3, VISIBILITY_EVENT, "", &json!({"visibility": "none"}));
        assert_ne!(number_of_opt_out(&asks), number_of_opt_out(&other));
        assert!(number_of_opt_out(&asks) > 1);
        let topic = event(2, TOPIC_EVENT, "", &json!({}));
        assert_eq!(event_that_decides(None, Some(&topic)), None);
        assert_eq!(event_that_decides(Some(&asks), Some(&topic)), Some(&asks));
    }

    fn event(ts: i64, kind: &str, key: &str, content: &Value) -> RoomEvent {
        let json = json!({"event_id": format!("${ts}"), "type": kind, "state_key": key,
            "sender": "@a:a", "origin_server_ts": ts, "content": content});
        RoomEvent::from_json(&json, None).unwrap()
    }

    fn history(ts: i64, word: &str) -> RoomEvent {
        let content = json!({"history_visibility": word});
        event(ts, "m.room.history_visibility", "", &content)
    }

    fn member(ts: i64, word: &str) -> RoomEvent {
        event(ts, "m.room.member", "@m:h", &json!({"membership": word}))
    }

    fn spans(events: &[RoomEvent]) -> Vec<(i64, i64)> {
        let standing = Standing {
            is_joined: true,
            since_ms: 0,
        };

        pairs(&spans_visible_to_member(events, "@m:h", standing))
    }

    fn pairs(spans: &[Span]) -> Vec<(i64, i64)> {
        spans.iter().map(|span| (span.from, span.to)).collect()
    }

    const ALL_TIME: (i64, i64) = (0, i64::MAX);

    #[test]
    fn the_operator_goes_before_the_room_and_both_before_its_rules() {
        let mut facts = VisibilityFacts::default();
        assert_eq!(visibility_of_room(&facts), RoomVisibility::Members);
        facts.history_visibility = Some("world_readable");
        assert_eq!(visibility_of_room(&facts), RoomVisibility::Public);
        facts.by_room = Some(RoomVisibility::Hidden);
        assert_eq!(visibility_of_room(&facts), RoomVisibility::Hidden);
        facts.by_operator = Some(RoomVisibility::Members);
        assert_eq!(visibility_of_room(&facts), RoomVisibility::Members);
    }

    #[test]
    fn an_open_room_is_public_only_if_the_operator_says_so() {
        let mut facts = VisibilityFacts {
            history_visibility: Some("shared"),
            join_rule: Some("public"),
            ..VisibilityFacts::default()
        };
        assert_eq!(visibility_of_room(&facts), RoomVisibility::Members);
        facts.open_rooms_are_public = true;
        assert_eq!(visibility_of_room(&facts), RoomVisibility::Public);
        facts.join_rule = Some("knock");
        assert_eq!(visibility_of_room(&facts), RoomVisibility::Members);
    }

    #[test]
    fn who_never_was_in_the_room_sees_nothing() {
        assert_eq!(spans(&[history(1, "shared")]), []);
        assert_eq!(spans(&[history(1, "shared"), member(5, "invite")]), []);
        assert_eq!(spans(&[history(1, "shared"), member(5, "ban")]), []);
        let other = event(5, "m.room.member", "@x:h", &json!({"membership": "join"}));
        assert_eq!(spans(&[other]), []);
    }

    #[test]
    fn a_member_sees_the_past_if_it_is_shared_and_else_from_the_join_on() {
        assert_eq!(spans(&[member(5, "join")]), [ALL_TIME]);
        assert_eq!(
            spans(&[history(1, "shared"), member(5, "join")]),
            [ALL_TIME]
        );
        assert_eq!(
            spans(&[history(1, "joined"), member(5, "join")]),
            [(5, i64::MAX)]
        );
        // The first known visibility may not be the room's first.
        let later = [
            member(3, "join"),
            member(4, "leave"),
            history(5, "joined"),
            member(9, "join"),
        ];
        assert_eq!(spans(&later), [(3, 4), (9, i64::MAX)]);
        let invited = [
            history(1, "invited"),
            member(4, "invite"),
            member(6, "join"),
        ];
        assert_eq!(spans(&invited), [(4, i64::MAX)]);
    }

    #[test]
    fn who_left_sees_what_was_before() {
        let shared = [history(1, "shared"), member(5, "join"), member(9, "leave")];
        assert_eq!(spans(&shared), [(0, 9)]);
        let joined = [
            history(1, "joined"),
            member(5, "join"),
            member(9, "ban"),
            member(20, "leave"),
            member(30, "join"),
            member(40, "leave"),
        ];
        assert_eq!(spans(&joined), [(5, 9), (30, 40)]);
    }

    #[test]
    fn who_went_without_an_event_sees_nothing_later() {
        let standing = Standing {
            is_joined: false,
            since_ms: 5,
        };
        let events = [history(1, "shared"), member(5, "join")];
        let spans = spans_visible_to_member(&events, "@m:h", standing);
        assert_eq!(pairs(&spans), [(0, 5)]);
    }

    #[test]
    fn a_join_counts_from_when_it_came() {
        let mut join = member(5, "join");
        join.received_ts = Some(70);
        assert_eq!(spans(&[history(1, "joined"), join]), [(70, i64::MAX)]);
    }

    #[test]
    fn everybody_sees_what_everybody_could_read() {
        let seen = |events: &[RoomEvent], open| pairs(&spans_visible_to_everybody(events, open));
        let readable = [history(5, "world_readable")];
        assert_eq!(seen(&readable, false), [ALL_TIME]);
        let later = [history(5, "joined"), history(9, "world_readable")];
        assert_eq!(seen(&later, false), [(9, i64::MAX)]);
        let shared = [history(5, "shared"), history(9, "world_readable")];
        assert_eq!(seen(&shared, false), [(9, i64::MAX)]);
        assert_eq!(seen(&shared, true), [ALL_TIME]);
        let between = [
            history(5, "world_readable"),
            history(9, "invited"),
            history(12, "shared"),
        ];
        assert_eq!(seen(&between, true), [(0, 9), (12, i64::MAX)]);
        assert_eq!(seen(&[], false), []);
        assert_eq!(seen(&[], true), [ALL_TIME]);
    }
}
