//! The endpoints below `/rooms/{id}`, and joining.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::accounts::Caller;
use super::event::server_of;
use super::exchange::{Answer, ApiRequest, Refusal};
use super::filter::{self, EventFilter};
use super::history::{MessagesRequest, RoomReader, parse_position};
use super::ledger::{Draft, Ledger};
use super::room::SimRoom;
use super::{Homeserver, rules};

/// The answer of an endpoint of this room; `rest` is the path after the room id.
pub(super) fn route_room_request(
    hs: &Homeserver,
    call: &ApiRequest,
    caller: &Caller,
    room: &str,
    rest: &[&str],
) -> Answer {
    let user = caller.user_id.as_str();
    match (call.method.as_str(), rest) {
        ("GET", _) => get_from_room(hs, call, user, room, rest),
        ("PUT", ["state", kind]) => put_event(hs, call, caller, room, (kind, Some(""), None)),
        ("PUT", ["state", kind, key]) => put_event(hs, call, caller, room, (kind, Some(key), None)),
        ("PUT", ["send", kind, txn]) => put_event(hs, call, caller, room, (kind, None, Some(txn))),
        ("PUT", ["redact", target, _]) => {
            must_be_joined(&hs.ledger(), user, room)?;
            let event_id = hs.redact(room, user, target, hs.now_ms());
            Ok(json!({"event_id": event_id}))
        }
        ("POST", ["upgrade"]) => rules::post_upgrade(hs, call, user, room),
        ("POST", ["join"]) => post_join(hs, call, user, room),
        ("POST", ["leave"]) => {
            hs.leave_user(room, user, hs.now_ms());
            Ok(json!({}))
        }
        _ => Err(Refusal::unrecognized()),
    }
}

/// The answer of an endpoint that reads this room, if the user may.
fn get_from_room(
    hs: &Homeserver,
    call: &ApiRequest,
    user: &str,
    room: &str,
    rest: &[&str],
) -> Answer {
    let ledger = hs.ledger();
    let open = || RoomReader::open(&ledger, room, user, hs.now_ms());
    let whole = call.param("format") == Some("event");

    match rest {
        ["state"] => Ok(open()?.state()),
        ["state", kind] => open()?.one_state(kind, "", whole),
        ["state", kind, key] => open()?.one_state(kind, key, whole),
        ["event", event_id] => open()?.event(event_id),
        ["members"] => {
            let (only, not) = (call.param("membership"), call.param("not_membership"));
            Ok(open()?.members(only, not))
        }
        ["messages"] => {
            let reader = open()?;
            let mut odd = hs.odd();
            if let Some(page) = odd.made_up_page(call.param("from")) {
                return Ok(page);
            }

            let ignores_types = reader.ledger.ignores_filters;
            let page = parse_messages_request(call, ignores_types, odd.is_always_newest())?;
            Ok(odd.bend(reader.messages(&page)))
        }
        _ => Err(Refusal::unrecognized()),
    }
}

/// A request for `/messages`. `ignores_types`: the filter's types do not count; `from_newest`: its
/// tokens do not count. Refused if a parameter is invalid.
fn parse_messages_request(
    call: &ApiRequest,
    ignores_types: bool,
    from_newest: bool,
) -> Result<MessagesRequest, Refusal> {
    let invalid = |what: &str| Refusal::new(400, "M_INVALID_PARAM", what);
    let token = |name: &str| match call.param(name) {
        None => Ok(None),
        Some(_) if from_newest => Ok(None),
        Some(text) => parse_position(text)
            .map(Some)
            .ok_or_else(|| invalid("Invalid stream token")),
    };

    let backward = match call.param("dir") {
        Some("b") => true,
        Some("f") | None => false,
        Some(_) => return Err(invalid("Query parameter 'dir' must be one of ['b', 'f']")),
    };

    let filter: Option<Value> = match call.param("filter") {
        None => None,
        Some(text) => Some(
            serde_json::from_str(text)
                .map_err(|_| Refusal::new(400, "M_NOT_JSON", "Invalid filter JSON"))?,
        ),
    };

    let filter = filter::effective_filter(filter, ignores_types);
    let limit = call.number("limit").unwrap_or(10).clamp(1, 1000);
    let mut filter = EventFilter::read(filter.as_ref(), 1000);
    filter.limit = filter.limit.min(usize::try_from(limit).unwrap_or(10));

    Ok(MessagesRequest {
        backward,
        from: token("from")?,
        to: token("to")?,
        filter,
    })
}

