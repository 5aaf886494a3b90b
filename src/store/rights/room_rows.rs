//! Takes the names of who is forgotten out of all that is stored of one room, in one transaction:
//! first out of the events, by the same function that arriving events pass; then out of what
//! cannot be derived from them again; then the stays and calls of the touched member keys are
//! derived anew.

use super::forget::NamePatterns;
use crate::rtc::event::RoomEvent;
use crate::rtc::fold::KeyState;
use crate::rtc::forgotten::{Forgotten, NamelessRoom};
use crate::rtc::id::{hash, server_of};
use crate::rtc::member;
use crate::rtc::membership::Membership;
use crate::rtc::transport::Transport;
use crate::store::db::json_row::read_rows;
use crate::store::derive::dirty::Dirty;
use crate::store::derive::{checkpoints, pseudonyms, session_counters, stale_findings};
use crate::store::ingest::batch::Changed;
use crate::store::ingest::new_events::NewEvents;
use crate::store::ingest::write::update_derived;
use crate::store::ingest::{events, rooms};
use crate::store::stored_event::event_from_row;
use crate::store::stored_membership::{MembershipRow, membership_from_row};
use crate::store::{Derivation, Error, Tx};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};

/// Events that are read at once.
const PAGE: i64 = 500;

/// What was done in one room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RoomCounts {
    pub events: usize,
    pub stays: usize,
    /// Those of the stays that were changed in their rows, since no event is left to derive them.
    pub changed_stays: usize,
    pub others: usize,
}

impl RoomCounts {
    pub fn is_touched(self) -> bool {
        self != Self::default()
    }
}

/// The work on one room.
struct RoomWork<'w> {
    names: NamelessRoom<'w>,
    patterns: &'w NamePatterns,
    room_id: &'w str,
    /// The new name of each member key that has another one now.
    member_keys: BTreeMap<String, String>,
    dirty: Dirty,
    counts: RoomCounts,
}

/// Takes the names out of everything that is stored of one room.
pub(super) async fn forget_in_room(
    tx: &mut Tx,
    derivation: Derivation<'_>,
    forgotten: &Forgotten,
    patterns: &NamePatterns,
    room_id: &str,
) -> Result<RoomCounts, Error> {
    rooms::count_write(tx, room_id).await?;
    stale_findings::discard_findings_of_room(tx, room_id).await?;
    let mut work = RoomWork {
        names: forgotten.in_room(room_id),
        patterns,
        room_id,
        member_keys: BTreeMap::new(),
        dirty: Dirty {
            fresh: NewEvents::since(events::last_stream(tx).await?),
            facts: true,
            accounts: true,
            ..Dirty::default()
        },
        counts: RoomCounts::default(),
    };

    work.forget_in_events(tx).await?;
    work.forget_in_counters(tx).await?;
    work.forget_in_stays(tx).await?;
    work.forget_in_checkpoints(tx).await?;
    work.forget_in_user_columns(tx).await?;
    work.forget_in_rules(tx).await?;
    work.forget_in_room_error(tx).await?;
    update_derived(
        tx,
        derivation,
        room_id,
        &mut work.dirty,
        &mut Changed::default(),
    )
    .await?;
    pseudonyms::add_pseudonyms_of_room(tx, room_id).await?;

    Ok(work.counts)
}

const EVENTS: &str = "select * from events where room_id = $1 and stream > $4
    and (json like $2 escape '!' or json like $3 escape '!'
    or coalesce(kept, '') like $2 escape '!') order by stream limit $5";
const UPDATE_EVENT: &str = "update events set event_id = $3, state_key = $4, sender = $5,
    chain = $6, json = $7, kept = $8 where event_id = $1 and room_id = $2";
const WRITER: &str = "insert into chains (room_id, sender, chain) values ($1, $2, $3)
    on conflict (room_id, sender, chain) do nothing";

