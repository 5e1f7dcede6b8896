//! Writing into a journal, from any thread, without waiting.
//!
//! A thread writes into a column, a ring that nobody else writes to at that time: it makes the first word of the next record
//! odd, fills the record, makes that word even, which says for which position the record is whole, and counts it. Plain
//! stores, for a locked instruction on a line that is not in the cache would wait for it. A reader takes the words only if
//! the first says so before and after.
//!
//! Threads for which there is no column share a ring. There a writer takes the next position and claims the record, which
//! are the same steps by locked instructions. A writer that finds its place still claimed by one who is a whole round
//! behind, or taken by one a round ahead, gives its record up and counts that: two never write the same record.

use super::entry::{field, to_words};
use super::layout::{Layout, word};
use crate::sync::{AtomicU64, fence};
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use zctrace_contract::journal::Entry;

/// The first word of a record that is being written for this position.
pub(super) fn claimed_sequence(position: u64) -> u64 {
    position.wrapping_mul(2).wrapping_add(1)
}

/// The first word of a record that is whole, and is for this position.
pub(super) fn complete_sequence(position: u64) -> u64 {
    claimed_sequence(position).wrapping_add(1)
}

/// Fills a record that is claimed for `position`, and says that it is whole.
#[inline]
fn write_fields(record: &[AtomicU64], position: u64, entry: Entry) {
    // Whoever sees one of the words below sees the claim above.
    fence(Release);
    for (to, from) in record[1..].iter().zip(to_words(&entry)) {
        to.store(from, Relaxed);
    }
    record[field::SEQUENCE].store(complete_sequence(position), Release);
}

/// A column, for the one who writes into it.
#[derive(Debug)]
pub(super) struct ColumnWriter<'a> {
    records: &'a [AtomicU64],
    head: &'a AtomicU64,
    mask: u64,
    /// Of the next record: what `head` says, without asking another line of the cache.
    position: u64,
}

impl<'a> ColumnWriter<'a> {
    /// The column with this number, into which nobody else may write while this lives.
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

    /// Writes a record. `position` in it does not matter: the next one is taken.
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

/// Has the line of the cache fetched that will be written next, while the thread's next system call runs: its locked
/// instructions would otherwise wait for it.
#[inline]
fn prefetch(word: &AtomicU64) {
    #[cfg(all(target_arch = "x86_64", not(any(miri, model))))]
    // SAFETY: the instruction is a hint, of an address that is valid; every x86-64 has it, or takes it for nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(std::ptr::from_ref(word).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, model)))))]
    let _ = word;
}

/// Writes a record into the common ring.
pub(super) fn write_shared(words: &[AtomicU64], layout: &Layout, entry: Entry) {
    let ring = layout.shared();
    let position = words[ring.head].fetch_add(1, Relaxed);
    let record = &words[ring.record(position)];
    let sequence = &record[field::SEQUENCE];
    let found = sequence.load(Relaxed);
    // Older, and whole (even; 0 was never written).
    let free = found % 2 == 0 && found < claimed_sequence(position);
    if !free
        || sequence
            .compare_exchange(found, claimed_sequence(position), AcqRel, Relaxed)
            .is_err()
    {
        words[word::DROPPED].fetch_add(1, Relaxed);
        return;
    }
    write_fields(record, position, entry);
}
