//! Copies a whole database into another, empty one, which may be on the other kind of server. All
//! rows are written in one transaction and compared before it is committed, so that a copy that was
//! broken off leaves nothing behind but empty tables.

use crate::store::db::connect::{self, Setup};
use crate::store::db::dialect::Dialect;
use crate::store::db::disk::DiskLimit;
use crate::store::db::instance_lock::InstanceLock;
use crate::store::db::upgrade::{self, UpgradeOptions, plan_upgrade};
use crate::store::visible::views::TABLES;
use crate::store::{Db, Error, Tx};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Row};
use std::borrow::Cow;

/// Maximum rows and parameters of a statement that writes. Both databases take more.
const ROWS_MOST: usize = 500;
const PARAMETERS_MOST: usize = 20_000;
/// After how many rows progress is told.
const TELL_ROWS: u64 = 1000;
/// The tables into which migrations write rows by themselves.
const FILLED_BY_MIGRATIONS: [&str; 2] = ["pulse", "visibility_version"];

/// Why a database was not copied. The copy is empty then.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("{0}")]
    Store(#[from] Error),
    #[error("the database answered: {0}")]
    Database(#[from] sqlx::Error),
    #[error(
        "{database} is written by another program, and nothing may be while it is copied: {source}; \
         stop that program first"
    )]
    Written {
        database: String,
        source: sqlx::Error,
    },
    #[error("{database} is no database of Callscope: it has none of its tables")]
    NoSource { database: String },
    #[error(
        "{database} has the shape {shape} of an older version, and this version copies {known}; \
         start this version once with it, which upgrades it"
    )]
    OlderSource {
        database: String,
        shape: i64,
        known: i64,
    },
    #[error(
        "{database} is not empty: its table {table} has rows. Make a new, empty database and name \
         that one"
    )]
    NotEmpty { database: String, table: String },
    #[error(
        "{database} has tables that are not of Callscope. Make a new, empty database and name that \
         one"
    )]
    ForeignTables { database: String },
    #[error(
        "the copy of the table {table} is not equal to it ({written} rows of {read}), so nothing \
         was kept; please report it"
    )]
    Differs {
        table: String,
        read: u64,
        written: u64,
    },
    #[error("the table {table} has other columns in the two databases; please report it")]
    OtherColumns { table: String },
    #[error("a row of the table {table} cannot be copied: {source}")]
    Row { table: String, source: sqlx::Error },
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferProgress {
    /// The table that is being copied or compared.
    pub table: &'static str,
    /// Everything is written, and is being compared.
    pub is_comparing: bool,
    /// The rows that were written, and those that were compared, of twice so many.
    pub rows_done: u64,
    pub rows_total: u64,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transferred {
    /// The tables, each with its number of rows.
    pub tables: Vec<TableCopy>,
    /// Texts with the character NUL, which `PostgreSQL` cannot store; it was replaced by U+FFFD.
    pub changed_texts: u64,
    /// Why `PostgreSQL` has not counted what is in the tables; `None` if it has.
    pub not_analyzed: Option<String>,
}

/// A table that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCopy {
    pub name: &'static str,
    pub rows: u64,
}

impl Transferred {
    /// The rows of all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

/// A value of a row: all columns are one of these.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

/// A column and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    name: String,
    is_text: bool,
}

/// The number of rows, and a sum of hashes of them, which does not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Checksum {
    rows: u64,
    sum: u128,
}

impl Checksum {
    fn add(&mut self, row: &[Value]) {
        let mut hash = Sha256::new();
        for value in row {
            let (kind, bytes): (u8, Cow<'_, [u8]>) = match value {
                Value::Text(Some(text)) => (1, Cow::Borrowed(text.as_bytes())),
                Value::Number(Some(number)) => (2, Cow::Owned(number.to_be_bytes().to_vec())),
                Value::Text(None) | Value::Number(None) => (0, Cow::Borrowed(&[])),
            };
            hash.update([kind]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(&bytes);
        }

        let hash = hash.finalize();
        let first: [u8; 16] = std::array::from_fn(|at| hash[at]);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(first));
    }
}

