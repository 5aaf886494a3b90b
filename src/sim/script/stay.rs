//! One stay of one device in a call, and its events in each wire format (MSC4143 and its
//! predecessors).

use serde_json::{Value, json};

use super::act::{Act, ActKind};
use crate::sim::people::Person;

const MEMBER: &str = "org.matrix.msc3401.call.member";
const STICKY_MEMBER: &str = "org.matrix.msc4143.rtc.member";
const HOUR_MS: i64 = 3_600_000;
/// Lifetime that matrix-js-sdk gives a membership, and adds with each renewal.
const EXPIRES_MS: i64 = 4 * HOUR_MS;
/// A renewal comes this much before the full hour of its stay.
pub const RENEWED_EARLY_MS: i64 = 5_000;

/// A wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StayFormat {
    /// State, one event per user, `m.calls` (MSC3401, 2022).
    Mesh,
    /// State, one event per user, `memberships` (2023).
    Array,
    /// State, key `_@user:server_DEVICE` (2024).
    Plain,
    /// State, key `@user:server_DEVICE` (rooms that protect it).
    Owned,
    /// State, nested `session` and `member` (draft of 2025, hardly ever seen).
    Nested,
    /// State, key `_@user:server_DEVICE_m.call`: what clients send today.
    Flat,
    /// Sticky, as matrix-js-sdk writes it.
    Sticky,
    /// Sticky, as the newest MSC has it: in a slot.
    Slot,
    /// Sticky and encrypted: an observer sees only that there is an event.
    Cipher,
}

/// How a stay ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StayEnd {
    /// A plain leave.
    Leave,
    /// The device died; the server sent the delayed leave.
    Lost,
    /// The same, and the leave states the reason.
    LostAndSaid,
    /// The person left the room; the call event stays as it is.
    RoomLeft,
    /// The room's creator removed the person from the room.
    Kicked,
    /// The device died and nothing was ever sent.
    Ghost,
}

/// One stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimStay {
    /// Room id.
    pub room: String,
    /// Who.
    pub person: &'static Person,
    /// Device id.
    pub device: String,
    /// Wire format.
    pub form: StayFormat,
    /// Begin, in ms since the Unix epoch.
    pub from_ms: i64,
    /// Time and kind of the end; `None` while it lasts.
    pub end: Option<(i64, StayEnd)>,
    /// Service URL of the SFU.
    pub sfu: &'static str,
    /// When it changed to another SFU, and which.
    pub moved: Option<(i64, &'static str)>,
    /// `audio`, `video`.
    pub intent: &'static str,
}

impl SimStay {
    /// A stay that lasts, on the person's first device and on the SFU of the person's server.
    #[must_use]
    pub fn new(room: &str, person: &'static Person, form: StayFormat, from_ms: i64) -> Self {
        Self {
            room: room.to_owned(),
            person,
            device: person.device(0),
            form,
            from_ms,
            end: None,
            sfu: person.sfu(),
            moved: None,
            intent: "video",
        }
    }

    /// All its events up to and including `until_ms`, in order of time. `kicker` is who removes the
    /// person, if it ends so. A change of the SFU must not be after the end of the stay.
    #[must_use]
    pub fn acts(&self, until_ms: i64, kicker: &str) -> Vec<Act> {
        let last = self.end.map_or(i64::MAX, |(at, _)| at);
        let mut acts = vec![self.join()];
        acts.extend(
            (1..)
                .map(|n| self.renewal(n))
                .take_while(|act| act.at_ms < last.min(until_ms)),
        );
        if let Some((at, _)) = self.moved {
            acts.push(self.update(self.renewals_until(at), at));
        }

        acts.sort_by_key(|act| act.at_ms);
        if let Some((at, end)) = self.end {
            acts.extend(self.leave(at, end, kicker));
        }

        acts.retain(|act| act.at_ms <= until_ms);

        acts
    }

    /// The first event.
    #[must_use]
    pub fn join(&self) -> Act {
        self.write(self.from_ms, self.content(0, None))
    }

    /// Renewal number `n`, from 1: every hour since the join, a little early
    /// ([`RENEWED_EARLY_MS`]). The caller looks that the stay still lasts then.
    #[must_use]
    pub fn renewal(&self, n: i64) -> Act {
        self.update(n, self.from_ms + HOUR_MS * n - RENEWED_EARLY_MS)
    }

