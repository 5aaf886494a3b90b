//! The `OpenAPI` document, made of the same structs and the same lists of parameters that answer
//! the requests.
//!
//! A new address of the API needs three things: its `read_only(…)` in `web/routes.rs`; its entry in
//! [`table::ENTRIES`]; and `#[derive(ToSchema)]` on the structs it answers with. A parameter with a
//! new name is described once, in [`params`]. `tests/it/pages/contract.rs` fails as long as one of
//! them is missing.

mod examples;
pub mod params;
pub mod shapes;
pub mod table;
mod words;

use crate::web::http::error::ErrorBody;
use crate::web::http::gate;
use crate::web::http::response::Shell;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem, PathsBuilder};
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, LicenseBuilder, OpenApiBuilder, Ref, RefOr, Response,
    ResponseBuilder, ServerBuilder,
};
use utoipa::{PartialSchema, ToSchema};

/// Schemas by name, in the order of discovery.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

/// What an address answers with.
#[derive(Debug, Clone, Copy)]
pub enum ResponseBody {
    Json(fn(&mut Schemas) -> RefOr<Schema>),
    /// Another media type.
    Other(&'static str),
    /// One of these media types, as `Accept` asks for.
    OneOf(&'static [&'static str]),
}

/// One address of the API.
#[derive(Debug, Clone, Copy)]
pub struct ApiEntry {
    /// With `{name}` for path parameters.
    pub path: &'static str,
    pub group: &'static str,
    pub summary: &'static str,
    /// Query parameters; the handler uses the same list to refuse all others.
    pub known: &'static [&'static str],
    pub body: ResponseBody,
    /// Another name of the same resource is answered with a redirect.
    pub moves: bool,
    /// What 503 means here, if it is a regular answer.
    pub unready: Option<&'static str>,
}

/// An address that answers with `T` as JSON.
#[must_use]
pub const fn json_entry<T: ToSchema>(
    group: &'static str,
    path: &'static str,
    summary: &'static str,
) -> ApiEntry {
    ApiEntry {
        path,
        group,
        summary,
        known: &[],
        body: ResponseBody::Json(collect_schema::<T>),
        moves: false,
        unready: None,
    }
}

/// An address that answers with another media type.
#[must_use]
pub const fn media_entry(
    group: &'static str,
    path: &'static str,
    kind: &'static str,
    summary: &'static str,
) -> ApiEntry {
    ApiEntry {
        path,
        group,
        summary,
        known: &[],
        body: ResponseBody::Other(kind),
        moves: false,
        unready: None,
    }
}

/// Adds the schema of `T` and of all structs in it, and returns a reference to it.
fn collect_schema<T: ToSchema>(into: &mut Schemas) -> RefOr<Schema> {
    T::schemas(into);
    into.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name()).into()
}