/// Copies the database at `from` into the empty one at `to`. Both must not be in use, and nothing can
/// be written to `from` meanwhile. `who` describes this process to others that want one of them.
/// `tell` is called with the progress.
///
/// # Errors
/// When one of them is in use or being written, `from` is not of this version's shape, `to` is not empty, or the copy
/// is not equal in the end. Then nothing is in `to` but empty tables.
pub async fn transfer_database(
    from: &str,
    to: &str,
    who: &str,
    tell: impl Fn(TransferProgress),
) -> Result<Transferred, TransferError> {
    let _source_lock = InstanceLock::acquire_lock(from, who).await?;
    let _copy_lock = InstanceLock::acquire_lock(to, who).await?;
    let mut source = connect::open_connection(from).await?;
    check_source(&mut source, from).await?;
    let locked = lock_source(&mut source).await;
    // Everything that is read is of one moment.
    let mut moment = locked.map_err(|source| TransferError::Written {
        database: connect::database_name(from),
        source,
    })?;
    check_source(&mut moment, from).await?;

    let to = connect::with_create(to);
    let pool = open_copy(&to).await?;
    let mut tx = pool.begin().await?;
    let done = copy_and_compare(&mut moment, &mut tx, &tell).await;
    if done.is_ok() {
        tx.commit().await?;
    } else {
        let _ = tx.rollback().await;
    }

    let mut done = done?;
    // Everything is in the copy, so this is no failure of it.
    if Dialect::of_pool(&pool) == Dialect::Postgres
        && let Err(error) = pool.execute("analyze").await
    {
        done.not_analyzed = Some(error.to_string());
    }
    pool.close().await;
    let _ = moment.rollback().await;
    let _ = source.close().await;

    Ok(done)
}

/// Begins a transaction in which nobody else writes to the database: commands such as `forget` and
/// `key` do so beside others, and what they wrote would not be in the copy.
async fn lock_source(source: &mut AnyConnection) -> Result<sqlx::Transaction<'_, Db>, sqlx::Error> {
    if Dialect::of_connection(source) == Dialect::Sqlite {
        source.execute("pragma busy_timeout = 15000").await?;
        return source.begin_with("begin immediate").await;
    }

    let begin = "begin isolation level repeatable read read only";
    let mut moment = source.begin_with(begin).await?;
    moment.execute("set local lock_timeout = '15s'").await?;
    let names: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
    // The moment that is read begins after it.
    let lock = format!("lock table {} in share mode", names.join(", "));
    moment.execute(AssertSqlSafe(lock)).await?;

    Ok(moment)
}

/// Checks that what is to be copied has this version's shape.
async fn check_source(source: &mut AnyConnection, url: &str) -> Result<(), TransferError> {
    let plan = plan_upgrade(source, url).await?;
    let database = connect::database_name(url);
    let Some(shape) = plan.from else {
        return Err(TransferError::NoSource { database });
    };
    if !plan.pending.is_empty() {
        return Err(TransferError::OlderSource {
            database,
            shape,
            known: plan.to,
        });
    }

    Ok(())
}

const TABLES_IN_FILE: &str = "select count(*) from sqlite_master where type = 'table'
    and name not like 'sqlite!_%' escape '!'";
const TABLES_ON_SERVER: &str = "select count(*) from pg_tables where schemaname = current_schema()";

/// Opens the database that becomes the copy, and makes its tables. It is an error if it has any
/// rows, or tables of somebody else.
async fn open_copy(url: &str) -> Result<AnyPool, TransferError> {
    connect::make_private(url)?;
    connect::connect_once(url).await?;
    let pool = connect::pool_options(1, 48_000, &DiskLimit::default(), None, Setup::default())
        .connect(url)
        .await?;
    let mut connection = pool.acquire().await?;
    let database = connect::database_name(url);
    if plan_upgrade(&mut connection, url).await?.from.is_none() {
        let text = match Dialect::of_connection(&connection) {
            Dialect::Sqlite => TABLES_IN_FILE,
            Dialect::Postgres => TABLES_ON_SERVER,
        };
        let tables: i64 = sqlx::query_scalar(text).fetch_one(&mut *connection).await?;
        if tables > 0 {
            return Err(TransferError::ForeignTables { database });
        }
    }

    drop(connection);
    upgrade::upgrade(&pool, "begin", url, &UpgradeOptions::default()).await?;
    let mut connection = pool.acquire().await?;
    for (table, _) in TABLES {
        let is_filled = count_rows(&mut connection, table).await? > 0;
        if is_filled && !FILLED_BY_MIGRATIONS.contains(table) {
            return Err(TransferError::NotEmpty {
                database,
                table: (*table).to_owned(),
            });
        }
    }

    drop(connection);

    Ok(pool)
}

async fn count_rows(connection: &mut AnyConnection, table: &str) -> Result<u64, sqlx::Error> {
    let text = format!("select count(*) from {table}");
    let rows: i64 = sqlx::query_scalar::<Db, i64>(AssertSqlSafe(text))
        .fetch_one(connection)
        .await?;

    Ok(rows.unsigned_abs())
}

