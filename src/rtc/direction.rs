//! Letters that turn the direction of text. A stranger's name with one would turn what stands
//! beside it, too.

/// Does this letter turn the direction of the text around it?
#[must_use]
pub fn turns_direction(letter: char) -> bool {
    matches!(
        letter,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}
