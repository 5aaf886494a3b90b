//! Forgotten people and servers: what stands in their place in a room. Of who is forgotten only
//! keyed hashes are known, so a name is recognised when it comes and cannot be read from what is
//! kept. The same name gives the same pseudonym in a room, and another one in each other room.

use super::event::{EventKind, RoomEvent};
use super::fold::{KeyState, StatePart};
use super::id::server_of;
use super::member::ID_MAX;
use super::membership::Membership;
use super::redaction::{SAID, derivation_relevant_content};
use super::transport::{Transport, host_of_url};
use super::words::words;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;
use std::collections::{BTreeMap, HashMap, HashSet};

words! {
    /// What is forgotten.
    pub enum ForgottenKind {
        /// A person, by user id.
        Person = "person",
        /// All people of a homeserver, and its name.
        Server = "server",
    }
}

/// The beginning of every pseudonym.
const PSEUDONYM: &str = "forgotten-";
/// The length of the hash in the pseudonym of a person, bytes.
const PERSON_BYTES: usize = 10;
/// The length of other hashes, bytes.
const HASH_BYTES: usize = 8;
/// Maximum number of possible user ids that are looked up in one event. An event with more is
/// hostile; its further texts with an `@` are emptied.
const LOOKUPS_MAX: usize = 4096;
/// Maximum number of user ids whose pseudonyms are remembered.
const KNOWN_MAX: usize = 4096;

/// Who is forgotten.
#[derive(Debug, Clone, Default)]
pub struct Forgotten {
    /// The key of all hashes; this installation alone has it.
    key: Vec<u8>,
    hashes: HashSet<String>,
}

impl Forgotten {
    /// Those with these hashes ([`Self::hash_of_name`]), by this key.
    #[must_use]
    pub fn new(key: &[u8], hashes: impl IntoIterator<Item = String>) -> Self {
        Self {
            key: key.to_vec(),
            hashes: hashes.into_iter().collect(),
        }
    }

    /// Is nobody forgotten?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Forgets one more.
    pub fn add(&mut self, kind: ForgottenKind, name: &str) {
        let hash = self.hash_of_name(kind, name);
        self.hashes.insert(hash);
    }

    /// The hash by which a person (a user id) or a server is kept.
    #[must_use]
    pub fn hash_of_name(&self, kind: ForgottenKind, name: &str) -> String {
        self.keyed_hash(&["name", kind.as_str(), name], 16)
    }

    /// Is this person, or this server, forgotten itself?
    #[must_use]
    pub fn has_name(&self, kind: ForgottenKind, name: &str) -> bool {
        !self.is_empty() && self.hashes.contains(&self.hash_of_name(kind, name))
    }

    /// Is this person forgotten, alone or with the whole server?
    #[must_use]
    pub fn has_person(&self, user_id: &str) -> bool {
        self.has_name(ForgottenKind::Person, user_id)
            || self.has_name(ForgottenKind::Server, server_of(user_id))
    }

    /// What stands for a name outside of rooms, such as in a log.
    #[must_use]
    pub fn pseudonym_outside_rooms(&self, name: &str) -> String {
        format!(
            "{PSEUDONYM}{}",
            self.keyed_hash(&["outside", name], PERSON_BYTES)
        )
    }

    /// What replaces names in this room.
    #[must_use]
    pub fn in_room<'f>(&'f self, room_id: &'f str) -> NamelessRoom<'f> {
        NamelessRoom {
            forgotten: self,
            room_id,
            known: HashMap::new(),
            lookups: 0,
        }
    }

    /// A keyed hash of some texts: `bytes` bytes, in hex.
    fn keyed_hash(&self, parts: &[&str], bytes: usize) -> String {
        let Ok(mut hash) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            // A hash takes keys of every length.
            return String::new();
        };
        for part in parts {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }

        let hash = hash.finalize().into_bytes();

        HEXLOWER.encode(hash.get(..bytes).unwrap_or(&hash))
    }
}

/// Replaces the names of forgotten people and servers in what belongs to one room.
#[derive(Debug)]
pub struct NamelessRoom<'f> {
    forgotten: &'f Forgotten,
    room_id: &'f str,
    /// The pseudonyms of the user ids seen so far; `None` = not forgotten.
    known: HashMap<String, Option<String>>,
    /// User ids that were looked up for the current event.
    lookups: usize,
}

/// A place in a text that names a forgotten person.
struct FoundName {
    /// Where it begins and ends, bytes.
    from: usize,
    to: usize,
    user_id: String,
    /// What is to stand there.
    pseudonym: String,
}