/// Type, state key, transaction id.
type EventTarget<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// Sends an event of the caller, if the caller is in the room and has the power. A transaction id
/// is sent only once.
fn put_event(
    hs: &Homeserver,
    call: &ApiRequest,
    caller: &Caller,
    room: &str,
    target: EventTarget<'_>,
) -> Answer {
    let (kind, state_key, txn) = target;
    must_be_joined(&hs.ledger(), &caller.user_id, room)?;
    let now_ms = hs.now_ms();
    let draft = Draft {
        room,
        sender: &caller.user_id,
        kind,
        state_key,
        content: call.json()?,
        ts: now_ms,
    };

    rules::must_have_power(&hs.ledger(), &draft)?;
    let sticky = call
        .number("org.matrix.msc4354.sticky_duration_ms")
        .and_then(|ms| i64::try_from(ms).ok());
    let event_id = hs.change(|ledger| match txn {
        Some(txn) => {
            let once = format!("{} {txn}", caller.token);
            ledger.once(once, |ledger| ledger.write(draft, sticky, now_ms))
        }
        None => ledger.write(draft, sticky, now_ms),
    });

    Ok(json!({"event_id": event_id}))
}

/// Refuses a user who is not in the room.
fn must_be_joined(ledger: &Ledger, user: &str, room: &str) -> Result<(), Refusal> {
    let membership = ledger.room(room).and_then(|room| room.membership(user));
    if membership == Some("join") {
        return Ok(());
    }

    let text = format!("User {user} not in room {room}");

    Err(Refusal::new(403, "M_FORBIDDEN", text))
}

/// Joins a room by id or alias, if its rules allow it. If no local user is in the room, a request
/// by id must name a server that is (`via`, formerly `server_name`).
pub(super) fn post_join(
    hs: &Homeserver,
    call: &ApiRequest,
    user: &str,
    id_or_alias: &str,
) -> Answer {
    let room_id = {
        let ledger = hs.ledger();
        let by_alias = id_or_alias.starts_with('#');
        let found = if by_alias {
            let at = ledger.aliases.get(id_or_alias);
            at.and_then(|at| ledger.rooms.get(*at))
        } else {
            ledger.room(id_or_alias)
        };

        let Some(room) = found else {
            let text = "Can't join remote room because no servers that are in the room have been \
                        provided.";
            return Err(Refusal::new(404, "M_NOT_FOUND", text));
        };

        let named = |via: &str| {
            let mut params = call.params("via").chain(call.params("server_name"));
            params.any(|server| server == via)
        };

        let reachable = room.via.as_deref().is_none_or(named);
        if !by_alias && !reachable && !has_local_member(&ledger, room) {
            let text = "Can't join remote room because no servers that are in the room have been \
                        provided.";
            return Err(Refusal::new(404, "M_NOT_FOUND", text));
        }

        if !rules::is_let_in_by_another(&ledger, room, user) {
            must_be_welcome(room, user)?;
        }

        room.id.clone()
    };

    hs.join_user(&room_id, user, hs.now_ms());

    Ok(json!({"room_id": room_id}))
}

/// Refuses a user who is banned, or who is not invited to a room that is not public.
fn must_be_welcome(room: &SimRoom, user: &str) -> Result<(), Refusal> {
    let public = room.state_text("m.room.join_rules", "join_rule") == Some("public");
    match room.membership(user) {
        Some("ban") => {
            let text = "You are banned from this room";
            Err(Refusal::new(403, "M_FORBIDDEN", text))
        }
        Some("join" | "invite") => Ok(()),
        _ if public => Ok(()),
        _ => {
            let text = "You are not invited to this room.";
            Err(Refusal::new(403, "M_FORBIDDEN", text))
        }
    }
}

/// Is a user of this server in the room?
fn has_local_member(ledger: &Ledger, room: &SimRoom) -> bool {
    room.joined()
        .any(|user| server_of(user) == ledger.server_name)
}

/// The servers in the room, most members first; this server if nobody is in it.
pub(super) fn servers_in_room(ledger: &Ledger, room: &SimRoom) -> Vec<String> {
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for user in room.joined() {
        *counted.entry(server_of(user)).or_default() += 1;
    }

    let mut servers: Vec<(&str, usize)> = counted.into_iter().collect();
    servers.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut names: Vec<String> = servers
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    if names.is_empty() {
        names.push(ledger.server_name.clone());
    }

    names
}