    /// How many renewals came by this time, ms, inclusive; it must not be before the join.
    fn renewals_until(&self, at_ms: i64) -> i64 {
        (at_ms - self.from_ms + RENEWED_EARLY_MS) / HOUR_MS
    }

    /// The event of renewal number `n`, or of a change after it.
    fn update(&self, n: i64, at_ms: i64) -> Act {
        self.write(at_ms, self.content(n, Some(at_ms)))
    }

    /// The event of a leave; `None` if the device is just gone. `kicker` is the sender if the stay
    /// ends by [`StayEnd::Kicked`]; otherwise it may be empty.
    #[must_use]
    pub fn leave(&self, at_ms: i64, end: StayEnd, kicker: &str) -> Option<Act> {
        let user = self.person.user_id();
        match end {
            StayEnd::Ghost => None,
            StayEnd::RoomLeft => {
                let what = ActKind::Member(user.clone(), "leave");
                Some(Act::new(at_ms, &self.room, &user, what))
            }
            StayEnd::Kicked => {
                let what = ActKind::Member(user, "leave");
                Some(Act::new(at_ms, &self.room, kicker, what))
            }
            // Unless the leave states the reason, a lost device looks exactly like one that left.
            StayEnd::Leave | StayEnd::Lost | StayEnd::LostAndSaid => {
                let said = end == StayEnd::LostAndSaid;
                Some(self.write(at_ms, self.farewell(said)))
            }
        }
    }

    /// The content of a leave; with `said`, it states the reason where the format can.
    fn farewell(&self, said: bool) -> Value {
        match self.form {
            StayFormat::Mesh => json!({"m.calls": []}),
            StayFormat::Array => json!({"memberships": []}),
            StayFormat::Sticky => json!({"slot_id": SLOT, "msc4354_sticky_key": self.member_id()}),
            StayFormat::Slot => {
                let code = if said { "delayed_leave" } else { "leave" };
                let member = json!({"id": self.member_id(), "membership": "leave"});
                json!({"slot_id": SLOT, "sticky_key": self.member_id(), "member": member,
                       "leave_reason": {"code": code}})
            }
            StayFormat::Cipher => self.ciphertext(self.from_ms ^ 1),
            _ if said => json!({"leave_reason": "m.lost_connection"}),
            _ => json!({}),
        }
    }

    /// The event with this content, with the type and state key of the format.
    fn write(&self, at_ms: i64, content: Value) -> Act {
        let user = self.person.user_id();
        let device = &self.device;
        let state = |key: String| ActKind::State(MEMBER, key, content.clone());
        let what = match self.form {
            StayFormat::Mesh | StayFormat::Array => state(user.clone()),
            StayFormat::Owned => state(format!("{user}_{device}")),
            StayFormat::Plain | StayFormat::Nested => state(format!("_{user}_{device}")),
            StayFormat::Flat => state(format!("_{user}_{device}_m.call")),
            StayFormat::Sticky | StayFormat::Slot => ActKind::Sticky(STICKY_MEMBER, content),
            StayFormat::Cipher => ActKind::Sticky("m.room.encrypted", content),
        };

        Act::new(at_ms, &self.room, &user, what)
    }

    /// Whether a written content of this stay says "joined".
    #[must_use]
    pub fn is_join(content: &Value) -> bool {
        let full = |key: &str| content[key].as_array().is_some_and(|list| !list.is_empty());
        content.get("application").is_some()
            || content.get("session").is_some()
            || full("memberships")
            || full("m.calls")
    }

    /// The content after `n` renewals; an update (anything but the join) has its time in `at_ms`.
    fn content(&self, n: i64, at_ms: Option<i64>) -> Value {
        let moved = self
            .moved
            .filter(|(moved, _)| at_ms.is_some_and(|at| at >= *moved));
        let sfu = moved.map_or(self.sfu, |(_, sfu)| sfu);
        let mut content = match self.form {
            StayFormat::Mesh => return self.mesh(n),
            StayFormat::Array => return self.array(n, sfu),
            StayFormat::Cipher => return self.ciphertext(self.from_ms + n),
            StayFormat::Sticky => return self.sticky(sfu),
            StayFormat::Slot => return self.slot(),
            StayFormat::Nested => self.nested(),
            StayFormat::Plain | StayFormat::Owned | StayFormat::Flat => self.flat(n),
        };

        content["foci_preferred"] = json!([self.focus(sfu)]);
        if at_ms.is_some() {
            content["created_ts"] = json!(self.from_ms);
        }

        content
    }