async fn copy_and_compare(
    source: &mut AnyConnection,
    tx: &mut Tx,
    tell: &impl Fn(TransferProgress),
) -> Result<Transferred, TransferError> {
    let mut done = Transferred::default();
    let mut progress = TransferProgress {
        table: "",
        is_comparing: false,
        rows_done: 0,
        rows_total: 0,
    };
    for (table, _) in TABLES {
        progress.rows_total += count_rows(source, table).await?;
    }

    let mut written = Vec::with_capacity(TABLES.len());
    for (table, _) in TABLES {
        progress.table = table;
        let columns = columns_of_both(source, tx, table).await?;
        let sum = copy_table(source, tx, table, &columns, &mut done, &mut progress, tell).await?;
        written.push((*table, columns, sum));
    }

    progress.is_comparing = true;
    for (table, columns, expected) in written {
        progress.table = table;
        let found = sum_table(tx, table, &columns, &mut progress, tell).await?;
        if found != expected {
            return Err(TransferError::Differs {
                table: table.to_owned(),
                read: expected.rows,
                written: found.rows,
            });
        }

        done.tables.push(TableCopy {
            name: table,
            rows: found.rows,
        });
    }

    Ok(done)
}

const COLUMNS_IN_FILE: &str = "select name, lower(type) as kind from pragma_table_info($1)";
const COLUMNS_ON_SERVER: &str = "select cast(column_name as text) as name,
        cast(data_type as text) as kind
    from information_schema.columns where table_schema = current_schema() and table_name = $1";

/// The columns of a table, by name.
async fn read_columns(
    connection: &mut AnyConnection,
    table: &str,
) -> Result<Vec<Column>, sqlx::Error> {
    let text = match Dialect::of_connection(connection) {
        Dialect::Sqlite => COLUMNS_IN_FILE,
        Dialect::Postgres => COLUMNS_ON_SERVER,
    };
    let rows = sqlx::query::<Db>(text)
        .bind(table)
        .fetch_all(connection)
        .await?;
    let mut columns = Vec::with_capacity(rows.len());
    for row in rows {
        let kind: String = row.try_get("kind")?;
        columns.push(Column {
            name: row.try_get("name")?,
            is_text: kind == "text",
        });
    }

    columns.sort();

    Ok(columns)
}

/// The columns of a table, which must be the same in both databases.
async fn columns_of_both(
    source: &mut AnyConnection,
    copy: &mut AnyConnection,
    table: &str,
) -> Result<Vec<Column>, TransferError> {
    let columns = read_columns(source, table).await?;
    if columns.is_empty() || columns != read_columns(copy, table).await? {
        return Err(TransferError::OtherColumns {
            table: table.to_owned(),
        });
    }

    Ok(columns)
}

fn names_of_columns(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();

    names.join(", ")
}

/// The values of a row, in the order of the columns.
fn read_row(row: &AnyRow, columns: &[Column]) -> Result<Vec<Value>, sqlx::Error> {
    let value = |(at, column): (usize, &Column)| {
        Ok(if column.is_text {
            Value::Text(row.try_get(at)?)
        } else {
            Value::Number(row.try_get(at)?)
        })
    };

    columns.iter().enumerate().map(value).collect()
}

/// Copies the rows of a table, and returns their checksum as they were written.
async fn copy_table(
    source: &mut AnyConnection,
    tx: &mut Tx,
    table: &'static str,
    columns: &[Column],
    done: &mut Transferred,
    progress: &mut TransferProgress,
    tell: &impl Fn(TransferProgress),
) -> Result<Checksum, TransferError> {
    let row_error = row_error_of_table(table);
    if FILLED_BY_MIGRATIONS.contains(&table) {
        let text = format!("delete from {table}");
        sqlx::query(AssertSqlSafe(text)).execute(&mut **tx).await?;
    }

    let dialect = Dialect::of_connection(tx);
    let at_once = (PARAMETERS_MOST / columns.len()).clamp(1, ROWS_MOST);
    let mut sum = Checksum::default();
    let mut waiting: Vec<Vec<Value>> = Vec::with_capacity(at_once);
    let text = format!("select {} from {table}", names_of_columns(columns));
    let mut rows = sqlx::query(AssertSqlSafe(text)).fetch(source);
    while let Some(row) = rows.try_next().await.map_err(&row_error)? {
        let mut row = read_row(&row, columns).map_err(&row_error)?;
        if dialect == Dialect::Postgres {
            done.changed_texts += replace_nul(&mut row);
        }

        sum.add(&row);
        waiting.push(row);
        if waiting.len() == at_once {
            insert_rows(tx, table, columns, &waiting)
                .await
                .map_err(&row_error)?;
            waiting.clear();
        }

        count_row(progress, tell);
    }

    if !waiting.is_empty() {
        insert_rows(tx, table, columns, &waiting)
            .await
            .map_err(&row_error)?;
    }

    tell(*progress);

    Ok(sum)
}

/// What makes the error of a row of this table.
fn row_error_of_table(table: &str) -> impl Fn(sqlx::Error) -> TransferError {
    move |source| TransferError::Row {
        table: table.to_owned(),
        source,
    }
}

