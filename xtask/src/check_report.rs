//! `cargo xtask check-report`: checks that a report's JSON has the required members and that its
//! sums are right.
//!
//! This is deliberately independent of the report's types: it reads the JSON as any consumer would,
//! so that a renamed field, or a sum that is wrong on both sides of those types, is found.

use std::fs;
use std::io::{self, Read};

use serde_json::Value;

use crate::{Failure, Outcome};

pub(crate) fn run(path: &str) -> Outcome {
    let text = if path == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        text
    } else {
        fs::read_to_string(path).map_err(|error| Failure::Broken(format!("{path}: {error}")))?
    };
    let faults = faults(&text);
    for fault in &faults {
        println!("{path}: {fault}");
    }
    println!("check-report: {} faults", faults.len());
    if faults.is_empty() { Ok(()) } else { Err(Failure::Found) }
}

/// Returns every violation in the report `text`.
fn faults(text: &str) -> Vec<String> {
    let report: Value = match serde_json::from_str(text) {
        Ok(report) => report,
        Err(error) => return vec![format!("not JSON: {error}")],
    };
    let mut faults = Vec::new();
    for field in ["schema", "tier", "scope", "share", "flows"] {
        if report.get(field).is_none() {
            faults.push(format!("no `{field}`"));
        }
    }
    // Bytes read into programs' memory are not delivered payload: they have an account of their
    // own.
    let (mut sum, mut memory) = (Bytes::default(), Bytes::default());
    match report.get("flows").and_then(Value::as_array) {
        Some(flows) if !flows.is_empty() => {
            for (number, flow) in flows.iter().enumerate() {
                let place = format!("flows[{number}]");
                if let Some(bytes) = Bytes::read(flow, &place, &mut faults) {
                    let taken = flow.pointer("/to/kind").and_then(Value::as_str) == Some("memory");
                    if taken { &mut memory } else { &mut sum }.add(bytes);
                }
                if flow.get("content_ok").is_some_and(|ok| ok != &Value::Bool(true)) {
                    faults.push(format!("{place}: `content_ok` is not true"));
                }
            }
        }
        _ => faults.push("`flows` has nothing in it: a report about nothing proves nothing".to_owned()),
    }
    let accounts = [("totals", true, sum), ("into_memory", memory.payload > 0, memory)];
    for (field, needed, sum) in accounts {
        let Some(account) = report.get(field) else {
            if needed {
                faults.push(format!("no `{field}`"));
            }
            continue;
        };
        if let Some(account) = Bytes::read(account, field, &mut faults)
            && account != sum
        {
            faults.push(format!("{field}: {account:?}, but the flows add up to {sum:?}"));
        }
    }
    faults
}

/// Account of one flow, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes {
    payload: u64,
    moved: u64,
    copied: u64,
    unknown: u64,
    excluded: u64,
}

impl Bytes {
    /// Reads the account in `value`, and reports a missing number or a sum that differs from the
    /// payload.
    fn read(value: &Value, place: &str, faults: &mut Vec<String>) -> Option<Self> {
        let mut number = |field: &str| {
            // `neither` may be divided by kind.
            let found = match value.get(field) {
                Some(Value::Object(kinds)) => kinds.values().map(Value::as_u64).sum::<Option<u64>>(),
                other => other.and_then(Value::as_u64),
            };
            if found.is_none() {
                faults.push(format!("{place}: `{field}` is not a number of bytes"));
            }
            found
        };
        let [payload, moved, copied, unknown, excluded] =
            ["payload", "moved", "copied", "unknown", "excluded"].map(&mut number);
        let bytes = Self {
            payload: payload?,
            moved: moved?,
            copied: copied?,
            unknown: unknown?,
            excluded: excluded?,
        };
        let sum = [bytes.moved, bytes.copied, bytes.unknown, bytes.excluded]
            .into_iter()
            .map(u128::from)
            .sum::<u128>();
        if sum != u128::from(bytes.payload) {
            faults.push(format!(
                "{place}: the parts add up to {sum}, the payload is {}",
                bytes.payload
            ));
        }
        Some(bytes)
    }