impl RoomWork<'_> {
    /// Replaces the names in the stored events, and notes which member keys are touched.
    async fn forget_in_events(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let mut from = 0;
        loop {
            let rows = sqlx::query(EVENTS)
                .bind(self.room_id)
                .bind(&self.patterns.text)
                .bind(&self.patterns.encoded)
                .bind(from)
                .bind(PAGE)
                .fetch_all(&mut **tx)
                .await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };

            from = last.try_get("stream")?;
            for row in &rows {
                self.forget_in_event(tx, row).await?;
            }
        }
    }

    async fn forget_in_event(&mut self, tx: &mut Tx, row: &AnyRow) -> Result<(), Error> {
        let event = event_from_row(row)?;
        let text: &str = row.try_get("json")?;
        let kept: Option<&str> = row.try_get("kept")?;
        let (nameless, json) = (
            self.names.nameless_event(&event),
            self.names.nameless_json(text),
        );
        if nameless.is_none() && json.is_none() {
            return Ok(());
        }

        self.counts.events += 1;
        let nameless = nameless.unwrap_or_else(|| event.clone());
        let json = json.unwrap_or_else(|| text.to_owned());
        let kept = kept.map(|_| kept_text(&nameless));
        let old_key: Option<String> = row.try_get("chain")?;
        let new_key = old_key
            .as_deref()
            .map(|key| self.renamed_key(key, &nameless));
        // What cannot be read has the hash of its text for an id.
        let event_id = if event.event_id.starts_with("malformed:") {
            format!("malformed:{}", hash(&[&json], 12))
        } else {
            event.event_id.clone()
        };
        sqlx::query(UPDATE_EVENT)
            .bind(&event.event_id)
            .bind(self.room_id)
            .bind(event_id)
            .bind(&nameless.state_key)
            .bind(&nameless.sender)
            .bind(&new_key)
            .bind(json)
            .bind(kept)
            .execute(&mut **tx)
            .await?;
        let (Some(old_key), Some(new_key)) = (old_key, new_key) else {
            return Ok(());
        };

        sqlx::query(WRITER)
            .bind(self.room_id)
            .bind(&nameless.sender)
            .bind(&new_key)
            .execute(&mut **tx)
            .await?;
        self.dirty.add_member_key(&new_key, i64::MIN, i64::MAX);
        self.dirty.add_member_key(&old_key, i64::MIN, i64::MAX);
        self.member_keys.insert(old_key, new_key);

        Ok(())
    }

    /// The member key of a changed event, whose key was `old_key`.
    fn renamed_key(&self, old_key: &str, nameless: &RoomEvent) -> String {
        let derived = member::member_key_of(nameless).ok().flatten();
        derived.unwrap_or_else(|| self.names.member_key_without_events(old_key))
    }
}

/// The part of a redacted event that is kept, as the column `kept` has it.
fn kept_text(event: &RoomEvent) -> String {
    let mut kept = json!({"content": event.content});
    if let Some(duration_ms) = event.sticky_ms {
        kept["sticky"] = json!({"duration_ms": duration_ms});
    }

    kept.to_string()
}

const TALLIES: &str = "select distinct s.tally from sessions s join tallies t on t.tally = s.tally
    where s.room_id = $1 and t.key like $2 escape '!'";
const WITHOUT_TALLY: &str = "update sessions set tally = null where tally = $1";

impl RoomWork<'_> {
    /// Deletes the counters of large calls in which somebody was. They are counted from the stays
    /// again when they are needed.
    async fn forget_in_counters(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let tallies: Vec<i64> = sqlx::query_scalar(TALLIES)
            .bind(self.room_id)
            .bind(&self.patterns.text)
            .fetch_all(&mut **tx)
            .await?;
        for tally in tallies {
            session_counters::delete_tally(tx, tally).await?;
            sqlx::query(WITHOUT_TALLY)
                .bind(tally)
                .execute(&mut **tx)
                .await?;
        }

        Ok(())
    }
}

const STAYS: &str = sql!(
    "select ",
    MembershipRow::LIST,
    " from memberships m where m.room_id = $1 and (m.user_id like $2 escape '!'
    or coalesce(m.transport_url, '') like $3 escape '!')"
);
const UPDATE_STAY: &str = "update memberships set user_id = $2, device_id = $3, server = $4,
    chain = $5, intent = $6, transport_url = $7, transport_alias = $8 where id = $1";
const SEALS: &str = "select chain from seals where room_id = $1";
const DROP_SEAL: &str = "delete from seals where room_id = $1 and chain = $2";
const RENAME_SEAL: &str = "update seals set chain = $3 where room_id = $1 and chain = $2";

