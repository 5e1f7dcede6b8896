//! Which columns of a journal have a writer. A thread keeps the one that it takes until it ends; threads for which there is
//! none share the common ring.

use crate::sync::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Columns of a journal: as many threads write at once without meeting each other.
pub(super) const MAX_COLUMNS: u32 = 32;

/// A bit for each column, set while it has a writer. Not in the journal's own memory, which others can write to.
#[derive(Debug)]
pub(super) struct ColumnAllocator(AtomicU64);

impl ColumnAllocator {
    /// So many, which are [`MAX_COLUMNS`] at most.
    pub(super) fn new(columns: u32) -> Self {
        // Those that are not there are taken for ever.
        Self(AtomicU64::new(u64::MAX << columns.min(MAX_COLUMNS)))
    }

    /// A column that nobody writes to, for the caller alone until it [gives it back](Self::give_back). What its writer before
    /// has written is seen.
    pub(super) fn claim(&self) -> Option<usize> {
        let mut taken = self.0.load(Relaxed);
        loop {
            let first = taken.trailing_ones();
            if first == u64::BITS {
                return None;
            }
            match self.0.compare_exchange(taken, taken | 1 << first, Acquire, Relaxed) {
                Ok(_) => return Some(first as usize),
                Err(now) => taken = now,
            }
        }
    }

    pub(super) fn release(&self, column: usize) {
        self.0.fetch_and(!(1 << column), Release);
    }
}
