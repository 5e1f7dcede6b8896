//! Temporary: the members and words of reports were renamed. Maps the old JSON to the new names and proves that nothing
//! but names differs.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

/// Returns the new name of `member` of an object that lies in the old member `within` (empty for the report itself).
fn member(within: &str, member: &str) -> String {
    let new = match (within, member) {
        ("", "made_by") => "provenance",
        ("", "filtered") => "filter",
        ("", "left_out") => "omitted",
        ("" | "left_out", "looks") => "peeks",
        ("" | "left_out", "notices") => "zerocopy_completions",
        ("made_by", "zctrace") => "zctrace_version",
        ("made_by", "kernel") => "kernel_release",
        ("made_by", "object") => "object_hash",
        ("filtered", "flows") => "omitted_flows",
        ("filtered", "payload") => "omitted_payload",
        ("filtered", "perhaps_flows") => "undecided_flows",
        ("filtered", "perhaps_payload") => "undecided_payload",
        ("notices", "by") => "source",
        ("notices", "copied") => "copied_sends",
        ("notices", "not_asked") => "unreported_sends",
        ("coverage", "not_observed") => "not_covered",
        ("not_observed", "what") => "operation",
        ("facts", "alive") => "status",
        ("facts", "proven_unix_ms") => "verified_unix_ms",
        ("facts", "why_not") => "missing_reason",
        ("facts", "mend") => "hint",
        ("facts" | "hops", "seen_by") => "observed_by",
        ("hops", "shown") => "proof",
        ("station" | "from" | "to", "of") => "endpoint",
        ("digest", "every_bytes") => "interval_bytes",
        ("assertions", "found") => "finding",
        ("looks", "how") => "method",
        ("segments", "why") => "detail",
        ("flows", "looked") => "peeked_bytes",
        ("loss", "flows_touched") => "affected_flows",
        ("overhead", "programs_ns") => "bpf_programs_ns",
        ("overhead", "fell_back") => "fell_back_to_counters",
        ("pipes", "used") => "used_slots",
        ("pipes", "most_used") => "max_used_slots",
        ("pipes", "resized") => "resizes",
        ("processes", "own_pid") => "ns_pid",
        ("processes", "parent") => "parent_pid",
        (_, "neither") => "excluded",
        (_, "where") => "call_site",
        (_, same) => same,
    };
    // The explanations of a report are keyed by code, and each is a sentence with advice.
    if member == "sentence" { "description" } else { new }.to_owned()
}

/// Returns the new word for `word`, the value of the old member `member`.
fn word(member: &str, word: &str) -> String {
    match (member, word) {
        ("alive", "yes") => "verified",
        ("alive", "absent") => "unavailable",
        ("outcome", "held") => "passed",
        ("outcome", "broken") => "failed",
        ("outcome", "open") => "inconclusive",
        ("custody", "not_seen") => "not_observed",
        ("shown", "not_shown") => "not_proven",
        ("oracle", "not_asked") => "not_tested",
        (_, same) => same,
    }
    .to_owned()
}

fn renamed(within: &str, value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut new = Map::new();
            for (name, inner) in object {
                let inner_new = renamed(name, inner);
                assert!(new.insert(member(within, name), inner_new).is_none(), "{within}.{name}");
            }
            Value::Object(new)
        }
        Value::Array(list) => Value::Array(list.iter().map(|inner| renamed(within, inner)).collect()),
        Value::String(text) => Value::String(word(within, text)),
        leaf => leaf.clone(),
    }
}

fn read(path: impl AsRef<Path>) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    serde_json::from_str(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}

#[test]
fn reports_differ_from_those_before_the_renaming_in_names_only() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        ("demo-tier-l.json", "tests/samples"),
        ("run-tier-t0.json", "tests/samples"),
        ("minimal-1.0.json", "tests/samples"),
        ("from-the-future-1.9.json", "tests/samples"),
        ("send-1.0.json", "../recording/tests/compat"),
    ];
    for (name, folder) in files {
        let old = read(dir.join("tests/old").join(name));
        let new = read(dir.join(folder).join(name));
        let mapped = renamed("", &old);
        assert_ne!(old, new, "{name}: something was renamed");
        assert!(mapped == new, "{name}: {mapped:#}\n--- is not\n{new:#}");
        let reread = zctrace_report::Report::from_json(&new.to_string()).expect(name);
        assert_eq!(reread.check(), Ok(()), "{name}");
    }
}
