//! Generation of the JSON schema of a report from its types (feature `schema`).
//!
//! `UPDATE_EXPECT=1 cargo test -p zctrace-report --test schema` writes the published file. A test
//! compares the file with the generated schema.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Report, SchemaVersion};

/// Returns the schema (draft 2020-12) that every 1.x report satisfies.
///
/// The schema requires only what a reader needs: members with defaults are optional, and unknown
/// members are allowed. So reports of older and newer minor versions satisfy it too.
///
/// # Panics
/// Never: the root of a schema that is generated from a struct is an object.
pub fn json_schema() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Report>()
        .to_value();
    let root = schema.as_object_mut().expect("the schema of a struct is an object");
    let name = format!("urn:zctrace:report:{}", SchemaVersion::CURRENT.major);
    root.insert("$id".to_owned(), json!(name));
    sorted(schema)
}

/// Sorts the members of every object by name. The order that `serde_json` uses depends on the
/// crates built together with this one, and the committed file must not.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let by_name: BTreeMap<String, Value> =
                object.into_iter().map(|(name, inner)| (name, sorted(inner))).collect();
            Value::Object(by_name.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        leaf => leaf,
    }
}

/// Returns the schema of an open enum: any string, with the defined words listed and described.
pub(crate) fn open_enum(doc: &[&str], words: &[(&str, &[&str])]) -> schemars::Schema {
    let text = |lines: &[&str]| lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n");
    let mut any_of: Vec<Value> = words
        .iter()
        .map(|(word, doc)| json!({ "const": word, "description": text(doc) }))
        .collect();
    any_of.push(json!({ "description": "A word of a newer version." }));
    schemars::json_schema!({ "type": "string", "description": text(doc), "anyOf": any_of })
}
