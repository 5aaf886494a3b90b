//! Accounts, devices and access tokens of the simulated homeserver.

use std::collections::HashMap;

use serde_json::Value;

use crate::sim::dice::Dice;

/// The user and device of a valid access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub user_id: String,
    pub device_id: String,
    pub token: String,
    /// When the token expires, ms.
    pub expires_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct SimAccount {
    password: String,
    filters: Vec<Value>,
}

/// All accounts of the server.
#[derive(Debug)]
pub(super) struct Accounts {
    by_user: HashMap<String, SimAccount>,
    callers: HashMap<String, Caller>,
    /// User and device by refresh token.
    refresh: HashMap<String, (String, String)>,
    dice: Dice,
}

impl Accounts {
    /// No accounts; devices and tokens will come from the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            by_user: HashMap::new(),
            callers: HashMap::new(),
            refresh: HashMap::new(),
            dice: Dice::for_part(seed, "accounts"),
        }
    }

    /// Makes the account, or gives an existing one a new password, and logs in a new device.
    pub fn register(&mut self, user_id: &str, password: &str) -> Caller {
        let account = self.by_user.entry(user_id.to_owned()).or_default();
        password.clone_into(&mut account.password);
        self.open_device(user_id, None)
    }

    /// Logs in; `None` if user or password is wrong. A named device is kept and its old token is
    /// revoked, as in Synapse.
    pub fn login(&mut self, user_id: &str, password: &str, device: Option<&str>) -> Option<Caller> {
        let account = self.by_user.get(user_id)?;
        (account.password == password).then(|| self.open_device(user_id, device))
    }

    /// A new access token for a device of this user. The device is new if none is named; a named
    /// one loses its old token.
    fn open_device(&mut self, user_id: &str, device: Option<&str>) -> Caller {
        let device_id = device.map_or_else(
            || {
                self.dice
                    .letters(10)
                    .to_uppercase()
                    .replace(['-', '_'], "X")
            },
            str::to_owned,
        );
        self.callers
            .retain(|_, old| old.user_id != user_id || old.device_id != device_id);
        let token = format!("syt_{}", self.dice.letters(40));
        let caller = Caller {
            user_id: user_id.to_owned(),
            device_id,
            token: token.clone(),
            expires_ms: None,
        };

        self.callers.insert(token, caller.clone());

        caller
    }

    /// Sets when a token expires, ms, and returns its refresh token; `None` if the token does not
    /// exist.
    pub fn limit(&mut self, token: &str, expires_ms: i64) -> Option<String> {
        let caller = self.callers.get_mut(token)?;
        caller.expires_ms = Some(expires_ms);
        let refresh = format!("syr_{}", self.dice.letters(40));
        let whose = (caller.user_id.clone(), caller.device_id.clone());
        self.refresh.insert(refresh.clone(), whose);

        Some(refresh)
    }

    /// The next token of a device; `None` if the refresh token is not known. Each can be used once.
    pub fn next_token(&mut self, refresh: &str) -> Option<Caller> {
        let (user_id, device_id) = self.refresh.remove(refresh)?;
        Some(self.open_device(&user_id, Some(&device_id)))
    }

    /// The user and device of an access token; `None` if it is not valid.
    pub fn caller(&self, token: &str) -> Option<Caller> {
        self.callers.get(token).cloned()
    }

    /// Revokes a token; `false` if it does not exist.
    pub fn revoke(&mut self, token: &str) -> bool {
        self.callers.remove(token).is_some()
    }

    /// Stores a filter and returns its id. An equal filter of the same user keeps its id.
    pub fn keep_filter(&mut self, user_id: &str, filter: Value) -> String {
        let account = self.by_user.entry(user_id.to_owned()).or_default();
        let known = account.filters.iter().position(|old| *old == filter);
        let at = known.unwrap_or_else(|| {
            account.filters.push(filter);
            account.filters.len() - 1
        });

        at.to_string()
    }

    /// The stored filter with this id; `None` if the user has none.
    pub fn filter(&self, user_id: &str, filter_id: &str) -> Option<&Value> {
        let at: usize = filter_id.parse().ok()?;
        self.by_user.get(user_id)?.filters.get(at)
    }
}
