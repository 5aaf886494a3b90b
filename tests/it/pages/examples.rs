//! The example answers in the document of the API are what the program answers.

use crate::pages::site::{Site, quote, text};
use crate::support::project;
use serde_json::Value;
use std::collections::BTreeMap;

const FOLDER: &str = "src/web/outputs/openapi/examples";
/// The one that is written by hand: it has no end.
const STREAM: &str = "/api/v1/live";
/// Maximum number of lines of an example that is no JSON and no picture.
const LINES_MAX: usize = 12;

/// The answer as an example: of each list the first entry alone, but of numbers the first two,
/// since they are pairs.
pub fn shorten(value: &mut Value) {
    match value {
        Value::Array(list) => {
            let most = if list.first().is_some_and(Value::is_number) {
                2
            } else {
                1
            };
            list.truncate(most);
            list.iter_mut().for_each(shorten);
        }
        Value::Object(object) => object.values_mut().for_each(shorten),
        _ => {}
    }
}

/// The beginning of a text, so that it is whole by itself.
fn shorten_text(kind: &str, text: &str) -> String {
    let until = |end: &str, close: &str| {
        let at = text.find(end).map_or(text.len(), |at| at + end.len());
        format!("{}{close}", &text[..at])
    };

    match kind {
        "image/svg+xml" => text.to_owned(),
        "application/atom+xml" => until("</entry>", "\n</feed>\n"),
        "text/calendar" => until("END:VEVENT\r\n", "END:VCALENDAR\r\n"),
        "text/csv" | "application/x-ndjson" => lines_of_text(text, 2),
        _ => lines_of_text(text, LINES_MAX),
    }
}

fn lines_of_text(text: &str, most: usize) -> String {
    text.split_inclusive('\n').take(most).collect()
}

/// What stands in the place of the names in braces.
struct Names {
    call: String,
    problem: String,
    room: String,
    person: String,
    server: String,
    sfu: String,
}

impl Names {
    async fn read(site: &Site, room: &str) -> Self {
        let calls = site
            .json("/api/v1/calls?status=ended&min_people=3&limit=1")
            .await;
        let call = &calls["data"][0];
        let problems = site.json("/api/v1/problems?limit=1").await;
        let sfus = site.json("/api/v1/transports?sort=-time&limit=1").await;
        let url = text(&sfus["data"][0]["service_url"]).to_owned();

        Self {
            call: text(&call["id"]).to_owned(),
            problem: text(&problems["data"][0]["id"]).to_owned(),
            room: room.to_owned(),
            person: text(&call["members"][0]["user_id"]).to_owned(),
            server: text(&call["servers"][0]).to_owned(),
            sfu: url.split('/').nth(2).unwrap().to_owned(),
        }
    }

    /// The address with its names.
    fn fill(&self, path: &str) -> String {
        let id = match path.trim_start_matches("/api/v1").split('/').nth(1) {
            Some("calls") => &self.call,
            Some("problems") => &self.problem,
            Some("people") => &self.person,
            _ => &self.room,
        };

        path.replace("{id}", &quote(id))
            .replace("{name}", &self.server)
            .replace("{host}", &self.sfu)
    }
}

/// The examples of all operations, by the name of their file.
async fn list_examples(site: &Site, room: &str) -> BTreeMap<String, String> {
    let names = Names::read(site, room).await;
    let document = site.json("/api/v1/openapi.json").await;
    let mut examples = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        if path == STREAM || path == "/api/v1/openapi.json" {
            continue;
        }

        let answer = site.get(&names.fill(path)).await;
        assert!(
            answer.status == 200 || path == "/readyz",
            "{path}: {}",
            answer.text
        );
        let operation = text(&operations["get"]["operationId"]);
        if answer.kind.starts_with("application/json") {
            let mut json = answer.json();
            shorten(&mut json);
            let written = serde_json::to_string_pretty(&json).unwrap();
            examples.insert(format!("{operation}.json"), written + "\n");
        } else {
            let kind = answer.kind.split(';').next().unwrap();
            let short = shorten_text(kind, &answer.text.replace(&site.base, "http://site"));
            examples.insert(format!("{operation}.txt"), short);
        }
    }

    assert!(examples.len() > 50, "{}", examples.len());
    examples
}

/// Compares the files with what the site answers, or writes them.
pub async fn compare_examples(site: &Site, room: &str, writes: bool) {
    let folder = project().join(FOLDER);
    for (name, made) in list_examples(site, room).await {
        let path = folder.join(&name);
        if writes {
            std::fs::write(&path, &made).unwrap();
        }

        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = kept.lines().zip(made.lines()).find(|(old, new)| old != new);
        assert!(
            kept == made || is_measured(&name),
            "CALLSCOPE_WRITE_EXAMPLES=1 writes {name} anew; first difference: {differs:?}"
        );
    }
}

/// Is it about the process itself, which is never the same?
fn is_measured(name: &str) -> bool {
    ["metrics.txt", "status.json", "readyz.json"].contains(&name)
}
