//! Reading a room: `/state`, `/messages`, `/event`, `/members`, with the access rules of Synapse.

use serde_json::{Value, json};

use super::event::SimEvent;
use super::exchange::{Answer, Refusal};
use super::filter::EventFilter;
use super::ledger::Ledger;
use super::room::{Access, SimRoom};
use super::view::EventView;

/// A reader of one room.
pub(super) struct RoomReader<'a> {
    pub ledger: &'a Ledger,
    pub room: &'a SimRoom,
    pub viewer: &'a str,
    pub now_ms: i64,
    access: Access,
}

/// A request for `/messages`.
pub(super) struct MessagesRequest {
    pub backward: bool,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub filter: EventFilter,
}

impl<'a> RoomReader<'a> {
    /// A reader of this room for this account.
    ///
    /// # Errors
    /// 403 if the account was never in the room and the room is not world-readable, or if the room
    /// is unknown here.
    pub fn open(
        ledger: &'a Ledger,
        room_id: &str,
        viewer: &'a str,
        now_ms: i64,
    ) -> Result<Self, Refusal> {
        let found = ledger.room(room_id).map(|room| (room, room.access(viewer)));
        match found {
            Some((room, access)) if access != Access::Forbidden => Ok(Self {
                ledger,
                room,
                viewer,
                now_ms,
                access,
            }),
            _ => Err(Refusal::new(
                403,
                "M_FORBIDDEN",
                format!("User {viewer} not in room {room_id}, and room previews are disabled"),
            )),
        }
    }

    /// How the account sees events; `timeline` is that of [`EventView`].
    fn view(&self, timeline: bool) -> EventView<'a> {
        EventView {
            viewer: self.viewer,
            server_name: &self.ledger.server_name,
            now_ms: self.now_ms,
            names_room: true,
            timeline,
        }
    }

    /// The state that the account may read: the current one, or after it left, the one at that
    /// time.
    fn state_events(&self) -> Vec<usize> {
        match self.access {
            Access::Until(pos) => self.room.state_at(pos),
            _ => self.room.current_state(),
        }
    }

    /// `/state`: the current state, or for an account that left, the state at that time.
    pub fn state(&self) -> Value {
        json!(self.view(false).show_all(self.room, &self.state_events()))
    }

    /// `/state/{type}/{key}`: the content, or with `whole` the event.
    pub fn one_state(&self, kind: &str, key: &str, whole: bool) -> Answer {
        let fits =
            |event: &&SimEvent| event.kind == kind && event.state_key.as_deref() == Some(key);
        let events = self.state_events();
        let mut found = events.iter().map(|at| &self.room.events[*at]);

        match found.find(fits) {
            Some(event) if whole => Ok(self.view(false).show(self.room, event)),
            Some(event) => Ok(event.content().clone()),
            None => Err(Refusal::new(404, "M_NOT_FOUND", "Event not found.")),
        }
    }

    /// `/event/{id}`: the event, if the account may see it.
    pub fn event(&self, event_id: &str) -> Answer {
        let found = self
            .room
            .by_id
            .get(event_id)
            .map(|at| &self.room.events[*at]);

        match found.filter(|event| self.room.may_see(self.viewer, event)) {
            Some(event) => Ok(self.view(false).show(self.room, event)),
            None => Err(Refusal::new(404, "M_NOT_FOUND", "Event not found.")),
        }
    }

    /// `/members`: with `only`, those of this membership; with `not`, all others.
    pub fn members(&self, only: Option<&str>, not: Option<&str>) -> Value {
        let wanted = |event: &&SimEvent| {
            let membership = event.field("membership");
            only.is_none_or(|only| membership == Some(only)) && (not.is_none() || membership != not)
        };

        let members = self.room.members().filter(wanted);
        let chunk: Vec<Value> = members
            .map(|event| self.view(false).show(self.room, event))
            .collect();

        json!({"chunk": chunk})
    }

    /// `/messages`: one page. It scans a limited number of events, so it may be empty and still
    /// have an `end`. There is no `end` if nothing is left to scan.
    pub fn messages(&self, page: &MessagesRequest) -> Value {
        let newest = match self.access {
            Access::Until(pos) => pos,
            _ => self.ledger.pos,
        };

        let start = page.from.unwrap_or(if page.backward { newest } else { 0 });
        let span = if page.backward {
            self.room.span(page.to.unwrap_or(0), start.min(newest))
        } else {
            self.room.span(start, page.to.unwrap_or(newest).min(newest))
        };

        let order: Box<dyn Iterator<Item = usize>> = if page.backward {
            Box::new(span.rev())
        } else {
            Box::new(span)
        };

        let mut found = Vec::new();
        let mut end = None;
        for at in order.take(self.ledger.scan) {
            let event = &self.room.events[at];
            if found.len() >= page.filter.limit {
                break;
            }

            end = Some(if page.backward {
                event.pos - 1
            } else {
                event.pos
            });
            if !event.silent && page.filter.takes(event) {
                found.push(at);
            }
        }

        // As in Synapse, invisible events are removed afterwards, which makes pages short.
        found.retain(|at| self.room.may_see(self.viewer, &self.room.events[*at]));
        let chunk = self.view(true).show_all(self.room, &found);
        let mut body = json!({"chunk": chunk, "start": format!("t{start}")});
        if let Some(end) = end {
            body["end"] = json!(format!("t{end}"));
        }

        body
    }
}

/// The position in a token of `/messages` (`t12`) or `/sync` (`s12_7`); `None` if it is neither.
pub(super) fn parse_position(token: &str) -> Option<u64> {
    let digits = token.strip_prefix(['t', 's'])?;
    digits.split('_').next()?.parse().ok()
}
