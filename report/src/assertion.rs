//! What was asserted of a run, and whether it held.

use serde::{Deserialize, Serialize};

use super::open_enum::open_enum;

open_enum! {
    /// What became of an assertion.
    pub enum AssertionOutcome {
        /// It was shown to hold.
        Passed = "passed",
        /// It was shown not to hold.
        Failed = "failed",
        /// Neither was shown.
        Inconclusive = "inconclusive",
    }
}

/// One rule that a run was judged by (`assert` only).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Assertion {
    /// The rule, such as `at most 0 copied on the way to file, socket`.
    pub rule: String,
    /// What became of it.
    pub outcome: AssertionOutcome,
    /// What was found, in one sentence; of an open one what is missing.
    #[serde(default)]
    pub finding: String,
}

impl Assertion {
    /// A rule with its outcome.
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
