//! `/api/docs`: the `OpenAPI` document for people, page by page; nothing is loaded from other
//! hosts.

use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::http::{assets, etag};
use crate::web::outputs::openapi::params::{self, PATH, QUERY};
use crate::web::outputs::openapi::table::ENTRIES;
use crate::web::outputs::openapi::{self, ApiEntry, ResponseBody};
use crate::web::view::format as f;
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use serde_json::{Value, json};

/// The list of addresses.
#[derive(Debug, Clone, Serialize)]
pub struct Docs {
    pub groups: Vec<AddressGroup>,
}

#[derive(Debug, Clone, Serialize)]
pub struct AddressGroup {
    pub name: &'static str,
    pub addresses: Vec<AddressDoc>,
}

/// One address, its parameters and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct AddressDoc {
    pub path: &'static str,
    pub summary: &'static str,
    /// Names and descriptions of the parameters; those of the path first.
    pub parameters: Vec<(&'static str, &'static str)>,
    pub answer: ValueType,
    /// It can be requested without filling in anything.
    pub is_whole: bool,
}

/// The type of a value: words, and the name of a struct that has a page of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValueType {
    pub words: String,
    pub name: Option<String>,
}

/// One struct of the JSON.
#[derive(Debug, Clone, Serialize)]
pub struct SchemaPage {
    pub name: String,
    pub description: Option<String>,
    /// Structs whose keys it includes.
    pub parts: Vec<String>,
    pub keys: Vec<SchemaKey>,
    /// The words that it may be, if it is a closed set.
    pub words: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct SchemaKey {
    pub name: String,
    pub kind: ValueType,
    pub description: Option<String>,
}

/// `GET /api/v1/openapi.json`: the `OpenAPI` document, with an entity tag so that a client can ask
/// whether it changed.
pub async fn get_openapi(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let document = ask
        .read_query(&[])
        .and_then(|_| Ok(serde_json::to_vec(&document_of_site(&web))?));
    match document {
        Ok(body) => {
            let tag = etag::tag_of_body(&body);
            response::send_tagged(&ask, "application/json", tag, body)
        }
        Err(error) => response::send_error(&ask, &error),
    }
}

/// The `OpenAPI` document, with the site's address if it is known. Without it, the addresses are
/// those of the host that gave the document.
fn document_of_site(web: &Web) -> Value {
    let mut document = openapi::openapi_document().clone();
    if web.public_url.is_some() {
        document["servers"] = json!([{ "url": web.url("") }]);
    }

    document
}

/// `GET /api/docs`: the first page of the documentation of the JSON.
pub async fn get_docs(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer: Result<_, Error> = ask.read_query(&[]).map(|_| PageAnswer::from(docs_page()));
    response::send_page(&web, &ask, answer).await
}

/// `GET /api/docs/{name}`: the page of one struct of the JSON, by the struct's name.
pub async fn get_schema(req: HttpRequest, web: Web, name: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let missing = || Error::NotFound("Nothing in the JSON has this name.".to_owned());
    let answer = ask.read_query(&[]).and_then(|_| {
        find_schema_page(&name)
            .map(PageAnswer::from)
            .ok_or_else(missing)
    });

    response::send_page(&web, &ask, answer).await
}

/// The page of all addresses, grouped in the order of the table of addresses.
fn docs_page() -> Docs {
    let mut groups: Vec<AddressGroup> = Vec::new();
    for entry in ENTRIES {
        match groups.iter_mut().find(|group| group.name == entry.group) {
            Some(group) => group.addresses.push(describe_address(entry)),
            None => groups.push(AddressGroup {
                name: entry.group,
                addresses: vec![describe_address(entry)],
            }),
        }
    }

    Docs { groups }
}

/// One address with its parameters in words, those of the path first, and the type of its answer.
fn describe_address(entry: &ApiEntry) -> AddressDoc {
    let described = |table, name: &'static str| {
        (
            name,
            params::parameter_description(table, name).unwrap_or_default(),
        )
    };
    let in_path = entry.names().map(|name| described(PATH, name));
    let answer = match entry.body {
        ResponseBody::Json(schema) => {
            serde_json::to_value(schema(&mut Vec::new())).map(|schema| describe_type(&schema))
        }
        ResponseBody::Other(media) => Ok(ValueType {
            words: media.to_owned(),
            name: None,
        }),
        ResponseBody::OneOf(media) => Ok(ValueType {
            words: media.join(", "),
            name: None,
        }),
    };