impl RoomWork<'_> {
    /// Replaces the names in the rows of stays of which events are gone: what came before the seal
    /// of a member key cannot be derived again. The others are derived anew.
    async fn forget_in_stays(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let query = crate::store::db::dialect::Dialect::of_connection(tx)
            .query(STAYS)
            .bind(self.room_id.to_owned())
            .bind(self.patterns.user.clone())
            .bind(self.patterns.text.clone());
        let rows = query.fetch_all(&mut **tx).await?;
        let stays: Vec<Membership> = read_rows(&rows, membership_from_row)?;
        let sealed: Vec<String> = sqlx::query_scalar(SEALS)
            .bind(self.room_id)
            .fetch_all(&mut **tx)
            .await?;
        let sealed: BTreeSet<String> = sealed.into_iter().collect();
        for mut stay in stays {
            let old_key = stay.member_key.clone();
            if !self.names.make_membership_nameless(&mut stay) {
                continue;
            }

            self.counts.stays += 1;
            if self.member_keys.contains_key(&old_key) && !sealed.contains(&old_key) {
                continue;
            }

            self.counts.changed_stays += 1;
            let otherwise = self.names.member_key_without_events(&old_key);
            let new_key = self.member_keys.entry(old_key.clone()).or_insert(otherwise);
            self.dirty.add_member_key(new_key, i64::MIN, i64::MAX);
            sqlx::query(UPDATE_STAY)
                .bind(&stay.id)
                .bind(&stay.user_id)
                .bind(&stay.device_id)
                .bind(server_of(&stay.user_id))
                .bind(&*new_key)
                .bind(&stay.intent)
                .bind(stay.transport.as_ref().and_then(Transport::stated))
                .bind(&stay.transport_alias)
                .execute(&mut **tx)
                .await?;
        }

        for (old_key, new_key) in &self.member_keys {
            if sealed.contains(old_key) && old_key != new_key {
                sqlx::query(DROP_SEAL)
                    .bind(self.room_id)
                    .bind(new_key)
                    .execute(&mut **tx)
                    .await?;
                sqlx::query(RENAME_SEAL)
                    .bind(self.room_id)
                    .bind(old_key)
                    .bind(new_key)
                    .execute(&mut **tx)
                    .await?;
            }
        }

        Ok(())
    }
}

const CHECKPOINTS: &str = "select chain, at_ms, state from checkpoints where room_id = $1";
const ADD_CHECKPOINT: &str = "insert into checkpoints (room_id, chain, at_ms, state)
    values ($1, $2, $3, $4) on conflict (room_id, chain, at_ms) do update
    set state = excluded.state";
const NAMING_STATES: &str = "select chain from checkpoints where room_id = $1
    and state like $2 escape '!'
    union select chain from heads where room_id = $1 and state like $2 escape '!'";
const OF_KEY: &str = " and chain = $2";

impl RoomWork<'_> {
    /// Deletes the checkpoints and heads that name somebody; they are made again. Where events are
    /// gone, the checkpoints are all that is left of them, and get the new names.
    async fn forget_in_checkpoints(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let naming: Vec<String> = sqlx::query_scalar(NAMING_STATES)
            .bind(self.room_id)
            .bind(&self.patterns.text)
            .fetch_all(&mut **tx)
            .await?;
        let sealed: Vec<String> = sqlx::query_scalar(SEALS)
            .bind(self.room_id)
            .fetch_all(&mut **tx)
            .await?;
        // Their seals have the new names already.
        let sealed: BTreeSet<String> = sealed.into_iter().collect();
        let touched = naming.into_iter().chain(self.member_keys.keys().cloned());
        for old_key in touched.collect::<BTreeSet<String>>() {
            let new_key = self.member_keys.get(&old_key).unwrap_or(&old_key).clone();
            if sealed.contains(&new_key) {
                self.rename_checkpoints(tx, &old_key, &new_key).await?;
            } else {
                checkpoints::delete_key_checkpoints(tx, self.room_id, &old_key).await?;
            }
        }

        Ok(())
    }

    async fn rename_checkpoints(
        &mut self,
        tx: &mut Tx,
        old_key: &str,
        new_key: &str,
    ) -> Result<(), Error> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{CHECKPOINTS}{OF_KEY}")))
            .bind(self.room_id)
            .bind(old_key)
            .fetch_all(&mut **tx)
            .await?;
        checkpoints::delete_key_checkpoints(tx, self.room_id, old_key).await?;
        for row in rows {
            let text: &str = row.try_get("state")?;
            // One that cannot be read is not used either.
            let Ok(state) = serde_json::from_str::<KeyState>(text) else {
                continue;
            };

            let state = self.names.make_key_state_nameless(state, new_key);
            let text =
                serde_json::to_string(&state).map_err(|error| Error::Content(error.to_string()))?;
            sqlx::query(ADD_CHECKPOINT)
                .bind(self.room_id)
                .bind(new_key)
                .bind(row.try_get::<i64, _>("at_ms")?)
                .bind(text)
                .execute(&mut **tx)
                .await?;
        }

        Ok(())
    }
}

/// A column with user ids, in a table that has rooms.
struct UserColumn {
    table: &'static str,
    column: &'static str,
    /// The row says nothing without the name.
    is_deleted: bool,
}

