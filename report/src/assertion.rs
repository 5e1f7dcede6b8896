//! What was asserted of a run, and whether it held.

use serde::{Deserialize, Serialize};

use super::words::words;

words! {
    /// What became of an assertion.
    pub enum Outcome {
        /// It was shown to hold.
        Held = "held",
        /// It was shown not to hold.
        Broken = "broken",
        /// Neither was shown.
        Open = "open",
    }
}

/// One rule that a run was judged by (`assert` only).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Assertion {
    /// The rule, such as `at most 0 copied on the way to file, socket`.
    pub rule: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What was found, in one sentence; of an open one what is missing.
    #[serde(default)]
    pub found: String,
}

impl Assertion {
    /// A rule with its outcome.
    ///
    /// ```
    /// use zctrace_report::{Assertion, Outcome};
    /// let assertion = Assertion::new("no records lost", Outcome::Held, "none were lost");
    /// assert_eq!(assertion.outcome.as_str(), "held");
    /// ```
    pub fn new(rule: impl Into<String>, outcome: Outcome, found: impl Into<String>) -> Self {
        Self {
            rule: rule.into(),
            outcome,
            found: found.into(),
        }
    }
}