    /// A transport as older formats name it.
    fn focus(&self, sfu: &str) -> Value {
        json!({"type": "livekit", "livekit_service_url": sfu, "livekit_alias": self.room})
    }

    /// The content of the formats with one event per device, without the transports, after `n`
    /// renewals: each adds four hours to the expiry, which counts from the join.
    fn flat(&self, n: i64) -> Value {
        // Each newer client uses its own SFU, older ones that of the oldest member.
        let newer = self.form == StayFormat::Flat;
        let selection = if newer {
            "multi_sfu"
        } else {
            "oldest_membership"
        };

        json!({
            "application": "m.call", "call_id": "", "scope": "m.room", "device_id": self.device,
            "expires": EXPIRES_MS * (n + 1), "m.call.intent": self.intent,
            "membershipID": format!("{}:{}", self.person.user_id(), self.device),
            "focus_active": {"type": "livekit", "focus_selection": selection},
        })
    }

    /// The content of the draft of 2025, which has no expiry.
    fn nested(&self) -> Value {
        json!({
            "session": {"application": "m.call", "id": ""},
            "member": {"id": self.member_id(), "device_id": self.device,
            "user_id": self.person.user_id()},
            "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
        })
    }

    /// The content of the `memberships` array after `n` renewals: each adds an hour to the expiry.
    fn array(&self, n: i64, sfu: &str) -> Value {
        let mut item = json!({
            "application": "m.call", "call_id": "", "scope": "m.room", "device_id": self.device,
            "expires": HOUR_MS * (n + 1), "membershipID": self.member_id(),
            "foci_active": [self.focus(sfu)],
        });
        if n > 0 {
            item["created_ts"] = json!(self.from_ms);
        }

        json!({"memberships": [item]})
    }

    /// The content of a full-mesh call after `n` renewals.
    fn mesh(&self, n: i64) -> Value {
        json!({"m.calls": [{"m.call_id": "1668002318158qFGsGVvsvmqlhQQd", "m.devices": [{
            "device_id": self.device, "session_id": self.member_id(),
            "expires_ts": self.from_ms + HOUR_MS * (n + 1),
            "feeds": [{"purpose": "m.usermedia", "id": "main", "tracks": []}],
        }]}]})
    }

    /// The content of a sticky event, as matrix-js-sdk writes it.
    fn sticky(&self, sfu: &str) -> Value {
        json!({
            "slot_id": SLOT, "msc4354_sticky_key": self.member_id(), "versions": [],
            "application": {"type": "m.call", "m.call.intent": self.intent},
            "member": {"id": self.member_id(), "device_id": self.device,
            "user_id": self.person.user_id()},
            "rtc_transports": [{"type": "livekit", "livekit_service_url": sfu}],
        })
    }

    /// The content of a sticky event, as the newest MSC has it.
    fn slot(&self) -> Value {
        json!({
            "slot_id": SLOT, "sticky_key": self.member_id(),
            "application": {"type": "m.call", "m.call.intent": self.intent},
            "member": {"id": self.member_id(), "membership": "join"},
            "transports": {"published": [{"type": "livekit"}], "can_subscribe": ["livekit"]},
        })
    }

    /// A content that looks encrypted. Another `salt` makes another text.
    fn ciphertext(&self, salt: i64) -> Value {
        let part = format!("{} {salt}", self.member_id());
        let mut dice = crate::sim::dice::Dice::for_part(3, &part);
        json!({"algorithm": "m.megolm.v1.aes-sha2", "device_id": self.device,
               "session_id": dice.letters(43), "ciphertext": dice.letters(300)})
    }

    /// One id per stay, as Element Call generates it; hex in groups like a UUID.
    fn member_id(&self) -> String {
        let part = format!("{} {} {}", self.room, self.device, self.from_ms);
        let mut dice = crate::sim::dice::Dice::for_part(5, &part);
        let (a, b) = (dice.bits(), dice.bits());

        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            a & 0xffff,
            (a >> 16) & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }
}

/// The slot of a room's call.
pub const SLOT: &str = "m.call#ROOM";
