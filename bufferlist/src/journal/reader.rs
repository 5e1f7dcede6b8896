//! Reader of a journal, for other processes, concurrent with its writers.

use super::entry::{field, from_words};
use super::layout::{Layout, LayoutError, Ring};
use super::writer::complete_sequence;
use crate::sync::{AtomicU64, fence};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use zctrace_contract::journal::Entry;

/// State of the record at a position.
enum RecordState {
    Complete(Option<Entry>),
    /// The record is not yet complete.
    Incomplete,
    /// A later record has replaced it.
    Overwritten,
}

fn read_record(words: &[AtomicU64], ring: &Ring, position: u64) -> RecordState {
    let record = &words[ring.record(position)];
    let before = record[field::SEQUENCE].load(Acquire);
    if before != complete_sequence(position) {
        return if before > complete_sequence(position) {
            RecordState::Overwritten
        } else {
            RecordState::Incomplete
        };
    }
    let copy = std::array::from_fn(|at| record[at + 1].load(Relaxed));
    fence(Acquire);
    if record[field::SEQUENCE].load(Relaxed) != before {
        return RecordState::Overwritten;
    }
    RecordState::Complete(from_words(position, &copy))
}

/// Maximum number of incomplete positions per ring that a reader revisits, which is the number of
/// threads that can be writing a record.
const MAX_INCOMPLETE: usize = 256;

/// Reading position in one ring.
#[derive(Clone, Debug)]
struct Cursor {
    ring: Ring,
    /// Position of the next record.
    next: u64,
    /// Earlier positions whose records were incomplete.
    incomplete: Vec<u64>,
}

/// Reader of a journal from outside its process. No content of a journal can make it panic, or read
/// more at a time than the journal holds.
#[derive(Clone, Debug)]
pub struct Reader {
    layout: Layout,
    cursors: Vec<Cursor>,
    lost: u64,
    damaged: u64,
}

impl Reader {
    /// Creates a reader of the entries that are written from now on.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if the memory is not a readable journal.
    pub fn new_at_end(words: &[AtomicU64]) -> Result<Self, LayoutError> {
        let layout = Layout::read(words)?;
        let cursor = |ring: Ring| Cursor {
            ring,
            next: words[ring.head].load(Acquire),
            incomplete: Vec::new(),
        };
        Ok(Self {
            cursors: layout.rings().map(cursor).collect(),
            layout,
            lost: 0,
            damaged: 0,
        })
    }

    /// Creates a reader that also reads existing entries, if the journal still holds all of them
    /// from the very first. Otherwise the reader starts at the end, like
    /// [`new_at_end`](Self::new_at_end). [`is_complete`](Self::is_complete) tells the two apart.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if the memory is not a readable journal.
    pub fn new_at_start(words: &[AtomicU64]) -> Result<Self, LayoutError> {
        let mut reader = Self::new_at_end(words)?;
        if reader.cursors.iter().all(|cursor| cursor.next <= cursor.ring.count) {
            reader.rewind(0);
        }
        Ok(reader)
    }

    /// Returns whether the reader starts at the very first entry, and so reads all entries except
    /// [lost](Self::lost) ones. Must be called before reading.
    pub fn is_complete(&self) -> bool {
        self.cursors.iter().all(|cursor| cursor.next == 0)
    }

    /// Moves the reader back to a position in each ring.
    pub(super) fn rewind(&mut self, to: u64) {
        self.cursors
            .iter_mut()
            .for_each(|cursor| cursor.next = to.min(cursor.next));
    }

    /// Returns the layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the number of records that were overwritten, or dropped by their writers, before
    /// they were read.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns the number of invalid records.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Returns the number of records that were begun and are not yet complete. They are lost if
    /// their process has ended.
    pub fn incomplete(&self) -> u64 {
        self.cursors.iter().map(|cursor| cursor.incomplete.len() as u64).sum()
    }

    /// Passes all entries written since the last call to `take`.
    ///
    /// Entries of one thread are passed in the order in which they were written. Between threads,
    /// an entry that took longer to write, or is in another column, may be passed later.
    pub fn read(&mut self, words: &[AtomicU64], take: &mut dyn FnMut(Entry)) {
        let (mut lost, mut damaged) = (0_u64, 0_u64);
        for cursor in &mut self.cursors {
            cursor.read(words, take, &mut lost, &mut damaged);
        }
        self.lost = self.lost.saturating_add(lost);
        self.damaged = self.damaged.saturating_add(damaged);
    }
}

impl Cursor {
    fn read(&mut self, words: &[AtomicU64], take: &mut dyn FnMut(Entry), lost: &mut u64, damaged: &mut u64) {
        let head = words[self.ring.head].load(Acquire);
        if head == self.next && self.incomplete.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.incomplete);
        // A writer never moves a head back.
        if head < self.next {
            *damaged = damaged.saturating_add(1);
            self.next = head;
            waiting.clear();
        }
        let oldest = head.saturating_sub(self.ring.count);
        if oldest > self.next {
            *lost = lost.saturating_add(oldest - self.next);
            self.next = oldest;
        }
        let fresh = self.next..head;
        self.next = head;
        for position in waiting.drain(..).chain(fresh) {
            let state = if position < oldest {
                RecordState::Overwritten
            } else {
                read_record(words, &self.ring, position)
            };
            match state {
                RecordState::Complete(Some(entry)) => take(entry),
                RecordState::Complete(None) => *damaged = damaged.saturating_add(1),
                RecordState::Incomplete if self.incomplete.len() < MAX_INCOMPLETE => self.incomplete.push(position),
                RecordState::Incomplete | RecordState::Overwritten => *lost = lost.saturating_add(1),
            }
        }
    }
}