impl ApiEntry {
    /// The entry with these query parameters.
    #[must_use]
    pub const fn takes(self, known: &'static [&'static str]) -> Self {
        Self { known, ..self }
    }

    /// The entry with these media types, of which `Accept` chooses one.
    #[must_use]
    pub const fn in_one_of(self, kinds: &'static [&'static str]) -> Self {
        Self {
            body: ResponseBody::OneOf(kinds),
            ..self
        }
    }

    /// The entry as one that may redirect.
    #[must_use]
    pub const fn moves(self) -> Self {
        Self {
            moves: true,
            ..self
        }
    }

    /// The entry with what 503 means as its regular answer.
    #[must_use]
    pub const fn unready(self, unready: &'static str) -> Self {
        Self {
            unready: Some(unready),
            ..self
        }
    }

    /// The names of the parameters in the path.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
    }

    /// The names of all query parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &'static str> {
        let shape = shapes::record_shapes().0.get(self.path);
        let cutting = shape.into_iter().flat_map(|shape| shape.parameters());

        self.known.iter().copied().chain(cutting)
    }

    /// Does the answer have an entity tag?
    fn has_tag(&self) -> bool {
        let is_feed = matches!(
            self.body,
            ResponseBody::Other("application/atom+xml" | "text/calendar")
        );

        is_feed
            || matches!(self.body, ResponseBody::Json(_))
                && !matches!(self.path, "/healthz" | "/readyz")
    }

    /// The name of the operation in clients, and of its example.
    #[must_use]
    pub fn operation_id(&self) -> String {
        let id = self
            .path
            .trim_matches('/')
            .replace(['{', '}'], "")
            .replace(['/', '.', '-'], "_");

        id.strip_prefix("api_v1_").unwrap_or(&id).to_owned()
    }

    /// The description of the address: its parameters and all its answers. Adds the schemas of its
    /// answer.
    fn operation(&self, schemas: &mut Schemas) -> Operation {
        let operation = OperationBuilder::new()
            .tag(self.group)
            .summary(Some(self.summary))
            .operation_id(Some(self.operation_id()));
        let operation = self.names().fold(operation, |operation, name| {
            operation.parameter(params::path_parameter(name))
        });
        let operation = self.parameters().fold(operation, |operation, name| {
            operation.parameter(params::query_parameter(self.path, name))
        });
        let operation = operation.response("200", self.found(schemas));
        // Who may come in is no matter where nothing is told of calls.
        let refusals: &[&str] = if gate::is_open(self.path) {
            &[]
        } else {
            &["401", "403"]
        };
        let faults = ["400", "421", "500"]
            .into_iter()
            .chain(refusals.iter().copied())
            .chain(self.may_find_nothing().then_some("404"));
        let operation = faults.fold(operation, |operation, status| {
            operation.response(status, self.fault(status))
        });
        let operation = match self.unready {
            Some(when) => operation.response("503", error_response(when)),
            None => operation,
        };

        let moved = self.moves.then(|| {
            ResponseBuilder::new().description("It has another name: `Location` says which")
        });
        let operation = match moved {
            Some(moved) => operation.response("303", moved.build()),
            None => operation,
        };

        let same = "Unchanged since the answer whose `ETag` was given in `If-None-Match`; only \
                    what follows the clock may have moved, and when the homeserver was last \
                    heard, by less than a minute";
        if self.has_tag() {
            return operation
                .response("304", ResponseBuilder::new().description(same).build())
                .build();
        }

        operation.build()
    }

    /// Does it name one thing, of which there may be none: in its path, or the space of a list?
    fn may_find_nothing(&self) -> bool {
        self.names().next().is_some() || self.known.contains(&"space")
    }

    /// The description of the answer for an error with this status. A badge picture shows that
    /// there is no such thing by itself.
    fn fault(&self, status: &str) -> RefOr<Response> {
        match (status, self.body) {
            ("404", ResponseBody::Other(kind @ "image/svg+xml")) => {
                let text = ObjectBuilder::new().schema_type(Type::String);
                let picture = ContentBuilder::new().schema(Some(text)).build();
                let mut answer = error_response("There is no such thing, and the picture says so");
                answer.content.insert(kind.to_owned(), picture.into());
                answer.into()
            }
            _ => Ref::from_response_name(format!("Error{status}")).into(),
        }
    }

    /// The description of the answer 200. Adds the schemas in it.
    fn found(&self, schemas: &mut Schemas) -> Response {
        let answer = ResponseBuilder::new().description(self.summary);
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let tag = HeaderBuilder::new()
            .schema(Some(text()))
            .description(Some("For `If-None-Match`"));
        let answer = if self.has_tag() {
            answer.header("ETag", tag.build())
        } else {
            answer
        };

        let (kinds, schema): (&[&str], RefOr<Schema>) = match &self.body {
            ResponseBody::Json(schema) => (&["application/json"], schema(schemas)),
            ResponseBody::Other(kind) => (std::slice::from_ref(kind), text().into()),
            ResponseBody::OneOf(kinds) => (kinds, text().into()),
        };

        kinds
            .iter()
            .fold(answer, |answer, kind| {
                let content = ContentBuilder::new()
                    .schema(Some(schema.clone()))
                    .example(examples::find_example(&self.operation_id(), kind));
                answer.content(*kind, content.build())
            })
            .build()
    }
}

/// The answers that every address may give.
const FAULTS: &[(&str, &str)] = &[
    (
        "400",
        "A parameter is not known, or its value cannot be understood; the text names it",
    ),
    (
        "401",
        "A key is needed, or the one that was sent is unknown, expired or revoked",
    ),
    ("403", "The key does not open this address"),
    ("404", "There is no such thing, or it is not watched"),
    ("421", "The request names a host that is not ours"),
    ("500", "The fault is ours; the log says more"),
];

/// The description of an answer with an [`ErrorBody`].
fn error_response(description: &str) -> Response {
    let schema = RefOr::Ref(Ref::from_schema_name("ErrorBody"));
    let content = ContentBuilder::new().schema(Some(schema)).build();

    ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .build()
}

const PROMISE: &str = "Who is in which MatrixRTC call, and who was. Within v1 keys are only ever \
                       added: what is here stays, under its name, with its type and meaning. Times \
                       are milliseconds since 1970 in keys that end in `_ms`, with an RFC 3339 \
                       twin in `_at`. A list is `data`, `next` and `next_url`: follow `next_url` \
                       until it is null; it stays good while calls come and go. A parameter that \
                       is not known is an error that names the known ones.";

