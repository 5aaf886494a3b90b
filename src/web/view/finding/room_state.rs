//! Findings of a call from the room's own state: who could not join, who can no longer say goodbye,
//! a replaced room, and what a state reset did.

use super::FindingFacts;
use crate::rtc::finding_kind::FindingKind;
use crate::rtc::power::JoinType;
use crate::rtc::room_finding::RoomFinding;
use crate::store::ingest::state_resets::ResetKind as Reset;
use crate::web::view::format as f;
use crate::web::view::state_reset::{advice_on_reset, reason_of_reset, reset_words};
use crate::web::view::{CallFacts, Stamp};
use serde::Serialize;
use utoipa::ToSchema;

/// A person who is still in a call of a replaced room, without an event since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeftBehind {
    pub user_id: String,
    pub last_heard_ms: i64,
    pub last_heard_at: Stamp,
}

/// Fields of findings from a room's own state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomStateFacts {
    /// The event type that joins a call here, and the power needed to send it.
    pub event_type: Option<String>,
    pub needed_power: Option<i64>,
    /// The room that took the place of this one.
    pub replaced_by: Option<String>,
    /// For `room_replaced`: people who are still here without an event since.
    pub left_behind: Vec<LeftBehind>,
    /// The homeserver whose events the room no longer accepts.
    pub denied_server: Option<String>,
    /// For `nobody_could_come`: did it ring for everybody? Null in lists, where this is not
    /// checked.
    pub rang_everybody: Option<bool>,
    /// What to change, ready to copy.
    pub remedy: Option<String>,
}

/// The line of the power levels that lets everybody send a type.
#[must_use]
pub fn power_levels_remedy(join_type: &JoinType, usual_power: i64) -> String {
    format!(
        "m.room.power_levels: events[\"{}\"] = {usual_power}",
        join_type.event_type
    )
}

impl FindingFacts {
    /// The finding with what one of the core from the room's own state says.
    pub(super) fn with_room_state(self, found: RoomFinding) -> Self {
        let owned = |users: Vec<&str>| users.into_iter().map(ToOwned::to_owned).collect();
        let told = match found {
            RoomFinding::Replaced {
                by,
                still,
                left_behind,
                ..
            } => Self {
                users: owned(still),
                state: RoomStateFacts {
                    replaced_by: Some(by.to_owned()),
                    left_behind: left_behind
                        .into_iter()
                        .map(|(user_id, last_heard_ms)| LeftBehind {
                            user_id: user_id.to_owned(),
                            last_heard_ms,
                            last_heard_at: Stamp(last_heard_ms),
                        })
                        .collect(),
                    ..RoomStateFacts::default()
                },
                ..self
            },
            RoomFinding::NobodyCouldCome {
                users,
                join_type,
                needed,
                ..
            } => Self {
                users: owned(users),
                state: RoomStateFacts::of_levels(join_type, needed),
                ..self
            },
            RoomFinding::ServerDenied { server, users, .. } => Self {
                users: owned(users),
                state: RoomStateFacts {
                    denied_server: Some(server.to_owned()),
                    remedy: Some(format!(
                        "m.room.server_acl: take what fits \"{}\" out of deny",
                        f::sanitize_line(server)
                    )),
                    ..RoomStateFacts::default()
                },
                ..self
            },
            RoomFinding::LostPower {
                join_type, needed, ..
            } => Self {
                state: RoomStateFacts::of_levels(join_type, needed),
                ..self
            },
            RoomFinding::CameBack { .. } | RoomFinding::Vanished { .. } => self,
        };

        Self {
            users_total: told.users.len(),
            reset: told.of_reset(),
            ..told
        }
    }

    /// What kind of state reset the finding is about; `None` for other findings.
    pub(super) fn of_reset(&self) -> Option<Reset> {
        match self.kind {
            FindingKind::StateReset => Some(Reset::CallMemberBack),
            FindingKind::Reconciled => Some(Reset::CallMemberVanished),
            _ => None,
        }
    }

    #[must_use]
    pub fn is_room_replaced(&self) -> bool {
        self.kind == FindingKind::RoomReplaced
    }

    /// Is it a finding from the room's own state?
    #[must_use]
    pub fn is_of_room_state(&self) -> bool {
        self.pill_of_room_state().is_some()
    }

    /// Does it count on the pill of its call?
    pub(super) fn is_loud_of_room_state(&self) -> bool {
        match self.kind {
            // A person who has left a replaced room is no longer a problem.
            FindingKind::RoomReplaced | FindingKind::ServerDenied | FindingKind::LostPower => {
                self.until_ms.is_none()
            }
            FindingKind::NobodyCouldCome => true,
            _ => match self.of_reset() {
                Some(Reset::CallMemberBack) => self.until_ms.is_none(),
                Some(_) => true,
                None => false,
            },
        }
    }

