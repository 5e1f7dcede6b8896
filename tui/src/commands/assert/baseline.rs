//! The baseline: bytes that a good run copied, by kinds of endpoints and by reason, for comparison
//! with later runs.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};
use zctrace_contract::reason::Class;
use zctrace_report::Report;
use zctrace_report::format::{printable, size};

use super::criteria::Criteria;
use crate::filter::Match;

/// Name and version of the file's format.
const FORMAT: &str = "zctrace-baseline/1";

/// Code of copies that no reason explains.
const UNEXPLAINED: &str = "unexplained";

/// Copied bytes, by kinds of endpoints (`file:tcp`) and reason code.
type Copied = BTreeMap<(String, String), u64>;

/// Bytes that a run copied on the path to the judged endpoints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Baseline {
    endpoints: String,
    copied: Copied,
}

/// A copy that the baseline does not have, or bytes beyond it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Regression {
    /// Kinds of the two endpoints, as `file:tcp`.
    pub(crate) path: String,
    /// Reason code.
    pub(crate) code: String,
    /// Additional bytes.
    pub(crate) bytes: u64,
}

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, code) = (printable(&self.path), printable(&self.code));
        write!(f, "+{} copied in {path}, {code}, since the baseline", size(self.bytes))
    }
}

impl Baseline {
    /// Returns the copies of a run, without those that the criteria allow.
    pub(crate) fn from_report(report: &Report, criteria: &Criteria) -> Self {
        let mut copied = Copied::new();
        let mut add = |path: &str, code: &str, bytes: u64| {
            if bytes > 0 {
                let sum = copied.entry((path.to_owned(), code.to_owned())).or_default();
                *sum = sum.saturating_add(bytes);
            }
        };
        for flow in &report.flows {
            if criteria.matches(flow) != Match::Yes {
                continue;
            }
            let path = format!("{}:{}", flow.from.kind, flow.to.kind);
            let counts = |reason: Option<zctrace_contract::Reason>| {
                reason.is_none_or(|reason| !criteria.allow.contains(&reason))
            };
            let mut explained = 0_u64;
            for cause in flow.reasons.iter().filter(|c| c.code.class() == Some(Class::Copy)) {
                explained = explained.saturating_add(cause.bytes);
                if counts(cause.code.reason()) {
                    add(&path, cause.code.as_str(), cause.bytes);
                }
            }
            let all = flow.copy_bytes.max(flow.account.copied);
            add(&path, UNEXPLAINED, all.saturating_sub(explained));
            for look in report.peeks.iter().filter(|look| look.flow == Some(flow.id)) {
                if counts(look.code.reason()) {
                    add(&path, look.code.as_str(), look.bytes);
                }
            }
        }
        Self {
            endpoints: criteria.endpoints(),
            copied,
        }
    }

    /// Returns the copies of `now` beyond this baseline.
    pub(crate) fn regressions(&self, now: &Self) -> Vec<Regression> {
        let more = now.copied.iter().filter_map(|(key, &bytes)| {
            let before = self.copied.get(key).copied().unwrap_or(0);
            (bytes > before).then(|| Regression {
                path: key.0.clone(),
                code: key.1.clone(),
                bytes: bytes - before,
            })
        });
        more.collect()
    }

    /// Returns the text of the file.
    pub(crate) fn to_json(&self) -> String {
        let mut copied: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for ((path, code), &bytes) in &self.copied {
            copied.entry(path).or_default().insert(code, bytes);
        }
        let value = json!({ "schema": FORMAT, "to": self.endpoints, "copied": copied });
        format!("{value:#}\n")
    }

