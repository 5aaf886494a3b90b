//! Who asks.

/// Who asks. A reader shows a viewer only what that viewer may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Viewer {
    /// Sees everything.
    Operator,
    /// A Matrix account: sees public rooms and those that it is or was a member of.
    Account { user_id: String },
    /// A Matrix account that sees nothing but one room, of which it is or was a member.
    AccountInRoom { user_id: String, room_id: String },
    /// Nobody that we know: sees public rooms, and people by pseudonyms.
    Anonymous,
    /// Whoever has the address of a call that an operator shared: sees this call.
    HasShareLink { call_id: String, with_names: bool },
}

impl Viewer {
    /// May this viewer see everything?
    #[must_use]
    pub fn is_operator(&self) -> bool {
        *self == Self::Operator
    }
}

/// What the operator decided about all rooms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct VisibilityPolicy {
    /// Rooms that everybody may join are public.
    pub open_rooms_are_public: bool,
    /// Whoever sees pseudonyms of people sees their servers.
    pub servers_are_public: bool,
}

/// What a viewer sees of people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PeopleShown {
    /// Their user ids and names.
    #[default]
    ByName,
    /// Pseudonyms, which tell their servers.
    ByPseudonymAndServer,
    /// Pseudonyms.
    ByPseudonym,
}

impl PeopleShown {
    /// What this viewer sees of people.
    #[must_use]
    pub fn to_viewer(viewer: &Viewer, policy: VisibilityPolicy) -> Self {
        match viewer {
            Viewer::Operator | Viewer::Account { .. } | Viewer::AccountInRoom { .. } => {
                Self::ByName
            }
            Viewer::HasShareLink { with_names, .. } if *with_names => Self::ByName,
            Viewer::Anonymous if policy.servers_are_public => Self::ByPseudonymAndServer,
            Viewer::HasShareLink { .. } | Viewer::Anonymous => Self::ByPseudonym,
        }
    }
}
