//! Whom to tell about a server, as pages and JSON show it.

use super::Stamp;
use super::format as f;
use crate::rtc::support::ContactRole;
use crate::store::ingest::probes::{Probed, SupportResult};
use serde::Serialize;
use utoipa::ToSchema;

/// The contacts that a server publishes in `/.well-known/matrix/support`; they are its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SupportFacts {
    pub server: String,
    pub asked_ms: i64,
    pub asked_at: Stamp,
    pub contacts: Vec<ContactFacts>,
    /// A page of the server about it.
    pub support_page: Option<String>,
}

/// Somebody who can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ContactFacts {
    /// `admin`, `security` or `other`.
    pub role: ContactRole,
    pub user_id: Option<String>,
    pub email: Option<String>,
}

impl SupportFacts {
    /// What a server answered; `None` if it names nobody.
    #[must_use]
    pub fn new(server: &str, probed: Probed<SupportResult>) -> Option<Self> {
        let said = probed.result.said;
        let contact = |one: crate::rtc::support::SupportContact| ContactFacts {
            role: one.role,
            user_id: one.user_id,
            email: one.email,
        };

        (!said.is_empty()).then(|| Self {
            server: server.to_owned(),
            asked_ms: probed.asked_ms,
            asked_at: Stamp(probed.asked_ms),
            contacts: said.contacts.into_iter().map(contact).collect(),
            support_page: said.page,
        })
    }
}

impl ContactFacts {
    /// The link that opens a chat with the contact.
    #[must_use]
    pub fn chat_href(&self) -> Option<String> {
        let user_id = self.user_id.as_deref()?;
        Some(format!("https://matrix.to/#/{}", f::path_segment(user_id)))
    }
}
