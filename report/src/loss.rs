//! Records that were lost during tracing. Bytes that a loss can touch are unknown, so reports must
//! show losses.

use serde::{Deserialize, Serialize};

/// Losses, by three counters that observe different causes.
///
/// All three counters must be present in JSON, because reading a missing counter as 0 would claim
/// that nothing was lost. At tier L no probe records anything, so nothing can be lost.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Loss {
    /// Records for which a program found no space in the ring buffer.
    pub reserve_failures: u64,
    /// Records that the reader missed, computed from gaps in each program's sequence numbers.
    pub sequence_gaps: u64,
    /// Times the kernel skipped a program because a program was already running on that CPU.
    pub recursion_misses: u64,
    /// Entries of bufferlist's journals that were overwritten before zctrace read them.
    #[serde(default)]
    pub journal_overruns: u64,
    /// Flows of which at least one byte is unknown because of a loss.
    #[serde(default)]
    pub affected_flows: u64,
    /// Losses by program. Only programs with losses are listed.
    #[serde(default)]
    pub programs: Vec<ProgramLoss>,
}

/// Losses of one program.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProgramLoss {
    /// Name of the program.
    pub program: String,
    /// Records for which the program found no space in the ring buffer.
    #[serde(default)]
    pub reserve_failures: u64,
    /// Records of the program that the reader missed.
    #[serde(default)]
    pub sequence_gaps: u64,
    /// Times the kernel skipped the program.
    #[serde(default)]
    pub recursion_misses: u64,
}

impl Loss {
    /// Returns the least possible number of lost records.
    ///
    /// A record that found no space leaves a sequence gap too, so only the larger of these two
    /// counters is added.
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

    /// Returns whether anything was lost.
    pub fn any(&self) -> bool {
        self.records() > 0
    }
}
