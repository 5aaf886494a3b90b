//! The database: all SQL of the program is in this folder.

pub mod row;

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database answered: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database could not be brought to this version's shape: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("stored data could not be read: {0}")]
    Content(String),
}

/// The database, open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) read: sqlx::AnyPool,
}
pub mod events;
pub mod memberships;
pub mod rooms;
pub mod sessions;
pub mod vantages;
