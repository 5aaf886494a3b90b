//! Homeservers that differ from Synapse: history that ends too early or never, other login flows,
//! tokens that expire.

use serde_json::{Value, json};

/// How `/messages` misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessagesMode {
    /// As Synapse.
    #[default]
    Right,
    /// Two events, and never an `end`.
    StopsEarly,
    /// An empty text as the last `end`.
    EmptyEnd,
    /// Each event twice.
    Twice,
    /// This many empty pages whose `end` equals their start; then as Synapse.
    SameToken(u32),
    /// Empty pages with two alternating tokens.
    Circle,
    /// Empty pages with ever new tokens.
    Endless,
    /// The same three newest events with ever new tokens.
    EndlessSame,
}

/// How the server misbehaves now.
#[derive(Debug, Default)]
pub(super) struct Misbehaviour {
    pub pages: MessagesMode,
    /// The login flows of `GET /login`; `None` = a password.
    pub flows: Option<Vec<Value>>,
    /// Access tokens of a login expire after this time, ms.
    pub token_life_ms: Option<i64>,
    /// The same of logins that ask for no refresh token.
    pub lasting_token_life_ms: Option<i64>,
    /// The content of `/capabilities`; `None` = the endpoint is unknown.
    pub capabilities: Option<Value>,
    /// The number of invented page tokens so far.
    made_up: u64,
}

impl Misbehaviour {
    /// An invented page that needs no room; `None` if the present mode has no such pages. `from` is
    /// the token that the client gave.
    pub fn made_up_page(&mut self, from: Option<&str>) -> Option<Value> {
        let start = from.unwrap_or_default();
        let page = |end: String| Some(json!({"chunk": [], "start": start, "end": end}));

        match &mut self.pages {
            MessagesMode::Circle => page(if start == "t1" { "t2" } else { "t1" }.to_owned()),
            MessagesMode::Endless => {
                self.made_up += 1;
                page(format!("t99{}", self.made_up))
            }
            MessagesMode::SameToken(left) if *left > 0 => {
                *left -= 1;
                page(from.unwrap_or("t999999").to_owned())
            }
            _ => None,
        }
    }

    /// Does each page begin at the newest event?
    pub fn is_always_newest(&self) -> bool {
        self.pages == MessagesMode::EndlessSame
    }

    /// A correct page as the present mode spoils it.
    pub fn bend(&mut self, mut page: Value) -> Value {
        let length = page["chunk"].as_array().map_or(0, Vec::len);
        match self.pages {
            MessagesMode::StopsEarly => {
                truncate_chunk(&mut page, 2);
                remove_end(&mut page);
            }
            MessagesMode::EmptyEnd if length == 0 || page.get("end").is_none() => {
                page["end"] = json!("");
            }
            MessagesMode::Twice => {
                if let Some(chunk) = page["chunk"].as_array_mut() {
                    let again = chunk.clone();
                    chunk.extend(again);
                }
            }
            MessagesMode::EndlessSame => {
                truncate_chunk(&mut page, 3);
                self.made_up += 1;
                page["end"] = json!(format!("t99{}", self.made_up));
            }
            _ => {}
        }

        page
    }
}

/// Cuts the events of a page to this number.
fn truncate_chunk(page: &mut Value, length: usize) {
    if let Some(chunk) = page["chunk"].as_array_mut() {
        chunk.truncate(length);
    }
}

/// Removes the token of the next page.
fn remove_end(page: &mut Value) {
    if let Some(page) = page.as_object_mut() {
        page.remove("end");
    }
}
