//! Where the two databases need different text: parameters, and columns that no index may be used
//! for.

use sqlx::{AnyConnection, AnyPool};

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

    /// The text of the parameter with this number, which begins with 1.
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
