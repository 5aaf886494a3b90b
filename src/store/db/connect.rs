//! Connections to the database: how each is set up, and the error if none is possible.

use super::dialect::Dialect;
use super::disk::{self, DiskLimit};
use super::instance_lock::{file_of, path_with_suffix};
use crate::store::Error;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyConnection, Connection, Executor, Row};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Connects and sets the connection up, then closes it, to find out whether that works. A pool
/// would retry for half a minute even if that is hopeless, and would not say why.
pub(in crate::store) async fn connect_once(url: &str) -> Result<(), Error> {
    let mut connection = open_connection(url).await?;
    set_up(&mut connection, 2000)
        .await
        .map_err(|source| open_error(url, source))?;

    Ok(connection.close().await?)
}

/// A statement that is run on each new connection of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct SetupStatement {
    text: String,
    /// The value of its only parameter.
    parameter: Option<String>,
}

impl SetupStatement {
    pub fn without_parameter(text: String) -> Self {
        Self {
            text,
            parameter: None,
        }
    }

    pub fn with_parameter(text: String, parameter: String) -> Self {
        Self {
            text,
            parameter: Some(parameter),
        }
    }
}

/// The statements that are run on each new connection of a pool, after its usual setup.
pub(in crate::store) type Setup = Arc<[SetupStatement]>;

/// Runs these statements on a new connection.
async fn run_setup(connection: &mut AnyConnection, setup: &Setup) -> Result<(), sqlx::Error> {
    for statement in setup.iter() {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement.text.clone())).persistent(false);
        if let Some(parameter) = &statement.parameter {
            query = query.bind(parameter.clone());
        }

        query.execute(&mut *connection).await?;
    }

    Ok(())
}

/// One connection outside the pools.
pub(in crate::store) async fn open_connection(url: &str) -> Result<AnyConnection, Error> {
    install_default_drivers();
    AnyConnection::connect(url)
        .await
        .map_err(|source| open_error(url, source))
}

/// The error that a database cannot be opened, with its name and without its password.
fn open_error(url: &str, source: sqlx::Error) -> Error {
    Error::Open {
        database: database_name(url),
        source,
    }
}

/// Can the database be used? Returns its name and whether it exists; a missing file would be made
/// by the server. Nothing is written to an existing database.
///
/// # Errors
/// When it cannot be opened or, as a file, not be written or made.
pub async fn check_database(url: &str) -> Result<(String, bool), Error> {
    let Some(file) = file_of(url)? else {
        open_connection(url).await?.close().await?;
        return Ok((database_name(url), true));
    };

    let is_there = file.exists();
    let usable = if is_there {
        is_database(&file)
    } else {
        can_be_made(url, &file)
    };

    usable.map_err(|error| open_error(url, error.into()))?;
    if is_there {
        let tried = try_lock(url).await;
        tried.map_err(|source| open_error(url, source))?;
    }

    Ok((database_name(url), is_there))
}

/// Takes the lock that every write needs and gives it back. Nothing is written with it.
async fn try_lock(url: &str) -> Result<(), sqlx::Error> {
    install_default_drivers();
    let mut connection = AnyConnection::connect(url).await?;
    connection.execute("pragma busy_timeout = 3000").await?;
    connection.execute("begin immediate").await?;
    connection.execute("rollback").await?;

    connection.close().await
}

/// Checks that the file may be written and is a database: it begins with the magic string of the
/// format, or is empty, so that it becomes one.
/// <https://sqlite.org/fileformat.html#magic_header_string>
fn is_database(file: &Path) -> io::Result<()> {
    let mut head = Vec::new();
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)?
        .take(16)
        .read_to_end(&mut head)?;

    if head.is_empty() || head == b"SQLite format 3\0" {
        Ok(())
    } else {
        Err(io::Error::other("it is no database"))
    }
}

/// Checks that there is a folder in which the file can be made, and that the address allows that. A
/// file is made and deleted again to find out.
fn can_be_made(url: &str, file: &Path) -> io::Result<()> {
    if !with_create(url).contains("mode=rwc") {
        return Err(io::Error::other(
            "it is not there, and its address says (mode=) not to make it",
        ));
    }

    let probe = path_with_suffix(file, &format!(".check-{}", std::process::id()));
    File::create_new(&probe)?;

    std::fs::remove_file(&probe)
}