/// Notes one more row that is done.
fn count_row(progress: &mut TransferProgress, tell: &impl Fn(TransferProgress)) {
    progress.rows_done += 1;
    if progress.rows_done.is_multiple_of(TELL_ROWS) {
        tell(*progress);
    }
}

/// Replaces NUL in the texts of a row. Returns how many texts had it.
fn replace_nul(row: &mut [Value]) -> u64 {
    let mut changed = 0;
    for value in row {
        if let Value::Text(Some(text)) = value
            && text.contains('\0')
        {
            *text = text.replace('\0', "\u{fffd}");
            changed += 1;
        }
    }

    changed
}

/// Inserts these rows by one statement.
async fn insert_rows(
    tx: &mut Tx,
    table: &str,
    columns: &[Column],
    rows: &[Vec<Value>],
) -> Result<(), sqlx::Error> {
    let dialect = Dialect::of_connection(tx);
    let mut parameter = 0;
    let mut places = Vec::with_capacity(rows.len());
    for _ in rows {
        let of_row: Vec<String> = columns
            .iter()
            .map(|_| {
                parameter += 1;
                dialect.parameter(parameter)
            })
            .collect();
        places.push(format!("({})", of_row.join(", ")));
    }

    let text = format!(
        "insert into {table} ({}) values {}",
        names_of_columns(columns),
        places.join(", ")
    );
    let mut query = sqlx::query::<Db>(AssertSqlSafe(text));
    for value in rows.iter().flatten() {
        query = match value {
            Value::Text(text) => query.bind(text.clone()),
            Value::Number(number) => query.bind(*number),
        };
    }

    query.execute(&mut **tx).await?;

    Ok(())
}

/// Reads a table that was written, and returns its checksum.
async fn sum_table(
    tx: &mut Tx,
    table: &'static str,
    columns: &[Column],
    progress: &mut TransferProgress,
    tell: &impl Fn(TransferProgress),
) -> Result<Checksum, TransferError> {
    let row_error = row_error_of_table(table);
    let mut sum = Checksum::default();
    let text = format!("select {} from {table}", names_of_columns(columns));
    let mut rows = sqlx::query(AssertSqlSafe(text)).fetch(&mut **tx);
    while let Some(row) = rows.try_next().await.map_err(&row_error)? {
        sum.add(&read_row(&row, columns).map_err(&row_error)?);
        count_row(progress, tell);
    }

    tell(*progress);

    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Writer;
    use crate::store::test_database::Database;

    fn row(text: Option<&str>, number: Option<i64>) -> Vec<Value> {
        vec![Value::Text(text.map(str::to_owned)), Value::Number(number)]
    }

    fn sum_of(rows: &[Vec<Value>]) -> Checksum {
        let mut sum = Checksum::default();
        for row in rows {
            sum.add(row);
        }

        sum
    }

    #[test]
    fn a_checksum_knows_every_value_and_no_order() {
        let (first, second) = (row(Some("a"), Some(1)), row(None, Some(2)));
        let both = sum_of(&[first.clone(), second.clone()]);
        assert_eq!(both, sum_of(&[second.clone(), first.clone()]));
        assert_ne!(both, sum_of(&[first.clone(), first.clone()]));
        for other in [
            row(Some(""), Some(2)),
            row(None, Some(3)),
            row(None, None),
            row(Some("2"), None),
        ] {
            assert_ne!(both, sum_of(&[first.clone(), other.clone()]), "{other:?}");
        }
    }

    #[test]
    fn nul_is_replaced_and_counted() {
        let mut changed = row(Some("a\0b"), Some(0));
        assert_eq!(replace_nul(&mut changed), 1);
        assert_eq!(changed, row(Some("a\u{fffd}b"), Some(0)));
        assert_eq!(replace_nul(&mut changed), 0);
    }

    /// The tables of a new database that have rows.
    #[tokio::test]
    async fn only_the_named_tables_are_filled_by_migrations() {
        let database = Database::empty().await;
        let url = connect::with_create(database.url());
        let pool = open_copy(&url).await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        for (table, _) in TABLES {
            let rows = count_rows(&mut connection, table).await.unwrap();
            assert_eq!(rows > 0, FILLED_BY_MIGRATIONS.contains(table), "{table}");
        }
    }

    #[tokio::test]
    async fn a_database_that_has_been_opened_is_not_empty() {
        let source = Database::new().await;
        Writer::open(source.url()).await.unwrap().close().await;
        let copy = Database::new().await;
        Writer::open(copy.url()).await.unwrap().close().await;
        let error = transfer_database(source.url(), copy.url(), "a test", |_| ())
            .await
            .unwrap_err();
        assert!(matches!(error, TransferError::NotEmpty { .. }), "{error}");
    }
}
