//! Which keys the records of each answer have, by the document's own schemas.

use super::table::ENTRIES;
use super::{ResponseBody, Schemas};
use crate::web::http::fields::{RecordShape, RecordShapes};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

/// The addresses whose answers can be cut to some of their keys begin so, except the document.
const CUT: &str = "/api/v1/";
const DOCUMENT: &str = "/api/v1/openapi.json";

/// The shapes of all answers that can be cut.
#[must_use]
pub fn record_shapes() -> &'static RecordShapes {
    static SHAPES: LazyLock<RecordShapes> = LazyLock::new(find_shapes);

    &SHAPES
}

/// The schemas by name.
struct Named(BTreeMap<String, Value>);

fn find_shapes() -> RecordShapes {
    let mut schemas: Schemas = Vec::new();
    let mut answers = Vec::new();
    for entry in ENTRIES {
        let is_cut = entry.path.starts_with(CUT) && entry.path != DOCUMENT;
        if let (ResponseBody::Json(schema), true) = (entry.body, is_cut) {
            answers.push((entry.path, schema(&mut schemas)));
        }
    }

    let value = |schema| serde_json::to_value(schema).unwrap_or_default();
    let named = schemas
        .into_iter()
        .map(|(name, schema)| (name, value(schema)));
    let named = Named(named.collect());
    let shapes = answers.into_iter().map(|(path, answer)| {
        let answer = value(answer);
        let shape = RecordShape {
            keys: named.keys_of_record(&answer),
            has_members: named.has_calls(&answer, &mut BTreeSet::new()),
        };

        (path, Arc::new(shape))
    });

    RecordShapes(shapes.collect())
}

impl Named {
    /// The keys of a record: of an entry of the list that the answer has, or of the answer itself.
    fn keys_of_record(&self, answer: &Value) -> Vec<String> {
        let properties = self.properties(answer);
        let entry = properties.get("data").and_then(|data| data.get("items"));
        let properties = entry.map_or(properties.clone(), |entry| self.properties(entry));

        properties.into_iter().map(|(name, _)| name).collect()
    }

    /// The properties of a schema, with those of the structs that it includes.
    fn properties(&self, schema: &Value) -> Map<String, Value> {
        let mut all = Map::new();
        if let Some(named) = self.find_referenced(schema) {
            all.extend(self.properties(named));
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            all.extend(self.properties(part));
        }
        if let Some(own) = schema["properties"].as_object() {
            all.extend(own.clone());
        }

        all
    }

    /// The schema to which this one refers.
    fn find_referenced(&self, schema: &Value) -> Option<&Value> {
        let name = schema.get("$ref")?.as_str()?.rsplit('/').next()?;
        self.0.get(name)
    }

    /// Are there calls with their members in what the schema describes?
    fn has_calls(&self, schema: &Value, seen: &mut BTreeSet<String>) -> bool {
        match schema {
            Value::Object(object) => {
                if let Some(Value::String(name)) = object.get("$ref") {
                    let is_new = seen.insert(name.clone());
                    let named = self.find_referenced(schema).filter(|_| is_new);
                    return named.is_some_and(|named| self.has_calls(named, seen));
                }

                object.contains_key("members_whole")
                    || object.values().any(|part| self.has_calls(part, seen))
            }
            Value::Array(list) => list.iter().any(|part| self.has_calls(part, seen)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(path: &str) -> RecordShape {
        RecordShape::clone(&record_shapes().0[path])
    }

    #[test]
    fn a_list_is_cut_entry_by_entry_and_other_answers_as_a_whole() {
        let calls = shape("/api/v1/calls");
        let has = |shape: &RecordShape, key: &str| shape.keys.iter().any(|known| known == key);
        assert!(has(&calls, "duration_ms") && !has(&calls, "next"));
        let overview = shape("/api/v1/overview");
        assert!(has(&overview, "active") && !has(&overview, "duration_ms"));
        for shape in record_shapes().0.values() {
            assert!(!shape.keys.is_empty());
        }
    }

    #[test]
    fn members_can_be_left_out_where_there_are_calls() {
        for path in ["/api/v1/calls", "/api/v1/calls/{id}", "/api/v1/overview"] {
            assert!(shape(path).has_members, "{path}");
        }
        for path in ["/api/v1/rooms", "/api/v1/about"] {
            assert!(!shape(path).has_members, "{path}");
        }
        assert!(!record_shapes().0.contains_key("/api/v1/openapi.json"));
    }
}
