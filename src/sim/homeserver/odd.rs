//! Homeservers that are not as Synapse: history that ends too early or never, other logins, tokens
//! that run out.

use serde_json::{Value, json};

/// How `/messages` is bent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pages {
    /// As Synapse.
    #[default]
    Right,
    /// Two events, and never an `end`.
    StopsEarly,
    /// An empty text as the last `end`.
    EmptyEnd,
    /// Each event twice.
    Twice,
    /// So many empty pages whose `end` is where they began; then as Synapse.
    SameToken(u32),
    /// Empty pages in a circle of two tokens.
    Circle,
    /// Empty pages with ever new tokens.
    Endless,
    /// The same three newest events with ever new tokens.
    EndlessSame,
}

/// How the server is bent now.
#[derive(Debug, Default)]
pub(super) struct Odd {
    pub pages: Pages,
    /// What `GET /login` offers; `None` = a password.
    pub flows: Option<Vec<Value>>,
    /// Access tokens of a login run out after this time, ms.
    pub token_life_ms: Option<i64>,
    /// What `/capabilities` has; `None` = the endpoint is not known.
    pub capabilities: Option<Value>,
    /// Tokens of pages that were made up so far.
    made_up: u64,
}

impl Odd {
    /// A page that needs no room, if these pages are so.
    pub fn made_up_page(&mut self, from: Option<&str>) -> Option<Value> {
        let start = from.unwrap_or_default();
        let page = |end: String| Some(json!({"chunk": [], "start": start, "end": end}));

        match &mut self.pages {
            Pages::Circle => page(if start == "t1" { "t2" } else { "t1" }.to_owned()),
            Pages::Endless => {
                self.made_up += 1;
                page(format!("t99{}", self.made_up))
            }
            Pages::SameToken(left) if *left > 0 => {
                *left -= 1;
                page(from.unwrap_or("t999999").to_owned())
            }
            _ => None,
        }
    }

    /// Does each page begin at the newest event?
    pub fn is_always_newest(&self) -> bool {
        self.pages == Pages::EndlessSame
    }

    /// Bends a right page.
    pub fn bend(&mut self, mut page: Value) -> Value {
        let length = page["chunk"].as_array().map_or(0, Vec::len);
        match self.pages {
            Pages::StopsEarly => {
                cut(&mut page, 2);
                remove_end(&mut page);
            }
            Pages::EmptyEnd if length == 0 || page.get("end").is_none() => page["end"] = json!(""),
            Pages::Twice => {
                if let Some(chunk) = page["chunk"].as_array_mut() {
                    let again = chunk.clone();
                    chunk.extend(again);
                }
            }
            Pages::EndlessSame => {
                cut(&mut page, 3);
                self.made_up += 1;
                page["end"] = json!(format!("t99{}", self.made_up));
            }
            _ => {}
        }

        page
    }
}

fn cut(page: &mut Value, length: usize) {
    if let Some(chunk) = page["chunk"].as_array_mut() {
        chunk.truncate(length);
    }
}

fn remove_end(page: &mut Value) {
    if let Some(page) = page.as_object_mut() {
        page.remove("end");
    }
}
