//! What the leak test asks for: every address of the program, from its own list, with names that
//! the viewer may see and names that the viewer may not see.

use crate::pages::site::{Site, quote};
use callscope::web::routes::{Address, Methods};
use serde_json::Value;
use std::collections::BTreeSet;

/// Values of parameters: the first few that exist, and the first few that only exist elsewhere.
#[derive(Debug, Default)]
pub struct Names {
    pub calls: Vec<String>,
    pub problems: Vec<String>,
    pub rooms: Vec<String>,
    pub servers: Vec<String>,
    pub sfus: Vec<String>,
    pub people: Vec<String>,
    pub words: Vec<String>,
}

/// Something to ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// By GET and by HEAD.
    Page(String),
    /// By GET, of which only status and headers are read: it does not end.
    Stream(String),
    /// By POST, with a form that names these.
    Form(String, Vec<(String, String)>),
}

/// Parameters that name nothing that somebody may not see.
const HARMLESS: [&str; 23] = [
    "application",
    "at",
    "certainty",
    "cursor",
    "events_from",
    "fields",
    "finding",
    "from",
    "intent",
    "kind",
    "label",
    "limit",
    "members",
    "members_from",
    "min_minutes",
    "min_people",
    "open",
    "period",
    "sort",
    "status",
    "step",
    "style",
    "to",
];

/// The lists that have pages, and how they are sorted in other ways.
const LISTS: [&str; 7] = [
    "calls",
    "problems",
    "rooms",
    "servers",
    "transports",
    "rejected",
    "wall",
];

impl Names {
    /// What may stand in the place of the braces of an address. A new kind of address must be
    /// decided here.
    fn values_in_path(&self, template: &str) -> Vec<String> {
        let one = |value: &str| vec![value.to_owned()];
        let before = template.split('{').next().unwrap_or_default();
        let noun = before.trim_end_matches('/').rsplit('/').next();
        match noun.unwrap_or_default() {
            "calls" => self.calls.clone(),
            // One that does not exist beside those that do.
            "problems" => [self.problems.clone(), one("0000000000000000")].concat(),
            "people" => self.people.clone(),
            "rooms" => self.rooms.clone(),
            "servers" => self.servers.clone(),
            // Hosts of SFUs, and names that none has.
            "transports" => [self.sfus.clone(), self.servers.clone()].concat(),
            "static" => one("style.css"),
            "docs" if template.starts_with("/api") => one("Call"),
            "docs" => vec!["install".to_owned(), "call.png".to_owned()],
            "shared" => one("nobody-has-this"),
            _ => panic!("the leak test does not know what may stand in {template}"),
        }
    }

    /// The values of each parameter that names something.
    fn values_of_parameters(&self) -> Vec<(&'static str, Vec<String>)> {
        let words = self.words.iter().chain(&self.people).cloned().collect();

        vec![
            ("room", self.rooms.clone()),
            ("space", self.rooms.clone()),
            ("server", self.servers.clone()),
            ("user", self.people.clone()),
            ("person", self.people.clone()),
            ("sfu", [self.sfus.clone(), self.servers.clone()].concat()),
            ("call", self.calls.clone()),
            ("q", words),
        ]
    }

    /// Forms that name what the viewer may see, and what not.
    fn forms(&self) -> Vec<Vec<(String, String)>> {
        let field = |name: &str, list: &[String], at: usize| {
            let last = list.len().saturating_sub(1);
            let value = list.get(at.min(last)).cloned().unwrap_or_default();
            (name.to_owned(), value)
        };
        let form = |at: usize| {
            vec![
                field("room", &self.rooms, at),
                field("call", &self.calls, at),
                field("user_id", &self.people, at),
            ]
        };

        vec![form(0), form(usize::MAX)]
    }
}

