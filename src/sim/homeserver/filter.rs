//! Filters of `/sync` and `/messages`, as far as Synapse applies them.

use serde_json::Value;

use super::event::SimEvent;

/// The filter without its types, at any depth: plays a homeserver that applies only the limit.
fn without_types(filter: &Value) -> Value {
    match filter {
        Value::Object(parts) => parts
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "types" | "not_types"))
            .map(|(key, value)| (key.clone(), without_types(value)))
            .collect(),
        other => other.clone(),
    }
}

/// A filter as this homeserver understands it: with `ignores_types`, without the types.
pub(super) fn effective_filter(filter: Option<Value>, ignores_types: bool) -> Option<Value> {
    filter.map(|filter| {
        if ignores_types {
            without_types(&filter)
        } else {
            filter
        }
    })
}

/// The part of a filter that chooses events.
#[derive(Debug, Clone)]
pub(super) struct EventFilter {
    types: Option<Vec<String>>,
    not_types: Vec<String>,
    senders: Option<Vec<String>>,
    not_senders: Vec<String>,
    rooms: Option<Vec<String>>,
    not_rooms: Vec<String>,
    pub limit: usize,
    pub lazy_members: bool,
}

impl EventFilter {
    /// The filter of this JSON; whatever is missing or malformed does not restrict.
    pub fn read(filter: Option<&Value>, default_limit: usize) -> Self {
        let list = |key: &str| {
            let items = filter?.get(key)?.as_array()?;
            let texts = items.iter().filter_map(Value::as_str).map(str::to_owned);
            Some(texts.collect::<Vec<_>>())
        };

        let limit = filter
            .and_then(|f| f.get("limit"))
            .and_then(Value::as_u64)
            .and_then(|limit| usize::try_from(limit).ok());

        Self {
            types: list("types"),
            not_types: list("not_types").unwrap_or_default(),
            senders: list("senders"),
            not_senders: list("not_senders").unwrap_or_default(),
            rooms: list("rooms"),
            not_rooms: list("not_rooms").unwrap_or_default(),
            limit: limit.unwrap_or(default_limit),
            lazy_members: filter
                .and_then(|f| f.get("lazy_load_members"))
                .and_then(Value::as_bool)
                .unwrap_or(false),
        }
    }

    /// Does the filter let events of this room through?
    pub fn takes_room(&self, room_id: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|room| room == room_id);
        self.rooms.as_deref().is_none_or(named) && !named(&self.not_rooms)
    }

    /// Does the filter let this event through, by its type and sender?
    pub fn takes(&self, event: &SimEvent) -> bool {
        let of_type = |list: &[String]| {
            list.iter()
                .any(|pattern| is_matching_type(pattern, &event.kind))
        };
        let of_sender = |list: &[String]| list.contains(&event.sender);

        self.types.as_deref().is_none_or(of_type)
            && !of_type(&self.not_types)
            && self.senders.as_deref().is_none_or(of_sender)
            && !of_sender(&self.not_senders)
    }
}

/// The filter of a `/sync` request.
#[derive(Debug, Clone)]
pub(super) struct SyncFilter {
    pub room: EventFilter,
    pub timeline: EventFilter,
    pub state: EventFilter,
    pub include_leave: bool,
}

impl SyncFilter {
    /// The filter of a sync request; without one, with the limits of Synapse.
    pub fn read(filter: Option<&Value>) -> Self {
        let part = |path: &str| filter.and_then(|f| f.pointer(path));
        Self {
            room: EventFilter::read(part("/room"), 0),
            timeline: EventFilter::read(part("/room/timeline"), 10),
            state: EventFilter::read(part("/room/state"), 0),
            include_leave: part("/room/include_leave")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        }
    }
}

/// Does the type match the pattern? A `*` matches any run of characters; Synapse accepts it
/// anywhere, clients use it at the end.
fn is_matching_type(pattern: &str, kind: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == kind,
        Some((head, tail)) => {
            kind.len() >= head.len() + tail.len() && kind.starts_with(head) && kind.ends_with(tail)
        }
    }
}
