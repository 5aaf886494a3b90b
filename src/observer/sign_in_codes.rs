//! Sends codes for signing in: to people who are in a watched room, in a direct room that is made
//! once for each person. Whoever is in none gets nothing. In the same rooms people opt out
//! (`direct_messages`).

use super::code_queue::CodeQueue;
use super::{Error, Observer};
use crate::matrix::{self, Secret};
use crate::rtc::id::hash;
use crate::store::ingest::batch::{Batch, RoomBatch};
use crate::store::ingest::direct_rooms::{self, DirectRoom};
use crate::store::sign_in::codes::{self, CodeInbox, CodeWish, GOOD_FOR_MS};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::RwLock;

/// How long nobody is written to who left the direct room or declined the invitation, ms.
const AFTER_LEAVING_MS: i64 = 24 * 60 * 60 * 1000;
/// The shortest time until something is asked again that the homeserver said is too much.
const AGAIN_MIN: Duration = Duration::from_millis(100);

const TOPIC: &str = "Messages of Callscope: codes for signing in, and how to opt out";

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

        let mut queue = CodeQueue::default();
        let mut sending = FuturesUnordered::new();
        loop {
            while let Some(wish) = queue.take_next() {
                sending.push(self.send_code(wish));
            }

            tokio::select! {
                wish = inbox.next() => match wish {
                    Some(wish) => self.admit_code(wish, &mut queue).await,
                    None => return,
                },
                Some(user_id) = sending.next() => queue.end_sending(&user_id),
            }
        }
    }

    /// Puts a code into the queue, if its user is in a watched room. What is made up uses nothing
    /// up.
    async fn admit_code(&self, wish: CodeWish, queue: &mut CodeQueue) {
        if self.client.user_id().as_deref() == Some(&*wish.user_id) {
            return;
        }

        match direct_rooms::shares_watched_room(&self.store, &wish.user_id).await {
            Ok(true) => {
                if !queue.admit(wish, self.clock.now_ms()) {
                    tracing::warn!("too many codes were asked for; one is not sent");
                }
            }
            Ok(false) => tracing::debug!("somebody who is in no watched room asked for a code"),
            Err(error) => tracing::warn!(%error, "a code for signing in could not be sent"),
        }
    }

    /// Sends one code; returns to whom. A failure is only logged: whoever asked can ask again.
    async fn send_code(&self, wish: CodeWish) -> String {
        match self.send_code_patiently(&wish).await {
            Ok(true) => tracing::info!(
                user_id = self.store.name_for_log(&wish.user_id),
                "sent a code for signing in"
            ),
            Ok(false) => tracing::info!(
                user_id = self.store.name_for_log(&wish.user_id),
                "did not send a code: it was too late, or they left the direct room lately"
            ),
            Err(error) => tracing::warn!(
                user_id = self.store.name_for_log(&wish.user_id),
                %error,
                "a code for signing in could not be sent"
            ),
        }

        wish.user_id
    }

    /// Sends a code; while our homeserver says that it is too much, again, as long as it is good.
    async fn send_code_patiently(&self, wish: &CodeWish) -> Result<bool, Error> {
        let until = wish.asked_ms.saturating_add(GOOD_FOR_MS);
        loop {
            let sent = self.try_send_code(wish).await;
            let Err(Error::Matrix(error)) = &sent else {
                return sent;
            };

            let left_ms = until.saturating_sub(self.clock.now_ms()).max(0);
            let left = Duration::from_millis(left_ms.unsigned_abs());
            match error.retry_after().map(|wait| wait.max(AGAIN_MIN)) {
                Some(wait) if wait < left => tokio::time::sleep(wait).await,
                _ => return sent,
            }
        }
    }

    /// Sends a code. Returns false if it is too late, or its user does not want to hear of us.
    async fn try_send_code(&self, wish: &CodeWish) -> Result<bool, Error> {
        let user_id = wish.user_id.as_str();
        if wish.asked_ms.saturating_add(GOOD_FOR_MS) <= self.clock.now_ms() {
            return Ok(false);
        }

        let open = self.open_direct_room(user_id, AFTER_LEAVING_MS).await?;
        let Some(room_id) = open else {
            return Ok(false);
        };

        let text = text_of_code(wish);
        let transaction = hash(&[user_id, &wish.asked_ms.to_string()], 16);
        self.client
            .send_text(&room_id, &transaction, &Secret::new(text))
            .await?;
        let now = self.clock.now_ms();
        codes::note_sent(&self.store.sign_ins(), &wish.browser_hash, now).await?;

        Ok(true)
    }

    /// The direct room with this user, in which they are or are invited; it is made if there is
    /// none. `None` if the user does not want to hear of us: left it less than `quiet_ms` ago.
    pub(super) async fn open_direct_room(
        &self,
        user_id: &str,
        quiet_ms: i64,
    ) -> Result<Option<String>, Error> {
        // Nobody gets two rooms by asking in two ways at once.
        let making = self.making_direct.lock().await;
        match direct_rooms::find_direct_room(&self.store, user_id).await? {
            Some(room) if self.is_fit(&room.room_id, user_id).await? => {
                drop(making);
                let is_reached = self.reach_in(&room, user_id, quiet_ms).await?;
                Ok(is_reached.then_some(room.room_id))
            }
            _ => {
                let room_id = self.make_direct_room(user_id).await?;
                drop(making);
                self.client.invite_to_direct_room(&room_id, user_id).await?;
                Ok(Some(room_id))
            }
        }
    }

    /// Is this direct room still ours: are we in it, with nobody but this user, and unencrypted?
    async fn is_fit(&self, room_id: &str, user_id: &str) -> Result<bool, Error> {
        let joined = match self.client.joined_members(room_id).await {
            // We are not in it.
            Err(error) if error.is_forbidden() || error.is_not_found() => return Ok(false),
            joined => joined?,
        };
        let own = self.client.user_id();
        let is_own = |id: &String| Some(id) == own.as_ref();
        if !joined.iter().any(is_own) || !joined.iter().all(|id| id == user_id || is_own(id)) {
            return Ok(false);
        }

        match self
            .client
            .state_content(room_id, "m.room.encryption")
            .await
        {
            Ok(_) => Ok(false),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes sure that this user is in their direct room, or invited. Returns false if they left it
    /// or declined less than `quiet_ms` ago, or were banned. A refused invitation ends the try.
    async fn reach_in(
        &self,
        room: &DirectRoom,
        user_id: &str,
        quiet_ms: i64,
    ) -> Result<bool, Error> {
        let room_id = room.room_id.as_str();
        let membership = self.client.membership_of(room_id, user_id).await?;
        match membership.as_deref() {
            Some("join" | "invite") => {}
            Some("ban") => return Ok(false),
            Some("leave") => {
                let now = self.clock.now_ms();
                let left_ms = match room.left_ms {
                    Some(left_ms) => left_ms,
                    None => self.time_of_leaving(room_id, user_id, now).await?,
                };
                if room.left_ms.is_none() {
                    direct_rooms::set_left(&self.store, room_id, Some(left_ms)).await?;
                }

                if now < left_ms.saturating_add(quiet_ms) {
                    return Ok(false);
                }

                self.client.invite_to_direct_room(room_id, user_id).await?;
            }
            _ => self.client.invite_to_direct_room(room_id, user_id).await?,
        }

        if room.left_ms.is_some() {
            direct_rooms::set_left(&self.store, room_id, None).await?;
        }

        Ok(true)
    }

    /// When this user left the room, ms, as their server says; `now` if it says nothing.
    async fn time_of_leaving(&self, room_id: &str, user_id: &str, now: i64) -> Result<i64, Error> {
        let kind = "m.room.member";
        let event = self.client.state_event(room_id, kind, user_id).await?;
        let stated = event.and_then(|event| event.get("origin_server_ts")?.as_i64());

        Ok(stated.unwrap_or(now).min(now))
    }

    /// Makes a direct room for this user, which is remembered before anybody hears of it. Until it
    /// is remembered, its type tells that it is not to be watched.
    async fn make_direct_room(&self, user_id: &str) -> Result<String, Error> {
        let room_id = self.client.create_direct_room(TOPIC).await?;
        let now = self.clock.now_ms();
        direct_rooms::add_direct_room(&self.store, &room_id, Some(user_id), now).await?;
        self.direct_rooms()
            .await?
            .write()
            .await
            .insert(room_id.clone());
        self.direct_changed.notify_one();

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
        self.remember_direct_rooms(batch).await?;
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

    /// Remembers direct rooms of ours that we hear of before their making is answered, or whose
    /// making was never answered.
    async fn remember_direct_rooms(&self, batch: &Batch) -> Result<(), Error> {
        let own = self.client.user_id();
        for room in &batch.rooms {
            if !is_own_direct_room(room, own.as_deref()) {
                continue;
            }

            let direct = self.direct_rooms().await?;
            if direct.read().await.contains(&room.room_id) {
                continue;
            }

            let now = self.clock.now_ms();
            direct_rooms::add_direct_room(&self.store, &room.room_id, None, now).await?;
            direct.write().await.insert(room.room_id.clone());
        }

        Ok(())
    }
}

/// Does this answer say that the room is a direct room that we made? Nobody else's word counts.
fn is_own_direct_room(room: &RoomBatch, own: Option<&str>) -> bool {
    room.arrivals.iter().any(|arrival| {
        let event = &arrival.event;
        event.kind == "m.room.create"
            && own == Some(&*event.sender)
            && event.content.get("type").and_then(Value::as_str) == Some(matrix::DIRECT_ROOM_TYPE)
    })
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
        "The code to sign in to Callscope{at} is {first}-{second}. It is good for ten minutes, \
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
            browser_hash: String::new(),
            user_id: "@a:b".to_owned(),
            code: "ABCDE23456".to_owned(),
            site: Some("https://calls.example/".to_owned()),
            asked_ms: 0,
        };
        let text = text_of_code(&wish);
        assert!(
            text.contains("at https://calls.example/ is ABCDE-23456."),
            "{text}"
        );
        wish.site = None;
        assert!(text_of_code(&wish).contains("Callscope is ABCDE-23456."));
        assert!(!format!("{wish:?}").contains("ABCDE"));
    }

    #[test]
    fn only_a_room_that_we_made_is_a_direct_room_by_its_type() {
        let room = |sender: &str, kind: &str| {
            let mut room = RoomBatch::new("!d:x", crate::rtc::words::Source::Sync);
            let create = serde_json::json!({
                "type": "m.room.create", "state_key": "", "event_id": "$c", "sender": sender,
                "origin_server_ts": 1, "content": {"type": kind},
            });
            super::super::ingest::add_events(&mut room, &[create], true, 1);
            room
        };
        let own = Some("@bot:x");
        let ours = matrix::DIRECT_ROOM_TYPE;
        assert!(is_own_direct_room(&room("@bot:x", ours), own));
        assert!(!is_own_direct_room(&room("@eve:x", ours), own));
        assert!(!is_own_direct_room(&room("@bot:x", "m.space"), own));
        assert!(!is_own_direct_room(&room("@bot:x", ours), None));
    }
}