/// The name of a database, to be read after "the database": its file, or its server and the
/// database there. No password is shown. A password with an unescaped `@` or `/` is parsed as a
/// part of the host or the path. Such an address has more `@` or `/` than usual, and nothing of it
/// is shown.
pub(in crate::store) fn database_name(url: &str) -> String {
    if let Ok(Some(file)) = file_of(url) {
        return file.display().to_string();
    }

    let is_safe_to_show = |address: &Url| {
        let at_signs = usize::from(!address.username().is_empty());
        url.matches('@').count() == at_signs
            && !address.path().trim_start_matches('/').contains('/')
    };

    let Some(url) = url.parse::<Url>().ok().filter(is_safe_to_show) else {
        return "of that address".to_owned();
    };

    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let name = format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path());

    name.trim_start_matches('/').to_owned()
}

/// The options of a pool of one connection that is in a transaction from its beginning: `begin` is
/// the statement that begins it, `limit` the time limit of each statement. `setup` is run before.
pub(in crate::store) fn transaction_pool_options(
    begin: &'static str,
    space: &DiskLimit,
    limit: Duration,
    setup: Setup,
) -> AnyPoolOptions {
    let space = space.clone();
    AnyPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .after_connect(move |connection, _| {
            let pages = space.pages();
            let setup = setup.clone();
            Box::pin(async move {
                set_up(connection, 24_000).await?;
                set_limit(connection, pages, Some(limit)).await?;
                run_setup(connection, &setup).await?;
                connection.execute(begin).await?;
                Ok(())
            })
        })
}

/// The options of a pool of so many connections, with `cache` in kB for each connection and `limit`
/// as the time limit of each statement. `SQLite` has no such limit; there the small size of a pool
/// limits the load. `setup` is run on each new connection.
pub(in crate::store) fn pool_options(
    connections: u32,
    cache: u32,
    space: &DiskLimit,
    limit: Option<Duration>,
    setup: Setup,
) -> AnyPoolOptions {
    let space = space.clone();
    let options = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(30));
    // SQLite ends a transaction by itself when the disk is full. sqlx then counts one transaction
    // too many, and later writes of the connection would never be committed. Such a connection is
    // not used again.
    let options = options.before_acquire(|connection, _| {
        let stuck = connection.is_in_transaction();
        Box::pin(async move { Ok(!stuck) })
    });

    options.after_connect(move |connection, _| {
        let pages = space.pages();
        let setup = setup.clone();
        Box::pin(async move {
            set_up(connection, cache).await?;
            set_limit(connection, pages, limit).await?;
            run_setup(connection, &setup).await
        })
    })
}

/// Limits the pages of a `SQLite` file, or the time of a statement on `PostgreSQL`; `None` = there
/// is no limit. Each database has only one of the two.
async fn set_limit(
    connection: &mut AnyConnection,
    pages: Option<i64>,
    limit: Option<Duration>,
) -> Result<(), sqlx::Error> {
    let statement = if Dialect::of_connection(connection) == Dialect::Sqlite {
        pages.map(disk::limit_statement)
    } else {
        limit.map(|limit| format!("set statement_timeout = {}", limit.as_millis()))
    };

    if let Some(statement) = statement {
        connection.execute(sqlx::AssertSqlSafe(statement)).await?;
    }

    Ok(())
}

/// How long a `SQLite` connection waits for another program's lock, ms.
pub(super) const BUSY_TIMEOUT: &str = "pragma busy_timeout = 2000";

