//! The kinds of findings, as one closed table: what each means, how grave it is, who can mend it,
//! and what to do. Code, JSON, pages and docs have their words from here.

use super::words::words;

words! {
    /// What a problem in a call is; [`FindingKind::entry`] says more of each.
    pub enum FindingKind {
        Apart = "apart",
        Silent = "silent",
        NoGoodbye = "no_goodbye",
        SideBySide = "side_by_side",
        RanOut = "ran_out",
        Reconciled = "reconciled",
        StateReset = "state_reset",
        RoomReplaced = "room_replaced",
        NobodyCouldCome = "nobody_could_come",
        ServerDenied = "server_denied",
        LostPower = "lost_power",
        OldestTie = "oldest_tie",
        GhostOldest = "ghost_oldest",
        NoTransport = "no_transport",
        Flapping = "flapping",
        BrokenCall = "broken_call",
        DeadSfu = "dead_sfu",
        AliasDiffers = "alias_differs",
        Overwritten = "overwritten",
        LeftOver = "left_over",
    }
}

words! {
    /// How sure a finding is.
    pub enum Sureness {
        /// It follows from what is stored, without a guess.
        Computed = "computed",
        /// A sign says so.
        Probably = "probably",
        /// Nothing says otherwise.
        Perhaps = "perhaps",
    }
}

impl Sureness {
    /// In words beside a finding.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Computed => "Certain",
            Self::Probably => "Probable",
            Self::Perhaps => "Perhaps only",
        }
    }
}

words! {
    /// How grave a finding is.
    pub enum Severity {
        /// People could not talk to each other.
        Grave = "grave",
        /// Something shows wrongly, or soon will.
        Warning = "warning",
        /// It explains what is seen, and mostly nothing is to be done.
        Minor = "minor",
    }
}

impl Severity {
    /// The number by which findings are sorted, the gravest first.
    #[must_use]
    pub fn rank(self) -> i64 {
        match self {
            Self::Grave => 0,
            Self::Warning => 1,
            Self::Minor => 2,
        }
    }
}

words! {
    /// Who can mend it.
    pub enum Mender {
        /// The person whom it is about.
        Person = "person",
        /// The admin of their homeserver.
        ServerAdmin = "server_admin",
        /// A moderator of the room.
        RoomModerators = "room_moderators",
        /// Whoever runs the SFU.
        SfuOperator = "sfu_operator",
        /// Whoever runs Callscope.
        Observer = "observer",
    }
}

impl Mender {
    /// Who it is, in words at the end of a sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Person => "the person, by their client",
            Self::ServerAdmin => "the admin of their homeserver",
            Self::RoomModerators => "a moderator of the room",
            Self::SfuOperator => "whoever runs the SFU",
            Self::Observer => "whoever runs Callscope",
        }
    }
}

/// What is known of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindEntry {
    pub kind: FindingKind,
    /// In plain words.
    pub title: &'static str,
    /// What it means for those who are in the call, in a sentence.
    pub meaning: &'static str,
    /// Whose it is to mend.
    pub mender: Mender,
    /// What to do, in a sentence.
    pub remedy: &'static str,
    /// As long as it is not only perhaps so.
    pub severity: Severity,
    /// Is it computed, so that no guess is in it?
    pub is_certain: bool,
}

