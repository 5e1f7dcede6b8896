//! Tests of the published JSON schema: it matches the types, and the samples satisfy it.

mod common;

use common::{assert_committed, sample};
use serde_json::{Value, json};
use zctrace_report::{JSON_SCHEMA, Report, schema::json_schema};

const FILE: &str = "schema/zctrace-report-1.schema.json";

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&json_schema()).expect("the schema is a schema")
}

fn errors(text: &str) -> Vec<String> {
    let instance: Value = serde_json::from_str(text).expect("JSON");
    validator()
        .iter_errors(&instance)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn the_committed_schema_is_the_one_the_types_make() {
    let made = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    assert_committed(FILE, &made);
}

#[test]
fn the_schema_in_the_crate_is_the_committed_one_and_is_draft_2020_12() {
    // After an update, this binary contains the old text until the next build.
    if test_support::is_updating() {
        return;
    }
    let schema: Value = serde_json::from_str(JSON_SCHEMA).expect("the committed schema is JSON");
    // `assert_eq` would print two schemas on one line each. The test above shows the difference.
    assert!(
        schema == json_schema(),
        "the schema in the crate is not the one the types make"
    );
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
}

#[test]
fn samples_of_any_1_x_meet_the_schema() {
    for name in [
        "demo-tier-l.json",
        "run-tier-t0.json",
        "minimal-1.0.json",
        "from-the-future-1.9.json",
    ] {
        assert_eq!(errors(&sample(name)), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn another_major_does_not_meet_it() {
    let found = errors(&sample("another-major-2.0.json"));
    assert!(found.iter().any(|error| error.starts_with("/schema")), "{found:?}");
}

/// Schema and reader must agree: the schema requires exactly the members that the reader requires.
#[test]
fn what_the_schema_requires_the_reader_requires() {
    for name in ["demo-tier-l.json", "run-tier-t0.json"] {
        let whole: Value = serde_json::from_str(&sample(name)).unwrap();
        let mut tried = 0;
        for pointer in members(&whole, "") {
            let mut less = whole.clone();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            let parent = less.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            parent.remove(&member.replace("~1", "/").replace("~0", "~"));
            let reads = Report::from_json(&less.to_string()).is_ok();
            let valid = validator().is_valid(&less);
            assert_eq!(
                reads, valid,
                "{name} without {pointer}: reads {reads}, meets the schema {valid}"
            );
            tried += 1;
        }
        assert!(tried > 100, "{tried} members");
    }
}

#[test]
fn wrong_types_and_negative_bytes_do_not_meet_it() {
    let good: Value = serde_json::from_str(&sample("run-tier-t0.json")).unwrap();
    for (pointer, bad) in [
        ("/flows/0/payload", json!(-1)),
        ("/flows/0/payload", json!(1.5)),
        ("/flows/0/moved", json!("6.6 GiB")),
        ("/flows/1/reasons/0/code", json!("because")),
        ("/flows/0/excluded", json!(0)),
        ("/tier", json!(0)),
        ("/loss/recursion_misses", Value::Null),
        ("/share/moved", Value::Null),
        ("/share/moved", json!(71.0)),
    ] {
        let mut report = good.clone();
        *report.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = bad;
        assert!(!validator().is_valid(&report), "{pointer}");
    }
}

/// Returns the JSON pointers of all members of all objects.
fn members(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(name, inner)| {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                let mut all = members(inner, &at);
                all.push(at);
                all
            })
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .flat_map(|(index, inner)| members(inner, &format!("{at}/{index}")))
            .collect(),
        _ => Vec::new(),
    }
}
