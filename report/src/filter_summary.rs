//! Filter of a report, and the flows that it omitted.

use serde::{Deserialize, Serialize};

/// Filter that was applied. Totals and share cover the remaining flows.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FilterSummary {
    /// Filter expression, in the language that `zctrace run --help` describes.
    pub expression: String,
    /// Number of omitted flows.
    #[serde(default)]
    pub omitted_flows: u64,
    /// Payload of the omitted flows, in bytes.
    #[serde(default)]
    pub omitted_payload: u64,
    /// Omitted flows for which the filter cannot be decided, because folding dropped a field that
    /// the filter tests. They are part of `omitted_flows`.
    #[serde(default)]
    pub undecided_flows: u64,
    /// Payload of the undecided flows, in bytes.
    #[serde(default)]
    pub undecided_payload: u64,
}