/// The keys of random ids, by which what a person did in two rooms could be matched.
const OPAQUE: [&str; 6] = [
    "membershipID",
    "session_id",
    "id",
    "sticky_key",
    "msc4354_sticky_key",
    SAID,
];
const DEVICES: [&str; 2] = ["device_id", "claimed_device_id"];
/// Keys of the lists of transports.
const TRANSPORTS: [&str; 3] = ["foci_preferred", "foci_active", "rtc_transports"];
/// Keys of the addresses of a transport.
const ADDRESSES: [&str; 2] = ["livekit_service_url", "url"];
const INTENT: &str = "m.call.intent";
/// Intents that say nothing of a person.
const USUAL_INTENTS: [&str; 2] = ["audio", "video"];

impl NamelessRoom<'_> {
    /// The pseudonym of a user; `None` if this user is not forgotten.
    pub fn pseudonym_of(&mut self, user_id: &str) -> Option<String> {
        if let Some(known) = self.known.get(user_id) {
            return known.clone();
        }

        let pseudonym = self.make_pseudonym(user_id);
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }

        self.known.insert(user_id.to_owned(), pseudonym.clone());

        pseudonym
    }

    fn make_pseudonym(&self, user_id: &str) -> Option<String> {
        let (localpart, server) = user_id.strip_prefix('@')?.split_once(':')?;
        let other_server = self.pseudonym_of_server(server);
        let is_forgotten = self.forgotten.has_name(ForgottenKind::Person, user_id);
        if !is_forgotten && other_server.is_none() {
            return None;
        }

        let server = other_server.as_deref().unwrap_or(server);
        if is_pseudonym(user_id) {
            return Some(format!("@{localpart}:{server}"));
        }

        let hash = self.hash_in_room(&["person", user_id], PERSON_BYTES);

        Some(format!("@{PSEUDONYM}{hash}:{server}"))
    }

    /// The pseudonym of a server; `None` if it is not forgotten. No host has such a name.
    fn pseudonym_of_server(&self, server: &str) -> Option<String> {
        let is_forgotten = self.forgotten.has_name(ForgottenKind::Server, server);
        let hash = || self.hash_in_room(&["server", server], HASH_BYTES);

        is_forgotten.then(|| format!("{PSEUDONYM}{}.invalid", hash()))
    }

    /// The pseudonym of the host of an SFU that this user named, if it is a forgotten server; or a
    /// host below it, if the user is of that server. For others it may be somebody else's.
    fn pseudonym_of_host(&self, host: &str, user_id: &str) -> Option<String> {
        let own = server_of(user_id);
        let below = host.strip_suffix(own).filter(|_| !own.is_empty());
        let is_below = below.is_some_and(|below| below.ends_with('.'));

        self.pseudonym_of_server(if is_below { own } else { host })
    }

    /// What stands for a device of a forgotten user.
    #[must_use]
    pub fn pseudonym_of_device(&self, user_id: &str, device_id: &str) -> String {
        let hash = self.hash_in_room(&["device", user_id, device_id], HASH_BYTES);
        format!("{PSEUDONYM}{hash}")
    }

    /// What stands for the member key of a forgotten user, of whose events none is stored.
    #[must_use]
    pub fn member_key_without_events(&self, member_key: &str) -> String {
        let kind = member_key.get(..1).unwrap_or("s");
        format!("{kind}{}", self.hash_in_room(&["key", member_key], 16))
    }

    fn hash_in_room(&self, parts: &[&str], bytes: usize) -> String {
        let mut all = vec!["room", self.room_id];
        all.extend(parts);
        self.forgotten.keyed_hash(&all, bytes)
    }

    /// The text without the ids of forgotten users; `None` if it names none.
    pub fn nameless_text(&mut self, text: &str) -> Option<String> {
        self.lookups = 0;
        self.replace_names(text)
    }

    /// Like [`Self::nameless_text`], as a part of the current event.
    fn replace_names(&mut self, text: &str) -> Option<String> {
        if !text.contains('@') && !text.contains("%40") {
            return None;
        }

        let mut nameless = String::new();
        let mut done = 0;
        while let Some(found) = self.find_name(text, done) {
            nameless.push_str(text.get(done..found.from)?);
            nameless.push_str(&found.pseudonym);
            done = found.to;
        }

        if self.lookups > LOOKUPS_MAX {
            return Some(String::new());
        }

        (done > 0).then(|| {
            nameless.push_str(text.get(done..).unwrap_or_default());
            nameless
        })
    }

    /// The first forgotten user that the text names from byte `from` on, also percent-encoded.
    fn find_name(&mut self, text: &str, from: usize) -> Option<FoundName> {
        let mut at = from;
        loop {
            let rest = text.get(at..)?;
            let plain = rest.find('@').map(|found| (found, "@", ":"));
            let encoded = rest.find("%40").map(|found| (found, "%40", "%3A"));
            let (found, sigil, colon) = [plain, encoded].into_iter().flatten().min()?;
            at += found;
            if let Some(name) = self.name_at(text, at, sigil, colon) {
                return Some(name);
            }

            if self.lookups > LOOKUPS_MAX {
                return None;
            }

            at += sigil.len();
        }
    }

    /// The forgotten user whose id begins at byte `at`, with this sigil; `None` if there is none.
    fn name_at(&mut self, text: &str, at: usize, sigil: &str, colon: &str) -> Option<FoundName> {
        let rest = text.get(at + sigil.len()..)?;
        let lower = colon.to_lowercase();
        let ends = [rest.find(colon), rest.find(&lower)];
        let end = ends.into_iter().flatten().min()?;
        if end > ID_MAX {
            return None;
        }

        let localpart = decode_percent(rest.get(..end)?, sigil != "@");
        let rest = rest.get(end + colon.len()..)?;
        let is_of_name = |letter: char| {
            letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | ':' | '[' | ']')
        };
        let run = rest
            .find(|letter| !is_of_name(letter))
            .unwrap_or(rest.len());
        let run = rest.get(..run.min(ID_MAX))?;
        let begin = at + sigil.len() + end + colon.len();
        // The longest name goes first: the id of another user may begin like this one.
        for length in (1..=run.len()).rev() {
            let (name, after) = run.split_at(length);
            if !name.ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == ']')
                || goes_on(after)
            {
                continue;
            }

            self.lookups += 1;
            if self.lookups > LOOKUPS_MAX {
                return None;
            }

            let user_id = format!("@{localpart}:{name}");
            if let Some(pseudonym) = self.pseudonym_of(&user_id) {
                let pseudonym = if sigil == "@" {
                    pseudonym
                } else {
                    pseudonym.replacen('@', "%40", 1).replacen(':', "%3A", 1)
                };
                return Some(FoundName {
                    from: at,
                    to: begin + length,
                    user_id,
                    pseudonym,
                });
            }
        }

        None
    }

    /// Replaces the ids of forgotten users in all texts and keys of a value. Returns true if it
    /// named one.
    pub fn make_value_nameless(&mut self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => {
                let nameless = self.replace_names(text);
                let is_changed = nameless.is_some();
                *text = nameless.unwrap_or_else(|| std::mem::take(text));
                is_changed
            }
            Value::Array(items) => items.iter_mut().fold(false, |changed, item| {
                self.make_value_nameless(item) | changed
            }),
            Value::Object(object) => {
                let mut is_changed = false;
                let mut nameless = Map::new();
                for (key, mut value) in std::mem::take(object) {
                    is_changed |= self.make_value_nameless(&mut value);
                    let other = self.replace_names(&key);
                    is_changed |= other.is_some();
                    nameless.insert(other.unwrap_or(key), value);
                }

                *object = nameless;
                is_changed
            }
            _ => false,
        }
    }

    /// The event without forgotten users; `None` if it names none. Of an event about the calls of
    /// a forgotten user it is kept what is kept of a redacted one, and beside that its SFUs.
    pub fn nameless_event(&mut self, event: &RoomEvent) -> Option<RoomEvent> {
        self.lookups = 0;
        let mut nameless = event.clone();
        let mut is_changed = false;
        if let Some(pseudonym) = self.pseudonym_of(&event.sender) {
            nameless.sender = pseudonym;
            is_changed = true;
        }

        let kind = EventKind::of_event_type(&event.kind);
        let key = event.state_key.as_deref();
        let other_key = key.and_then(|key| match kind {
            EventKind::Member => self.nameless_member_state_key(key, &event.sender),
            _ => self.replace_names(key),
        });
        is_changed |= other_key.is_some();
        nameless.state_key = other_key.or(nameless.state_key);

        match self.subject_of(event, kind) {
            Some(subject) if !is_pseudonym(&subject) => {
                nameless.content = self.nameless_content(event, kind, &subject);
                is_changed = true;
            }
            _ => {
                is_changed |= self.make_value_nameless(&mut nameless.content);
                if kind == EventKind::Member {
                    is_changed |= self.make_hosts_nameless(&mut nameless.content);
                }
            }
        }

        if event.kind == "m.room.server_acl" {
            is_changed |= self.make_servers_nameless(&mut nameless.content);
        }

        is_changed.then_some(nameless)
    }

    /// Replaces forgotten users in the JSON text of an event, as [`Self::nameless_event`] does.
    /// Returns the new text; `None` if it names none.
    pub fn nameless_json(&mut self, text: &str) -> Option<String> {
        self.lookups = 0;
        let mut json: Value = serde_json::from_str(text).ok()?;
        let event = RoomEvent::from_json(&json, None).ok();
        let nameless = event.and_then(|event| self.nameless_event(&event));
        let is_changed = nameless.is_some();
        if let (Some(event), Some(parts)) = (nameless, json.as_object_mut()) {
            parts.insert("sender".to_owned(), event.sender.into());
            parts.insert("content".to_owned(), event.content);
            if let Some(key) = event.state_key {
                parts.insert("state_key".to_owned(), key.into());
            }
        }

        let is_changed = self.make_value_nameless(&mut json) | is_changed;

        is_changed.then(|| json.to_string())
    }

    /// The forgotten user whom an event is about; `None` if it is about somebody else.
    fn subject_of(&mut self, event: &RoomEvent, kind: EventKind) -> Option<String> {
        let key = event.state_key.as_deref();
        let is_forgotten = |room: &mut Self, user: &str| room.pseudonym_of(user).is_some();
        match kind {
            EventKind::Presence => key
                .filter(|user| is_forgotten(self, user))
                .map(ToOwned::to_owned),
            EventKind::Member | EventKind::Related if is_forgotten(self, &event.sender) => {
                Some(event.sender.clone())
            }
            _ => None,
        }
    }

    /// The state key of a member event that names a forgotten user, or was sent by one; `None` for
    /// any other. It may hold the id of a device, so only a hash of it is kept.
    fn nameless_member_state_key(&mut self, key: &str, sender: &str) -> Option<String> {
        if let Some(pseudonym) = self.pseudonym_of(key) {
            return Some(pseudonym);
        }

        let user_id = match self.find_name(key, 0) {
            Some(found) => found.user_id,
            // The key of somebody else, by which a moderator ends a stay.
            None if key.contains('@') => return None,
            None => sender.to_owned(),
        };
        let pseudonym = self.pseudonym_of(&user_id)?;
        if is_pseudonym(&user_id) {
            return self.replace_names(key);
        }

        let hash = self.hash_in_room(&["state_key", key], HASH_BYTES);

        Some(format!("_{pseudonym}_{hash}"))
    }

    /// The content of an event about this forgotten user.
    fn nameless_content(&mut self, event: &RoomEvent, kind: EventKind, subject: &str) -> Value {
        let Some(said) = event.content.as_object().filter(|said| !said.is_empty()) else {
            let mut content = event.content.clone();
            self.make_value_nameless(&mut content);
            return content;
        };

        if kind == EventKind::Presence {
            let mut content = said.clone();
            content.retain(|key, _| key != "displayname" && key != "avatar_url");
            let mut content = Value::Object(content);
            self.make_value_nameless(&mut content);
            return content;
        }

        let mut content = derivation_relevant_content(event).unwrap_or(Value::Null);
        if kind == EventKind::Member
            && let Value::Object(kept) = &mut content
        {
            self.keep_usual_parts(said, kept, subject);
        }

        self.make_ids_nameless(&mut content, subject, "");

        content
    }

    /// Keeps of what a member event said which SFUs it names, and whether it is about sound or
    /// pictures.
    fn keep_usual_parts(
        &mut self,
        said: &Map<String, Value>,
        kept: &mut Map<String, Value>,
        subject: &str,
    ) {
        if !kept.contains_key(SAID) {
            return;
        }

        self.keep_transports_and_intent(said, kept, subject);
        if let Some(published) = said.get("transports").and_then(|all| all.get("published")) {
            let published = self.nameless_transports(published, subject);
            let mut transports = Map::new();
            transports.insert("published".to_owned(), published);
            kept.insert("transports".to_owned(), Value::Object(transports));
        }

        if let (Some(Value::Object(said)), Some(Value::Object(kept))) =
            (said.get("application"), kept.get_mut("application"))
        {
            self.keep_transports_and_intent(said, kept, subject);
        }

        if let (Some(Value::Array(said)), Some(Value::Array(kept))) =
            (said.get("memberships"), kept.get_mut("memberships"))
        {
            let said = said.iter().filter_map(Value::as_object);
            let kept = kept.iter_mut().filter_map(Value::as_object_mut);
            for (said, kept) in said.zip(kept) {
                self.keep_transports_and_intent(said, kept, subject);
            }
        }
    }

    fn keep_transports_and_intent(
        &mut self,
        said: &Map<String, Value>,
        kept: &mut Map<String, Value>,
        subject: &str,
    ) {
        for key in TRANSPORTS {
            if let Some(list) = said.get(key) {
                kept.insert(key.to_owned(), self.nameless_transports(list, subject));
            }
        }

        let intent = said.get(INTENT);
        let is_usual = |intent: &&Value| USUAL_INTENTS.iter().any(|usual| *intent == usual);
        if let Some(intent) = intent.filter(is_usual) {
            kept.insert(INTENT.to_owned(), intent.clone());
        }
    }

    /// Of each transport in the list its type and its addresses.
    fn nameless_transports(&mut self, list: &Value, subject: &str) -> Value {
        let Some(items) = list.as_array() else {
            return list.clone();
        };

        let items = items.iter().filter_map(Value::as_object).map(|item| {
            let mut kept = Map::new();
            if let Some(kind) = item.get("type") {
                kept.insert("type".to_owned(), kind.clone());
            }

            for key in ADDRESSES {
                if let Some(Value::String(url)) = item.get(key) {
                    let url = self.nameless_url(url, subject);
                    kept.insert(key.to_owned(), Value::String(url));
                }
            }

            Value::Object(kept)
        });

        Value::Array(items.collect())
    }

    /// The address of an SFU: without what it says of a person, and of a forgotten server.
    fn nameless_url(&mut self, url: &str, subject: &str) -> String {
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let authority = self
            .pseudonym_of_host(&host_of_url(authority), subject)
            .unwrap_or_else(|| authority.to_owned());
        let name = localpart_of(subject).to_lowercase();
        let path = if !name.is_empty() && path.to_lowercase().contains(&name) {
            ""
        } else {
            path
        };

        if scheme.is_empty() {
            format!("{authority}{path}")
        } else {
            format!("{scheme}://{authority}{path}")
        }
    }

    /// Replaces in a reduced content the ids of the user, of devices and of stays. `key` is the key
    /// under which the value stands.
    fn make_ids_nameless(&mut self, value: &mut Value, subject: &str, key: &str) {
        match value {
            Value::String(text) if DEVICES.contains(&key) => {
                *text = self.pseudonym_of_device(subject, text);
            }
            Value::String(text) if OPAQUE.contains(&key) => {
                *text = self.hash_in_room(&["id", text], HASH_BYTES);
            }
            Value::Array(items) => {
                for item in items {
                    self.make_ids_nameless(item, subject, key);
                }
            }
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    // The id of a nested session is the name of a call.
                    let is_call = key == "session";
                    if !is_call {
                        self.make_ids_nameless(value, subject, key);
                    }
                }
            }
            _ => {
                self.make_value_nameless(value);
            }
        }
    }

    /// Replaces the addresses of SFUs at forgotten servers.
    fn make_hosts_nameless(&mut self, value: &mut Value) -> bool {
        let mut is_changed = false;
        match value {
            Value::Array(items) => {
                for item in items {
                    is_changed |= self.make_hosts_nameless(item);
                }
            }
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    match value {
                        Value::String(url) if ADDRESSES.contains(&key.as_str()) => {
                            if self.pseudonym_of_host(&host_of_url(url), "").is_some() {
                                *url = self.nameless_url(url, "");
                                is_changed = true;
                            }
                        }
                        _ => is_changed |= self.make_hosts_nameless(value),
                    }
                }
            }
            _ => {}
        }

        is_changed
    }

    /// Replaces forgotten servers in a list of servers that may or may not be in the room.
    fn make_servers_nameless(&mut self, content: &mut Value) -> bool {
        let mut is_changed = false;
        for key in ["allow", "deny"] {
            let names = content.get_mut(key).and_then(Value::as_array_mut);
            for name in names.into_iter().flatten() {
                let other = name
                    .as_str()
                    .and_then(|name| self.pseudonym_of_server(name));
                if let Some(other) = other {
                    *name = other.into();
                    is_changed = true;
                }
            }
        }

        is_changed
    }

    /// Replaces the user and the device of a stay, and an SFU at a forgotten server. Its own id and
    /// its member key stay. Returns true if something of it was replaced.
    pub fn make_membership_nameless(&mut self, member: &mut Membership) -> bool {
        let Some(pseudonym) = self.pseudonym_of(&member.user_id) else {
            return self.make_sfu_nameless(member, "");
        };

        member.transport_alias = None;
        let user_id = std::mem::replace(&mut member.user_id, pseudonym);
        if !is_pseudonym(&user_id) {
            member.device_id = member
                .device_id
                .take()
                .map(|device_id| self.pseudonym_of_device(&user_id, &device_id));
            member.intent = member
                .intent
                .take()
                .filter(|intent| USUAL_INTENTS.contains(&intent.as_str()));
        }

        self.make_sfu_nameless(member, &user_id);

        true
    }

    /// Replaces what the SFU of a stay says of its user, or of a forgotten server. Returns true if
    /// it said something.
    fn make_sfu_nameless(&mut self, member: &mut Membership, user_id: &str) -> bool {
        let Some(before) = member.transport.take() else {
            return false;
        };

        let is_kept = |room: &Self, url: &str| {
            user_id.is_empty() && room.pseudonym_of_host(&host_of_url(url), "").is_none()
        };
        let mut nameless_url = |url: String| {
            if is_kept(self, &url) {
                url
            } else {
                self.nameless_url(&url, user_id)
            }
        };
        let transport = Transport {
            service_url: before.service_url.clone().map(&mut nameless_url),
            url: before.url.clone().map(&mut nameless_url),
            ..before.clone()
        };
        let transport = transport.of_member(server_of(&member.user_id));
        let is_changed = transport != before;
        member.transport = Some(transport);

        is_changed
    }

    /// Replaces forgotten users in the state of a member key. `member_key` is its new name.
    pub fn make_key_state_nameless(&mut self, state: KeyState, member_key: &str) -> KeyState {
        // The devices of an array are named by their keys. All of them are of one user.
        let user_id = state.user_id().map(ToOwned::to_owned);
        let forgotten_user = user_id.filter(|user| self.pseudonym_of(user).is_some());
        let devices: BTreeMap<String, String> = state
            .device_keys()
            .map(|key| {
                let nameless = forgotten_user
                    .as_deref()
                    .filter(|user| !is_pseudonym(user))
                    .and_then(|user| self.nameless_device_key(key, user));
                (key.to_owned(), nameless.unwrap_or_else(|| key.to_owned()))
            })
            .collect();

        state.map_names(
            |key| devices.get(key).cloned().unwrap_or_default(),
            |part| match part {
                StatePart::Event(event) => {
                    if let Some(nameless) = self.nameless_event(event) {
                        *event = nameless;
                    }
                }
                StatePart::Member(member) => {
                    self.make_membership_nameless(member);
                    member_key.clone_into(&mut member.member_key);
                }
            },
        )
    }

    /// The device key of an array with the pseudonym of its device; `None` if it names no device.
    fn nameless_device_key(&self, key: &str, user_id: &str) -> Option<String> {
        let (before, device_id) = key.rsplit_once('\u{1f}')?;
        let device_id = self.pseudonym_of_device(user_id, device_id);

        Some(format!("{before}\u{1f}{device_id}"))
    }
}

