//! Limits of ids and positions in answers. They become parts of URLs and keys in the database. One
//! that is too long for a URL or an index would block everything that came with it, so it is
//! treated as invalid.

/// The specification's limit for an id of a room, in bytes.
const ROOM_ID_MAX: usize = 255;
/// Maximum length of a position, bytes: escaped in a URL it may become three times as long.
pub(super) const POSITION_MAX: usize = 16 * 1024;

/// May this be the id of a room: is it not empty and not too long?
pub(super) fn is_room_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ROOM_ID_MAX
}

/// May this be a position in a stream: is it not empty and not too long?
pub(super) fn is_position(text: &str) -> bool {
    !text.is_empty() && text.len() <= POSITION_MAX
}