/// All kinds, the gravest first.
pub const KINDS: &[KindEntry] = &[
    KindEntry {
        kind: FindingKind::Apart,
        title: "People could not hear each other",
        meaning: "Clients that follow the SFU of the oldest member were connected to one SFU, and \
                  others published on another one.",
        mender: Mender::Person,
        remedy: "Update the clients to a version that connects to every SFU (multi-SFU), or let \
                 all their homeservers name the same SFU.",
        severity: Severity::Grave,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::NobodyCouldCome,
        title: "No power to join",
        meaning: "Somebody waited alone in a call that nobody else in the room was allowed to join.",
        mender: Mender::RoomModerators,
        remedy: "Lower the power level for call members in the power levels of the room.",
        severity: Severity::Grave,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::SideBySide,
        title: "Two calls side by side",
        meaning: "Two people each waited alone in a call of their own in the same room, at the \
                  same time.",
        mender: Mender::Person,
        remedy: "One of them leaves and joins the other call.",
        severity: Severity::Grave,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::NoTransport,
        title: "A member without an SFU",
        meaning: "A member of the call states no SFU and uses none, while others do: nobody hears \
                  them.",
        mender: Mender::ServerAdmin,
        remedy: "Name an SFU for their homeserver (its transports endpoint, or rtc_foci in \
                 .well-known/matrix/client), so that their client has one.",
        severity: Severity::Grave,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::AliasDiffers,
        title: "Different rooms of one SFU",
        meaning: "Members of one call named different rooms (LiveKit aliases) of the same SFU, \
                  which keeps them apart.",
        mender: Mender::Person,
        remedy: "Update the clients, so that all name the same room; until then, those who are \
                 fewer leave and join with another client.",
        severity: Severity::Grave,
        is_certain: false,
    },
    KindEntry {
        kind: FindingKind::DeadSfu,
        title: "An SFU in use did not answer",
        meaning: "Members of the call were on an SFU whose service did not answer when Callscope \
                  asked it.",
        mender: Mender::SfuOperator,
        remedy: "Look at the SFU, its token service and the proxy before them: the page of the SFU \
                 says what came and since when.",
        severity: Severity::Grave,
        is_certain: false,
    },
    KindEntry {
        kind: FindingKind::BrokenCall,
        title: "A call broke and went on",
        meaning: "All left a call at once, and the same people were in the next one of the slot \
                  within seconds.",
        mender: Mender::SfuOperator,
        remedy: "Look for what happened at that moment: a restart of the SFU, of a homeserver or \
                 of a proxy.",
        severity: Severity::Warning,
        is_certain: false,
    },
    KindEntry {
        kind: FindingKind::GhostOldest,
        title: "A ghost decides the SFU",
        meaning: "The oldest member is a ghost, and its SFU is the one that clients which follow \
                  the oldest member use.",
        mender: Mender::RoomModerators,
        remedy: "Empty the membership of the ghost; those who follow it then join again.",
        severity: Severity::Warning,
        is_certain: false,
    },
    KindEntry {
        kind: FindingKind::OldestTie,
        title: "Two candidates for the oldest member",
        meaning: "Two members who follow the oldest one joined at almost the same time and named \
                  different SFUs, so that some may be on the one and some on the other.",
        mender: Mender::Person,
        remedy: "If they do not hear each other, one of them leaves and joins again. Clients that \
                 connect to every SFU (multi-SFU) do not have this.",
        severity: Severity::Warning,
        is_certain: false,
    },
    KindEntry {
        kind: FindingKind::Flapping,
        title: "A device comes and goes",
        meaning: "One device joined the call at least four times within ten minutes, each time \
                  after it had left.",
        mender: Mender::Person,
        remedy: "Look at their connection and at the log of their client; a proxy that cuts \
                 WebSockets off does this, too.",
        severity: Severity::Warning,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::ServerDenied,
        title: "A server is shut out of the room",
        meaning: "The room takes no events of a homeserver any more, so its people cannot \
                  leave the call and stay in it until they expire.",
        mender: Mender::RoomModerators,
        remedy: "Take the server out of the deny list of m.room.server_acl, or empty the \
                 memberships.",
        severity: Severity::Warning,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::LostPower,
        title: "No power to leave",
        meaning: "A member of the call lost the power to send call memberships, and so cannot \
                  leave it.",
        mender: Mender::RoomModerators,
        remedy: "Lower the power level for call members, or empty the membership.",
        severity: Severity::Warning,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::RoomReplaced,
        title: "Left behind in a replaced room",
        meaning: "The room was upgraded while people were in the call; clients hide the old room, \
                  and a call in the new room is another one.",
        mender: Mender::Person,
        remedy: "Leave the call and join it again in the new room.",
        severity: Severity::Warning,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::Silent,
        title: "A ghost",
        meaning: "A membership still counts, but its device is gone: others see an empty tile.",
        mender: Mender::ServerAdmin,
        remedy: "Empty the membership: the person by opening the room once, or a moderator by the \
                 command. Delayed events (MSC4140) on their homeserver keep it from happening.",
        severity: Severity::Warning,
        is_certain: false,
    },
    KindEntry {
        kind: FindingKind::StateReset,
        title: "A state reset brought a membership back",
        meaning: "The state of the room holds a membership again that had ended, and no event says \
                  that anybody joined.",
        mender: Mender::RoomModerators,
        remedy: "Empty the membership; if it happens often, the room needs an upgrade.",
        severity: Severity::Warning,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::Reconciled,
        title: "A membership vanished without a leave",
        meaning: "A look at the state of the room found a membership gone, and no event says so.",
        mender: Mender::ServerAdmin,
        remedy: "Nothing now; if it happens often, our homeserver misses events of the room, or \
                 the room needs an upgrade.",
        severity: Severity::Minor,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::LeftOver,
        title: "A membership of somebody who left the room",
        meaning: "Somebody left the room while they were in the call, and their membership is \
                  still in its state; clients ignore it, since they look at who is in the room.",
        mender: Mender::RoomModerators,
        remedy: "Nothing until it expires; if they come back before, clients count it again. A \
                 moderator of the room can empty it.",
        severity: Severity::Minor,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::Overwritten,
        title: "Another device wrote over a membership",
        meaning: "Two devices of one person shared one event in the state of the room, and the \
                  second wrote over the first, which others then lost sight of.",
        mender: Mender::Person,
        remedy: "Leave and join again with the device that vanished, and update the client to one \
                 that keeps an event for each device.",
        severity: Severity::Minor,
        is_certain: false,
    },
    KindEntry {
        kind: FindingKind::NoGoodbye,
        title: "No leave came",
        meaning: "A membership counted until it expired, long after the last that was heard of its \
                  device.",
        mender: Mender::ServerAdmin,
        remedy: "Switch delayed events (MSC4140) on at their homeserver, so that it sends the \
                 leave for lost clients.",
        severity: Severity::Minor,
        is_certain: true,
    },
    KindEntry {
        kind: FindingKind::RanOut,
        title: "A membership expired too early",
        meaning: "A membership expired while its device was still in the call: others did not \
                  see it any more.",
        mender: Mender::Person,
        remedy: "Update the client to one that renews its membership.",
        severity: Severity::Minor,
        is_certain: true,
    },
];

