//! Assertions about a run, and their outcomes.

use serde::{Deserialize, Serialize};

use super::open_enum::open_enum;

open_enum! {
    /// Outcome of an assertion.
    pub enum AssertionOutcome {
        /// The assertion was proven to hold.
        Passed = "passed",
        /// The assertion was proven not to hold.
        Failed = "failed",
        /// Neither was proven.
        Inconclusive = "inconclusive",
    }
}

/// One rule by which `assert` judged a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Assertion {
    /// Rule, such as `at most 0 copied on the way to file, socket`.
    pub rule: String,
    /// Outcome of the rule.
    pub outcome: AssertionOutcome,
    /// Finding, in one sentence. The finding of an inconclusive assertion names the missing
    /// observation.
    #[serde(default)]
    pub finding: String,
}

impl Assertion {
    /// Creates an assertion from its rule, its outcome and its finding.
    ///
    /// ```
    /// use zctrace_report::{Assertion, AssertionOutcome};
    /// let assertion = Assertion::new("no records lost", AssertionOutcome::Passed, "none were lost");
    /// assert_eq!(assertion.outcome.as_str(), "passed");
    /// ```
    pub fn new(rule: impl Into<String>, outcome: AssertionOutcome, found: impl Into<String>) -> Self {
        Self {
            rule: rule.into(),
            outcome,
            finding: found.into(),
        }
    }
}
