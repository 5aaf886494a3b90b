//! A separate database for a test: a file, or with `TEST_POSTGRES_URL` one on that `PostgreSQL`
//! server. `scripts/with-postgres` starts one for its command, and sets that variable.

use sqlx::migrate::Migrator;
use sqlx::{AnyPool, AssertSqlSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use url::Url;

/// The database is deleted when this is dropped.
#[derive(Debug)]
pub struct Database {
    url: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// In a folder that somebody else owns.
    Folder,
    OwnFolder {
        _folder: TempDir,
    },
    Server {
        server: Url,
        name: String,
    },
}

impl Database {
    /// A database with the newest schema. On a server it is copied from a template, which is faster
    /// than creating it.
    pub async fn new() -> Self {
        match server() {
            Some(server) => Self::on(server, Some(template().await)).await,
            None => Self::file(),
        }
    }

    /// The same, as a file in this folder.
    pub async fn in_folder(folder: &Path) -> Self {
        match server() {
            Some(server) => Self::on(server, Some(template().await)).await,
            None => Self {
                url: url_of_file(folder),
                place: Place::Folder,
            },
        }
    }

    /// Without any table.
    pub async fn empty() -> Self {
        match server() {
            Some(server) => Self::on(server, None).await,
            None => Self::file(),
        }
    }

    /// A file, wherever the other databases are: for features that only files have.
    pub fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();

        Self {
            url: url_of_file(folder.path()),
            place: Place::OwnFolder { _folder: folder },
        }
    }

    /// Are the databases of this run files?
    pub fn are_files() -> bool {
        server().is_none()
    }

    async fn on(server: Url, template: Option<&str>) -> Self {
        let name = next_name();
        let template = template.unwrap_or("template0");
        execute(
            server.as_str(),
            &format!("create database {name} template {template}"),
        )
        .await;

        Self {
            url: url_on(&server, &name),
            place: Place::Server { server, name },
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn is_file(&self) -> bool {
        !matches!(self.place, Place::Server { .. })
    }

    /// The folder of the database's own files on the server, which must be of this machine.
    pub async fn folder(&self) -> PathBuf {
        let pool = AnyPool::connect(&self.url).await.unwrap();
        let sql = "select current_setting('data_directory') || '/base/'
            || (select oid from pg_database where datname = current_database())";
        let folder: String = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        pool.close().await;

        folder.into()
    }

    /// Runs a statement by a connection of its own.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url, sql).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Place::Server { server, name } = &self.place else {
            return;
        };

        let (server, sql) = (
            server.to_string(),
            format!("drop database {name} with (force)"),
        );
        // A test's runtime cannot wait within itself.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(execute(&server, &sql));
        });
        let _ = dropping.join();
    }
}

fn server() -> Option<Url> {
    let url = std::env::var("TEST_POSTGRES_URL").ok()?;

    Some(url.parse().unwrap())
}

fn url_of_file(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("callscope.db").display())
}

fn url_on(server: &Url, name: &str) -> String {
    let mut url = server.clone();
    url.set_path(name);

    url.into()
}

fn next_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);

    format!("callscope_{}_{number}", std::process::id())
}

/// An empty database with the newest schema, one for all tests of this process.
async fn template() -> &'static str {
    static NAME: OnceCell<String> = OnceCell::const_new();
    let make = async || {
        let (server, name) = (server().unwrap(), next_name());
        execute(server.as_str(), &format!("create database {name}")).await;
        let pool = AnyPool::connect(&url_on(&server, &name)).await.unwrap();
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let migrator = Migrator::new(migrations).await.unwrap();
        migrator.run(&pool).await.unwrap();
        pool.close().await;

        name
    };

    NAME.get_or_init(make).await
}

async fn execute(url: &str, sql: &str) {
    sqlx::any::install_default_drivers();
    let pool = AnyPool::connect(url).await.unwrap();
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
}
