//! Columns of closed sets: their words become members of an enum where a row is read.

use crate::rtc::words::UnknownWord;
use crate::store::Error;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::str::FromStr;

/// The member of a closed set that this column holds.
pub(in crate::store) fn word_from_row<T: FromStr<Err = UnknownWord>>(
    row: &AnyRow,
    column: &str,
) -> Result<T, Error> {
    parse_word(column, row.try_get(column)?)
}

/// The member of a closed set that this column holds; `None` if it is null.
pub(in crate::store) fn maybe_word_from_row<T: FromStr<Err = UnknownWord>>(
    row: &AnyRow,
    column: &str,
) -> Result<Option<T>, Error> {
    let word: Option<&str> = row.try_get(column)?;
    word.map(|word| parse_word(column, word)).transpose()
}

/// The member of a closed set with this word, from this column.
pub(in crate::store) fn parse_word<T: FromStr<Err = UnknownWord>>(
    column: &str,
    word: &str,
) -> Result<T, Error> {
    word.parse()
        .map_err(|unknown: UnknownWord| Error::Content(format!("the column {column}: {unknown}")))
}