    AddressDoc {
        path: entry.path,
        summary: entry.summary,
        parameters: in_path
            .chain(entry.parameters().map(|name| described(QUERY, name)))
            .collect(),
        answer: answer.unwrap_or(ValueType {
            words: String::new(),
            name: None,
        }),
        is_whole: entry.names().next().is_none(),
    }
}

/// The name of the struct that a schema refers to (`$ref`); `None` if it stands for itself.
fn referenced_name(schema: &Value) -> Option<String> {
    let name = schema.get("$ref")?.as_str()?.rsplit('/').next()?;
    Some(name.to_owned())
}

/// The type that a schema means, in words, and the name of the struct in it that has a page of its
/// own.
fn describe_type(schema: &Value) -> ValueType {
    let plain = |words: &str| ValueType {
        words: words.to_owned(),
        name: None,
    };

    if let Some(name) = referenced_name(schema) {
        return match name.as_str() {
            "Stamp" => plain("RFC 3339 time"),
            "Value" => plain("any JSON"),
            _ => ValueType {
                words: String::new(),
                name: Some(name),
            },
        };
    }

    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let some = choices
            .iter()
            .find(|choice| choice["type"] != "null")
            .map_or(plain("null"), describe_type);
        let or_null = if choices.iter().any(|choice| choice["type"] == "null") {
            ", or null"
        } else {
            ""
        };

        return ValueType {
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
            let of = describe_type(items);
            ValueType {
                words: format!("list of {}", of.words).trim().to_owned(),
                name: of.name,
            }
        }
        (_, Some(Value::Array(pair))) => {
            let each: Vec<String> = pair.iter().map(|one| describe_type(one).words).collect();
            plain(&format!("[{}]", each.join(", ")))
        }
        _ if words.is_empty() => plain("any JSON"),
        _ => plain(&words),
    }
}

/// The page of the struct of this name, with its own keys and those of the structs that it
/// includes; `None` if the document has no such struct.
fn find_schema_page(name: &str) -> Option<SchemaPage> {
    let schema = openapi::openapi_document()
        .pointer("/components/schemas")?
        .get(name)?;
    let text = |value: &Value| value["description"].as_str().map(ToOwned::to_owned);
    let mut page = SchemaPage {
        name: name.to_owned(),
        description: text(schema),
        parts: Vec::new(),
        keys: Vec::new(),
        words: schema["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|word| word.as_str().map(ToOwned::to_owned))
            .collect(),
    };

    let parts = schema["allOf"].as_array().map_or(&[][..], Vec::as_slice);
    page.parts = parts.iter().filter_map(referenced_name).collect();
    for properties in parts
        .iter()
        .chain([schema])
        .filter_map(|part| part["properties"].as_object())
    {
        page.keys
            .extend(properties.iter().map(|(name, value)| SchemaKey {
                name: name.clone(),
                kind: describe_type(value),
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
struct SchemaHtml<'a> {
    page: &'a SchemaPage,
    shell: &'a Shell,
}

impl Page for SchemaPage {
    const SECTION: Section = Section::About;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        SchemaHtml { page: self, shell }.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kinds_are_said_in_words() {
        let said = |schema: Value| (describe_type(&schema).words, describe_type(&schema).name);
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
        let pair = json!({ "type": "array", "items": { "type": "array",
            "prefixItems": [{ "type": "integer" }, { "type": "string" }] } });
        assert_eq!(said(pair).0, "list of [whole number, string]");
    }

    #[test]
    fn every_struct_that_is_named_has_a_page() {
        let schemas = openapi::openapi_document()["components"]["schemas"]
            .as_object()
            .unwrap();
        for name in schemas
            .keys()
            .filter(|name| !matches!(name.as_str(), "Stamp" | "Value"))
        {
            let page = find_schema_page(name).unwrap();
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
