//! Detection of lost records from gaps in their sequence numbers.
//!
//! Every eBPF program numbers its records per CPU. A jump in that sequence means that records were
//! lost between the program and the reader, for whatever reason. Only the count is kept; which
//! records were lost cannot be known.

use zctrace_records::RecordHeader;

use crate::collections::fast_map::FastMap;

/// Expected sequence number of each program and CPU, and the records lost so far.
#[derive(Debug, Default)]
pub(crate) struct SequenceGaps {
    next: FastMap<(u32, u32), u64>,
    missing: FastMap<u32, u64>,
}

impl SequenceGaps {
    /// Accounts for a received record and returns whether records were lost before it.
    ///
    /// `program` is `None` for a record whose writer cannot be determined; such a record is
    /// ignored.
    pub(crate) fn note(&mut self, program: Option<u32>, header: &RecordHeader) -> bool {
        let Some(program) = program else { return false };
        let next = self.next.entry((program, header.cpu)).or_insert(0);
        let gap = header.sequence.saturating_sub(*next);
        *next = header.sequence.saturating_add(1);
        if gap > 0 {
            let missing = self.missing.entry(program).or_insert(0);
            *missing = missing.saturating_add(gap);
        }
        gap > 0
    }

    /// Returns the number of records lost by a program.
    pub(crate) fn lost_by(&self, program: u32) -> u64 {
        self.missing.get(&program).copied().unwrap_or(0)
    }
}
