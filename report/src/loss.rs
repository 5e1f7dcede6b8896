//! What was lost while watching. A loss that can touch a flow makes that flow unknown, so it must not be hidden.

use serde::{Deserialize, Serialize};

/// Losses, counted in three ways that see different things. All three must be present in JSON: a missing counter read as 0
/// would claim that nothing was lost. At tier L nothing is recorded by probes, so nothing can be lost.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Loss {
    /// Records for which a program found no room in the ring.
    pub reserve_failures: u64,
    /// Records that the reader missed, by gaps in the numbering of each program's records.
    pub sequence_gaps: u64,
    /// Times the kernel skipped a program because it was already running on that CPU.
    pub recursion_misses: u64,
    /// Records of bufferlist's journals that were overwritten before they were read.
    #[serde(default)]
    pub journal_overruns: u64,
    /// Flows that became unknown, in part or whole, through a loss.
    #[serde(default)]
    pub affected_flows: u64,
    /// The same, by program; only programs that lost something.
    #[serde(default)]
    pub programs: Vec<ProgramLoss>,
}

/// The losses of one program.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProgramLoss {
    /// The program's name.
    pub program: String,
    /// Records for which it found no room.
    #[serde(default)]
    pub reserve_failures: u64,
    /// Records that the reader missed.
    #[serde(default)]
    pub sequence_gaps: u64,
    /// Times the kernel skipped it.
    #[serde(default)]
    pub recursion_misses: u64,
}

impl Loss {
    /// The least number of records that were lost.
    ///
    /// A record that found no room leaves a gap too, so the larger of the two counts.
    ///
    /// ```
    /// use zctrace_report::Loss;
    /// let loss = Loss { reserve_failures: 3, sequence_gaps: 4, recursion_misses: 2, ..Loss::default() };
    /// assert_eq!(loss.records(), 6);
    /// ```
    pub fn records(&self) -> u64 {
        self.reserve_failures
            .max(self.sequence_gaps)
            .saturating_add(self.recursion_misses)
            .saturating_add(self.journal_overruns)
    }

    /// Whether anything was lost.
    pub fn any(&self) -> bool {
        self.records() > 0
    }
}
