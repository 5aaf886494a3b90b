//! Statements of many rows, to write or to query many things at once: a statement costs more than
//! its rows. The texts are made once, from constant parts, in a few sizes.

use super::dialect::Dialect;
use crate::store::{Db, Tx};
use sqlx::any::AnyRow;
use sqlx::query::Query;
use std::fmt::Write as _;
use std::sync::OnceLock;

/// Rows per statement, in a few sizes. `SQLite` keeps a copy of each page that a statement of many
/// rows changes, to undo it. That costs as much as the rows themselves, and less per row the more
/// rows there are. Each statement also costs a change of threads and back.
const SIZES: [usize; 8] = [512, 64, 32, 16, 8, 4, 2, 1];

/// A statement that is being bound.
pub(in crate::store) type Statement = Query<'static, Db, <Db as sqlx::Database>::Arguments>;

/// The parts of a statement: `head`, then `row` once for each row, then `tail`. The parameters
/// named by number (`$1`, ...) are common to all rows. Each `?` of `row` is a parameter of its own,
/// and these come first. For example `"update t set a = $1 where b in ("`, `"?"` and `")"` give,
/// for 8 rows, `update t set a = $9 where b in ($1, $2, $3, $4, $5, $6, $7, $8)`.
pub(in crate::store) struct MultiRow {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    /// The texts that were made so far: by dialect, then by size.
    texts: [[OnceLock<&'static str>; SIZES.len()]; 2],
}

impl MultiRow {
    /// A statement of these parts. Its texts are made when they are first needed.
    pub const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self {
            head,
            row,
            tail,
            texts: [const { [const { OnceLock::new() }; SIZES.len()] }; 2],
        }
    }

    /// The text of the statement for `SIZES[size]` rows, made once. In the parts, `?` is a row's
    /// own parameter and `$n` one that all rows share; in the text the rows' own come first.
    fn text(&self, size: usize, dialect: Dialect) -> &'static str {
        self.texts[dialect as usize][size].get_or_init(|| {
            let own = self.row.matches('?').count() * SIZES[size];
            let mut parameter = 0;
            let mut text = shift_parameters(&dialect.text(self.head), own);
            let row = shift_parameters(&dialect.text(self.row), own);
            for at in 0..SIZES[size] {
                text.push_str(if at == 0 { "" } else { ", " });
                for (at, part) in row.split('?').enumerate() {
                    if at > 0 {
                        parameter += 1;
                        text.push_str(&dialect.parameter(parameter));
                    }

                    text.push_str(part);
                }
            }

            text.push_str(&shift_parameters(&dialect.text(self.tail), own));
            // It lives as long as the program; there is one for each statement and size.
            Box::leak(text.into_boxed_str())
        })
    }

