//! The JSON schema of a report, made from its types (feature `schema`).
//!
//! The published file is made by `UPDATE_EXPECT=1 cargo test -p zctrace-report --test schema`; a test holds it to what is made here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Report, SchemaVersion};

/// The schema (draft 2020-12) that every 1.x report meets.
///
/// It asks only for what a reader needs: a field that has a default is not required, and unknown fields are allowed, so that
/// older and newer minors meet it too.
///
/// # Panics
/// Never: the root of a schema made from a struct is an object.
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

/// The same with the members of every object in the order of their names: how `serde_json` orders them depends on which
/// other crates are built along with this one, and the committed file must not.
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

/// The schema of a word list: any string, with the words that are known listed and described.
pub(crate) fn open_enum(doc: &[&str], words: &[(&str, &[&str])]) -> schemars::Schema {
    let text = |lines: &[&str]| lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n");
    let mut any_of: Vec<Value> = words
        .iter()
        .map(|(word, doc)| json!({ "const": word, "description": text(doc) }))
        .collect();
    any_of.push(json!({ "description": "A word of a newer version." }));
    schemars::json_schema!({ "type": "string", "description": text(doc), "anyOf": any_of })
}
