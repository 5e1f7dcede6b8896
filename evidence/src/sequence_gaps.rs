//! Records that the reader missed: each program numbers its records on each CPU.

use zctrace_records::RecordHeader;

use crate::collections::fast_map::FastMap;

/// What number comes next, by program and CPU.
#[derive(Debug, Default)]
pub(crate) struct SequenceGaps {
    next: FastMap<(u32, u32), u64>,
    missing: FastMap<u32, u64>,
}

impl SequenceGaps {
    /// Takes note of a record of a program. Whether some before it are missing.
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

    /// Records of a program that are missing, by its number.
    pub(crate) fn lost_by(&self, program: u32) -> u64 {
        self.missing.get(&program).copied().unwrap_or(0)
    }
}
