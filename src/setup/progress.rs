//! What was answered so far. All browsers that were let in share it.

use super::answers::RoomChoice;
use super::rooms::AccountRooms;
use super::steps::SetUpAccount;
use crate::config::new_file::NewFile;
use crate::matrix::{FoundHomeserver, Secret};

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Homeserver,
    Account,
    Rooms,
    Access,
    Write,
}

impl Step {
    pub const ALL: [Self; 5] = [
        Self::Homeserver,
        Self::Account,
        Self::Rooms,
        Self::Access,
        Self::Write,
    ];

    /// The address of its page.
    pub fn path(self) -> &'static str {
        match self {
            Self::Homeserver => "/set-up/homeserver",
            Self::Account => "/set-up/account",
            Self::Rooms => "/set-up/rooms",
            Self::Access => "/set-up/access",
            Self::Write => "/set-up/write",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Homeserver => "Homeserver",
            Self::Account => "Account",
            Self::Rooms => "Rooms",
            Self::Access => "Who may see",
            Self::Write => "Write and start",
        }
    }
}

/// Who may see the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AccessChoice {
    /// Who has the operator's password; its hash.
    Password(Secret),
    /// Whoever is on this machine.
    ThisMachine,
    /// What is configured already says it.
    Configured,
}

/// The account, and the rooms that it had when it was looked.
#[derive(Debug, Clone)]
pub(super) struct AccountStep {
    pub account: SetUpAccount,
    pub rooms: AccountRooms,
}

/// The rooms that were chosen, and the fields as they were filled in.
#[derive(Debug, Clone, Default)]
pub(super) struct RoomStep {
    pub choice: RoomChoice,
    pub entered: EnteredRooms,
}

/// The fields about rooms as they were filled in.
#[derive(Debug, Clone, Default)]
pub(super) struct EnteredRooms {
    pub rooms: String,
    pub spaces: String,
    pub inviters: String,
    /// The ids of the invitations and spaces with a tick.
    pub chosen: Vec<String>,
}

impl EnteredRooms {
    /// Has this room a tick?
    pub fn has_chosen(&self, room_id: &str) -> bool {
        self.chosen.iter().any(|chosen| chosen == room_id)
    }
}

/// What was answered so far; each answer needs those before it.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    pub homeserver: Option<FoundHomeserver>,
    pub account: Option<AccountStep>,
    pub rooms: Option<RoomStep>,
    pub access: Option<AccessChoice>,
}

impl Progress {
    /// The first step that is not done.
    pub fn next_step(&self) -> Step {
        if self.homeserver.is_none() {
            Step::Homeserver
        } else if self.account.is_none() {
            Step::Account
        } else if self.rooms.is_none() {
            Step::Rooms
        } else if self.access.is_none() {
            Step::Access
        } else {
            Step::Write
        }
    }

    /// Takes another homeserver, which undoes the account and the rooms. Returns the account that
    /// is given up.
    pub fn set_homeserver(&mut self, found: FoundHomeserver) -> Option<SetUpAccount> {
        self.homeserver = Some(found);
        self.rooms = None;

        self.account.take().map(|step| step.account)
    }

    /// Takes another account. Returns the one that is given up. If the homeserver is another one
    /// meanwhile, that is the new one.
    pub fn set_account(
        &mut self,
        found: &FoundHomeserver,
        step: AccountStep,
    ) -> Option<SetUpAccount> {
        if self.homeserver.as_ref() != Some(found) {
            return Some(step.account);
        }

        let is_other = self
            .account
            .as_ref()
            .is_none_or(|known| known.account.user_id != step.account.user_id);
        if is_other {
            self.rooms = None;
        }

        self.account.replace(step).map(|step| step.account)
    }

    /// Takes the rooms that were chosen for an account, if it is the present one still. Returns
    /// whether it is.
    pub fn set_rooms(&mut self, chosen_for: &Self, step: RoomStep) -> bool {
        let is_same = self.has_account_of(chosen_for);
        if is_same {
            self.rooms = Some(step);
        }

        is_same
    }

