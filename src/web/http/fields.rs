//! Small answers: `fields` names the keys that each record shall have, and `members=false` leaves
//! out the members of calls. Both are applied to the JSON as it would be whole.

use super::error::Error;
use super::request::Query;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The parameter that names keys.
pub const FIELDS: &str = "fields";
/// The parameter that leaves out the members of calls.
pub const MEMBERS: &str = "members";

/// What a record is found by. It is always there.
const KEPT: [&str; 8] = [
    "id",
    "call_id",
    "event_id",
    "room_id",
    "server",
    "service_url",
    "sfu",
    "user_id",
];

/// What the records of an answer may be cut to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordShape {
    /// All keys of a record.
    pub keys: Vec<String>,
    /// There are calls in the answer, with their members.
    pub has_members: bool,
}

/// The shapes of all answers that can be cut, by their address in the document.
#[derive(Debug, Clone, Default)]
pub struct RecordShapes(pub BTreeMap<&'static str, Arc<RecordShape>>);

impl RecordShape {
    /// The parameters that cut this answer.
    pub fn parameters(&self) -> impl Iterator<Item = &'static str> {
        let members = self.has_members.then_some(MEMBERS);
        [FIELDS].into_iter().chain(members)
    }

    /// The answer as JSON, cut to what the parameters ask for.
    ///
    /// # Errors
    /// They name a key that no record has; the error names those that there are.
    pub fn write_json<T: Serialize>(&self, answer: &T, query: &str) -> Result<Vec<u8>, Error> {
        let known: Vec<&str> = self.parameters().collect();
        let query = Query::read_known(query, &known)?;
        let fields = self.fields_of_query(&query)?;
        let without_members = has_no_members(&query)?;
        if fields.is_none() && !without_members {
            return Ok(serde_json::to_vec(answer)?);
        }

        let mut json = serde_json::to_value(answer)?;
        if without_members {
            take_out_members(&mut json);
        }
        if let Some(fields) = fields {
            cut_records(&mut json, &fields);
        }

        Ok(serde_json::to_vec(&json)?)
    }

    /// The keys that `fields` names; `None` if it is not given.
    fn fields_of_query<'q>(&self, query: &'q Query) -> Result<Option<Vec<&'q str>>, Error> {
        let Some(text) = query.get(FIELDS) else {
            return Ok(None);
        };

        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        let is_unknown = |field: &&&str| !self.keys.iter().any(|key| key == **field);
        if let Some(unknown) = fields.iter().find(is_unknown) {
            let unknown: String = unknown.chars().take(60).collect();
            return Err(Error::Invalid(format!(
                "fields names the unknown key {unknown:?}; known here: {}",
                self.keys.join(", ")
            )));
        }

        Ok(Some(fields))
    }
}

/// Does `members` leave out the members of calls?
fn has_no_members(query: &Query) -> Result<bool, Error> {
    match query.get(MEMBERS) {
        None | Some("true") => Ok(false),
        Some("false") => Ok(true),
        Some(_) => Err(Error::Invalid("members must be true or false".to_owned())),
    }
}

/// Empties the members of each call. That they are not whole is said, and how many there are.
fn take_out_members(json: &mut Value) {
    match json {
        Value::Object(object) => {
            if object.contains_key("members_whole") {
                object.insert("members".to_owned(), Value::Array(Vec::new()));
                object.insert("members_whole".to_owned(), Value::Bool(false));
            }

            object.values_mut().for_each(take_out_members);
        }
        Value::Array(list) => list.iter_mut().for_each(take_out_members),
        _ => {}
    }
}

/// Cuts the records of a list, or the one record that the answer is.
fn cut_records(json: &mut Value, fields: &[&str]) {
    let cut = |record: &mut Map<String, Value>| {
        record.retain(|key, _| fields.contains(&key.as_str()) || KEPT.contains(&key.as_str()));
    };

    let Value::Object(answer) = json else {
        return;
    };

    match answer.get_mut("data") {
        Some(Value::Array(records)) => records
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(cut),
        _ => cut(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(answer: &Value, query: &str) -> Result<Value, String> {
        let keys = ["id", "members", "members_total", "peak"].map(ToOwned::to_owned);
        let shape = RecordShape {
            keys: keys.to_vec(),
            has_members: true,
        };
        let text = shape.write_json(answer, query);

        text.map(|text| serde_json::from_slice(&text).unwrap())
            .map_err(|error| error.to_string())
    }

    fn call() -> Value {
        json!({ "id": "a", "members": [{}], "members_total": 1, "members_whole": true, "peak": 1 })
    }

    #[test]
    fn a_record_is_cut_to_the_keys_and_what_it_is_found_by() {
        assert_eq!(
            written(&call(), "fields=peak&x=1"),
            Ok(json!({ "id": "a", "peak": 1 }))
        );
        let list = json!({ "data": [call()], "next": null });
        assert_eq!(
            written(&list, "fields=peak,%20members_total"),
            Ok(json!({ "data": [{ "id": "a", "members_total": 1, "peak": 1 }], "next": null }))
        );
        assert_eq!(written(&list, "fields="), Ok(list));
    }

    #[test]
    fn a_key_that_is_not_known_is_an_error_even_where_nothing_is_listed() {
        for fields in ["peek", "peak,", "peak,,id", "*", "next"] {
            let error = written(&json!({ "data": [] }), &format!("fields={fields}")).unwrap_err();
            assert!(
                error.ends_with("known here: id, members, members_total, peak"),
                "{error}"
            );
        }
    }

    #[test]
    fn members_are_left_out_wherever_a_call_is() {
        let answer = json!({ "calls": [call()], "members": 3 });
        let without = json!({ "calls": [{ "id": "a", "members": [], "members_total": 1,
            "members_whole": false, "peak": 1 }], "members": 3 });
        assert_eq!(written(&answer, "members=false"), Ok(without));
        assert_eq!(written(&answer, "members=true"), Ok(answer.clone()));
        assert!(written(&answer, "members=no").is_err());
    }
}
