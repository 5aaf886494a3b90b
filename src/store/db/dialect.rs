//! Where the two databases need different text: parameters, columns that no index may be used for,
//! and the function that makes JSON objects.

use crate::store::Db;
use sqlx::query::Query;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe};
use std::borrow::Cow;

/// The language of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// The language that the connections of a pool speak.
    pub fn of_pool(pool: &AnyPool) -> Self {
        if pool.connect_options().database_url.scheme() == "sqlite" {
            Self::Sqlite
        } else {
            Self::Postgres
        }
    }

    /// The language that a connection speaks.
    pub fn of_connection(connection: &AnyConnection) -> Self {
        if connection.backend_name() == "SQLite" {
            Self::Sqlite
        } else {
            Self::Postgres
        }
    }

    /// A text in the words of this database. It names the function that makes JSON objects as
    /// `SQLite` does.
    pub fn text(self, text: &'static str) -> Cow<'static, str> {
        match self {
            Self::Sqlite => Cow::Borrowed(text),
            Self::Postgres => Cow::Owned(text.replace("json_object(", "json_build_object(")),
        }
    }

    /// The statement with this text, as [`Self::text`] has it.
    pub fn query<'q>(self, text: &'static str) -> Query<'q, Db, <Db as sqlx::Database>::Arguments> {
        sqlx::query(AssertSqlSafe(self.text(text)))
    }

    /// The text of the parameter with this number, which begins with 1. `PostgreSQL` knows only
    /// numbered ones. In `SQLite` the cost of numbered parameters grows with the square of their
    /// number.
    pub fn parameter(self, number: usize) -> String {
        match self {
            Self::Sqlite => "?".to_owned(),
            Self::Postgres => format!("${number}"),
        }
    }

    /// The text of a column whose index must not be used. `SQLite` chooses an index without knowing
    /// how many rows match, and `+` takes it the choice (<https://sqlite.org/optoverview.html>).
    /// `PostgreSQL` knows it, and an expression would hide it.
    pub fn without_index(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("+{column}"),
            Self::Postgres => column.to_owned(),
        }
    }
}
