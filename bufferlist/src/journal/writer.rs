//! Writers of a journal, from any thread, without blocking.
//!
//! A thread writes into a column, which is a ring without another writer at that time. It makes the
//! first word of the next record odd, fills the record, sets the first word to the even value that
//! marks the record as complete for its position, and increments the head. All of these are plain
//! stores, because a locked instruction would wait for a cache line that is not in the cache. A
//! reader accepts the words only if the first word marks them as complete both before and after
//! reading.
//!
//! Threads without a column share a ring. A writer takes the next position and claims the record by
//! locked instructions; the other steps are the same. If the record is still claimed by a writer a
//! whole round behind, or was taken by one a round ahead, the writer drops its entry and counts
//! that. Two threads therefore never write the same record.

use super::entry::{field, to_words};
use super::layout::{Layout, word};
use crate::sync::{AtomicU64, fence};
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use zctrace_contract::journal::Entry;

/// Returns the first word of a record that is being written for this position.
pub(super) fn claimed_sequence(position: u64) -> u64 {
    position.wrapping_mul(2).wrapping_add(1)
}

/// Returns the first word of a record that is complete for this position.
pub(super) fn complete_sequence(position: u64) -> u64 {
    claimed_sequence(position).wrapping_add(1)
}

/// Fills a record that is claimed for `position`, and marks it as complete.
#[inline]
fn write_fields(record: &[AtomicU64], position: u64, entry: Entry) {
    // A reader that observes one of the words below also observes the claim above.
    fence(Release);
    for (to, from) in record[1..].iter().zip(to_words(&entry)) {
        to.store(from, Relaxed);
    }
    record[field::SEQUENCE].store(complete_sequence(position), Release);
}

/// Exclusive writer of a column.
#[derive(Debug)]
pub(super) struct ColumnWriter<'a> {
    records: &'a [AtomicU64],
    head: &'a AtomicU64,
    mask: u64,
    /// Position of the next record. Equal to `head`, without a load from another cache line.
    position: u64,
}

impl<'a> ColumnWriter<'a> {
    /// Creates the writer of a column. No other writer of that column may exist while it lives.
    pub(super) fn new(words: &'a [AtomicU64], layout: &Layout, number: usize) -> Option<Self> {
        let ring = layout.column(number)?;
        let head = &words[ring.head];
        Some(Self {
            records: &words[ring.record(0).start..ring.record(ring.count - 1).end],
            head,
            mask: ring.count - 1,
            position: head.load(Relaxed),
        })
    }

    /// Writes an entry at the next position. `entry.position` is ignored.
    #[inline]
    pub(super) fn write(&mut self, entry: Entry) {
        let position = self.position;
        let start = (position & self.mask) as usize * field::COUNT;
        let record = &self.records[start..start + field::COUNT];
        record[field::SEQUENCE].store(claimed_sequence(position), Relaxed);
        write_fields(record, position, entry);
        self.position = position.wrapping_add(1);
        self.head.store(self.position, Release);
        let next = (self.position & self.mask) as usize * field::COUNT;
        prefetch(&self.records[next]);
    }
}

/// Prefetches the cache line that will be written next, so that it arrives during the thread's next
/// system call. The locked instructions in that call would otherwise wait for it.
#[inline]
fn prefetch(word: &AtomicU64) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, model))))]
    // SAFETY: `_mm_prefetch` requires SSE, which every x86-64 CPU has. It is only a hint and
    // accesses no memory; the address is that of a valid reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(std::ptr::from_ref(word).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, model)))))]
    let _ = word;
}

/// Writes an entry into the shared ring.
pub(super) fn write_shared(words: &[AtomicU64], layout: &Layout, entry: Entry) {
    let ring = layout.shared();
    let position = words[ring.head].fetch_add(1, Relaxed);
    let record = &words[ring.record(position)];
    let sequence = &record[field::SEQUENCE];
    let current = sequence.load(Relaxed);
    // Complete (even; 0 was never written) and of an earlier round.
    let free = current % 2 == 0 && current < claimed_sequence(position);
    if !free
        || sequence
            .compare_exchange(current, claimed_sequence(position), AcqRel, Relaxed)
            .is_err()
    {
        words[word::DROPPED].fetch_add(1, Relaxed);
        return;
    }
    write_fields(record, position, entry);
}