/// Sets up a new connection to a `SQLite` file, with a cache of so many kB. `PostgreSQL` needs
/// nothing.
async fn set_up(connection: &mut AnyConnection, cache: u32) -> Result<(), sqlx::Error> {
    if Dialect::of_connection(connection) == Dialect::Postgres {
        return Ok(());
    }

    // Only a new database accepts this setting: free pages can be released in small steps. Setting
    // it where it is set already would still be a write.
    if connection
        .fetch_one("pragma auto_vacuum")
        .await?
        .try_get::<i64, _>(0)?
        == 0
    {
        connection
            .execute("pragma auto_vacuum = incremental")
            .await?;
    }

    // WAL: readers do not wait for the writer. NORMAL keeps every commit when the process dies.
    connection.execute("pragma journal_mode = wal").await?;
    connection.execute("pragma synchronous = normal").await?;
    // Each wait for another program's lock is short, so that we can report it while it lasts.
    connection.execute(BUSY_TIMEOUT).await?;
    connection
        .execute(sqlx::AssertSqlSafe(format!("pragma cache_size = -{cache}")))
        .await?;
    // Temporary data of large statements is kept in memory, not in a file.
    connection.execute("pragma temp_store = memory").await?;
    // Deleted data is overwritten with zeros: somebody may have taken it back.
    connection.execute("pragma secure_delete = on").await?;
    // A larger log before each checkpoint: pages that change often are copied to the database less
    // often.
    connection
        .execute("pragma wal_autocheckpoint = 8000")
        .await?;

    Ok(())
}

/// The address with the wish that a missing `SQLite` file is made, unless it says something of its
/// own.
pub(in crate::store) fn with_create(url: &str) -> String {
    if url.starts_with("sqlite:") && !url.contains('?') {
        format!("{url}?mode=rwc")
    } else {
        url.to_owned()
    }
}

/// Makes a new database file with access for its owner only, because it tells who talked to whom.
/// `SQLite` gives the log files beside it the same permissions. An existing file keeps its
/// permissions.
pub(in crate::store) fn make_private(url: &str) -> Result<(), Error> {
    let Some(path) = file_of(url)?.filter(|_| url.contains("mode=rwc")) else {
        return Ok(());
    };

    let mut file = OpenOptions::new();
    file.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    // The file may exist already. The database reports other errors better.
    let _ = file.open(path);

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Writer;
    use sqlx::SqliteConnection;
    use sqlx::sqlite::SqliteConnectOptions;
    use std::str::FromStr;

    #[tokio::test]
    async fn what_is_no_database_is_said_at_once_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "no database ".repeat(100)).unwrap();
        let url = format!("sqlite://{}", file.display());
        let said = Writer::open(&url).await.unwrap_err().to_string();
        assert!(
            said.contains("notes.txt") && said.contains("file is not a database"),
            "{said}"
        );
        let said = check_database(&url).await.unwrap_err().to_string();
        assert!(
            said.contains("notes.txt cannot be opened: ") && said.contains("it is no database"),
            "{said}"
        );
        let said = check_database("sqlite://x.db?mode=odd")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("cannot be opened: ") && said.contains("odd"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_check_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new.db");
        let url = format!("sqlite://{}", file.display());
        let name = file.display().to_string();
        assert_eq!(check_database(&url).await.unwrap(), (name.clone(), false));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let said = check_database(&format!("{url}?mode=rw"))
            .await
            .unwrap_err()
            .to_string();
        assert!(said.contains("not to make it"), "{said}");
        let said = check_database(&url.replace("new.db", "gone/new.db"))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("gone/new.db cannot be opened: ") && said.contains("No such file"),
            "{said}"
        );
        // The database of another program: it would keep a changed journal mode.
        let rollback = SqliteConnectOptions::from_str(&url)
            .unwrap()
            .create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&rollback).await.unwrap();
        connection
            .execute("create table other (n integer)")
            .await
            .unwrap();
        connection.close().await.unwrap();
        let before = std::fs::read(&file).unwrap();
        assert_eq!(check_database(&url).await.unwrap(), (name, true));
        assert_eq!(
            (
                std::fs::read(&file).unwrap(),
                std::fs::read_dir(folder.path()).unwrap().count()
            ),
            (before, 1)
        );
    }

    #[test]
    fn a_password_is_never_said() {
        assert_eq!(
            database_name("postgres://me:secret@host:5432/db?password=secret"),
            "host:5432/db"
        );
        assert_eq!(database_name("postgres://host/db"), "host/db");
        assert_eq!(database_name("sqlite://callscope.db"), "callscope.db");
        assert_eq!(database_name("postgres:///db?host=/run/postgresql"), "db");

        for slip in [
            "me:/abc@host/db",
            "me:12/ab@host:5432/db",
            "me:12?ab@host/db",
            "me:12#ab@h/db",
            "me:1@2/ab@host/db",
        ] {
            assert_eq!(
                database_name(&format!("postgres://{slip}")),
                "of that address",
                "{slip}"
            );
        }
    }
}
