//! Problems with the database, as pages and JSON show them, and what to do about them.

use super::Stamp;
use crate::store::db::health::{Trouble, TroubleKind};
use serde::Serialize;
use utoipa::ToSchema;

/// The database cannot be written or read properly, so nothing about the present is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StorageTroubleFacts {
    /// `full` (the disk), `locked` (by another program), `read_only`, `gone` (the file was deleted
    /// or replaced), `damaged` or `failing`.
    pub kind: TroubleKind,
    pub since_ms: i64,
    pub since_at: Stamp,
    /// What the database said.
    pub error: String,
}

impl From<Trouble> for StorageTroubleFacts {
    fn from(trouble: Trouble) -> Self {
        Self {
            kind: trouble.kind,
            since_ms: trouble.since_ms,
            since_at: Stamp(trouble.since_ms),
            error: trouble.error,
        }
    }
}

/// A trouble in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageWords {
    /// A headline.
    pub what: &'static str,
    /// Sentences that say what to do.
    pub to_do: &'static str,
}

impl StorageTroubleFacts {
    /// The problem and what to do, in words.
    #[must_use]
    pub fn words(&self) -> StorageWords {
        storage_words(self.kind)
    }
}

/// The words for a kind of problem.
#[must_use]
pub fn storage_words(kind: TroubleKind) -> StorageWords {
    let (what, to_do) = match kind {
        TroubleKind::Full => (
            "The disk is full",
            "Make space; then it goes on by itself, and what happened meanwhile is read from the \
             homeserver.",
        ),
        TroubleKind::Locked => (
            "The database is locked by another program",
            "Close what has it open, such as an SQL shell or a backup tool; then it goes on by \
             itself, and what happened meanwhile is read from the homeserver.",
        ),
        TroubleKind::ReadOnly => (
            "The database can only be read",
            "See that its file system is mounted for writing, and that the file and its folder may \
             be written by the user that Callscope runs as; then it goes on by itself.",
        ),
        TroubleKind::Gone => (
            "The database file is gone",
            "What is written now will be lost. Stop Callscope, put the file or a copy of it back \
             (callscope restore), and start it again.",
        ),
        TroubleKind::Damaged => (
            "The database is damaged",
            "Stop Callscope, put a copy back (callscope restore), and start it again: what \
             happened since the copy is read from the homeserver.",
        ),
        TroubleKind::Failing => (
            "The database cannot be used",
            "See what the error says of the disk or the database server; when that is mended it \
             goes on by itself.",
        ),
    };

    StorageWords { what, to_do }
}