impl FindingKind {
    /// What is known of this kind.
    #[must_use]
    pub fn entry(self) -> &'static KindEntry {
        // A test says that each kind has one.
        KINDS
            .iter()
            .find(|entry| entry.kind == self)
            .unwrap_or(&KINDS[0])
    }

    /// Is it about the silence of a device, so that it begins with the device's last event?
    #[must_use]
    pub fn is_silence(self) -> bool {
        matches!(self, Self::Silent | Self::NoGoodbye)
    }

    /// How grave a finding of this kind is that is so sure.
    #[must_use]
    pub fn severity(self, sure: Sureness) -> Severity {
        match sure {
            Sureness::Perhaps => Severity::Minor,
            Sureness::Computed | Sureness::Probably => self.entry().severity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_one_entry_and_the_gravest_come_first() {
        for entry in KINDS {
            let same = KINDS.iter().filter(|other| other.kind == entry.kind);
            assert_eq!(same.count(), 1, "{}", entry.kind);
            assert_eq!(entry.kind.entry(), entry);
            assert_eq!(entry.kind.as_str().parse(), Ok(entry.kind));
        }

        assert!(KINDS.is_sorted_by_key(|entry| entry.severity.rank()));
        assert_eq!(KINDS.len(), FindingKind::LeftOver as usize + 1);
    }

    #[test]
    fn the_docs_tell_of_each_kind_what_the_table_tells() {
        let docs = include_str!("../../docs/findings.md");
        let plain: String = docs.split_whitespace().collect::<Vec<_>>().join(" ");
        for entry in KINDS {
            let sure = if entry.is_certain {
                "certain"
            } else {
                "probable"
            };
            let says = format!(
                "### {} `{}` {} {} Severity: {}. Sure: {sure}. To mend it: {}.",
                entry.title,
                entry.kind,
                entry.meaning,
                entry.remedy,
                entry.severity,
                entry.mender.words(),
            );
            assert!(plain.contains(&says), "docs/findings.md lacks: {says}");
        }
    }
}
