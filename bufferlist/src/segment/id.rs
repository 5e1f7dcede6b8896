//! Segment IDs.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Identifies the cell that holds the bytes of a segment, for the lifetime of the process.
///
/// ```
/// let segment = bufferlist::Segment::from("bytes");
/// println!("{} is number {}", segment.id(), segment.id().get());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SegmentId(u64);

/// Number of IDs that a thread reserves at a time, so that creating a segment touches no shared
/// counter. 1024 IDs last a thread for many segments, and an idle thread wastes few.
const BLOCK: u64 = 1024;

static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Next ID of this thread, and the end of its block.
    static THREAD_IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

impl SegmentId {
    /// ID of a cell without bytes. No segment has it.
    pub(crate) const UNASSIGNED: Self = Self(u64::MAX);

    #[inline]
    pub(crate) fn next() -> Self {
        THREAD_IDS.with(|ids| {
            let (mut next, mut end) = ids.get();
            if next == end {
                next = NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed);
                end = next + BLOCK;
            }
            ids.set((next + 1, end));
            Self(next)
        })
    }

    /// Returns the number.
    ///
    /// ```
    /// let segment = bufferlist::Segment::from("bytes");
    /// assert_eq!(segment.id().get(), segment.clone().id().get());
    /// ```
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_across_threads() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..3000).map(|_| SegmentId::next()).collect::<Vec<_>>()))
            .collect();
        let all: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("thread"))
            .collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }
}