    /// The statement for one row.
    #[cfg(test)]
    pub fn one(&self) -> &'static str {
        self.text(SIZES.len() - 1, Dialect::Sqlite)
    }

    /// Runs the statement for all rows, in as many statements as needed. `bind` binds one row's own
    /// parameters, `shared` those that all rows have in common. Returns how many rows of the
    /// database were written.
    pub async fn write<T>(
        &self,
        tx: &mut Tx,
        rows: &[T],
        shared: impl Fn(Statement) -> Statement,
        bind: impl Fn(Statement, &T) -> Statement,
    ) -> Result<u64, sqlx::Error> {
        let (mut done, mut rest, dialect) = (0, rows, Dialect::of_connection(tx));
        while !rest.is_empty() {
            let size = SIZES
                .iter()
                .position(|size| *size <= rest.len())
                .unwrap_or(SIZES.len() - 1);
            let (now, later) = rest.split_at(SIZES[size]);
            rest = later;
            let query = shared(
                now.iter()
                    .fold(sqlx::query(self.text(size, dialect)), &bind),
            );
            done += query.execute(&mut **tx).await?.rows_affected();
        }

        Ok(done)
    }

    /// The rows that the statement returns for all of `rows`, in no order that spans the
    /// statements. `bind` binds one row's own parameters, `shared` those that all rows have in
    /// common. If there are fewer rows than the size of the statement, `bind` gets `None` for the
    /// others and binds null, which matches nothing.
    pub async fn read<T>(
        &self,
        connection: &mut sqlx::AnyConnection,
        rows: &[T],
        shared: impl Fn(Statement) -> Statement,
        bind: impl Fn(Statement, Option<&T>) -> Statement,
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        let dialect = Dialect::of_connection(connection);
        let (mut found, mut rest) = (Vec::new(), rows);
        while !rest.is_empty() {
            let size = size_for_rows(rest.len());
            let (now, later) = rest.split_at(rest.len().min(SIZES[size]));
            rest = later;
            let text = self.text(size, dialect);
            let query =
                (0..SIZES[size]).fold(sqlx::query(text), |query, at| bind(query, now.get(at)));
            found.append(&mut shared(query).fetch_all(&mut *connection).await?);
        }

        Ok(found)
    }

    /// [`Self::read`] for rows of one id each, without shared parameters.
    pub async fn read_by_ids<T: AsRef<str>>(
        &self,
        connection: &mut sqlx::AnyConnection,
        ids: &[T],
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        let bind =
            |query: Statement, id: Option<&T>| query.bind(id.map(|id| id.as_ref().to_owned()));
        self.read(connection, ids, |query| query, bind).await
    }

    /// [`Self::read`] for rows of one text each, with one text, such as the room, as the only shared
    /// parameter.
    pub async fn look_up(
        &self,
        connection: &mut sqlx::AnyConnection,
        shared: &str,
        keys: &[&str],
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        self.read(
            connection,
            keys,
            |query| query.bind(shared.to_owned()),
            |query, key| query.bind(key.map(|key| (*key).to_owned())),
        )
        .await
    }
}

/// The index in [`SIZES`] of the size to read this many rows with: the smallest that holds them
/// all. If that one is large and most of it would be empty, the largest that is full.
fn size_for_rows(rows: usize) -> usize {
    let enough = SIZES.iter().rposition(|size| *size >= rows).unwrap_or(0);
    let filled = SIZES
        .iter()
        .position(|size| *size <= rows)
        .unwrap_or(enough);

    if SIZES[enough] > 64 && SIZES[enough] > 2 * rows {
        filled
    } else {
        enough
    }
}

/// The text with its numbered parameters moved up by this many.
fn shift_parameters(text: &str, by: usize) -> String {
    let mut parts = text.split('$');
    let mut shifted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let number = number.parse().map_or(0, |number: usize| number + by);
        let _ = write!(shifted, "${number}{rest}");
    }

    shifted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_the_rows_come_first() {
        let rows = MultiRow::new(
            "insert into t (a, b, c) values ",
            "($1, ?, ?)",
            " on conflict (a) do update set c = $2",
        );
        let text = rows.text(size_for_rows(1), Dialect::Postgres);
        assert_eq!(
            text,
            "insert into t (a, b, c) values ($3, $1, $2) on conflict (a) do update set c = $4"
        );
        assert!(
            rows.text(size_for_rows(8), Dialect::Postgres)
                .starts_with("insert into t (a, b, c) values ($17, $1, $2), ($17, $3, $4), ")
        );
        assert!(
            rows.text(size_for_rows(8), Dialect::Sqlite)
                .starts_with("insert into t (a, b, c) values ($17, ?, ?), ($17, ?, ?), ")
        );
        assert!(
            rows.text(size_for_rows(8), Dialect::Sqlite)
                .ends_with(" on conflict (a) do update set c = $18")
        );
    }

    #[test]
    fn a_statement_is_mostly_full() {
        let sizes = [1, 2, 9, 64, 65, 255, 256, 512, 9999].map(|rows| SIZES[size_for_rows(rows)]);
        assert_eq!(sizes, [1, 2, 16, 64, 64, 64, 512, 512, 512]);
    }
}