    fn add(&mut self, other: Self) {
        self.payload = self.payload.saturating_add(other.payload);
        self.moved = self.moved.saturating_add(other.moved);
        self.copied = self.copied.saturating_add(other.copied);
        self.unknown = self.unknown.saturating_add(other.unknown);
        self.excluded = self.excluded.saturating_add(other.excluded);
    }
}

#[cfg(test)]
mod tests {
    use super::faults;
    use serde_json::{Value, json};

    fn good() -> Value {
        let excluded = json!({"zero": 1, "cloned": 2, "discarded": 0});
        let flow =
            json!({"payload": 10, "moved": 4, "copied": 2, "unknown": 1, "excluded": excluded, "content_ok": true});
        json!({
            "schema": "1", "tier": "L", "scope": {}, "share": {},
            "totals": {"payload": 20, "moved": 8, "copied": 4, "unknown": 2, "excluded": 6},
            "flows": [flow, flow],
        })
    }

    /// Returns the violations after `change` was applied to a valid report.
    fn after(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut report = good();
        change(&mut report);
        faults(&report.to_string())
    }

    #[test]
    fn a_good_report_has_no_faults() {
        assert_eq!(after(|_| ()), [""; 0]);
    }

    #[test]
    fn what_is_not_json_is_a_fault() {
        assert_eq!(faults("{").len(), 1);
        assert_eq!(faults("").len(), 1);
    }

    #[test]
    fn each_missing_field_is_a_fault() {
        for field in ["schema", "tier", "scope", "share", "totals", "flows"] {
            let found = after(|report| {
                report.as_object_mut().expect("an object").remove(field);
            });
            assert!(found.contains(&format!("no `{field}`")), "{field}: {found:?}");
        }
    }

    #[test]
    fn what_was_taken_into_memory_has_an_account_of_its_own() {
        let taken = |report: &mut Value| report["flows"][1]["to"] = json!({"kind": "memory"});
        let account = |payload: u64, moved: u64| json!({"payload": payload, "moved": moved, "copied": 2, "unknown": 1, "excluded": 3});
        let good = after(|report| {
            taken(report);
            report["totals"] = account(10, 4);
            report["into_memory"] = account(10, 4);
        });
        assert_eq!(good, [""; 0]);
        assert!(after(taken).contains(&"no `into_memory`".to_owned()));
        let wrong = after(|report| {
            taken(report);
            report["totals"] = account(10, 4);
            report["into_memory"] = account(11, 5);
        });
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }

    #[test]
    fn a_report_about_nothing_is_a_fault() {
        assert!(after(|report| report["flows"] = json!([]))[0].contains("nothing in it"));
    }

    #[test]
    fn parts_that_do_not_add_up_are_a_fault() {
        let found = after(|report| report["flows"][1]["moved"] = json!(5));
        assert_eq!(found[0], "flows[1]: the parts add up to 11, the payload is 10");
        assert!(found[1].starts_with("totals: "));
    }

    #[test]
    fn totals_that_are_not_those_of_the_flows_are_a_fault() {
        let found = after(|report| {
            report["totals"]["moved"] = json!(9);
            report["totals"]["copied"] = json!(3);
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("the flows add up to"));
    }

    #[test]
    fn wrong_content_and_numbers_that_are_none_are_faults() {
        assert_eq!(after(|report| report["flows"][0]["content_ok"] = json!(false)).len(), 1);
        let found = after(|report| report["flows"][0]["payload"] = json!("10"));
        assert_eq!(found[0], "flows[0]: `payload` is not a number of bytes");
        assert!(!after(|report| report["flows"][0]["moved"] = json!(-4)).is_empty());
    }
}
