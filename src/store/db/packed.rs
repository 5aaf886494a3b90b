//! Many rows in one text, because fetching a row costs more than reading it. A statement packs each
//! column as its length, a colon and its text, one after the other, so that no text can be mistaken
//! for a separator.

use super::word_column::parse_word;
use crate::rtc::words::UnknownWord;
use crate::store::Error;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::str::FromStr;

/// A column of text, packed: `5:hello`; null is `:`.
macro_rules! text {
    ($column:literal) => {
        concat!(
            "coalesce(octet_length(",
            $column,
            ") || ':' || ",
            $column,
            ", ':')"
        )
    };
}

/// A column of whole numbers, packed: `42:`; null is `:`.
macro_rules! number {
    ($column:literal) => {
        concat!("coalesce(", $column, " || ':', ':')")
    };
}

/// An expression that packs these columns of a row into one text.
macro_rules! row {
    ($first:ident $column:literal $(, $kind:ident $more:literal)* $(,)?) => {
        concat!($first!($column), $(" || ", $kind!($more),)*)
    };
}

/// An expression that packs these columns of all rows into one text.
macro_rules! packed {
    ($($columns:tt)*) => {
        concat!("string_agg(", row!($($columns)*), ", '')")
    };
}

/// The rest of a packed text.
pub(in crate::store) struct Fields<'t>(&'t str);

impl<'t> Fields<'t> {
    /// The next field, a number.
    pub fn number(&mut self) -> Result<Option<i64>, Error> {
        let (head, rest) = self.0.split_once(':').ok_or_else(broken_row_error)?;
        self.0 = rest;

        if head.is_empty() {
            Ok(None)
        } else {
            head.parse().map(Some).map_err(|_| broken_row_error())
        }
    }

    /// The next field, a text.
    pub fn text(&mut self) -> Result<Option<&'t str>, Error> {
        let Some(length) = self.number()? else {
            return Ok(None);
        };

        let parts = usize::try_from(length)
            .ok()
            .and_then(|length| self.0.split_at_checked(length));
        let (text, rest) = parts.ok_or_else(broken_row_error)?;
        self.0 = rest;

        Ok(Some(text))
    }

    /// A number that is never null.
    pub fn some_number(&mut self) -> Result<i64, Error> {
        self.number()?.ok_or_else(broken_row_error)
    }

    /// A text that is never null.
    pub fn some_text(&mut self) -> Result<String, Error> {
        self.text()?
            .map(ToOwned::to_owned)
            .ok_or_else(broken_row_error)
    }

    /// A word of a closed set, in this column.
    pub fn word<T: FromStr<Err = UnknownWord>>(&mut self, column: &str) -> Result<T, Error> {
        self.maybe_word(column)?.ok_or_else(broken_row_error)
    }

    /// The same where it may be null.
    pub fn maybe_word<T: FromStr<Err = UnknownWord>>(
        &mut self,
        column: &str,
    ) -> Result<Option<T>, Error> {
        let word = self.text()?;
        word.map(|word| parse_word(column, word)).transpose()
    }

    /// A text that may be null.
    pub fn maybe_text(&mut self) -> Result<Option<String>, Error> {
        Ok(self.text()?.map(ToOwned::to_owned))
    }
}

fn broken_row_error() -> Error {
    Error::Content("a row that the database packed is broken".to_owned())
}

/// Reads what is packed in the first column of each of these rows; null holds nothing.
pub(in crate::store) fn unpack<T>(
    rows: &[AnyRow],
    mut read: impl FnMut(&mut Fields<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut found = Vec::new();
    for row in rows {
        let mut fields = Fields(row.try_get::<Option<&str>, _>(0)?.unwrap_or_default());
        while !fields.0.is_empty() {
            found.push(read(&mut fields)?);
        }
    }

    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::unpack;
    use crate::store::Writer;
    use crate::store::test_database::Database;

    const PACKED: &str = concat!(
        "select ",
        packed!(text "a", number "b", text "c"),
        " from (select $1 as a, cast($2 as bigint) as b, cast(null as text) as c
            union all select '', 7, '🙂') as rows"
    );

    #[tokio::test]
    async fn whatever_a_text_holds_it_comes_out_as_it_was() {
        let database = Database::new().await;
        let store = Writer::open(database.url()).await.unwrap();
        for hostile in ["", ":", "3:abc", "Zoë\u{1f}\u{1e}\n:7:", "𝕏"] {
            let query = sqlx::query(PACKED).bind(hostile).bind(i64::MIN);
            let rows = query.fetch_all(&store.write).await.unwrap();
            let mut found = unpack(&rows, |fields| {
                Ok((fields.maybe_text()?, fields.number()?, fields.maybe_text()?))
            })
            .unwrap();
            found.sort_by_key(|(_, number, _)| *number);
            let first = (Some(hostile.to_owned()), Some(i64::MIN), None);
            assert_eq!(
                found,
                [first, (Some(String::new()), Some(7), Some("🙂".to_owned()))]
            );
        }
    }
}
