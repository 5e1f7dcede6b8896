//! That a report tells only of some flows, by which filter, and of how many it does not tell.

use serde::{Deserialize, Serialize};

/// A filter that was applied. Totals and share are of the flows that are left.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FilterSummary {
    /// The filter, in zctrace's language (`zctrace run --help`).
    pub expression: String,
    /// Flows that were left out.
    #[serde(default)]
    pub omitted_flows: u64,
    /// Bytes of them.
    #[serde(default)]
    pub omitted_payload: u64,
    /// Of these: flows of which it cannot be told whether they fit, since what the filter asks for was given up when they
    /// were folded.
    #[serde(default)]
    pub undecided_flows: u64,
    /// Bytes of them.
    #[serde(default)]
    pub undecided_payload: u64,
}
