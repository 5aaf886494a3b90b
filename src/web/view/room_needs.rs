//! Why a room needs a look and what to do about it, in words: the same on pages, in JSON and in a
//! terminal.

use super::format as f;
use super::{RoomFacts, RoomFindingFacts};
use crate::store::ingest::rooms::is_unread;
use serde::Serialize;
use utoipa::ToSchema;

/// Why a room needs a look, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomNeedFacts {
    /// `not_readable` (it was asked for, and cannot be read), `left` (the account is no longer in
    /// it), `look_failed` (the last look at it failed), `history_failed` (its history could not be
    /// read), or the kind of one of its `findings`.
    pub kind: &'static str,
    pub why: String,
    pub remedy: String,
}

impl RoomFacts {
    /// Adds what the room needs. `account`: the account to invite, if known.
    #[must_use]
    pub fn with_needs(self, account: Option<&str>) -> Self {
        let account = account_words(account);
        let of_findings = self
            .findings
            .iter()
            .map(|finding| finding.need(&account))
            .collect::<Vec<_>>();
        let needs = self.sight_need(&account).into_iter().chain(of_findings);

        Self {
            needs: needs.collect(),
            ..self
        }
    }

    /// Why the room cannot be seen, and what to do.
    fn sight_need(&self, account: &str) -> Option<RoomNeedFacts> {
        let error = self.error.as_deref();
        let because = |words: &str| error.map_or_else(|| words.to_owned(), f::sanitize_message);
        let (kind, why, remedy) = match self.watch {
            "blind" if self.replaces.is_some() => (
                "not_readable",
                because("It took the place of another room, and cannot be joined."),
                format!("invite {account} to it."),
            ),
            "blind" => (
                "not_readable",
                because("It is neither joined nor readable for everybody."),
                format!(
                    "invite {account} to it, or let everybody join it; where the configuration \
                     names it (rooms, peek_rooms), it may be taken out there."
                ),
            ),
            "left" => (
                "left",
                "The account left it or was removed: what is shown of it is old.".to_owned(),
                format!("invite {account} again if it is to be watched; else nothing."),
            ),
            _ if is_unread(error) => (
                "look_failed",
                because(""),
                "see in the homeserver’s log why; it is tried again by itself.".to_owned(),
            ),
            _ if error.is_some() => (
                "history_failed",
                because(""),
                "see in the homeserver’s log why; it is tried again by itself. What happens now is \
                 followed."
                    .to_owned(),
            ),
            _ => return None,
        };

        Some(RoomNeedFacts { kind, why, remedy })
    }
}

impl RoomNeedFacts {
    /// What is wrong, in a few words.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self.kind {
            "not_readable" => "This room cannot be read",
            "left" => "This room is no longer watched",
            "look_failed" => "The last look at this room failed",
            "history_failed" => "Its history could not be read",
            _ => "It needs a look",
        }
    }

    /// Is the problem that the room cannot be seen?
    #[must_use]
    pub fn is_of_sight(&self) -> bool {
        let words = ["not_readable", "left", "look_failed", "history_failed"];
        words.contains(&self.kind)
    }
}

/// The name of the observing account.
pub(super) fn account_words(account: Option<&str>) -> String {
    account.map_or_else(|| "the account".to_owned(), f::sanitize_line)
}

impl RoomFindingFacts {
    pub(super) fn need(&self, account: &str) -> RoomNeedFacts {
        let by = f::sanitize_line(self.replaced_by.as_deref().unwrap_or_default());
        let remedy = match (self.kind, &self.remedy) {
            ("replaced", _) if self.count.is_some() => {
                format!("ask who is still in the call to go to {by}, and hang up here.")
            }
            ("replaced", _) => format!("invite {account} to {by}."),
            (_, Some(remedy)) => format!("change in the room’s state: {remedy}"),
            ("state_reset", None) => {
                "see the room’s page: it names each membership, and what to do.".to_owned()
            }
            (_, None) => "see the room’s page.".to_owned(),
        };

        RoomNeedFacts {
            kind: self.kind,
            why: format!("{}. {}", self.title(), self.why()),
            remedy,
        }
    }
}
