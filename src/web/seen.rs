//! Whether this moment can be told: what nobody hears is not known, which is not the same as nobody being there.

use super::Web;
use super::error::Error;
use super::facts::Stamp;
use crate::store::row::{Room, Vantage, Watch};
use crate::store::vantages;
use serde::Serialize;
use utoipa::ToSchema;

/// This moment cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unseen {
    /// Since when, ms, where that is known.
    pub since_ms: Option<i64>,
}

/// Whether now can be told, as answers say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct SeenFacts {
    /// It cannot, because an account does not hear its homeserver or nothing can be stored: what is said to run now is what
    /// was seen last.
    pub unknown: bool,
    /// Since when, where that is known.
    pub unknown_since_ms: Option<i64>,
    pub unknown_since_at: Option<Stamp>,
}

impl From<Option<Unseen>> for SeenFacts {
    fn from(unseen: Option<Unseen>) -> Self {
        let unknown_since_ms = unseen.and_then(|unseen| unseen.since_ms);
        Self {
            unknown: unseen.is_some(),
            unknown_since_ms,
            unknown_since_at: unknown_since_ms.map(Stamp),
        }
    }
}

/// Can anything be told of now? Not while an account does not hear its homeserver or nothing can be stored.
///
/// # Errors
/// When the database fails.
pub async fn now(web: &Web) -> Result<Option<Unseen>, Error> {
    Ok(by(
        &vantages::list(&web.store).await?,
        web.store
            .trouble(web.clock.now_ms())
            .map(|trouble| trouble.since_ms),
    ))
}

/// The same of one room, which has to be readable, too.
///
/// # Errors
/// When the database fails.
pub async fn room(web: &Web, room: &Room) -> Result<Option<Unseen>, Error> {
    let unread = is_unread(room).then_some(Unseen { since_ms: None });
    Ok(now(web).await?.or(unread))
}

/// A room that cannot be read now, or whose last look failed.
#[must_use]
pub fn is_unread(room: &Room) -> bool {
    room.error.is_some() || matches!(room.watch, Watch::Blind | Watch::Left)
}

/// May somebody be in a call there whom nobody here can see?
#[must_use]
pub fn is_hidden(room: &Room) -> bool {
    is_unread(room) || room.unreadable > 0
}

/// By how the accounts fare, and since when nothing can be stored, ms.
#[must_use]
pub fn by(vantages: &[Vantage], unstored_since_ms: Option<i64>) -> Option<Unseen> {
    let failing = |vantage: &&Vantage| vantage.error.is_some() || vantage.first_sync_ms.is_none();
    if vantages.is_empty() || vantages.iter().any(|vantage| failing(&vantage)) {
        let since_ms = vantages
            .iter()
            .filter(failing)
            .filter_map(|vantage| vantage.error_since_ms)
            .min();
        return Some(Unseen { since_ms });
    }
    unstored_since_ms.map(|ms| Unseen { since_ms: Some(ms) })
}