/// The text with `pseudonym` wherever it has the name of this server, but not where that is a part
/// of another name; `None` if it nowhere has it. A name with a port is another one, but for the
/// address of a page.
#[must_use]
pub fn replace_server_name(text: &str, server: &str, pseudonym: &str) -> Option<String> {
    let mut nameless = String::new();
    let mut done = 0;
    for (at, found) in text.match_indices(server) {
        let (before, after) = (text.get(..at)?, text.get(at + found.len()..)?);
        let is_host = before.ends_with("//");
        if comes_on(before) || goes_on(after) && !(is_host && after.starts_with(':')) {
            continue;
        }

        nameless.push_str(text.get(done..at)?);
        nameless.push_str(pseudonym);
        done = at + found.len();
    }

    (done > 0).then(|| {
        nameless.push_str(text.get(done..).unwrap_or_default());
        nameless
    })
}

/// Does what stands before the name of a server belong to a longer name?
fn comes_on(before: &str) -> bool {
    let is_encoded = ["%3a", "%2f", "%40"].iter().any(|sign| {
        let end = before.len().checked_sub(sign.len());
        let end = end.and_then(|from| before.get(from..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(sign))
    });
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);

    !is_encoded && before.ends_with(is_of_name)
}

/// Is what follows a name of a server a part of it: a letter, one behind a dot or a hyphen, or a
/// port?
fn goes_on(after: &str) -> bool {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric();
    if after.starts_with(is_of_word) {
        return true;
    }

    if let Some(port) = after.strip_prefix(':') {
        let port = port.split(|letter| !is_of_word(letter)).next();
        // A larger number is no port: it is a device behind the name.
        return port.is_some_and(|port| port.parse::<u16>().is_ok());
    }

    after
        .strip_prefix(['.', '-'])
        .is_some_and(|rest| rest.starts_with(is_of_word))
}

