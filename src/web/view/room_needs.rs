//! Why a room needs a look and what to do about it, in words: the same on pages, in JSON and in a
//! terminal.

use super::format as f;
use super::{RoomFacts, RoomFindingFacts};
use crate::rtc::words::{Watch, words};
use crate::store::ingest::rooms::is_unread;
use serde::Serialize;
use utoipa::ToSchema;

words! {
    /// What is wrong with a room.
    pub enum RoomProblem {
        /// It was asked for, and cannot be read.
        NotReadable = "not_readable",
        /// The account is no longer in it.
        Left = "left",
        /// The last look at it failed.
        LookFailed = "look_failed",
        /// Its history could not be read.
        HistoryFailed = "history_failed",
        /// Not every account may join a call.
        FewMayJoin = "few_may_join",
        /// It was replaced, and the new room is not followed, or people are still in a call here.
        Replaced = "replaced",
        /// Memberships vanished, or came back.
        StateReset = "state_reset",
        /// It takes no events of the homeserver of people in a call here any more.
        ServerDenied = "server_denied",
        /// People in a call here have no power any more to say goodbye.
        LostPower = "lost_power",
    }
}

impl RoomProblem {
    /// Is it that people in a call can no longer say goodbye?
    #[must_use]
    pub fn is_no_goodbye(self) -> bool {
        matches!(self, Self::ServerDenied | Self::LostPower)
    }
}

/// Why a room needs a look, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomNeedFacts {
    /// `not_readable` (it was asked for, and cannot be read), `left` (the account is no longer in
    /// it), `look_failed` (the last look at it failed), `history_failed` (its history could not be
    /// read), or the kind of one of its `findings`.
    pub kind: RoomProblem,
    pub why: String,
    pub remedy: String,
}

impl RoomFacts {
    /// The room with what it needs, and what to do. `account` is the user id to invite, if it is
    /// known.
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

    /// Why the room cannot be seen, and what to do; `None` if it can. `account` is our account in
    /// words.
    fn sight_need(&self, account: &str) -> Option<RoomNeedFacts> {
        let error = self.error.as_deref();
        let because = |words: &str| error.map_or_else(|| words.to_owned(), f::sanitize_message);
        let (kind, why, remedy) = match self.watch {
            Watch::Blind if self.replaces.is_some() => (
                RoomProblem::NotReadable,
                because("It took the place of another room, and cannot be joined."),
                format!("invite {account} to it."),
            ),
            Watch::Blind => (
                RoomProblem::NotReadable,
                because("It is neither joined nor readable for everybody."),
                format!(
                    "invite {account} to it, or let everybody join it; where the configuration \
                     names it (rooms, peek_rooms), it may be taken out there."
                ),
            ),
            Watch::Left => (
                RoomProblem::Left,
                "The account left it or was removed: what is shown of it is old.".to_owned(),
                format!("invite {account} again if it is to be watched; else nothing."),
            ),
            _ if is_unread(error) => (
                RoomProblem::LookFailed,
                because(""),
                "see in the homeserver’s log why; it is tried again by itself.".to_owned(),
            ),
            _ if error.is_some() => (
                RoomProblem::HistoryFailed,
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
            RoomProblem::NotReadable => "This room cannot be read",
            RoomProblem::Left => "This room is no longer watched",
            RoomProblem::LookFailed => "The last look at this room failed",
            RoomProblem::HistoryFailed => "Its history could not be read",
            _ => "It needs a look",
        }
    }

    /// Is it about a room that cannot be seen?
    #[must_use]
    pub fn is_of_sight(&self) -> bool {
        matches!(
            self.kind,
            RoomProblem::NotReadable
                | RoomProblem::Left
                | RoomProblem::LookFailed
                | RoomProblem::HistoryFailed
        )
    }
}

/// The user id of the observing account made harmless, or a general word if it is not known.
pub(super) fn account_words(account: Option<&str>) -> String {
    account.map_or_else(|| "the account".to_owned(), f::sanitize_line)
}

impl RoomFindingFacts {
    /// Why the finding needs a look, and what to do, in words. `account` is our account in words.
    pub(super) fn need(&self, account: &str) -> RoomNeedFacts {
        let by = f::sanitize_line(self.replaced_by.as_deref().unwrap_or_default());
        let remedy = match (self.kind, &self.remedy) {
            (RoomProblem::Replaced, _) if self.count.is_some() => {
                format!("ask who is still in the call to go to {by}, and hang up here.")
            }
            (RoomProblem::Replaced, _) => format!("invite {account} to {by}."),
            (_, Some(remedy)) => format!("change in the room’s state: {remedy}"),
            (RoomProblem::StateReset, None) => {
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
