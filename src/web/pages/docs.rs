//! `/api/docs`: the `OpenAPI` document for people, page by page; nothing is loaded from other
//! hosts.

use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response;
use crate::web::http::response::{Answer, Ask, Page, Section, Shell};
use crate::web::outputs::openapi;
use crate::web::outputs::openapi::params;
use crate::web::outputs::openapi::params::{PATH, QUERY};
use crate::web::outputs::openapi::table::ENTRIES;
use crate::web::outputs::openapi::{Body, Entry};
use crate::web::view::format as f;
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use serde_json::Value;

/// The list of addresses.
#[derive(Debug, Clone, Serialize)]
pub struct Docs {
    pub groups: Vec<Group>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Group {
    pub name: &'static str,
    pub addresses: Vec<Address>,
}

/// One address, its parameters and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Address {
    pub path: &'static str,
    pub summary: &'static str,
    /// Names and descriptions of the parameters; those of the path first.
    pub parameters: Vec<(&'static str, &'static str)>,
    pub answer: Kind,
    /// It can be requested without filling in anything.
    pub is_whole: bool,
}

/// The type of a value: words, and the name of a struct that has a page of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kind {
    pub words: String,
    pub name: Option<String>,
}

/// One struct of the JSON.
#[derive(Debug, Clone, Serialize)]
pub struct ShapePage {
    pub name: String,
    pub description: Option<String>,
    /// Structs whose keys it includes.
    pub parts: Vec<String>,
    pub keys: Vec<Key>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Key {
    pub name: String,
    pub kind: Kind,
    pub description: Option<String>,
}

/// `GET /api/v1/openapi.json`
pub async fn document(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = Ask::of_request(&req, &web);
    response::json(
        &ask,
        Query::read(&ask.query, &[]).map(|_| openapi::document()),
    )
}

/// `GET /api/docs`
pub async fn get(req: HttpRequest, web: http::Data<Web>) -> HttpResponse {
    let ask = Ask::of_request(&req, &web);
    let answer: Result<_, Error> = Query::read(&ask.query, &[]).map(|_| Answer::from(docs()));
    response::send(&web, &ask, answer).await
}

/// `GET /api/docs/{name}`
pub async fn shape(
    req: HttpRequest,
    web: http::Data<Web>,
    name: http::Path<String>,
) -> HttpResponse {
    let ask = Ask::of_request(&req, &web);
    let missing = || Error::NotFound("Nothing in the JSON has this name.".to_owned());
    let answer = Query::read(&ask.query, &[])
        .and_then(|_| shape_of(&name).map(Answer::from).ok_or_else(missing));

    response::send(&web, &ask, answer).await
}

fn docs() -> Docs {
    let mut groups: Vec<Group> = Vec::new();
    for entry in ENTRIES {
        match groups.iter_mut().find(|group| group.name == entry.group) {
            Some(group) => group.addresses.push(address(entry)),
            None => groups.push(Group {
                name: entry.group,
                addresses: vec![address(entry)],
            }),
        }
    }

    Docs { groups }
}

fn address(entry: &Entry) -> Address {
    let of = |table, name: &'static str| (name, params::words(table, name).unwrap_or_default());
    let in_path = entry.names().map(|name| of(PATH, name));
    let answer = match entry.body {
        Body::Json(schema) => {
            serde_json::to_value(schema(&mut Vec::new())).map(|schema| kind(&schema))
        }
        Body::Other(media) => Ok(Kind {
            words: media.to_owned(),
            name: None,
        }),
    };

    Address {
        path: entry.path,
        summary: entry.summary,
        parameters: in_path
            .chain(entry.known.iter().map(|name| of(QUERY, name)))
            .collect(),
        answer: answer.unwrap_or(Kind {
            words: String::new(),
            name: None,
        }),
        is_whole: entry.names().next().is_none(),
    }
}

fn reference(schema: &Value) -> Option<String> {
    let name = schema.get("$ref")?.as_str()?.rsplit('/').next()?;
    Some(name.to_owned())
}

/// A schema in words.
fn kind(schema: &Value) -> Kind {
    let plain = |words: &str| Kind {
        words: words.to_owned(),
        name: None,
    };

    if let Some(name) = reference(schema) {
        return match name.as_str() {
            "Stamp" => plain("RFC 3339 time"),
            "Value" => plain("any JSON"),
            _ => Kind {
                words: String::new(),
                name: Some(name),
            },
        };
    }

    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let some = choices
            .iter()
            .find(|choice| choice["type"] != "null")
            .map_or(plain("null"), kind);
        let or_null = if choices.iter().any(|choice| choice["type"] == "null") {
            ", or null"
        } else {
            ""
        };

        return Kind {
            words: format!("{}{or_null}", some.words)
                .trim_start_matches(", ")
                .to_owned(),
            name: some.name,
        };
    }

    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };

    let words = types
        .join(" or ")
        .replace("integer", "whole number")
        .replace("boolean", "true or false");

    match (schema.get("items"), schema.get("prefixItems")) {
        (Some(items), None) => {
            let of = kind(items);
            Kind {
                words: format!("list of {}", of.words).trim().to_owned(),
                name: of.name,
            }
        }
        (_, Some(Value::Array(pair))) => {
            let each: Vec<String> = pair.iter().map(|one| kind(one).words).collect();
            plain(&format!("[{}]", each.join(", ")))
        }
        _ if words.is_empty() => plain("any JSON"),
        _ => plain(&words),
    }
}