const USER_COLUMNS: [UserColumn; 7] = [
    UserColumn {
        table: "people",
        column: "user_id",
        is_deleted: true,
    },
    UserColumn {
        table: "pseudonyms",
        column: "user_id",
        is_deleted: true,
    },
    UserColumn {
        table: "chains",
        column: "sender",
        is_deleted: true,
    },
    UserColumn {
        table: "room_members",
        column: "user_id",
        is_deleted: false,
    },
    UserColumn {
        table: "state_resets",
        column: "user_id",
        is_deleted: false,
    },
    UserColumn {
        table: "set_aside",
        column: "sender",
        is_deleted: false,
    },
    UserColumn {
        table: "redacting_bans",
        column: "user_id",
        is_deleted: false,
    },
];

impl RoomWork<'_> {
    /// Deletes or renames the rows about a person. Where the room has newer ones under the new name
    /// already, the old ones go.
    async fn forget_in_user_columns(&mut self, tx: &mut Tx) -> Result<(), Error> {
        for naming in &USER_COLUMNS {
            let UserColumn {
                table,
                column,
                is_deleted,
            } = naming;
            let select = format!(
                "select distinct {column} from {table} where room_id = $1
                and {column} like $2 escape '!'"
            );
            let users: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(select))
                .bind(self.room_id)
                .bind(&self.patterns.user)
                .fetch_all(&mut **tx)
                .await?;
            for user_id in users {
                let Some(pseudonym) = self.names.pseudonym_of(&user_id) else {
                    continue;
                };

                let of_user = format!("where room_id = $1 and {column} = $2");
                let newer = format!("select count(*) from {table} {of_user}");
                let newer: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(newer))
                    .bind(self.room_id)
                    .bind(&pseudonym)
                    .fetch_one(&mut **tx)
                    .await?;
                let statement = if *is_deleted || newer > 0 {
                    format!("delete from {table} {of_user}")
                } else {
                    format!("update {table} set {column} = $3 {of_user}")
                };
                let mut query = sqlx::query(sqlx::AssertSqlSafe(statement))
                    .bind(self.room_id)
                    .bind(&user_id);
                if !*is_deleted && newer == 0 {
                    query = query.bind(&pseudonym);
                }

                query.execute(&mut **tx).await?;
                self.counts.others += 1;
            }
        }

        Ok(())
    }
}

const RULES: &str = "select kind, time_ms, event_id, sender, json from room_rules
    where room_id = $1 and (sender like $2 escape '!' or json like $3 escape '!')";
const UPDATE_RULE: &str = "update room_rules set sender = $4, json = $5
    where room_id = $1 and kind = $2 and event_id = $3";

impl RoomWork<'_> {
    /// Replaces the names in the stored history of the room's own state.
    async fn forget_in_rules(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let rows = sqlx::query(RULES)
            .bind(self.room_id)
            .bind(&self.patterns.user)
            .bind(&self.patterns.text)
            .fetch_all(&mut **tx)
            .await?;
        for row in rows {
            let (kind, sender): (&str, &str) = (row.try_get("kind")?, row.try_get("sender")?);
            let kept: Value = serde_json::from_str(row.try_get("json")?).unwrap_or(json!({}));
            let event = json!({"event_id": row.try_get::<&str, _>("event_id")?, "type": kind,
                "sender": sender, "state_key": "", "origin_server_ts": 0,
                "content": kept.get("content").cloned().unwrap_or(json!({}))});
            let Some(nameless) = self.names.nameless_json(&event.to_string()) else {
                continue;
            };

            let nameless: Value = serde_json::from_str(&nameless).unwrap_or(event);
            sqlx::query(UPDATE_RULE)
                .bind(self.room_id)
                .bind(kind)
                .bind(row.try_get::<&str, _>("event_id")?)
                .bind(nameless["sender"].as_str().unwrap_or_default())
                .bind(json!({"content": nameless["content"]}).to_string())
                .execute(&mut **tx)
                .await?;
            self.counts.others += 1;
        }

        Ok(())
    }
}

const ROOM_ERROR: &str = "select error from rooms where room_id = $1 and error like $2 escape '!'";
const SET_ROOM_ERROR: &str = "update rooms set error = $2 where room_id = $1";

impl RoomWork<'_> {
    /// Replaces the names in what a homeserver answered when the room could not be read.
    async fn forget_in_room_error(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let error: Option<String> = sqlx::query_scalar(ROOM_ERROR)
            .bind(self.room_id)
            .bind(&self.patterns.text)
            .fetch_optional(&mut **tx)
            .await?;
        let nameless = error.and_then(|error| self.names.nameless_text(&error));
        if let Some(nameless) = nameless {
            sqlx::query(SET_ROOM_ERROR)
                .bind(self.room_id)
                .bind(nameless)
                .execute(&mut **tx)
                .await?;
        }

        Ok(())
    }
}
