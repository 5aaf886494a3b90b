//! The purpose of a slot, by its application id: a call in which people meet, or something else
//! that is shared.

/// The purpose of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// People talk with each other.
    Call,
    /// People draw on one board.
    Whiteboard,
    /// Unknown application: nothing is assumed about it.
    Other,
}

/// The known applications. Any other id is [`Purpose::Other`]: ids come from strangers.
const KNOWN: [(&str, Purpose); 5] = [
    ("m.call", Purpose::Call),
    ("org.matrix.msc3401.call", Purpose::Call),
    ("net.nordeck.whiteboard", Purpose::Whiteboard),
    ("m.whiteboard", Purpose::Whiteboard),
    ("org.matrix.whiteboard", Purpose::Whiteboard),
];

/// The purpose of slots of this application.
#[must_use]
pub fn purpose_of(application: &str) -> Purpose {
    KNOWN
        .iter()
        .find(|(known, _)| *known == application)
        .map_or(Purpose::Other, |(_, purpose)| *purpose)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ids_are_known() {
        assert_eq!(purpose_of("m.call"), Purpose::Call);
        assert_eq!(purpose_of("net.nordeck.whiteboard"), Purpose::Whiteboard);

        for unknown in [
            "",
            "M.CALL",
            "m.calls",
            "net.nordeck.whiteboard2",
            "org.example.chess",
        ] {
            assert_eq!(purpose_of(unknown), Purpose::Other, "{unknown}");
        }
    }
}