    /// Parses the text of a file that was written for the same criteria.
    pub(crate) fn from_json(text: &str, criteria: &Criteria) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not valid JSON: {error}"))?;
        let word = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        if word("schema") != FORMAT {
            return Err(format!(
                "not a baseline of this version: `schema` is {:?}, not {FORMAT:?}",
                word("schema")
            ));
        }
        if word("to") != criteria.endpoints() {
            return Err(format!(
                "it was made for `{}`, and this run judges `{}`",
                printable(word("to")),
                criteria.endpoints()
            ));
        }
        let mut copied = Copied::new();
        let paths = value.get("copied").and_then(Value::as_object);
        for (path, codes) in paths.ok_or("it has no object `copied`")? {
            for (code, bytes) in codes.as_object().ok_or("`copied` must hold objects only")? {
                let bytes = bytes
                    .as_u64()
                    .ok_or_else(|| format!("`{}` is not a number of bytes", printable(code)))?;
                copied.insert((path.clone(), code.clone()), bytes);
            }
        }
        Ok(Self {
            endpoints: criteria.endpoints(),
            copied,
        })
    }
}

#[cfg(test)]
mod tests {
    use zctrace_contract::Reason;
    use zctrace_report::{Account, Cause, Endpoint, EndpointKind, Flow, Peek, Scope, Tier};

    use super::*;
    use crate::commands::assert::Files;
    use crate::filter::Pattern;

    fn criteria() -> Criteria {
        Criteria {
            to: vec![Pattern::parse("socket").unwrap()],
            from: Vec::new(),
            max_copied: None,
            max_unknown: None,
            min_bytes: 0,
            allow: vec![Reason::SmallWrite],
            files: Files::default(),
        }
    }

    fn run(reasons: &[(Reason, u64)], looked: u64) -> Baseline {
        let mut flow = Flow::new(
            Endpoint::new(EndpointKind::File, "a"),
            Endpoint::new(EndpointKind::Tcp, "b"),
        );
        let copied = reasons.iter().map(|&(_, bytes)| bytes).sum();
        flow.set_account(Account::new(1 << 20, copied, 0));
        flow.reasons = reasons.iter().map(|&(why, bytes)| Cause::new(why, bytes, 1)).collect();
        flow.peeked_bytes = looked;
        let mut report = Report::new(Tier::L, Scope::default());
        let mut elsewhere = flow.clone();
        elsewhere.to.kind = EndpointKind::File;
        let id = report.add_flow(flow);
        report.add_flow(elsewhere);
        report.peeks.push(Peek {
            flow: Some(id),
            ..Peek::new(looked, 1)
        });
        report.summarize();
        Baseline::from_report(&report, &criteria())
    }

    #[test]
    fn new_and_additional_copies_are_regressions() {
        let before = run(&[(Reason::Misaligned, 100), (Reason::FromMemory, 10)], 0);
        let now = run(&[(Reason::Misaligned, 100 + 65_536), (Reason::SmallWrite, 7)], 5);
        let said: Vec<String> = before.regressions(&now).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "+64.0 KiB copied in file:tcp, ZC07, since the baseline",
                "+5 B copied in file:tcp, ZC31, since the baseline"
            ]
        );
        assert_eq!(now.regressions(&now), []);
    }

    #[test]
    fn baseline_round_trips_and_requires_the_same_endpoints() {
        let before = run(&[(Reason::Misaligned, 100)], 5);
        let text = before.to_json();
        assert_eq!(Baseline::from_json(&text, &criteria()), Ok(before));
        let mut others = criteria();
        others.to = vec![Pattern::parse("file").unwrap()];
        assert!(Baseline::from_json(&text, &others).unwrap_err().contains("`socket`"));
        for bad in [
            "",
            "{}",
            r#"{"schema":"zctrace-report/1.0"}"#,
            r#"{"schema":"zctrace-baseline/1","to":"socket"}"#,
            r#"{"schema":"zctrace-baseline/1","to":"socket","copied":{"a":1}}"#,
            r#"{"schema":"zctrace-baseline/1","to":"socket","copied":{"a":{"ZC07":-1}}}"#,
        ] {
            assert!(Baseline::from_json(bad, &criteria()).is_err(), "{bad}");
        }
    }
}