/// Each address of the program with each value of its parameters.
pub async fn list_asked(site: &Site, document: &Value, names: &Names) -> Vec<Asked> {
    let mut asked = BTreeSet::new();
    let parameters = names.values_of_parameters();
    let known: Vec<String> = named_parameters(document);
    for name in &known {
        let is_known = HARMLESS.contains(&name.as_str())
            || parameters.iter().any(|(parameter, _)| parameter == name);
        assert!(is_known, "what does the parameter {name} name?");
    }

    assert!(site.addresses.len() > 80, "{}", site.addresses.len());
    for Address { path, methods } in &site.addresses {
        let filled = fill(path, names);
        match methods {
            Methods::Form => {
                for form in names.forms() {
                    asked.insert(Asked::Form(filled[0].clone(), form));
                }
            }
            Methods::GetOnly => {
                asked.insert(Asked::Stream(filled[0].clone()));
            }
            Methods::Read => {
                let twin = format!("/api/v1{path}");
                let has_json = site.addresses.iter().any(|other| other.path == twin);
                for path in &filled {
                    asked.insert(Asked::Page(path.clone()));
                    if has_json {
                        asked.insert(Asked::Page(format!("{path}.json")));
                    }
                }

                // Whatever the address takes: an error must not differ either.
                for (name, values) in &parameters {
                    let takes = takes_parameter(document, path, name);
                    for value in values_to_try(values, takes, path) {
                        let path = format!("{}?{name}={}", filled[0], quote(value));
                        asked.insert(Asked::Page(path));
                    }
                }
            }
        }
    }

    for path in further_paths() {
        asked.insert(Asked::Page(path));
    }

    asked.into_iter().collect()
}

/// All values of a parameter for the lists of calls, a few for others that take it, and a hidden
/// one for those that do not.
fn values_to_try<'v>(
    values: &'v [String],
    takes: bool,
    template: &str,
) -> impl Iterator<Item = &'v String> {
    let most = match (takes, template) {
        (true, "/calls" | "/api/v1/calls") => values.len(),
        (true, _) => 2,
        (false, _) => 0,
    };
    let last = values.len().saturating_sub(1);

    let is_tried = move |(at, _): &(usize, &String)| *at < most || *at == last;
    values
        .iter()
        .enumerate()
        .filter(is_tried)
        .map(|(_, value)| value)
}

/// The address with each of its values.
fn fill(template: &str, names: &Names) -> Vec<String> {
    let Some((before, rest)) = template.split_once('{') else {
        return vec![template.to_owned()];
    };
    let (_, after) = rest.split_once('}').unwrap();
    let values = names.values_in_path(template);
    assert!(!values.is_empty(), "nothing stands in {template}");

    values
        .iter()
        .map(|value| format!("{before}{}{after}", quote(value)))
        .collect()
}

/// The names of all query parameters that the program's document tells.
fn named_parameters(document: &Value) -> Vec<String> {
    let paths = document["paths"].as_object().unwrap().values();
    let names: BTreeSet<String> = paths
        .flat_map(|path| path["get"]["parameters"].as_array().into_iter().flatten())
        .filter(|parameter| parameter["in"] == "query")
        .filter_map(|parameter| parameter["name"].as_str())
        .map(ToOwned::to_owned)
        .collect();
    assert!(names.len() > 10, "{names:?}");

    names.into_iter().collect()
}

/// Does an address, or the JSON of a page, take this parameter?
fn takes_parameter(document: &Value, template: &str, name: &str) -> bool {
    let path = template.replace(":.+", "");
    let paths = [path.clone(), format!("/api/v1{path}")];

    paths.iter().any(|path| {
        let parameters = document["paths"][path]["get"]["parameters"].as_array();
        parameters
            .into_iter()
            .flatten()
            .any(|parameter| parameter["name"] == name)
    })
}

/// Lists in other orders and short ones, which have further pages; and sums of all periods.
fn further_paths() -> Vec<String> {
    let mut paths: Vec<String> = LISTS
        .iter()
        .filter(|list| !matches!(**list, "wall"))
        .flat_map(|list| {
            [
                format!("/api/v1/{list}?limit=2"),
                format!("/{list}?limit=2"),
            ]
        })
        .collect();
    for page in ["/calls?status=ended&sort=-duration", "/calls?sort=-people"] {
        paths.push(page.to_owned());
    }

    for period in ["7d", "30d", "365d"] {
        for page in [
            "/statistics",
            "/api/v1/statistics",
            "/servers",
            "/transports",
        ] {
            paths.push(format!("{page}?period={period}"));
        }
    }

    paths
}