/// The name of a user on the own server.
fn localpart_of(user_id: &str) -> &str {
    let name = user_id.strip_prefix('@').unwrap_or(user_id);
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// Has this user id the form of a pseudonym, so that what it stands for is nameless already?
fn is_pseudonym(user_id: &str) -> bool {
    let hash = localpart_of(user_id).strip_prefix(PSEUDONYM);
    let is_hash = |hash: &str| {
        hash.len() == 2 * PERSON_BYTES && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
    };

    hash.is_some_and(is_hash)
}

/// The text with `%XX` decoded, if `is_encoded`. What is no UTF-8 then stays as it was.
fn decode_percent(text: &str, is_encoded: bool) -> String {
    if !is_encoded {
        return text.to_owned();
    }

    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(code) = code.filter(|_| *first == b'%') {
            bytes.push(code);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }

    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ANN: &str = "@ann:h";

    fn forgotten(names: &[(ForgottenKind, &str)]) -> Forgotten {
        let mut forgotten = Forgotten::new(&[7; 32], []);
        for (kind, name) in names {
            forgotten.add(*kind, name);
        }

        forgotten
    }

    fn without_ann() -> Forgotten {
        forgotten(&[(ForgottenKind::Person, ANN)])
    }

    #[test]
    fn a_text_loses_the_name_and_nothing_else() {
        let forgotten = without_ann();
        let mut room = forgotten.in_room("!r:h");
        let ann = room.pseudonym_of(ANN).unwrap();
        assert!(ann.starts_with("@forgotten-") && ann.ends_with(":h"));
        let texts = [
            ("@ann:h", "{}"),
            ("_@ann:h_DEVICE_m.call", "_{}_DEVICE_m.call"),
            ("@ann:h:DEVICE and @ann:h.", "{}:DEVICE and {}."),
            ("[\"@ann:h\",\"D\"]", "[\"{}\",\"D\"]"),
            ("@bob:h, (@ann:h)", "@bob:h, ({})"),
            ("@ann:h:65536", "{}:65536"),
            ("@ann:h:0000012345678", "{}:0000012345678"),
        ];
        for (text, nameless) in texts {
            let nameless = nameless.replace("{}", &ann);
            assert_eq!(room.nameless_text(text), Some(nameless), "{text}");
        }

        let encoded = room.nameless_text("https://x/#/%40ann%3ah?a").unwrap();
        assert!(
            encoded.starts_with("https://x/#/%40forgotten-"),
            "{encoded}"
        );
        assert!(encoded.ends_with("%3Ah?a"), "{encoded}");
        for other in [
            "@ann:h.example",
            "@ann:h8",
            "@ann:h:8448",
            "@joann:h",
            "@ann",
            "ann:h",
            "",
        ] {
            assert_eq!(room.nameless_text(other), None, "{other}");
        }
    }

    #[test]
    fn the_name_of_a_server_is_no_part_of_another_name() {
        let texts = [
            ("data.org", "X"),
            ("@x:data.org, data.org.", "@x:X, X."),
            ("https://data.org:8448/a", "https://X:8448/a"),
            ("https%3A%2F%2Fdata.org", "https%3A%2F%2FX"),
        ];
        for (text, nameless) in texts {
            let found = replace_server_name(text, "data.org", "X");
            assert_eq!(found.as_deref(), Some(nameless), "{text}");
        }

        for other in [
            "@x:bigdata.org",
            "@x:sub.data.org",
            "@x:data.org:8448",
            "@x:data.org.example",
            "my-data.org",
            "data.organic",
            "",
        ] {
            assert_eq!(replace_server_name(other, "data.org", "X"), None, "{other}");
        }
    }

    #[test]
    fn pseudonyms_of_two_rooms_and_keys_differ() {
        let forgotten = without_ann();
        let in_room = |forgotten: &Forgotten, room_id: &str| {
            let mut room = forgotten.in_room(room_id);
            (
                room.pseudonym_of(ANN).unwrap(),
                room.pseudonym_of_device(ANN, "D"),
            )
        };
        let here = in_room(&forgotten, "!a:h");
        assert_eq!(here, in_room(&forgotten, "!a:h"));
        let there = in_room(&forgotten, "!b:h");
        assert!(here.0 != there.0 && here.1 != there.1);
        let mut other_key = Forgotten::new(&[8; 32], []);
        other_key.add(ForgottenKind::Person, ANN);
        assert_ne!(here.0, in_room(&other_key, "!a:h").0);
    }

    #[test]
    fn nothing_of_an_event_names_the_person_or_a_device() {
        let forgotten = without_ann();
        let mut room = forgotten.in_room("!r:h");
        let contents = [
            json!({"application": "m.call", "call_id": "", "device_id": "SECRET",
                "membershipID": "@ann:h:SECRET", "m.call.intent": "SECRET",
                "focus_active": {"type": "livekit"}, "foci_preferred": [{"type": "livekit",
                "livekit_service_url": "https://sfu.example/ann", "livekit_alias": "SECRET"}]}),
            json!({"memberships": [{"application": "m.call", "call_id": "", "device_id": "SECRET",
                "expires": 9, "foci_active": [{"type": "livekit", "livekit_alias": "SECRET"}]}]}),
            json!({"m.calls": [{"m.call_id": "", "m.devices": [{"device_id": "SECRET",
                "session_id": "SECRET", "expires_ts": 9}]}]}),
            json!({"SECRET": "@ann:h"}),
        ];
        for content in contents {
            let event = json!({"event_id": "$1", "type": "m.call.member", "sender": ANN,
                "state_key": "_@ann:h_SECRET", "origin_server_ts": 1, "content": content,
                "unsigned": {"redacted_because": {"sender": ANN}}});
            let text = room.nameless_json(&event.to_string()).unwrap();
            assert!(!text.contains("SECRET") && !text.contains("ann"), "{text}");
            assert_eq!(room.nameless_json(&text), None, "once is enough");
        }

        let event = json!({"event_id": "$1", "type": "m.room.power_levels", "sender": "@bob:h",
            "state_key": "", "origin_server_ts": 1, "content": {"users": {ANN: 100, "@bob:h": 50}}});
        let text = room.nameless_json(&event.to_string()).unwrap();
        assert!(!text.contains("ann") && text.contains("@bob:h"), "{text}");
    }

    #[test]
    fn a_hostile_text_costs_little() {
        let forgotten = without_ann();
        let mut room = forgotten.in_room("!r:h");
        let hostile = format!("{}:{}", "@".repeat(255), "a-".repeat(120)).repeat(300);
        assert_eq!(room.nameless_text(&hostile), Some(String::new()));
        assert_eq!(room.nameless_text("@bob:h"), None);
    }

    #[test]
    fn a_server_goes_with_its_people_and_sfus() {
        let forgotten = forgotten(&[(ForgottenKind::Server, "home.example")]);
        let mut room = forgotten.in_room("!r:h");
        let event = json!({"event_id": "$1", "type": "m.call.member", "sender": "@ann:home.example",
            "state_key": "_@ann:home.example_D", "origin_server_ts": 1,
            "content": {"application": "m.call", "call_id": "", "device_id": "D",
                "focus_active": {"type": "livekit"}, "foci_preferred": [{"type": "livekit",
                "livekit_service_url": "https://sfu.home.example"}]}});
        let text = room.nameless_json(&event.to_string()).unwrap();
        assert!(!text.contains("home.example"), "{text}");
        let event = json!({"event_id": "$1", "type": "m.room.server_acl", "sender": "@bob:h",
            "state_key": "", "origin_server_ts": 1, "content": {"deny": ["home.example"]}});
        let text = room.nameless_json(&event.to_string()).unwrap();
        assert!(!text.contains("home.example"), "{text}");
        assert!(!forgotten.has_person("@ann:away.example"));
        // Of others only the host itself is replaced.
        let of_other = |url: &str| {
            json!({"event_id": "$1", "type": "m.call.member", "sender": "@bob:away.example",
                "state_key": "_@bob:away.example_D", "origin_server_ts": 1,
                "content": {"application": "m.call", "call_id": "", "device_id": "D",
                    "focus_active": {"type": "livekit"}, "foci_preferred": [{"type": "livekit",
                    "livekit_service_url": url}]}})
            .to_string()
        };
        let own = room.nameless_json(&of_other("https://home.example/sfu"));
        assert!(!own.unwrap().contains("home.example"));
        let other = of_other("https://tenant.home.example/sfu");
        assert_eq!(room.nameless_json(&other), None);
        // Who was forgotten alone before has the same name afterwards, but for the server.
        let mut both = forgotten.clone();
        both.add(ForgottenKind::Person, "@ann:home.example");
        let mut alone = Forgotten::new(&[7; 32], []);
        alone.add(ForgottenKind::Person, "@ann:home.example");
        let first = alone
            .in_room("!r:h")
            .pseudonym_of("@ann:home.example")
            .unwrap();
        assert_eq!(
            both.in_room("!r:h").pseudonym_of(&first),
            both.in_room("!r:h").pseudonym_of("@ann:home.example")
        );
    }
}
