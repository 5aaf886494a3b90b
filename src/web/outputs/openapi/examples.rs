//! Example answers, from a real run over the world of `callscope demo`. Of a list the first entry is
//! there. `tests/it/pages/book.rs` compares them with what the program answers, and writes them.

use rust_embed::RustEmbed;
use serde_json::Value;

#[derive(RustEmbed)]
#[folder = "src/web/outputs/openapi/examples/"]
struct Files;

/// The example of an operation in this media type; `None` if there is none.
pub(super) fn find_example(operation: &str, kind: &str) -> Option<Value> {
    let is_json = kind == "application/json";
    let ending = if is_json { "json" } else { "txt" };
    let file = Files::get(&format!("{operation}.{ending}"))?;
    let text = String::from_utf8(file.data.into_owned()).ok()?;

    if is_json {
        serde_json::from_str(&text).ok()
    } else {
        Some(Value::String(text))
    }
}
