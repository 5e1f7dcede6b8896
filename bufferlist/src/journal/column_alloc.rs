//! Assignment of a journal's columns to threads.
//!
//! A thread keeps the column that it claims until it ends. Threads without a column use the shared
//! ring.

use crate::sync::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Number of columns of a journal, which is the number of threads that can write without
/// contention.
pub(super) const MAX_COLUMNS: u32 = 32;

/// One bit per column, set while it has a writer. Not stored in the journal, which other processes
/// can write to.
#[derive(Debug)]
pub(super) struct ColumnAllocator(AtomicU64);

impl ColumnAllocator {
    /// Creates an allocator for `columns` columns, at most [`MAX_COLUMNS`].
    pub(super) fn new(columns: u32) -> Self {
        // Missing columns are permanently claimed.
        Self(AtomicU64::new(u64::MAX << columns.min(MAX_COLUMNS)))
    }

    /// Claims a free column for exclusive use until [`release`](Self::release). Acquire ordering
    /// makes the previous writer's entries visible.
    pub(super) fn claim(&self) -> Option<usize> {
        let mut claimed = self.0.load(Relaxed);
        loop {
            let first = claimed.trailing_ones();
            if first == u64::BITS {
                return None;
            }
            match self.0.compare_exchange(claimed, claimed | 1 << first, Acquire, Relaxed) {
                Ok(_) => return Some(first as usize),
                Err(now) => claimed = now,
            }
        }
    }

    pub(super) fn release(&self, column: usize) {
        self.0.fetch_and(!(1 << column), Release);
    }
}