    /// The class, the icon and the words of its pill; `None` if it is not a finding from the room's
    /// own state.
    pub(super) fn pill_of_room_state(&self) -> Option<(&'static str, &'static str, &'static str)> {
        Some(match self.kind {
            FindingKind::RoomReplaced => ("warn", "alert", "Room replaced"),
            FindingKind::NobodyCouldCome => ("bad", "stop", "Nobody could come"),
            FindingKind::ServerDenied => ("bad", "stop", "Server shut out"),
            FindingKind::LostPower => ("bad", "stop", "No power to leave"),
            _ if self.of_reset().is_some() => ("warn", "alert", "State reset"),
            _ => return None,
        })
    }

    /// The finding in a few words, with these people in words; `None` if it is not one from the
    /// room's own state.
    pub(super) fn title_of_room_state(&self, users: &str) -> Option<String> {
        let state = &self.state;
        Some(match self.kind {
            FindingKind::RoomReplaced => {
                let by = f::sanitize_line(state.replaced_by.as_deref().unwrap_or_default());
                format!("The room was replaced by {}", f::isolate_bidi(&by))
            }
            FindingKind::NobodyCouldCome if state.rang_everybody == Some(true) => {
                "It rang for everybody, and nobody could come".to_owned()
            }
            FindingKind::NobodyCouldCome => format!("Nobody could come to {users}"),
            FindingKind::ServerDenied => {
                let server = f::sanitize_line(state.denied_server.as_deref().unwrap_or_default());
                format!(
                    "People of {} cannot leave the call",
                    f::isolate_bidi(&server)
                )
            }
            FindingKind::LostPower => format!("{users} cannot leave the call"),
            _ => format!("{users} {}", reset_words(self.of_reset()?)),
        })
    }

    /// What the finding rests on, in words; `None` if it is not one from the room's own state.
    pub(super) fn why_of_room_state(&self) -> Option<String> {
        let state = &self.state;
        let event_type = f::sanitize_line(state.event_type.as_deref().unwrap_or_default());
        let needed = state.needed_power.unwrap_or_default();

        Some(match self.kind {
            FindingKind::RoomReplaced => {
                "Clients hide a replaced room: whoever is still here is in a room that others do \
                 not see, and a call in the new room is another one."
                    .to_owned()
            }
            FindingKind::NobodyCouldCome => format!(
                "Joining a call here needs power {needed} ({event_type}), and nobody else in the \
                 room had it: their homeservers refuse the membership. To them the call does not \
                 work."
            ),
            FindingKind::ServerDenied => {
                "The room takes no events of this homeserver any more (m.room.server_acl): its \
                 people stay counted until their memberships expire."
                    .to_owned()
            }
            FindingKind::LostPower => format!(
                "Sending {event_type} needs power {needed} now, and they have less: their \
                 homeserver refuses the leave and every renewal."
            ),
            _ => reason_of_reset(self.of_reset()?).to_owned(),
        })
    }

    /// What to do about it, as the rest of a sentence; `None` if it is not a finding from the
    /// room's own state.
    pub(super) fn advice_of_room_state(&self) -> Option<&'static str> {
        Some(match self.kind {
            FindingKind::RoomReplaced => {
                "ask those who are still here to hang up and to join in the new room."
            }
            FindingKind::NobodyCouldCome => "let everybody join, in the room’s state:",
            FindingKind::ServerDenied => {
                "let a moderator empty their membership events; to let the server in again, in the \
                 room’s state:"
            }
            FindingKind::LostPower => {
                "let a moderator empty the membership event; to let everybody join and leave, in \
                 the room’s state:"
            }
            _ => advice_on_reset(self.of_reset()?),
        })
    }

    /// The people still in a replaced room without an event since, in words; `None` if there are
    /// none.
    #[must_use]
    pub fn left_behind(&self, call: &CallFacts) -> Option<String> {
        let users: Vec<String> = self
            .state
            .left_behind
            .iter()
            .map(|one| one.user_id.clone())
            .collect();

        (!users.is_empty()).then(|| super::names_in_call(call, &users, users.len(), super::NAMED))
    }

    /// The newest last event of those left behind, ms.
    #[must_use]
    pub fn left_behind_since(&self) -> Option<i64> {
        let heard = self.state.left_behind.iter();
        heard.map(|one| one.last_heard_ms).max()
    }
}

impl RoomStateFacts {
    /// The fields of a finding that sending this type needs power that somebody lacks, with the
    /// remedy.
    fn of_levels(join_type: &JoinType, needed: i64) -> Self {
        Self {
            event_type: Some(join_type.event_type.clone()),
            needed_power: Some(needed),
            remedy: Some(power_levels_remedy(join_type, 0)),
            ..Self::default()
        }
    }
}

impl CallFacts {
    /// The finding that the room was replaced while people are still in the call.
    #[must_use]
    pub fn replaced(&self) -> Option<&FindingFacts> {
        self.loud().find(|finding| finding.is_room_replaced())
    }
}