/// The document, as it is served.
#[must_use]
pub fn openapi_document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let mut document = serde_json::to_value(build_document()).unwrap_or_default();
        if let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") {
            schemas.values_mut().for_each(require_all_keys);
            schemas.values_mut().for_each(close_tuples);
            name_entries_of_lists(schemas);
        }

        document
    });

    &DOCUMENT
}

/// The document with all addresses, before [`require_all_keys`].
fn build_document() -> utoipa::openapi::OpenApi {
    let mut schemas: Schemas = vec![("ErrorBody".to_owned(), ErrorBody::schema())];
    let paths = table::ENTRIES
        .iter()
        .fold(PathsBuilder::new(), |paths, entry| {
            paths.path(
                entry.path,
                PathItem::new(HttpMethod::Get, entry.operation(&mut schemas)),
            )
        });
    let components = ComponentsBuilder::new().schemas_from_iter(schemas);
    let components = FAULTS
        .iter()
        .fold(components, |components, (status, description)| {
            components.response(format!("Error{status}"), error_response(description))
        });
    let components = security_schemes()
        .into_iter()
        .fold(components, |components, (name, scheme)| {
            components.security_scheme(name, scheme)
        });
    let license = LicenseBuilder::new()
        .name("AGPL-3.0-or-later")
        .identifier(Some("AGPL-3.0-or-later"))
        .build();
    let info = InfoBuilder::new()
        .title("Callscope")
        .version(Shell::VERSION)
        .description(Some(PROMISE));

    OpenApiBuilder::new()
        .info(info.license(Some(license)).build())
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .paths(paths.build())
        .components(Some(components.build()))
        .security(Some(any_way_in()))
        .build()
}

const BEARER: &str = "key";
const HEADER: &str = "key_in_header";
const COOKIE: &str = "session";

/// The ways in, by name.
fn security_schemes() -> [(&'static str, SecurityScheme); 3] {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A key that the operator made with `callscope key add` or on `/admin`; it begins with `csk_`",
    ));
    let header = ApiKey::Header(ApiKeyValue::with_description(
        "X-Api-Key",
        "The same key in a header of its own",
    ));
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
        "callscope",
        "The session of somebody who signed in at `/sign-in`; with TLS its name begins with `__Host-`",
    ));

    [
        (BEARER, SecurityScheme::Http(bearer.build())),
        (HEADER, SecurityScheme::ApiKey(header)),
        (COOKIE, SecurityScheme::ApiKey(cookie)),
    ]
}

/// One of the ways in is enough, and where everybody may come in, none is needed.
fn any_way_in() -> Vec<SecurityRequirement> {
    let ways = [BEARER, HEADER, COOKIE].map(|name| SecurityRequirement::new(name, [""; 0]));
    let none = SecurityRequirement::default();

    ways.into_iter().chain([none]).collect()
}

/// Marks all keys of the structs in this schema as required: they are always present, null if there
/// is no value, which the derived schemas do not know.
fn require_all_keys(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let names = object
                .get("properties")
                .and_then(Value::as_object)
                .map(property_names);
            if let Some(names) = names {
                object.insert("required".to_owned(), names);
            }

            object.values_mut().for_each(require_all_keys);
        }
        Value::Array(list) => list.iter_mut().for_each(require_all_keys),
        _ => {}
    }
}

/// Says of tuples how long they are, instead of that nothing follows: generators of clients know no
/// schema that is `false`.
fn close_tuples(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let length = object
                .get("prefixItems")
                .and_then(Value::as_array)
                .map(Vec::len);
            if let (Some(length), Some(Value::Bool(false))) = (length, object.get("items")) {
                object.remove("items");
                object.insert("minItems".to_owned(), json!(length));
                object.insert("maxItems".to_owned(), json!(length));
            }

            object.values_mut().for_each(close_tuples);
        }
        Value::Array(list) => list.iter_mut().for_each(close_tuples),
        _ => {}
    }
}

/// Gives the entries of each list their name: a schema that stands for itself in several places has
/// several names in a client, or none.
fn name_entries_of_lists(schemas: &mut Map<String, Value>) {
    let lists: Vec<String> = schemas
        .keys()
        .filter_map(|name| name.strip_prefix("List_"))
        .map(ToOwned::to_owned)
        .collect();
    for name in lists {
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        let list = schemas.get_mut(&format!("List_{name}"));
        let Some(entry) = list.and_then(|list| list.pointer_mut("/properties/data/items")) else {
            continue;
        };

        let written_out = std::mem::replace(entry, reference);
        schemas.entry(name).or_insert(written_out);
    }
}

/// The names of these properties as a list.
fn property_names(properties: &Map<String, Value>) -> Value {
    json!(properties.keys().collect::<Vec<_>>())
}
