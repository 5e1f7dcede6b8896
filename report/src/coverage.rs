//! Facts that can be observed on this kernel, their probes, and operations that no fact covers.

use serde::{Deserialize, Serialize};

use super::Report;
use super::endpoint::Endpoint;
use super::open_enum::open_enum;
use super::tier::Tier;

/// Maximum number of broken rules that a report lists about itself.
const MAX_VIOLATIONS: usize = 20;

/// Facts that zctrace can observe on some kernel, each with its status on this one.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Coverage {
    /// Facts of every status.
    #[serde(default)]
    pub facts: Vec<Fact>,
    /// Operations that no fact covers.
    #[serde(default)]
    pub not_covered: Vec<NotCovered>,
    /// Traced processes that were still running when the trace of a command ended with the command.
    /// What they moved or copied afterwards is not in the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still_running: Vec<StillRunning>,
    /// Rules of the report format that this report breaks, each as a sentence. Its figures
    /// contradict each other there, so nothing that depends on them is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
}

impl Coverage {
    /// Returns the number of facts that can be observed here, and the number of all facts, such as
    /// `(11, 12)`.
    ///
    /// A fact counts only if the selftest observed it, because an attached probe need not fire.
    pub fn verified(&self) -> (usize, usize) {
        let seen = self
            .facts
            .iter()
            .filter(|fact| fact.status == FactStatus::Verified)
            .count();
        (seen, self.facts.len())
    }
}

/// A traced process that outlived the traced command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StillRunning {
    /// PID in the initial PID namespace.
    pub pid: u32,
    /// Name; empty if not known.
    #[serde(default)]
    pub name: String,
}

impl Report {
    /// Checks the report and lists the rules that it breaks in `coverage.violations`, instead of
    /// those listed before. Returns whether it keeps all rules.
    ///
    /// A broken rule is a doubt about the report, and no reason to have none. Call it last.
    ///
    /// ```
    /// use zctrace_report::{Account, Endpoint, EndpointKind, Flow, Report, Scope, Tier};
    ///
    /// let mut report = Report::new(Tier::T0, Scope::default());
    /// let mut flow = Flow::new(Endpoint::new(EndpointKind::File, "a"), Endpoint::new(EndpointKind::Tcp, "b"));
    /// flow.set_account(Account::new(10, 0, 0));
    /// report.add_flow(flow);
    /// report.finish(10);
    /// assert!(!report.note_violations());
    /// assert_eq!(report.coverage.violations, ["flows[0]: bytes are stated to have moved, without a certificate"]);
    /// ```
    pub fn note_violations(&mut self) -> bool {
        let violations = self.check().err().unwrap_or_default();
        let more = violations.len().saturating_sub(MAX_VIOLATIONS);
        let mut listed: Vec<String> = violations
            .iter()
            .take(MAX_VIOLATIONS)
            .map(ToString::to_string)
            .collect();
        if more > 0 {
            listed.push(format!("and {more} more"));
        }
        self.coverage.violations = listed;
        violations.is_empty()
    }
}

/// One fact: something that probes can observe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fact {
    /// Name of the fact, such as `pages in pipe slots`.
    pub name: String,
    /// Probe that observes the fact, such as `net_dev_start_xmit`; empty if no probe does on this
    /// kernel.
    #[serde(default)]
    pub observed_by: String,
    /// Tier at which the fact is observed, or would be.
    pub tier: Tier,
    /// Status of the fact on this boot.
    pub status: FactStatus,
    /// Time at which the selftest last observed the fact, in milliseconds since 1970-01-01 00:00
    /// UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_unix_ms: Option<u64>,
    /// Reason why the fact cannot be observed; empty if it can.
    #[serde(default)]
    pub missing_reason: String,
    /// Hint on how to make the fact observable, as a command if there is one; empty if nothing
    /// helps.
    #[serde(default)]
    pub hint: String,
}

open_enum! {
    /// Result of the selftest for a fact, on this boot, with this kernel and these programs.
    pub enum FactStatus {
        /// The selftest made a known move and a known copy, and the probes classified both
        /// correctly.
        Verified = "verified",
        /// The probe is attached, but did not report what the selftest did. The fact is not used.
        Silent = "silent",
        /// The selftest has not tested the fact yet.
        Untested = "untested",
        /// This kernel or these privileges do not provide the fact.
        Unavailable = "unavailable",
    }
}

/// Operation that no fact covers. Its bytes are never counted as moved.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotCovered {
    /// Name of the operation, such as `splice by io_uring`.
    pub operation: String,
    /// Number of calls; absent if they are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Number of bytes; absent if they are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The end that it was done on; absent if it can have been any. Only rules about that end are
    /// open because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
}

impl NotCovered {
    /// Returns whether the operation was done in this run. A row without a count describes a gap
    /// that every run has.
    pub fn was_done(&self) -> bool {
        self.calls.is_some_and(|calls| calls > 0) || self.bytes.is_some_and(|bytes| bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_selftest_saw_counts_as_seen() {
        let fact = |status: &str| Fact {
            name: "pages in packets".to_owned(),
            observed_by: "net_dev_start_xmit".to_owned(),
            tier: Tier::T0,
            status: status.into(),
            verified_unix_ms: None,
            missing_reason: String::new(),
            hint: String::new(),
        };
        let facts = ["verified", "silent", "untested", "unavailable", "half_dead"]
            .map(fact)
            .to_vec();
        let coverage = Coverage {
            facts,
            ..Coverage::default()
        };
        assert_eq!(coverage.verified(), (1, 5));
    }
}