fn shape_of(name: &str) -> Option<ShapePage> {
    let schema = openapi::document()
        .pointer("/components/schemas")?
        .get(name)?;
    let text = |value: &Value| value["description"].as_str().map(ToOwned::to_owned);
    let mut page = ShapePage {
        name: name.to_owned(),
        description: text(schema),
        parts: Vec::new(),
        keys: Vec::new(),
    };

    let parts = schema["allOf"].as_array().map_or(&[][..], Vec::as_slice);
    page.parts = parts.iter().filter_map(reference).collect();
    for properties in parts
        .iter()
        .chain([schema])
        .filter_map(|part| part["properties"].as_object())
    {
        page.keys.extend(properties.iter().map(|(name, value)| Key {
            name: name.clone(),
            kind: kind(value),
            description: text(value),
        }));
    }

    Some(page)
}

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsHtml<'a> {
    page: &'a Docs,
    shell: &'a Shell,
}

impl Page for Docs {
    const SECTION: Section = Section::About;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        DocsHtml { page: self, shell }.render()
    }
}

#[derive(Template)]
#[template(path = "docs_shape.html")]
struct ShapeHtml<'a> {
    page: &'a ShapePage,
    shell: &'a Shell,
}

impl Page for ShapePage {
    const SECTION: Section = Section::About;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        ShapeHtml { page: self, shell }.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kinds_are_said_in_words() {
        let said = |schema: Value| (kind(&schema).words, kind(&schema).name);
        let call = json!({ "$ref": "#/components/schemas/CallFacts" });
        assert_eq!(
            said(call.clone()),
            (String::new(), Some("CallFacts".to_owned()))
        );
        assert_eq!(
            said(json!({ "type": "array", "items": call })),
            ("list of".to_owned(), Some("CallFacts".to_owned()))
        );
        assert_eq!(
            said(json!({ "oneOf": [{ "type": "null" }, call] })),
            ("or null".to_owned(), Some("CallFacts".to_owned()))
        );
        assert_eq!(
            said(json!({ "type": ["integer", "null"] })).0,
            "whole number or null"
        );
        let pair = json!({ "type": "array", "items": { "type": "array", "prefixItems": [{ "type": "integer" }, { "type": "string" }] } });
        assert_eq!(said(pair).0, "list of [whole number, string]");
    }

    #[test]
    fn every_struct_that_is_named_has_a_page() {
        let schemas = openapi::document()["components"]["schemas"]
            .as_object()
            .unwrap();
        for name in schemas
            .keys()
            .filter(|name| !matches!(name.as_str(), "Stamp" | "Value"))
        {
            let page = shape_of(name).unwrap();
            assert!(
                !page.keys.is_empty()
                    || !page.parts.is_empty()
                    || schemas[name].get("enum").is_some(),
                "{name}"
            );
            let named = page
                .keys
                .iter()
                .filter_map(|key| key.kind.name.as_ref())
                .chain(&page.parts);
            for other in named {
                assert!(schemas.contains_key(other), "{name} names {other}");
            }
        }
    }
}
