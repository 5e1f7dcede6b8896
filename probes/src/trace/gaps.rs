//! Records that the reader missed: each program numbers its records on each CPU.

use std::collections::HashMap;

use crate::probe::Record;

/// What number comes next, by program and CPU.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    next: HashMap<(u32, u32), u64>,
    missing: HashMap<u32, u64>,
}

impl Gaps {
    /// Takes note of a record. Whether some before it are missing.
    pub(super) fn note(&mut self, record: &Record) -> bool {
        let Some(program) = record.program() else { return false };
        let header = record.header();
        let next = self.next.entry((program, header.cpu)).or_insert(0);
        let gap = header.sequence.saturating_sub(*next);
        *next = header.sequence + 1;
        if gap > 0 {
            *self.missing.entry(program).or_insert(0) += gap;
        }
        gap > 0
    }

    /// Records of a program that are missing, by its number.
    pub(super) fn missing_of(&self, program: u32) -> u64 {
        self.missing.get(&program).copied().unwrap_or(0)
    }
}
