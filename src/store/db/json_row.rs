//! Rows by name: the database makes a JSON object of each row, and one text of many, because
//! fetching a row costs more than reading it. The keys are the fields of a struct.

use crate::store::Error;
use serde::Deserialize;
use sqlx::Row;
use sqlx::any::AnyRow;

/// Declares the struct of a row, and the SQL that makes its JSON object. A field stands beside its
/// column, because serde would read a column that is missing as a null.
///
/// The SQL is `SQLite`'s. [`Dialect::text`](super::dialect::Dialect::text) makes `PostgreSQL`'s of
/// it.
macro_rules! json_row {
    (
        $(#[$about:meta])*
        $vis:vis struct $row:ident {
            $first_field:ident: $first_type:ty = $first_column:expr,
            $($field:ident: $type:ty = $column:expr,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, serde::Deserialize)]
        $vis struct $row {
            $vis $first_field: $first_type,
            $($vis $field: $type,)*
        }

        #[allow(dead_code, reason = "most rows are only read as lists")]
        impl $row {
            /// The JSON object of a row.
            pub const OBJECT: &str = sql!(
                "json_object('", stringify!($first_field), "', ", $first_column,
                $(", '", stringify!($field), "', ", $column,)*
                ")"
            );
            /// The same as a text.
            pub const TEXT: &str = sql!("cast(", $row::OBJECT, " as text)");
            /// One text of all rows: their JSON objects, one after the other.
            pub const LIST: &str = sql!("string_agg(", $row::TEXT, ", '')");
        }
    };
}

/// Joins texts at compile time. Unlike `concat!` it takes constants.
macro_rules! sql {
    ($($part:expr),+ $(,)?) => {{
        const PARTS: &[&str] = &[$($part),+];
        const LENGTH: usize = $crate::store::db::json_row::length_of(PARTS);
        const BYTES: [u8; LENGTH] = $crate::store::db::json_row::join(PARTS);
        const TEXT: &str = match std::str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("whole texts are joined"),
        };

        TEXT
    }};
}

/// How long these texts are together, bytes.
pub(in crate::store) const fn length_of(parts: &[&str]) -> usize {
    let (mut length, mut part) = (0, 0);
    while part < parts.len() {
        length += parts[part].len();
        part += 1;
    }

    length
}

/// These texts, one after the other. A `const fn` has no iterators.
pub(in crate::store) const fn join<const LENGTH: usize>(parts: &[&str]) -> [u8; LENGTH] {
    let mut joined = [0; LENGTH];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let (_, rest) = joined.split_at_mut(at);
        let (place, _) = rest.split_at_mut(parts[part].len());
        place.copy_from_slice(parts[part].as_bytes());
        at += parts[part].len();
        part += 1;
    }

    joined
}

/// Reads the JSON objects in the first column of each of these rows; null holds none.
pub(in crate::store) fn read_rows<'r, R: Deserialize<'r>, T>(
    rows: &'r [AnyRow],
    mut make: impl FnMut(R) -> T,
) -> Result<Vec<T>, Error> {
    let mut found = Vec::new();
    for row in rows {
        let text = row.try_get::<Option<&str>, _>(0)?.unwrap_or_default();
        for object in serde_json::Deserializer::from_str(text).into_iter() {
            found.push(make(object.map_err(|error| broken_row_error(&error))?));
        }
    }

    Ok(found)
}

/// A word of a closed set that is none, or a value of another kind than its field.
fn broken_row_error(error: &serde_json::Error) -> Error {
    Error::Content(format!("a row holds what it may not: {error}"))
}

#[cfg(test)]
mod tests {
    use super::read_rows;
    use crate::rtc::words::Format;
    use crate::store::test_database::Database;
    use crate::store::{Error, Writer};

    json_row! {
        struct TestRow {
            a: Option<String> = "a",
            b: Option<i64> = "b",
            c: Option<String> = "c",
        }
    }

    const ROWS: &str = sql!(
        "select ",
        TestRow::LIST,
        " from (select $1 as a, cast($2 as bigint) as b, cast(null as text) as c
            union all select '', 7, '🙂') as rows"
    );

    #[tokio::test]
    async fn whatever_a_text_holds_it_comes_out_as_it_was() {
        let database = Database::new().await;
        let store = Writer::open(database.url()).await.unwrap();
        let mut texts = vec![
            "",
            ":",
            "3:abc",
            "Zoë\u{1f}\u{1e}\n:7:",
            "𝕏",
            "\"",
            r"\",
            r#"\"\u0041\ud800"#,
            r#"{"a": [1, null]}"#,
            "null",
            "12",
            "\u{1}\u{8}\t\r\u{7f}\u{2028}",
        ];
        // `PostgreSQL` stores no such text.
        if database.is_file() {
            texts.push("before\0after");
        }

        for hostile in texts {
            for number in [i64::MIN, i64::MAX, 0] {
                let query = store.dialect().query(ROWS).bind(hostile).bind(number);
                let rows = query.fetch_all(&store.write).await.unwrap();
                let mut found = read_rows(&rows, |row: TestRow| (row.a, row.b, row.c)).unwrap();
                let mut expected = [
                    (Some(hostile.to_owned()), Some(number), None),
                    (Some(String::new()), Some(7), Some("🙂".to_owned())),
                ];
                found.sort();
                expected.sort();
                assert_eq!(found, expected);
            }
        }
    }

    #[tokio::test]
    async fn no_rows_are_an_empty_list() {
        const NONE: &str = sql!(
            "select ",
            TestRow::LIST,
            " from (select '' as a, 7 as b, '' as c) as rows where b > 7"
        );
        let database = Database::new().await;
        let store = Writer::open(database.url()).await.unwrap();
        let query = store.dialect().query(NONE);
        let rows = query.fetch_all(&store.write).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert!(read_rows(&rows, |row: TestRow| row).unwrap().is_empty());
    }

    json_row! {
        struct WordRow {
            kind: Format = "kind",
        }
    }

    #[tokio::test]
    async fn an_unknown_word_is_named_by_the_error() {
        const WORDS: &str = sql!(
            "select ",
            WordRow::LIST,
            " from (select 'legacy' as kind union all select 'telepathy') as rows"
        );
        let database = Database::new().await;
        let store = Writer::open(database.url()).await.unwrap();
        let query = store.dialect().query(WORDS);
        let rows = query.fetch_all(&store.write).await.unwrap();
        let error = read_rows(&rows, |row: WordRow| row.kind).unwrap_err();
        assert!(matches!(error, Error::Content(_)), "{error}");
        assert!(
            error.to_string().contains("\"telepathy\" is no Format"),
            "{error}"
        );
    }
}
