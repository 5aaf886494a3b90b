//! Statements of many rows, to write or to ask for many things at once: a statement costs more than its rows. The
//! texts are made once, from constant parts, in three sizes.

use super::{Db, Tx};
use sqlx::any::AnyRow;
use sqlx::query::Query;
use std::sync::OnceLock;

/// So many rows a statement takes at most, and so many parameters of their own: what binding one costs grows with
/// how many there are.
const ROWS: usize = 64;
const PARAMETERS: usize = 160;

/// A statement that is being bound.
pub(super) type Statement = Query<'static, Db, <Db as sqlx::Database>::Arguments>;

/// The parts of a statement: `head`, as many times `row` as there are rows, `tail`. The first `shared` parameters are
/// named by number and are common to all rows; each `?` of `row` is one of its own.
pub(super) struct Rows {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    shared: usize,
    texts: [OnceLock<&'static str>; 3],
}

impl Rows {
    pub const fn new(shared: usize, head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self { head, row, tail, shared, texts: [const { OnceLock::new() }; 3] }
    }

    /// How many rows the statement takes in its three sizes.
    fn sizes(&self) -> [usize; 3] {
        let own = self.row.bytes().filter(|byte| *byte == b'?').count().max(1);
        let most = (PARAMETERS / own).min(ROWS);
        [most, most / 8 + 1, 1]
    }

    fn text(&self, size: usize) -> &'static str {
        self.texts[size].get_or_init(|| {
            let mut parameter = self.shared;
            let mut text = self.head.to_owned();
            for row in 0..self.sizes()[size] {
                text.push_str(if row == 0 { "" } else { ", " });
                for (at, part) in self.row.split('?').enumerate() {
                    if at > 0 {
                        parameter += 1;
                        text.push('$');
                        text.push_str(&parameter.to_string());
                    }
                    text.push_str(part);
                }
            }
            text.push_str(self.tail);
            // It lives as long as the program, once for each statement.
            Box::leak(text.into_boxed_str())
        })
    }

    /// The statement for one row.
    #[cfg(test)]
    pub fn one(&self) -> &'static str {
        self.text(2)
    }

    /// Runs the statement for all rows; `shared` binds what all rows have in common, `bind` one row.
    pub async fn write<T>(
        &self,
        tx: &mut Tx,
        rows: &[T],
        shared: impl Fn(Statement) -> Statement,
        bind: impl Fn(Statement, &T) -> Statement,
    ) -> Result<u64, sqlx::Error> {
        let (mut done, mut rest, sizes) = (0, rows, self.sizes());
        while !rest.is_empty() {
            let size = sizes.iter().position(|size| *size <= rest.len()).unwrap_or(2);
            let (now, later) = rest.split_at(sizes[size]);
            rest = later;
            let query = now.iter().fold(shared(sqlx::query(self.text(size))), &bind);
            done += query.execute(&mut **tx).await?.rows_affected();
        }
        Ok(done)
    }

    /// What the statement answers to all rows. Rows that are missing to a size are bound as null, which matches nothing.
    pub async fn read<T>(
        &self,
        connection: &mut sqlx::AnyConnection,
        rows: &[T],
        shared: impl Fn(Statement) -> Statement,
        bind: impl Fn(Statement, Option<&T>) -> Statement,
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        let (mut found, sizes) = (Vec::new(), self.sizes());
        for some in rows.chunks(sizes[0]) {
            let size = sizes.iter().rposition(|size| *size >= some.len()).unwrap_or(0);
            let query =
                (0..sizes[size]).fold(shared(sqlx::query(self.text(size))), |query, at| bind(query, some.get(at)));
            found.append(&mut query.fetch_all(&mut *connection).await?);
        }
        Ok(found)
    }

    /// [`Self::read`] for texts, with the room as what they have in common.
    pub async fn look_up(
        &self,
        connection: &mut sqlx::AnyConnection,
        room_id: &str,
        keys: &[&str],
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        self.read(
            connection,
            keys,
            |query| query.bind(room_id.to_owned()),
            |query, key| query.bind(key.map(|key| (*key).to_owned())),
        )
        .await
    }
}
