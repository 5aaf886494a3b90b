//! Sends codes for signing in: to people who are in a watched room, in a direct room that is made
//! once for each person. Whoever is in none gets nothing.

use super::{Error, Observer};
use crate::matrix::{self, Secret};
use crate::rtc::id::hash;
use crate::store::ingest::batch::Batch;
use crate::store::ingest::direct_rooms;
use crate::store::sign_in::codes::{CodeInbox, CodeWish, GOOD_FOR_MS};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeSet;
use tokio::sync::RwLock;

/// Maximum codes that are sent at the same time: a server that is slow must not delay all others.
const AT_ONCE: usize = 8;

const TOPIC: &str = "Codes for signing in to Callscope";

impl Observer {
    /// The observer, which sends the codes that come here.
    #[must_use]
    pub fn sending_codes(self, inbox: CodeInbox) -> Self {
        Self {
            codes: Some(inbox),
            ..self
        }
    }

    /// Says whether codes can be sent: only with a token of a usual account.
    pub(super) fn offer_codes(&self, is_open: bool) {
        if let Some(inbox) = &self.codes {
            inbox.set_open(is_open);
        }
    }

    /// Sends the codes that people ask for, for ever.
    pub(super) async fn send_codes(&self) {
        let Some(inbox) = &self.codes else {
            return;
        };

        let mut sending = FuturesUnordered::new();
        loop {
            tokio::select! {
                wish = inbox.next(), if sending.len() < AT_ONCE => match wish {
                    Some(wish) => sending.push(self.send_code(wish)),
                    None => return,
                },
                Some(()) = sending.next() => {}
            }
        }
    }

    /// Sends one code. A failure is only logged: whoever asked can ask again.
    async fn send_code(&self, wish: CodeWish) {
        match self.try_send_code(&wish).await {
            Ok(true) => tracing::info!(
                user_id = self.store.name_for_log(&wish.user_id),
                "sent a code for signing in"
            ),
            Ok(false) => tracing::debug!(
                user_id = self.store.name_for_log(&wish.user_id),
                "asked for a code, and is in no watched room"
            ),
            Err(error) => tracing::warn!(
                user_id = self.store.name_for_log(&wish.user_id),
                %error,
                "a code for signing in could not be sent"
            ),
        }
    }

    /// Sends a code, if its user is in a watched room. Returns false if not, or if it is too late.
    async fn try_send_code(&self, wish: &CodeWish) -> Result<bool, Error> {
        let user_id = wish.user_id.as_str();
        let is_late = wish.asked_ms.saturating_add(GOOD_FOR_MS) <= self.clock.now_ms();
        let is_ourselves = self.client.user_id().as_deref() == Some(user_id);
        if is_late
            || is_ourselves
            || !direct_rooms::shares_watched_room(&self.store, user_id).await?
        {
            return Ok(false);
        }

        let room_id = match direct_rooms::find_direct_room(&self.store, user_id).await? {
            Some(room_id) if self.can_write_to(&room_id, user_id).await? => room_id,
            _ => self.make_direct_room(user_id).await?,
        };
        let text = text_of_code(wish);
        let transaction = hash(&[user_id, &wish.asked_ms.to_string()], 16);
        self.client
            .send_text(&room_id, &transaction, &Secret::new(text))
            .await?;

        Ok(true)
    }

    /// Can this user be reached in a room that was made before? Whoever left it is asked in again.
    async fn can_write_to(&self, room_id: &str, user_id: &str) -> Result<bool, Error> {
        let is_final = |error: &matrix::Error| error.is_forbidden() || error.is_not_found();
        let membership = match self.client.membership_of(room_id, user_id).await {
            Err(error) if is_final(&error) => return Ok(false),
            membership => membership?,
        };

        if matches!(membership.as_deref(), Some("join" | "invite")) {
            return Ok(true);
        }

        match self.client.invite_to_direct_room(room_id, user_id).await {
            Err(error) if is_final(&error) => Ok(false),
            invited => {
                invited?;
                Ok(true)
            }
        }
    }

    /// Makes a direct room with this user, which is remembered before anybody hears of it.
    async fn make_direct_room(&self, user_id: &str) -> Result<String, Error> {
        let room_id = {
            // Until it is remembered, nothing of it may be stored.
            let mut direct = self.direct_rooms().await?.write().await;
            let room_id = self.client.create_direct_room(TOPIC).await?;
            let now = self.clock.now_ms();
            direct_rooms::set_direct_room(&self.store, user_id, &room_id, now).await?;
            direct.insert(room_id.clone());
            room_id
        };

        self.client.invite_to_direct_room(&room_id, user_id).await?;

        Ok(room_id)
    }

    /// The direct rooms, by id.
    pub(super) async fn direct_rooms(&self) -> Result<&RwLock<BTreeSet<String>>, Error> {
        let read = async || {
            let rooms = direct_rooms::list_direct_rooms(&self.store).await?;
            Ok(RwLock::new(rooms.into_iter().collect()))
        };

        self.direct.get_or_try_init(read).await
    }

    /// The batch without direct rooms; `None` if it has none.
    pub(super) async fn without_direct_rooms(&self, batch: &Batch) -> Result<Option<Batch>, Error> {
        let direct = self.direct_rooms().await?.read().await;
        if !batch
            .rooms
            .iter()
            .any(|room| direct.contains(&room.room_id))
        {
            return Ok(None);
        }

        let mut batch = batch.clone();
        batch.rooms.retain(|room| !direct.contains(&room.room_id));

        Ok(Some(batch))
    }
}

/// What the person reads.
fn text_of_code(wish: &CodeWish) -> String {
    let site = wish.site.as_deref().unwrap_or_default();
    let at = if site.is_empty() {
        String::new()
    } else {
        format!(" at {site}")
    };
    let (first, second) = wish.code.split_at(wish.code.len() / 2);

    format!(
        "The code to sign in to Callscope{at} is {first} {second}. It is good for ten minutes, \
         once. Give it to nobody. If you did not ask for it, somebody else entered your id: then \
         there is nothing to do."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_code_in_two_groups_and_says_where() {
        let mut wish = CodeWish {
            user_id: "@a:b".to_owned(),
            code: "12345678".to_owned(),
            site: Some("https://calls.example/".to_owned()),
            asked_ms: 0,
        };
        let text = text_of_code(&wish);
        assert!(
            text.contains("at https://calls.example/ is 1234 5678."),
            "{text}"
        );
        wish.site = None;
        assert!(text_of_code(&wish).contains("Callscope is 1234 5678."));
        assert!(!format!("{wish:?}").contains("1234"));
    }
}
