//! The database itself, below all nouns: connections, the lock of one process, disk space, backups,
//! statements of many rows.

pub mod backup;
pub(super) mod connect;
pub(super) mod dialect;
pub(super) mod disk;
pub mod health;
pub mod instance_lock;
#[macro_use]
pub(super) mod json_row;
pub(super) mod multi_row;
pub(super) mod select_text;
pub mod upgrade;
pub(super) mod upgrade_backup;
pub mod upgrade_progress;
pub(super) mod word_column;
