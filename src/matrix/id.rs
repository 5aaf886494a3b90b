//! Ids and positions of answers: what is too long for anything is none. They become parts of
//! addresses and keys in the database, and one that no address and no index can take would stop
//! everything that came with it.

/// The specification's limit for an id of a room, in bytes.
const ROOM_ID_MAX: usize = 255;
/// A longer position is none, in bytes: an address of three times as many can still be asked for.
pub(super) const POSITION_MAX: usize = 16 * 1024;

/// May this be the id of a room?
pub(super) fn is_room_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ROOM_ID_MAX
}

/// May this be a position in a stream?
pub(super) fn is_position(text: &str) -> bool {
    !text.is_empty() && text.len() <= POSITION_MAX
}