    /// Is the account, at its homeserver, the one of these answers?
    pub fn has_account_of(&self, other: &Self) -> bool {
        let user_id = |progress: &Self| {
            let step = progress.account.as_ref()?;
            Some(step.account.user_id.clone())
        };

        self.homeserver == other.homeserver && user_id(self) == user_id(other)
    }

    /// The file that follows from the answers; `None` while one is missing.
    pub fn new_file(&self) -> Option<NewFile> {
        let account = &self.account.as_ref()?.account;
        let rooms = self.rooms.as_ref()?.choice.clone();
        let hash = match self.access.as_ref()? {
            AccessChoice::Password(hash) => Some(hash.clone()),
            AccessChoice::ThisMachine | AccessChoice::Configured => None,
        };

        Some(NewFile {
            homeserver_url: self.homeserver.as_ref()?.url.clone(),
            login: account.login.clone(),
            rooms: rooms.rooms,
            spaces: rooms.spaces,
            invites: rooms.invites,
            operator_password_hash: hash,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Login;
    use crate::matrix::{Client, Settings};
    use url::Url;

    fn homeserver(address: &str) -> FoundHomeserver {
        FoundHomeserver {
            url: address.parse().unwrap(),
            named_by: None,
            versions: vec![],
            software: None,
            delayed_events: true,
            flows: None,
            has_auth_service: false,
        }
    }

    fn account(user_id: &str) -> AccountStep {
        let url: Url = "https://a.example".parse().unwrap();
        let account = SetUpAccount {
            client: Client::new(Settings::new(url)).unwrap(),
            user_id: user_id.to_owned(),
            login: Login::Token(Secret::new("syt_a")),
            credentials: None,
            has_new_device: false,
            findings: vec![],
        };

        AccountStep {
            account,
            rooms: AccountRooms::default(),
        }
    }

    #[test]
    fn each_step_needs_those_before_it() {
        let (one, other) = (
            homeserver("https://a.example"),
            homeserver("https://b.example"),
        );
        let mut progress = Progress::default();
        assert_eq!(progress.next_step(), Step::Homeserver);
        assert!(progress.set_homeserver(one.clone()).is_none());
        assert_eq!(progress.next_step(), Step::Account);
        assert!(progress.set_account(&one, account("@a:x.org")).is_none());
        assert_eq!(progress.next_step(), Step::Rooms);
        progress.rooms = Some(RoomStep::default());
        assert_eq!(progress.next_step(), Step::Access);
        assert!(progress.new_file().is_none());
        progress.access = Some(AccessChoice::ThisMachine);
        assert_eq!(progress.next_step(), Step::Write);
        assert!(progress.new_file().is_some());

        // The same account anew keeps its rooms, another one does not.
        assert!(progress.set_account(&one, account("@a:x.org")).is_some());
        assert_eq!(progress.next_step(), Step::Write);
        assert!(progress.set_account(&one, account("@b:x.org")).is_some());
        assert_eq!(progress.next_step(), Step::Rooms);

        // Rooms that took long to look up are those of the account that they were chosen for.
        let former = progress.clone();
        assert!(progress.set_rooms(&former, RoomStep::default()));
        assert!(progress.set_account(&one, account("@d:x.org")).is_some());
        assert!(!progress.set_rooms(&former, RoomStep::default()));
        assert_eq!(progress.next_step(), Step::Rooms);
        assert!(progress.set_account(&one, account("@b:x.org")).is_some());

        let given_up = progress.set_homeserver(other.clone());
        assert_eq!(given_up.unwrap().user_id, "@b:x.org");
        assert_eq!(progress.next_step(), Step::Account);
        // A login at the former homeserver that took longer.
        let late = progress.set_account(&one, account("@c:x.org"));
        assert_eq!(late.unwrap().user_id, "@c:x.org");
        assert_eq!(progress.next_step(), Step::Account);
        // No account takes over rooms that were chosen for none.
        progress.rooms = Some(RoomStep::default());
        assert!(progress.set_account(&other, account("@a:x.org")).is_none());
        assert_eq!(progress.next_step(), Step::Rooms);
    }
}
