//! What an application id says about a slot: is it a call that people meet in, or something else
//! that is shared?

/// What a slot is for, by its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// People talk with each other.
    Call,
    /// People draw on one board.
    Whiteboard,
    /// Not known to us: nothing is claimed about it.
    Other,
}

/// The applications that we know. An id that is not here is [`Purpose::Other`]: ids come from
/// strangers.
const KNOWN: [(&str, Purpose); 5] = [
    ("m.call", Purpose::Call),
    ("org.matrix.msc3401.call", Purpose::Call),
    ("net.nordeck.whiteboard", Purpose::Whiteboard),
    ("m.whiteboard", Purpose::Whiteboard),
    ("org.matrix.whiteboard", Purpose::Whiteboard),
];

/// What slots of this application are for.
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
